"""Layouts that somebody prepared before they were handed over: what lies in them beside the image must not matter."""

import fcntl
import os
import resource
import shutil
import signal
import subprocess
import unittest

from support import files as fs
from support import oci, pht
from support.station import PIN, SANITIZED, Case, pool_key, sample


def processor_seconds():
    """Of all programs that were run so far: a machine that is busy with other things takes longer, but not more."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class HostileLayouts(Case):
    def entered(self, entries=None):
        layout = self.layout(sample())
        self.good("pre-run", layout, station="alpha")
        self.run_code(layout, "alpha", entries)
        return layout

    def test_other_bytes_under_the_name_of_a_blob_that_is_to_come(self):
        """An earlier station knows the symmetric key, and so which layer the next pre-run will write."""
        layout = self.layout(sample())
        rehearsal = oci.copy_layout(layout, f"{self.work}/rehearsal")
        self.good("pre-run", rehearsal, station="alpha")
        layer = rehearsal.manifest("latest")["layers"][-1]
        shutil.rmtree(self.state)
        with open(layout.blob_path(layer["digest"]), "wb") as stream:
            stream.write(bytes(layer["size"]))
        self.good("pre-run", layout, station="alpha")
        self.assertEqual(layout.manifest("latest")["layers"][-1]["digest"], layer["digest"])
        layout.check()

    def test_other_bytes_under_the_name_of_a_blob_of_a_base_elsewhere(self):
        layout = self.entered()
        elsewhere = oci.copy_layout(layout, f"{self.work}/elsewhere")
        # The image of this layout alone, and on other layers than the base's.
        config = {name: value for name, value in layout.config("latest").items() if name not in ("rootfs", "history")}
        flat = layout.image([oci.Layer(list(layout.tree("latest").values()))], config)
        layout.write_index([])
        layout.tag("latest", flat)
        system = elsewhere.manifest("base")["layers"][0]
        with open(layout.blob_path(system["digest"]), "wb") as stream:
            stream.write(bytes(system["size"]))
        self.good("post-run", "--base", f"oci:{elsewhere.path}:base", layout, station="alpha")
        layout.check()

    def test_folders_of_blobs_that_lead_to_another_layout(self):
        """Cleaning up would remove the other layout's blobs."""
        for name in ("blobs", "blobs/sha256", "blobs/sha512"):
            with self.subTest(name):
                other = self.layout(sample(), name="other")
                layout = self.layout(sample(), name="given")
                if name == "blobs/sha512":
                    os.mkdir(f"{other.path}/{name}")
                else:
                    shutil.copytree(f"{layout.path}/{name}", f"{other.path}/{name}", dirs_exist_ok=True)
                    shutil.rmtree(f"{layout.path}/{name}")
                os.symlink(f"{other.path}/{name}", f"{layout.path}/{name}")
                with open(f"{layout.path}/.traintoken-pending-0123456789abcdef", "w", encoding="ascii") as stream:
                    stream.write("\n".join(other.blobs()) + "\n")
                for command in ("pre-run", "post-run"):
                    self.refused(3, [name, "symbolic link"], command, layout, station="alpha")
                self.refused(3, [name, "symbolic link"], "verify", layout)

    def test_markers_that_are_none(self):
        """What this program never made is not its to clean up, and stops nobody."""
        for name, make in {"folder": os.mkdir, "pipe": os.mkfifo,
                           "link": lambda path: os.symlink("/etc/passwd", path)}.items():
            with self.subTest(name):
                layout = self.layout(sample(), name=name)
                make(f"{layout.path}/.traintoken-pending-0123456789abcdef")
                shutil.rmtree(self.state, True)
                self.good("pre-run", layout, station="alpha")

    def test_a_marker_that_names_all_there_is(self):
        layout = self.layout(sample())
        blobs = layout.blobs()
        with open(f"{layout.path}/.traintoken-pending-0123456789abcdef", "w", encoding="ascii") as stream:
            stream.write("\n".join(["made layout", "made folder", *blobs]) + "\n")
        self.good("pre-run", layout, station="alpha")
        self.assertEqual(set(blobs) - set(layout.blobs()), set())
        layout.check()

    def test_a_lock_that_is_never_released(self):
        """Whoever may read the folder can hold its lock: a signal must end the wait."""
        layout = self.layout(sample())
        before = self.everything()
        holder = os.open(layout.path, os.O_RDONLY)
        self.addCleanup(os.close, holder)
        fcntl.flock(holder, fcntl.LOCK_EX)
        child = subprocess.Popen(self.arguments("pre-run", layout, station="alpha"),
                                 env=self.environment(PRIVATE_KEY_PASSWORD=PIN), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        try:
            self.assertIn(b"waiting", child.stderr.readline())
            child.send_signal(signal.SIGTERM)
            self.assertIn(b"interrupted", child.communicate(timeout=20)[1])
        finally:
            child.kill()
            child.wait()
            child.stderr.close()
        self.assertEqual(child.returncode, -signal.SIGTERM)
        self.assertEqual(self.everything(), before)

    def test_many_entries_that_lead_to_one_large_document(self):
        """The search for tags that still lead to plaintext reads each document once."""
        layout = self.entered()
        large = layout.put_json({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [], "x": ["a" * 80] * 45_000},
                                oci.INDEX)
        entries = [layout.put_json({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [large], "n": number},
                                   oci.INDEX) for number in range(600)]
        layout.write_index([*layout.index()["manifests"], *entries])
        start = processor_seconds()
        self.good("post-run", layout, station="alpha")
        self.assertLess(processor_seconds() - start, 15)

    def test_chains_of_links(self):
        """Each link goes to and fro, and on to the next one."""
        detour, count = "plots/../" * 440, 3900
        links = [fs.symlink(f"opt/pht_results/l{number:04}", detour + (f"l{number + 1:04}" if number % 39 < 38 else "plots"))
                 for number in range(count)]
        layout = self.entered([fs.folder("opt/pht_results"), fs.folder("opt/pht_results/plots"), *links])
        start = processor_seconds()
        self.refused(3, ["links"], "post-run", layout, station="alpha")
        self.assertLess(processor_seconds() - start, 40 if SANITIZED else 20)

    def test_results_in_folders_named_as_whiteouts(self):
        """What is written from here would remove a file where others unpack it."""
        for name in (".wh.!a", ".wh..wh..opq", ".wh..wh.x", "plots/.wh.b"):
            with self.subTest(name):
                shutil.rmtree(self.state, True)
                layout = self.entered([fs.folder("opt/pht_results"), fs.file("opt/pht_results/!a", b"keep"),
                                       fs.file(f"opt/pht_results/{name}/x", b"x")])
                self.refused(3, [".wh."], "post-run", layout, station="alpha")

    def test_a_definition_with_names_of_whiteouts_is_not_sealed(self):
        system = oci.Layout.create(f"{self.work}/system")
        system.tag("latest", system.image([oci.SYSTEM]))
        with open(f"{self.work}/alpha.pem", "wb") as stream:
            stream.write(pht.public_pem(pool_key("alpha")))
        for name in (".wh.x", "lib/.wh..wh..opq", ".wh.folder/x", ".wh.empty/"):
            with self.subTest(name):
                place = f"{self.work}/definition"
                shutil.rmtree(place, True)
                os.makedirs(os.path.dirname(f"{place}/{name}"))
                for path in ["main.py"] + [name] * (not name.endswith("/")):
                    with open(f"{place}/{path}", "wb") as stream:
                        stream.write(b"1\n")
                self.refused(2, [".wh."], "seal", "--definition", place, "--interpreter", "/bin/sh", "--base", system,
                             "--creator", "me", "--stop", f"alpha={self.work}/alpha.pem", f"oci:{self.work}/new",
                             key="creator")


if __name__ == "__main__":
    unittest.main()
