"""Modules × loaders × operations × sizes: what docs/token-matrix.md says, measured by tests/matrix/matrix_tool.

A result is what JSON can hold: a row per module, way to it (alone or behind p11-kit's server) and loader, a cell per
operation and size, either {"way": "native", "ms": 0.6} or {"way": "no", "why": "..."}.
"""

import glob
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
LABEL, PIN = "matrix", "1234abcd"
LOADERS = ("libp11", "provider", "engine")
OPERATIONS = ("unwrap", "sign")
SIZES = (2048, 3072, 4096)
KEYS = {2048: "basic/keys/station_1.pem", 3072: "wide/keys/aachen.pem", 4096: "wide/keys/tuebingen.pem"}
COUNT = 25
ROUNDS = 15
OVERHEAD_MAX = 10.0  # milliseconds a run
CLIENT = next(iter(glob.glob("/usr/lib/*/pkcs11/p11-kit-client.so")), None)


def environment(home, **more):
    return {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "TMPDIR": home, "PRIVATE_KEY_PASSWORD": PIN,
            **{name: value for name, value in os.environ.items() if name.startswith(("ASAN_", "UBSAN_", "LSAN_"))},
            **more}


# ---------------------------------------------------------------------------------------------- modules


class Module:
    """A module by its script in softhsm-fixtures."""

    def __init__(self, name, title, packages):
        self.name, self.title, self.packages = name, title, packages
        self.script = f"{SOURCE}/softhsm-fixtures/{name}"
        self.place = None

    def fixture(self, *arguments, check=True):
        done = subprocess.run([self.script, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=300)
        if check and done.returncode != 0:
            raise RuntimeError(f"{self.name} {arguments[0]}: {done.stdout.strip()}")
        return done.stdout.strip()

    def why_not(self):
        """What it needs and is not here, "" when it can be used."""
        if not os.access(self.script, os.X_OK):
            return f"softhsm-fixtures/{self.name}"
        return ", ".join(self.fixture("why-not").splitlines())

    def start(self, place):
        self.place = place
        self.fixture("start", place, LABEL, PIN)

    def add(self, bits):
        self.fixture("import", self.place, PIN, f"key{bits}", f"0{SIZES.index(bits) + 1}", str(VECTORS / KEYS[bits]))

    def sizes(self):
        return [int(one) for one in self.fixture("sizes").split()]

    def stop(self):
        self.fixture("stop", self.place, check=False)

    def path(self):
        return self.fixture("module")

    def before(self):
        """What goes before a command that is to see the token."""
        return [self.script, "in", self.place]

    def settings(self):
        return {}


class EverySize(Module):
    def sizes(self):
        return SIZES


class SoftHSM(EverySize):
    """Its script is older, with verbs of its own."""

    def why_not(self):
        return "" if shutil.which("softhsm2-util") and shutil.which("pkcs11-tool") else "softhsm2, opensc"

    def start(self, place):
        self.place = place
        self.fixture("init", place)
        self.fixture("token", place, LABEL, PIN)

    def add(self, bits):
        self.fixture("import", self.place, LABEL, PIN, f"key{bits}", f"0{SIZES.index(bits) + 1}",
                     str(VECTORS / KEYS[bits]))

    def stop(self):
        pass

    def before(self):
        return []

    def settings(self):
        return {"SOFTHSM2_CONF": f"{self.place}/softhsm2.conf"}


MODULES = (SoftHSM("softhsm", "SoftHSM", ("libsofthsm2", "softhsm2")),
           Module("nss", "NSS softokn", ("libnss3",)),
           EverySize("opencryptoki", "opencryptoki", ("libopencryptoki0", "opencryptoki")),
           Module("tpm2", "tpm2-pkcs11 + swtpm", ("libtpm2-pkcs11-1",)))


class Remote:
    """p11-kit's server before a module that is started."""

    def __init__(self, module):
        self.module = module
        self.socket = f"{module.place}/p11"
        self.server = subprocess.Popen(
            [*module.before(), "p11-kit", "server", "-f", "--provider", module.path(), "-n", self.socket, "pkcs11:"],
            env=environment(module.place, **module.settings()), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        for _ in range(200):
            if os.path.exists(self.socket) or self.server.poll() is not None:
                break
            time.sleep(0.05)

    def path(self):
        return CLIENT

    def before(self):
        return []

    def settings(self):
        return {"P11_KIT_SERVER_ADDRESS": f"unix:path={self.socket}"}

    def stop(self):
        self.server.terminate()
        self.server.wait()


# ---------------------------------------------------------------------------------------------- measuring


def plain(text, place):
    """A message without what is of this run only."""
    text = re.sub(r"pkcs11:[^\s']*", "pkcs11:…", text.replace(place, "…"))
    return re.sub(r"\s+", " ", text.replace(f" '{LABEL}'", "")).strip()


def tool(seen, place, *arguments):
    """Runs matrix_tool where the token is seen: its lines by name, "failed" among them when it did not work."""
    command = [*seen.before(), TOOL, *map(str, arguments)]
    try:
        done = subprocess.run(command, env=environment(place, **seen.settings()), stdin=subprocess.DEVNULL,
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


def measure(seen, place, loader, operation, bits, count=COUNT):
    """A cell."""
    said = tool(seen, place, "key", loader, seen.path(), f"pkcs11:token={LABEL};object=key{bits}", operation, count)
    if "failed" in said:
        detail = f" ({said['detail']})" if said["detail"] else ""
        return {"way": "no", "why": plain(said["message"] + detail, place)}
    return {"way": said["way"], "ms": statistics.median(times(said))}


def whole(said):
    return float(said["open"]) + times(said)[0] + float(said["close"])


def overhead(seen, place, operation, ways, bits=2048, rounds=ROUNDS):
    """One run: open, login, operation, end. Of Cryptoki alone, and of each of the loaders that `ways` names with its way
    of padding; taken in turns."""
    uri = f"pkcs11:token={LABEL};object=key{bits}"
    commands = {("direct", way): ("direct", way, seen.path(), LABEL, f"key{bits}") for way in ways.values()}
    commands |= {loader: ("key", loader, seen.path(), uri) for loader in ways}
    taken = {name: [] for name in commands}
    alone = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            said = tool(seen, place, *command, operation, 1 if turn else COUNT)
            if "failed" in said:
                return None
            if turn:
                taken[name].append(whole(said))
            else:
                alone[name] = times(said)
    run = {name: statistics.median(one) for name, one in taken.items()}
    once = {name: statistics.median(one) for name, one in alone.items()}
    return {loader: {"way": way, "direct_ms": run["direct", way], "ms": run[loader],
                     "over_ms": run[loader] - run["direct", way],
                     "operation_over_ms": once[loader] - once["direct", way]} for loader, way in ways.items()}


def no_row(why):
    return {operation: {str(bits): {"way": "no", "why": why} for bits in SIZES} for operation in OPERATIONS}


def rows_of(seen, module, is_remote, missing_keys, loaders, sizes, count):
    """A row per loader of a module that is started."""
    for loader in loaders:
        cells = {operation: {} for operation in OPERATIONS}
        for operation in OPERATIONS:
            for bits in sizes:
                cells[operation][str(bits)] = (
                    {"way": "no", "why": missing_keys[bits]} if bits in missing_keys
                    else measure(seen, module.place, loader, operation, bits, count))
        yield {"module": module.title, "remote": is_remote, "loader": loader, "cells": cells}


def overheads_of(module, rows):
    """Of a module that is started, by what its rows say."""
    for operation in OPERATIONS:
        cells = {row["loader"]: row["cells"][operation]["2048"]["way"] for row in rows if not row["remote"]}
        ways = {loader: way for loader, way in cells.items() if way in ("native", "raw")}
        found = overhead(module, module.place, operation, ways) if ways else None
        if found:
            yield {"module": module.title, "operation": operation, "loaders": found}


def measure_module(module, loaders=LOADERS, sizes=SIZES, count=COUNT, remote=True, with_overhead=True, say=print):
    """Starts it and measures: its rows, and what traintoken takes beyond it."""
    missing = module.why_not()
    if missing:
        say(f"{module.title}: needs {missing}")
        rows = [{"module": module.title, "remote": is_remote, "loader": loader, "cells": no_row(f"needs {missing}")}
                for is_remote in (False, True) for loader in loaders]
        return rows, []
    place = tempfile.mkdtemp(prefix="tt-matrix-")
    try:
        say(f"{module.title}")
        module.start(place)
        missing_keys = {bits: f"the token takes no key of {bits} bits" for bits in sizes if bits not in module.sizes()}
        for bits in sizes:
            if bits not in missing_keys:
                module.add(bits)
        rows = list(rows_of(module, module, False, missing_keys, loaders, sizes, count))
        if remote:
            say(f"{module.title} behind p11-kit")
            server = Remote(module)
            try:
                rows += rows_of(server, module, True, missing_keys, loaders, sizes, count)
            finally:
                server.stop()
        say(f"{module.title}: what traintoken takes beyond it")
        return rows, list(overheads_of(module, rows)) if with_overhead else []
    finally:
        module.stop()
        shutil.rmtree(place, True)


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
of as many as a slow token does in three seconds. All the modules are software, on a machine that has other things to do: the times
tell orders of magnitude. *Overhead* is what a run of traintoken (module loaded, token found, login, key found, one
operation with RSA-2048, module let go of) takes longer than the same by Cryptoki alone, and, after the
slash, what an operation does: medians of {rounds} runs and {count} operations each, in milliseconds. It is to stay under {limit:.0f}.
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
