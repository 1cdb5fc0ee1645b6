"""Trains in a Docker Engine that dies in any phase of a run, whose disk is full, or where somebody else works on the same
things."""

import os
import shutil
import threading
import time
import unittest

from support import engine as engines
from support import proxy
from support.engine_case import TRAIN
from support.fault_case import FaultCase


@engines.needs_engine()
class Daemon(FaultCase):
    """The daemon is killed in each phase of a run."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.engine = engines.Engine()
        cls.addClassCleanup(cls.engine.close)

    PHASES = {
        "at the first question": ("GET /images/*", "before"),
        "making a container": ("POST /containers/create*", "before"),
        "a container was made": ("POST /containers/create*", "after"),
        "reading": ("GET /containers/*/archive*", "within the reply"),
        "writing": ("PUT /containers/*", "within the request"),
        "written": ("PUT /containers/*", "after"),
        "committing": ("POST /commit*", "before"),
        "committed": ("POST /commit*", "after"),
        "tagging": ("POST /images/*/tag*", "before"),
        "tagged": ("POST /images/*/tag*", "after"),
        "removing": ("DELETE /containers/*", "before"),
        "removing the last": ("DELETE /*", "last"),
    }

    def action(self, when):
        self.killed = threading.Event()

        def kill():  # while this goes on, traintoken may be through already
            self.engine.kill()
            self.killed.set()

        return {"before": lambda: proxy.calling(kill), "after": lambda: proxy.lost_reply(kill),
                "within the reply": lambda: proxy.cut_reply(1000, kill), "last": lambda: proxy.calling(kill),
                "within the request": lambda: proxy.cut_request(4000, kill)}[when]()

    def phases(self, command):
        self.prepare(command)
        deletes = sum(name.startswith("DELETE") for name in self.requests())
        self.prepare(command)
        for what, (pattern, when) in self.PHASES.items():
            with self.subTest(f"{command}: {what}"):
                if self.engine.state() != self.before:
                    self.prepare(command)
                self.lying.forget()
                self.lying.on(pattern, self.action(when), nth=max(deletes, 1) if when == "last" else 1, times=1)
                start = time.monotonic()
                result = self.run_it()
                self.assertLess(time.monotonic() - start, 30)
                self.assertTrue(self.killed.wait(10), "the phase was not reached")
                self.assertIn(result.status, (0, 8), str(result))
                if result.status == 8:
                    self.assertIn("unix://", result.err)
                self.engine.restart()
                self.assertTrue(self.is_new(what) or result.status != 0, str(result))
                self.finish(what)
                self.prepare(command)

    def test_pre_run(self):
        self.phases("pre-run")

    def test_post_run(self):
        self.phases("post-run")


@engines.needs_engine()
class Disk(FaultCase):
    """The engine's disk is full."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.engine = engines.Engine(size=48)
        cls.addClassCleanup(cls.engine.close)

    def full(self, command, rooms):
        self.prepare(command)
        failed = 0
        for room in rooms:
            with self.subTest(f"{command} with {room} KiB"):
                if self.engine.state() != self.before:
                    self.prepare(command)
                free = shutil.disk_usage(self.engine.data).free
                with open(f"{self.engine.data}/filler", "wb") as stream:
                    stream.write(b"\0" * max(free - (room << 10), 0))
                result = self.run_it()
                os.remove(f"{self.engine.data}/filler")
                if result.status == 0:
                    self.assertTrue(self.is_new(room))
                else:
                    failed += 1
                    self.check_failure(result, room, words=["no space left"])
        self.assertGreater(failed, 1)
        self.prepare(command)
        self.finish("with room again")

    def test_pre_run(self):
        self.full("pre-run", (0, 16, 40, 64, 100, 200))

    def test_post_run(self):
        self.full("post-run", (0, 16, 40, 64, 100, 200))

    def test_a_name_that_could_not_be_written_down(self):
        """The engine says so, but goes on with the new name until it is told the old one."""
        words = b'{"message": "write repositories.json: no space left on device"}'
        head = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close"
        for command in ("pre-run", "post-run"):
            with self.subTest(command):
                self.prepare(command)
                self.lying.on("POST /images/*/tag*", proxy.forward(change=lambda _: proxy.rebuilt(head, words)), times=1)
                self.check_failure(self.run_it(), command, words=["no space left"])
                self.finish(command)

    def test_reading_needs_room_too(self):
        """A container to read from is something on a disk as well."""
        self.prepare("pre-run")
        with open(f"{self.engine.data}/filler", "wb") as stream:
            stream.write(b"\0" * shutil.disk_usage(self.engine.data).free)
        result = self.tt("verify", TRAIN)
        os.remove(f"{self.engine.data}/filler")
        self.check_failure(result, "verify", words=["no space left"])


@engines.needs_engine()
class Others(FaultCase):
    """Somebody else works on the same things."""

    def test_the_image_vanishes(self):
        for command, pattern in (("pre-run", "POST /containers/create*"), ("pre-run", "GET /containers/*/archive*"),
                                 ("pre-run", "POST /commit*"), ("post-run", "POST /containers/create*"),
                                 ("post-run", "POST /commit*")):
            with self.subTest(f"{command}: {pattern}"):
                self.prepare(command)
                self.lying.on(pattern, proxy.calling(lambda: self.engine.api(
                    "DELETE", f"/images/{TRAIN}:latest?force=1")), times=1)
                result = self.run_it()
                self.assertEqual(result.status, 8, str(result))
                self.assertNotIn(f"{TRAIN}:latest", self.engine.tags())
                self.assertEqual(list(self.engine.containers()), [])

    def test_the_base_vanishes(self):
        self.prepare("post-run")
        self.lying.on("POST /containers/create*", proxy.calling(lambda: self.engine.api(
            "DELETE", f"/images/{TRAIN}:base?force=1&noprune=1")), times=1)
        result = self.run_it()
        # Either the base's image lives on without its tag, below, or there is none to put anything on.
        self.assertIn(result.status, (0, 8), str(result))
        if result.status == 8:
            self.assertEqual(self.engine.id(TRAIN), self.old)

    def test_the_tag_moves(self):
        """A newer image was pulled under the same name meanwhile: it is not overwritten."""
        for command in ("pre-run", "post-run"):
            for pattern in ("POST /commit*", "PUT *"):
                with self.subTest(f"{command}: {pattern}"):
                    self.prepare(command)
                    other = self.engine.import_base("other:latest")
                    self.lying.on(pattern, proxy.calling(lambda: self.engine.tag("other:latest", f"{TRAIN}:latest")))
                    result = self.run_it()
                    self.assertEqual(result.status, 8, str(result))
                    self.assertEqual(self.engine.id(TRAIN), other)
                    self.assertIn(self.old, self.engine.images())
                    self.assertEqual(list(self.engine.containers()), [])
                    self.assertLessEqual(set(self.engine.images()), {other, *self.before["images"]})

    def test_a_container_is_removed_below_it(self):
        def remove_all():
            for name in self.engine.containers():
                self.engine.remove(name)
        for pattern in ("GET /containers/*/archive*", "PUT *", "POST /commit*"):
            with self.subTest(pattern):
                self.prepare("pre-run")
                self.lying.on(pattern, proxy.calling(remove_all), times=1)
                self.check_failure(self.run_it(), pattern, words=["no such container"])

    def test_two_at_once(self):
        for command in ("pre-run", "post-run"):
            for turn in range(4):
                with self.subTest(f"{command} {turn}"):
                    self.prepare(command)
                    self.client = self.engine
                    both = [self.started(command, TRAIN, station="beta") for _ in range(2)]
                    said = [one.communicate(timeout=120)[1] for one in both]
                    statuses = sorted(one.returncode for one in both)
                    self.assertEqual(statuses[0], 0, said)
                    self.assertIn(statuses[1], (8, 9), said)
                    self.assertTrue(self.is_new(said))
                    self.assertEqual(list(self.engine.containers()), [], said)
                    self.good("clean")
                    self.check_nothing_left(said)

    def test_two_at_once_one_of_them_late(self):
        for command in ("pre-run", "post-run"):
            for pattern in ("POST /commit*", "GET /containers/*/archive*"):
                with self.subTest(f"{command}: {pattern}"):
                    self.prepare(command)
                    go, reached = threading.Event(), threading.Event()
                    self.lying.on(pattern, proxy.waiting(go, reached=reached), times=1)
                    late = self.started(command, TRAIN, station="beta")
                    self.assertTrue(reached.wait(30))
                    self.client = self.engine
                    first = self.run_it()
                    go.set()
                    _, err = late.communicate(timeout=60)
                    statuses = sorted((first.status, late.returncode))
                    self.assertEqual(statuses[0], 0, f"{first}\n{err}")
                    self.assertIn(statuses[1], (8, 9), f"{first}\n{err}")
                    self.assertTrue(self.is_new(pattern))
                    self.assertEqual(list(self.engine.containers()), [])
                    self.good("clean")
                    self.check_nothing_left(f"{first}\n{err}")


if __name__ == "__main__":
    unittest.main()
