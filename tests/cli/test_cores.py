"""No secret survives the work: a core taken when the process is about to exit holds neither symmetric key nor PIN.
(Not for builds with sanitizers, which keep freed memory.)"""

import mmap
import os
import subprocess
import unittest

from support import pht
from support.station import PIN, Case, needs_program, pool_key, sample_at, tokens

CANARY = "tt-canary-that-a-core-must-show"
# The program does not let other processes of its user read its memory; root of its user name space may.
AS_ROOT = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]


@needs_program("gdb")
class Cores(Case):
    def core_of(self, argv, env, status=0, where="exit_group"):
        """Runs argv under gdb, stops it at a system call, by default where it exits, and takes a core that holds all of
        its memory."""
        core = f"{self.work}/core"
        script = ["set pagination off", "set confirm off", "set debuginfod enabled off", "set auto-solib-add off",
                  "set use-coredump-filter off", "set dump-excluded-mappings on",
                  "handle SIGPIPE nostop noprint", f"catch syscall {where}", "run", f"gcore {core}", "delete",
                  "continue"]
        orders = [part for line in script for part in ("-ex", line)]
        command = [*AS_ROOT, "gdb", "--batch", "-nx", *orders, "--args", *argv]
        done = subprocess.run(command, env=env | {"SHELL": "/bin/sh"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=120, check=False)
        self.assertTrue(os.path.exists(core), done.stdout)
        # gdb says the code in octal. A run that failed early would prove nothing.
        self.assertIn("exited normally" if status == 0 else f"exited with code {status:02o}", done.stdout)
        return core, done.stdout

    def search(self, core, needles):
        with open(core, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as memory:
            found = {name for name, needle in needles.items() if memory.find(needle) >= 0}
        os.remove(core)
        return found

    def secrets_of(self, opened):
        """A key's halves too: they are the first and second AES round key."""
        return {"symmetric key": opened.secret, "first half of the key": opened.secret[:16],
                "second half of the key": opened.secret[16:], "key in hex": opened.secret.hex().encode()}

    def check(self, command, layout, secrets, pin_by="environment", station="alpha", status=0, **more):
        place = f"{self.home}/pin"
        os.makedirs(place, exist_ok=True)
        with open(f"{place}/traintoken-pin", "w", encoding="ascii") as stream:
            stream.write(PIN + "\n")
        if pin_by == "pin-value":
            more["key"] = f"{tokens().uri(station)}?pin-value={PIN}"
        if pin_by == "pin-source":
            more["key"] = f"{tokens().uri(station)}?pin-source=file:{place}/traintoken-pin"
        argv = self.arguments(command, *more.pop("options", ()), layout, station=station, **more)
        env = self.environment(PRIVATE_KEY_PASSWORD=PIN if pin_by == "environment" else None, TT_CANARY=CANARY)
        if pin_by == "credential":
            env["CREDENTIALS_DIRECTORY"] = place
        core, said = self.core_of(argv, env, status)
        needles = {"canary": CANARY.encode(), "PIN": PIN.encode(), **(secrets() if callable(secrets) else secrets)}
        found = self.search(core, needles)
        # What may be there is found, so the search works; nothing else is.
        self.assertEqual(found, {"canary"}, said)

    def test_pre_run(self):
        for pin_by in ("environment", "credential", "pin-source", "pin-value"):
            with self.subTest(pin_by=pin_by):
                layout = self.layout_at(1, name="case")
                opened = pht.open_train(sample_at(1), pool_key("beta"))
                self.check("pre-run", layout, self.secrets_of(opened), pin_by, station="beta",
                           options=("--again",))

    def test_post_run(self):
        layout = self.layout_at(1)
        old = pht.open_train(sample_at(1), pool_key("beta"))
        self.good("pre-run", layout, station="beta")
        self.run_code(layout, "beta")

        def new_key():
            return self.secrets_of(self.open(layout, pool_key("creator")))
        self.check("post-run", layout, new_key, station="beta")
        self.assertNotEqual(self.open(layout, pool_key("creator")).secret, old.secret)

    def test_the_search_finds_a_key_in_use(self):
        """When the new state is about to be recorded, the key is still needed: were it not found there, the other tests
        would prove nothing."""
        layout = self.layout_at(1)
        self.good("pre-run", layout, station="beta")
        self.run_code(layout, "beta")
        argv = self.arguments("post-run", layout, station="beta")
        core, said = self.core_of(argv, self.environment(PRIVATE_KEY_PASSWORD=PIN), where="renameat")
        opened = self.open(layout, pool_key("creator"))
        self.assertIn("first half of the key", self.search(core, self.secrets_of(opened)), said)

    def test_pre_run_that_fails_late(self):
        opt = sample_at(1)
        opened = pht.open_train(opt, pool_key("beta"))
        path = "opt/pht_results/alpha.csv"
        bad = opt | {path: opt[path].with_(content=pht.encrypt(opened.secret, b"other"))}
        layout = self.layout(bad, sample_at(0))
        self.check("pre-run", layout, self.secrets_of(opened), station="beta", status=4)

    def test_results(self):
        layout = self.layout_at(3)
        opened = pht.open_train(sample_at(3), pool_key("creator"))
        self.check("results", layout, self.secrets_of(opened), station=None, key="creator",
                   options=("-o", f"{self.work}/out"))

    def test_a_wrong_pin_is_wiped_too(self):
        layout = self.layout_at(0)
        wrong = "tt-throw-away-not-this-one"
        argv = self.arguments("pre-run", layout, station="alpha")
        core, said = self.core_of(argv, self.environment(PRIVATE_KEY_PASSWORD=wrong, TT_CANARY=CANARY), 7)
        self.assertEqual(self.search(core, {"canary": CANARY.encode(), "PIN": wrong.encode()}), {"canary"}, said)


if __name__ == "__main__":
    unittest.main()
