"""doctor: every finding, made wrong once; one that is wrong does not hide the others, and no PIN is risked."""

import email.utils
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time
import unittest

from support import engine as engines
from support import proxy
from support.station import PIN, SANITIZED, Case, tokens

WRONG_PIN = "tt-throw-away-9999"
FAULTS = os.environ.get("TT_FAULT_LIBRARY")
MOCK = os.environ.get("TT_MOCK_LIBRARY")
needs_faults = unittest.skipUnless(FAULTS, "needs fault_module, named by TT_FAULT_LIBRARY")
needs_mock = unittest.skipUnless(MOCK and FAULTS, "needs the modules named by TT_MOCK_LIBRARY and TT_FAULT_LIBRARY")
needs_root = unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "needs root and setpriv")
IMAGE = "registry.example/pht/train"


def answer(status, body, **headers):
    """As proxy.reply, for a request without a body: nothing has to be waited for."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": "application/json", "Content-Length": len(data), "Connection": "close",
             **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = f"HTTP/1.1 {status} Made-Up\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    return lambda exchange: exchange.answer([head.encode() + data])


def refusal(status, words):
    return answer(status, {"message": words})


class DoctorCase(Case):
    """With an engine that is made up: what a real one answers is told by test_docker_doctor."""

    def setUp(self):
        super().setUp()
        self.engine = engines.LyingDaemon()
        self.addCleanup(self.engine.close)
        self.answers()

    def answers(self, version="1.41", ahead=0, **replies):
        """What the engine answers; `ahead`: seconds by which its clock goes before."""
        self.engine.forget()
        date = email.utils.formatdate(time.time() + ahead, usegmt=True)
        self.engine.on("*", refusal(404, "no such thing"))
        self.engine.on("GET /_ping", answer(200, b"OK", Api_Version=version, Date=date))
        self.engine.on("GET /version", answer(200, {"Version": "20.10.1", "ApiVersion": version,
                                                         "Components": [{"Name": "Engine"}]}))
        self.engine.on("GET /containers/json*", answer(200, []))
        self.engine.on("GET /images/json*", answer(200, []))
        self.engine.on(f"GET /images/{IMAGE}*", refusal(404, "No such image"))
        self.engine.on("GET /distribution/*", replies.get("registry", refusal(500, "not asked for")))

    def environment(self, **more):
        return super().environment(**{**self.engine.env(), "STATION_ID": "17", **more})

    def doctor(self, *options, status=0, key="alpha", **more):
        """{name: (verdict, code, says)}; text and JSON, where both are asked for, agree. A name that comes twice has
        its worst."""
        result = self.tt("doctor", "--json", *options, key=key, **more)
        self.assertEqual(result.status, status, str(result))
        for secret in (PIN, WRONG_PIN, engines.PASSWORD):
            self.assertNotIn(secret, result.out + result.err)
        self.assertEqual((result.json["code"], result.json["command"]), (status, "doctor"))
        found = {}
        worst = ("ok", "warning", "wrong")
        for one in result.json["findings"]:
            name, verdict = one["name"], one["verdict"]
            self.assertIn(one["part"], ("token", "images", "machine"))
            self.assertEqual(verdict == "wrong", one["code"] != 0, str(one))
            if name not in found or worst.index(verdict) > worst.index(found[name][0]):
                found[name] = (verdict, one["code"], one["says"])
        verdicts = [one["verdict"] for one in result.json["findings"]]
        self.assertEqual([result.json[name] for name in ("ok", "warnings", "wrong")],
                         [verdicts.count(name) for name in worst])
        wrong = [one["code"] for one in result.json["findings"] if one["verdict"] == "wrong"]
        self.assertEqual(status, wrong[0] if wrong else 0, str(result))
        # None hides the others.
        for name in ("key-uri", "module", "locked-memory", "core-dumps", "versions", "station", "state-folder",
                     "temporary-folder", "clock"):
            self.assertIn(name, found, str(result))
        self.assertFalse(os.path.exists(self.state) and os.listdir(self.state), "left in the state folder")
        return found

    def finds(self, name, verdict, words, *options, status=None, **more):
        """One finding, with its words; a wrong one gives its status, and warnings none."""
        found = self.doctor(*options, status=status or 0, **more)
        self.assertIn(name, found)
        self.assertEqual(found[name][0], verdict, found[name])
        if verdict == "wrong":
            self.assertEqual(found[name][1], status, found[name])
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word.lower(), found[name][2].lower())
        return found

    def logged(self, module, *options, mock="", **more):
        """The findings, and which calls the module got, with the module that can fail before it."""
        log = f"{self.work}/calls"
        pathlib.Path(log).write_text("", encoding="ascii")
        env = {"TT_FAULT_MODULE": module, "TT_FAULT": "", "TT_FAULT_LOG": log, "TT_MOCK": mock, "TT_MOCK_PIN": PIN,
               "TT_MOCK_MODULE": tokens().module}
        found = self.doctor(*options, module=FAULTS, env=env, **more)
        return found, pathlib.Path(log).read_text(encoding="ascii").split()


class Good(DoctorCase):
    def test_a_station_without_a_fault(self):
        if "made" not in tokens().made:
            tokens()._fixture("token", "made", PIN)
            tokens().made.add("made")
            self.good("key", "generate", "--label", "key", "pkcs11:token=made",
                      env={"TRAINTOKEN_MODULE": tokens().module})
        found = self.doctor(key="made")
        self.assertEqual({name for name, one in found.items() if one[0] != "ok"}, set(), found)
        for name in ("token", "login", "pin-state", "pin", "key", "key-size", "key-try-unwrap", "key-try-sign", "loader",
                     "engine", "leftovers"):
            self.assertIn(name, found)
        self.assertIn("auto picks libp11", found["loader"][2])
        self.assertIn("PRIVATE_KEY_PASSWORD", found["pin"][2])
        self.assertIn("Docker Engine 20.10.1", found["engine"][2])
        text = self.good("doctor", key="made")
        self.assertEqual(text.err, "")
        for name, (verdict, _, says) in found.items():
            if name not in ("clock", "state-folder", "temporary-folder"):
                line = next(line for line in text.out.splitlines() if line.split()[1:2] == [name])
                self.assertTrue(line.strip().startswith(verdict) and says in line, line)
        self.assertIn("nothing is wrong", text.out)
        quiet = self.good("doctor", "--quiet", key="made")
        self.assertEqual(quiet.out + quiet.err, "")

    def test_usage(self):
        for options in (["--image=oci:"], ["--policy=/nowhere"], ["--nothing"], ["operand"]):
            with self.subTest(options):
                self.assertEqual(self.tt("doctor", *options).status, 2)

    def test_it_tells_that_it_was_ended(self):
        reached = threading.Event()
        self.engine.on("GET /_ping", proxy.calling(reached.set, proxy.silence()))
        child = subprocess.Popen(self.arguments("doctor", key="alpha"), env=self.environment(PRIVATE_KEY_PASSWORD=PIN),
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(child.kill)
        self.assertTrue(reached.wait(60))
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=60)
        self.assertEqual((child.returncode, out), (-signal.SIGTERM, b""))


    @needs_faults
    def test_it_says_what_it_waits_for(self):
        env = {"TT_FAULT_MODULE": tokens().module, "TT_FAULT": "C_Initialize:1=600000ms", "PRIVATE_KEY_PASSWORD": PIN}
        child = subprocess.Popen(self.arguments("doctor", key="alpha", module=FAULTS), env=self.environment(**env),
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(child.kill)
        self.assertIn(b"the check 'module' has had no answer", child.stderr.readline())
        while child.poll() is None:  # two in one moment may count as one
            child.send_signal(signal.SIGINT)
            time.sleep(0.1)
        out, _ = child.communicate(timeout=60)
        self.assertEqual((child.returncode, out), (-signal.SIGINT, b""))


class KeyAndToken(DoctorCase):
    def test_no_key_named(self):
        self.finds("key-uri", "wrong", ["PRIVATE_KEY_PATH", "--key"], status=2, key=None)
        self.finds("key-uri", "wrong", "import", status=2, key=None, env={"PRIVATE_KEY_PATH": "/etc/station.pem"})

    def test_no_module(self):
        found = self.finds("module", "wrong", ["/nowhere.so", "--module"], status=6, module="/nowhere.so")
        self.assertNotIn("token", found)
        self.assertEqual(found["engine"][0], "ok")
        self.finds("module", "wrong", "PKCS#11", status=6, module="/bin/sh")
        self.finds("module", "wrong", "not the library", status=6,
                   key=tokens().uri("alpha") + ";library-manufacturer=Another")

    def test_no_token(self):
        found = self.finds("token", "wrong", ["nowhere", "token=alpha"], status=6, key="pkcs11:token=nowhere;object=key",
                           env={"ALPHA": tokens().uri("alpha")})
        self.assertNotIn("key", found)

    def test_no_key(self):
        found = self.finds("key", "wrong", ["there is no private key", "object=key"], status=6,
                           key=tokens().uri("alpha").replace("object=key", "object=other"))
        self.assertEqual((found["pin"][0], found["loader"][0]), ("ok", "warning"))

    def test_policy(self):
        path = f"{self.work}/policy.json"
        pathlib.Path(path).write_text('{"local": true}', encoding="ascii")
        self.finds("key-local", "wrong", "imported", f"--policy={path}", status=6)
        self.finds("key-local", "warning", "imported")

    def test_loader(self):
        self.finds("loader", "ok", "libp11", "--key-loader=libp11")
        self.finds("loader", "wrong", ["no-such-provider", "--key-loader"], "--key-loader=provider:no-such-provider",
                   status=6)
        self.finds("loader", "wrong", "key loader", "--key-loader=file", status=2)
        self.finds("loader", "wrong", "no-such-engine", status=6, env={"TRAINTOKEN_KEY_LOADER": "engine:no-such-engine"})

    @needs_mock
    def test_no_login_needed(self):
        found, _ = self.logged(MOCK, mock="no-login", status=6)  # which SoftHSM then does not play along with
        self.assertEqual(found["login"][0], "warning")
        self.assertIn("needs no PIN", found["login"][2])

    def test_several_at_once(self):
        found = self.doctor("--state", "/dev/null", status=6, module="/nowhere.so",
                            env={"DOCKER_HOST": f"unix://{self.work}/absent"})
        self.assertEqual([found[name][1] for name in ("module", "engine", "state-folder")], [6, 8, 8])


class Pin(DoctorCase):
    def test_where_it_comes_from(self):
        uri = tokens().uri("alpha")
        path = f"{self.work}/traintoken-pin"
        pathlib.Path(path).write_text(PIN + "\n", encoding="ascii")
        os.chmod(path, 0o600)
        for words, more in (("PRIVATE_KEY_PASSWORD", {}), ("pin-source", {"key": f"{uri}?pin-source=file:{path}"}),
                            ("credential", {"pin": None, "env": {"CREDENTIALS_DIRECTORY": self.work}}),
                            ("pin-value", {"pin": None, "key": f"{uri}?pin-value={PIN}"})):
            with self.subTest(words):
                found = self.finds("pin", "ok", words, **more)
                self.assertEqual(found["loader"][0], "ok", found)
                self.assertEqual(found["key-uri"][0], "warning" if words == "pin-value" else "ok")
        descriptor = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        self.finds("pin", "ok", "descriptor", f"--pin-fd={descriptor}", pin=None, fds=(descriptor,))

    def test_none_given(self):
        found = self.finds("pin", "warning", "PRIVATE_KEY_PASSWORD", pin=None)
        self.assertEqual((found["key"][0], found["loader"][0]), ("warning", "warning"))
        self.assertIn("2048 bits, SHA256:", found["key"][2])
        self.assertIn("key check", found["key"][2])
        self.assertNotIn("key-try-sign", found)
        self.finds("pin", "wrong", "nowhere", status=7, key=tokens().uri("alpha") + "?pin-source=file:/nowhere")

    @needs_faults
    def test_a_wrong_one_is_tried_once_and_no_other_after_it(self):
        tokens().uri("beta")
        found, calls = self.logged(tokens().module, key="beta", pin=WRONG_PIN, status=7)
        self.assertEqual(found["pin"][:2], ("wrong", 7))
        self.assertIn("PRIVATE_KEY_PASSWORD", found["pin"][2])
        self.assertEqual((found["key"][0], found["loader"][0]), ("warning", "warning"))
        self.assertEqual(calls.count("C_Login"), 1)
        # The token now tells of it: no further one is tried, not even the right one.
        found, calls = self.logged(tokens().module, key="beta")
        self.assertEqual((found["pin-state"][0], found["pin"][0], found["key"][0]), ("warning",) * 3)
        self.assertIn("--last-pin-try", found["pin-state"][2])
        self.assertNotIn("C_Login", calls)
        found, calls = self.logged(tokens().module, "--last-pin-try", key="beta")
        self.assertEqual((found["pin-state"][0], found["key"][0], found["loader"][0]), ("warning", "ok", "ok"))
        found, _ = self.logged(tokens().module, key="beta")
        self.assertEqual(found["pin-state"][0], "ok")

    @needs_mock
    def test_states_of_tokens(self):
        for mock, status, words in (("final-try", 7, "1 PIN try left"), ("locked", 7, "locked")):
            with self.subTest(mock):
                found, calls = self.logged(MOCK, mock=mock, status=status)
                self.assertEqual(found["pin-state"][:2], ("wrong", 7))
                self.assertIn(words, found["pin-state"][2])
                self.assertEqual(found["key"][0], "warning")
                self.assertNotIn("C_Login", calls)
        found, calls = self.logged(MOCK, "--last-pin-try", mock="locked", status=7)
        self.assertNotIn("C_Login", calls)
        found, calls = self.logged(MOCK, "--last-pin-try", mock="final-try", status=7)
        self.assertEqual((found["pin-state"][0], found["key"][0]), ("wrong", "ok"))
        found, calls = self.logged(MOCK, mock="keypad")
        self.assertEqual((found["pin"][0], found["key"][0]), ("ok", "warning"))
        self.assertIn("key check", found["key"][2])
        self.assertNotIn("C_Login", calls)


class Images(DoctorCase):
    def test_no_engine(self):
        self.finds("engine", "wrong", ["absent", "DOCKER_HOST"], status=8,
                   env={"DOCKER_HOST": f"unix://{self.work}/absent"})
        self.finds("engine", "wrong", "ssh", status=2, env={"DOCKER_HOST": "ssh://machine"})
        found = self.finds("engine", "wrong", "nobody answers", "--image", IMAGE, status=8,
                           env={"DOCKER_HOST": f"tcp://{engines.closed_port()}"})
        self.assertEqual(found["registry"][0], "warning")

    @needs_root
    def test_not_permitted(self):
        os.chmod(self.work, 0o755)
        for place in (self.tmp, self.home):
            os.chmod(place, 0o777)
        os.chmod(self.engine.folder, 0o711)
        os.chmod(self.engine.socket, 0o600)
        found = self.doctor(status=6, before=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
        self.assertEqual(found["engine"][:2], ("wrong", 8))  # the user cannot reach these tokens either, hence the 6
        self.assertIn("not permitted", found["engine"][2])

    def test_versions(self):
        self.answers(version="1.24")
        self.finds("engine", "wrong", ["too old", "1.24"], status=8)
        self.engine.on("*", answer(200, {}))
        self.finds("engine", "wrong", "not a container engine", status=8)

    def test_an_unprotected_engine_is_a_warning(self):
        host = engines.closed_port().replace("127.0.0.1", "0.0.0.0")
        result = self.tt("doctor", "--json", key="alpha", env={"DOCKER_HOST": f"tcp://{host}"})
        said = [(one["verdict"], one["says"]) for one in result.json["findings"] if one["name"] == "engine"]
        self.assertEqual((result.status, [verdict for verdict, _ in said]), (8, ["warning", "wrong"]), str(result))
        self.assertIn("neither encrypted", said[0][1])
        self.assertNotIn("neither encrypted", result.err.replace(said[1][1], ""))

    def test_leftovers(self):
        name = "traintoken.00000000.1.1.1.h00000000.1"  # of a process before a restart of the machine
        self.engine.on("GET /containers/json*", answer(200, [{"Id": "0" * 64, "Names": [f"/{name}"], "Created": 1,
                                                              "Labels": {}}]))
        self.finds("leftovers", "warning", [name, "traintoken clean"])
        self.assertEqual([one for one in self.engine.requests if not one.startswith("GET ")], [])

    def test_layouts(self):
        self.finds("image", "wrong", "nowhere", "--image", f"oci:{self.work}/nowhere", status=8)
        layout = self.layout_at(0)
        self.finds("image", "ok", "layers", "--image", f"oci:{layout.path}")
        os.remove(f"{layout.path}/oci-layout")
        self.finds("image", "wrong", "not an OCI image layout", "--image", f"oci:{layout.path}", status=8)

    def test_an_image_that_is_not_there_yet(self):
        self.answers(registry=answer(200, {"Descriptor": {}}))
        found = self.finds("image", "warning", "traintoken pull", "--image", IMAGE)
        self.assertEqual(found["registry"][0], "ok")
        self.assertNotIn("registry", self.doctor("--image", "pht/train"))

    def test_registry(self):
        refused = 'Get "https://registry.example/v2/": dial tcp 192.0.2.1:443: connect: connection refused'
        for said, verdict, words in (
                (refusal(500, refused), "wrong", ["connection refused", "check the registry's name"]),
                (refusal(401, "unauthorized: authentication required"), "wrong", ["docker login"]),
                (refusal(500, "Head: no basic auth credentials"), "wrong", ["docker login"]),
                (refusal(403, "denied"), "wrong", ["docker login"]),
                (refusal(404, "manifest unknown"), "warning", ["has no"]),
                (answer(404, b"Not Found\n"), "warning", ["traintoken pull"]),  # Podman's
                (refusal(429, "toomanyrequests"), "warning", ["later"]),
                (proxy.cut(), "wrong", ["broke"])):
            with self.subTest(words):
                self.answers(registry=said)
                self.finds("registry", verdict, words, "--image", IMAGE, status=8 if verdict == "wrong" else None)

    def test_login(self):
        self.answers(registry=answer(200, {}))
        self.finds("registry-login", "warning", "docker login registry.example", "--image", IMAGE)
        engines.write_auth(f"{self.engine.folder}/config.json", "registry.example")
        self.finds("registry-login", "ok", "config.json", "--image", IMAGE)
        pathlib.Path(f"{self.engine.folder}/config.json").write_text('{"credsStore": "no-such-helper"}',
                                                                     encoding="ascii")
        self.finds("registry-login", "wrong", "no-such-helper", "--image", IMAGE, status=8)


class Machine(DoctorCase):
    def test_clock(self):
        for ahead, verdict in ((-60, "ok"), (20 * 60, "warning"), (-20 * 60, "warning"), (30 * 3600, "wrong"),
                               (-400 * 86400, "wrong")):
            with self.subTest(ahead):
                self.answers(ahead=ahead)
                self.finds("clock", verdict, "UTC" if verdict == "ok" else "timedatectl",
                           status=1 if verdict == "wrong" else None)
        for date in ("yesterday", "", "Sun, 99 Nov 2026 00:00:00 GMT", "x" * 5000):
            with self.subTest(date):
                self.answers()
                self.engine.on("GET /_ping", answer(200, b"OK", Api_Version="1.41", Date=date))
                self.finds("clock", "ok", "UTC")

    def test_state_folder(self):
        self.finds("state-folder", "wrong", "--state", "--state=/dev/null", status=8)
        os.mkdir(self.state)
        os.chmod(self.state, 0o777)
        self.finds("state-folder", "wrong", "chmod", status=8)
        os.chmod(self.state, 0o755)
        self.finds("state-folder", "warning", "chmod 700")
        os.chmod(self.state, 0o700)
        self.finds("state-folder", "ok", "free")
        os.symlink(self.state, f"{self.work}/link")
        self.finds("state-folder", "wrong", "symbolic link", "--state", f"{self.work}/link", status=8)

    @needs_root
    def test_state_folder_on_a_read_only_or_full_disk(self):
        os.mkdir(self.state)
        for options, verdict, words in (("ro", "wrong", "--state"), ("size=1m", "warning", "make room")):
            with self.subTest(options):
                script = f'mount -t tmpfs -o {options} tmpfs {self.state} && chmod 700 {self.state}; exec "$@"'
                self.finds("state-folder", verdict, words, status=8 if verdict == "wrong" else None, before=[
                    "unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"])

    def test_temporary_folder(self):
        self.finds("temporary-folder", "wrong", "TMPDIR", status=8, env={"TMPDIR": f"{self.work}/nowhere"})

    def test_station(self):
        self.finds("station", "warning", "STATION_ID", env={"STATION_ID": None})
        self.finds("station", "ok", "aachen", "--station=aachen")

    @needs_root
    def test_limits(self):
        if not SANITIZED:  # sanitizers lock nothing and say that they did, and switch core dumps off before main
            self.finds("locked-memory", "warning", "ulimit -l",
                       before=["setpriv", "--bounding-set=-ipc_lock", "prlimit", "--memlock=0:0"])
            self.finds("core-dumps", "warning", "ulimit -c 0", before=["prlimit", "--core=unlimited:unlimited"])
        self.finds("core-dumps", "ok", "off", before=["prlimit", "--core=0:unlimited"])


if __name__ == "__main__":
    unittest.main()
