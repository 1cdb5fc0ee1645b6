"""Modules × loaders × operations × sizes: what docs/token-matrix.md says, measured by tests/matrix/matrix_tool.

A result is what JSON can hold: a row per module, way to it (alone or behind p11-kit's server) and loader, a cell per
operation and size, either {"way": "native", "ms": 0.6} or {"way": "no", "why": "..."}.
"""

import contextlib
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import time

from support.station import PROGRAM, SOURCE, VECTORS

DOCUMENT = SOURCE / "docs/token-matrix.md"
TOOL = os.environ.get("TT_MATRIX_TOOL") or str(pathlib.Path(PROGRAM).parents[2] / "tests/matrix/matrix_tool")
os.environ.setdefault("TT_MAKE_KEY", str(pathlib.Path(TOOL).parents[2] / "softhsm-fixtures/make_key"))
LABEL, PIN = "matrix", "1234abcd"
LOADERS = ("libp11", "provider", "engine")
OPERATIONS = ("unwrap", "sign")
SIZES = (2048, 3072, 4096)
KEYS = {2048: "basic/keys/station_1.pem", 3072: "wide/keys/aachen.pem", 4096: "wide/keys/tuebingen.pem"}
COUNT = 25
ROUNDS = 21
OVERHEAD_MAX = 10.0  # milliseconds a run


def environment(home):
    return {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "TMPDIR": home, "PRIVATE_KEY_PASSWORD": PIN,
            **{name: value for name, value in os.environ.items() if name.startswith(("ASAN_", "UBSAN_", "LSAN_"))}}


# ---------------------------------------------------------------------------------------------- modules


class Fixture:
    """One of the scripts in softhsm-fixtures, with what it has started."""

    def __init__(self, name):
        self.name = name
        self.script = f"{SOURCE}/softhsm-fixtures/{name}"
        self.place = None

    def do(self, *arguments):
        done = subprocess.run([self.script, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=300)
        if done.returncode != 0:
            raise RuntimeError(f"{self.name} {arguments[0]}: {done.stdout.strip()}")
        return done.stdout.strip()

    def why_not(self):
        """What it needs and is not here, "" when it can be used."""
        return ", ".join(self.do("why-not").splitlines())

    def start(self, place, *arguments):
        self.place = place
        self.do("start", place, *arguments)

    def stop(self):
        self.do("stop", self.place)


class Module(Fixture):
    """A module with one token. Keys of sizes in `generates` cannot come from outside, but be made in it."""

    def __init__(self, name, title, packages, generates=()):
        super().__init__(name)
        self.title, self.packages, self.generates = title, packages, generates

    def add(self, bits):
        name, number = f"key{bits}", f"0{SIZES.index(bits) + 1}"
        if bits in self.generates:
            self.do("generate", self.place, PIN, name, number, str(bits))
        else:
            self.do("import", self.place, PIN, name, number, str(VECTORS / KEYS[bits]))

    def lacks(self, sizes):
        """Keys that it cannot have, by size, and why."""
        can = self.do("sizes").split()
        return {bits: f"the token takes no key of {bits} bits" for bits in sizes if str(bits) not in can}


MODULES = (Module("softhsm", "SoftHSM", ("libsofthsm2", "softhsm2")),
           Module("nss", "NSS softokn", ("libnss3",)),
           Module("opencryptoki", "opencryptoki", ("libopencryptoki0", "opencryptoki")),
           Module("tpm2", "tpm2-pkcs11", ("libtpm2-pkcs11-1",), generates=(3072,)))


# ---------------------------------------------------------------------------------------------- measuring


@contextlib.contextmanager
def urgently():
    """What is started in here comes before all else that the machine does, where that is allowed."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def plain(text, home):
    """A message without what is of this run only."""
    text = re.sub(r"pkcs11:[^\s']*", "pkcs11:…", text.replace(home, "…"))
    return re.sub(r"\s+", " ", text.replace(f"token '{LABEL}'", "the token")).strip()


def tool(seen, home, *arguments):
    """Runs matrix_tool where the token is seen: its lines by name, "failed" among them when it did not work."""
    command = [seen.script, "in", seen.place, TOOL, *map(str, arguments)]
    try:
        done = subprocess.run(command, env=environment(home), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace",
                              check=False, timeout=180, start_new_session=True)
    except subprocess.TimeoutExpired:
        return {"failed": "", "message": "it does not come to an end", "detail": ""}
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    said = {line[0]: line[-1] if len(line) > 1 else "" for line in lines}
    if done.returncode == 0 and "way" in said:
        return said
    if "failed" not in said:
        said = {"failed": "", "message": f"the measurement ends with status {done.returncode}", "detail": ""}
    return said


def times(said):
    return [float(one) for one in said["operations"].split()]


def measure(seen, home, loader, operation, bits, count=COUNT):
    """A cell."""
    said = tool(seen, home, "key", loader, seen.do("module"), f"pkcs11:token={LABEL};object=key{bits}", operation, count)
    if "failed" in said:
        detail = f" ({said['detail']})" if said["detail"] else ""
        return {"way": "no", "why": plain(said["message"] + detail, home)}
    return {"way": said["way"], "ms": statistics.median(times(said))}


def overhead(seen, home, operation, ways, bits=2048, rounds=ROUNDS):
    """One run: module loaded, login, operation, end. Of Cryptoki alone, and of each of the loaders that `ways` names with
    its way of padding; taken in turns, medians of the parts. None when one of them fails."""
    module, uri = seen.do("module"), f"pkcs11:token={LABEL};object=key{bits}"
    commands = {("direct", way): ("direct", way, module, LABEL, f"key{bits}") for way in ways.values()}
    commands |= {loader: ("key", loader, module, uri) for loader in ways}
    taken = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            said = tool(seen, home, *command, operation, 1)
            if "failed" in said:
                return None
            taken[name].append((float(said["open"]), float(said["close"]), times(said)[0]))
    parts = {name: [statistics.median(part) for part in zip(*runs)] for name, runs in taken.items()}
    return {loader: {"way": way, "direct_ms": sum(parts["direct", way]), "ms": sum(parts[loader]),
                     "over_ms": sum(parts[loader]) - sum(parts["direct", way]),
                     "operation_over_ms": parts[loader][2] - parts["direct", way][2]} for loader, way in ways.items()}


def rows_without(module, is_remote, why, loaders):
    """Of a module that is not here."""
    cells = {operation: {str(bits): {"way": "no", "why": f"needs {why}"} for bits in SIZES} for operation in OPERATIONS}
    return [{"module": module.title, "remote": is_remote, "loader": loader, "cells": cells} for loader in loaders]


def rows_of(seen, home, module, is_remote, missing_keys, loaders, sizes, count):
    """A row per loader of a module that is started."""
    for loader in loaders:
        cells = {operation: {} for operation in OPERATIONS}
        for operation in OPERATIONS:
            for bits in sizes:
                cells[operation][str(bits)] = (
                    {"way": "no", "why": missing_keys[bits]} if bits in missing_keys
                    else measure(seen, home, loader, operation, bits, count))
        yield {"module": module.title, "remote": is_remote, "loader": loader, "cells": cells}


def overheads_of(module, home, rows):
    """Of a module that is started, by what its rows say of them."""
    for operation in OPERATIONS:
        cells = {row["loader"]: row["cells"][operation]["2048"]["way"] for row in rows if not row["remote"]}
        ways = {loader: way for loader, way in cells.items() if way in ("native", "raw")}
        found = overhead(module, home, operation, ways) if ways else None
        if found:
            yield {"module": module.title, "operation": operation, "loaders": found}


def rows_behind_p11_kit(module, home, missing_keys, loaders, sizes, count):
    server = Fixture("p11-kit")
    missing = server.why_not()
    if missing:
        return rows_without(module, True, missing, loaders)
    server.start(f"{home}/s", module.name, module.place)
    try:
        return list(rows_of(server, home, module, True, missing_keys, loaders, sizes, count))
    finally:
        server.stop()


def measure_module(module, loaders=LOADERS, sizes=SIZES, count=COUNT, remote=True, with_overhead=True, say=print):
    """Starts it and measures: its rows, and what traintoken takes beyond it."""
    missing = module.why_not()
    if missing:
        say(f"{module.title}: needs {missing}")
        return [row for is_remote in (False, True) for row in rows_without(module, is_remote, missing, loaders)], []
    home = tempfile.mkdtemp(prefix="tt-matrix-")
    try:
        say(module.title)
        module.start(f"{home}/t", LABEL, PIN)
        missing_keys = module.lacks(sizes)
        for bits in sizes:
            if bits not in missing_keys:
                module.add(bits)
        rows = list(rows_of(module, home, module, False, missing_keys, loaders, sizes, count))
        overheads = list(overheads_of(module, home, rows)) if with_overhead else []
        if remote:
            rows += rows_behind_p11_kit(module, home, missing_keys, loaders, sizes, count)
        return rows, overheads
    finally:
        module.stop()
        shutil.rmtree(home, True)


# ---------------------------------------------------------------------------------------------- the machine


def release():
    with open("/etc/os-release", encoding="utf-8") as stream:
        facts = dict(line.rstrip("\n").split("=", 1) for line in stream if "=" in line)
    return facts["NAME"].strip('"').split()[0] + " " + facts.get("VERSION_ID", "").strip('"')


def package_version(*packages):
    for package in packages:
        done = subprocess.run(["dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", package],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        status, _, version = done.stdout.partition(" ")
        if status == "installed":
            return version
    return None


def versions():
    named = [("OpenSSL", ("libssl3t64", "libssl3")), ("libp11", ("libp11-3t64", "libp11-3")),
             ("pkcs11-provider", ("pkcs11-provider",)), ("libengine-pkcs11-openssl", ("libengine-pkcs11-openssl",)),
             ("p11-kit", ("p11-kit",)), *((one.title, one.packages) for one in MODULES), ("swtpm", ("swtpm",))]
    return [[name, package_version(*packages) or "not there"] for name, packages in named]


def matrix(modules=MODULES, say=print):
    """The whole of this machine."""
    rows, overheads, load = [], [], [os.getloadavg()[0]]
    for module in modules:
        with urgently():
            more, over = measure_module(module, say=say)
        rows += more
        overheads += over
        load.append(os.getloadavg()[0])
    return {"system": release(), "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "machine": platform.machine(), "cores": len(os.sched_getaffinity(0)), "load": max(load), "count": COUNT,
            "rounds": ROUNDS, "versions": versions(), "rows": rows, "overheads": overheads}


# ---------------------------------------------------------------------------------------------- the document

HEAD = """\
# Token matrix

Generated by `scripts/test --matrix`; never edited by hand. What the words mean is told in [tokens.md](tokens.md).

Every module × loader × operation of a station × size of the key, by traintoken's own code:

- **native**: the token's own mechanism, OAEP or PSS with SHA-512 (PSS with the longest salt);
- **raw**: the token's raw RSA, with OpenSSL's padding around it;
- **no**: cannot be done; the number is that of the note under the table.

The number after native or raw is the median time of one operation in milliseconds, with the key open: of {count}, or
of as many as a slow token does in three seconds. All of these tokens are software. What is measured runs before whatever
else the machine does, but shares processors and memory with it.

*Overhead* is what a run of traintoken (module loaded, token found, login, key found, one operation with RSA-2048,
module let go of) takes longer than the same by Cryptoki alone, and, after the slash, how much of that is the operation:
medians of {rounds} runs each, in milliseconds. It is to stay under {limit:.0f}. Provider and engine load the module a second time,
after traintoken has looked at the token, and the provider reads all keys: what that takes is the module's.
"""


def milliseconds(value):
    if round(value, 1) == 0:
        return "0.0"
    return f"{value:.1f}" if abs(value) < 9.95 else f"{value:.0f}"


class Notes:
    def __init__(self):
        self.texts = []

    def number(self, text):
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def cell_text(cell, notes):
    return f"no ({notes.number(cell['why'])})" if cell["way"] == "no" else f"{cell['way']} {milliseconds(cell['ms'])}"


def escaped(text):
    return re.sub(r"([|<>*_`])", r"\\\1", text)


def part(result):
    """The lines of one system."""
    notes = Notes()
    yield f"## {result['system']}"
    yield ""
    yield (f"{result['when']}, {result['machine']}, {result['cores']} processors, load up to {result['load']:.1f}. "
           + ", ".join(f"{name} {version}" for name, version in result["versions"]) + ".")
    yield ""
    yield "| module | loader | " + " | ".join(f"{one} {bits}" for one in OPERATIONS for bits in SIZES) + " |"
    yield "|---|---" * 1 + "|---" * (len(OPERATIONS) * len(SIZES)) + "|"
    for row in result["rows"]:
        title = row["module"] + (" behind p11-kit" if row["remote"] else "")
        cells = [cell_text(row["cells"][one][str(bits)], notes) for one in OPERATIONS for bits in SIZES]
        yield f"| {title} | {row['loader']} | " + " | ".join(cells) + " |"
    yield ""
    for number, text in enumerate(notes.texts, 1):
        yield f"{number}. {escaped(text)}"
    if notes.texts:
        yield ""
    yield "| overhead | operation | by Cryptoki alone | " + " | ".join(LOADERS) + " |"
    yield "|---" * (3 + len(LOADERS)) + "|"
    for one in result["overheads"]:
        direct = {round(loader["direct_ms"], 3): loader["way"] for loader in one["loaders"].values()}
        alone = ", ".join(f"{way} {milliseconds(taken)}" for taken, way in direct.items())
        cells = [f"{milliseconds(one['loaders'][loader]['over_ms'])} / "
                 f"{milliseconds(one['loaders'][loader]['operation_over_ms'])}" if loader in one["loaders"] else "–"
                 for loader in LOADERS]
        yield f"| {one['module']} | {one['operation']} | {alone} | " + " | ".join(cells) + " |"
    over = [f"{one['module']}, {one['operation']}, {loader}" for one in result["overheads"]
            for loader, found in one["loaders"].items() if found["over_ms"] >= OVERHEAD_MAX]
    yield ""
    yield f"Not under {OVERHEAD_MAX:.0f}: {'; '.join(over)}." if over else f"All are under {OVERHEAD_MAX:.0f}."
    yield ""


def document(results):
    text = HEAD.format(count=COUNT, rounds=ROUNDS, limit=OVERHEAD_MAX)
    for result in results:
        text += "\n" + "\n".join(part(result)).rstrip("\n") + "\n"
    return text


def verdicts(text):
    """{system: {(module as it stands there, loader, operation, bits): "native", "raw", "unknown" or "no"}}."""
    found = {}
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        system = section.partition("\n")[0]
        for line in section.splitlines():
            cells = [one.strip() for one in line.strip().strip("|").split("|")]
            if line.startswith("| ") and len(cells) == 8 and cells[1] in LOADERS:
                for place, cell in enumerate(cells[2:]):
                    column = (OPERATIONS[place // len(SIZES)], SIZES[place % len(SIZES)])
                    found.setdefault(system, {})[cells[0], cells[1], *column] = cell.split()[0]
    return found
