"""The container image, built from this source on a base that debootstrap makes of this machine's Debian; and stops that
are done through it: the host's token behind a p11-kit socket, the engine's socket, no network, no root."""

import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import time
import unittest

from support import engine as engines
from support import files as fs
from support import pht, station

ENTRYPOINT = b"""#!/bin/sh
# traintoken-plaintext-marker
set -e
echo "traintoken-plaintext-marker, stop $(ls /opt/pht_results | wc -l)" >"/opt/pht_results/$(ls /opt/pht_results | wc -l).txt"
"""
IMAGE = "traintoken:test"
BASE = "debian-base:test"
TRAIN = "registry.example:5000/station/train"
USER = 10815
APT = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)", "Created-By: Packages")


def engine():
    return engines.shared()


def run(*argv, **more):
    done = subprocess.run([str(one) for one in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **more)
    assert done.returncode == 0, f"{argv}: {done.stdout[-5000:]}"
    return done.stdout


# ---------------------------------------------------------------------------------------------- base and image


def suite():
    """The name of this machine's Debian, and the mirror that its apt takes it from."""
    names = dict(line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text("utf-8").splitlines() if "=" in line)
    codename = names["VERSION_CODENAME"].strip('"')
    for line in run(*APT).splitlines():
        mirror, *facts = line.split()
        if facts == [codename, "main", "Debian"]:
            return codename, mirror.rstrip("/")
    raise AssertionError(f"apt here has no mirror of {codename}")


def proxies():
    """What reaches the mirror, where apt or the environment say that there is something between."""
    found = {}
    for scheme in ("http", "https"):
        said = run("apt-config", "--format", "%v%n", "dump", f"Acquire::{scheme}::Proxy").strip()
        value = said or os.environ.get(f"{scheme}_proxy", "")
        if value and value != "DIRECT":
            found[f"{scheme}_proxy"] = value
    return found


def make_base(place):
    """Debian as small as the usual base images have it."""
    codename, mirror = suite()
    root = f"{place}/root"
    more = ["--include=ca-certificates"] if mirror.startswith("https:") else []
    run("debootstrap", "--variant=minbase", *more, codename, root, mirror,
        env={"PATH": engines.PATH, "LC_ALL": "C.UTF-8", **proxies()})
    for name in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(f"{root}/{name}", True)
        os.mkdir(f"{root}/{name}")
    with open(f"{root}/etc/dpkg/dpkg.cfg.d/quick", "w", encoding="ascii") as stream:
        stream.write("force-unsafe-io\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n")
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        engine().docker("import", "-", BASE, stdin=tar.stdout)
    shutil.rmtree(root)


def build():
    environment = {"PATH": engines.PATH, "HOME": engine().home, "DOCKER_BUILDKIT": "0", **engine().env()}
    arguments = [word for name, value in proxies().items() for word in ("--build-arg", f"{name}={value}")]
    run("docker", "build", "--network", "host", "--build-arg", f"BASE_IMAGE={BASE}", *arguments, "-t", IMAGE,
        station.SOURCE, env=environment)


def setUpModule():
    reason = engines.why_not("dockerd", "docker", "debootstrap", "p11-kit")
    if reason:
        raise unittest.SkipTest(reason)
    with tempfile.TemporaryDirectory(prefix="tt-base-") as place:
        make_base(place)
    build()


# ---------------------------------------------------------------------------------------------- a station


class Case(station.Case):
    """A station whose traintoken is the image. Its memory is in a volume of the engine."""

    def setUp(self):
        super().setUp()
        self.volume = f"state-{os.path.basename(self.work)}"
        engine().docker("volume", "create", self.volume)
        self.addCleanup(engine().docker, "volume", "rm", self.volume)
        self.addCleanup(self.forget)
        self.group = os.stat(engine().socket).st_gid
        self.assertEqual(stat.S_IMODE(os.stat(engine().socket).st_mode), 0o660)
        definition = {"entrypoint.sh": fs.file("", ENTRYPOINT, 0o755)}
        self.train = station.sample(definition=definition, stops=("alpha", "beta"))
        engine().load_train(TRAIN, self.train)

    def forget(self):
        for tag in engine().tags():
            if tag.startswith(TRAIN):
                engine().docker("rmi", "-f", tag)

    def offer(self, label):
        """The token of that name on a socket of its own, for the image's group; gives the socket's folder."""
        if label not in station.tokens().made:
            station.tokens().add(label)
        folder = f"{self.work}/token-{label}"
        os.mkdir(folder)
        path = f"{folder}/pkcs11"
        server = subprocess.Popen(["p11-kit", "server", "--foreground", "--name", path, "--provider",
                                   station.tokens().module, f"pkcs11:token={label}"], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, env=self.environment())
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        until = time.monotonic() + 20
        while not os.path.exists(path):
            self.assertTrue(server.poll() is None and time.monotonic() < until, "p11-kit server does not start")
            time.sleep(0.02)
        os.chown(path, 0, USER)
        os.chmod(path, 0o660)
        return folder

    def options(self, label, folder, group=True):
        """What `docker run` takes for a stop."""
        return ["--rm", "--network", "none", "--read-only", "--volume", "/var/tmp", "--cap-drop", "ALL",
                "--security-opt", "no-new-privileges", *(["--group-add", self.group] if group else []),
                "--volume", f"{engine().socket}:/var/run/docker.sock", "--volume", f"{folder}:/run/p11-kit",
                *self.memory(), "--env", f"STATION_ID={label}", "--volume", f"{self.trusted()}:/etc/traintoken/trust:ro",
                "--env", f"PRIVATE_KEY_PATH=pkcs11:token={label};object=key"]

    def trusted(self):
        """The sample train's keys, in a store that belongs to root."""
        place = pathlib.Path(self.work, "trust")
        keys = {("creators", "researcher-1"): "creator"} | {("stations", stop): stop for stop in station.STOPS}
        for (folder, name), key in keys.items():
            (place / folder / name).mkdir(0o755, True, True)
            (place / folder / name / "key.pem").write_bytes(pht.public_pem(station.pool_key(key)))
        return place

    def memory(self):
        return [f"--volume={self.volume}:/var/lib/traintoken"]

    def through(self, options, *words, status=0, pin=station.PIN):
        argv = ["docker", "run", *options, *(["--env", "PRIVATE_KEY_PASSWORD"] if pin else []), IMAGE, *words]
        return self.demand(argv, status, PRIVATE_KEY_PASSWORD=pin or "")

    def demand(self, argv, status, **env):
        done = subprocess.run([str(one) for one in argv], env={"PATH": engines.PATH, "HOME": engine().home,
                                                               **engine().env(), **env},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False, timeout=300)
        result = station.Result([str(one) for one in argv], done.returncode, done.stdout, done.stderr)
        self.assertEqual(result.status, status, str(result))
        self.assertNotIn(station.PIN, result.out + result.err)
        return result

    def execute(self):
        """Runs the train and keeps what it left, as stations do today."""
        name = f"run-{os.path.basename(self.work)}"
        engine().docker("run", "--network", "none", "--name", name, f"{TRAIN}:latest")
        engine().docker("commit", name, f"{TRAIN}:latest")
        engine().docker("rm", name)

    def opened(self, key):
        return pht.open_train(engine().tree(f"{TRAIN}:latest"), station.pool_key(key))

    def assert_nothing_left(self, containers=()):
        self.assertEqual(sorted(engine().containers()), sorted(containers))
        self.assertEqual(engine().holding(b"traintoken-plaintext-marker, stop"), [])


class Stops(Case):
    def test_two_stops_as_with_the_existing_image(self):
        for count, label in enumerate(("alpha", "beta"), 1):
            options = self.options(label, self.offer(label))
            self.through(options, "pre-run", f"{TRAIN}:latest")
            self.execute()
            self.through(options, "post-run", f"{TRAIN}:latest", "--rebase")
            self.assertEqual(self.opened("creator").position, count)
            self.assert_nothing_left()
        results = self.opened("creator").results
        self.assertEqual(sorted(results), ["0.txt", "1.txt"])
        self.assertEqual(results["1.txt"], b"traintoken-plaintext-marker, stop 1\n")

    def test_a_whole_stop_in_one_container(self):
        self.through(self.options("alpha", self.offer("alpha")), "run", f"{TRAIN}:latest")
        self.assertEqual(sorted(self.opened("beta").results), ["0.txt"])
        self.assert_nothing_left()

    def test_a_wrong_pin(self):
        before = engine().state()
        options = self.options("alpha", self.offer("alpha"))
        result = self.through(options, "pre-run", f"{TRAIN}:latest", pin="tt-throw-away-wrong", status=7)
        self.assertIn("the PIN is wrong", result.err)
        self.assertIn("token 'alpha'", result.err)
        self.assertEqual(engine().state(), before)

    def test_a_pin_that_is_a_secret_in_a_file(self):
        pin = f"{self.work}/pin"
        with open(pin, "w", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o400)) as stream:
            stream.write(station.PIN + "\n")
        os.chown(pin, USER, USER)
        options = self.options("alpha", self.offer("alpha"))
        result = self.through([*options, "--volume", f"{pin}:/run/secrets/traintoken-pin:ro"], "pre-run",
                              f"{TRAIN}:latest", pin=None)
        self.assertEqual(result.err, "")

    def test_without_its_state_a_post_run_is_refused(self):
        options = self.options("alpha", self.offer("alpha"))
        self.through(options, "pre-run", f"{TRAIN}:latest")
        lost = [word for word in options if word not in [*self.memory(), "--read-only"]]
        self.through(lost, "post-run", f"{TRAIN}:latest", status=9)

    def test_killed_and_cleaned_by_the_next_one(self):
        """Who is at work in another container is left alone; what is left of it when it is gone is not."""
        slow = {"entrypoint.sh": fs.file("", b"#!/bin/sh\nsleep 300\n", 0o755)}
        engine().load_train(TRAIN, station.sample(definition=slow, stops=("alpha", "beta")))
        before = engine().state()
        options = self.options("alpha", self.offer("alpha"))
        name = f"killed-{os.path.basename(self.work)}"
        self.through(["--detach", "--name", name, *options], "run", f"{TRAIN}:latest")
        until = time.monotonic() + 60
        while not any(one["State"] == "running" for other, one in engine().containers().items() if other != name):
            self.assertLess(time.monotonic(), until, "the train does not start")
            time.sleep(0.1)
        working = engine().state()
        self.through(options, "clean")
        self.assertEqual(engine().state(), working)
        engine().docker("kill", name)
        while name in engine().containers():
            time.sleep(0.1)
        self.through(options, "clean")
        self.assertEqual(engine().state(), before)

    def test_compose(self):
        compose = next((words for words in (["docker", "compose"], ["docker-compose"]) if subprocess.run(
            [*words, "version"], env={"PATH": engines.PATH, "HOME": engine().home}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, check=False).returncode == 0), None)
        if compose is None:
            self.skipTest("needs docker-compose")
        pin = f"{self.work}/pin"
        pathlib.Path(pin).write_text(station.PIN, "ascii")
        os.chown(pin, USER, USER)
        os.chmod(pin, 0o400)
        env = {"STATION_ID": "alpha", "PRIVATE_KEY_PATH": "pkcs11:token=alpha;object=key", "TRAINTOKEN_IMAGE": IMAGE,
               "DOCKER_GID": str(self.group), "TOKEN_GID": str(USER), "TRAINTOKEN_PIN_FILE": pin,
               "DOCKER_SOCKET": engine().socket, "TOKEN_FOLDER": self.offer("alpha"),
               "TRUST_FOLDER": str(self.trusted())}
        project = [*compose, "-f", station.SOURCE / "compose.yaml", "-p", self.volume.lower()]
        self.addCleanup(self.demand, [*project, "down", "--volumes"], 0, **env)
        self.demand([*project, "run", "--rm", "pre-run", f"{TRAIN}:latest"], 0, **env)
        self.execute()
        self.demand([*project, "run", "--rm", "post-run", f"{TRAIN}:latest"], 0, **env)
        self.assertEqual(sorted(self.opened("beta").results), ["0.txt"])


class Image(Case):
    def test_what_it_is(self):
        facts = engine().image(IMAGE)
        self.assertEqual(facts["Config"]["User"], "traintoken")
        self.assertEqual(facts["Config"]["Entrypoint"], ["traintoken"])
        self.assertIn("TRAINTOKEN_STATE=/var/lib/traintoken", facts["Config"]["Env"])
        self.assertFalse(facts["Config"].get("Volumes"))
        added = facts["Size"] - engine().image(BASE)["Size"]
        print(f"image: {facts['Size'] / 1e6:.0f} MB, {added / 1e6:.0f} MB more than its base", flush=True)
        self.assertLess(added, 100_000_000)

    def test_nothing_to_build_with(self):
        said = self.demand(["docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", IMAGE, "-c",
                            "id -u; command -v gcc cc cmake ninja make || true; ls -A /var/lib/traintoken"], 0)
        self.assertEqual(said.out, f"{USER}\n")

    def test_sockets_that_are_not_for_this_user(self):
        result = self.through(self.options("alpha", self.offer("alpha"), group=False), "pre-run", f"{TRAIN}:latest",
                              status=8)
        self.assertIn("docker.sock", result.err)
        folder = f"{self.work}/empty"
        os.mkdir(folder)
        result = self.through(self.options("alpha", folder), "pre-run", f"{TRAIN}:latest", status=6)
        self.assertIn("P11_KIT_SERVER_ADDRESS", result.err)

    def test_a_signal_ends_it(self):
        """The first process of a container has no default action for signals: it has to end by itself."""
        folder = self.offer("alpha")
        os.mkfifo(f"{folder}/pin")
        os.chown(f"{folder}/pin", USER, USER)
        name = f"stop-{os.path.basename(self.work)}"
        before = engine().state()
        writer = os.open(f"{folder}/pin", os.O_RDWR)  # nobody writes: it waits for its PIN
        self.addCleanup(os.close, writer)
        self.through([*self.options("alpha", folder)[1:], "--detach", "--name", name, "--env",
                      "PRIVATE_KEY_PATH=pkcs11:token=alpha;object=key?pin-source=/run/p11-kit/pin"],
                     "pre-run", f"{TRAIN}:latest", pin=None)
        self.addCleanup(engine().docker, "rm", "-f", "-v", name, check=False)
        time.sleep(3)
        engine().docker("stop", "-t", "30", name)
        self.assertEqual(engine().docker("inspect", "-f", "{{.State.ExitCode}}", name), "143\n")
        engine().docker("rm", "-v", name)
        self.assertEqual(engine().state(), before)


if __name__ == "__main__":
    unittest.main()
