"""OCI image layouts, written and read in plain Python (zstd through the zstd program)."""

import gzip
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile

from support import files as fs

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
TAG = "org.opencontainers.image.ref.name"

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layer:
    """A layer: entries (or a ready tar), plain, "gzip" or "zstd"."""

    def __init__(self, entries, compression=None, form=tarfile.PAX_FORMAT):
        self.tar = entries if isinstance(entries, bytes) else fs.write_tar(entries, form)
        self.compression = compression
        self.diff_id = digest_of(self.tar)
        if compression == "gzip":
            self.blob = gzip.compress(self.tar, 6, mtime=0)
        elif compression == "zstd":
            self.blob = subprocess.run(["zstd", "-q", "-c"], input=self.tar, stdout=subprocess.PIPE, check=True).stdout
        else:
            self.blob = self.tar
        self.media_type = LAYER + ("+" + compression if compression else "")


def whiteout(path):
    parent, _, name = path.rpartition("/")
    return fs.file(f"{parent}/.wh.{name}" if parent else f".wh.{name}", b"", 0)


def opaque(path):
    return fs.file(f"{path}/.wh..wh..opq", b"", 0)


def difference(lower, wanted, root="opt"):
    """The entries of a layer that turns what `lower` has under `root` into what `wanted` has there."""
    removed, entries = [], []
    for entry in fs.under(lower, root):
        kept = wanted.get(entry.path)
        if kept is None or (kept.kind != entry.kind and entry.kind == fs.FOLDER):
            if not any(entry.path.startswith(path + "/") for path in removed):
                removed.append(entry.path)
    for entry in fs.under(wanted, root):
        if lower.get(entry.path) != entry or any((entry.path + "/").startswith(path + "/") for path in removed):
            entries.append(entry)
    return [whiteout(path) for path in removed if path not in wanted] + entries


class Layout:
    def __init__(self, path):
        self.path = str(path)

    @classmethod
    def create(cls, path):
        layout = cls(path)
        os.makedirs(f"{path}/blobs/sha256")
        with open(f"{path}/oci-layout", "w", encoding="ascii") as stream:
            stream.write('{"imageLayoutVersion":"1.0.0"}')
        layout.write_index([])
        return layout

    # ------------------------------------------------------------------------------------------ blobs

    def blob_path(self, digest):
        return f"{self.path}/blobs/{digest.replace(':', '/')}"

    def put(self, data, media_type, **more):
        digest = digest_of(data)
        if not os.path.exists(self.blob_path(digest)):
            with open(self.blob_path(digest), "wb") as stream:
                stream.write(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def put_json(self, value, media_type, **more):
        return self.put(json.dumps(value).encode(), media_type, **more)

    def get(self, descriptor):
        digest = descriptor if isinstance(descriptor, str) else descriptor["digest"]
        with open(self.blob_path(digest), "rb") as stream:
            return stream.read()

    def get_json(self, descriptor):
        return json.loads(self.get(descriptor))

    def blobs(self):
        """Digests of all blobs that lie in the layout, whoever names them."""
        return sorted("sha256:" + name for name in os.listdir(f"{self.path}/blobs/sha256"))

    def check(self):
        """Every blob has the digest it is named by, every descriptor its size, every diff_id fits; no stray files."""
        for digest in self.blobs():
            assert digest_of(self.get(digest)) == digest, f"blob {digest} has other bytes"
        for entry in self.index()["manifests"]:
            self._check_descriptor(entry)
        assert set(os.listdir(self.path)) == {"blobs", "index.json", "oci-layout"}, os.listdir(self.path)
        assert os.listdir(f"{self.path}/blobs") == ["sha256"]

    def _check_descriptor(self, descriptor):
        data = self.get(descriptor)
        assert len(data) == descriptor["size"] and digest_of(data) == descriptor["digest"]
        if descriptor["mediaType"] == INDEX:
            for entry in json.loads(data)["manifests"]:
                self._check_descriptor(entry)
        elif descriptor["mediaType"] in (MANIFEST, DOCKER_MANIFEST):
            manifest = json.loads(data)
            config = self.get_json(manifest["config"])
            assert len(self.get(manifest["config"])) == manifest["config"]["size"]
            assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"])
            history = [one for one in config.get("history", []) if not one.get("empty_layer")]
            assert not history or len(history) == len(manifest["layers"]), "history does not fit the layers"
            for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"]):
                assert os.path.getsize(self.blob_path(layer["digest"])) == layer["size"]
                assert digest_of(self._unpacked(layer)) == diff_id, "diff_id does not fit"

    def reachable(self):
        """Digests that a tag leads to."""
        found = set()

        def visit(descriptor):
            found.add(descriptor["digest"])
            if descriptor["mediaType"] == INDEX:
                for entry in self.get_json(descriptor)["manifests"]:
                    visit(entry)
            elif descriptor["mediaType"] in (MANIFEST, DOCKER_MANIFEST):
                manifest = self.get_json(descriptor)
                found.update(one["digest"] for one in [manifest["config"], *manifest["layers"]])

        for entry in self.index()["manifests"]:
            visit(entry)
        return found

    # ------------------------------------------------------------------------------------------ index

    def index(self):
        with open(f"{self.path}/index.json", "rb") as stream:
            return json.load(stream)

    def write_index(self, manifests, **more):
        with open(f"{self.path}/index.json", "w", encoding="utf-8") as stream:
            json.dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, **more}, stream)

    def tags(self):
        return {entry["annotations"][TAG]: entry for entry in self.index()["manifests"]
                if TAG in entry.get("annotations", {})}

    def tag(self, name, descriptor):
        index = self.index()
        others = [entry for entry in index["manifests"] if entry.get("annotations", {}).get(TAG) != name]
        more = {key: value for key, value in index.items() if key not in ("schemaVersion", "mediaType", "manifests")}
        self.write_index([*others, {**descriptor, "annotations": {TAG: name}}], **more)

    # ------------------------------------------------------------------------------------------ images

    def image(self, layers, config=None, architecture=ARCHITECTURE, docker=False):
        """Writes an image of Layer values or ready descriptors with their diff_ids; gives its descriptor."""
        descriptors, diff_ids = [], []
        for layer in layers:
            if isinstance(layer, Layer):
                media_type = DOCKER_LAYER if docker and layer.compression == "gzip" else layer.media_type
                descriptors.append(self.put(layer.blob, media_type))
                diff_ids.append(layer.diff_id)
            else:
                descriptors.append(layer[0])
                diff_ids.append(layer[1])
        value = {"architecture": architecture, "os": "linux",
                 "config": {"Entrypoint": ["/opt/pht_train/entrypoint.sh"]},
                 "rootfs": {"type": "layers", "diff_ids": diff_ids},
                 "history": [{"created_by": f"layer {place}"} for place in range(len(diff_ids))]}
        value.update(config or {})
        manifest_type = DOCKER_MANIFEST if docker else MANIFEST
        manifest = {"schemaVersion": 2, "mediaType": manifest_type,
                    "config": self.put_json(value, DOCKER_CONFIG if docker else CONFIG), "layers": descriptors}
        return self.put_json(manifest, manifest_type)

    def many(self, images):
        """An image index of {(os, architecture[, variant]): descriptor}."""
        manifests = []
        for target, descriptor in images.items():
            names = dict(zip(("os", "architecture", "variant"), target))
            manifests.append({**descriptor, "platform": names})
        return self.put_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, INDEX)

    def manifest(self, tag):
        descriptor = self.tags()[tag]
        if descriptor["mediaType"] == INDEX:
            nested = self.get_json(descriptor)["manifests"]
            descriptor = next((one for one in nested if one["platform"]["architecture"] == ARCHITECTURE), nested[0])
        return self.get_json(descriptor)

    def config(self, tag):
        return self.get_json(self.manifest(tag)["config"])

    def layers_of(self, tag):
        """(descriptor, diff_id) of each layer, to build further images on."""
        return list(zip(self.manifest(tag)["layers"], self.config(tag)["rootfs"]["diff_ids"]))

    def push(self, entries, on="latest", tag="latest", compression=None):
        """Puts one more layer on an image, as a container run and commit does."""
        kept = {name: value for name, value in self.config(on).items() if name not in ("rootfs", "history")}
        descriptor = self.image([*self.layers_of(on), Layer(entries, compression)], kept)
        self.tag(tag, descriptor)
        return descriptor

    def _unpacked(self, descriptor):
        data = self.get(descriptor)
        if data[:2] == b"\x1f\x8b":
            return gzip.decompress(data)
        if data[:4] == b"\x28\xb5\x2f\xfd":
            return subprocess.run(["zstd", "-q", "-d", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
        return data

    def tree(self, tag="latest"):
        """The merged file system of a tag."""
        return merged(self._unpacked(descriptor) for descriptor, _ in self.layers_of(tag))

    def all_bytes(self):
        """Every blob's bytes, unpacked too where it is compressed: to search for what must not be there."""
        for digest in self.blobs():
            data = self.get(digest)
            yield digest, data
            if data[:2] == b"\x1f\x8b" or data[:4] == b"\x28\xb5\x2f\xfd":
                yield digest, self._unpacked(digest)


def merged(layers):
    """The tree that the tars of layers, lowest first, make together."""
    tree = {}
    for layer in layers:
        entries = fs.read_tar(layer)
        for entry in entries:
            parent, _, name = entry.path.rpartition("/")
            if name == ".wh..wh..opq":
                _remove(tree, parent, inside=True)
            elif name.startswith(".wh."):
                _remove(tree, f"{parent}/{name[4:]}" if parent else name[4:])
        for entry in entries:
            if entry.path.rpartition("/")[2].startswith(".wh.") or not entry.path:
                continue
            if entry.kind != fs.FOLDER:
                _remove(tree, entry.path)
            tree[entry.path] = entry
    return dict(sorted(tree.items(), key=lambda item: fs.archive_key(item[0])))


def _remove(tree, path, inside=False):
    for name in [name for name in tree if name.startswith(path + "/") or (name == path and not inside)]:
        del tree[name]


# A small system below the train, so that trains sit on something.
SYSTEM = Layer([
    fs.folder("bin"), fs.file("bin/busybox", b"\x7fELF" + bytes(range(256)) * 40, 0o755),
    fs.symlink("bin/sh", "busybox"),
    fs.folder("etc"), fs.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"), fs.folder("tmp", 0o1777),
    fs.folder("usr"), fs.folder("usr/lib"), fs.file("usr/lib/libc.so", b"not a library " * 500),
], "gzip")


def train_layout(path, opt, base_opt=None, system=SYSTEM, config=None, compression=None):
    """A layout with the tags "base" (system and `base_opt`, by default the train itself) and "latest" (the train)."""
    layout = Layout.create(path)
    base_opt = opt if base_opt is None else base_opt
    below = [system, Layer(list(base_opt.values()), compression)]
    layout.tag("base", layout.image(below, config))
    layers = list(below)
    if base_opt is not opt:
        layers.append(Layer(difference(layout.tree("base"), opt), compression))
    layout.tag("latest", layout.image(layers, config))
    return layout


def copy_layout(layout, path):
    shutil.copytree(layout.path, path)
    return Layout(path)
