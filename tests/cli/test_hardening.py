"""What the process gives up before it looks at anything from outside, seen from outside while it waits for an engine
that never answers."""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

from support.station import PIN, PROGRAM, SANITIZED, Case

PROBE = os.environ.get("TT_PROBE_LIBRARY")
NOBODY = 65534
# By setpriv, which looks the program up while it may still do everything: the build may be in a folder that others may
# not enter.
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


class Waiting(Case):
    def setUp(self):
        super().setUp()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{self.work}/s")
        self.listener.listen(8)
        self.addCleanup(self.listener.close)

    def start(self, *argv, close=(), before=(), **how):
        """A process of traintoken that has asked the engine and waits. `close`: standard descriptors that it lacks;
        `before`: what starts it."""
        def without():
            for descriptor in close:
                os.close(descriptor)

        env = self.environment(DOCKER_HOST=f"unix://{self.work}/s", PRIVATE_KEY_PASSWORD=PIN, **how.pop("env", {}))
        child = subprocess.Popen([*before, PROGRAM, *argv], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, preexec_fn=without, **how)
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        self.listener.settimeout(30)
        self.connection, _ = self.listener.accept()
        self.addCleanup(self.connection.close)
        return child

    def stop(self, *more):
        return ("pre-run", "--station", "alpha", "--key", "pkcs11:token=none", *more, "train")

    def descriptors(self, child):
        return {int(name): os.readlink(f"/proc/{child.pid}/fd/{name}") for name in os.listdir(f"/proc/{child.pid}/fd")}

    def facts(self, child):
        with open(f"/proc/{child.pid}/status", encoding="ascii") as stream:
            return dict(line.rstrip("\n").split(":\t", 1) for line in stream if ":\t" in line)

    def test_stray_descriptors(self):
        meant = (160, 170, 180, 190, 200)
        with contextlib.ExitStack() as files:
            # Opened last to first, so that none has the number of another.
            opened = [files.enter_context(open("/etc/hostname", "rb")) for _ in range(1 + len(meant))]
            for one, number in zip(opened, (150, *meant)):
                os.dup2(one.fileno(), number)
                files.callback(os.close, number)
            child = self.start(*self.stop("--pin-fd", "170", "--state=/dev/fd/160", "--module",
                                          "file:/dev/fd/190?x=150x", "--audit", "x%2Ffd%2F180&x=y"),
                               pass_fds=(150, *meant), env={"PRIVATE_KEY_PATH": "pkcs11:x?pin-source=/dev/fd/200"})
            found = self.descriptors(child)
        self.assertNotIn(150, found)
        self.assertEqual([found.get(number) for number in meant], ["/etc/hostname"] * len(meant))

    def test_standard_descriptors(self):
        child = self.start(*self.stop(), close=(0, 1, 2))
        found = self.descriptors(child)
        self.assertEqual([found[number] for number in range(3)], ["/dev/null"] * 3)

    def test_a_terminal_that_goes_away(self):
        """The shell tells, and then the kernel; who was started by nohup stays."""
        child = self.start(*self.stop())
        child.send_signal(signal.SIGHUP)
        child.send_signal(signal.SIGHUP)
        err = child.communicate(timeout=30)[1]
        self.assertEqual(child.returncode, -signal.SIGHUP)
        self.assertIn(b"interrupted", err)
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            child = self.start(*self.stop(), restore_signals=False)
        finally:
            signal.signal(signal.SIGHUP, before)
        self.assertTrue(int(self.facts(child)["SigIgn"], 16) & 1 << (signal.SIGHUP - 1))

    def test_cores_and_privileges(self):
        child = self.start(*self.stop())
        with open(f"/proc/{child.pid}/limits", encoding="ascii") as stream:
            limit = next(line.split() for line in stream if line.startswith("Max core file size"))
        self.assertEqual(limit[4:6], ["0", "0"])
        facts = self.facts(child)
        self.assertEqual(facts["NoNewPrivs"], "1")
        self.assertEqual(facts["Umask"].strip()[-2:], "22")
        if not SANITIZED:
            self.assertEqual(facts["Seccomp"], "2", "the filter of system calls is not there")

    def test_umask_is_not_widened(self):
        child = self.start(*self.stop(), umask=0o077)
        self.assertEqual(self.facts(child)["Umask"].strip()[-2:], "77")

    @unittest.skipUnless(os.geteuid() == 0, "needs root to be two users")
    def test_not_readable_by_its_user(self):
        """Another process of the same user cannot look into its memory."""
        os.chmod(self.work, 0o755)
        os.chmod(f"{self.work}/s", 0o777)
        child = self.start(*self.stop("--state", "/nowhere"), before=AS_NOBODY)
        reader = subprocess.run([*AS_NOBODY, "cat", f"/proc/{child.pid}/environ"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual(self.facts(child)["Uid"].split(), [str(NOBODY)] * 4)
        self.assertNotEqual(reader.returncode, 0)
        self.assertNotIn(PIN.encode(), reader.stdout)

    # ------------------------------------------------------------------------------------------ what may still be done

    @unittest.skipUnless(PROBE, "this build has no library to preload")
    def test_rights(self):
        """A command that only reads can write and start nothing; nobody can trace."""
        other = f"{self.work}/other"
        with open(other, "wb") as stream:
            stream.write(b"x")
        for command, writes in ((("verify", "train"), False), (("inspect", "train"), False), (self.stop(), True)):
            with self.subTest(command[0]):
                path = f"{self.work}/written"
                child = self.start(*command, env={"LD_PRELOAD": PROBE, "TT_PROBE_FILE": path, "TT_PROBE_OTHER": other})
                child.kill()
                said = child.communicate()[1].decode()
                word = "may" if writes else "may not"
                self.assertEqual([line for line in said.splitlines() if line.startswith("probe ")],
                                 [f"probe write {word}", f"probe truncate {word}", f"probe chmod {word}",
                                  "probe read may", f"probe execute {word}", "probe mount may not",
                                  "probe trace may not"], said)
                self.assertEqual(os.path.getsize(other), 0 if writes else 1)
                self.assertEqual(os.path.exists(path), writes)

    @unittest.skipUnless(PROBE, "this build has no library to preload")
    def test_a_program_for_32_bits(self):
        """A helper or a module may have one: the filter knows its system calls, too."""
        program = f"{self.work}/program"
        code = bytes.fromhex("31db31c040cd80")  # exit(0) for i386
        with open(program, "wb") as stream:
            stream.write(struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 2, 3, 1, 0x8048054, 52, 0, 0, 52, 32, 1, 0, 0, 0))
            stream.write(struct.pack("<8I", 1, 0, 0x8048000, 0x8048000, 84 + len(code), 84 + len(code), 5, 4096) + code)
        os.chmod(program, 0o755)
        try:
            self.assertEqual(subprocess.run([program], check=False).returncode, 0)
        except OSError:
            return  # a machine that has no such programs
        child = self.start(*self.stop(), env={"LD_PRELOAD": PROBE, "TT_PROBE_FILE": f"{self.work}/written",
                                              "TT_PROBE_OTHER": self.trail, "TT_PROBE_PROGRAM": program})
        child.kill()
        self.assertIn(b"probe execute may\n", child.communicate()[1])

    @unittest.skipUnless(PROBE, "this build has no library to preload")
    def test_temporary_files_stay_possible(self):
        child = self.start("verify", "train", env={"LD_PRELOAD": PROBE, "TT_PROBE_FILE": f"{self.tmp}/written",
                                                      "TT_PROBE_OTHER": self.trail})
        child.kill()
        self.assertIn(b"probe write may\n", child.communicate()[1])
        os.remove(f"{self.tmp}/written")


class Program(Case):
    @unittest.skipUnless(os.geteuid() == 0, "needs root to be two users")
    def test_set_user_id(self):
        for mode, word in ((0o4755, "set-user-ID"), (0o2755, "set-user-ID or set-group-ID")):
            place = tempfile.mkdtemp(dir="/var/tmp")  # where these bits count
            self.addCleanup(shutil.rmtree, place, True)
            copy = f"{place}/traintoken"
            shutil.copy(PROGRAM, copy)
            os.chmod(copy, mode)
            os.chmod(place, 0o755)
            done = subprocess.run([copy, "--version"], user=NOBODY, group=NOBODY, extra_groups=[],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(word, done.stderr)
            self.assertEqual(done.stdout, "")

    @unittest.skipUnless(os.geteuid() == 0, "needs root to be two users")
    def test_capabilities(self):
        """Those of the file would be those of the caller's module; those of a service are its own."""
        place = tempfile.mkdtemp(dir="/var/tmp")  # where they count
        self.addCleanup(shutil.rmtree, place, True)
        os.chmod(place, 0o755)
        copy = f"{place}/traintoken"
        shutil.copy(PROGRAM, copy)
        raw = 13
        service = ["setpriv", "--inh-caps=+net_raw", "--ambient-caps=+net_raw", *AS_NOBODY[1:]]
        for capabilities, before, status in ((0, AS_NOBODY, 0), (0, service, 0), (1 << raw, AS_NOBODY, 2)):
            if capabilities:  # linux/capability.h: revision 2, effective
                os.setxattr(copy, "security.capability", struct.pack("<5I", 0x02000001, capabilities, 0, 0, 0))
            done = subprocess.run([*before, copy, "--version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  check=False)
            self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn("setcap -r", done.stderr)

    @unittest.skipIf(SANITIZED, "sanitizers choose otherwise")
    def test_how_it_is_linked(self):
        said = subprocess.run(["readelf", "-W", "-h", "-l", "-d", PROGRAM], stdout=subprocess.PIPE, text=True,
                              check=True).stdout
        self.assertIn("DYN (Position-Independent Executable", said)
        self.assertIn("GNU_RELRO", said)
        self.assertRegex(said, r"Flags: NOW.*PIE")
        stack = next(line for line in said.splitlines() if "GNU_STACK" in line)
        self.assertNotIn("E", stack.split()[-2], "the stack is executable")
        names = subprocess.run(["nm", "-D", PROGRAM], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertIn("__stack_chk_fail", names)
        self.assertRegex(names, "__[a-z]+_chk")


if __name__ == "__main__":
    unittest.main()
