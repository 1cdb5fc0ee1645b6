"""Attacks on a station by way of its container engine: by a train's code while it runs, by images that imitate ours, and by
other users of the machine. Each got through once."""

import os
import shutil
import signal
import tempfile
import time
import unittest
import urllib.parse

from support import engine as engines
from support import files as fs
from support import pht
from support.engine_case import EngineCase
from support.station import DEFINITION, MARKER, pool_key, sample

RUNS = {"Entrypoint": ["/bin/sh", "/opt/pht_train/entrypoint.sh"], "Env": [f"PATH={engines.PATH}"]}
IMITATION = "traintoken.deadbeef.1.1.1.h00000000.1 traintoken pre-run, decrypted"


class AttackCase(EngineCase):
    def setUp(self):
        super().setUp()
        self.beside = tempfile.mkdtemp(prefix="traintoken-test-beside-")
        self.addCleanup(shutil.rmtree, self.beside, True)

    def train_with(self, script, config=None, more=()):
        """A train whose entry point is this shell script, with `more` entries in its image."""
        code = fs.file("", b"#!/bin/sh\n# " + MARKER + b"\n" + script.encode(), 0o755)
        opt = sample(definition=DEFINITION | {"entrypoint.sh": code})
        return self.train_of(opt | {entry.path: entry for entry in more}, config=RUNS | (config or {}))

    def stays(self, status, words, name, *options, command="run"):
        """A stop that is refused, with everything as it was."""
        before = self.engine.state()
        result = self.refused(status, words, command, *options, name, station="alpha")
        self.assertEqual(self.engine.state(), before)
        return result

    def folder(self, name, **files):
        os.mkdir(f"{self.beside}/{name}")
        for path, content in files.items():
            with open(f"{self.beside}/{name}/{path}", "w", encoding="ascii") as stream:
                stream.write(content)
        return f"{self.beside}/{name}"

    def commit(self, image, tag, comment):
        container = self.engine.create(image, command=["/bin/sh"])
        query = urllib.parse.urlencode({"container": container, "comment": comment,
                                        **dict(zip(("repo", "tag"), tag.split(":")))})
        try:
            return self.engine.api("POST", f"/commit?{query}", {})["Id"]
        finally:
            self.engine.remove(container)


@engines.needs_engine()
class Code(AttackCase):
    """The train's code."""

    def test_names_that_remove_files(self):
        """An engine takes them for removals when it commits: the results would be signed, and gone."""
        for name in (".wh.x", "deep/.wh.x", ".wh..wh..opq"):
            with self.subTest(name):
                self.stays(3, [".wh."], self.train_with(f"mkdir -p /opt/pht_results/deep; echo 1 > /opt/pht_results/{name}\n"))
        self.stays(3, [".wh."], self.train_with("mkdir -p /opt/pht_results/.wh.folder\n"))
        self.stays(3, [".wh."], self.train_with("cd /opt/pht_results; echo 1 > a; ln a .wh.b\n"))

    def test_a_volume_is_moved_over_the_results(self):
        """The engine mounts volumes again to read out of a container that has ended."""
        data = self.folder("data", raw="raw data of the station")
        move = "mv {0} /moved && mkdir -p {1} && ln -s /opt/pht_results {2}; exit 0\n"
        for above, folder, target in (("/mnt", "/mnt", "/mnt/data"), ("/a", "/a/b", "/a/b/c")):
            with self.subTest(target):
                self.stays(4, [target], self.train_with(move.format(above, folder, target)), "--volume", f"{data}:{target}")
        self.stays(4, ["/mnt"], self.train_with("mv /mnt /moved; mkdir /x; ln -s /opt/pht_results /x/data; ln -s x /mnt\n"),
                   "--volume", f"{data}:/mnt/data")

    def test_the_image_leads_a_volume_over_the_results(self):
        data = self.folder("data", raw="raw data of the station")
        name = self.train_with("exit 0\n", more=[fs.folder("opt/pht_results"), fs.symlink("opt/train_data", "pht_results")])
        mark = self.engine.log_size()
        self.stays(4, ["/opt/train_data", "link"], name, "--volume", f"{data}:/opt/train_data")
        self.assertEqual(self.engine.count(r"POST /containers/[^/]+/start", mark), 0)

    def test_volumes_elsewhere(self):
        """A folder that is not there, and a file that is."""
        data = self.folder("data", raw="data")
        name = self.train_with("cat /new/place/raw /etc/passwd /bin/sh.data > /opt/pht_results/x\n", more=[])
        self.good("run", "--volume", f"{data}:/new/place", "--volume", f"{data}/raw:/etc/passwd", "--volume",
                  f"{data}/raw:/bin/sh.data", name, station="alpha")
        self.assertEqual(pht.open_train(self.engine.tree(f"{name}:latest"), pool_key("beta")).results, {"x": b"data" * 3})

    def test_processes_that_live_on(self):
        """Nothing of the train writes any more while its results are read."""
        name = self.train_with("(trap '' HUP TERM; while :; do date >> /opt/pht_results/late; done) &\nsleep 0.3; exit 0\n")
        self.good("run", name, station="alpha")
        self.assertIn("late", pht.open_train(self.engine.tree(f"{name}:latest"), pool_key("beta")).results)

    def test_odd_names_and_times(self):
        script = r"""cd /opt/pht_results; touch "$(printf 'a\nb')" "$(printf 'esc\033[2J')" ./-rf 'q"uo'
touch -d @99999999999 future; touch -d @-5000000000 past; touch "$(printf '%0250d' 0)"
echo 1 > old; chmod 7777 old; ln old hard; ln -s old soft; mkdir -p none; chmod 000 none .
"""
        name = self.train_with(script)
        self.good("run", name, station="alpha")
        found = pht.open_train(self.engine.tree(f"{name}:latest"), pool_key("beta")).results
        self.assertLessEqual({"a\nb", "esc\x1b[2J", "-rf", 'q"uo', "future", "past", "0" * 250, "hard"}, set(found))
        result = self.good("run", name, station="beta")
        self.assertNotIn("\x1b", result.out + result.err)


@engines.needs_engine()
class Images(AttackCase):
    """What lies in the engine."""

    def test_volumes_in_other_words(self):
        for name in ("/opt//pht_results", "/opt/./pht_results", "/x/../opt/pht_results", "opt/pht_results", "//opt", "/..",
                     "/../opt/pht_results/x/..", "opt/pht_train/./lib"):
            with self.subTest(name):
                config = {"Volumes": {name: {}}}
                self.stays(3, ["volume"], self.train_with("exit 0\n", config), command="pre-run")
        for name in ("/opt/pht_results/../data", "/optional", "opt/pht_results.d", "/data/opt/pht_results"):
            with self.subTest(name):
                shutil.rmtree(self.state, True)
                self.good("run", self.train_with("exit 0\n", {"Volumes": {name: {}}}), station="alpha")

    def test_a_link_under_a_volume(self):
        """In the base alone, nothing would tell that what was put there is lost."""
        name = self.train_with("echo 1 > /opt/pht_results/one\n")
        self.engine.put(f"{name}:base", [fs.symlink("link", "/opt")], tag=f"{name}:base")
        container = self.engine.create(f"{name}:base", command=["/bin/sh"], Volumes={"/link": {}})
        self.engine.commit(container, f"{name}:base")
        self.engine.remove(container)
        self.stays(4, ["/link", "volume"], name)
        self.stays(3, ["volumes"], self.train_with("exit 0\n", {"Volumes": {f"/{place}": {} for place in range(101)}}))

    def test_a_base_on_decrypted_layers(self):
        """Encrypted where it shows, but the plaintext below would travel."""
        name = self.decrypted(0, "alpha")
        built = [entry for path, entry in self.engine.files(f"{name}:base", "opt/pht_train").items()]
        self.engine.put(f"{name}:latest", built, tag="odd:base")
        self.stays(4, ["odd:base", "layers"], name, "--base", "odd:base", command="post-run")
        self.good("post-run", name, station="alpha")
        self.assertFalse(any(MARKER in layer for layer in self.engine.layers(f"{name}:latest")))

    def test_a_pull_does_not_give_up_what_was_run(self):
        """The image would lose its name, and the next start would clear it away."""
        name = self.decrypted(0, "alpha")
        self.refused(9, ["post-run"], "pull", name)
        self.refused(9, ["post-run"], "run", "--pull", name, station="alpha", pin="wrong")
        self.good("post-run", name, station="alpha")

    def test_foreign_images_with_our_comment(self):
        """What a user built on one stays, whether it has a name or not."""
        self.engine.import_base("foreign:latest")
        self.commit("foreign:latest", "foreign:latest", IMITATION)
        for content in (b"1", b"2"):
            self.engine.put("foreign:latest", [fs.file("work", content)], tag="mine:latest")
        before = self.engine.state()
        self.good("clean")
        self.assertEqual(self.engine.state(), before)

    def test_containers_with_names_like_ours(self):
        """Of the living, of others, and of no form that we write."""
        self.engine.import_base("base:latest")
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            boot = stream.read()[:8]
        here = f"traintoken.{boot}.{os.stat('/proc/self/ns/pid').st_ino}"
        with open("/proc/self/stat", encoding="ascii") as stream:
            start = stream.read().rpartition(")")[2].split()[19]
        names = [f"{here}.{os.getpid()}.{start}.h00000000.1", "traintoken.deadbeef.1.1.1.h00000000.1", "traintoken",
                 "traintoken.1", f"my-{here}.1.1.h0.1", f"{here}.1.1.h0.1.more", f"{here}.1.x.h0.1",
                 f"{here}.99999999999999999999.1.h0.1"]
        for name in names:
            self.engine.create("base:latest", name, ["/bin/sh"])
        self.good("clean")
        self.assertEqual(sorted(self.engine.containers()), sorted(names))
        for name in names:
            self.engine.remove(name)


@engines.needs_engine()
class Others(AttackCase):
    """Other users of the machine, and an engine that stops in the middle of a word."""

    def test_the_tag_moves_while_the_train_runs(self):
        """Hours may lie between what was decrypted and what replaces it: theirs stays."""
        for what in ("another image", "no image"):
            with self.subTest(what):
                name = self.train_with("echo begun; sleep 1; exit 0\n")
                child = self.started("run", name, station="alpha")
                lines = iter(child.stderr.readline, "")
                self.assertIn("begun\n", lines)
                if what == "another image":
                    self.engine.put(f"{name}:base", [fs.file("newer", b"1")], tag=f"{name}:latest")
                else:
                    self.engine.api("DELETE", f"/images/{name}:latest?noprune=1")
                now = self.engine.id(name)
                out, err = child.communicate(timeout=30)
                self.assertEqual((child.returncode, out), (8, ""), err)
                self.assertEqual(self.engine.id(name), now)
                self.assert_no_plaintext_in_engine()
        self.good("run", self.train_with("exit 0\n"), station="alpha")

    def test_a_signal_while_nobody_reads_the_output(self):
        child = self.started("run", self.train_with("yes\n"), station="alpha")
        self.assertEqual(child.stderr.readline(), "y\n")
        time.sleep(1)
        child.send_signal(signal.SIGTERM)
        until = time.monotonic() + 20
        while self.engine.containers() and time.monotonic() < until:
            time.sleep(0.1)
        self.assertEqual(list(self.engine.containers()), [])
        child.communicate(timeout=20)
        self.assertEqual(child.returncode, -signal.SIGTERM)
        self.assert_no_plaintext_in_engine()

    def test_a_log_that_others_read(self):
        log = f"{self.beside}/log"
        for what in ("another's", "a second name"):
            with self.subTest(what):
                with open(log, "w", encoding="ascii") as stream:
                    stream.write("before")
                os.chmod(log, 0o666)
                if what == "another's":
                    os.chown(log, 65534, 65534)
                else:
                    os.link(log, f"{self.beside}/second")
                self.stays(2, ["--log"], self.train_with("echo word\n"), "--log", log)
                with open(log, encoding="ascii") as stream:
                    self.assertEqual(stream.read(), "before")
                os.remove(log)


if __name__ == "__main__":
    unittest.main()
