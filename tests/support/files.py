"""Files of an image as values: an Entry per file, a tree as a dict from path to Entry, and tar archives of them."""

import dataclasses
import io
import tarfile

FILE, FOLDER, SYMLINK, HARDLINK, CHAR, BLOCK, PIPE = "file", "folder", "symlink", "hardlink", "char", "block", "pipe"

_TAR_TYPES = {
    FILE: tarfile.REGTYPE,
    FOLDER: tarfile.DIRTYPE,
    SYMLINK: tarfile.SYMTYPE,
    HARDLINK: tarfile.LNKTYPE,
    CHAR: tarfile.CHRTYPE,
    BLOCK: tarfile.BLKTYPE,
    PIPE: tarfile.FIFOTYPE,
}
_KINDS = {tar: kind for kind, tar in _TAR_TYPES.items()} | {tarfile.AREGTYPE: FILE}

# A time in the past with a fraction would need pax headers; whole seconds do for nearly all tests.
WHEN = 1_600_000_000


@dataclasses.dataclass
class Entry:
    path: str  # from the root, no leading or trailing slash
    kind: str = FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: float = WHEN
    content: bytes = b""
    target: str = ""

    def with_(self, **changes):
        return dataclasses.replace(self, **changes)


def file(path, content=b"", mode=0o644, **more):
    return Entry(path, FILE, mode, content=content, **more)


def folder(path, mode=0o755, **more):
    return Entry(path, FOLDER, mode, **more)


def symlink(path, target, **more):
    return Entry(path, SYMLINK, 0o777, target=target, **more)


def hardlink(path, target, **more):
    return Entry(path, HARDLINK, 0o644, target=target, **more)


def tree(entries):
    """A dict by path; parents that are missing are added as plain folders."""
    result = {}
    for entry in entries:
        result[entry.path] = entry
    for path in list(result):
        parts = path.split("/")
        for depth in range(1, len(parts)):
            result.setdefault("/".join(parts[:depth]), folder("/".join(parts[:depth])))
    return dict(sorted(result.items(), key=lambda item: archive_key(item[0])))


def archive_key(path):
    """Sort key of the protocol's archive order: depth first, byte-wise names, contents right after their folder."""
    return path.encode("utf-8", "surrogateescape").split(b"/")


def under(files, path):
    """The entries at and under a path, in archive order."""
    found = [entry for name, entry in files.items() if name == path or name.startswith(path + "/")]
    return sorted(found, key=lambda entry: archive_key(entry.path))


def read_tar(source):
    """The entries of a tar (a path or bytes), in its order. Names keep ".." and the like, for hostile ones."""
    stream = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")
    entries = []
    with stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            kind = _KINDS[member.type]
            content = archive.extractfile(member).read() if kind == FILE else b""
            name = member.name.removeprefix("./").strip("/")
            entries.append(Entry("" if name == "." else name, kind, member.mode & 0o7777, member.uid, member.gid,
                                 member.mtime, content, member.linkname))
    return entries


def read_tree(source):
    return {entry.path: entry for entry in read_tar(source)}


def write_tar(entries, form=tarfile.PAX_FORMAT, end=True):
    """A tar of the entries exactly as they are given, hostile names and doubles included."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=form) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.type = _TAR_TYPES[entry.kind]
            info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, entry.mtime
            info.size = len(entry.content) if entry.kind == FILE else 0
            info.linkname = entry.target
            archive.addfile(info, io.BytesIO(entry.content) if entry.kind == FILE else None)
        if not end:
            return out.getvalue()
    return out.getvalue()
