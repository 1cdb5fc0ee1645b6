"""What is said and where: JSON shapes, quiet and verbose, help at every level, usage errors."""

import json
import os
import pty
import re
import select
import subprocess
import unittest

from support import files as fs
from support import oci, pht
from support.station import (DEFINITION, MARKER, PIN, PROGRAM, QUERY, STOPS, Case, edited, pool_key, sample, sample_at,
                             tokens)

COMMANDS = ("pre-run", "post-run", "verify", "inspect", "seal", "results")
HEX64 = re.compile("[0-9a-f]{128}")
DIGEST = re.compile("sha256:[0-9a-f]{64}")
FINGERPRINT = re.compile("SHA256:[A-Za-z0-9+/]{43}")


class Shape:
    """A tiny schema: a type, a compiled pattern, a list of one shape, a dict, or the values that may be."""

    @staticmethod
    def check(case, value, shape, where=""):
        if isinstance(shape, dict):
            case.assertIsInstance(value, dict, where)
            case.assertEqual(set(value), set(shape), where)
            for name, inner in shape.items():
                Shape.check(case, value[name], inner, f"{where}.{name}")
        elif isinstance(shape, list):
            case.assertIsInstance(value, list, where)
            for place, one in enumerate(value):
                Shape.check(case, one, shape[0], f"{where}[{place}]")
        elif isinstance(shape, re.Pattern):
            case.assertRegex(value, "^(?:" + shape.pattern + ")$", where)
        elif isinstance(shape, type):
            case.assertIs(type(value), shape, where)
        else:
            case.assertIn(value, shape, where)


KEY = {"uri": re.compile("pkcs11:.*object=key.*"), "token": str, "serial": str, "loader": ("libp11",),
       "fingerprint": FINGERPRINT, "bits": int}
START = {"status": ("ok",), "code": (0,), "command": COMMANDS}
TRAIN = {"train": str, "session_id": HEX64}
USE = [{"operation": ("unwrap", "sign-result", "sign-route", "sign-definition", "sign-build", "sign-manifest"),
        "padding": ("native", "raw", "unknown")}]
MANIFESTS = {"count": int, "absence": re.compile("the train has no signed manifest: .*")}
STOP = {**START, **TRAIN, "image": str, "station": str, "stop": int, "stops": int, "digest_before": DIGEST,
        "digest_after": DIGEST, "definition_files": int, "definition_bytes": int, "result_files": int,
        "result_bytes": int, "key": KEY, "token_operations": USE}
SHAPES = {
    "pre-run": STOP,
    "post-run": {**STOP, "base": str, "result_hash": HEX64, "route_digest": HEX64},
    "verify": {**START, **TRAIN, "image": str, "digest": DIGEST, "position": int, "stops": int,
               "station": (*STOPS, None), "decrypted": bool, "manifests": MANIFESTS,
               "checks": [{"name": str, "result": ("ok", "needs-key"), "says": str}]},
    "inspect": {**START, **TRAIN, "image": str, "digest": DIGEST, "command": list,
                "creator": {"id": str, "fingerprint": FINGERPRINT, "bits": int},
                "builder": {"fingerprint": FINGERPRINT, "bits": int},
                "source": {"type": str, "address": str, "tag": str},
                "route": [{"index": int, "station": STOPS, "eco_system": str, "state": ("signed", "here", "to-come"),
                           "fingerprint": FINGERPRINT, "bits": int}],
                "manifests": MANIFESTS,
                "definition": [{"path": str, "size": int}], "results": [{"path": str, "size": int}],
                "layers": [{"digest": DIGEST, "size": int}]},
    "seal": {**START, **TRAIN, "image": str, "base": str, "digest": DIGEST, "base_digest": DIGEST, "hash": HEX64,
             "stops": list, "files": int, "key": KEY, "token_operations": USE},
    "results": {**START, **TRAIN, "source": str, "directory": str, "files": int, "bytes": int, "result_hash": HEX64,
                "key": KEY, "token_operations": USE},
}


class OutputCase(Case):
    def seal_arguments(self, *more, target="new"):
        place = f"{self.work}/definition"
        if not os.path.exists(place):
            os.mkdir(place)
            with open(f"{place}/main.sh", "w", encoding="ascii") as stream:
                stream.write("#!/bin/sh\n# " + MARKER.decode() + "\n")
            os.chmod(f"{place}/main.sh", 0o755)
            with open(f"{self.work}/alpha.pem", "wb") as stream:
                stream.write(pht.public_pem(pool_key("alpha")))
        base = self.layout({}, name="base-layout") if not os.path.exists(f"{self.work}/base-layout") else \
            oci.Layout(f"{self.work}/base-layout")
        return ["seal", *more, "--definition", place, "--base", f"oci:{base.path}:base", "--creator", "me",
                "--stop", f"alpha={self.work}/alpha.pem", f"oci:{self.work}/{target}:latest"]


class Json(OutputCase):
    def shaped(self, command, says):
        Shape.check(self, says, SHAPES[command], command)
        if command != "inspect":  # there it is the image's
            self.assertEqual(says["command"], command)

    def test_shapes(self):
        layout = self.layout_at(0)
        for station in STOPS:
            for command in ("verify", "inspect"):
                self.shaped(command, self.good(command, "--json", layout))
            says = self.good("pre-run", "--json", layout, station=station)
            self.shaped("pre-run", says)
            self.assertEqual(says["digest_after"], layout.tags()["latest"]["digest"])
            self.run_code(layout, station)
            before = layout.tags()["latest"]["digest"]
            says = self.good("post-run", "--json", layout, station=station)
            self.shaped("post-run", says)
            self.assertEqual((says["digest_before"], says["digest_after"]),
                             (before, layout.tags()["latest"]["digest"]))
        for command in ("verify", "inspect"):
            self.shaped(command, self.good(command, "--json", layout))
        self.shaped("results", self.good("results", "--json", layout, "-o", f"{self.work}/out", key="creator"))
        self.shaped("seal", self.good(*self.seal_arguments("--json"), key="creator"))

    def test_it_is_one_line_or_object_and_nothing_else(self):
        layout = self.layout_at(0)
        result = self.good("verify", layout)
        self.assertRaises(json.JSONDecodeError, json.loads, result.out)
        result = self.tt("verify", "--json", "-v", "-v", layout)
        self.assertEqual(json.loads(result.out)["code"], 0)

    def test_numbers(self):
        layout = self.layout_at(1)
        says = self.good("pre-run", "--json", layout, station="beta")
        plain = [len(what.content if isinstance(what, fs.Entry) else what) for what in DEFINITION.values()]
        self.assertEqual((says["definition_files"], says["definition_bytes"]),
                         (len(plain) + 1, sum(plain) + len(QUERY)))
        opened = pht.open_train(sample_at(1), pool_key("beta"))
        self.assertEqual((says["result_files"], says["result_bytes"]),
                         (2, sum(map(len, opened.results.values()))))
        self.assertEqual((says["stop"], says["stops"], says["station"], says["train"]), (1, 3, "beta", "train"))
        self.assertEqual(says["image"], f"oci:{layout.path}:latest")

    def test_inspect(self):
        opt = sample_at(1)
        layout = self.layout(opt, sample_at(0))
        says = self.good("inspect", "--json", layout)
        self.assertEqual([stop["state"] for stop in says["route"]], ["signed", "here", "to-come"])
        self.assertEqual([stop["station"] for stop in says["route"]], list(STOPS))
        self.assertEqual(says["creator"]["id"], "researcher-1")
        self.assertEqual({one["path"]: one["size"] for one in says["definition"]},
                         {name: len(data) for name, data in pht.relative(opt, pht.DEFINITION).items()})
        self.assertEqual({one["path"] for one in says["results"]} - {"last"}, {"alpha.csv", "plots/alpha.bin"})
        people = self.good("inspect", layout).out
        for word in (*STOPS, "researcher-1", says["route"][0]["fingerprint"], "entrypoint.sh", "here"):
            self.assertIn(word, people)

    def test_verify_of_a_decrypted_train(self):
        layout = self.layout_at(1)
        self.assertFalse(self.good("verify", "--json", layout)["decrypted"])
        self.good("pre-run", layout, station="beta")
        says = self.good("verify", "--json", layout)
        self.assertTrue(says["decrypted"])
        self.shaped("verify", says)

    def test_errors(self):
        layout = self.layout_at(1)
        cases = [
            (2, "usage", ["verify", "--json", "./nonsense"], {}),
            (3, "malformed", ["verify", "--json", self.layout({})], {}),
            (4, "tampered", ["verify", "--json", self.layout(edited(sample_at(0), "hash", "00" * 64))], {}),
            (5, "untrusted", ["pre-run", "--json", layout], {"station": "beta", "key": "alpha"}),
            (6, "token", ["pre-run", "--json", layout], {"station": "beta", "module": "/nonexistent.so"}),
            (7, "pin", ["pre-run", "--json", layout], {"station": "beta", "pin": None}),
            (8, "store", ["verify", "--json", "oci:/nonexistent:latest"], {}),
            (9, "wrong-stop", ["pre-run", "--json", layout], {"station": "alpha"}),
        ]
        for code, status, arguments, more in cases:
            with self.subTest(status=status):
                result = self.refused(code, [], *arguments, **more)
                says = result.json
                self.assertEqual((says["status"], says["code"]), (status, code))
                self.assertLessEqual(set(says), {"status", "code", "message", "detail", "command"})
                self.assertIn(says["message"], result.err)
                if says.get("detail"):
                    self.assertIn(f"({says['detail']})", result.err)

    def test_hostile_names_cannot_write_to_the_terminal(self):
        evil = "evil\x1b[2J\x07\u202e.py"
        opt = sample_at(0) | {f"opt/pht_train/{evil}": fs.file(f"opt/pht_train/{evil}", bytes(32))}
        layout = self.layout(opt)
        result = self.refused(4, ["evil"], "verify", layout)
        self.assertNotIn("\x1b", result.err)
        self.assertNotIn("\x07", result.err)
        layout = self.layout(sample(train_id="\x1b[31mred\n\rx"))
        for command in ("verify", "inspect"):
            result = self.good(command, layout)
            self.assertNotIn("\x1b", result.out + result.err)
            self.assertNotIn("\r", result.out + result.err)


class Channels(OutputCase):
    def test_results_on_stdout_nothing_on_stderr(self):
        layout = self.layout_at(0)
        for command in ("verify", "inspect"):
            result = self.good(command, layout)
            self.assertEqual(result.err, "")
            self.assertTrue(result.out.endswith("\n"))
        for command in ("pre-run", "post-run"):
            result = self.good(command, layout, station="alpha")
            self.assertEqual(result.err, "", "no progress without a terminal")
            self.run_code(layout, "alpha")

    def test_quiet(self):
        layout = self.layout_at(0)
        for option in ("-q", "--quiet"):
            result = self.good("verify", option, layout)
            self.assertEqual((result.out, result.err), ("", ""))
        result = self.good("pre-run", "-q", layout, station="alpha")
        self.assertEqual((result.out, result.err), ("", ""))
        self.refused(9, [], "pre-run", "-q", layout, station="alpha")

    def test_verbose(self):
        layout = self.layout_at(0)
        result = self.good("pre-run", "-v", layout, station="alpha")
        self.assertRegex(result.err, "opened pkcs11:.*token=alpha.* by libp11 and module /")
        self.assertRegex(result.err, "unwrap: done in the token; padding by (the token|OpenSSL)")
        for line in result.err.splitlines():
            self.assertTrue(line.startswith("traintoken: ") or line.startswith("  ("), line)

    def test_colour_only_on_a_terminal_without_no_color(self):
        layout = self.layout_at(1)
        self.assertNotIn("\x1b[", self.good("inspect", layout).out)
        with_colour = on_a_terminal(self.arguments("inspect", layout), self.environment(TERM="xterm"))
        self.assertEqual(with_colour[0], 0, with_colour[1])
        status, shown = on_a_terminal(self.arguments("inspect", layout), self.environment(TERM="xterm", NO_COLOR="1"))
        self.assertEqual(status, 0, shown)
        self.assertNotIn("\x1b[", shown)

    def test_progress_on_a_terminal_only(self):
        layout = self.layout_at(0)
        self.good("pre-run", layout, station="alpha")
        self.run_code(layout, "alpha", [fs.file("opt/pht_results/big", bytes(200 << 20))])
        kept = oci.copy_layout(layout, f"{self.work}/kept")
        result = self.good("post-run", layout, station="alpha")
        self.assertNotIn("%", result.err)
        argv = self.arguments("post-run", "--again", kept, station="alpha")
        status, shown = on_a_terminal(argv, self.environment(TERM="xterm", PRIVATE_KEY_PASSWORD=PIN))
        self.assertEqual(status, 0, shown)
        self.assertRegex(shown, r"MiB|GiB")
        self.assertRegex(shown, r"/s")


class Usage(OutputCase):
    def test_help(self):
        whole = self.good("--help")
        for command in COMMANDS:
            self.assertIn(command, whole.out)
            with self.subTest(command=command):
                result = self.good(command, "--help")
                self.assertIn("usage: traintoken " + command, result.out)
                self.assertEqual(result.err, "")
                self.assertIn("--json", result.out)
            # Help wins over whatever else is there.
            self.good(command, "--help", "a", "b", "c")
        for option in ("--key", "--module", "--pin-fd", "--last-pin-try", "--station", "--state", "--again"):
            for command in ("pre-run", "post-run"):
                self.assertIn(option, self.good(command, "--help").out)
        for line in whole.out.splitlines():
            self.assertLessEqual(len(line), 120)

    def test_version(self):
        result = self.good("--version")
        self.assertRegex(result.out, r"^traintoken \d+\.\d+\.\d+")
        self.assertEqual(result.err, "")

    def test_wrong_use(self):
        layout = self.layout_at(0)
        wrong = [[], ["--unknown"], ["unknown"], ["verify"], ["verify", "--unknown", layout],
                 ["verify", layout, layout], ["pre-run"], ["inspect"], ["results", layout], ["results", "-o", "x"],
                 ["seal"], ["verify", "--platform"], ["pre-run", "--station", "", layout], ["verify", ""],
                 ["verify", "--key", "x", layout], ["pre-run", "--pin-fd", "x", layout], ["post-run", "--base", layout],
                 ["verify", "-o", "x", layout], ["PRE-RUN", layout], ["pre-run", "--json=yes", layout],
                 ["verify", "-x", layout]]
        for arguments in wrong:
            with self.subTest(arguments=[str(one) for one in arguments]):
                argv = [PROGRAM, *(f"oci:{one.path}:latest" if isinstance(one, oci.Layout) else one
                                   for one in arguments)]
                done = subprocess.run(argv, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True, check=False)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertTrue(done.stderr.startswith("traintoken: "), done.stderr)
                self.assertEqual(done.stdout, "")

    def test_arguments_from_hell(self):
        for argument in (b"\xff\xfe", b"oci:" + b"a" * 5000, b"oci:%s%n%n:latest", b"oci:\x1b[2J:latest",
                         b"oci:\n:x"):
            with self.subTest(argument=argument[:40]):
                done = subprocess.run([PROGRAM, "verify", argument], env=self.environment(), stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
                self.assertIn(done.returncode, (2, 8), done.stderr)
                self.assertNotIn(b"\x1b", done.stderr)

    def test_an_openssl_that_cannot_hash(self):
        with open(f"{self.home}/openssl.cnf", "w", encoding="utf-8") as stream:
            stream.write("openssl_conf = a\n[a]\nalg_section = b\n[b]\ndefault_properties = fips=yes\n")
        self.refused(1, ["OPENSSL_CONF", "default provider"], "verify", self.layout_at(1),
                     env={"OPENSSL_CONF": f"{self.home}/openssl.cnf"})

    def test_options_may_follow_the_image(self):
        layout = self.layout_at(0)
        self.good("verify", layout, "--json")
        self.good("pre-run", layout, "--station", "alpha", "--key", tokens().uri("alpha"), "--module", tokens().module)


class State(OutputCase):
    def test_where_the_memory_lies(self):
        session = pht.load_config(sample_at(0)[pht.CONFIG].content)["session_id"]
        record = f"trains/{session}/alpha.json"
        self.good("pre-run", "--state", f"{self.work}/given", self.layout_at(0), station="alpha")
        self.assertTrue(os.path.exists(f"{self.work}/given/{record}"))
        self.assertFalse(os.path.exists(self.state))
        self.good("pre-run", self.layout_at(0), station="alpha")
        self.assertTrue(os.path.exists(f"{self.state}/{record}"))

    def test_it_cannot_be_used(self):
        layout = self.layout_at(0)
        path = f"{self.work}/file"
        with open(path, "w", encoding="ascii"):
            pass
        for place in (path, f"{path}/below", "/proc/nonexistent/state"):
            with self.subTest(place=place):
                self.refused(8, [place.split("/below")[0]], "pre-run", "--state", place, layout, station="alpha")

    def test_station_names_stay_in_the_folder(self):
        for name in ("..", "a/b", "../../x", ".", "ü", "a" * 128, "ü" * 30):
            with self.subTest(name=name):
                layout = self.layout(sample([(name, pool_key("alpha"))]))
                self.good("pre-run", layout, station=name, key="alpha")
        for root, folders, names in os.walk(self.work):
            for one in [*folders, *names]:
                self.assertFalse(one.endswith(".json") and "/state/trains/" not in f"{root}/{one}" and
                                 one not in ("index.json",), f"{root}/{one}")


def on_a_terminal(argv, env):
    child, master = pty.fork()
    if child == 0:
        try:
            os.execve(argv[0], argv, env)
        finally:
            os._exit(127)
    shown = b""
    while True:
        ready, _, _ = select.select([master], [], [], 60)
        if not ready:
            os.kill(child, 9)
            break
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(master)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), shown.decode("utf-8", "replace")


if __name__ == "__main__":
    unittest.main()
