"""Every PKCS#11 module that softhsm-fixtures has, directly and from afar through p11-kit: whole stops of a train, and the
commands that look after keys. One token of each serves all tests of the program."""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from support.station import POOL, SANITIZED, SOURCE, Case, difference, pool_key, snapshot

RIGHT, WRONG = "1234abcd", "9999abcd"
LABEL = "station 1; with all"  # what a URI has to encode
ENCODED = "station%201%3b%20with%20all"


class Fixture:
    """One of softhsm-fixtures: a token, or p11-kit before one of them."""

    def __init__(self, name):
        self.script = f"{SOURCE}/softhsm-fixtures/{name}"
        self.name = name
        self.missing = self("why-not").replace("\n", ", ")

    def __call__(self, command, *arguments):
        done = subprocess.run([self.script, command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{self.name} {command}: {done.stdout}"
        return done.stdout.strip()

    def start(self, *arguments):
        """In a folder of its own with a short path; ended with the program."""
        place = tempfile.mkdtemp(prefix="tt-")
        unittest.addModuleCleanup(shutil.rmtree, place, True)
        unittest.addModuleCleanup(self, "stop", place)
        self("start", place, *arguments)
        return place


@functools.cache
def fixture(name):
    return Fixture(name)


@functools.cache
def token(name):
    """The folder of the one token of a module, with the key of alpha in it."""
    place = fixture(name).start(LABEL, RIGHT)
    fixture(name)("import", place, RIGHT, "key", "01", str(POOL / "throwaway-alpha.pem"))
    return place


@functools.cache
def server(name):
    return fixture("p11-kit").start(name, token(name))


class ModuleCase(Case):
    name = ""
    leaks = ""  # ASAN_OPTIONS for a module that leaks by itself

    def environment(self, **more):
        env = super().environment(**more)
        if self.leaks:
            env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":" + self.leaks
        return env

    def access(self, remote=False):
        front = fixture("p11-kit" if remote else self.name)
        place = server(self.name) if remote else token(self.name)
        return {"before": (front.script, "in", place), "module": front("module")}

    def uri(self, name="key"):
        return f"pkcs11:token={ENCODED};object={name}"

    def key(self, command, *arguments, remote=False, status=0, uri=None, pin=RIGHT, env=None):
        """A command that looks after keys: its Result."""
        access = self.access(remote)
        result = self.tt("key", command, *arguments, "--module", access["module"], uri or self.uri(), pin=pin, env=env,
                         before=access["before"])
        self.assertEqual(result.status, status, str(result))
        return result


class OnModule:
    """What holds on every one of them."""

    unwraps = signs = "native"
    takes_keys = True
    is_local_shown = True

    def one_stop(self, remote):
        layout = self.layout_at(0)
        more = {"station": "alpha", "key": self.uri(), "pin": RIGHT} | self.access(remote)
        said = [self.good("pre-run", "--json", "--key-loader", "auto", layout, **more)]
        self.run_code(layout, "alpha")
        said.append(self.good("post-run", "--json", "--key-loader", "auto", layout, **more))
        self.assertEqual([one["padding"] for run in said for one in run["token_operations"]],
                         [self.unwraps, self.signs, self.signs])
        self.assertEqual({run["key"]["loader"] for run in said}, {"libp11"})
        self.assertEqual({run["key"]["token"] for run in said}, {LABEL})
        self.open(layout, pool_key("alpha"))

    def check(self, remote):
        said = json.loads(self.key("check", "--json", remote=remote).out)
        self.assertEqual(said["probe"]["unwrap"]["way"], self.unwraps)
        self.assertEqual(said["probe"]["sign"]["way"], self.signs)

    def failures(self, remote):
        layout = self.layout_at(0)
        more = {"station": "alpha"} | self.access(remote)
        for command, key in ((("key", "check"), None), (("pre-run",), layout)):
            with self.subTest(command=command):
                before = snapshot(self.work)
                self.missing_key(command, key, more, remote)
                self.assertEqual(difference(before, snapshot(self.work)), [])
        self.refused(7, "the PIN is wrong", "pre-run", layout, key=self.uri(), pin=WRONG, **more)
        self.key("list", remote=remote)  # a right one is right again
        result = self.key("check", remote=remote, status=7, pin=WRONG)
        self.assertIn("the PIN is wrong", result.err)
        self.key("list", remote=remote)
        self.forget_wrong_pins()

    def missing_key(self, command, layout, more, remote):
        if layout:
            self.refused(6, ["no private key", "object=key"], *command, layout, key=self.uri("other"), pin=RIGHT, **more)
        else:
            result = self.key("check", remote=remote, status=6, uri=self.uri("other"))
            self.assertIn("no private key", result.err)
            self.assertIn("object=key", result.err)

    def forget_wrong_pins(self):
        pass

    def test_a_stop(self):
        self.one_stop(remote=False)

    def test_a_stop_from_afar(self):
        self.one_stop(remote=True)

    def test_check(self):
        self.check(remote=False)

    def test_check_from_afar(self):
        self.check(remote=True)

    def test_wrong_pin_and_missing_key(self):
        self.failures(remote=False)

    def test_wrong_pin_and_missing_key_from_afar(self):
        self.failures(remote=True)

    def test_the_life_of_a_key(self):
        said = json.loads(self.key("generate", "--json", "--bits", "2048", "--label", "new", "--id", "a1",
                                   uri=f"pkcs11:token={ENCODED}").out)
        self.assertEqual(said["probe"]["unwrap"]["way"], self.unwraps)
        again = self.key("generate", "--bits", "2048", "--label", "other", "--id", "a1", status=6,
                         uri=f"pkcs11:token={ENCODED}")
        self.assertIn("already has a private key with this id", again.err)
        shown = json.loads(self.key("show", "--json", uri=self.uri("new")).out)["key"]["attributes"]
        self.assertEqual([shown[flag] for flag in ("sensitive", "always_sensitive", "never_extractable")], [True] * 3)
        self.assertEqual(shown["extractable"], False)
        self.assertEqual(shown["local"], self.is_local_shown)
        for name in ("request", "certificate"):
            self.assertIn("BEGIN", self.key("export", "--format", name, "--subject", "/CN=alpha",
                                            uri=self.uri("new")).out)
        self.key("attest", "-o", f"{self.work}/record.json", uri=self.uri("new"))
        result = self.tt("key", "attest", "--verify", f"{self.work}/record.json")
        self.assertEqual(result.status, 0, str(result))
        self.assertIn(LABEL, result.out)
        self.key("rename", "--label", "newer", "--id", "a2", uri=self.uri("new"))
        self.assertIn("id=%a2;object=newer", self.key("list", uri=f"pkcs11:token={ENCODED}").out.lower())
        self.key("delete", "--yes", uri=self.uri("newer"))
        self.assertNotIn("newer", self.key("list", uri=f"pkcs11:token={ENCODED}").out)

    def test_import(self):
        path = f"{self.work}/beta.pem"
        shutil.copy(POOL / "throwaway-beta.pem", path)
        result = self.key("import", "--label", "imported", "--id", "b1", path, uri=f"pkcs11:token={ENCODED}",
                          status=0 if self.takes_keys else 6)
        if self.takes_keys:
            self.key("check", uri=self.uri("imported"))
            self.key("delete", "--yes", uri=self.uri("imported"))
        else:
            self.assertIn("does not take this private key", result.err)
        self.assertNotIn("imported", self.key("list", uri=f"pkcs11:token={ENCODED}").out)


class SoftHsm(OnModule, ModuleCase):
    name = "softhsm"
    unwraps = "raw"

    def test_it_takes_no_arguments(self):
        result = self.key("list", status=6, env={"TRAINTOKEN_MODULE_ARGUMENTS": "configdir=x"})
        self.assertIn("it does not take what TRAINTOKEN_MODULE_ARGUMENTS says", result.err)


class Nss(OnModule, ModuleCase):
    """It must be told of its database (TRAINTOKEN_MODULE_ARGUMENTS, which the fixture sets)."""

    name = "nss"
    is_local_shown = False

    def test_without_arguments(self):
        # Later versions than 3.87 then show a database of their own, which is empty.
        words = r"wants arguments, which TRAINTOKEN_MODULE_ARGUMENTS gives|NSS%20Certificate%20DB"
        for argv in (("pre-run", "--station", "alpha", "--key", self.uri(), self.layout_at(0)),
                     ("key", "list", self.uri())):
            result = self.tt(*argv, "--module", fixture("nss")("module"), pin=RIGHT)
            self.assertEqual(result.status, 6, str(result))
            self.assertRegex(result.err, words)

    def test_the_other_loaders(self):
        for loader in ("engine",) if SANITIZED else ("engine", "provider"):
            layout = self.layout_at(0)
            more = {"station": "alpha", "key": self.uri(), "pin": RIGHT} | self.access()
            said = [self.good("pre-run", "--again", "--json", "--key-loader", loader, layout, **more)]
            self.run_code(layout, "alpha")
            said.append(self.good("post-run", "--again", "--json", "--key-loader", loader, layout, **more))
            self.assertEqual([one["padding"] for run in said for one in run["token_operations"]], ["native"] * 3)
            self.assertEqual({run["key"]["loader"] for run in said}, {loader})

    def test_arguments_of_two_lines(self):
        """They would be settings of the provider."""
        if SANITIZED:  # which does not load then
            return
        lines = fixture("nss")("arguments", token("nss")) + "\nactivate = 1"
        more = self.access() | {"before": (*self.access()["before"], "env", f"TRAINTOKEN_MODULE_ARGUMENTS={lines}")}
        self.refused(2, "more than one line", "pre-run", "--key-loader", "provider", self.layout_at(0), station="alpha",
                     key=self.uri(), pin=RIGHT, **more)

    def test_a_uri_that_names_the_library(self):
        for manufacturer, status in (("Mozilla%20Foundation", 0), ("Somebody", 6)):
            result = self.tt("pre-run", "--again", self.layout_at(0), station="alpha", pin=RIGHT, **self.access(),
                             key=f"{self.uri()};library-manufacturer={manufacturer}")
            self.assertEqual(result.status, status, str(result))

    def test_behind_the_proxy(self):
        """p11-kit's own configuration tells NSS of its database, and traintoken needs to know nothing."""
        configs = f"{self.home}/.config/pkcs11/modules"
        os.makedirs(configs)
        pathlib.Path(configs, "nss.module").write_text(fixture("nss")("p11-kit-config", token("nss")) + "\n", "utf-8")
        if os.geteuid() == 0:  # whom p11-kit gives no configuration of its own
            before = ("unshare", "-m", "sh", "-c", f"mount --bind '{configs}' /usr/share/p11-kit/modules && exec \"$@\"",
                      "sh")
        else:
            before = ()
        layout = self.layout_at(0)
        more = {"station": "alpha", "key": self.uri(), "pin": RIGHT, "before": before, "module": False}
        self.good("pre-run", layout, **more)
        self.run_code(layout, "alpha")
        # What is meant for a module that is named is no business of the proxy.
        said = self.good("post-run", "--json", layout, env={"TRAINTOKEN_MODULE_ARGUMENTS": "configdir=/nonexistent"},
                         **more)
        self.assertEqual([one["padding"] for one in said["token_operations"]], ["native", "native"])

    def test_a_database_without_password(self):
        place = fixture("nss").start("open", "")
        fixture("nss")("import", place, "", "key", "01", str(POOL / "throwaway-alpha.pem"))
        more = {"before": (fixture("nss").script, "in", place), "module": fixture("nss")("module"), "pin": None}
        result = self.good("pre-run", self.layout_at(0), station="alpha", key="pkcs11:token=open;object=key", **more)
        self.assertIn("warning: token 'open' needs no PIN", result.err)


@unittest.skipIf(fixture("opencryptoki").missing, f"needs {fixture('opencryptoki').missing}")
class Opencryptoki(OnModule, ModuleCase):
    name = "opencryptoki"
    leaks = "detect_leaks=0"  # and it is much


class Tpm(OnModule, ModuleCase):
    name = "tpm2"
    signs = "raw"
    takes_keys = False

    def setUp(self):
        super().setUp()
        fixture("tpm2")("flush", token("tpm2"))

    def forget_wrong_pins(self):
        fixture("tpm2")("unlock", token("tpm2"))

    def test_sizes(self):
        result = self.key("generate", "--bits", "4096", "--label", "large", status=6, uri=f"pkcs11:token={ENCODED}")
        self.assertIn("not of 4096", result.err)


class Fixtures(unittest.TestCase):
    """What was started is gone when it was stopped, and nothing else."""

    def test_all_are_here(self):
        for name in ("softhsm", "nss", "tpm2", "p11-kit"):
            self.assertEqual(fixture(name).missing, "", f"{name} (scripts/install-packages --test)")

    def test_start_and_stop(self):
        for name in ("softhsm", "nss", "tpm2"):
            place = fixture(name).start("again", RIGHT)
            front = fixture("p11-kit").start(name, place)
            pids = [path.read_text("ascii").strip() for path in (pathlib.Path(place, "pid"), pathlib.Path(front, "pid"))
                    if path.exists()]
            self.assertEqual(len(pids), 2 if name == "tpm2" else 1)
            for again in range(2):
                fixture("p11-kit")("stop", front)
                fixture(name)("stop", place)
            for pid in pids:
                self.assertFalse(os.path.exists(f"/proc/{pid}"), f"{name} left {pid}")
            fixture(name)("start", place, "again", RIGHT)  # the token is still there
            self.assertIn("again", fixture(name)("uri", place, "key"))
            fixture(name)("stop", place)


if __name__ == "__main__":
    unittest.main()
