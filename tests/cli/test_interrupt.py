"""A run that ends at any moment leaves the old state or the new one, and the next start is clean: signals, kill -9 at
times spread over the run and before each system call that changes a disk, full disks, two runs at once."""

import collections
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

from support import files as fs
from support import oci, pht
from support.station import (MARKER, PIN, Case, difference, needs_program, pool_key, results_of, sample, snapshot,
                             tokens)

BIG = fs.file("opt/pht_results/big.bin", (MARKER + bytes(range(229))) * (24 << 12), 0o600)  # 24 MiB
POINTS = 24
# What makes or unmakes something on a disk; "openat" would count every file that is only read.
STEPS = "rename,renameat,renameat2,link,linkat,unlink,unlinkat,fsync,fdatasync,mkdir,mkdirat,rmdir,ftruncate,syncfs"
# A mount name space; for others than root, within a user name space.
UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m", "--propagation", "private"]
NSENTER = ["nsenter", *([] if os.geteuid() == 0 else ["-U", "--preserve-credentials"]), "-m", "-t"]
# With the options said and no others: mount would repeat the owner's uid, which the user name space does not know.
REMOUNT = ["mount", "--options-mode", "ignore", "-o"]
CAN_MOUNT = subprocess.run([*UNSHARE, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
needs_mounts = unittest.skipUnless(CAN_MOUNT, "needs a mount name space (unshare -m)")


class StepCase(Case):
    def forget_trail(self):
        """Each run makes its audit trail anew, with as many steps."""
        if os.path.exists(self.trail):
            os.remove(self.trail)

    def traced(self, argv, *more):
        """Runs argv under strace; gives its status and the calls that change a disk, as (name, result)."""
        trace = f"{self.home}/trace"
        strace = ["strace", "-f", "-qq", "-o", trace, "-e", f"trace={STEPS}", *more]
        # The leak checker cannot work where strace does.
        env = self.environment(PRIVATE_KEY_PASSWORD=PIN, ASAN_OPTIONS="detect_leaks=0")
        status = self.killed([*strace, *argv], 60, env)
        with open(trace, encoding="utf-8", errors="replace") as stream:
            found = re.findall(r"^\d+ +(\w+)\(.* = (\S+)", stream.read(), re.M)
        os.remove(trace)
        return status, found

    def changes(self, argv):
        """Runs argv, and gives each call that changed a disk as (name, how many of that name it is)."""
        status, calls = self.traced(argv)
        self.assertEqual(status, 0)
        points, count = [], collections.Counter()
        for name, result in calls:
            count[name] += 1
            if result == "0":
                points.append((name, count[name]))
        self.assertGreater(len(points), 5)
        return points


class StopCase(StepCase):
    """Prepared once per test: a big train before its pre-run or post-run at beta, layout and memory together."""

    def prepare(self, command, big=True):
        place = f"{self.work}/prepared"
        os.mkdir(place)
        results = [*results_of("alpha"), *([BIG] if big else [])]
        opt = sample(session_id=bytes(64))
        plain = pht.pre_run(opt, "alpha", pool_key("alpha"))
        executed = dict(plain) | {entry.path: entry for entry in results}
        first = pht.post_run(executed, plain[pht.CONFIG].content, opt, "alpha", pool_key("alpha"))
        layout = oci.train_layout(f"{place}/layout", first, opt)
        self.state = f"{place}/state"
        if command == "post-run":
            self.good("pre-run", layout, station="beta")
            layout.push(results_of("beta"))
        else:
            os.mkdir(self.state, 0o700)
        self.command, self.prepared = command, place
        self.old = layout.tree("latest")
        self.old_blobs = layout.reachable()
        self.old_digest = layout.tags()["latest"]["digest"]
        self.state = f"{self.work}/now/state"
        tokens().uri("beta")
        tokens().uri("gamma")
        shutil.copytree(f"{tokens().place}/tokens", f"{place}/tokens")
        return place

    def restore(self):
        shutil.rmtree(f"{self.work}/now", True)
        shutil.copytree(self.prepared, f"{self.work}/now")
        self.restore_tokens()
        self.forget_trail()
        return oci.Layout(f"{self.work}/now/layout")

    def restore_tokens(self):
        """SoftHSM rewrites a token's file at every login, not atomically: killed there, it loses the token."""
        shutil.rmtree(f"{tokens().place}/tokens")
        shutil.copytree(f"{self.prepared}/tokens", f"{tokens().place}/tokens")

    def argv(self, layout, *options):
        return self.arguments(self.command, *options, layout, station="beta")

    def check(self, layout, what):
        """Old state or new; if old, the next start succeeds; in the end all is as after one good run."""
        self.assertEqual(os.listdir(self.tmp), [], what)
        changed = layout.tags()["latest"]["digest"] != self.old_digest
        if changed:
            self.new_state(layout, what)
            # The station knows: it is done, whatever the killed run had still to write.
            again = self.tt(self.command, layout, station="beta")
            self.assertEqual(again.status, 9, f"{what}\n{again}")
        else:
            self.assertEqual(layout.tree("latest"), self.old, what)
            self.good(self.command, layout, station="beta")
            self.new_state(layout, what)
        layout.check()
        self.only_named_blobs(layout, what)
        self.assertEqual(os.listdir(self.tmp), [], what)
        self.good("audit", "verify", self.trail)  # whenever it was killed
        return changed

    def only_named_blobs(self, layout, what):
        """Nothing but what a tag leads to; after pre-run perhaps documents of the encrypted state before."""
        unnamed = set(layout.blobs()) - layout.reachable()
        if self.command == "post-run":
            self.assert_no_plaintext(layout)
            for digest in unnamed:  # documents of the states before, if anything
                self.assertEqual(layout.get(digest)[:1], b"{", f"{what}: {digest} is left")
        else:
            self.assertLessEqual(unnamed, self.old_blobs, what)

    def new_state(self, layout, what):
        tree = layout.tree("latest")
        if self.command == "pre-run":
            plain = pht.relative(tree, pht.RESULTS)
            self.assertEqual(set(plain), {"alpha.csv", "plots/alpha.bin", "big.bin"} if self.big else
                             {"alpha.csv", "plots/alpha.bin"}, what)
            self.assertTrue(all(content.startswith(MARKER) for content in plain.values()), what)
        else:
            opened = pht.open_train(tree, pool_key("gamma"))
            self.assertEqual(opened.position, 2, what)
            self.assertIn("beta.csv", opened.results)

    def measured(self):
        layout = self.restore()
        start = time.monotonic()
        self.good(self.command, layout, station="beta")
        return time.monotonic() - start


class Kill(StopCase):
    def spread(self, command):
        self.big = True
        self.prepare(command)
        whole = self.measured()
        seen = {"killed": 0, "new": 0}
        for point in range(3 * POINTS):
            if point >= POINTS and seen["killed"] >= POINTS // 2:
                break
            after = whole * (point % POINTS + 0.5) / POINTS
            layout = self.restore()
            status = self.killed(self.argv(layout), after)
            self.restore_tokens()
            with self.subTest(after=f"{after:.3f}s of {whole:.3f}s"):
                self.assertIn(status, (0, -signal.SIGKILL))
                seen["killed"] += status != 0
                seen["new"] += self.check(layout, f"killed after {after:.3f} s")
            if status == 0:
                whole *= 0.9  # the machine has become faster than it was when measured
        self.assertGreaterEqual(seen["killed"], POINTS // 2)

    def test_pre_run_at_times_spread_over_it(self):
        self.spread("pre-run")

    def test_post_run_at_times_spread_over_it(self):
        self.spread("post-run")

    def each_step(self, command):
        """Dies just before the 1st, 2nd, 3rd, ... system call that changes something on a disk."""
        self.big = False
        self.prepare(command, big=False)
        layout = self.restore()
        layout.put(MARKER * 3, oci.LAYER)
        seen = []
        for name, number in self.changes(self.argv(layout)):
            layout = self.restore()
            # What a container tool leaves: plaintext that no tag names any more.
            orphan = layout.put(MARKER * 3, oci.LAYER)
            status, _ = self.traced(self.argv(layout), "-e", f"inject={name}:signal=KILL:when={number}")
            self.restore_tokens()
            what = f"killed before {name} number {number}"
            with self.subTest(what):
                if command == "pre-run":
                    os.remove(layout.blob_path(orphan["digest"]))
                self.assertEqual(status, -signal.SIGKILL, what)
                seen.append(self.check(layout, what))
        self.assertIn(True, seen, "no point after the new state was visible")
        self.assertIn(False, seen)

    @needs_program("strace")
    def test_pre_run_before_each_change_on_disk(self):
        self.each_step("pre-run")

    @needs_program("strace")
    def test_post_run_before_each_change_on_disk(self):
        self.each_step("post-run")


@needs_program("strace")
class KillOthers(StepCase):
    """seal and results, ended before each of their changes on disk."""

    def tokens_kept(self):
        kept = f"{self.home}/tokens"
        shutil.copytree(f"{tokens().place}/tokens", kept)

        def restore():
            shutil.rmtree(f"{tokens().place}/tokens")
            shutil.copytree(kept, f"{tokens().place}/tokens")
        return restore

    def test_results(self):
        layout, place = self.layout_at(3), f"{self.work}/place"
        argv = self.arguments("results", layout, "-o", f"{place}/out", key="creator")
        restore = self.tokens_kept()
        os.mkdir(place)
        points = self.changes(argv)
        whole = snapshot(place)
        seen = set()
        for name, number in points:
            with self.subTest(f"killed before {name} number {number}"):
                shutil.rmtree(place)
                os.mkdir(place)
                self.forget_trail()
                status, _ = self.traced(argv, "-e", f"inject={name}:signal=KILL:when={number}")
                restore()
                self.assertEqual(status, -signal.SIGKILL)
                there = os.path.exists(f"{place}/out")
                seen.add(there)
                if not there:
                    self.good("results", layout, "-o", f"{place}/out", key="creator")
                self.assertEqual(difference(whole, snapshot(place)), [])
        self.assertIn(False, seen)

    def test_seal(self):
        base, place = self.layout({}), f"{self.work}/train"
        os.mkdir(f"{self.work}/definition")
        with open(f"{self.work}/definition/main.sh", "wb") as stream:
            stream.write(b"#!/bin/sh\n# " + MARKER + b"\n")
        os.chmod(f"{self.work}/definition/main.sh", 0o755)
        with open(f"{self.work}/alpha.pem", "wb") as stream:
            stream.write(pht.public_pem(pool_key("alpha")))
        argv = self.arguments("seal", "--definition", f"{self.work}/definition", "--base", f"oci:{base.path}:base",
                              "--creator", "me", "--stop", f"alpha={self.work}/alpha.pem", f"oci:{place}:latest",
                              key="creator")
        restore = self.tokens_kept()
        for name, number in self.changes(argv):
            with self.subTest(f"killed before {name} number {number}"):
                shutil.rmtree(place)
                self.forget_trail()
                status, _ = self.traced(argv, "-e", f"inject={name}:signal=KILL:when={number}")
                restore()
                self.assertEqual(status, -signal.SIGKILL)
                train = oci.Layout(place)
                if os.path.exists(f"{place}/index.json") and "latest" in train.tags():
                    self.assertEqual(pht.open_train(train.tree("latest"), pool_key("alpha")).position, 0)
                self.assertEqual(self.killed(argv, 60), 0)
                train.check()
                self.assertEqual(train.tree("latest"), train.tree("base"))
                self.assertEqual(pht.open_train(train.tree("latest"), pool_key("alpha")).position, 0)
                self.assert_no_plaintext(train)


class Signals(StopCase):
    def test_each_of_them(self):
        for command in ("pre-run", "post-run"):
            self.big = True
            shutil.rmtree(f"{self.work}/prepared", True)
            self.state = f"{self.work}/state"
            self.prepare(command)
            whole = self.measured()
            stopped = 0
            for number, parts in ((signal.SIGINT, (0.15, 0.65)), (signal.SIGTERM, (0.4, 0.9)), (signal.SIGHUP, (0.3, 0.75))):
                for part in parts:
                    layout = self.restore()
                    before = snapshot(f"{self.work}/now")
                    status = self.killed(self.argv(layout), whole * part, with_signal=number)
                    with self.subTest(command=command, signal=number.name, part=part):
                        self.assertIn(status, (0, -number))
                        if status != 0 and layout.tags()["latest"]["digest"] == self.old_digest:
                            stopped += 1
                            after = snapshot(f"{self.work}/now/layout")
                            self.assertEqual([path for path in after if before.get(path) != after[path]], [],
                                             "an interrupted run cleans up itself")
                        if status == 0:
                            self.new_state(layout, "finished")
                        else:
                            self.check(layout, f"{number.name} at {part}")
            self.assertGreater(stopped, 0, command)

    def test_the_message_says_interrupted(self):
        self.big = True
        self.prepare("post-run")
        whole = self.measured()
        for part in (0.3, 0.5, 0.2, 0.7):
            layout = self.restore()
            child = subprocess.Popen(self.argv(layout), env=self.environment(PRIVATE_KEY_PASSWORD=PIN),
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(whole * part)
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=30)
            if child.returncode == -signal.SIGINT:
                self.assertNotIn(b"internal", err)
                return
        self.fail("never interrupted")

    def test_the_reader_of_the_output_goes_away(self):
        layout = self.layout_at(0)
        read, write = os.pipe()
        os.close(read)
        try:
            child = subprocess.run(self.arguments("inspect", "--json", layout), env=self.environment(), stdout=write,
                                   stderr=subprocess.PIPE, check=False)
        finally:
            os.close(write)
        self.assertNotIn(child.returncode, (0, -signal.SIGSEGV, -signal.SIGABRT))


class Together(StopCase):
    def test_two_runs_at_once(self):
        """One works, the other is refused [9] or finds the work done; the result is one good train."""
        for command in ("pre-run", "post-run"):
            with self.subTest(command):
                self.big = True
                shutil.rmtree(f"{self.work}/prepared", True)
                self.state = f"{self.work}/state"
                self.prepare(command)
                layout = self.restore()
                children = [subprocess.Popen(self.argv(layout), env=self.environment(PRIVATE_KEY_PASSWORD=PIN),
                                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                             stderr=subprocess.PIPE) for _ in range(3)]
                said = [child.communicate(timeout=60)[1] for child in children]
                statuses = sorted(child.returncode for child in children)
                self.assertEqual(statuses, [0, 9, 9], said)
                self.new_state(layout, "together")
                layout.check()
                self.only_named_blobs(layout, "together")


@needs_mounts
class Disks(Case):
    """In small file systems that only exist in a mount name space of their own."""

    def setUp(self):
        super().setUp()
        self.small = f"{self.work}/small"
        os.mkdir(self.small)
        self.keeper = subprocess.Popen([*UNSHARE, "cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL)
        self.addCleanup(self.end_keeper)
        time.sleep(0.1)

    def end_keeper(self):
        self.keeper.stdin.close()
        self.keeper.wait(10)

    def mount(self, size):
        self.inside("mount", "-t", "tmpfs", "-o", f"size={size}", "small", self.small)

    def inside(self, *argv, **more):
        done = subprocess.run([*NSENTER, str(self.keeper.pid), *argv], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, **more)
        self.assertEqual(done.returncode, 0, done.stdout)

    def seen(self):
        """The small file system as it is reached from outside."""
        return f"/proc/{self.keeper.pid}/root{self.small}"

    def tt_inside(self, *arguments, **more):
        return self.tt(*arguments, before=(*NSENTER, str(self.keeper.pid)), **more)

    def big_layout(self, station="alpha"):
        big = fs.file("opt/pht_results/big.bin", os.urandom(1 << 20) * 4)
        layout = self.layout(sample(session_id=bytes(64)), name="big")
        self.good("pre-run", layout, station=station)
        layout.push([*results_of(station), big])
        self.good("post-run", layout, station=station)
        return layout

    def test_the_layouts_disk(self):
        source = self.big_layout()
        used = sum(os.path.getsize(f"{source.path}/blobs/sha256/{name}") for name in
                   os.listdir(f"{source.path}/blobs/sha256"))
        for command in ("pre-run", "post-run"):
            for spare in (0, 100_000, 3_000_000):
                with self.subTest(command=command, spare=spare):
                    self.mount(used + (4 << 20 if command == "post-run" else 0) + spare + 200_000)
                    try:
                        shutil.copytree(source.path, f"{self.seen()}/layout")
                        image = f"oci:{self.small}/layout:latest"
                        if command == "post-run":
                            self.mount_again(used * 4)
                            result = self.tt_inside("pre-run", "--again", image, station="beta")
                            self.assertEqual(result.status, 0, str(result))
                            self.fill(spare)
                        before = snapshot(f"{self.seen()}/layout", self.state)
                        result = self.tt_inside(command, image, station="beta")
                        self.assertEqual(result.status, 8, str(result))
                        self.assertIn("space", result.err.lower())
                        self.assertEqual(os.listdir(self.tmp), [])
                        after = snapshot(f"{self.seen()}/layout", self.state)
                        self.assertEqual([path for path in before.keys() | after.keys()
                                          if before.get(path) != after.get(path) and "/state/" not in path], [])
                        self.mount_again(used * 8)
                        result = self.tt_inside(command, image, station="beta")
                        self.assertEqual(result.status, 0, str(result))
                        shutil.rmtree(self.state, True)
                    finally:
                        self.inside("umount", self.small)

    def mount_again(self, size):
        self.inside(*REMOUNT, f"remount,size={size}", self.small)

    def fill(self, spare):
        """Shrinks the file system to what is in it and so many bytes more."""
        stat = os.statvfs(self.seen())
        used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize
        self.mount_again(used + spare + 8192)

    def test_a_layout_that_may_not_be_written(self):
        source = self.layout_at(1)
        self.mount(8 << 20)
        shutil.copytree(source.path, f"{self.seen()}/layout")
        self.inside(*REMOUNT, "remount,ro", self.small)
        image = f"oci:{self.small}/layout:latest"
        for command in ("verify", "inspect"):
            self.assertEqual(self.tt_inside(command, image).status, 0)
        result = self.tt_inside("pre-run", image, station="beta")
        self.assertEqual(result.status, 8, str(result))
        self.assertIn(f"{self.small}/layout", result.err)

    def test_the_memorys_disk(self):
        layout = self.layout_at(0)
        self.mount(64 << 10)
        self.state = f"{self.small}/state"
        filler = os.open(f"{self.seen()}/filler", os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(filler, bytes(4096)):
                pass
        except OSError:
            os.close(filler)
        before = snapshot(layout.path)
        result = self.tt_inside("pre-run", layout, station="alpha")
        self.assertEqual(result.status, 8, str(result))
        self.assertEqual(snapshot(layout.path), before)
        os.remove(f"{self.seen()}/filler")
        result = self.tt_inside("pre-run", layout, station="alpha")
        self.assertEqual(result.status, 0, str(result))

    def test_the_temporary_disk(self):
        source = self.big_layout()
        self.mount(64 << 10)
        before = snapshot(source.path)
        result = self.tt_inside("pre-run", source, station="beta", env={"TMPDIR": self.small})
        # It may not need one at all; if it does, it says so and leaves everything as it was.
        if result.status != 0:
            self.assertIn(result.status, (1, 8), str(result))
            self.assertIn("space", result.err.lower())
            self.assertEqual(snapshot(source.path), before)
        self.assertEqual(os.listdir(self.seen()), [])

    def test_results_disk(self):
        layout = self.layout_at(3)
        self.mount(16 << 10)
        result = self.tt_inside("results", layout, "-o", f"{self.small}/out", key="creator")
        self.assertEqual(result.status, 8, str(result))
        self.assertEqual(os.listdir(self.seen()), [])


if __name__ == "__main__":
    unittest.main()
