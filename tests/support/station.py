"""A station to test with: throw-away tokens, folders of its own, a clean environment, and traintoken run in it."""

import atexit
import functools
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest

from cryptography.hazmat.primitives import serialization

from support import files as fs
from support import oci, pht

SOURCE = pathlib.Path(os.environ.get("TRAINTOKEN_SOURCE") or pathlib.Path(__file__).resolve().parents[2])
PROGRAM = os.environ.get("TRAINTOKEN", str(SOURCE / "build-dev/src/cli/traintoken"))
VECTORS = SOURCE / "tests/vectors"
FIXTURES = SOURCE / "softhsm-fixtures/softhsm"
POOL = pathlib.Path(__file__).resolve().parent / "keys"
PIN = "tt-throw-away-1234"
try:
    SANITIZED = b"__asan_init" in pathlib.Path(PROGRAM).read_bytes()
except OSError:
    SANITIZED = False

# Words of content and secrets that must never be found where they do not belong.
MARKER = b"traintoken-plaintext-marker"


# ---------------------------------------------------------------------------------------------- material


@functools.cache
def pool_key(name):
    """A throw-away software key by name: creator, builder, alpha, beta, gamma, outsider, wide, short, curve."""
    return pht.load_private(POOL / f"throwaway-{name}.pem")


@functools.cache
def vector_key(family, name):
    return pht.load_private(VECTORS / family / "keys" / f"{name}.pem")


@functools.cache
def _vector(family, name):
    return fs.read_tree(VECTORS / family / f"{name}.opt.tar")


def vector(family, name):
    return dict(_vector(family, name))


ENTRYPOINT = b"#!/bin/sh\n# " + MARKER + b"\nexit 0\n"
DEFINITION = {
    "entrypoint.sh": fs.file("", ENTRYPOINT, 0o755),
    "lib/model.bin": MARKER + bytes(range(256)) * 16,
    "lib/exact.bin": MARKER + b"x" * (64 - len(MARKER)),
    "empty.txt": b"",
}
QUERY = b'{"query": "' + MARKER + b'"}'
STOPS = ("alpha", "beta", "gamma")


def sample(stops=STOPS, **more):
    """The tree of /opt of a small train over alpha, beta and gamma (or `stops`: names, or (station, key) pairs)."""
    pairs = [(stop, pool_key(stop)) if isinstance(stop, str) else stop for stop in stops]
    more.setdefault("query", QUERY)
    more.setdefault("definition", DEFINITION)
    return pht.seal(more.pop("definition"), pairs, more.pop("creator_id", "researcher-1"), pool_key("creator"),
                    pool_key("builder"), **more)


def results_of(station):
    """What the code of the sample train writes at a station: entries to put on the image."""
    return [
        fs.folder("opt/pht_results", mtime=fs.WHEN + 5),
        fs.file(f"opt/pht_results/{station}.csv", MARKER + b"," + station.encode() + b"\n", 0o640, uid=1000, gid=100),
        fs.folder("opt/pht_results/plots", 0o750),
        fs.file(f"opt/pht_results/plots/{station}.bin", (MARKER + b"\0") * 700, 0o755, mtime=fs.WHEN + 7),
        fs.symlink("opt/pht_results/last", f"{station}.csv", uid=1000, gid=100),
    ]


@functools.cache
def _sample_at(position):
    opt = sample(session_id=bytes(range(64)))
    for station in STOPS[:position]:
        key = pool_key(station)
        plain = pht.pre_run(opt, station, key)
        executed = dict(plain) | {entry.path: entry for entry in results_of(station)}
        base = _sample_at(0)
        opt = pht.post_run(executed, plain[pht.CONFIG].content, base, station, key)
    return opt


def sample_at(position):
    """The sample train (always the same one) with so many stops done, all of them done by the checker."""
    return dict(_sample_at(position))


def edited(opt, *steps_and_value, drop=False):
    """A train with one member of its configuration changed: edited(opt, "route", 0, "index", 5); with drop=True the
    last step is removed instead."""
    config = pht.load_config(opt[pht.CONFIG].content)
    steps = list(steps_and_value)
    value = None if drop else steps.pop()
    holder = config
    for step in steps[:-1]:
        holder = holder[step]
    if drop:
        del holder[steps[-1]]
    else:
        holder[steps[-1]] = value(holder.get(steps[-1])) if callable(value) else value
    return with_config(opt, pht.dump_config(config))


def with_config(opt, text):
    return opt | {pht.CONFIG: opt[pht.CONFIG].with_(content=text)}


def flipped(data, place=-1, bit=1):
    """Bytes (or hex text) with one bit changed."""
    if isinstance(data, str):
        return flipped(bytes.fromhex(data), place, bit).hex()
    changed = bytearray(data)
    changed[place] ^= bit
    return bytes(changed)


# ---------------------------------------------------------------------------------------------- tokens


class Tokens:
    """A folder of SoftHSM tokens, one per key, with the key's name as the token's label and "key" as the object's."""

    def __init__(self, place):
        self.place = str(place)
        self.made = set()
        self._fixture("init")

    @functools.cached_property
    def environment(self):
        return {"SOFTHSM2_CONF": f"{self.place}/softhsm2.conf"}

    @functools.cached_property
    def module(self):
        return subprocess.run([FIXTURES, "module"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    def _fixture(self, command, *arguments):
        done = subprocess.run([FIXTURES, command, self.place, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, f"softhsm {command}: {done.stdout}"

    def add(self, label, key=None, object_label="key", object_id="01"):
        """Imports a software key (by default the pool's of that name); makes the token when it is not there."""
        if label not in self.made:
            self._fixture("token", label, PIN)
            self.made.add(label)
        path = f"{self.place}/import.pem"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write((key or pool_key(label)).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        self._fixture("import", label, PIN, object_label, object_id, path)
        os.remove(path)

    @functools.cache
    def odd(self, kind):
        """The public half of a key that something is special with, in a token of that name (see the fixtures)."""
        self._fixture("token", kind, PIN)
        self.made.add(kind)
        self._fixture("odd-key", kind, PIN, "key", "01", kind)
        done = subprocess.run([FIXTURES, "public", self.place, kind, PIN, "key"], stdout=subprocess.PIPE, check=True)
        return serialization.load_pem_public_key(done.stdout)

    def uri(self, label, object_label="key"):
        if label not in self.made:
            self.add(label)
        return f"pkcs11:token={label};object={object_label}"


@functools.cache
def tokens():
    """The tokens that all tests of one program share; gone when it ends."""
    place = tempfile.mkdtemp(prefix="traintoken-test-tokens-")
    atexit.register(shutil.rmtree, place, True)
    return Tokens(place)


# ---------------------------------------------------------------------------------------------- the program


class Result:
    def __init__(self, arguments, status, out, err):
        self.arguments, self.status, self.out, self.err = arguments, status, out, err

    @property
    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return f"{' '.join(self.arguments)}\nstatus {self.status}\nout: {self.out}\nerr: {self.err}"


def snapshot(*places):
    """Everything in folders: kinds, modes and bytes."""
    seen = {}
    for place in places:
        if os.path.isfile(place):
            seen[place] = pathlib.Path(place).read_bytes()
        for root, folders, names in os.walk(place):
            for name in folders:
                path = f"{root}/{name}"
                seen[path] = os.readlink(path) if os.path.islink(path) else f"folder {os.stat(path).st_mode:o}"
            for name in names:
                path = f"{root}/{name}"
                if os.path.islink(path):
                    seen[path] = "link " + os.readlink(path)
                else:
                    mode = os.stat(path).st_mode
                    seen[path] = (mode, pathlib.Path(path).read_bytes() if stat.S_ISREG(mode) else None)
    return seen


def difference(before, after):
    """Names of what differs between two snapshots, for messages."""
    return sorted(path + (" (new)" if path not in before else " (gone)" if path not in after else " (changed)")
                  for path in before.keys() | after.keys() if before.get(path) != after.get(path))


class Case(unittest.TestCase):
    """A test with a station around it: self.work with the layouts, self.state, self.tmp as TMPDIR."""

    maxDiff = 2000

    def setUp(self):
        self.work = tempfile.mkdtemp(prefix="traintoken-test-")
        self.addCleanup(shutil.rmtree, self.work, True)
        self.tmp, self.state, self.home = (f"{self.work}/{name}" for name in ("tmp", "state", "home"))
        for place in (self.tmp, self.home):
            os.mkdir(place, 0o700)
        self.trust = f"{self.work}/trust"
        self.pin("creators", "researcher-1", pool_key("creator"))
        for station in STOPS:
            self.pin("stations", station, pool_key(station))
        self._count = 0
        # Not in self.state: what refused() compares stays as it was, and the trail tells of the refusal.
        place = tempfile.mkdtemp(prefix="traintoken-test-trail-")
        self.addCleanup(shutil.rmtree, place, True)
        self.trail = f"{place}/audit.jsonl"

    def pin(self, folder, name, key):
        """Trusts a key, by hand: the sample train's keys are trusted from the beginning, and trains with other keys are
        believed (TRAINTOKEN_TRUST_TRAIN_KEYS), as most tests are about other things."""
        place = pathlib.Path(self.trust, folder, name)
        place.mkdir(0o755, True, True)
        for made in (place, place.parent, place.parent.parent):
            made.chmod(0o755)
        (place / "key.pem").write_bytes(pht.public_pem(key))
        (place / "key.pem").chmod(0o644)

    def tearDown(self):
        if os.path.isdir(self.tmp):
            self.assertEqual(os.listdir(self.tmp), [], "left in TMPDIR")

    # ------------------------------------------------------------------------------------------ material

    def layout(self, opt, base_opt=None, name=None, **more):
        """A layout in self.work with the tags base and latest; one of that name before is gone."""
        self._count += 1
        place = f"{self.work}/{name or f'layout{self._count}'}"
        shutil.rmtree(place, True)
        return oci.train_layout(place, opt, base_opt, **more)

    def layout_at(self, position, name=None, **more):
        return self.layout(sample_at(position), sample_at(0) if position else None, name, **more)

    def run_code(self, layout, station, entries=None):
        """What happens between pre-run and post-run: results of a container run become a layer of the image."""
        layout.push(results_of(station) if entries is None else entries)

    # ------------------------------------------------------------------------------------------ the program

    def environment(self, **more):
        env = {"PATH": os.environ["PATH"], "HOME": self.home, "LANG": "C.UTF-8", "TMPDIR": self.tmp,
               "TRAINTOKEN_STATE": self.state, "TRAINTOKEN_AUDIT": self.trail, "TRAINTOKEN_TRUST": self.trust,
               "TRAINTOKEN_TRUST_TRAIN_KEYS": "1", **tokens().environment}
        env["LSAN_OPTIONS"] = f"suppressions={SOURCE}/tests/support/leaks.supp:print_suppressions=0"
        env.update({name: value for name, value in os.environ.items() if name.startswith(("ASAN_", "UBSAN_"))})
        env.update(more)
        return {name: value for name, value in env.items() if value is not None}

    def arguments(self, command, *more, station=None, key=None, module=True):
        """argv of a sub-command with the usual options; key: a token's label, or a whole URI."""
        argv = [PROGRAM, command]
        if station is not None:
            argv += ["--station", station]
            key = station if key is None else key
        if key:
            argv += ["--key", key if ":" in key else tokens().uri(key)]
            if module:
                argv += ["--module", tokens().module if module is True else module]
        return argv + [f"oci:{one.path}:latest" if isinstance(one, oci.Layout) else str(one) for one in more]

    def tt(self, command, *more, station=None, key=None, module=True, pin=PIN, env=None, fds=(), timeout=60, before=()):
        """Runs traintoken without a terminal."""
        argv = [*before, *self.arguments(command, *more, station=station, key=key, module=module)]
        done = subprocess.run(argv, env=self.environment(PRIVATE_KEY_PASSWORD=pin, **(env or {})),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=fds,
                              start_new_session=True, timeout=timeout, check=False)
        return Result(argv, done.returncode, done.stdout.decode("utf-8", "replace"),
                      done.stderr.decode("utf-8", "replace"))

    def good(self, *arguments, **more):
        """Runs it and demands success. With --json among the arguments, gives the object, else the Result."""
        result = self.tt(*arguments, **more)
        self.assertEqual(result.status, 0, str(result))
        if "--json" in arguments:
            self.assertEqual(result.json["status"], "ok", str(result))
            return result.json
        return result

    def refused(self, status, words, *arguments, untouched=(), **more):
        """Runs it and demands this exit status (one, or several that would do), these words on stderr, nothing on
        stdout, and that every layout, the station's memory and the temporary folder are as they were."""
        before = self.everything(*untouched)
        result = self.tt(*arguments, **more)
        allowed = status if isinstance(status, (tuple, list, set)) else (status,)
        self.assertIn(result.status, allowed, str(result))
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word.lower(), result.err.lower(), str(result))
        self.assertTrue(any(line.startswith("traintoken: ") for line in result.err.splitlines()), str(result))
        if "--json" not in arguments and arguments[0] != "verify":  # verify tells what holds as it goes
            self.assertEqual(result.out, "", str(result))
        self.assertEqual(difference(before, self.everything(*untouched)), [], f"touched by {result}")
        self.assertNotIn(PIN, result.out + result.err)
        self.assertNotIn(MARKER.decode(), result.out + result.err)
        return result

    def everything(self, *more):
        return snapshot(self.work, *more)

    def killed(self, argv, after, env=None, with_signal=signal.SIGKILL):
        """Starts argv and ends it by a signal after so many seconds. Gives its status."""
        child = subprocess.Popen(argv, env=env or self.environment(PRIVATE_KEY_PASSWORD=PIN), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        try:
            child.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            child.send_signal(with_signal)
            child.communicate(timeout=60)
        return child.returncode

    def peak(self, argv, status=0):
        """Runs argv, demands its status, and gives its peak memory in KiB."""
        done = subprocess.run([sys.executable, "-B", "-S", "-m", "support.peak", *argv], stdout=subprocess.PIPE,
                              env=self.environment(PRIVATE_KEY_PASSWORD=PIN, PYTHONPATH=str(SOURCE / "tests")),
                              text=True, check=True)
        self.assertEqual(int(done.stdout.split()[0]), status)
        return int(done.stdout.split()[1])

    # ------------------------------------------------------------------------------------------ checks

    def open(self, layout, key, tag="latest"):
        """Checks the train in a layout with the independent checker and opens it with a software key."""
        layout.check()
        return pht.open_train(layout.tree(tag), key)

    def assert_no_plaintext(self, layout, *markers):
        for digest, data in layout.all_bytes():
            for marker in markers or (MARKER,):
                self.assertFalse(marker in data, f"plaintext in blob {digest}")

    def assert_same_files(self, ours, theirs, what=("kind", "content", "mode", "uid", "gid", "mtime", "target")):
        """Two lists or trees of entries agree in these respects."""
        def facts(entries):
            entries = entries.values() if isinstance(entries, dict) else entries
            return {entry.path: {name: getattr(entry, name) for name in what} for entry in entries}
        self.assertEqual(facts(ours), facts(theirs))


def needs_program(name):
    return unittest.skipUnless(shutil.which(name), f"needs the program {name}")
