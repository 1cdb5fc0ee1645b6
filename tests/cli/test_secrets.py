"""Secrets never reach what others can read: output, records, core files."""

import os
import subprocess
import unittest

from support import pht
from support.station import MARKER, PIN, Case, pool_key, sample_at


class Secrets(Case):
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
