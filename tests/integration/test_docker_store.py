"""The store on a container engine, asked through image_tool: what it reads, what it makes, what it leaves behind."""

import contextlib
import functools
import hashlib
import os
import signal
import subprocess
import time
import unittest

from support import engine as engines
from support import files as fs
from support import oci, proxy

TOOL = os.environ["IMAGE_TOOL"]
RESULTS = "opt/pht_results"
LONG = "n" * 200
CONFIG = {"config": {"Entrypoint": ["/bin/sh"], "Cmd": ["-c", "true"], "Env": ["A=b", "PATH=/bin"], "User": "5:6",
                     "WorkingDir": "/opt", "Labels": {"one": "1"}, "StopSignal": "SIGINT", "Shell": ["/bin/ash"],
                     "OnBuild": ["RUN true"], "ExposedPorts": {"80/tcp": {}}}}


def opt(*results):
    return list(fs.tree([fs.file("opt/train_config.json", b"{}"), fs.file("opt/pht_train/main.py", b"print()", 0o755),
                         fs.folder(RESULTS, 0o750), *results]).values())


RICH = opt(fs.file(f"{RESULTS}/a.txt", b"after a"), fs.folder(f"{RESULTS}/a", 0o700, uid=7, gid=8),
           fs.file(f"{RESULTS}/a/x", b"x" * 100_001, 0o4750, uid=1000, gid=2000, mtime=915_148_800),
           fs.hardlink(f"{RESULTS}/a/y", f"{RESULTS}/a/x", uid=1000, gid=2000, mtime=915_148_800).with_(mode=0o4750),
           fs.symlink(f"{RESULTS}/abs", "/etc/passwd"),
           fs.symlink(f"{RESULTS}/rel", "a/x", uid=3), fs.file(f"{RESULTS}/empty"),
           fs.file(f"{RESULTS}/{LONG}/{LONG}/end", b"long"), fs.file(f"{RESULTS}/m\u00fcll x", b"umlaut"),
           fs.folder(f"{RESULTS}/sticky", 0o1777))


@functools.cache
def shared_podman():
    return engines.Podman()


class Case(unittest.TestCase):
    engine_for_all = staticmethod(engines.shared)

    def setUp(self):
        self.engine = self.engine_for_all()
        self.engine.clear()
        self.addCleanup(self.engine.clear)
        self.servers = contextlib.ExitStack()
        self.addCleanup(self.servers.close)

    # ------------------------------------------------------------------------------------------ the tool

    def tool(self, *arguments, status=0, words="", server=None):
        env = {**os.environ, **(server or self.engine).env()}
        done = subprocess.run([TOOL, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False, timeout=120)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(words, done.stderr)
        self.assertTrue(status or "warning" not in done.stderr, done.stderr)
        return done.stdout

    def start(self, *arguments):
        """A tool that works on until it says a line."""
        process = subprocess.Popen([TOOL, *arguments], env={**os.environ, **self.engine.env()}, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def say(self, process, word):
        for line in process.stdout:
            if line.strip() == word:
                return
        self.fail(process.stderr.read())

    def end(self, process, number):
        process.send_signal(number)
        process.wait(timeout=60)

    def load(self, name="train:latest", entries=None, config=None):
        self.engine.load({name: [engines.system_layer(), oci.Layer(RICH if entries is None else entries)]},
                         config or CONFIG)
        return self.engine.id(name)

    def lying(self):
        return self.servers.enter_context(engines.LyingDaemon(self.engine))

    def expected(self, entries, path=RESULTS):
        lines = []
        for entry in fs.under(fs.tree(entries), path):
            kind = {fs.SYMLINK: "symbolic link", fs.HARDLINK: "hard link"}.get(entry.kind, entry.kind)
            target = {fs.FILE: hashlib.sha256(entry.content).hexdigest(), fs.FOLDER: "-"}.get(entry.kind, entry.target)
            lines.append((kind, f"{entry.mode:o}", f"{entry.uid}:{entry.gid}", f"{entry.mtime}.000000000",
                          str(len(entry.content)), target, entry.path))
        return lines

    def listed(self, how, name, path=RESULTS):
        found = []
        for line in self.tool(how, name, path).splitlines():
            kind = next(one for one in ("file", "folder", "symbolic link", "hard link") if line.startswith(one + " "))
            found.append((kind, *line.removeprefix(kind + " ").split(" ", 5)))
        return found

    def assert_nothing_left(self, tags):
        self.assertEqual(self.engine.containers(), {})
        self.assertEqual(self.engine.tags(), tags)
        self.assertEqual(self.engine.dangling(), [])


@engines.needs_engine()
class Store(Case):

    # ------------------------------------------------------------------------------------------ reading

    def test_files_and_stream_say_the_same(self):
        self.load()
        self.assertEqual(self.listed("stream", "train"), self.expected(RICH))
        self.assertEqual(self.listed("files", "train"), self.expected(RICH))
        self.assertEqual(self.tool("files", "train", RESULTS), self.tool("stream", "train", RESULTS))
        self.assertEqual(self.listed("files", "docker-daemon:train:latest", "opt/train_config.json"),
                         self.expected(RICH, "opt/train_config.json"))
        self.assertEqual(self.engine.containers(), {})

    def test_what_is_not_there(self):
        self.load()
        for how in ("files", "stream"):
            self.assertEqual(self.tool(how, "train", "opt/nothing"), "")
            self.assertEqual(self.tool(how, "train", "opt/nothing/below"), "")
            self.assertEqual(self.tool(how, "train", "no/where"), "")
            self.tool(how, "absent", RESULTS, status=8, words="absent:latest is not in the container engine")
            self.tool(how, "train:other", RESULTS, status=8, words="traintoken pull train:other")
            self.tool(how, "train@sha256:" + 64 * "0", RESULTS, status=8, words="is not in the container engine")

    def test_what_is_no_folder(self):
        self.load("one:latest", [fs.file("opt/pht_results", b"a file")])
        self.assertEqual([one[0] for one in self.listed("files", "one")], ["file"])
        self.load("two:latest", [fs.symlink("opt/pht_results", "/etc")])
        for how in ("files", "stream"):
            self.assertEqual([(one[0], one[5]) for one in self.listed(how, "two")], [("symbolic link", "/etc")])
        self.load("three:latest", [fs.symlink("opt", "/elsewhere"), fs.file("elsewhere/pht_results/x", b"x")])
        self.load("four:latest", [fs.file("opt", b"x")], {"config": {"Cmd": ["x"]}})
        for how in ("files", "stream"):
            self.tool(how, "three", RESULTS, status=4, words="/opt is a symbolic link where a folder must be")
            self.tool(how, "four", RESULTS, status=4, words="/opt is a file where a folder must be")
        self.tool("copy", "three", "two", "new:latest", "commit", status=4, words="/opt is a symbolic link")
        self.assertEqual(self.engine.containers(), {})

    def test_lies_of_an_engine(self):
        self.load()
        whole = self.engine.api("GET", f"/containers/{self.engine.create('train')}/archive?path=/{RESULTS}", raw=True)
        self.engine.clear()
        self.load()
        head = {"Content-Type": "application/x-tar"}
        other = fs.write_tar([fs.folder("pht_results"), fs.file("other/x", b"x")])
        outside = fs.write_tar([fs.folder("pht_results"), fs.hardlink("pht_results/x", "etc/passwd")])
        twice = fs.write_tar([fs.folder("pht_results"), fs.file("pht_results/b"), fs.file("pht_results/a"),
                              fs.file("pht_results/a")])
        below = fs.write_tar([fs.folder("pht_results"), fs.symlink("pht_results/a", "/"), fs.file("pht_results/a/x")])
        headless = fs.write_tar([fs.file("pht_results/a")])
        for name, tar, status in (("cut in a file", whole[:50_000], 8), ("cut at a block", whole[:51_200], 8),
                                  ("without its end", whole.rstrip(b"\0") + 200 * b"\0", 8), ("empty", b"", 8),
                                  ("no tar", 4096 * b"x", 3), ("zeros", bytes(10240), 8),
                                  ("endless end", whole + bytes(2 << 20), 8), ("elsewhere", other, 8),
                                  ("link leads out", outside, 8), ("twice", twice, 8), ("below a link", below, 8),
                                  ("folder is missing", headless, 8), ("a file", fs.write_tar([fs.file("pht_results")]), 8),
                              ("a link", fs.write_tar([fs.symlink("pht_results", "/")]), 8)):
            for how in ("files", "stream"):
                with self.subTest(f"{name}, {how}"):
                    lying = self.lying()
                    lying.on("GET /containers/*/archive*", proxy.reply(200, tar, **head))
                    self.tool(how, "train", RESULTS, status=status, server=lying)
        with self.subTest("connection cut"):
            lying = self.lying()
            lying.on("GET /containers/*/archive*", proxy.cut_reply(60_000))
            self.tool("stream", "train", RESULTS, status=8, server=lying)
        with self.subTest("the container vanishes"):
            lying = self.lying()

            def vanish():
                for name in self.engine.containers():
                    self.engine.remove(name)
            lying.on("HEAD /containers/*/archive*", proxy.calling(vanish))
            self.tool("stream", "train", RESULTS, status=8, server=lying, words="No such container")
        self.assertEqual(self.engine.containers(), {})

    # ------------------------------------------------------------------------------------------ changing

    def test_copy_keeps_everything(self):
        parent = self.load("train:latest", opt(fs.file(f"{RESULTS}/old", b"old"), fs.file(f"{RESULTS}/a", b"in the way")))
        source = self.load("source:latest")
        since = self.engine.log_size()
        digest = self.tool("copy", "train", "source", "train", "both", "/bin/busybox").strip()
        for pattern, count in ((r"GET /containers/\w+/archive", 1), (r"PUT /containers", 1), (r"POST /commit", 1)):
            self.assertEqual(self.engine.count(pattern, since), count, pattern)
        self.assertEqual(self.engine.tags(), {"train:latest": digest, "train:base": digest, "source:latest": source})
        self.assertEqual(self.listed("files", "train"), self.expected(RICH))
        self.assertEqual(self.listed("files", "train", "opt/pht_train"), self.expected(RICH, "opt/pht_train"))
        self.assertEqual(self.engine.image(digest)["Parent"], parent)
        self.assertEqual(self.engine.containers(), {})
        after = self.engine.image(digest)["Config"]
        before = self.engine.image(parent)["Config"]
        self.assertEqual(after.pop("Entrypoint"), ["/bin/busybox"])
        self.assertFalse(after.pop("Cmd"))
        before.pop("Entrypoint"), before.pop("Cmd")
        self.assertEqual(after, before)
        self.assertEqual(after["Hostname"], "")

    def test_configuration_is_the_parents(self):
        parent = self.load()
        digest = self.tool("copy", "train", "train", "new:latest", "commit").strip()
        self.assertEqual(self.engine.image(digest)["Config"], self.engine.image(parent)["Config"])

    def test_parent_without_a_command(self):
        self.load(config={"config": {}})
        self.tool("copy", "train", "train", "train", "commit", "/bin/sh")
        config = self.engine.image("train")["Config"]
        self.assertEqual((config["Entrypoint"], config["Cmd"] or []), (["/bin/sh"], []))

    def test_folder_takes_the_place_of_anything(self):
        self.load("source:latest")
        for entry in (fs.symlink(RESULTS, "/etc"), fs.file(RESULTS, b"file"), fs.file("opt/other", b"none at all")):
            self.load("train:latest", [entry])
            self.tool("copy", "train", "source", "train", "commit")
            self.assertEqual(self.listed("files", "train"), self.expected(RICH))

    def test_abandoned(self):
        for how in ("abandon", "abandon-sealed"):
            digest = self.load()
            self.tool("copy", "train", "train", "train", how)
            self.assert_nothing_left({"train:latest": digest})

    def test_volume(self):
        for volume in ("/opt", "/opt/pht_results/", "/opt/pht_results/plots", "/"):
            self.load(config={"config": {"Cmd": ["x"], "Volumes": {volume: {}}}})
            self.tool("copy", "train", "train", "train", "commit", status=3, words="never becomes a part of the image")
        self.load(config={"config": {"Cmd": ["x"], "Volumes": {"/opt/pht_trainer": {}, "/data": {}}}})
        self.tool("copy", "train", "train", "train", "commit")

    def test_changed_by_something_else(self):
        self.load()
        other = self.load("other:latest", opt())
        self.engine.tag("train:latest", "old:latest")
        process = self.start("copy", "train", "train", "train", "wait-sealed")
        self.say(process, "wait-sealed")
        self.engine.tag("other:latest", "train:latest")
        self.end(process, signal.SIGINT)
        self.assertEqual(process.returncode, 8)
        lying = self.lying()
        lying.on("POST /commit*", proxy.calling(lambda: self.engine.tag("old:latest", "train:latest")))
        self.tool("copy", "train", "train", "train", "commit", status=8, server=lying, words="by something else")
        self.assertEqual(self.engine.id("other"), other)
        self.assertEqual(self.engine.id("train"), self.engine.id("old"))
        self.assertEqual(self.engine.dangling(), [])

    def test_lost_replies(self):
        digest = self.load()
        for pattern in ("POST /containers/create*", "PUT /containers/*", "POST /commit*"):
            with self.subTest(pattern):
                lying = self.lying()
                lying.on(pattern, proxy.lost_reply(), nth=1, times=1)
                self.tool("copy", "train", "train", "train", "commit", status=8, server=lying)
                self.assert_nothing_left({"train:latest": digest})
        lying = self.lying()
        lying.on("POST /images/*/tag*", proxy.lost_reply(), nth=1, times=1)
        made = self.tool("copy", "train", "train", "train", "commit", server=lying).strip()
        self.assertEqual(self.engine.tags()["train:latest"], made)

    def test_second_tag_fails(self):
        """Both tags or none."""
        digest = self.load()
        other = self.load("train:base", opt())
        for base in (other, None):
            if base is None:
                self.engine.api("DELETE", "/images/train:base")
            lying = self.lying()
            lying.on("POST /images/*/tag?repo=train&tag=latest", proxy.refusal(500, "no room for tags"))
            self.tool("copy", "train", "train", "train", "both", status=8, server=lying, words="no room for tags")
            self.assert_nothing_left({"train:latest": digest, **({"train:base": base} if base else {})})

    def test_refused_upload(self):
        digest = self.load()
        lying = self.lying()
        lying.on("PUT /containers/*", proxy.refusal(507, "no space left on device"))
        self.tool("copy", "train", "train", "train", "commit", status=8, server=lying, words="no space left on device")
        self.assert_nothing_left({"train:latest": digest})

    # ------------------------------------------------------------------------------------------ what is left

    def settled(self):
        """The engine's state once nothing changes any more: a container that was committed is removed in passing."""
        last = None
        while last != (now := self.engine.state()):
            last = now
            time.sleep(0.5)
        return now

    def test_killed(self):
        digest = self.load()
        for word, images in (("wait", 0), ("wait-sealed", 1)):
            process = self.start("copy", "train", "train", "train", word)
            self.say(process, word)
            before = self.settled()
            self.assertEqual(self.tool("clean"), "")
            self.assertEqual(self.engine.state(), before, "what a living process has is left alone")
            self.end(process, signal.SIGKILL)
            found = self.tool("clean", "--dry-run").splitlines()
            self.assertEqual(self.engine.state(), before)
            self.assertEqual(sum(line.startswith("image ") for line in found), images)
            self.assertEqual(sum(line.startswith("container ") for line in found), len(before["containers"]))
            self.assertEqual(self.tool("clean").splitlines(), found)
            self.assert_nothing_left({"train:latest": digest})
            self.assertEqual(self.tool("clean"), "")

    def test_interrupted(self):
        digest = self.load()
        for number in (signal.SIGINT, signal.SIGTERM):
            for word in ("wait", "wait-sealed"):
                process = self.start("copy", "train", "train", "train", word)
                self.say(process, word)
                self.end(process, number)
                self.assert_nothing_left({"train:latest": digest})

    def test_clean_spares_what_is_not_left_over(self):
        """An old encrypted state that once had the tag, containers and images of others."""
        self.load()
        self.tool("copy", "train", "train", "train", "commit")
        self.tool("copy", "train", "train", "train", "commit")
        self.engine.create("train", "traintoken.mine")
        self.engine.create("train", "my-traintoken.1234abcd.1.1.1.habc.1")
        self.load("third:latest", opt())
        self.engine.tag("third:latest", "train:latest")
        before = self.engine.state()
        self.assertEqual(self.tool("clean"), "")
        self.assertEqual(self.engine.state(), before)

    def test_who_lives(self):
        """Owners in containers, of earlier boots of this machine, and of other machines."""
        self.load()
        process = self.start("copy", "train", "train", "train", "wait")
        self.say(process, "wait")
        _, boot, space, number, start, host, _ = next(iter(self.engine.containers())).split(".")
        self.end(process, signal.SIGTERM)
        running = self.engine.create("train", "running", ["/bin/busybox", "sleep", "600"])
        self.engine.api("POST", f"/containers/{running}/start")
        stopped = self.engine.create("train", "stopped")
        mine = f"{os.getpid()}.{start}"
        with open("/proc/self/stat", encoding="ascii") as stream:
            own = stream.read().rpartition(")")[2].split()[19]
        stay = [f"{boot}.{space}.{os.getpid()}.{own}.{host}.1", f"{boot}.1.5.6.{running[:12]}.1",
                f"{boot}.1.5.6.h00000000.1", "00000000.1.5.6.h00000000.1", "00000000.1.5.6.0123456789ab.1"]
        go = [f"{boot}.{space}.{mine}.{host}.2", f"{boot}.{space}.{number}.{start}.{host}.2",
              f"{boot}.1.5.6.{stopped[:12]}.2", f"{boot}.1.5.6.0123456789ab.2", f"00000000.1.5.6.{host}.2"]
        odd = ["xyz", f"{boot}.{space}.{number}.{start}.{host}", f"{boot}.{space}.{number}.{start}.{host}.2x",
               f"{boot}0.{space}.{number}.{start}.{host}.2", f"{boot}.{space}..{start}.{host}.2"]
        for name in stay + go + odd:
            self.engine.create("train", "traintoken." + name)
        self.assertEqual(sorted(line.split()[1] for line in self.tool("clean").splitlines()),
                         sorted("traintoken." + name for name in go))
        self.assertEqual(sorted(self.engine.containers()),
                         sorted(["running", "stopped", *("traintoken." + name for name in stay + odd)]))

    def test_clean_takes_decrypted_images(self):
        """One that lost its tag, as when a run is killed between the tag and the removal."""
        digest = self.load()
        decrypted = self.tool("copy", "train", "train", "train", "commit+plaintext").strip()
        self.engine.tag(digest, "train:latest")
        self.assertIn(f"image {decrypted} holds a decrypted train", self.tool("clean"))
        self.assert_nothing_left({"train:latest": digest})

    def test_sweep(self):
        digest = self.load()
        decrypted = self.tool("copy", "train", "train", "train", "commit+plaintext").strip()
        self.engine.tag(decrypted, "keep:me")
        self.engine.tag(digest, "train:latest")
        self.assertIn("the tag 'keep:me' (docker rmi keep:me)", self.tool("sweep", "train", decrypted))
        self.engine.tag(digest, "keep:me")
        container = self.engine.create(decrypted, "mine")
        self.assertIn("the container 'mine' (docker rm mine)", self.tool("sweep", "train", decrypted))
        self.engine.remove(container)
        for _ in range(2):
            self.assertEqual(self.tool("sweep", "train", decrypted), "")
            self.assert_nothing_left({"train:latest": digest, "keep:me": digest})

    def test_sweep_takes_what_the_run_was_made_of(self):
        """The state after the run is an image that the station's own tools made of the decrypted one."""
        digest = self.load()
        base = self.load("train:base", opt())
        self.tool("copy", "train", "train", "train", "commit+plaintext")
        ran = self.engine.put("train:latest", [fs.file(f"{RESULTS}/plain", b"x")])
        self.engine.tag("train:base", "train:latest")
        self.assertEqual(self.tool("sweep", "train", ran), "")
        self.assertEqual(self.engine.tags(), {"train:latest": base, "train:base": base})
        self.assertEqual(self.engine.dangling(), [digest], "the encrypted one from before is not ours to remove")


@engines.needs_engine("podman")
class OnPodman(Case):
    """What Podman's service does like Docker, and where it differs: names, links that it follows, owners and times."""

    engine_for_all = staticmethod(shared_podman)

    def essence(self, lines):
        return [line[:2] + line[4:] for line in lines]

    def test_files_and_stream_say_the_same(self):
        self.load()
        for how in ("files", "stream"):
            self.assertEqual(self.essence(self.listed(how, "train")), self.essence(self.expected(RICH)))
            self.assertEqual(self.tool(how, "train", "opt/nothing"), "")
            self.tool(how, "absent", RESULTS, status=8, words="absent:latest is not in the container engine")

    def test_links_are_not_followed(self):
        self.load("one:latest", [fs.symlink("opt/pht_results", "/etc")], {"config": {"Cmd": ["x"]}})
        self.load("two:latest", [fs.symlink("opt", "/etc"), fs.folder("etc/pht_results")], {"config": {"Cmd": ["x"]}})
        for how in ("files", "stream"):
            self.tool(how, "one", RESULTS, status=4, words="/opt/pht_results is a symbolic link")
            self.tool(how, "two", RESULTS, status=4, words="/opt is a symbolic link where a folder must be")
        self.assertEqual(self.engine.containers(), {})

    def test_copy(self):
        old = self.load("train:latest", opt(fs.file(f"{RESULTS}/old", b"old"), fs.file(f"{RESULTS}/a", b"in the way")))
        source = self.load("source:latest")
        digest = self.tool("copy", "train", "source", "train", "both", "/bin/busybox").strip()
        self.assertEqual(self.essence(self.listed("files", "train")), self.essence(self.expected(RICH)))
        self.assertEqual((self.engine.id("train"), self.engine.id("train:base")), (digest, digest))
        config = self.engine.image(digest)["Config"]
        self.assertEqual((config["Entrypoint"], config["Cmd"] or [], config["User"], config["WorkingDir"]),
                         (["/bin/busybox"], [], "5:6", "/opt"))
        self.assertEqual((self.engine.containers(), self.engine.id("source")), ({}, source))
        self.assertIn(old, self.engine.images())

    def test_what_is_left(self):
        self.load()
        before = self.engine.state()
        for how in ("abandon", "abandon-sealed"):
            self.tool("copy", "train", "train", "train", how)
            self.assertEqual(self.engine.state(), before)
        for word in ("wait", "wait-sealed+plaintext"):
            process = self.start("copy", "train", "train", "train", word)
            self.say(process, word.partition("+")[0])
            self.assertEqual(self.tool("clean"), "")
            self.end(process, signal.SIGKILL)
            self.assertIn("container traintoken.", self.tool("clean"))
            self.assertEqual(self.engine.state(), before)

    def test_sweep(self):
        digest = self.load()
        before = self.engine.state()
        decrypted = self.tool("copy", "train", "train", "train", "commit+plaintext").strip()
        self.assertIn("the tag 'localhost/train:latest' (docker rmi localhost/train:latest)",
                      self.tool("sweep", "train", decrypted))
        self.engine.tag(digest, "localhost/train:latest")
        container = self.engine.create(decrypted, "mine")
        self.assertIn("the container 'mine' (docker rm mine)", self.tool("sweep", "train", decrypted))
        self.engine.remove(container)
        self.assertEqual(self.tool("sweep", "train", decrypted), "")
        self.assertEqual(self.engine.state(), before)


if __name__ == "__main__":
    unittest.main()
