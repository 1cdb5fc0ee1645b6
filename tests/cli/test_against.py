"""The image below a train: verify --against (rows 18 and 19 of the table of attacks), layer by layer, in layouts."""

import copy
import hashlib
import io
import json
import os
import tarfile
import unittest

from support import files as fs
from support import oci
from support.station import Case, flipped, sample_at

MASTER = {"Env": ["PATH=/usr/bin:/bin", "LANG=C"], "User": "train", "WorkingDir": "/task", "Labels": {"kept": "yes", "empty": ""},
          "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "StopSignal": "SIGINT", "OnBuild": ["RUN true"],
          "Shell": ["/bin/sh", "-c"], "Healthcheck": {"Test": ["CMD", "/bin/true"], "Interval": 30000000000},
          "Cmd": ["/bin/sh"]}
RUNS = ["/bin/sh", "/opt/pht_train/entrypoint.sh"]
SETTINGS = {**MASTER, "Entrypoint": RUNS, "Cmd": None}
UPPER = oci.Layer([fs.folder("usr"), fs.folder("usr/bin"), fs.file("usr/bin/python", b"an interpreter", 0o755),
                   fs.folder("opt")], "gzip")
ABOVE = [fs.folder("opt")]
RESULTS = fs.folder("opt/pht_results")


class AgainstCase(Case):
    def setUp(self):
        super().setUp()
        self.master = self.master_of([oci.SYSTEM, UPPER])

    def master_of(self, layers, config=None, name="master", more=None):
        master = oci.Layout.create(f"{self.work}/{name}")
        master.tag("latest", master.image(layers, {"config": MASTER if config is None else config, **(more or {})}))
        return master

    def train(self, *extra, position=1, below=(oci.SYSTEM, UPPER), hidden=(), config=None, compression=None, more=None,
              name="train"):
        """The sample train on these layers, with more layers of its own on top, or hidden by it."""
        train = oci.Layout.create(f"{self.work}/{name}{self._count}")
        self._count += 1
        entries = list(sample_at(position).values())
        if hidden:
            entries = [oci.opaque("opt/pht_train"), oci.opaque("opt/pht_results"), *entries]
        layers = [*below, *(one if isinstance(one, oci.Layer) else oci.Layer(one, compression) for one in hidden),
                  oci.Layer(entries, compression)]
        layers += [one if isinstance(one, oci.Layer) else oci.Layer(one, compression) for one in extra]
        train.tag("latest", train.image(layers, {"config": SETTINGS if config is None else config, **(more or {})}))
        return train

    def holds(self, train, master=None, *options):
        return self.good("verify", "--json", "--against", f"oci:{(master or self.master).path}", *options, train, pin=None)

    def differs(self, train, words, status=4, master=None):
        """Refused for that reason, and not without the comparison unless `alone`."""
        return self.refused(status, words, "verify", "--against", f"oci:{(master or self.master).path}", train, pin=None)


class Layers(AgainstCase):
    def test_honest(self):
        for position in range(4):
            for compression in (None, "gzip", "zstd"):
                with self.subTest(position=position, compression=compression):
                    says = self.holds(self.train(position=position, compression=compression))
                    names = [check["name"] for check in says["checks"]]
                    self.assertLess(names.index("base-layers"), names.index("own-layers"))
                    self.assertTrue({"settings", "command"} <= set(names), names)
                    self.assertTrue(all(check["result"] == "ok" for check in says["checks"]
                                        if check["name"] in ("base-layers", "own-layers", "settings", "command")))

    def test_other_compression_is_the_same_layer(self):
        """Registries and engines compress anew; what counts is what the layer unpacks to."""
        below = [oci.Layer(oci.SYSTEM.tar, "zstd"), oci.Layer(UPPER.tar)]
        self.holds(self.train(below=below))

    def test_other_layers(self):
        other = oci.Layer([fs.file("usr/bin/python", b"another one", 0o755)], "gzip")
        empty = oci.Layer([])
        cases = {"replaced": (oci.SYSTEM, other), "swapped": (UPPER, oci.SYSTEM), "one missing": (oci.SYSTEM,),
                 "none": (), "the first twice": (oci.SYSTEM, oci.SYSTEM, UPPER), "one between": (oci.SYSTEM, empty, UPPER),
                 "one below": (empty, oci.SYSTEM, UPPER)}
        for name, below in cases.items():
            with self.subTest(name):
                train = self.train(below=below)
                self.good("verify", train, pin=None)
                self.differs(train, ["is not built on", "layer"])

    def test_fewer_layers_than_the_master(self):
        master = self.master_of([oci.SYSTEM, UPPER, oci.Layer([fs.folder("a")]), oci.Layer([fs.folder("b")])], name="long")
        self.differs(self.train(), ["layer 3"], master=master)
        self.differs(self.train(below=()), ["layer 1"], master=master)

    def test_diff_ids_that_lie(self):
        """The configuration names the master's layers, the manifest others."""
        other = oci.Layer([fs.file("usr/bin/python", b"another one", 0o755)], "gzip")
        plain = oci.Layer(other.tar)
        for name, layer in {"gzip": other, "plain": plain}.items():
            with self.subTest(name):
                train = self.train()
                descriptor = train.put(layer.blob, layer.media_type)
                self.rewrite(train, lambda manifest, config, one=descriptor: manifest["layers"].__setitem__(1, one))
                self.differs(train, ["diff_id"])

    def rewrite(self, train, change):
        """Changes manifest and configuration of the image behind the tag."""
        manifest, config = train.manifest("latest"), train.config("latest")
        change(manifest, config)
        manifest["config"] = train.put_json(config, oci.CONFIG)
        train.tag("latest", train.put_json(manifest, oci.MANIFEST))

    def test_counts_that_do_not_fit(self):
        def without(_, config):
            config["rootfs"]["diff_ids"].pop()
        train = self.train()
        self.rewrite(train, without)
        self.differs(train, ["diff_id"], 3)

    def test_history_means_nothing(self):
        train = self.train([fs.file("etc/passwd", b"root::0:0::/:/bin/sh\n")])

        def lie(_, config):
            config["history"] = self.master.config("latest")["history"]
        self.rewrite(train, lie)
        self.differs(train, ["/etc/passwd"])

    def test_names_that_some_programs_take_for_others(self):
        """JSON readers that do not mind capitals would see another image."""
        cases = {
            "Layers": lambda manifest, _: manifest.update(Layers=manifest["layers"][:1]),
            "Config": lambda manifest, _: manifest.update(CONFIG=manifest["config"]),
            "the long s": lambda manifest, _: manifest.update({"layer\u017f": []}),
            "rootfs": lambda _, config: config.update(RootFS=config["rootfs"]),
            "diff_ids": lambda _, config: config["rootfs"].update(Diff_IDs=[]),
            "config": lambda _, config: config.update(Config={"Env": ["LD_PRELOAD=/x.so"]}),
            "Env": lambda _, config: config["config"].update(env=["LD_PRELOAD=/x.so"]),
            "Entrypoint": lambda _, config: config["config"].update(ENTRYPOINT=["/bin/sh", "-c", "id"]),
            "User": lambda _, config: config["config"].update({"U\u017fer": "root"}),
            "digest": lambda manifest, _: manifest["layers"][0].update(Digest=manifest["layers"][1]["digest"]),
        }
        for name, change in cases.items():
            with self.subTest(name):
                train = self.train()
                self.rewrite(train, change)
                self.differs(train, ["differs only", "capital"], 3)

    def test_masters_that_cannot_be_compared_with(self):
        train = self.train()
        self.differs(train, ["is a train itself"], 2, train)
        self.refused(8, ["nowhere"], "verify", "--against", f"oci:{self.work}/nowhere", train, pin=None)
        self.refused(2, ["oci:"], "verify", "--against", "oci:", train, pin=None)
        broken = self.master_of([oci.SYSTEM, oci.Layer(UPPER.tar)], name="broken")
        place = broken.blob_path(oci.digest_of(UPPER.tar))
        with open(place, "wb") as stream:
            stream.write(flipped(UPPER.tar, 600))
        self.differs(train, ["match"], master=broken)

    def test_a_blob_of_the_train_was_changed(self):
        train = self.train(below=[oci.SYSTEM, oci.Layer(UPPER.tar)])
        self.holds(train)
        with open(train.blob_path(oci.digest_of(UPPER.tar)), "r+b") as stream:
            stream.seek(600)
            stream.write(b"!")
        self.differs(train, ["match"])


class OwnLayers(AgainstCase):
    def test_what_a_train_may_do(self):
        whiteouts = [oci.whiteout("opt/pht_results/last"), oci.opaque("opt/pht_results/plots"),
                     fs.file("opt/pht_results/.wh..wh.plnk")]
        cases = {
            "the root": [fs.folder(""), fs.folder("opt"), RESULTS],
            "only files, without the folders above": [fs.file("opt/pht_results/.hidden", bytes(32))],
            "removals": [*ABOVE, RESULTS, *whiteouts],
            "a folder emptied": [*ABOVE, RESULTS, oci.opaque("opt/pht_results")],
            "the key file removed": [*ABOVE, oci.whiteout("opt/user_sym_key.key")],
            "a link to a folder": [fs.folder("opt/pht_results/runs"), fs.symlink("opt/pht_results/newest", "runs")],
            "a hard link": [fs.file("opt/pht_results/one", bytes(32)), fs.hardlink("opt/pht_results/two", "opt/pht_results/one")],
            "nothing": [],
        }
        for name, entries in cases.items():
            for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
                with self.subTest(name, form=form):
                    self.holds(self.train(oci.Layer(entries, "gzip", form)))

    def test_a_folder_in_the_place_of_a_link(self):
        link = [*ABOVE, RESULTS, fs.symlink("opt/pht_results/newest", "runs"), fs.folder("opt/pht_results/runs")]
        instead = [*ABOVE, RESULTS, fs.folder("opt/pht_results/newest"), fs.file("opt/pht_results/newest/one", bytes(32))]
        self.holds(self.train(link, instead, [fs.file("opt/pht_results/newest/two", bytes(32))]))
        self.differs(self.train(link, instead[-1:]), ["/opt/pht_results/newest", "link"])
        self.differs(self.train(link, [], instead[::-1]), ["/opt/pht_results/newest", "link"])

    def test_what_is_none_of_a_trains_files(self):
        """In every form that an archive may have it."""
        cases = {
            "a file": ([fs.file("etc/passwd", b"x")], "/etc/passwd"),
            "a folder": ([fs.folder("etc")], "/etc"),
            "19 a symbolic link moved": ([fs.symlink("bin/sh", "/opt/pht_results/sh")], "/bin/sh"),
            "19 a file that is a link now": ([fs.symlink("etc/passwd", "/opt/pht_results/x")], "/etc/passwd"),
            "19 a name that begins alike": ([fs.file("opt/pht_train.so", b"x")], "/opt/pht_train.so"),
            "another one": ([fs.file("opt/pht_resultsx", b"x")], "/opt/pht_resultsx"),
            "another one deeper": ([fs.file("opt/pht_trains/a", b"x")], "/opt/pht_trains/a"),
            "beside the configuration": ([fs.file("opt/train_config.json.bak", b"x")], "/opt/train_config.json.bak"),
            "below the configuration": ([fs.file("opt/train_config.json/x", b"x")], "/opt/train_config.json/x"),
            "12 a file elsewhere": ([fs.file("opt/exfil.csv", b"x")], "/opt/exfil.csv"),
            "in the root": ([fs.file("pht_train", b"x")], "/pht_train"),
            "a device": ([fs.Entry("dev/kmem", fs.CHAR)], "/dev/kmem"),
            "a device in the results": ([fs.Entry("opt/pht_results/null", fs.CHAR)], "/opt/pht_results/null"),
            "a block device": ([fs.Entry("opt/pht_train/disk", fs.BLOCK)], "/opt/pht_train/disk"),
            "a pipe": ([fs.Entry("opt/pht_results/pipe", fs.PIPE)], "/opt/pht_results/pipe"),
            "opt removed": ([oci.whiteout("opt")], "/.wh.opt"),
            "opt emptied": ([oci.opaque("opt")], "/opt/.wh..wh..opq"),
            "the root emptied": ([fs.file(".wh..wh..opq")], "/.wh..wh..opq"),
            "a file removed": ([oci.whiteout("etc/passwd")], "/etc/.wh.passwd"),
            "a name alike removed": ([oci.whiteout("opt/pht_train2")], "/opt/.wh.pht_train2"),
            "something of a file system's": ([fs.file(".wh..wh.plnk")], "/.wh..wh.plnk"),
            "a folder of a file system's": ([fs.folder(".wh..wh.plnk"), fs.file(".wh..wh.plnk/1", b"x")], "/.wh..wh.plnk"),
            "a hard link out": ([fs.hardlink("opt/pht_results/shadow", "etc/passwd")], "/opt/pht_results/shadow"),
            "a hard link to the configuration": ([fs.hardlink("opt/pht_results/c", "opt/train_config.json")],
                                                 "/opt/pht_results/c"),
            "a hard link to a file system's own": ([fs.hardlink("opt/pht_results/x", ".wh..wh.plnk/1")], "/opt/pht_results/x"),
            "a hard link at the root": ([fs.hardlink("etc/passwd", "opt/pht_results/x")], "/etc/passwd"),
            "opt is a link": ([fs.symlink("opt", "usr")], "/opt"),
            "the configuration is a link": ([fs.symlink("opt/train_config.json", "x")], "/opt/train_config.json"),
            "the key file is a folder": ([fs.folder("opt/user_sym_key.key")], "/opt/user_sym_key.key"),
            "the definition is a link": ([fs.symlink("opt/pht_train", "/usr")], "/opt/pht_train"),
            "the results are a file": ([fs.file("opt/pht_results", b"x")], "/opt/pht_results"),
            "a removal that is a folder": ([fs.folder("opt/pht_results/.wh.x")], "/opt/pht_results/.wh.x"),
            "opt is a file": ([fs.file("opt", b"x")], "/opt"),
        }
        for name, (entries, words) in cases.items():
            train = self.train(hidden=[oci.Layer(entries, "gzip" if len(name) % 2 else None)])
            with self.subTest(name):
                self.good("verify", train, pin=None)
                self.differs(train, [words])
        self.assertGreater(len(cases), 25)

    def test_the_folder_that_it_runs_in(self):
        """Engines make it with a container, and what leads there: as folders, and with nothing in it."""
        def built(folder, *layer):
            master = self.master_of([oci.SYSTEM, UPPER], {**MASTER, "WorkingDir": folder}, f"master{self._count}")
            return self.train(list(layer), config={**SETTINGS, "WorkingDir": folder}), master

        deep = [fs.folder("srv"), fs.folder("srv/in")]
        for folder, layer in (("/srv/in", deep), ("/srv/in", deep[:1]), ("/etc", [fs.folder("etc")])):
            with self.subTest(folder):
                train, master = built(folder, *layer)
                self.holds(train, master)
        for folder, layer, word in (("/srv/in", [*deep, fs.file("srv/in/x", b"x")], "/srv/in/x"),
                                    ("/srv/in", [*deep, fs.folder("srv/in/x")], "/srv/in/x"),
                                    ("/srv/in", [*deep, fs.folder("srv/other")], "/srv/other"),
                                    ("/srv/in", [deep[0], fs.symlink("srv/in", "/etc")], "/srv/in"),
                                    ("/srv/in", [deep[0], fs.file("srv/in", b"x")], "/srv/in"),
                                    ("/srv/in", [oci.whiteout("srv/in")], "/srv/.wh.in"),
                                    ("/srv/../etc", [fs.folder("etc")], "/etc"), ("srv", deep[:1], "/srv"),
                                    ("/", deep[:1], "/srv"), ("/srv//in", deep[:1], "/srv")):
            with self.subTest(folder, word=word):
                train, master = built(folder, *layer)
                self.differs(train, [word], master=master)

    def test_hidden_by_a_later_layer(self):
        """Layers are judged one by one: what was removed again was there."""
        evil = [fs.file("etc/cron.d/evil", b"x")]
        self.differs(self.train(evil, [oci.whiteout("etc/cron.d")]), ["/etc/cron.d/evil"])
        self.differs(self.train(evil, [oci.whiteout("etc")]), ["/etc/cron.d/evil"])

    def test_through_a_link(self):
        """Whoever unpacks this writes where the link leads."""
        through = fs.file("opt/pht_results/sub/passwd", b"x")
        link = fs.symlink("opt/pht_results/sub", "../../etc")
        first = [*ABOVE, RESULTS]
        cases = {
            "one layer": [[*first, link, through]],
            "the other way around": [[*first, through, link]],
            "deeper": [[*first, link, fs.file("opt/pht_results/sub/a/b/c", b"x")]],
            "a removal": [[*first, link, oci.whiteout("opt/pht_results/sub/passwd")]],
            "a hard link's target": [[*first, link, fs.hardlink("opt/pht_results/p", "opt/pht_results/sub/passwd")]],
            "a hard link to the link": [[*first, link, fs.hardlink("opt/pht_results/l", "opt/pht_results/sub"),
                                         fs.file("opt/pht_results/l/passwd", b"x")]],
            "the next layer": [[*first, link], [through]],
            "two layers on": [[*first, link], [], [through]],
            "a folder too late": [[*first, link], [through, fs.folder("opt/pht_results/sub")]],
        }
        for name, layers in cases.items():
            with self.subTest(name):
                train = self.train(hidden=layers)
                self.good("verify", train, pin=None)
                self.differs(train, ["link", "/opt/pht_results/"])

    def test_through_a_link_of_the_masters(self):
        link = oci.Layer([*ABOVE, RESULTS, fs.symlink("opt/pht_results/tmp", "/tmp")])
        master = self.master_of([oci.SYSTEM, UPPER, link], name="linked")
        gone = [oci.whiteout("opt/pht_results/tmp")]
        self.holds(self.train(gone, below=(oci.SYSTEM, UPPER, link)), master)
        self.differs(self.train([fs.file("opt/pht_results/tmp/x", b"x")], gone, below=(oci.SYSTEM, UPPER, link)),
                     ["/opt/pht_results/tmp", "link"], master=master)

    def test_paths_that_lead_elsewhere(self):
        for path in ("opt/pht_results/../../etc/passwd", "/opt/pht_results/../../etc", "opt/pht_results//x/../../../etc",
                     "opt/pht_train/./../../bin/sh", "../etc/passwd", "opt/.."):
            with self.subTest(path):
                self.differs(self.train([fs.file(path, b"x")]), [".."], 3)
        self.differs(self.train([fs.file("//etc/passwd", b"x")]), ["/etc/passwd"])
        self.differs(self.train([fs.file("./././etc/passwd", b"x")]), ["/etc/passwd"])

    def test_headers_with_two_names(self):
        """The short one is innocent, and which counts depends on the program."""
        with_header = oci.Layer(self.pax_tar("opt/pht_results/x", {"path": "etc/passwd"}))
        self.differs(self.train(with_header), ["/etc/passwd"])
        twice = oci.Layer(self.pax_tar("opt/pht_results/x", {"path": "etc/passwd", "GNU.sparse.name": "opt/pht_results/x"}))
        self.differs(self.train(twice), [], (3, 4))
        link = oci.Layer(self.pax_tar("opt/pht_results/x", {"linkpath": "etc/passwd"}, tarfile.LNKTYPE))
        self.differs(self.train(link), ["/opt/pht_results/x"])
        lower = oci.Layer(self.pax_tar("opt/pht_results/x", {"path": "opt/pht_results/./../../etc/passwd"}))
        self.differs(self.train(lower), [".."], 3)

    def test_words_of_an_overlay_file_system(self):
        """An engine sets extended attributes as they come: these hide or redirect what the master has in /opt."""
        for path in ("opt", "opt/pht_results", "opt/pht_results/x", "."):
            for name in ("SCHILY.xattr.trusted.overlay.redirect", "SCHILY.xattr.trusted.overlay.opaque",
                         "SCHILY.xattr.user.overlay.opaque", "SCHILY.xattr.user.fuseoverlayfs.opaque",
                         "SCHILY.xattr.user.containers.override_stat"):
                with self.subTest(path, name=name):
                    layer = oci.Layer(self.pax_tar(path, {name: "y"}, tarfile.DIRTYPE), "gzip")
                    self.differs(self.train(hidden=[layer]), ["extended attributes"], 3)
        other = oci.Layer(self.pax_tar("opt/pht_results", {"SCHILY.xattr.user.mime": "y"}, tarfile.DIRTYPE))
        self.holds(self.train(hidden=[other]))
        below = oci.Layer(self.pax_tar("var/lib/inner", {"SCHILY.xattr.trusted.overlay.opaque": "y"}, tarfile.DIRTYPE))
        master = self.master_of([oci.SYSTEM, UPPER, below], name="inner")
        self.holds(self.train(below=[oci.SYSTEM, UPPER, below]), master)
        self.differs(self.train(hidden=[below]), ["extended attributes"])

    def test_files_that_only_container_engines_see(self):
        """Headers whose size, or name, Go's reader takes for another one than libarchive: what is a file's content to one
        is the next entry to the other. Docker 20.10 unpacks usr/bin/python3 from each."""
        def block(name, size, kind=b"0", digits=None):
            info = tarfile.TarInfo(name)
            info.size, info.type = size, kind
            header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
            header[124:136] = digits or header[124:136]
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % sum(header)
            return bytes(header)

        def pax(*records):
            body = b"".join(b"%d %s\n" % (next(n for n in range(99) if n == len(b"%d %s\n" % (n, one))), one) for one in records)
            return block("pax", len(body), b"x") + body.ljust(512, b"\0")

        evil = block("usr/bin/python3", 5) + b"evil!".ljust(512, b"\0")
        hidden = block("opt/pht_results/b", len(evil)) + evil
        sparse = (b"GNU.sparse.size=10", b"GNU.sparse.numblocks=1", b"GNU.sparse.map=0,5",
                  b"GNU.sparse.name=opt/pht_results/a\0/../../../usr/bin/python3")
        cases = {"zeros before the digits": block("opt/pht_results/a", 0, digits=b"\x000000001000\0") + hidden,
                 "a size without digits": pax(b"size=") + block("opt/pht_results/a", 512) + hidden,
                 "a size with a sign": pax(b"size=+512") + block("opt/pht_results/a", 0) + hidden,
                 "a sparse file's name": pax(*sparse) + block("x", 5) + b"evil!".ljust(512, b"\0")}
        for name, entries in cases.items():
            for compression in (None, "gzip"):
                with self.subTest(name, compression=compression):
                    self.differs(self.train(oci.Layer(entries + bytes(1024), compression)), ["read that in different ways"], 3)

    @staticmethod
    def pax_tar(name, headers, kind=tarfile.REGTYPE):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo(name)
            info.type, info.pax_headers = kind, headers
            info.linkname = "opt/pht_results/y" if kind == tarfile.LNKTYPE else ""
            archive.addfile(info)
        return out.getvalue()

    def test_archives_that_are_none(self):
        garbage = oci.Layer(b"no archive at all " * 100)
        self.differs(self.train(garbage), ["archive"], 3)
        cut = oci.Layer(fs.write_tar([fs.file("opt/pht_results/x", bytes(4096))])[:2048])
        self.differs(self.train(cut), [], 3)

    def test_many_entries(self):
        """More links than anybody counts are refused; many files are not kept at all."""
        names = [fs.file(f"opt/pht_results/{number:06}", bytes(32)) for number in range(3000)]
        train = self.train([*ABOVE, RESULTS, *names])
        self.holds(train)
        small = self.peak(self.arguments("verify", "--against", f"oci:{self.master.path}", self.train()))
        large = self.peak(self.arguments("verify", "--against", f"oci:{self.master.path}", train))
        self.assertLess(large - small, 8 * 1024)

    def test_behind_a_large_file(self):
        """Contents are passed over; what follows them is not."""
        big = fs.file("opt/pht_results/big", bytes(5 << 20))
        for compression in (None, "gzip"):
            self.holds(self.train([*ABOVE, RESULTS, big], compression=compression))
            self.differs(self.train([*ABOVE, RESULTS, big, fs.file("etc/after", b"x")], compression=compression), ["/etc/after"])


class Settings(AgainstCase):
    def with_config(self, **changes):
        config = copy.deepcopy(SETTINGS)
        for name, value in changes.items():
            if value is None:
                config.pop(name, None)
            else:
                config[name] = value
        return self.train(config=config)

    def test_what_a_train_may_set(self):
        for changes in ({"Hostname": "abc"}, {"Image": "sha256:0"}, {"AttachStdin": True}, {"Domainname": "x"},
                        {"ArgsEscaped": True}, {"Entrypoint": ["/opt/pht_train/entrypoint.sh"]},
                        {"Entrypoint": ["/usr/bin/python", "/opt/pht_train/lib/model.bin"]},
                        {"Entrypoint": ["python3", "/opt/pht_train/entrypoint.sh"]}, {"Cmd": []}, {"Cmd": ["/bin/sh"]},
                        {"Entrypoint": None, "Cmd": RUNS}, {"Entrypoint": None, "Cmd": ["/bin/sh"]},
                        {"Env": ["LANG=C", "PATH=/usr/bin:/bin"]},
                        {"Env": ["container=podman", *MASTER["Env"], "TERM=xterm"]}):
            with self.subTest(changes):
                self.holds(self.with_config(**changes))
        facts = {"created": "2026-01-01T00:00:00Z", "author": "a", "comment": "c", "docker_version": "1", "variant": "v8",
                 "container": "c", "container_config": {"Env": ["A=B"]}, "moby.buildkit.cache.v0": "x"}
        self.holds(self.train(more=facts))

    def test_empty_and_absent_are_one(self):
        """Stores write them in several ways."""
        empty = {"User": "", "Env": None, "Labels": {}, "Volumes": None, "OnBuild": [], "WorkingDir": "/"}
        for theirs, mine in (({}, empty), (empty, {}), (empty, {"User": None, "Labels": None, "WorkingDir": ""})):
            master = self.master_of([oci.SYSTEM, UPPER], theirs, f"master{self._count}")
            self.holds(self.train(config={**mine, "Entrypoint": RUNS}), master)

    def test_what_it_may_not(self):
        env = MASTER["Env"]
        cases = {
            "Env": [None, [], env[:1], ["PATH=/opt/pht_results:/bin", "LANG=C"], [*env, "LD_PRELOAD=/opt/pht_results/x.so"],
                    [*env, "PATH=/usr/bin:/bin"], [*env, "LANG=D"], ["LANG=D", *env], [*env, "NAME"], [*env, ""],
                    [*env, "TERM=x"], [*env, "container=other"], [*env, "path=x"], [*env, "PATH =x"]],
            "User": [None, "root", "0", "train:root"],
            "WorkingDir": [None, "/", "/opt/pht_results", "/task/"],
            "Volumes": [None, {}, {"/data": {}, "/opt/pht_results": {}}, {"/opt": {}}, {"/data": {"x": 1}}],
            "ExposedPorts": [None, {"81/tcp": {}}, {"80/tcp": {}, "81/tcp": {}}],
            "Labels": [None, {"kept": "no", "empty": ""}, {"kept": "yes"}, {"kept": "yes", "empty": "", "new": ""}],
            "OnBuild": [None, ["RUN evil"]],
            "StopSignal": [None, "SIGKILL"],
            "Healthcheck": [None, {"Test": ["CMD", "/opt/pht_results/x"]}, {"Test": ["CMD", "/bin/true"], "Interval": 1},
                            {"Test": ["CMD", "/bin/true"], "Interval": 30000000000, "Retries": 9}],
            "Shell": [None, ["/opt/pht_results/sh"]],
            "Entrypo\u0131nt": [["/bin/sh"]],
            "Unknown": ["x", {"a": 1}],
        }
        for name, values in cases.items():
            for value in values:
                with self.subTest(name, value=value):
                    train = self.with_config(**{name: value})
                    self.good("verify", train, pin=None)
                    self.differs(train, ["setting", name if name.isascii() else "is not that of"])

    def test_members_of_the_wrong_kind(self):
        for name, value in (("Env", "PATH=/"), ("Env", [1]), ("Entrypoint", "/bin/sh -c x"), ("Cmd", {"0": "x"}),
                            ("Env", ["A=" + str(place) for place in range(3000)])):
            with self.subTest(name, value=str(value)[:40]):
                self.differs(self.with_config(**{name: value}), [name], 3)
        self.differs(self.with_config(WorkingDir=["/task"]), ["WorkingDir"])
        self.differs(self.with_config(User=["train"]), ["User"])

    def test_other_platforms(self):
        self.differs(self.train(more={"architecture": "arm64"}), [], (4, 8))

    def test_commands(self):
        """19: what the image runs."""
        main = "/opt/pht_train/entrypoint.sh"
        bad = [
            ["/bin/sh", "-c", "evil"], ["/bin/sh"], ["/opt/pht_results/x"], [main, "x"], ["/bin/sh", main, "x"],
            ["/bin/sh", "-c", main], ["-x", main], ["", main], ["/opt/pht_results/sh", main], ["/opt/pht_train/x", main],
            ["/bin/sh", "/opt/pht_train/not_listed"], ["/bin/sh", "/opt/pht_train/query.json"],
            ["/bin/sh", "/opt/pht_train/../../bin/sh"], ["/bin/../opt/pht_results/x", main], ["//opt/pht_results/x", main],
            ["/proc/self/root/opt/pht_results/x", main], ["/bin/./sh", main], ["bin/sh", main], ["./sh", main],
            ["/bin/sh", "opt/pht_train/entrypoint.sh"], ["/bin/sh", main + "/"], ["/bin/", main], [main, main, main],
        ]
        for words in bad:
            with self.subTest(entrypoint=words):
                train = self.with_config(Entrypoint=words)
                self.good("verify", train, pin=None)
                self.differs(train, ["Entrypoint"])
            with self.subTest(cmd=words):
                self.differs(self.with_config(Entrypoint=None, Cmd=words), ["Entrypoint"]) if words != ["/bin/sh"] else None
        self.differs(self.with_config(Cmd=["--dump"]), ["Entrypoint"])
        self.differs(self.with_config(Entrypoint=None, Cmd=None), ["Entrypoint"])
        tini = self.master_of([oci.SYSTEM, UPPER], {**MASTER, "Entrypoint": ["/tini", "--"], "Cmd": ["x"]}, "tini")
        self.holds(self.train(config={**SETTINGS, "Entrypoint": ["/tini", "--"], "Cmd": RUNS}), tini)
        self.differs(self.train(config={**SETTINGS, "Entrypoint": ["/tini", "-x"], "Cmd": RUNS}), ["Entrypoint"], master=tini)


class Sealed(AgainstCase):
    """A train that seal made: against its master, and against what its signed manifest says of it."""

    def test_the_whole_way(self):
        os.mkdir(f"{self.work}/definition")
        with open(f"{self.work}/definition/main.sh", "w", encoding="ascii") as stream:
            stream.write("exit 0\n")
        from support.station import pool_key, tokens
        from support import pht
        with open(f"{self.work}/alpha.pem", "wb") as stream:
            stream.write(pht.public_pem(pool_key("alpha")))
        train = oci.Layout(f"{self.work}/sealed")
        self.good("seal", "--definition", f"{self.work}/definition", "--base", f"oci:{self.master.path}", "--creator", "me",
                  "--stop", f"alpha={self.work}/alpha.pem", "--interpreter", "/bin/sh", f"oci:{train.path}", key="creator")
        self.holds(train)
        says = self.good("verify", "--json", train, pin=None)
        self.assertTrue({"base-layers", "own-layers", "command"} <= {check["name"] for check in says["checks"]}, says)
        for program in ("-c", "/opt/pht_train/main.sh", "bin/sh", "/bin/../bin/sh", ""):
            with self.subTest(program):
                self.refused(2, ["interpreter"], "seal", "--definition", f"{self.work}/definition", "--base",
                             f"oci:{self.master.path}", "--creator", "me", "--stop", f"alpha={self.work}/alpha.pem",
                             f"--interpreter={program}", f"oci:{self.work}/other", key="creator", module="/nonexistent.so")
        train.push([fs.file("etc/passwd", b"x")])
        self.refused(4, ["/etc/passwd"], "verify", train, pin=None)
        self.differs(train, ["/etc/passwd"])
        self.refused(4, ["/etc/passwd"], "pre-run", train, station="alpha", module="/nonexistent.so", pin=None)
        self.assertTrue(tokens())


if __name__ == "__main__":
    unittest.main()
