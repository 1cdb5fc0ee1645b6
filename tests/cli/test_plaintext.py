"""No plaintext stays behind in a layout or a temporary folder, after success and after failure."""

import os
import re
import signal
import subprocess
import time
import unittest

from support import files as fs
from support import oci, pht
from support.station import MARKER, PIN, STOPS, Case, pool_key, results_of, sample, sample_at


class Plaintext(Case):
    def test_after_each_stop(self):
        layout = self.layout(sample())
        self.assert_no_plaintext(layout)
        for station in STOPS:
            self.good("pre-run", layout, station=station)
            self.assertTrue(any(MARKER in data for _, data in layout.all_bytes()), "decrypted trains hold plaintext")
            self.run_code(layout, station)
            self.good("post-run", layout, station=station)
            self.assert_no_plaintext(layout)
            self.assertEqual(layout.reachable(), set(layout.blobs()), "blobs that nothing names")

    def test_after_a_pre_run_that_fails(self):
        opt = sample_at(1)
        secret = pht.open_train(opt, pool_key("beta")).secret
        late = "opt/pht_results/plots/alpha.bin"
        for name, changed in {
                "last result": opt | {late: opt[late].with_(content=pht.encrypt(secret, MARKER))},
                "last block": opt | {late: opt[late].with_(content=opt[late].content[:-1] + bytes([opt[late].content[-1] ^ 1]))}
                }.items():
            with self.subTest(name):
                layout = self.layout(changed, sample_at(0), "case")
                self.refused(4, [], "pre-run", layout, station="beta")
                self.assert_no_plaintext(layout)

    def test_the_decrypted_image_still_tagged_is_said(self):
        """Another tag on the plaintext image: it is that tag's to go, and a warning says so."""
        layout = self.layout(sample())
        self.good("pre-run", layout, station="alpha")
        self.run_code(layout, "alpha")
        layout.tag("debug", layout.tags()["latest"])
        result = self.good("post-run", layout, station="alpha")
        self.assertIn("warning", result.err)
        self.assertIn("debug", result.err)
        self.assertIn("debug", layout.tags())
        layout.check()

    def test_a_base_that_is_decrypted(self):
        """Its layers would travel on below the encrypted one."""
        layout = self.layout(sample())
        self.good("pre-run", layout, station="alpha")
        layout.tag("entered", layout.tags()["latest"])
        self.run_code(layout, "alpha")
        for tag in ("latest", "entered"):
            with self.subTest(tag):
                self.refused(4, ["base image", tag, "decrypted"], "post-run", "--base", f"oci:{layout.path}:{tag}", layout,
                             station="alpha")
        layout.write_index([entry for name, entry in layout.tags().items() if name != "entered"])
        self.good("post-run", layout, station="alpha")
        self.assert_no_plaintext(layout)

    def test_intermediate_images_of_the_run_go_too(self):
        layout = self.layout(sample())
        self.good("pre-run", layout, station="alpha")
        for step in range(3):
            layout.push([*results_of("alpha"), fs.file(f"opt/pht_results/step{step}", MARKER)])
        # Left by the container tool, named by no tag.
        layout.put(MARKER * 10, oci.LAYER)
        self.good("post-run", layout, station="alpha")
        self.assert_no_plaintext(layout)

    def test_an_index_entry_without_a_name_goes_too(self):
        """skopeo, giving a tag a new image, leaves the old one in the index without a name: nobody could remove it."""
        layout = self.layout(sample())
        self.good("pre-run", layout, station="alpha")
        decrypted = {key: value for key, value in layout.tags()["latest"].items() if key != "annotations"}
        other = layout.image([oci.Layer([fs.file("x", b"other")])])
        self.run_code(layout, "alpha")
        layout.write_index([*layout.index()["manifests"], decrypted, other])
        result = self.good("post-run", layout, station="alpha")
        self.assertNotIn("warning", result.err)
        digests = [entry["digest"] for entry in layout.index()["manifests"]]
        self.assertNotIn(decrypted["digest"], digests)
        self.assertIn(other["digest"], digests)
        self.assert_no_plaintext(layout)

    def test_only_its_owner_may_read_the_decrypted_layer(self):
        layout = self.layout(sample())
        self.good("pre-run", layout, station="alpha")
        decrypted = layout.manifest("latest")["layers"][-1]["digest"]
        self.assertEqual(os.stat(layout.blob_path(decrypted)).st_mode & 0o777, 0o600)
        self.run_code(layout, "alpha")
        self.good("post-run", layout, station="alpha")
        encrypted = layout.manifest("latest")["layers"][-1]["digest"]
        self.assertEqual(os.stat(layout.blob_path(encrypted)).st_mode & 0o777, 0o644)

    def test_nothing_readable_in_the_temporary_folder_while_it_works(self):
        """What is spooled lies in unlinked files, as ciphertext."""
        layout = self.layout(sample())
        big = fs.file("opt/pht_results/big", (MARKER + os.urandom(5)) * 500_000)
        self.good("pre-run", layout, station="alpha")
        self.run_code(layout, "alpha", [big])
        argv = self.arguments("post-run", layout, station="alpha")
        child = subprocess.Popen(argv, env=self.environment(PRIVATE_KEY_PASSWORD=PIN), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen, readable = set(), set()
        while child.poll() is None:
            seen.update(os.listdir(self.tmp))
            readable.update(name for name, content in unlinked_files(child.pid) if MARKER in content)
            time.sleep(0.005)
        self.assertEqual(child.returncode, 0)
        self.assertEqual((seen, readable), (set(), set()))
        self.assert_no_plaintext(layout)

    def test_interrupted(self):
        layout = self.layout(sample())
        self.good("pre-run", layout, station="alpha")
        big = fs.file("opt/pht_results/big", (MARKER + os.urandom(5)) * 1_000_000)
        self.run_code(layout, "alpha", [big])
        digest = layout.tags()["latest"]["digest"]
        before = set(layout.blobs())
        argv = self.arguments("post-run", layout, station="alpha")
        for delay in (0.01, 0.05):
            status = self.killed(argv, delay, with_signal=signal.SIGTERM)
            if status != 0:
                self.assertEqual(status, -signal.SIGTERM)
                self.assertEqual(layout.tags()["latest"]["digest"], digest)
                self.assertEqual(set(layout.blobs()), before)
        if layout.tags()["latest"]["digest"] == digest:
            self.good("post-run", layout, station="alpha")
        self.assert_no_plaintext(layout)


def unlinked_files(process):
    """Files without a name that a process has open, but for blobs of the decrypted image, which it removes itself."""
    try:
        for number in os.listdir(f"/proc/{process}/fd"):
            path = f"/proc/{process}/fd/{number}"
            target = os.readlink(path)
            if target.endswith(" (deleted)") and not re.search("/blobs/sha256/[0-9a-f]{64} ", target):
                with open(path, "rb") as stream:
                    yield target, stream.read()
    except OSError:
        pass  # it was closed, or the process ended, in between


if __name__ == "__main__":
    unittest.main()
