"""Trains in a Docker Engine when a request fails, or traintoken dies: at each request of a run, and at any time. A clear
error and the old image, or the new one whole; the next start leaves nothing behind."""

import os
import signal
import threading
import time
import unittest

from support import engine as engines
from support import proxy
from support.engine_case import TRAIN
from support.fault_case import FaultCase

POINTS = 20
# What changes something in an engine: killed or cut there, something could be left.
CHANGING = ("POST ", "PUT ", "DELETE ")


def points(requests):
    """Numbers (from 1) and names of the requests where a fault is tried: all that change something, and the first of
    each other kind."""
    seen = set()
    for number, name in enumerate(requests, 1):
        kind = "/".join(part for part in name.split("?")[0].split("/") if len(part) < 32 and "traintoken" not in part)
        if name.startswith(CHANGING) or kind not in seen:
            seen.add(kind)
            yield number, name


@engines.needs_engine()
class Requests(FaultCase):
    """Each request of a run once: cut, refused, answered without anybody hearing, traintoken killed."""

    def each(self, command, faults):
        self.prepare(command)
        requests = self.requests()
        self.assertLess(len(requests), 60)
        self.prepare(command)
        for number, name in points(requests):
            for what, action, check in faults:
                if what.startswith("changing") and not name.startswith(CHANGING):
                    continue
                with self.subTest(f"{command}, {what}, {number}: {name}"):
                    label = f"{what} at {name}"
                    try:
                        status, err = self.killed_at(number, action)
                        check(label, status, err, name)
                    finally:
                        self.client = self.lying
                        if self.engine.state() != self.before:
                            self.prepare(command)
        self.finish("in the end")

    def check_living(self, what, status, err, name):
        """It lived on and had an engine to clean up in: nothing is left, whether it went well or not."""
        self.assertIn(status, (0, 8), f"{what}\n{err}")
        if status == 8:
            self.assertTrue(err.startswith("traintoken: "), f"{what}\n{err}")
            self.assertEqual(self.engine.state(), self.before, f"{what}\n{err}")
        else:
            self.assertTrue(self.is_new(what), f"{what}\n{err}")
            # What could not be removed was warned of, and the next start finds it.
            if name.startswith("DELETE") or "warning" in err:
                self.client = self.engine
                self.good("clean")
                self.client = self.lying
            self.assertEqual(list(self.engine.containers()), [], what)
            if self.command == "post-run":
                self.assert_no_plaintext_in_engine()

    def check_killed(self, what, status, err, name):
        if status != -signal.SIGKILL:  # it was done before that request was answered
            self.assertEqual(status, 0, f"{what}\n{err}")
        self.assertEqual(os.listdir(self.tmp), [], what)
        self.client = self.engine
        self.restore_tokens()
        new = self.is_new(what)
        self.good("clean")
        if self.engine.state() != self.before:  # see check_nothing_left
            self.good("clean")
        self.assertEqual(list(self.engine.containers()), [], what)
        if not new:
            self.assertEqual(self.engine.state(), self.before, what)
        elif self.command == "post-run":
            self.assert_no_plaintext_in_engine()

    def living(self, command):
        self.each(command, [("refused", proxy.refusal(500, "made-up trouble"), self.check_living),
                            ("changing, cut", proxy.cut(), self.check_living),
                            ("changing, reply lost", proxy.lost_reply(), self.check_living)])

    def dying(self, command):
        self.each(command, [("killed before", proxy.calling(self.kill, proxy.cut()), self.check_killed),
                            ("changing, killed after", proxy.lost_reply(self.kill), self.check_killed)])

    def test_pre_run_lives_on(self):
        self.living("pre-run")

    def test_post_run_lives_on(self):
        self.living("post-run")

    def test_pre_run_is_killed(self):
        self.dying("pre-run")

    def test_post_run_is_killed(self):
        self.dying("post-run")


@engines.needs_engine()
class Moments(FaultCase):
    def over_time(self, command):
        """kill -9 at times spread over a run."""
        self.prepare(command)
        start = time.monotonic()
        self.good(command, TRAIN, station="beta")
        whole = time.monotonic() - start
        self.prepare(command)
        finished = 0
        for point in range(POINTS):
            what = f"{command} killed at {point}/{POINTS} of {whole:.2f} s"
            with self.subTest(what):
                self.killed(self.arguments(command, TRAIN, station="beta"), whole * point / POINTS)
                if point % 3 == 0 or self.engine.id(TRAIN) != self.old:
                    finished += self.finish(what)
                    self.prepare(command)
                else:  # the next start is the next kill
                    self.restore_tokens()
        self.finish("in the end")
        self.assertLess(finished, POINTS - 3, "hardly any run was killed")

    def test_pre_run(self):
        self.over_time("pre-run")

    def test_post_run(self):
        self.over_time("post-run")

    def test_clean_finds_what_a_killed_run_left(self):
        for command in ("pre-run", "post-run"):
            for pattern, kinds in {"PUT *": {"container"}, "POST /commit*": {"container"},
                                   "POST /images/*/tag*": {"container", "image"}}.items():
                with self.subTest(f"{command} at {pattern}"):
                    self.prepare(command)
                    self.lying.on(pattern, proxy.calling(self.kill, proxy.cut()))
                    self.ready = threading.Event()
                    self.child = self.started(command, TRAIN, station="beta")
                    self.ready.set()
                    self.child.communicate(timeout=60)
                    self.assertEqual(self.child.returncode, -signal.SIGKILL)
                    self.client = self.engine
                    left = self.engine.state()
                    self.assertNotEqual(left, self.before)
                    seen = self.good("clean", "--dry-run", "--json")
                    self.assertEqual(self.engine.state(), left)
                    self.assertFalse(seen["removed"])
                    self.assertLessEqual({one["what"] for one in seen["leftovers"]}, {"container", "image"})
                    self.assertTrue(seen["leftovers"])
                    done = self.good("clean", "--json")
                    self.assertTrue(done["removed"])
                    self.assertEqual([one["name"] for one in done["leftovers"]],
                                     [one["name"] for one in seen["leftovers"]])
                    self.assertEqual(self.engine.state(), self.before)
                    self.assertEqual(self.good("clean", "--json")["leftovers"], [])
                    self.restore_tokens()

    def test_clean_and_others_leave_a_living_run_alone(self):
        for pattern in ("PUT *", "POST /commit*", "POST /images/*/tag*"):
            with self.subTest(pattern):
                self.prepare("pre-run")
                go, reached = threading.Event(), threading.Event()
                self.lying.on(pattern, proxy.waiting(go, reached=reached))
                child = self.started("pre-run", TRAIN, station="beta")
                self.assertTrue(reached.wait(30))
                self.client = self.engine
                self.assertEqual(self.good("clean", "--json")["leftovers"], [])
                self.good("verify", TRAIN)
                go.set()
                _, err = child.communicate(timeout=60)
                self.assertEqual(child.returncode, 0, err)
                self.assertTrue(self.is_new(pattern))
                self.check_nothing_left(pattern)

    def test_signals(self):
        for command in ("pre-run", "post-run"):
            for number in (signal.SIGTERM, signal.SIGINT):
                for pattern in ("GET /containers/*/archive*", "PUT *", "POST /commit*"):
                    with self.subTest(f"{command}, {number.name} at {pattern}"):
                        if self.engine.tags().get(f"{TRAIN}:latest") is None or getattr(self, "command", "") != command \
                                or self.engine.state() != self.before:
                            self.prepare(command)
                        self.lying.forget()
                        go, reached = threading.Event(), threading.Event()
                        self.lying.on(pattern, proxy.waiting(go, reached=reached), times=1)
                        child = self.started(command, TRAIN, station="beta")
                        self.assertTrue(reached.wait(30))
                        child.send_signal(number)
                        time.sleep(0.1)
                        go.set()
                        _, err = child.communicate(timeout=60)
                        if child.returncode == 0:  # a commit that was under way is not taken back
                            self.assertTrue(self.is_new(pattern))
                        else:
                            self.assertEqual(child.returncode, -number, err)
                            self.assertEqual(self.engine.state(), self.before, err)
                        self.assertEqual(os.listdir(self.tmp), [])

    def test_signal_while_the_engine_is_silent(self):
        """A signal ends it though the engine never answers; what that leaves the next start removes."""
        self.prepare("pre-run")
        for pattern in ("GET /images/*", "GET /containers/*/archive*", "PUT *"):
            with self.subTest(pattern):
                self.lying.forget()
                never, reached = threading.Event(), threading.Event()
                self.lying.on(pattern, proxy.waiting(never, proxy.cut(), reached, 30))
                child = self.started("pre-run", TRAIN, station="beta")
                self.assertTrue(reached.wait(30))
                child.send_signal(signal.SIGTERM)
                start = time.monotonic()
                child.communicate(timeout=60)
                self.assertLess(time.monotonic() - start, 20)
                self.assertEqual(child.returncode, -signal.SIGTERM)
                never.set()
        self.finish("after silence")


if __name__ == "__main__":
    unittest.main()
