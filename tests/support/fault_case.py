"""A train before its stop in an engine, and a proxy that makes trouble on the way to it."""

import os
import shutil
import threading

from support import engine as engines
from support import pht
from support.engine_case import TRAIN, EngineCase
from support.station import MARKER, PIN, pool_key, sample_at, tokens

KEPT = "kept/as-it-arrived"


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
        allowed = {self.arrived, *self.engine.tags().values()}
        if self.engine.containers() or not set(self.engine.images()) <= allowed:
            # The engine goes on with what it was asked for by a client that was killed, be it a container or a commit,
            # and may be done only after the next start.
            self.good("clean")
        self.assertEqual(list(self.engine.containers()), [], what)
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
