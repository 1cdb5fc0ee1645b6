"""OCI layouts of every shape, good and bad."""

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
import unittest
import zlib

from support import files as fs
from support import oci
from support.station import Case, flipped, needs_program, pool_key, results_of, sample, sample_at

NO_MODULE = "/nonexistent/module.so"


class References(Case):
    def test_syntax(self):
        for reference in ("Name", "oci:", "oci::", "oci::tag", "docker://host/name:tag", "docker-daemon:",
                          "docker-daemon:NAME", "name:", "name:-t", "./layout", "/layout", "dir:/tmp", "oci:dir:",
                          "oci:dir:ta g", "oci:dir:-a", "oci:dir:../x", "oci:dir:" + "t" * 300, "oci:dir:é", "",
                          "OCI:dir:tag"):
            for command in ("verify", "inspect", "pre-run"):
                with self.subTest(reference=reference, command=command):
                    more = {"station": "alpha", "module": NO_MODULE} if command == "pre-run" else {}
                    self.refused(2, ["oci:" if not reference.startswith("docker:") else "pull"] if reference else [], command, reference, **more)

    def test_the_default_tag_is_latest(self):
        layout = self.layout_at(0)
        by_default = self.good("inspect", "--json", f"oci:{layout.path}")
        self.assertEqual(by_default["digest"], layout.tags()["latest"]["digest"])
        self.assertEqual(by_default, self.good("inspect", "--json", layout) | {"image": by_default["image"]})

    def test_another_tag(self):
        layout = self.layout_at(0)
        layout.tag("v1.2_x-y", layout.tags()["latest"])
        layout.write_index([entry for entry in layout.index()["manifests"]
                            if entry["annotations"][oci.TAG] != "latest"])
        image = f"oci:{layout.path}:v1.2_x-y"
        self.good("pre-run", image, station="alpha")
        layout.push(results_of("alpha"), on="v1.2_x-y", tag="v1.2_x-y")
        self.good("post-run", image, station="alpha")
        self.assertEqual(set(layout.tags()), {"base", "v1.2_x-y"})
        self.assertEqual(self.open(layout, pool_key("beta"), "v1.2_x-y").position, 1)

    def test_not_there(self):
        layout = self.layout_at(0)
        empty, no_blobs = f"{self.work}/empty", oci.Layout.create(f"{self.work}/no-images")
        os.mkdir(empty)
        missing = {
            "no such folder": (f"oci:{self.work}/none:latest", "none"),
            "no such tag": (f"oci:{layout.path}:none", "none"),
            "a file": (f"oci:{layout.path}/index.json:latest", "index.json"),
            "an empty folder": (f"oci:{empty}:latest", "empty"),
            "no images": (f"oci:{no_blobs.path}:latest", "latest"),
        }
        for name, (reference, word) in missing.items():
            for command in ("verify", "inspect", "pre-run", "post-run", "results"):
                with self.subTest(name, command=command):
                    more = {"station": "alpha", "module": NO_MODULE} if command.endswith("run") else {}
                    words = ["-o", f"{self.work}/out"] if command == "results" else []
                    if command == "results":
                        more = {"key": "creator", "module": NO_MODULE}
                    self.refused(8, [word], command, reference, *words, **more)

    def test_an_image_that_is_no_train(self):
        layout = self.layout({})
        for command in ("verify", "inspect", "pre-run", "post-run"):
            with self.subTest(command):
                more = {"station": "alpha", "module": NO_MODULE} if command.endswith("run") else {}
                self.refused(3, ["train_config.json"], command, layout, **more)


class Shapes(Case):
    """Honest images as many tools write them: through one whole stop."""

    def through(self, layout, image=None, *options, station="alpha"):
        image = image or layout
        self.good("verify", *options, image)
        self.good("pre-run", *options, image, station=station)
        self.run_code(layout, station)
        self.good("post-run", *options, image, station=station)
        opened = self.open(layout, pool_key("creator"))
        self.assertEqual(set(opened.results), {f"{station}.csv", f"plots/{station}.bin"})
        self.assert_no_plaintext(layout)

    def test_compressed_layers(self):
        for compression in (None, "gzip", "zstd"):
            with self.subTest(compression=compression):
                self.through(self.layout(sample(), name="case", compression=compression))

    @needs_program("zstd")
    def test_zstd_that_wants_much_memory(self):
        """A frame says itself how much memory unpacking it takes."""
        layout = self.layout(sample(), name="case", compression="zstd")
        manifest, config = layout.manifest("latest"), layout.config("latest")
        old = manifest["layers"][-1]
        plain = subprocess.run(["zstd", "-dqc"], input=layout.get(old), stdout=subprocess.PIPE, check=True).stdout
        packed = subprocess.run(["zstd", "-qc", "--long=27", "-"], input=plain, stdout=subprocess.PIPE, check=True).stdout
        wide = layout.put(packed, old["mediaType"])
        layout.tag("latest", layout.image(list(zip([*manifest["layers"][:-1], wide], config["rootfs"]["diff_ids"])),
                                          {"architecture": config["architecture"], "os": "linux"}))
        self.refused(3, [wide["digest"], "8 MiB"], "pre-run", layout, station="alpha")

    def test_results_in_a_compressed_layer(self):
        for compression in ("gzip", "zstd"):
            with self.subTest(compression=compression):
                layout = self.layout(sample(), name="case")
                self.good("pre-run", layout, station="alpha")
                layout.push(results_of("alpha"), compression=compression)
                self.good("post-run", layout, station="alpha")
                self.open(layout, pool_key("creator"))
                self.assert_no_plaintext(layout)
                self.assertEqual(layout.reachable(), set(layout.blobs()))

    def test_docker_media_types(self):
        layout = oci.Layout.create(f"{self.work}/docker")
        layers = [oci.SYSTEM, oci.Layer(list(sample().values()), "gzip")]
        for tag in ("base", "latest"):
            layout.tag(tag, layout.image(layers, docker=True))
        self.through(layout)

    def test_tar_dialects(self):
        for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            with self.subTest(form=form):
                deep = {"x" * 60 + "/" + "y" * 50 + "/" + "z" * 40: b"1", "a": b"2"}
                layer = oci.Layer(list(sample(definition=deep).values()), None, form)
                layout = oci.Layout.create(f"{self.work}/tar{form}")
                for tag in ("base", "latest"):
                    layout.tag(tag, layout.image([oci.SYSTEM, layer]))
                self.through(layout)

    def test_names_as_tools_write_them(self):
        for prefix in ("./", "/"):
            with self.subTest(prefix=prefix):
                entries = [entry.with_(path=prefix + entry.path) for entry in sample().values()]
                if prefix == "./":
                    entries.insert(0, fs.folder("./"))
                layout = oci.Layout.create(f"{self.work}/names{len(prefix)}")
                for tag in ("base", "latest"):
                    layout.tag(tag, layout.image([oci.SYSTEM, oci.Layer(entries)]))
                self.through(layout)

    def test_files_in_many_layers(self):
        opt = sample()
        layers = [oci.SYSTEM, *(oci.Layer([entry]) for entry in opt.values())]
        layout = oci.Layout.create(f"{self.work}/many")
        for tag in ("base", "latest"):
            layout.tag(tag, layout.image(layers))
        self.through(layout)

    def test_whiteouts_and_opaque_folders(self):
        stray = [fs.file("opt/pht_train/stray.py", b"1"), fs.file("opt/pht_train/more/deep/x", b"1"),
                 fs.file("opt/pht_results/old.csv", b"1"), fs.symlink("opt/pht_train/lib", "/srv")]
        hidings = {
            "a whiteout each": [oci.whiteout("opt/pht_train/stray.py"), oci.whiteout("opt/pht_train/more"),
                                oci.whiteout("opt/pht_results/old.csv"), oci.whiteout("opt/pht_train/lib")],
            "the folders": [oci.whiteout("opt/pht_train"), oci.whiteout("opt/pht_results")],
            "all of opt": [oci.whiteout("opt")],
        }
        for name, hiding in hidings.items():
            with self.subTest(name):
                layers = [oci.SYSTEM, oci.Layer(stray), oci.Layer(hiding), oci.Layer(list(sample().values()))]
                layout = oci.Layout.create(f"{self.work}/{name}")
                for tag in ("base", "latest"):
                    layout.tag(tag, layout.image(layers))
                self.through(layout)
        for place in ("first", "last"):
            with self.subTest(opaque=place):
                marks = [oci.opaque("opt/pht_train"), oci.opaque("opt/pht_results")]
                opt = sample().values()
                entries = [*marks, *opt] if place == "first" else [*opt, *marks]
                layout = oci.Layout.create(f"{self.work}/opaque-{place}")
                for tag in ("base", "latest"):
                    layout.tag(tag, layout.image([oci.SYSTEM, oci.Layer(stray[:3]), oci.Layer(entries)]))
                self.through(layout)

    def test_kinds_change_between_layers(self):
        layers = [oci.SYSTEM, oci.Layer([fs.file("opt/pht_train", b"1"), fs.symlink("opt/pht_results", "/srv")]),
                  oci.Layer(list(sample().values()))]
        layout = oci.Layout.create(f"{self.work}/kinds")
        for tag in ("base", "latest"):
            layout.tag(tag, layout.image(layers))
        self.through(layout)

    def test_a_file_twice_in_a_layer_the_last_counts(self):
        opt = sample()
        old = opt["opt/pht_train/entrypoint.sh"].with_(content=bytes(48))
        layout = oci.Layout.create(f"{self.work}/twice")
        for tag in ("base", "latest"):
            layout.tag(tag, layout.image([oci.SYSTEM, oci.Layer([old, *opt.values()])]))
        result = self.tt("pre-run", layout, station="alpha")
        self.assertIn(result.status, (0, 3), str(result))

    def test_several_platforms(self):
        other = "s390x" if oci.ARCHITECTURE != "s390x" else "amd64"
        layout = oci.Layout.create(f"{self.work}/platforms")
        ours = layout.image([oci.SYSTEM, oci.Layer(list(sample().values()))])
        theirs = layout.image([oci.SYSTEM, oci.Layer(list(sample(train_id="foreign").values()))], architecture=other)
        many = layout.many({("linux", other): theirs, ("linux", oci.ARCHITECTURE): ours})
        layout.tag("latest", many)
        layout.tag("base", many)
        self.assertEqual(self.good("inspect", "--json", layout)["train"], "train")
        says = self.good("inspect", "--json", "--platform", f"linux/{other}", layout)
        self.assertEqual(says["train"], "foreign")
        self.refused(8, ["windows/amd64"], "inspect", "--platform", "windows/amd64", layout)
        for bad in ("", "linux", "linux/", "/amd64", "a/b/c/d"):
            self.refused(2, [], "inspect", "--platform", bad, layout)
        self.through(layout)

    def test_several_images_under_one_tag(self):
        """Other programs would take another one than is verified here."""
        layout = self.layout_at(0)
        train = {key: value for key, value in layout.tags()["latest"].items() if key != "annotations"}
        other = layout.image([oci.Layer([fs.file("x", b"x")])])
        here = {"platform": {"os": "linux", "architecture": oci.ARCHITECTURE}}
        tag, name = {"annotations": {oci.TAG: "latest"}}, {"annotations": {"io.containerd.image.name": "docker.io/x:latest"}}
        cases = {"one with a platform": ({**other, **tag}, {**train, **tag, **here}),
                 "another platform": ({**other, **tag, "platform": {"os": "linux", "architecture": "m68k"}}, {**train, **tag}),
                 "another kind of tag": ({**other, **tag}, {**train, **name, **here}),
                 "an index": ({**train, **tag},
                              layout.put_json({"schemaVersion": 2, "manifests": [other]}, oci.INDEX, **tag))}
        for case, entries in cases.items():
            for order in (entries, entries[::-1]):
                with self.subTest(case):
                    layout.write_index(order)
                    self.refused(3, "several images", "verify", layout, pin=None)
        layout.write_index([{**train, **tag}, {**train, **name, **here}])
        self.good("verify", layout, pin=None)

    def test_one_platform_behind_an_index(self):
        layout = oci.Layout.create(f"{self.work}/nested")
        ours = layout.image([oci.SYSTEM, oci.Layer(list(sample().values()))])
        for tag in ("base", "latest"):
            layout.tag(tag, layout.many({("linux", oci.ARCHITECTURE): ours}))
        self.through(layout)

    def test_other_tags_stay(self):
        layout = self.layout_at(0)
        other = layout.image([oci.Layer([fs.file("x", b"other")])])
        layout.tag("other", other)
        before = layout.tree("other"), layout.tree("base")
        entry = layout.tags()["other"]
        self.through(layout)
        self.assertEqual((layout.tree("other"), layout.tree("base")), before)
        self.assertEqual(layout.tags()["other"], entry)

    def test_unknown_members_of_the_index_stay(self):
        layout = self.layout_at(0)
        manifests = layout.index()["manifests"]
        untagged = layout.image([oci.Layer([fs.file("x", b"untagged")])])
        layout.write_index([*manifests, untagged], annotations={"org.example": "kept"})
        self.through(layout)
        index = layout.index()
        self.assertEqual(index.get("annotations"), {"org.example": "kept"})
        self.assertIn(untagged["digest"], [entry["digest"] for entry in index["manifests"]])

    def test_annotations_that_others_obey_end_here(self):
        """Podman sets an image's on its containers, for runtimes to read; a layer's may name another content of it."""
        layout = self.layout_at(0)
        for tag in ("latest", "base"):
            made = layout.manifest(tag)
            made["annotations"] = {"run.oci.handler": "krun", "org.systemd.property.x": "5", "org.opencontainers.image.title": "kept"}
            for layer in made["layers"]:
                layer["annotations"] = {"io.github.containers.zstd-chunked.manifest-checksum": "sha256:00"}
                layer["data"] = "AAAA"
            layout.tag(tag, layout.put_json(made, oci.MANIFEST))
        for command in ("pre-run", "post-run"):
            self.good(command, layout, station="alpha")
            made = layout.manifest("latest")
            self.assertEqual(made["annotations"], {"org.opencontainers.image.title": "kept"})
            self.assertEqual({name for layer in made["layers"] for name in layer}, {"mediaType", "digest", "size"})

    @needs_program("skopeo")
    def test_skopeo_accepts_what_is_written(self):
        layout = self.layout_at(0)
        self.through(layout)
        for argv in (["skopeo", "inspect", f"oci:{layout.path}:latest"],
                     ["skopeo", "copy", "-q", f"oci:{layout.path}:latest", f"oci:{self.work}/copy:latest"]):
            done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                                  env=os.environ | {"TMPDIR": "/var/tmp"})
            self.assertEqual(done.returncode, 0, done.stdout)
        self.good("verify", f"oci:{self.work}/copy:latest")


class Broken(Case):
    def layouts(self):
        return self.layout_at(1, name="case")

    def broken(self, layout, status, words=(), commands=("verify", "pre-run")):
        for command in commands:
            more = {"station": "beta"} if command == "pre-run" else {}
            self.refused(status, list(words), command, layout, **more)

    def change_blob(self, layout, descriptor, change):
        path = layout.blob_path(descriptor["digest"])
        with open(path, "rb") as stream:
            data = stream.read()
        with open(path, "wb") as stream:
            stream.write(change(data))
        return descriptor["digest"].split(":")[1][:12]

    def parts(self, layout):
        manifest = layout.manifest("latest")
        return {"manifest": layout.tags()["latest"], "config": manifest["config"],
                "system layer": manifest["layers"][0], "train layer": manifest["layers"][-1]}

    def test_blobs(self):
        changes = {
            "a bit in the middle": lambda data: flipped(data, len(data) // 2),
            "a bit at the end": lambda data: flipped(data, -2),
            "cut": lambda data: data[:-5],
            "cut in half": lambda data: data[: len(data) // 2],
            "empty": lambda data: b"",
            "longer": lambda data: data + b"\0",
        }
        for part in ("manifest", "config", "system layer", "train layer"):
            for name, change in changes.items():
                with self.subTest(part=part, change=name):
                    layout = self.layouts()
                    word = self.change_blob(layout, self.parts(layout)[part], change)
                    self.broken(layout, 4, [word])
            with self.subTest(part=part, change="missing"):
                layout = self.layouts()
                digest = self.parts(layout)[part]["digest"]
                os.remove(layout.blob_path(digest))
                self.broken(layout, (4, 8), [digest.split(":")[1][:12]])

    def test_wrong_size_in_a_descriptor(self):
        for part in ("config", "train layer"):
            for change in (-1, 1, 1 << 40, -(1 << 40)):
                with self.subTest(part=part, change=change):
                    layout = self.layouts()
                    manifest = layout.manifest("latest")
                    place = manifest["config"] if part == "config" else manifest["layers"][-1]
                    place["size"] += change
                    layout.tag("latest", layout.put_json(manifest, oci.MANIFEST))
                    self.broken(layout, (3, 4))

    def test_wrong_diff_id(self):
        layout = self.layouts()
        config = layout.config("latest")
        config["rootfs"]["diff_ids"][-1] = "sha256:" + "0" * 64
        manifest = layout.manifest("latest")
        manifest["config"] = layout.put_json(config, oci.CONFIG)
        layout.tag("latest", layout.put_json(manifest, oci.MANIFEST))
        self.broken(layout, (3, 4))

    def test_documents(self):
        def manifest_with(change):
            def apply(layout):
                manifest = layout.manifest("latest")
                change(manifest)
                layout.tag("latest", layout.put_json(manifest, oci.MANIFEST))
            return apply

        def config_with(change):
            def apply(layout):
                config, manifest = layout.config("latest"), layout.manifest("latest")
                change(config)
                manifest["config"] = layout.put_json(config, oci.CONFIG)
                layout.tag("latest", layout.put_json(manifest, oci.MANIFEST))
            return apply

        def index_text(text):
            def apply(layout):
                with open(f"{layout.path}/index.json", "wb") as stream:
                    stream.write(text)
            return apply

        def digest_of_index(digest):
            def apply(layout):
                layout.write_index([{**entry, "digest": digest} for entry in layout.index()["manifests"]])
            return apply

        bad = {
            "index is not JSON": index_text(b"{"),
            "index is empty": index_text(b""),
            "index is a list": index_text(b"[]"),
            "index without manifests": index_text(b'{"schemaVersion": 2}'),
            "index of 100 MiB": index_text(b" " * (100 << 20) + b"{}"),
            "index nested deep": index_text(b"[" * 100000),
            "digest leads elsewhere": digest_of_index("sha256:../../../../etc/passwd"),
            "digest in capitals": digest_of_index("sha256:" + "A" * 64),
            "digest too short": digest_of_index("sha256:abcd"),
            "unknown digest": digest_of_index("md5:" + "a" * 32),
            "no layers": manifest_with(lambda manifest: manifest.pop("layers")),
            "layers of the wrong type": manifest_with(lambda manifest: manifest.update(layers={})),
            "no config": manifest_with(lambda manifest: manifest.pop("config")),
            "fewer diff_ids": config_with(lambda config: config["rootfs"]["diff_ids"].pop()),
            "no rootfs": config_with(lambda config: config.pop("rootfs")),
        }
        for name, change in bad.items():
            with self.subTest(name):
                layout = self.layouts()
                change(layout)
                self.broken(layout, (3, 4, 8) if "leads" in name else 3)

    def test_layers_that_are_not_tar(self):
        good = sample_at(1)
        tar = fs.write_tar(list(good.values()))
        bad = {
            "not a tar": b"hello" * 1000,
            "cut in a file": tar[: len(tar) // 3],
            "hostile name": fs.write_tar([*good.values(), fs.file("../../etc/cron.d/x", b"x")]),
            "name with dots inside": fs.write_tar([*good.values(), fs.file("opt/../etc/x", b"x")]),
            "a checksum": flipped(tar, 150),
        }
        for name, data in bad.items():
            with self.subTest(name):
                layout = oci.Layout.create(f"{self.work}/{name}")
                layout.tag("latest", layout.image([oci.SYSTEM, oci.Layer(data)]))
                self.broken(layout, 3)

    def test_a_bomb(self):
        """A layer that unpacks to 256 MiB of nothing is read in a stream or refused, and never costs memory."""
        out = io.BytesIO()
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        info = tarfile.TarInfo("srv/zeros")
        info.size = 1 << 28
        chunk = bytes(1 << 20)
        out.write(packer.compress(info.tobuf()))
        for _ in range(info.size >> 20):
            out.write(packer.compress(chunk))
        out.write(packer.compress(bytes(10240)) + packer.flush())
        packed = out.getvalue()
        layout = self.layouts()
        digest = hashlib.sha256()
        with gzip.open(io.BytesIO(packed)) as stream:
            while data := stream.read(1 << 20):
                digest.update(data)
        layer = (layout.put(packed, oci.LAYER + "+gzip"), "sha256:" + digest.hexdigest())
        layout.tag("latest", layout.image([*layout.layers_of("latest"), layer]))
        self.assertEqual(self.tt("verify", layout).status, 0)


class Written(Case):
    def test_layers_and_history(self):
        layout = self.layout_at(0)
        before = layout.config("base")
        self.good("pre-run", layout, station="alpha")
        layout.check()
        self.run_code(layout, "alpha")
        self.good("post-run", layout, station="alpha")
        layout.check()
        config, manifest = layout.config("latest"), layout.manifest("latest")
        count = len(before["rootfs"]["diff_ids"])
        self.assertEqual(config["rootfs"]["diff_ids"][:count], before["rootfs"]["diff_ids"])
        self.assertEqual(len(config["rootfs"]["diff_ids"]), count + 1)
        self.assertEqual(manifest["layers"][-1]["mediaType"], oci.LAYER, "ciphertext does not compress")
        self.assertEqual(config["history"][:count], before["history"])
        self.assertIn("traintoken", config["history"][-1]["created_by"])
        self.assertEqual(config["config"], before["config"])
        self.assertEqual(layout.reachable(), set(layout.blobs()))

    def test_nobody_else_may_write_blobs(self):
        layout = self.layout_at(0)
        self.good("pre-run", layout, station="alpha")
        for digest in layout.blobs():
            self.assertEqual(os.stat(layout.blob_path(digest)).st_mode & 0o022, 0)


if __name__ == "__main__":
    unittest.main()
