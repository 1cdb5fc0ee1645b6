"""Whole stops in one command: trains whose code really runs in a container engine, and fails in all ways that code can."""

import json
import os
import pathlib
import re
import shutil
import signal
import tempfile
import time
import unittest

from support import engine as engines
from support import files as fs
from support import pht, proxy
from support.engine_case import TRAIN, EngineCase
from support.station import DEFINITION, MARKER, PIN, SANITIZED, pool_key, sample

RUNS = {"Entrypoint": ["/bin/sh", "/opt/pht_train/entrypoint.sh"], "Env": [f"PATH={engines.PATH}"]}
DATA = MARKER + b" of the station\n"


class RunCase(EngineCase):
    def setUp(self):
        super().setUp()
        # Beside self.work, of which nothing may change when a run fails.
        self.beside = tempfile.mkdtemp(prefix="traintoken-test-beside-")
        self.addCleanup(shutil.rmtree, self.beside, True)
        self.log = f"{self.beside}/log"

    def train_with(self, script, config=None, **more):
        """A train whose entry point is this shell script."""
        code = fs.file("", b"#!/bin/sh\n# " + MARKER + b"\n" + script.encode(), 0o755)
        opt = sample(definition=DEFINITION | {"entrypoint.sh": code}, **more)
        return self.train_of(opt, config=RUNS | (config or {}))

    def run_train(self, script, *options, config=None, **more):
        """Runs such a train at its first stop with success; gives what was said, and the opened train."""
        name = self.train_with(script, config)
        says = self.good("run", "--json", *options, name, station="alpha", **more)
        return says, self.opened(name, pool_key("beta"))

    def failed(self, words, script, *options, status=10, config=None, **more):
        """Runs such a train, which must fail with everything as it was; gives the Result."""
        name = self.train_with(script, config)
        before = self.engine.id(name)
        result = self.refused(status, words, "run", *options, name, station="alpha", **more)
        self.assertEqual(self.engine.id(name), before)
        self.assert_no_plaintext_in_engine()
        return result

    def logged(self):
        with open(self.log, "rb") as stream:
            return stream.read()


@engines.needs_engine()
class Success(RunCase):
    def test_a_whole_stop(self):
        name = self.train_with("echo to the station; echo a word of trouble >&2\n"
                               "mkdir -p /opt/pht_results/plots; echo 42 > /opt/pht_results/answer\n"
                               "chmod 750 /opt/pht_results/plots; echo x > /opt/pht_results/plots/x; exit 0\n")
        before = self.engine.id(name)
        result = self.good("run", name, station="alpha")
        self.assertIn("to the station\n", result.err)
        self.assertIn("a word of trouble\n", result.err)
        self.assertNotIn("to the station", result.out)
        opened = self.opened(name, pool_key("beta"))
        self.assertEqual(opened.results, {"answer": b"42\n", "plots/x": b"x\n"})
        self.assertEqual(opened.position, 1)
        self.assertNotEqual(self.engine.id(name), before)
        self.assert_no_plaintext_in_engine()
        self.assertEqual(self.engine.dangling(), [])
        with open(self.trail, encoding="utf-8") as stream:
            records = [json.loads(line) for line in stream]
        self.assertEqual({one["command"] for one in records[1:]}, {"run"})
        self.assertEqual([one["event"] for one in records if one["event"] != "key"],
                         ["trail", "begin", "begin", "decision", "end"])  # each use of the key opens it anew
        self.assertEqual([one["operation"] for one in records if one["event"] == "key"][:3], ["unwrap", "sign", "sign"])
        self.assertEqual(records[-1]["digest_after"], self.engine.id(name))

    def test_the_whole_route(self):
        """Each stop sees what the earlier ones found; at home the creator opens it."""
        name = self.train_with("count=$(ls /opt/pht_results | wc -l); echo $count > /opt/pht_results/at-$count\n")
        for place, station in enumerate(("alpha", "beta", "gamma")):
            says = self.good("run", "--json", name, station=station)
            self.assertEqual((says["stop"], says["result_files"]), (place, place + 1))
            self.refused(9, [], "run", name, station=station)
        self.good("results", name, "-o", f"{self.beside}/home", key="creator")
        found = {one.name: one.read_bytes() for one in pathlib.Path(self.beside, "home").iterdir()}
        self.assertEqual(found, {f"at-{place}": b"%d\n" % place for place in range(3)})

    def test_json(self):
        says, _ = self.run_train("echo noise; echo trouble >&2; echo 1 > /opt/pht_results/one\n")
        self.assertEqual({name: says[name] for name in ("command", "code", "station", "stop", "stops", "result_files",
                                                        "result_bytes", "pulled", "pushed", "exit_code")},
                         {"command": "run", "code": 0, "station": "alpha", "stop": 0, "stops": 3, "result_files": 1,
                          "result_bytes": 2, "pulled": False, "pushed": False, "exit_code": 0})
        self.assertGreater(says["seconds"], 0)
        self.assertNotEqual(says["pre_run"]["digest"], says["digest_before"])
        self.assertEqual([one["operation"] for one in says["pre_run"]["token_operations"] + says["token_operations"]],
                         ["unwrap", "sign-result", "sign-route"])

    def test_nothing_else_of_the_run_travels(self):
        name = self.train_with("echo '{}' > /opt/train_config.json; echo changed > /opt/pht_train/entrypoint.sh\n"
                               "echo more > /opt/pht_train/more; rm /opt/pht_train/empty.txt; rm -r /opt/pht_train/lib\n"
                               "echo left > /opt/left; echo left > /left; echo left > /etc/left; rm /bin/cat\n"
                               "echo 1 > /opt/pht_results/one\n")
        base = self.engine.tree(f"{name}:base")
        self.good("run", name, station="alpha")
        after = self.engine.tree(f"{name}:latest")
        self.assertEqual({path for path in after.keys() | base.keys() if after.get(path) != base.get(path)
                          and not path.startswith(("opt/pht_", "opt/train_config.json", "opt/user_sym_key.key"))} - {"opt"}, set())
        opened = pht.open_train(after, pool_key("beta"))
        self.assertEqual(opened.results, {"one": b"1\n"})
        self.assertIn("lib/model.bin", opened.definition)
        self.assertNotIn("more", opened.definition)
        self.assertIn(MARKER, opened.definition["entrypoint.sh"])

    def test_as_the_images_user_and_command(self):
        config = {"User": "user", "WorkingDir": "/tmp", "Cmd": ["one", "two words"],
                  "Entrypoint": ["/bin/sh", "/opt/pht_train/entrypoint.sh"], "Env": [f"PATH={engines.PATH}", "SET=by image"],
                  "Healthcheck": {"Test": ["CMD-SHELL", "echo healthy"], "Interval": 1000000000}}
        result = self.good("run", self.train_with('id -u; pwd; echo "$1|$2|$SET"\n', config), station="alpha")
        self.assertIn("1000\n/tmp\none|two words|by image\n", result.err)

    def test_what_it_costs_the_engine(self):
        """One container to run in, and no file is moved twice."""
        name = self.train_with("echo 1 > /opt/pht_results/one\n")
        mark = self.engine.log_size()
        self.good("run", name, station="alpha")
        self.assertEqual(self.counted(mark)["get"], 2)  # what came, and what the run left
        self.assertEqual(self.counted(mark)["commit"], 2)
        self.assertEqual(self.engine.count(r"POST /containers/[^/]+/start", mark), 1)


@engines.needs_engine()
class Surroundings(RunCase):
    def test_environment(self):
        file = f"{self.beside}/env"
        with open(file, "w", encoding="utf-8") as stream:
            stream.write("# a remark\nIN_FILE=from \"file\"\nBOTH=file\nHANDED_ON\nNOT_THERE\n")
        says, opened = self.run_train("env > /opt/pht_results/env\n", "--env-file", file, "--env", "BOTH=option",
                                      "--env", "EMPTY=", "--env", "LINES=a\nb", "--env", "HANDED_ON",
                                      env={"HANDED_ON": "in our environment", "NOT_ASKED": "secret"})
        self.assertEqual(says["result_files"], 1)
        lines = opened.results["env"].decode().splitlines()
        for line in ('IN_FILE=from "file"', "BOTH=option", "EMPTY=", "LINES=a", "b", "HANDED_ON=in our environment"):
            self.assertIn(line, lines)
        names = {line.split("=")[0] for line in lines}
        self.assertEqual(names - {"PATH", "HOSTNAME", "HOME", "PWD", "SHLVL", "_"},
                         {"IN_FILE", "BOTH", "EMPTY", "LINES", "b", "HANDED_ON"})

    def test_secrets_of_ours_are_kept_from_it(self):
        file = f"{self.beside}/env"
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(f"A=1\nPRIVATE_KEY_PASSWORD={PIN}\n")
        for options in (["--env", "PRIVATE_KEY_PASSWORD"], ["--env", f"PRIVATE_KEY_PASSWORD={PIN}"],
                        ["--env", "PRIVATE_KEY_PATH"], ["--env-file", file]):
            self.failed(["PRIVATE_KEY_", "traintoken alone"], "exit 0\n", *options, status=2)

    def test_no_network(self):
        _, opened = self.run_train("ls /sys/class/net > /opt/pht_results/net; cat /proc/net/route > /opt/pht_results/route\n"
                                   "wget -T 2 -q -O /dev/null http://192.0.2.1/ || echo none >> /opt/pht_results/net\n")
        self.assertEqual(opened.results["net"], b"lo\nnone\n")
        self.assertEqual(opened.results["route"].count(b"\n"), 1)

    def test_a_network_by_name(self):
        _, opened = self.run_train("cat /proc/sys/kernel/hostname > /opt/pht_results/x\n", "--network", "none")
        self.assertEqual(len(opened.results), 1)
        self.failed(["nosuch", "not found"], "exit 0\n", "--network", "nosuch", status=8)

    def test_privileges(self):
        _, opened = self.run_train("cat /proc/self/status > /opt/pht_results/status\n")
        self.assertIn(b"NoNewPrivs:\t1", opened.results["status"])

    def test_volumes(self):
        os.makedirs(f"{self.beside}/data/deep")
        for path in ("data/one", "data/deep/two", "only"):
            with open(f"{self.beside}/{path}", "wb") as stream:
                stream.write(DATA)
        script = ("cat /data/one /data/deep/two /only.txt | wc -c > /opt/pht_results/bytes\n"
                  "for place in /data/new /data/one /data/deep/two /only.txt /out/new /out/deep/new; do\n"
                  "  (echo changed > $place) 2>/dev/null && echo $place >> /opt/pht_results/written; done; exit 0\n")
        name = self.train_with(script)
        os.mkdir(f"{self.beside}/out")
        os.mkdir(f"{self.beside}/out/deep")
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.beside)
        self.good("run", "--volume", "data:/data", "--volume", f"{self.beside}/./only:/only.txt:ro", "--volume",
                  "./out:/out:rw", name, station="alpha")
        opened = self.opened(name, pool_key("beta"))
        self.assertEqual(opened.results, {"bytes": b"%d\n" % (3 * len(DATA)), "written": b"/out/new\n/out/deep/new\n"})
        with open(f"{self.beside}/data/one", "rb") as stream:
            self.assertEqual(stream.read(), DATA)
        self.assertTrue(os.path.exists(f"{self.beside}/out/new"))

    def test_a_volume_that_is_not_there(self):
        self.failed(["does not exist", "/nothing"], "exit 0\n", "--volume", f"{self.beside}/nothing:/data", status=8)
        self.assertEqual(os.listdir(self.beside), [])

    def test_a_volume_that_does_not_fit(self):
        self.failed(["cannot be started", "mount"], "exit 0\n", "--volume", f"{self.beside}:/bin/sh", status=8)

    def test_limits(self):
        _, opened = self.run_train("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max 2>/dev/null > /opt/pht_results/2\n"
                                   "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us "
                                   "2>/dev/null > /opt/pht_results/1; exit 0\n", "--memory", "64m", "--cpus", "0.5")
        self.assertIn(opened.results["1"] or opened.results["2"], (b"67108864\n50000\n", b"67108864\n50000 100000\n"))

    def test_graphics_processors_that_are_not_there(self):
        for count in ("all", "1"):
            self.failed(["gpu"], "exit 0\n", "--gpus", count, status=8)


@engines.needs_engine()
class Output(RunCase):
    def test_kept_in_a_file(self):
        says, _ = self.run_train("echo one; echo two >&2; printf 'three\\033[2J'\n", "--log", self.log)
        self.assertEqual(says["status"], "ok")
        self.assertEqual(sorted(re.findall(rb"one\n|two\n|three\x1b\[2J", self.logged())), [b"one\n", b"three\x1b[2J", b"two\n"])
        self.assertEqual(os.stat(self.log).st_mode & 0o7777, 0o600)

    def test_nothing_of_it_beside_the_file(self):
        result = self.good("run", "--log", self.log, self.train_with("echo word\n"), station="alpha")
        self.assertNotIn("word", result.err + result.out)
        result = self.good("run", "--quiet", "--again", self.train_with("echo word\n"), station="alpha")
        self.assertEqual(result.err + result.out, "")

    def test_a_second_run_takes_the_files_place(self):
        self.failed("status 3", "echo first; exit 3\n", "--log", self.log)
        self.assertEqual(self.logged(), b"first\n")
        self.failed([], "exit 3\n", "--log", self.log, "--timeout", "nonsense", status=2)
        self.refused(7, [], "run", "--log", self.log, TRAIN, station="alpha", pin="wrong")
        self.assertEqual(self.logged(), b"first\n")
        self.failed("status 4", "exit 4\n", "--log", self.log)
        self.assertEqual(self.logged(), b"")

    def test_a_file_that_cannot_be_written(self):
        for place in ("/nonexistent/log", "/", "/dev/null"):
            name = self.train_with("exit 0\n")
            mark = self.engine.log_size()
            self.refused(2, ["--log", place], "run", "--log", place, name, station="alpha", pin="wrong")
            self.assertEqual(self.engine.count(r"(GET|POST) /(images|containers)", mark), 4)  # the test's own

    def test_much_of_it(self):
        lines = 2000000
        name = self.train_with(f"yes line-of-output | head -n {lines}; echo end >&2\n")
        argv = self.arguments("run", "--log", self.log, name, station="alpha")
        peak = self.peak(argv)
        self.assertEqual(os.path.getsize(self.log), lines * 15 + 4)
        if not SANITIZED:
            self.assertLess(peak, 32 << 10)

    def test_bytes_that_are_no_text(self):
        self.failed("status 1", "head -c 100000 /dev/urandom | tee_to_nobody; head -c 100000 /dev/zero; exit 1\n",
                    "--log", self.log)
        self.assertEqual(self.logged().count(b"\0"), 100000)

    def test_the_engine_keeps_none_of_it(self):
        name = self.train_with("echo needle-$((6 * 7)); echo ready > /opt/pht_results/ready; sleep 60\n")
        child = self.started("run", "--log", self.log, name, station="alpha")
        until = time.monotonic() + 30
        while not (os.path.exists(self.log) and b"needle-42" in self.logged()):
            self.assertLess(time.monotonic(), until, "the train says nothing")
            time.sleep(0.05)
        self.assertEqual(self.engine.holding(b"needle-42"), [])
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=30)

    def test_closed_early(self):
        """Code that closes its outputs has not ended."""
        _, opened = self.run_train("exec >&- 2>&-; sleep 1.2; echo late > /opt/pht_results/late\n")
        self.assertEqual(opened.results, {"late": b"late\n"})
        self.failed("status 7", "exec >&- 2>&-; sleep 0.5; exit 7\n")


@engines.needs_engine()
class Failure(RunCase):
    def test_its_status(self):
        result = self.failed("status 3", "echo why it failed; mkdir -p /opt/pht_results; echo 1 > /opt/pht_results/x; exit 3\n")
        self.assertIn("why it failed\n", result.err)
        self.good("verify", TRAIN)

    def test_with_json(self):
        name = self.train_with("echo noise; exit 3\n")
        result = self.refused(10, "status 3", "run", "--json", "--log", self.log, name, station="alpha")
        self.assertEqual((result.json["status"], result.json["code"], result.json["command"]),
                         ("train-failed", 10, "run"))
        self.assertIn(self.log, result.json["message"])
        self.assertEqual(self.logged(), b"noise\n")

    def test_out_of_time(self):
        start = time.monotonic()
        result = self.failed("out of time", "trap '' TERM INT; echo begun; while true; do sleep 1; done\n", "--timeout", "2s")
        self.assertIn("begun\n", result.err)
        self.assertLess(time.monotonic() - start, 30)
        self.failed("out of time", "exec >&- 2>&-; sleep 100\n", "--timeout", "1")
        self.failed("out of time", "yes\n", "--timeout", "1", "--log", self.log)

    def test_out_of_memory(self):
        grow = "s=x; while true; do s=$s$s; done\n"
        self.failed(["memory", "16 mib"], grow, "--memory", "16m")
        _, opened = self.run_train(f"({grow.strip()}) ; echo on > /opt/pht_results/on; exit 0\n", "--memory", "16m")
        self.assertEqual(opened.results, {"on": b"on\n"})

    def test_no_more_processes_than_a_machine_stands(self):
        limit = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null > /opt/pht_results/limit\nexit 0\n"
        _, opened = self.run_train(limit)
        self.assertEqual(opened.results, {"limit": b"4096\n"})

    def test_no_program(self):
        for program in ("/nothing", "nothing", "/opt/pht_train", "/etc/passwd"):
            with self.subTest(program):
                self.failed(["cannot be started"], "exit 0\n", config={"Entrypoint": [program]})

    def test_a_program_that_is_none(self):
        self.failed([], "exit 0\n", config={"Entrypoint": ["/opt/pht_train/lib/model.bin"]})

    def test_no_command_at_all(self):
        self.failed([], "exit 0\n", config={"Entrypoint": None}, status=(8, 10))

    def test_results_that_lead_elsewhere(self):
        for script in ("ln -s /etc/passwd /opt/pht_results/x\n", "ln -s ../../etc /opt/pht_results/x\n",
                       "rm -rf /opt/pht_results; ln -s /etc /opt/pht_results\n",
                       "rm -rf /opt/pht_results; mv /opt /opt2; mkdir -p /other/pht_results; ln -s /other /opt\n"):
            with self.subTest(script):
                self.failed([], script, status=4)

    def test_a_volume_of_the_images(self):
        """What lies in it goes as the container goes."""
        before = self.engine.api("GET", "/volumes")["Volumes"] or []
        config = {"Volumes": {"/scratch": {}}}
        self.failed("status 3", "echo x > /scratch/x; exit 3\n", config=config)
        self.assertEqual(self.engine.api("GET", "/volumes")["Volumes"] or [], before)

    def test_things_that_are_no_files(self):
        self.failed([], "mknod /opt/pht_results/x c 1 3 || busybox mknod /opt/pht_results/x c 1 3\n", status=(3, 4))

    def test_wrong_pin_runs_nothing(self):
        name = self.train_with("exit 0\n")
        mark = self.engine.log_size()
        self.refused(7, [], "run", name, station="alpha", pin="wrong")
        self.assertEqual(self.engine.count(r"POST /containers/[^/]+/start", mark), 0)

    def test_no_base(self):
        name = self.train_with("exit 0\n")
        self.engine.api("DELETE", f"/images/{name}:base")
        mark = self.engine.log_size()
        self.refused(8, ["base"], "run", name, station="alpha", pin="wrong")
        self.assertEqual(self.engine.count(r"POST /containers/create", mark), 0)

    def test_another_stations_turn(self):
        self.refused(9, [], "run", self.train_with("exit 0\n"), station="beta")

    def test_in_a_layout(self):
        layout = self.layout(sample())
        result = self.refused(2, ["skopeo"], "run", layout, station="alpha", pin="wrong")
        self.assertIn("docker-daemon:", result.err)

    def test_usage(self):
        self.train_with("exit 0\n")
        for options in (["--memory", "much"], ["--memory", "0"], ["--cpus", "0"], ["--cpus", "x"], ["--timeout", "1d"],
                        ["--timeout", "0"], ["--gpus", "some"], ["--volume", "/data"], ["--volume", "/data:data"],
                        ["--volume", "/data:/x:rx"], ["--volume", "/data:/opt/pht_results"], ["--volume", "/data:/opt"],
                        ["--volume", "/a:/x", "--volume", "/b:/x/"], ["--env", "=x"], ["--env", "A B=x"],
                        ["--env-file", "/nonexistent"], ["--rebase"], ["--network", ""], ["--memory", "9999999999t"]):
            with self.subTest(options):
                self.refused(2, [], "run", *options, TRAIN, station="alpha", pin="wrong")

    def test_engines_limits(self):
        self.failed(["memory"], "exit 0\n", "--memory", "1k", status=8)
        self.failed(["cpus"], "exit 0\n", "--cpus", "100000", status=8)


@engines.needs_engine()
class Interrupted(RunCase):
    SCRIPT = "echo begun; mkdir -p /opt/pht_results; echo 1 > /opt/pht_results/x; sleep 300\n"

    def begun(self, *options):
        """Starts a train and waits until its code runs."""
        name = self.train_with(self.SCRIPT)
        os.makedirs(f"{self.state}/trains", 0o700, exist_ok=True)
        self.before = self.everything()
        child = self.started("run", *options, name, station="alpha")
        lines = []
        while "begun\n" not in lines:  # there may be a warning of an earlier test's wrong PIN
            lines.append(child.stderr.readline())
            self.assertNotEqual(lines[-1], "", lines)
        return name, child

    def test_by_a_signal(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number.name):
                name, child = self.begun()
                start = time.monotonic()
                child.send_signal(number)
                out, err = child.communicate(timeout=30)
                self.assertEqual((child.returncode, out), (-number, ""))
                self.assertLess(time.monotonic() - start, 15)
                self.assertIn("interrupted", err)
                self.assertNotIn("warning", err)
                self.assert_all_is_as(self.before)
                self.assert_no_plaintext_in_engine()

    def test_killed(self):
        """The train's code goes on in its container, until the next start ends it."""
        name, child = self.begun()
        child.kill()
        child.communicate(timeout=30)
        self.assertEqual(child.returncode, -signal.SIGKILL)
        self.assertEqual(len([one for one in self.engine.containers().values() if one["State"] == "running"]), 1)
        result = self.tt("run", "--timeout", "2", name, station="alpha")
        self.assertEqual(result.status, 10, str(result))
        self.assert_all_is_as(self.before)
        self.assert_no_plaintext_in_engine()

    def test_killed_and_cleaned(self):
        name, child = self.begun()
        child.kill()
        child.communicate(timeout=30)
        self.good("clean")
        self.assertEqual(self.engine.state(), self.before["the engine"])
        self.assert_no_plaintext_in_engine()

    def test_killed_at_any_time(self):
        """Old state or new one, and the next start is clean."""
        script = "echo 1 > /opt/pht_results/one; sleep 0.3\n"
        name = self.train_with(script)
        start = time.monotonic()
        self.good("run", name, station="alpha")
        whole = time.monotonic() - start
        points = 10
        for point in range(points):
            with self.subTest(point):
                self.engine.clear()
                shutil.rmtree(self.state, True)
                name = self.train_with(script)
                old = self.engine.id(name)
                self.killed(self.arguments("run", name, station="alpha"), whole * (point + 0.5) / points)
                done = self.engine.id(name) != old
                self.assertEqual(self.opened(name, pool_key("beta" if done else "alpha")).position, int(done))
                result = self.tt("run", name, station="alpha")
                if not done and result.status == 9:  # killed as it made the new state the image's
                    self.assertIn("--again", result.err)
                    result = self.tt("run", "--again", name, station="alpha")
                self.assertEqual(result.status, 9 if done else 0, str(result))
                self.good("clean")
                self.assertEqual(self.opened(name, pool_key("beta")).results, {"one": b"1\n"})
                self.assertEqual((list(self.engine.containers()), self.engine.dangling()), ([], []))
                self.assert_no_plaintext_in_engine()

    def test_a_second_one_on_the_same_train(self):
        name, child = self.begun()
        result = self.tt("run", name, station="alpha")
        self.assertEqual(result.status, 9, str(result))
        self.assertIsNone(child.poll())
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=30)
        self.assert_all_is_as(self.before)

    def test_the_container_is_taken_away(self):
        name, child = self.begun()
        container = next(label for label, one in self.engine.containers().items() if one["State"] == "running")
        self.assertEqual(self.engine.containers()[container]["Labels"]["traintoken"], "execute")
        self.engine.remove(container)
        out, err = child.communicate(timeout=30)
        self.assertIn((child.returncode, out), ((8, ""), (10, "")), err)
        self.assert_all_is_as(self.before)

    def test_the_daemon_dies(self):
        with engines.Engine() as engine:
            self.engine = self.client = engine
            name, child = self.begun()
            engine.kill()
            out, err = child.communicate(timeout=60)
            self.assertEqual((child.returncode, out), (8, ""), err)
            engine.start()
            self.assertEqual(engine.id(name), self.before["the engine"]["images"] and
                             next(one for one, tags in self.before["the engine"]["images"].items()
                                  if f"{name}:latest" in tags))
            self.good("clean")
            self.assertEqual(engine.state(), self.before["the engine"])
            self.assert_no_plaintext_in_engine()


@engines.needs_engine()
class Lies(RunCase):
    """An engine that answers strangely while a train runs."""

    ATTACH, START, LOOK = "POST /containers/*/attach*", "POST /containers/*/start", "GET /containers/*/json"
    SCRIPT = "echo spoken; echo 1 > /opt/pht_results/one\n"

    def setUp(self):
        super().setUp()
        self.lying = engines.LyingDaemon(self.engine)
        self.addCleanup(self.lying.close)
        self.client = self.lying

    def test_no_way_to_its_output(self):
        for action in (proxy.refusal(500, "made-up words"), proxy.refusal(404, "made-up words"), proxy.cut(),
                       proxy.endless_headers()):
            self.lying.forget()
            self.lying.on(self.ATTACH, action)
            self.failed([], self.SCRIPT, status=8)
            self.assertEqual(self.lying.seen(self.START), 0)

    def test_output_that_is_none(self):
        """What is lost is said; the train does its work all the same."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
        for body in (b"no frames at all", b"\1\0\0\0\xff\xff\xff\xffcut", b"\1\0\0", b"\1\1\1\1\0\0\0\1x", b"\xff" * 4096):
            with self.subTest(body[:20]):
                self.lying.forget()
                self.lying.on(self.ATTACH, proxy.raw([head, body]))
                name = self.train_with(self.SCRIPT)
                result = self.good("run", "--log", self.log, "--again", name, station="alpha")
                self.assertIn("output is missing", result.err)
                self.assertEqual(self.opened(name, pool_key("beta")).results, {"one": b"1\n"})

    def test_a_start_that_is_refused(self):
        for words, status in (("made-up words", 8), ('exec: "x": made-up words', 10)):
            self.lying.forget()
            self.lying.on(self.START, proxy.refusal(500, words))
            self.failed(["made-up words"], self.SCRIPT, status=status)

    def test_a_start_that_is_not_heard_of(self):
        for action in (proxy.cut(), proxy.lost_reply()):
            self.lying.forget()
            self.lying.on(self.START, action)
            self.failed([], self.SCRIPT, status=8)

    def test_an_end_that_is_not_known(self):
        for value in ({}, [], {"State": 1}, {"State": {"Running": "no", "ExitCode": 0}}, {"State": {"Running": False}},
                      {"State": {"Running": False, "ExitCode": "0"}}, {"State": {"Running": False, "ExitCode": 0.5}},
                      {"State": {"Running": False, "ExitCode": 1e300}}, {"State": {"Running": False, "ExitCode": -1 << 60}}):
            with self.subTest(value):
                self.lying.forget()
                self.lying.on(self.LOOK, proxy.reply(200, value))
                self.failed([], self.SCRIPT, status=8)
        for action in (proxy.refusal(404, "made-up words"), proxy.flood(64 << 20), proxy.cut(), proxy.reply(200, b"{")):
            self.lying.forget()
            self.lying.on(self.LOOK, action)
            self.failed([], self.SCRIPT, status=8)

    def test_a_train_that_never_ends(self):
        self.lying.on(self.LOOK, proxy.reply(200, {"State": {"Running": True, "ExitCode": 0}}))
        self.failed("out of time", self.SCRIPT, "--timeout", "2")

    def test_a_signal_while_the_engine_is_silent(self):
        for pattern in (self.ATTACH, self.START, self.LOOK):
            with self.subTest(pattern):
                self.lying.forget()
                self.lying.on(pattern, proxy.silence())
                name = self.train_with(self.SCRIPT)
                os.makedirs(f"{self.state}/trains", 0o700, exist_ok=True)
                before = self.everything()
                child = self.started("run", name, station="alpha")
                until = time.monotonic() + 30
                while not self.lying.seen(pattern):
                    self.assertLess(time.monotonic(), until)
                    time.sleep(0.05)
                child.send_signal(signal.SIGTERM)
                child.communicate(timeout=20)
                self.assertEqual(child.returncode, -signal.SIGTERM)
                self.assert_all_is_as(before)


@engines.needs_engine("docker-registry", "htpasswd")
class Moved(RunCase):
    """From a registry and back to it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = engines.Registry()
        cls.addClassCleanup(cls.registry.close)

    def setUp(self):
        super().setUp()
        self.engine.log_in(self.registry.name)
        self.addCleanup(os.remove, f"{self.engine.home}/docker/config.json")
        self.place = f"pht/train-{os.path.basename(self.work)[-8:].lower().replace('_', 'x')}"
        self.name = f"{self.registry.name}/{self.place}"

    def in_the_registry(self, script="echo 1 > /opt/pht_results/one\n"):
        """The train is in the registry alone."""
        code = fs.file("", b"#!/bin/sh\n# " + MARKER + b"\n" + script.encode(), 0o755)
        self.train_of(sample(definition=DEFINITION | {"entrypoint.sh": code}), name=self.name, config=RUNS)
        for tag in ("base", "latest"):
            self.engine.docker("push", "--quiet", f"{self.name}:{tag}")
        self.engine.clear()
        return self.registry.digest(self.place)

    def test_there_and_back(self):
        old = self.in_the_registry()
        says = self.good("run", "--json", "--pull", "--push", self.name, station="alpha")
        self.assertTrue(says["pulled"] and says["pushed"])
        self.assertNotEqual(self.registry.digest(self.place), old)
        self.assert_no_plaintext_in_engine()
        self.engine.clear()
        self.good("pull", self.name)
        self.assertEqual(self.engine.id(self.name), says["digest_after"])
        self.assertEqual(self.opened(self.name, pool_key("beta")).results, {"one": b"1\n"})
        self.assertEqual(self.tt("run", "--pull", self.name, station="alpha").status, 9)
        self.good("run", "--pull", self.name, station="beta")

    def test_a_push_that_fails(self):
        """The stop is done and stays done."""
        old = self.in_the_registry()
        self.good("pull", f"{self.name}:base")
        self.good("pull", self.name)
        engines.write_auth(f"{self.engine.home}/docker/config.json", self.registry.name, password="another-word")
        result = self.tt("run", "--json", "--push", self.name, station="alpha")
        self.assertEqual(result.status, 8, str(result))
        for words in ("the stop is done", f"traintoken push {self.name}"):
            self.assertIn(words, result.json["message"])
        self.assertNotIn("another-word", result.err + result.out)
        self.assertEqual(self.opened(self.name, pool_key("beta")).results, {"one": b"1\n"})
        self.assertEqual(self.registry.digest(self.place), old)
        self.engine.log_in(self.registry.name)
        for command, more in (("run", {"station": "alpha"}), ("pull", {})):
            options = ["--pull"] if command == "run" else []
            self.refused(9, ["not pushed", f"traintoken push {self.name}"], command, *options, self.name, **more)
        self.good("push", self.name)
        self.assertNotEqual(self.registry.digest(self.place), old)
        self.good("pull", self.name)

    def test_a_pull_that_fails(self):
        self.in_the_registry()
        self.refused(8, ["nothing"], "run", "--pull", f"{self.name}-nothing", station="alpha", pin="wrong")
        self.refused(8, ["cannot pull"], "run", "--pull", "--base", f"{self.registry.name}/pht/none:base",
                     f"{self.name}-nothing", station="alpha", pin="wrong")
        self.refused(2, ["folder"], "run", "--pull", "--base", f"oci:{self.work}", self.name, station="alpha")

    def test_the_login_comes_before_all(self):
        self.in_the_registry()
        with open(f"{self.engine.home}/docker/config.json", "w", encoding="ascii") as stream:
            stream.write('{"credHelpers": {"%s": "is-not-there"}}' % self.registry.name)
        mark = self.engine.log_size()
        for option in ("--pull", "--push"):
            self.refused(8, ["is-not-there"], "run", option, self.name, station="alpha", pin="wrong")
        self.assertEqual(self.engine.count(r"POST", mark), 0)


if __name__ == "__main__":
    unittest.main()
