"""A token that counts wrong PINs and locks, for real: opencryptoki (softhsm-fixtures/opencryptoki), which allows three."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

from support.station import POOL, SOURCE, Case, pool_key

FIXTURE = f"{SOURCE}/softhsm-fixtures/opencryptoki"
FAULTS = os.environ.get("TT_FAULT_LIBRARY")
RIGHT, WRONG = "1234abcd", "9999abcd"


def fixture(command, *arguments):
    done = subprocess.run([FIXTURE, command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"opencryptoki {command}: {done.stdout}"
    return done.stdout.strip()


MISSING = fixture("why-not").replace("\n", ", ")


@unittest.skipIf(MISSING, f"needs {MISSING}")
class Locks(Case):
    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.mkdtemp(prefix="traintoken-test-ock-")
        cls.addClassCleanup(shutil.rmtree, cls.place, True)
        cls.addClassCleanup(fixture, "stop", cls.place)
        fixture("start", cls.place, "station", RIGHT)
        fixture("import", cls.place, RIGHT, "key", "01", str(POOL / "throwaway-alpha.pem"))
        cls.module = fixture("module")

    def setUp(self):
        super().setUp()
        fixture("reset", self.place, RIGHT)
        self.assertEqual(self.pin_flags(), set())
        self.train = self.layout_at(0)

    def pin_flags(self):
        flags = fixture("flags", self.place).split("|")
        return {flag.removeprefix("USER_PIN_") for flag in flags if flag in
                ("USER_PIN_COUNT_LOW", "USER_PIN_FINAL_TRY", "USER_PIN_LOCKED")}

    def environment(self, **more):
        # What opencryptoki leaks, and it is much, has no names any more when leaks are looked for.
        return super().environment(**more) | {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}

    def options(self, **more):
        return {"station": "alpha", "key": "pkcs11:token=station;object=key", "module": self.module,
                "before": (FIXTURE, "in", self.place)} | more

    def fails(self, words, *options, pin=RIGHT):
        return self.refused(7, words, "pre-run", *options, self.train, **self.options(pin=pin))

    def works(self, *options, layout=None):
        layout = layout or self.layout_at(0, name="works")
        shutil.rmtree(self.state, True)
        return self.good("pre-run", *options, layout, **self.options(pin=RIGHT))

    def wait_for(self, log, call):
        until = time.monotonic() + 30
        while not (os.path.exists(log) and call in pathlib.Path(log).read_text("ascii")):
            self.assertLess(time.monotonic(), until, f"no {call}")
            time.sleep(0.02)

    def test_a_whole_stop(self):
        layout = self.layout_at(0)
        says = self.works("--json", layout=layout)
        self.assertEqual([use["padding"] for use in says["token_operations"]], ["native"])
        self.run_code(layout, "alpha")
        says = self.good("post-run", "--json", layout, **self.options(pin=RIGHT))
        self.assertEqual([use["padding"] for use in says["token_operations"]], ["native", "native"])
        self.open(layout, pool_key("alpha"))

    def test_a_wrong_pin_is_told_and_forgotten(self):
        self.fails(["PIN is wrong", "few tries are left"], pin=WRONG)
        self.assertEqual(self.pin_flags(), {"COUNT_LOW"})
        self.assertIn("a wrong PIN was tried", self.works().err)
        self.assertEqual(self.pin_flags(), set())
        self.assertNotIn("warning", self.works().err)

    def test_the_final_try_is_not_used_unasked(self):
        self.fails("few tries", pin=WRONG)
        self.fails("1 try is left", pin=WRONG)
        self.assertIn("FINAL_TRY", self.pin_flags())
        for pin in (RIGHT, WRONG, None):
            self.fails("1 PIN try left; refusing to use it", pin=pin)
            self.assertIn("FINAL_TRY", self.pin_flags())
            self.assertNotIn("LOCKED", self.pin_flags())
        self.assertIn("1 PIN try left, which is used now", self.works("--last-pin-try").err)
        self.assertEqual(self.pin_flags(), set())

    def test_locked(self):
        self.fails("few tries", pin=WRONG)
        self.fails("1 try is left", pin=WRONG)
        self.fails("locked now", "--last-pin-try", pin=WRONG)
        self.assertIn("LOCKED", self.pin_flags())
        for options in ([], ["--last-pin-try"]):
            self.fails("is locked; the security officer can unlock it", *options)
        fixture("reset", self.place, RIGHT)
        self.works()

    @unittest.skipUnless(FAULTS, "needs fault_module, named by TT_FAULT_LIBRARY")
    def test_no_second_login_where_a_try_counts(self):
        """The session is lost, and meanwhile somebody else has tried a wrong PIN: the right one is not given again."""
        log = f"{self.home}/calls"
        env = {"TT_FAULT_MODULE": self.module, "TT_FAULT": "C_DecryptInit:1=session", "TT_FAULT_LOG": log}
        result = self.tt("pre-run", self.train, **self.options(pin=RIGHT, module=FAULTS, env=env))
        self.assertEqual(result.status, 0, str(result))
        os.remove(log)
        layout = self.layout_at(0, name="again")
        shutil.rmtree(self.state, True)
        env["TT_FAULT"] = "C_DecryptInit:1=3000ms,C_Decrypt:1=session"
        process = subprocess.Popen(
            [FIXTURE, "in", self.place, *self.arguments("pre-run", layout, station="alpha", module=FAULTS,
                                                        key="pkcs11:token=station;object=key")],
            env=self.environment(PRIVATE_KEY_PASSWORD=RIGHT, **env), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        self.wait_for(log, "C_DecryptInit")
        other = self.options(pin=WRONG, env={"TRAINTOKEN_STATE": f"{self.home}/other"})
        self.assertEqual(self.tt("pre-run", self.layout_at(0), **other).status, 7)
        self.assertEqual(self.pin_flags(), {"COUNT_LOW"})
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 6, err)
        self.assertIn(b"no PIN is tried a second time", err)
        with open(log, encoding="ascii") as stream:
            self.assertEqual(stream.read().split().count("C_Login"), 1)


if __name__ == "__main__":
    unittest.main()
