"""The image below a train in container engines: verify --against and run --against, and what an engine that lies about
layers comes to."""

import gzip
import io
import json
import os
import subprocess
import tarfile
import unittest

from support import engine as engines
from support import files as fs
from support import oci, pht, proxy
from support.engine_case import EngineCase
from support.station import DEFINITION, pool_key, sample, sample_at

MASTER = {"Env": [f"PATH={engines.PATH}", "LANG=C"], "WorkingDir": "/tmp", "Labels": {"kept": "yes"},
          "StopSignal": "SIGINT", "Cmd": ["/bin/sh"]}
RUNS = ["/bin/sh", "/opt/pht_train/entrypoint.sh"]
SETTINGS = {**MASTER, "Entrypoint": RUNS, "Cmd": None}
UPPER = oci.Layer([fs.folder("usr"), fs.file("usr/program", b"of the master's", 0o755), fs.folder("opt")])
ABOVE = [fs.folder("opt"), fs.folder("opt/pht_results")]
SAVED = "GET /images/*/get*"
KEYS = {"TRAINTOKEN_TRUST_TRAIN_KEYS": "1"}


def saved(edit):
    """Edits what an engine hands out as a list of (name, type, bytes or target)."""
    def change(body):
        found = []
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            for one in archive:
                found.append((one.name, one.type, archive.extractfile(one).read() if one.isfile() else one.linkname))
        return packed(edit(found))
    return proxy.edited_body(change)


def is_layer(content):
    """By what it is: engines before 25 call it ID/layer.tar, those since then by its digest, as they do with JSON."""
    return isinstance(content, bytes) and content[257:262] == b"ustar"


def packed(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as archive:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(content, bytes):
                info.size = len(content)
            else:
                info.linkname = content
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


class AgainstCase(EngineCase):
    master, name = "master:latest", "pht/train"

    def load(self, *extra, hidden=(), position=1, below=None, config=None, opt=None):
        """The master, and the sample train on it."""
        below = [engines.system_layer(), UPPER] if below is None else below
        entries = list((opt or sample_at(position)).values())
        if hidden:
            entries = [oci.opaque("opt/pht_train"), oci.opaque("opt/pht_results"), *entries]
        own = oci.Layer(entries)
        self.engine.load({self.master: [engines.system_layer(), UPPER]}, {"config": MASTER})
        train = [*below, *(oci.Layer(one) for one in hidden), own, *(oci.Layer(one) for one in extra)]
        self.engine.load({f"{self.name}:latest": train, f"{self.name}:base": train[:len(below) + 1]},
                         {"config": SETTINGS if config is None else config})

    def holds(self, master=None, name=None):
        says = self.good("verify", "--json", "--against", master or self.master, name or self.name, pin=None)
        self.assertTrue({"base-layers", "own-layers", "settings", "command"} <= {one["name"] for one in says["checks"]})

    def differs(self, words, status=4, master=None):
        return self.refused(status, words, "verify", "--against", master or self.master, self.name, pin=None)


class InAnyEngine:
    """What holds for Docker and Podman."""

    def test_honest_and_not(self):
        self.load()
        self.holds()
        cases = {
            "a file": ([fs.folder("etc"), fs.file("etc/motd", b"x")], "/etc"),
            "19 a name alike": ([fs.folder("opt"), fs.file("opt/pht_train.so", b"x")], "/opt/pht_train.so"),
            "19 a link moved": ([fs.folder("bin"), fs.symlink("bin/sh", "/opt/pht_results/sh")], "/bin"),
            "a file removed": ([fs.folder("bin"), oci.whiteout("bin/cat")], "/bin"),
            "a file of the root": ([fs.file("x", b"x")], "/x"),
        }
        for name, (entries, words) in cases.items():
            with self.subTest(name):
                self.engine.clear()
                self.load(hidden=[entries])
                self.good("verify", self.name, pin=None)
                self.differs([words, "layer" if name == "none" else ""])

    def test_other_layers(self):
        other = oci.Layer([fs.folder("usr"), fs.file("usr/program", b"another one", 0o755), fs.folder("opt")])
        for name, below in {"replaced": [engines.system_layer(), other], "missing": [engines.system_layer()]}.items():
            with self.subTest(name):
                self.engine.clear()
                self.load(below=below)
                self.good("verify", self.name, pin=None)
                self.differs(["is not built on", "layer 2"])

    def test_across_stores(self):
        self.load()
        layout = oci.Layout.create(f"{self.work}/layout")
        below = [oci.Layer(engines.system_layer().tar, "gzip"), UPPER]
        layout.tag("latest", layout.image(below, {"config": MASTER}))
        own = oci.Layer(list(sample_at(1).values()), "gzip")
        layout.tag("train", layout.image([*below, own], {"config": SETTINGS}))
        self.holds(f"oci:{layout.path}")
        self.holds(name=f"oci:{layout.path}:train")
        self.differs(["is a train itself"], 2, f"oci:{layout.path}:train")
        other = layout.image([below[0], oci.Layer([fs.folder("x")])], {"config": MASTER})
        layout.tag("other", other)
        self.differs(["is not built on"], master=f"oci:{layout.path}:other")
        self.engine.api("DELETE", f"/images/{self.master}?force=1")
        self.differs(["is not in the container engine", self.master], 8)

    def test_settings(self):
        for name, value in (("Env", [*MASTER["Env"], "LD_PRELOAD=/opt/pht_results/x.so"]), ("User", "user"),
                            ("WorkingDir", "/opt"), ("Entrypoint", ["/bin/sh", "-c", "true"]), ("Cmd", ["x"]),
                            ("Labels", {"kept": "no"})):
            with self.subTest(name):
                self.engine.clear()
                self.load(config={**SETTINGS, name: value})
                self.good("verify", self.name, pin=None)
                self.differs([name])

    def test_a_whole_stop(self):
        """Every state that a train made here goes through is built on the master."""
        definition = f"{self.work}/definition"
        os.mkdir(definition)
        with open(f"{definition}/main.sh", "w", encoding="ascii") as stream:
            stream.write("echo 1 > /opt/pht_results/one\n")
        with open(f"{self.work}/alpha.pem", "wb") as stream:
            stream.write(pht.public_pem(pool_key("alpha")))
        self.load()
        # An image that a container made, with all that its engine puts into such a one.
        self.engine.put(self.master, [fs.folder("srv"), fs.file("srv/x", b"x")], tag=self.master)
        name = self.name.replace("train", "sealed")
        self.good("seal", "--definition", definition, "--base", self.master, "--creator", "me", "--stop",
                  f"alpha={self.work}/alpha.pem", "--interpreter", "/bin/sh", name, key="creator")
        self.holds(name=name)
        says = self.good("verify", "--json", name, pin=None)
        self.assertIn("own-layers", {one["name"] for one in says["checks"]}, "by its manifest")
        self.good("pre-run", name, station="alpha", env=KEYS)
        self.holds(name=name)
        self.engine.put(f"{name}:latest", [fs.file("opt/pht_results/one", b"1\n"), fs.symlink("opt/pht_results/two", "one")])
        self.holds(name=name)
        self.good("post-run", name, station="alpha", env=KEYS)
        self.holds(name=name)
        # Podman hands out archives in which the pieces of a large file are not to be found by size alone.
        self.engine.put(f"{name}:latest", [fs.file("srv/y", b"x")])
        self.refused(4, ["/srv"], "verify", name, pin=None)
        self.refused(4, ["/srv"], "verify", "--against", self.master, name, pin=None)


@engines.needs_engine()
class Docker(InAnyEngine, AgainstCase):
    def test_links(self):
        """Docker unpacks a layer in its own folder, where a link leads to other files of the image."""
        first = [*ABOVE, fs.folder("opt/pht_train"), fs.symlink("opt/pht_results/sub", "../pht_train")]
        through = fs.file("opt/pht_results/sub/json.py", b"x")
        for name, layers in {"one layer": [[*first, through]], "the next layer": [first, [through]]}.items():
            with self.subTest(name):
                self.engine.clear()
                self.load(hidden=layers)
                self.differs(["link", "/opt/pht_results/sub"])

    def test_words_of_an_overlay_file_system(self):
        """Docker sets extended attributes as they come: this one would hide what the master has in /opt."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo("opt")
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            info.pax_headers = {"SCHILY.xattr.trusted.overlay.opaque": "y"}
            archive.addfile(info)
        self.load(hidden=[out.getvalue()])
        self.good("verify", self.name, pin=None)
        self.differs(["/opt", "extended attributes"])

    def test_nothing_to_compare_with(self):
        """18: an image of which the engine names no layers."""
        self.load()
        with engines.LyingDaemon(self.engine) as lying:
            self.client = lying
            lying.on("GET /images/master*/json", proxy.edited_body(
                lambda body: json.dumps({**json.loads(body), "RootFS": {"Type": "layers"}}).encode()))
            self.differs(["has no layers", "nothing"])
            lying.forget()
            lying.on(f"GET /images/{self.name}*/json", proxy.edited_body(
                lambda body: json.dumps({**json.loads(body), "RootFS": None}).encode()))
            self.differs(["is not built on", "missing"])
            self.client = self.engine

    def test_run(self):
        code = fs.file("", b"#!/bin/sh\necho 1 > /opt/pht_results/one\n", 0o755)
        opt = sample(definition=DEFINITION | {"entrypoint.sh": code})
        self.load(opt=opt)
        self.good("run", "--against", self.master, self.name, station="alpha", env=KEYS)
        self.assertEqual(pht.open_train(self.engine.tree(f"{self.name}:latest"), pool_key("beta")).results, {"one": b"1\n"})
        self.holds()
        self.engine.clear()
        self.load([fs.folder("etc"), fs.file("etc/motd", b"x")], opt=opt)
        before, mark = self.engine.state(), self.engine.log_size()
        # Before the token, and before anything of the train runs.
        self.state += "-other"
        self.refused(4, ["/etc"], "run", "--against", self.master, self.name, station="alpha", module="/nonexistent.so",
                     env=KEYS)
        self.assertEqual(self.engine.state(), before)
        self.assertEqual(self.engine.count(r"POST /containers/[^/]+/start", mark), 0)
        self.refused(2, ["reference"], "run", "--against", "oci:", self.name, station="alpha")
        self.refused(8, ["nowhere"], "run", "--against", "nowhere:latest", self.name, station="alpha", env=KEYS)

    def test_engines_that_lie(self):
        self.load()
        own = oci.Layer(list(sample_at(1).values())).diff_id
        with engines.LyingDaemon(self.engine) as lying:
            self.client = lying

            def through(action):
                lying.forget()
                lying.on(SAVED, action)

            def layers(entries, change):
                return [(name, kind, change(data) if is_layer(data) else data) for name, kind, data in entries]

            # Other forms in which engines hand out the same.
            for what, edit in {
                    "compressed": lambda all_: layers(all_, gzip.compress),
                    "blobs by digest": lambda all_: [
                        (f"blobs/sha256/{oci.digest_of(data)[7:]}" if is_layer(data) else name, kind, data)
                        for name, kind, data in all_],
                    "the other way around": lambda all_: all_[::-1],
                    "without JSON": lambda all_: [one for one in all_ if is_layer(one[2])],
                    "much more": lambda all_: [("x" * 90 + str(i), tarfile.REGTYPE, b"noise" * i) for i in range(300)] + all_,
                    "links among it": lambda all_: [("a/layer.tar", tarfile.SYMTYPE, "../b.tar"),
                                                    ("dev", tarfile.CHRTYPE, b"")] + all_}.items():
                with self.subTest(what):
                    through(saved(edit))
                    self.holds()
            whole = tarfile.REGTYPE
            evil = fs.write_tar([fs.file("etc/passwd", b"x")])
            name = f"blobs/sha256/{own[7:]}"
            for what, action in {
                    "without the layer": saved(lambda all_: [
                        one for one in all_ if not isinstance(one[2], bytes) or oci.digest_of(one[2]) != own]),
                    "another in its place": saved(lambda all_: [(name, whole, evil)]),
                    "one byte more": saved(lambda all_: layers(all_, lambda data: data + b"\0")),
                    "one byte else": saved(lambda all_: layers(all_, lambda data: data[:-1] + b"\1")),
                    "compressed twice": saved(lambda all_: layers(all_, lambda data: gzip.compress(gzip.compress(data)))),
                    "cut compression": saved(lambda all_: layers(all_, lambda data: gzip.compress(data)[:-9])),
                    "nothing": proxy.edited_body(lambda body: b""),
                    "zeros": proxy.edited_body(lambda body: bytes(10240)),
                    "noise": proxy.edited_body(lambda body: os.urandom(20000)),
                    "JSON": proxy.reply(200, {"layers": []}),
                    "half of it": proxy.edited_body(lambda body: body[:1000]),
                    "cut off": proxy.cut_reply(3000),
                    "no answer": proxy.cut(),
                    "an error": proxy.refusal(500, "no space left on device"),
                    "gone": proxy.refusal(404, "No such image"),
                    "too many files": saved(lambda all_: [(f"{i}", whole, b"") for i in range(20001)] + all_)}.items():
                with self.subTest(what):
                    through(action)
                    self.differs([], 8)
                    self.assertTrue(lying.seen(SAVED))
            # A bomb is stopped, whether it is a layer or not.
            bomb = subprocess.run("head -c 1100M /dev/zero | zstd -q", shell=True, stdout=subprocess.PIPE, check=True).stdout
            through(saved(lambda all_: [("bomb", whole, bomb), *all_]))
            self.differs(["beyond all measure"], 3)
            self.client = self.engine

    def test_memory(self):
        """Whatever the size of the layers."""
        peaks = []
        for size in (1, 96):
            self.engine.clear()
            big = oci.Layer([fs.file("usr/big", os.urandom(1 << 20) * size)])
            own = oci.Layer(list(sample_at(1).values()))
            more = oci.Layer([*ABOVE, fs.file("opt/pht_results/big", os.urandom(1 << 20) * size)])
            self.engine.load({self.master: [engines.system_layer(), big]}, {"config": MASTER})
            self.engine.load({f"{self.name}:latest": [engines.system_layer(), big, own, more]}, {"config": SETTINGS})
            peaks.append(self.peak(self.arguments("verify", "--against", self.master, self.name)))
        self.assertLess(peaks[1] - peaks[0], 4 * 1024)


REASON = engines.why_not("podman")


@unittest.skipIf(REASON is not None, REASON or "")
class Podman(InAnyEngine, AgainstCase):
    master, name = "localhost/master:latest", "localhost/pht/train"

    @classmethod
    def setUpClass(cls):
        cls.engine = engines.Podman()
        cls.addClassCleanup(cls.engine.close)


if __name__ == "__main__":
    unittest.main()
