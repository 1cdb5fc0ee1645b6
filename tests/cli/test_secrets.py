"""No secret survives the work: a core taken when the process is about to exit holds neither symmetric key nor PIN."""

import mmap
import os
import subprocess
import unittest

from support import pht
from support.station import MARKER, PIN, Case, needs_program, pool_key, sample_at

CANARY = "tt-canary-that-a-core-must-show"
SANITIZED = any(name.startswith("ASAN_") for name in os.environ)


@needs_program("gdb")
@unittest.skipIf(SANITIZED, "sanitizers keep freed memory")
class Cores(Case):
    def core_of(self, argv, env, status=0):
        """Runs argv under gdb, stops it where it exits, and takes a core that holds all of its memory."""
        core = f"{self.work}/core"
        script = ["set pagination off", "set confirm off", "set debuginfod enabled off", "set auto-solib-add off",
                  "set use-coredump-filter off", "set dump-excluded-mappings on",
                  "handle SIGPIPE nostop noprint", "catch syscall exit_group", "run",
                  f"gcore {core}", "continue"]
        command = ["gdb", "--batch", "-nx", *(part for line in script for part in ("-ex", line)), "--args", *argv]
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
        argv = self.arguments(command, *more.pop("options", ()), layout, station=station, **more)
        env = self.environment(PRIVATE_KEY_PASSWORD=PIN if pin_by == "environment" else None, TT_CANARY=CANARY)
        if pin_by == "credential":
            os.makedirs(f"{self.home}/credentials", exist_ok=True)
            with open(f"{self.home}/credentials/traintoken-pin", "w", encoding="ascii") as stream:
                stream.write(PIN + "\n")
            env["CREDENTIALS_DIRECTORY"] = f"{self.home}/credentials"
        core, said = self.core_of(argv, env, status)
        needles = {"canary": CANARY.encode(), "PIN": PIN.encode(), **(secrets() if callable(secrets) else secrets)}
        found = self.search(core, needles)
        # What may be there is found, so the search works; nothing else is.
        self.assertEqual(found, {"canary"}, said)

    def test_pre_run(self):
        for pin_by in ("environment", "credential"):
            with self.subTest(pin_by=pin_by):
                layout = self.layout_at(1, name="case")
                opened = pht.open_train(sample_at(1), pool_key("beta"))
                self.check("pre-run", layout, self.secrets_of(opened), pin_by, station="beta",
                           options=("--again",) if pin_by == "credential" else ())

    def test_post_run(self):
        layout = self.layout_at(1)
        old = pht.open_train(sample_at(1), pool_key("beta"))
        self.good("pre-run", layout, station="beta")
        self.run_code(layout, "beta")

        def new_key():
            return self.secrets_of(self.open(layout, pool_key("creator")))
        self.check("post-run", layout, new_key, station="beta")
        self.assertNotEqual(self.open(layout, pool_key("creator")).secret, old.secret)

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


class Outside(Case):
    """Where secrets could leak to: output, records, blobs."""

    def test_nothing_in_output_or_records(self):
        layout = self.layout_at(0)
        said = []
        for command in ("pre-run", "post-run"):
            result = self.good(command, "-v", "-v", "-v", "--json", layout, station="alpha")
            said.append(result if isinstance(result, str) else str(result))
            result = self.tt("verify", "-v", "-v", layout)
            said.append(result.out + result.err)
            if command == "pre-run":
                self.run_code(layout, "alpha")
        opened = self.open(layout, pool_key("beta"))
        first = pht.open_train(sample_at(0), pool_key("alpha"))
        needles = [PIN.encode(), MARKER, *(form for secret in (opened.secret, first.secret)
                                           for form in (secret, secret.hex().encode()))]
        for root, _, names in os.walk(self.state):
            for name in names:
                with open(f"{root}/{name}", "rb") as stream:
                    said.append(stream.read().decode("latin-1"))
        for text in said:
            for needle in needles:
                self.assertNotIn(needle.decode("latin-1"), text)

    def test_no_core_files(self):
        """The limit of core files is zero while it works: seen from /proc of a run that waits for its PIN."""
        read, write = os.pipe()
        argv = self.arguments("pre-run", "--pin-fd", str(read), self.layout_at(0), station="alpha")
        child = subprocess.Popen(argv, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, pass_fds=(read,), start_new_session=True)
        try:
            os.close(read)
            limits = ""
            for _ in range(100):
                with open(f"/proc/{child.pid}/limits", encoding="ascii") as stream:
                    limits = next((line for line in stream if line.startswith("Max core file size")), "")
                if limits.split()[4:5] == ["0"]:
                    break
                try:
                    child.wait(0.05)
                    break
                except subprocess.TimeoutExpired:
                    pass
            self.assertEqual(limits.split()[4:5], ["0"], limits)
            os.write(write, PIN.encode() + b"\n")
        finally:
            os.close(write)
            child.wait(30)
        self.assertEqual(child.returncode, 0)


if __name__ == "__main__":
    unittest.main()
