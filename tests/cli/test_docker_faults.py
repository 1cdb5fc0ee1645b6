"""When a Docker Engine, the way to it, or traintoken itself fails at any moment: a clear error and the old image, or the
new one whole, and the next start leaves nothing behind."""

import io
import os
import shutil
import signal
import tarfile
import threading
import time
import unittest

from support import engine as engines
from support import files as fs
from support import oci, pht, proxy
from support.engine_case import TRAIN, EngineCase
from support.station import MARKER, PIN, SANITIZED, pool_key, results_of, sample_at, tokens

MIB = 1 << 20
POINTS = 20
KEPT = "kept/as-it-arrived"
# What changes something in an engine: killed or cut there, something could be left.
CHANGING = ("POST ", "PUT ", "DELETE ")


class FaultCase(EngineCase):
    """The sample train before its pre-run or post-run at beta, and a proxy before the engine."""

    def setUp(self):
        super().setUp()
        self.lying = engines.LyingDaemon(self.engine)
        self.addCleanup(self.lying.close)
        tokens().uri("beta")
        tokens().uri("gamma")
        self.saved_tokens = f"{self.work}/tokens"
        shutil.copytree(f"{tokens().place}/tokens", self.saved_tokens)
        self.child = None

    def restore_tokens(self):
        """SoftHSM rewrites a token's file at every login, not atomically: killed there, it loses the token."""
        shutil.rmtree(f"{tokens().place}/tokens")
        shutil.copytree(self.saved_tokens, f"{tokens().place}/tokens")

    def prepare(self, command):
        """Also to be called again, to have all as it was."""
        self.command = command
        self.lying.forget()
        shutil.rmtree(self.state, True)
        self.restore_tokens()
        self.client = self.engine
        self.bring()
        if command == "post-run":
            self.good("pre-run", TRAIN, station="beta")
            self.run_code(TRAIN, "beta")
        self.client = self.lying
        self.before = self.engine.state()
        self.old = self.engine.id(TRAIN)

    def bring(self):
        """Loads the train once, and after that removes what else there is."""
        kept = {f"{KEPT}:base", f"{KEPT}:latest"}
        if not kept <= set(self.engine.tags()):
            self.engine.clear()
            self.train(1, KEPT)
        self.arrived = self.engine.id(KEPT)
        for name in self.engine.containers():
            self.engine.remove(name)
        for tag in ("base", "latest"):
            self.engine.tag(f"{KEPT}:{tag}", f"{TRAIN}:{tag}")
        for tag in set(self.engine.tags()) - kept - {f"{TRAIN}:base", f"{TRAIN}:latest"}:
            self.engine.api("DELETE", f"/images/{tag}?force=1", want=(200, 404))
        while left := [one for one in self.engine.dangling() if one != self.arrived]:
            for one in left:
                self.engine.api("DELETE", f"/images/{one}?force=1", want=(200, 404, 409))

    def requests(self):
        """What a run that goes well asks the engine for, in its order."""
        self.lying.forget()
        self.good(self.command, TRAIN, station="beta")
        return list(self.lying.requests)

    def run_it(self, **more):
        return self.tt(self.command, TRAIN, station="beta", **more)

    def is_new(self, what):
        """Whether the tag has a whole new image, which is checked then, instead of the old one."""
        now = self.engine.id(TRAIN)
        self.assertIsNotNone(now, what)
        if now == self.old:
            return False
        tree = self.engine.tree(f"{TRAIN}:latest")
        if self.command == "pre-run":
            self.assertEqual(tree["opt/pht_train/entrypoint.sh"].content, self.plain().definition["entrypoint.sh"], what)
            self.assertEqual(pht.relative(tree, pht.RESULTS), self.plain().results, what)
        else:
            self.assertEqual(pht.open_train(tree, pool_key("gamma")).position, 2, what)
        return True

    @staticmethod
    def plain():
        return pht.open_train(sample_at(1), pool_key("beta"))

    def check_failure(self, result, what, statuses=(8,), words=()):
        """A run that failed, and could clean up: all is as it was."""
        self.assertIn(result.status, statuses, f"{what}\n{result}")
        self.assertTrue(result.err.startswith("traintoken: "), f"{what}\n{result}")
        for word in words:
            self.assertIn(word.lower(), result.err.lower(), f"{what}\n{result}")
        self.assertNotIn(PIN, result.err)
        self.assertNotIn(MARKER.decode(), result.err)
        self.assertEqual(self.engine.state(), self.before, f"{what}\n{result}")

    def check_nothing_left(self, what):
        """Of the run that just went well, and of those before it."""
        self.assertEqual(list(self.engine.containers()), [], what)
        allowed = {self.arrived, *self.engine.tags().values()}
        if not set(self.engine.images()) <= allowed:
            # The engine goes on with a commit whose client was killed, and may be done only after the next start.
            self.good("clean")
        self.assertLessEqual(set(self.engine.images()), allowed, what)
        if self.command == "post-run":
            self.assert_no_plaintext_in_engine()
        self.assertEqual(os.listdir(self.tmp), [], what)

    def finish(self, what):
        """After a run that ended at any point: the next start is clean, and in the end all is as after one good run.
        Gives whether the new image was there already."""
        self.lying.forget()
        self.client = self.engine
        self.restore_tokens()
        new = self.is_new(what)
        if new:
            again = self.run_it()
            self.assertEqual(again.status, 9, f"{what}\n{again}")
        else:
            result = self.run_it()
            self.assertEqual(result.status, 0, f"{what}\n{result}")
            self.assertTrue(self.is_new(what))
        if not new:
            self.check_nothing_left(what)
        else:
            self.good("clean")
            if self.command == "post-run":
                self.check_nothing_left_but_others(what)
            self.assertEqual(list(self.engine.containers()), [], what)
        return new

    def check_nothing_left_but_others(self, what):
        self.assertEqual(list(self.engine.containers()), [], what)
        self.assert_no_plaintext_in_engine()

    def killed_at(self, number, action):
        """Runs it, with this action at the numbered request; gives its status. The action may use self.kill."""
        self.lying.forget()
        self.lying.on("*", action, nth=number, times=1)
        self.ready = threading.Event()
        self.child = self.started(self.command, TRAIN, station="beta")
        self.ready.set()
        _, err = self.child.communicate(timeout=120)
        return self.child.returncode, err

    def kill(self):
        self.ready.wait()
        self.child.kill()
        self.child.wait()


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
        self.assertLess(finished, POINTS / 2)

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
        kill = self.engine.kill
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
                self.assertIsNotNone(self.engine.process.poll(), "the phase was not reached")
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
                                 ("pre-run", "POST /images/*/tag*"), ("post-run", "POST /containers/create*"),
                                 ("post-run", "POST /images/*/tag*")):
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


def renamed(edit):
    """Edits the tar of an answer as a list of entries."""
    return proxy.edited_body(lambda body: fs.write_tar(edit(fs.read_tar(body))))


def tar_with_size(size):
    info = tarfile.TarInfo("pht_results/big")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + b"x" * 1024


RESULTS = "GET /containers/*/archive*pht_results*"
ARCHIVE = "GET /containers/*/archive*"
IMAGE = "GET /images/*/json"


@engines.needs_engine()
class Lies(FaultCase):
    """Answers that make no sense. The engine behind them is sound, so that all can be cleaned up."""

    def refused_with(self, what, pattern, action, statuses=(8,), seconds=20, command="pre-run", **more):
        with self.subTest(what):
            if getattr(self, "command", None) != command or self.engine.state() != self.before:
                self.prepare(command)
            self.lying.forget()
            self.lying.on(pattern, action, **more)
            start = time.monotonic()
            result = self.run_it(env={"DOCKER_CLIENT_TIMEOUT": "5"})
            taken = time.monotonic() - start
            self.assertTrue(self.lying.seen(pattern), "not asked for")
            self.check_failure(result, what, statuses)
            self.assertLess(taken, seconds, what)
            self.assertEqual(os.listdir(self.tmp), [])

    def test_archives(self):
        damaged = (3, 4, 8)
        body = proxy.edited_body
        for what, action in {
                "half of it": body(lambda data: data[:len(data) // 2]),
                "cut within a header": body(lambda data: data[:700]),
                "nothing": body(lambda data: b""),
                "no end": body(lambda data: data.rstrip(b"\0") + b"\0" * 100),
                "noise": body(lambda data: os.urandom(20000)),
                "zeros": body(lambda data: b"\0" * 20000),
                "text": body(lambda data: b'{"message": "no"}'),
                "longer than said": proxy.wrong_length(-1000),
                "shorter than said": proxy.wrong_length(1000),
                "cut": proxy.cut_reply(3000),
                "an endless file": proxy.chunked(lambda: (tar_with_size(1 << 62) for _ in range(64)), "application/x-tar"),
                "a size below zero": body(lambda data: tar_with_size(-5) + data),
                "others' names": renamed(lambda all_: [one.with_(path="x" + one.path) for one in all_]),
                "absolute names": renamed(lambda all_: [one.with_(path="/" + one.path) for one in all_[:1]]
                                          + [fs.file("/etc/passwd", b"x")]),
                "names that climb": renamed(lambda all_: all_ + [fs.file("pht_results/../../etc/passwd", b"x")]),
                "a name twice": renamed(lambda all_: all_ + [all_[-1]]),
                "another order": renamed(lambda all_: [all_[0], *reversed(all_[1:])]),
                "a file where a folder was": renamed(lambda all_: all_ + [fs.file("pht_results/plots", b"x")]),
                "not a folder": renamed(lambda all_: [fs.file("pht_results", b"x")]),
                "a device": renamed(lambda all_: all_ + [fs.Entry("pht_results/zz", fs.BLOCK)]),
                "a hard link out": renamed(lambda all_: all_ + [fs.hardlink("pht_results/zz", "etc/passwd")]),
                "one file fewer": renamed(lambda all_: [one for one in all_ if not one.path.endswith("alpha.csv")]),
                "one file more": renamed(lambda all_: all_ + [fs.file("pht_results/zz", b"x" * 32)]),
                "one bit": renamed(lambda all_: [one.with_(content=one.content[:-1] + bytes([one.content[-1] ^ 1]))
                                                 if one.content else one for one in all_]),
                "not found after all": proxy.refusal(404, "no such path"),
                "another kind": proxy.reply(200, {"a": 1}),
                "no body": proxy.reply(204),
                "refused": proxy.refusal(500, "layer is broken")}.items():
            self.refused_with(what, RESULTS, action, damaged)

    def test_archives_of_what_ran(self):
        """post-run hashes what comes: only what is not whole can be seen."""
        for what, action in {"half of it": proxy.edited_body(lambda data: data[:len(data) // 2]),
                             "cut": proxy.cut_reply(3000), "shorter than said": proxy.wrong_length(1000),
                             "noise": proxy.edited_body(lambda data: os.urandom(20000)),
                             "a device": renamed(lambda all_: all_ + [fs.Entry("pht_results/zz", fs.BLOCK)]),
                             "names that climb": renamed(lambda all_: all_ + [fs.file("pht_results/../x", b"x")]),
                             "others' names": renamed(lambda all_: [one.with_(path="x" + one.path) for one in all_]),
                             "a name twice": renamed(lambda all_: all_ + [all_[-1]]),
                             "not found after all": proxy.refusal(500, "no")}.items():
            self.refused_with(what, RESULTS, action, (3, 4, 8), command="post-run")

    def test_facts_of_an_image(self):
        for what, action in {
                "no object": proxy.reply(200, []), "nothing": proxy.reply(200, b""), "text": proxy.reply(200, b"hello"),
                "half": proxy.edited_body(lambda data: data[:len(data) // 2]), "null": proxy.reply(200, b"null"),
                "no id": proxy.edited_json(lambda value: value.pop("Id") and None),
                "a number": proxy.edited_json(lambda value: value.update(Id=5)),
                "a path": proxy.edited_json(lambda value: value.update(Id="sha256:" + "../" * 21 + "x")),
                "short": proxy.edited_json(lambda value: value.update(Id=value["Id"][:20])),
                "deep": proxy.reply(200, b"[" * 100_000 + b"]" * 100_000),
                "10 GiB": proxy.flood(10 << 30), "endless headers": proxy.endless_headers(),
                "a long header": proxy.long_header(), "zeros": proxy.reply(200, b"\0" * 1000),
                "not JSON": proxy.reply(200, b"\xff\xfe" * 100),
                "redirect": proxy.reply(301, b"", Location="http://127.0.0.1:1/"),
                "401": proxy.refusal(401, "who are you"), "500": proxy.reply(500, b"<html>trouble</html>"),
                "no status": proxy.raw([b"hello\r\n\r\n"]), "status 0": proxy.raw([b"HTTP/1.1 0 x\r\n\r\n"]),
                "status 9999": proxy.raw([b"HTTP/1.1 9999 x\r\n\r\n"]),
                "1xx for ever": proxy.raw(lambda: iter(lambda: b"HTTP/1.1 103 Early\r\n\r\n" * 100, None)),
                "two lengths": proxy.raw([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello"]),
                "a length below zero": proxy.raw([b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"]),
                "a huge length": proxy.raw([b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello"]),
                "bad chunks": proxy.raw([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n"]),
                "an unfinished chunk": proxy.raw([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nhello"]),
        }.items():
            self.refused_with(what, IMAGE, action)
        for what, edit in {
                "no RootFS": lambda value: value.pop("RootFS") and None,
                "layers are a number": lambda value: value["RootFS"].update(Layers=7),
                "layers are no digests": lambda value: value["RootFS"].update(Layers=["x", None, 5]),
                "a million layers": lambda value: value["RootFS"].update(Layers=["sha256:" + "a" * 64] * 1_000_00),
                "no Config": lambda value: value.update(Config=None),
                "Config is a list": lambda value: value.update(Config=[1])}.items():
            with self.subTest(what):
                self.lying.forget()
                self.lying.on(IMAGE, proxy.edited_json(edit))
                result = self.tt("inspect", TRAIN)
                self.assertIn(result.status, (0, 3, 8), str(result))

    def test_replies_to_what_changes_something(self):
        """Made-up answers to requests that the engine never got to see."""
        for pattern in ("POST /containers/create*", "POST /commit*"):
            for what, action in {
                    "no id": proxy.reply(201, {"Warnings": []}), "text": proxy.reply(201, b"done"),
                    "an id that is a path": proxy.reply(201, {"Id": "../../images/json"}),
                    "an id that is not there": proxy.reply(201, {"Id": "ab" * 32}),
                    "10 GiB": proxy.flood(10 << 30), "endless headers": proxy.endless_headers(),
                    "no space": proxy.refusal(500, "no space left on device"),
                    "conflict": proxy.refusal(409, "conflict"), "gone": proxy.refusal(404, "No such container: x"),
                    "200 without anything": proxy.reply(200)}.items():
                self.refused_with(f"{pattern}: {what}", pattern, action)
        for what, action in {"refused at once": proxy.refusal(500, "disk trouble"), "cut": proxy.cut_request(3000),
                             "forbidden": proxy.refusal(403, "read-only"), "gone": proxy.refusal(404, "no container"),
                             "lost": proxy.lost_reply(), "endless headers": proxy.endless_headers()}.items():
            self.refused_with(f"PUT: {what}", "PUT *", action)
        for what, action in {"refused": proxy.refusal(500, "disk trouble"), "conflict": proxy.refusal(409, "no"),
                             "not there": proxy.refusal(404, "no such image")}.items():
            self.refused_with(f"tag: {what}", "POST /images/*/tag*", action)

    def test_stats_of_paths(self):
        """X-Docker-Container-Path-Stat."""
        def header(value):
            return proxy.reply(200, b"", X_Docker_Container_Path_Stat=value)
        for what, action in {"missing": proxy.reply(200, b""), "empty": header(""), "no base64": header("%%%"),
                             "no JSON": header("aGVsbG8="), "an array": header("W10="), "long": header("QUFB" * 10000),
                             "refused": proxy.reply(500, b""), "a mode of text": header("eyJtb2RlIjoieCJ9")}.items():
            self.refused_with(what, "HEAD /containers/*", action, (3, 4, 8))

    def test_memory_stays_small(self):
        if SANITIZED:
            self.skipTest("a sanitizer takes memory of its own")
        self.prepare("pre-run")
        for what, pattern, action in (("JSON", IMAGE, proxy.flood(10 << 30)),
                                      ("headers", IMAGE, proxy.endless_headers()),
                                      ("a header", RESULTS, proxy.long_header()),
                                      ("an error", RESULTS, proxy.raw(lambda: (
                                          b"HTTP/1.1 500 x\r\n\r\n" if not place else b"a" * MIB
                                          for place in range(4096)))),
                                      ("a created container", "POST /containers/create*", proxy.flood(10 << 30))):
            with self.subTest(what):
                self.lying.forget()
                self.lying.on(pattern, action)
                peak = self.peak(self.arguments("pre-run", TRAIN, station="beta"), status=8)
                self.assertLess(peak, 64 * 1024)
                self.assertEqual(self.engine.state(), self.before)

    def test_slow_answers(self):
        for command in ("pre-run", "post-run"):
            self.prepare(command)
            for what, pattern in (("of an image", IMAGE), ("of an archive", ARCHIVE), ("of the first", "* /_ping")):
                with self.subTest(f"{command}: {what}, never"):
                    self.lying.forget()
                    self.lying.on(pattern, proxy.silence(60))
                    start = time.monotonic()
                    result = self.run_it(env={"DOCKER_CLIENT_TIMEOUT": "2"})
                    taken = time.monotonic() - start
                    self.check_failure(result, what)
                    self.assertTrue(1.5 < taken < 12, taken)
                    self.assertTrue(any(word in result.err for word in ("2 s", "time", "silent", "answer")), result.err)
        for pattern in ("POST /commit*", "POST /containers/create*", "DELETE *"):
            with self.subTest(f"{pattern} takes its time"):
                self.prepare("pre-run")
                self.lying.on(pattern, proxy.slow(4), times=1)
                result = self.run_it(env={"DOCKER_CLIENT_TIMEOUT": "2"})
                self.assertEqual(result.status, 0, str(result))
        with self.subTest("slow, but it comes"):
            self.prepare("pre-run")
            self.lying.on(RESULTS, proxy.dripping(0.15))
            result = self.run_it(env={"DOCKER_CLIENT_TIMEOUT": "2"})
            self.assertEqual(result.status, 0, str(result))

    def test_lists(self):
        """What a killed run left is looked for first: absurd lists end the run, or are passed over with a warning."""
        self.prepare("pre-run")
        for pattern in ("GET /containers/json*", "GET /images/json*"):
            for what, action in {"text": proxy.reply(200, b"x"), "an object": proxy.reply(200, {}),
                                 "null": proxy.reply(200, b"null"), "500": proxy.refusal(500, "no"),
                                 "numbers": proxy.reply(200, [1, 2, None, {"Id": 5, "Names": 7, "RepoTags": "x"}]),
                                 "10 GiB": proxy.flood(10 << 30, b"["), "cut": proxy.cut()}.items():
                with self.subTest(f"{pattern}: {what}"):
                    self.lying.forget()
                    self.lying.on(pattern, action)
                    result = self.tt("clean")
                    self.assertIn(result.status, (0, 8), str(result))
                    self.assertEqual(self.engine.state(), self.before)


if __name__ == "__main__":
    unittest.main()
