"""pull and push: between an engine and a real registry that wants a login, with the logins that docker and podman keep,
and with registries that refuse, break off or talk nonsense."""

import base64
import json
import os
import time
import unittest

from support import engine as engines
from support import proxy
from support.engine import PASSWORD, USER, write_auth
from support.engine_case import EngineCase
from support.station import edited, pool_key, sample_at

HELPER = """#!/bin/sh
[ "$1" = get ] || exit 7
cat > "$(dirname "$0")/asked"
env > "$(dirname "$0")/environment"
"""


class RegistryCase(EngineCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = engines.Registry()
        cls.addClassCleanup(cls.registry.close)

    def setUp(self):
        super().setUp()
        self.count = getattr(type(self), "count", 0) + 1
        type(self).count = self.count
        # A repository of its own for each test; nothing is kept in the folder that other tests use.
        self.name = f"{self.registry.name}/pht/train-{type(self).__name__.lower()}-{self.count}"
        self.repository = self.name.partition("/")[2]
        self.docker = f"{self.work}/docker"
        os.mkdir(self.docker)
        self.settings = f"{self.docker}/config.json"

    def environment(self, **more):
        return super().environment(**{"DOCKER_CONFIG": self.docker, **more})

    def log_in(self, name=None, **more):
        write_auth(self.settings, name or self.registry.name, **more)

    def write(self, value, path=None):
        with open(path or self.settings, "w", encoding="utf-8") as stream:
            json.dump(value, stream)

    def helper(self, name, script):
        """A credential helper on PATH; gives its folder, where it leaves what it was asked."""
        folder = f"{self.work}/bin-{name}"
        os.mkdir(folder)
        path = f"{folder}/docker-credential-{name}"
        with open(path, "w", encoding="ascii") as stream:
            stream.write(HELPER + script)
        os.chmod(path, 0o755)
        return folder

    def path(self, *folders):
        return ":".join([*folders, os.environ["PATH"]])

    def pushed(self, position=0):
        """A train in the registry and in the engine."""
        self.train(position, self.name)
        self.log_in()
        self.good("push", f"{self.name}:latest")
        self.good("push", f"{self.name}:base")
        return self.name

    def fails(self, words, *arguments, status=(8,), env=None, **more):
        """Says so, with these words and without the password, and leaves the engine as it was."""
        before = self.engine.state()
        result = self.tt(*arguments, env=env, **more)
        self.assertIn(result.status, status, str(result))
        self.assertTrue(any(line.startswith("traintoken: ") for line in result.err.splitlines()), str(result))
        for word in words:
            self.assertIn(word.lower(), result.err.lower(), str(result))
        self.never_shown(result)
        self.assertEqual(self.engine.state(), before, str(result))
        return result

    def never_shown(self, result):
        encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        for secret in (PASSWORD, encoded, base64.b64encode(PASSWORD.encode()).decode()):
            self.assertNotIn(secret, result.out + result.err)


needs_registry = engines.needs_engine("docker-registry", "htpasswd")


@needs_registry
class Moving(RegistryCase):
    def test_there_and_back(self):
        self.pushed(1)
        before = self.engine.id(self.name)
        for tag in ("latest", "base"):
            self.engine.docker("rmi", f"{self.name}:{tag}")
        self.assertIsNone(self.engine.id(self.name))
        says = self.good("pull", "--json", self.name)
        self.assertEqual(says["digest"], before)
        self.assertEqual(self.engine.id(self.name), before)
        self.good("pull", f"docker-daemon:{self.name}:base")
        self.good("pre-run", self.name, station="beta")
        self.run_code(self.name, "beta")
        self.good("post-run", self.name, station="beta")
        old = self.registry.digest(self.repository)
        says = self.good("push", "--json", self.name)
        self.assertEqual(says["digest"], self.engine.id(self.name))
        self.assertNotEqual(self.registry.digest(self.repository), old)
        self.engine.clear()
        self.good("pull", self.name)
        self.assertEqual(self.opened(self.name, pool_key("gamma")).position, 2)

    def test_a_decrypted_train_stays_here(self):
        self.pushed(1)
        old = self.registry.digest(self.repository)
        self.good("pre-run", self.name, station="beta")
        self.fails(["decrypted", "post-run"], "push", self.name, status=(9,))
        self.run_code(self.name, "beta")
        self.fails(["decrypted", "post-run"], "push", self.name, status=(9,))
        self.assertEqual(self.registry.digest(self.repository), old)
        self.good("post-run", self.name, station="beta")
        self.good("push", self.name)
        self.assertNotEqual(self.registry.digest(self.repository), old)

    def test_a_broken_train_stays_here(self):
        self.pushed(1)
        old = self.registry.digest(self.repository)
        config = edited(sample_at(1), "hash", "00" * 64)["opt/train_config.json"]
        self.engine.put(f"{self.name}:latest", [config])
        self.fails(["stays here"], "push", self.name, status=(4,))
        self.assertEqual(self.registry.digest(self.repository), old)

    def test_an_image_that_is_no_train(self):
        plain = f"{self.registry.name}/plain/image"
        self.log_in()
        self.engine.import_base(f"{plain}:latest")
        self.good("push", plain)
        self.assertIsNotNone(self.registry.digest("plain/image"))

    def test_a_newer_image_takes_the_name(self):
        self.pushed(0)
        first = self.engine.id(self.name)
        self.train(2, self.name)
        self.good("push", self.name)
        second = self.engine.id(self.name)
        self.engine.tag(first, f"{self.name}:latest")
        self.good("pull", self.name)
        self.assertEqual(self.engine.id(self.name), second)
        self.good("pull", self.name)
        self.assertEqual(self.engine.id(self.name), second)

    def test_by_digest(self):
        self.pushed(1)
        name = f"{self.name}@{self.registry.digest(self.repository)}"
        for one in (name, f"docker-daemon:{name}"):
            says = self.good("verify", "--json", one, pin=None)
            self.assertEqual(says["digest"], self.engine.id(self.name))
        self.good("inspect", name)
        for command in ("pre-run", "post-run"):
            self.fails(["digest"], command, name, station="beta", status=(2,))
        self.engine.clear()
        self.good("pull", name)
        self.good("verify", name)
        self.fails([], "pull", f"{self.name}@sha256:{'0' * 64}")

    def test_quiet_and_loud(self):
        self.pushed()
        for command in ("pull", "push"):
            self.assertEqual(self.good(command, "--quiet", self.name).err, "")
            result = self.good(command, "-vv", self.name)
            self.never_shown(result)
        self.assertNotIn(PASSWORD, self.engine.log_text())

    def test_an_image_that_is_not_there(self):
        self.log_in()
        self.fails(["pht/nothing"], "pull", f"{self.registry.name}/pht/nothing")
        self.fails([], "push", f"{self.registry.name}/pht/nothing")
        self.pushed()
        self.fails([], "pull", f"{self.name}:other-tag")

    def test_usage(self):
        for command in ("pull", "push"):
            self.fails([], command, f"oci:{self.work}/x", status=(2,))
            self.fails([], command, "a//b", status=(2,))
            self.fails([], command, status=(2,))


@needs_registry
class Logins(RegistryCase):
    def works(self, **env):
        self.train(0, self.name)
        self.assertIsNone(self.registry.digest(self.repository))
        result = self.good("push", "-vv", self.name, env=env)
        self.never_shown(result)
        self.assertIsNotNone(self.registry.digest(self.repository))

    def test_auths(self):
        self.log_in()
        self.works()

    def test_auths_with_an_address(self):
        self.log_in(f"http://{self.registry.name}/v2/")
        self.works()

    def test_home(self):
        os.makedirs(f"{self.home}/.docker")
        write_auth(f"{self.home}/.docker/config.json", self.registry.name)
        self.works(DOCKER_CONFIG=None)

    def test_user_and_password_in_plain_text(self):
        self.write({"auths": {self.registry.name: {"username": USER, "password": PASSWORD}}})
        self.works()

    def test_the_file_of_podman(self):
        write_auth(f"{self.work}/auth.json", self.registry.name)
        self.log_in(password="wrong")
        self.works(REGISTRY_AUTH_FILE=f"{self.work}/auth.json")

    def test_a_part_of_a_registry(self):
        """Podman's file may have logins for repositories below a host."""
        wrong = base64.b64encode(b"somebody:else").decode()
        right = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self.write({"auths": {self.registry.name: {"auth": wrong}, f"{self.registry.name}/pht": {"auth": right}}},
                   f"{self.work}/auth.json")
        self.works(REGISTRY_AUTH_FILE=f"{self.work}/auth.json")

    def answer(self, user=USER, secret=PASSWORD):
        return f"""echo '{{"ServerURL":"x","Username":"{user}","Secret":"{secret}"}}'\n"""

    def test_a_helper_for_all(self):
        folder = self.helper("mine", self.answer())
        self.write({"credsStore": "mine"})
        self.works(PATH=self.path(folder))
        with open(f"{folder}/asked", encoding="ascii") as stream:
            self.assertEqual(stream.read().strip(), self.registry.name)
        with open(f"{folder}/environment", encoding="utf-8") as stream:
            self.assertNotIn("PRIVATE_KEY_PASSWORD", stream.read())

    def test_a_helper_for_one(self):
        right, wrong = self.helper("right", self.answer()), self.helper("wrong", self.answer(secret="no"))
        self.write({"credsStore": "wrong", "credHelpers": {self.registry.name: "right", "elsewhere.example": "wrong"},
                    "auths": {self.registry.name: {"auth": base64.b64encode(b"no:no").decode()}}})
        self.works(PATH=self.path(right, wrong))
        self.assertFalse(os.path.exists(f"{wrong}/asked"))

    def test_a_helper_that_knows_nothing(self):
        folder = self.helper("empty", "echo 'credentials not found in native keychain'\nexit 1\n")
        self.write({"credsStore": "empty",
                    "auths": {self.registry.name: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}})
        self.works(PATH=self.path(folder))

    def test_helpers_that_fail(self):
        self.train(0, self.name)
        for what, script in {
                "fails": f"echo {PASSWORD}\nexit 3\n", "says nothing": "exit 0\n", "no JSON": f"echo {PASSWORD} x\n",
                "another JSON": f"echo '[\"{PASSWORD}\"]'\n", "killed": "kill -9 $$\n",
                "too much": f"yes {PASSWORD} | head -c 10000000\n", "no end": f"yes {PASSWORD}\n",
                "numbers": "echo '{\"Username\":1,\"Secret\":2}'\n"}.items():
            with self.subTest(what):
                folder = self.helper(what.replace(" ", "-"), script)
                self.write({"credsStore": what.replace(" ", "-")})
                self.fails(["docker-credential-"], "push", self.name, env={"PATH": self.path(folder)})
        self.write({"credsStore": "not-installed"})
        self.fails(["docker-credential-not-installed"], "push", self.name)
        for name in ("../evil", "a/b", "", "x y", "-x", 5):
            with self.subTest(name):
                self.write({"credsStore": name})
                self.fails([], "push", self.name)

    def test_helpers_run_before_the_token_is_opened(self):
        self.train(0, self.name)
        self.write({"credsStore": "not-installed"})
        self.fails(["docker-credential-not-installed"], "run", "--push", self.name, station="alpha", pin="wrong")

    def test_wrong_ones(self):
        self.pushed()
        for what, settings in {"password": {"password": "wrong-word"}, "user": {"user": "nobody"}}.items():
            for command in ("pull", "push"):
                with self.subTest(f"{what}, {command}"):
                    self.log_in(**settings)
                    result = self.fails([self.registry.name], command, self.name)
                    self.assertTrue(any(word in result.err.lower() for word in ("unauthorized", "basic auth", "login",
                                                                               "denied")), str(result))
                    self.assertNotIn("wrong-word", result.err)

    def test_none(self):
        self.pushed()
        for value in (None, {}, {"auths": {}}, {"auths": {"elsewhere.example": {"auth": "eDp5"}}},
                      {"auths": {self.registry.name: {}}}):
            with self.subTest(value):
                os.remove(self.settings) if value is None else self.write(value)
                self.fails([], "pull", self.name)

    def test_broken_files(self):
        self.train(0, self.name)
        for text in ("{", "[]", '{"auths":[]}', '{"auths":{"%s":{"auth":"%%%%"}}}' % self.registry.name,
                     '{"auths":{"%s":{"auth":5}}}' % self.registry.name, "\0", '{"auths":{"%s":7}}' % self.registry.name,
                     '{"auths":{"%s":{"auth":"bm9jb2xvbg=="}}}' % self.registry.name, '{"auths":' + "[" * 100000,
                     '{"x":"' + "a" * (64 << 20) + '"}'):
            with self.subTest(text[:60]):
                with open(self.settings, "w", encoding="ascii") as stream:
                    stream.write(text)
                self.fails([], "push", self.name)
        self.fails([f"{self.work}/nothing.json"], "push", self.name,
                   env={"REGISTRY_AUTH_FILE": f"{self.work}/nothing.json"})

    def test_a_password_with_odd_characters(self):
        odd = 'a"b\\c:d \u00e4\u20ac/+=\t%{}'
        with engines.Registry(password=odd) as registry:
            name = f"{registry.name}/pht/odd"
            self.train(0, name)
            write_auth(self.settings, registry.name, password=odd)
            result = self.good("push", "-vv", name)
            self.assertNotIn(odd, result.out + result.err)
            self.assertIsNotNone(registry.digest("pht/odd"))


@needs_registry
class Faults(RegistryCase):
    """A registry that does not do what it should; the engine tries some things again by itself."""

    def setUp(self):
        super().setUp()
        self.faulty = engines.FaultyRegistry(self.registry)
        self.addCleanup(self.faulty.close)
        self.train(1, f"{self.faulty.name}/{self.repository}")
        self.name = f"{self.faulty.name}/{self.repository}"
        self.log_in(self.faulty.name)

    def test_pull(self):
        self.good("push", self.name)
        self.train(0, self.name)  # another one under the name, which is to stay
        body = {"errors": [{"code": "TOOMANYREQUESTS", "message": "made-up words of the registry"}]}
        unauthorized = proxy.reply(401, {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]},
                                   WWW_Authenticate='Basic realm="x"')
        manifest = "* /v2/*/manifests/*"
        for what, pattern, action, words in (
                ("401", manifest, unauthorized, ["docker login"]),
                ("403", manifest, proxy.reply(403, {"errors": [{"code": "DENIED", "message": "not you"}]}), []),
                ("429", manifest, proxy.reply(429, body, Retry_After=1), ["made-up words"]),
                ("500", manifest, proxy.reply(500, b"trouble"), []),
                ("cut", manifest, proxy.cut(), []),
                ("cut manifest", "GET /v2/*/manifests/*", proxy.cut_reply(100), []),
                ("no manifest", "GET /v2/*/manifests/*", proxy.reply(200, b"x"), []),
                ("blob gone", "GET /v2/*/blobs/*", proxy.reply(404, {"errors": [{"code": "BLOB_UNKNOWN"}]}), [])):
            with self.subTest(what):
                self.faulty.forget()
                self.faulty.on(pattern, action)
                if what == "blob gone":
                    self.engine.clear()
                start = time.monotonic()
                self.fails(words, "pull", self.name)
                self.assertLess(time.monotonic() - start, 40)
                self.assertTrue(self.faulty.seen(pattern), "not asked for")

    def test_a_blob_cut_halfway(self):
        """The engine goes on where it was cut."""
        self.good("push", self.name)
        wanted = self.engine.id(self.name)
        self.engine.clear()
        self.faulty.on("GET /v2/*/blobs/*", proxy.cut_reply(300), times=2)
        result = self.tt("pull", self.name)
        if result.status == 0:
            self.assertEqual(self.engine.id(self.name), wanted)
        else:
            self.assertEqual(result.status, 8, str(result))
            self.assertEqual(self.engine.images(), {})

    def test_push(self):
        body = {"errors": [{"code": "DENIED", "message": "made-up words of the registry"}]}
        for what, pattern, action, words in (
                ("401", "* /v2/*", proxy.reply(401, body, WWW_Authenticate='Basic realm="x"'), []),
                ("denied", "POST /v2/*/blobs/uploads/*", proxy.reply(403, body), ["denied"]),
                ("manifest refused", "PUT /v2/*/manifests/*", proxy.reply(400, body), []),
                ("manifest 500", "PUT /v2/*/manifests/*", proxy.reply(500, b"trouble"), [])):
            with self.subTest(what):
                self.faulty.forget()
                self.faulty.on(pattern, action)
                self.fails(words, "push", self.name)
                self.assertTrue(self.faulty.seen(pattern), "not asked for")
                self.assertIsNone(self.registry.digest(self.repository))
        self.faulty.forget()
        self.good("push", self.name)

    def test_nobody_listens(self):
        gone = engines.closed_port()
        name = f"{gone}/{self.repository}"
        self.train(1, name)
        for command in ("pull", "push"):
            self.fails([gone], command, name)


@needs_registry
class Streams(RegistryCase):
    """The engine's own answer to a pull or push: a stream of objects, status 200 whatever happens."""

    def setUp(self):
        super().setUp()
        self.lying = engines.LyingDaemon(self.engine)
        self.addCleanup(self.lying.close)
        self.pushed()
        self.client = self.lying

    def test_streams(self):
        good = b'{"status":"Pulling from pht/train","id":"latest"}\r\n'
        flood = proxy.flood
        for what, pieces in {
                "an error at the end": [good, b'{"errorDetail":{"message":"made-up trouble"},"error":"made-up trouble"}\r\n'],
                "an error in the middle": [good, b'{"error":"made-up trouble"}\r\n', good],
                "only details": [b'{"errorDetail":{"code":1,"message":"made-up trouble"}}'],
        }.items():
            with self.subTest(what):
                for command, pattern in (("pull", "POST /images/create*"), ("push", "POST /images/*/push*")):
                    self.lying.forget()
                    self.lying.on(pattern, proxy.chunked(pieces))
                    self.fails(["made-up trouble"], command, self.name)
        for what, action in {
                "no JSON": proxy.chunked([good, b"hello"]), "half an object": proxy.chunked([good, b'{"status":']),
                "cut": proxy.chunked([good], last=False), "nothing": proxy.cut(),
                "numbers": proxy.chunked([b'{"error":5}']), "an array": proxy.chunked([b"[1,2]"]),
                "a huge object": flood(10 << 30, b'{"status":"'), "endless headers": proxy.endless_headers(),
                "deep": proxy.chunked([b"[" * 1000000]), "refused": proxy.refusal(500, "made-up trouble"),
                "zeros": proxy.chunked([b"\0" * 1000])}.items():
            for command, pattern in (("pull", "POST /images/create*"), ("push", "POST /images/*/push*")):
                with self.subTest(f"{command}: {what}"):
                    self.lying.forget()
                    self.lying.on(pattern, action)
                    self.fails([], command, self.name)

    def test_progress_cannot_steer_the_terminal(self):
        self.lying.on("POST /images/*/push*", proxy.chunked([
            json.dumps({"status": "\x1b[2J\x1b]0;evil\x07", "id": "\x1b[31m", "progress": "\u009b2J"}).encode(),
            json.dumps({"error": "\x1b[2J trouble\r\n  (fine)"}).encode()]))
        result = self.fails(["trouble"], "push", "-vv", self.name)
        self.assertFalse(set(result.err) & set("\x1b\x07\u009b"), repr(result.err))

    def test_pulled_but_not_there(self):
        """The engine says that all went well, and has no such image."""
        self.engine.clear()
        self.lying.on("POST /images/create*", proxy.chunked([b'{"status":"done"}']))
        self.fails([], "pull", self.name)

    def test_the_login_travels_in_a_header_only(self):
        seen = []

        def note(exchange):
            seen.append(exchange.head.decode("latin-1"))
            exchange.forward()
        self.lying.on("POST /images/*/push*", note)
        self.good("push", self.name)
        first, *lines = seen[0].split("\r\n")
        encoded = next(line for line in lines if line.lower().startswith("x-registry-auth:")).split(":", 1)[1].strip()
        login = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        self.assertEqual((login["username"], login["password"]), (USER, PASSWORD))
        self.assertNotIn(encoded, first)


if __name__ == "__main__":
    unittest.main()
