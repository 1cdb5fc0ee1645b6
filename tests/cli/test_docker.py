"""Trains in a Docker Engine: names of images, finding the engine, and every sub-command that reads."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import unittest

from support import engine as engines
from support import files as fs
from support import oci, pht, proxy
from support.engine_case import SETTINGS, TRAIN, EngineCase
from support.station import MARKER, STOPS, pool_key, results_of, sample_at
from test_vectors import files_in


@engines.needs_engine()
class Names(EngineCase):
    def test_all_ways_to_write_a_name(self):
        self.train()
        expected = self.engine.id(f"{TRAIN}:latest")
        for name in (TRAIN, f"{TRAIN}:latest", f"docker-daemon:{TRAIN}", f"docker-daemon:{TRAIN}:latest"):
            with self.subTest(name):
                says = self.good("verify", "--json", name, pin=None)
                self.assertEqual((says["image"], says["digest"]), (name, expected))

    def test_a_registrys_host_in_the_name(self):
        opt = sample_at(0)
        for name in ("localhost/train", "localhost:5000/pht/train", "harbor.example:8443/a/b/c_d/e-f.g", "train"):
            with self.subTest(name):
                self.train_of(opt, name=name)
                before = self.engine.tags()
                self.good("verify", f"{name}:base")
                self.good("pre-run", name, station="alpha")
                self.run_code(name, "alpha")
                self.good("post-run", name, station="alpha")
                after = self.engine.tags()
                self.assertEqual(after.keys(), before.keys())
                self.assertEqual(self.opened(name, pool_key("beta")).position, 1)
                self.state = f"{self.work}/state-of-{hashlib.sha256(name.encode()).hexdigest()}"

    def test_other_tags(self):
        self.train()
        self.engine.tag(f"{TRAIN}:latest", f"{TRAIN}:V1.0-x_y")
        before = self.engine.id(f"{TRAIN}:latest")
        self.good("pre-run", f"{TRAIN}:V1.0-x_y", station="alpha")
        self.engine.put(f"{TRAIN}:V1.0-x_y", results_of("alpha"))
        self.good("post-run", f"{TRAIN}:V1.0-x_y", station="alpha")
        self.assertEqual(self.engine.id(f"{TRAIN}:latest"), before)
        self.assertEqual(self.opened(TRAIN, pool_key("beta"), "V1.0-x_y").position, 1)

    def test_what_is_no_name(self):
        for name in ("Upper/case", "a//b", "train:", "train:a:b", "train@sha256:12", "docker-daemon:", "-train", "a b",
                     "train:" + "x" * 129, "train?all=1", "a/../b", "train%2f", "train:x/../y", "x\ny", "a#b"):
            with self.subTest(name):
                mark = self.engine.log_size()
                result = self.tt("verify", "--", name)
                self.assertEqual(result.status, 2, str(result))
                self.assertEqual(self.engine.calls(mark), [])

    def test_an_image_that_is_not_there(self):
        for command, who in (("verify", None), ("inspect", None), ("pre-run", "alpha")):
            self.refused(8, ["pht/nothing:latest is not in", self.engine.socket, "pull"], command, "pht/nothing",
                         station=who)

    def test_a_digest_cannot_be_changed(self):
        self.train()
        name = f"{TRAIN}@sha256:{'ab' * 32}"
        for command in ("pre-run", "post-run"):
            self.refused(2, ["digest"], command, name, station="alpha", pin="wrong")
        self.refused(8, [], "verify", name)

    def test_an_image_that_is_no_train(self):
        self.engine.import_base("plain:latest")
        self.refused(3, ["train_config.json"], "verify", "plain")
        self.engine.import_base("empty-config:latest", [fs.file("opt/train_config.json", b"{}")])
        self.refused(3, [], "verify", "empty-config")

    def test_links_on_the_way(self):
        """/opt, or what lies in it, as a link that leads elsewhere."""
        opt = sample_at(1)
        for where in ("opt", "opt/pht_results", "opt/pht_train", "opt/train_config.json"):
            with self.subTest(where):
                moved = [entry.with_(path="srv/" + path) for path, entry in opt.items()]
                name = "pht/" + where.replace("/", "-").replace("_", "-").replace(".", "-")
                others = [] if where == "opt" else [entry for path, entry in opt.items() if path != where
                                                    and not path.startswith(where + "/")]
                self.engine.import_base(f"{name}:latest", [*moved, *others, fs.symlink(where, f"/srv/{where}")])
                self.refused((3, 4), [], "pre-run", name, station="beta")


@engines.needs_engine()
class Finding(EngineCase):
    """Which engine is meant."""

    def settings(self, **values):
        """A folder as docker keeps its configuration in."""
        folder = f"{self.work}/docker{self._count}"
        self._count += 1
        os.makedirs(folder)
        if values:
            with open(f"{folder}/config.json", "w", encoding="ascii") as stream:
                json.dump(values, stream)
        return folder

    def context(self, folder, name, endpoint, **more):
        place = f"{folder}/contexts/meta/{hashlib.sha256(name.encode()).hexdigest()}"
        os.makedirs(place)
        with open(f"{place}/meta.json", "w", encoding="ascii") as stream:
            json.dump({"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": endpoint,
                                                                             "SkipTLSVerify": False, **more}}}, stream)

    def ask(self, status=0, words=(), **env):
        result = self.tt("verify", TRAIN, pin=None, env={"DOCKER_HOST": None, "DOCKER_CONFIG": None, **env})
        self.assertEqual(result.status, status, str(result))
        for word in words:
            self.assertIn(word, result.err, str(result))
        return result

    def test_by_host(self):
        self.train()
        nowhere = self.settings(currentContext="nothing")
        self.ask(DOCKER_HOST=f"unix://{self.engine.socket}", DOCKER_CONFIG=nowhere, DOCKER_CONTEXT="nothing")

    def test_by_context(self):
        self.train()
        endpoint = f"unix://{self.engine.socket}"
        folder = self.settings()
        self.context(folder, "mine", endpoint)
        self.ask(DOCKER_CONFIG=folder, DOCKER_CONTEXT="mine")
        self.ask(8, ["other"], DOCKER_CONFIG=folder, DOCKER_CONTEXT="other")
        chosen = self.settings(currentContext="mine")
        self.context(chosen, "mine", endpoint)
        self.context(chosen, "away", f"unix://{self.work}/no-socket")
        self.ask(DOCKER_CONFIG=chosen)
        self.ask(8, [f"{self.work}/no-socket"], DOCKER_CONFIG=chosen, DOCKER_CONTEXT="away")
        os.makedirs(f"{self.home}/.docker")
        shutil.copytree(chosen, f"{self.home}/.docker", dirs_exist_ok=True)
        self.ask()

    def test_contexts_as_docker_makes_them(self):
        self.train()
        self.engine.docker("context", "create", "made", "--docker", f"host=unix://{self.engine.socket}")
        try:
            self.ask(DOCKER_CONFIG=self.engine.env()["DOCKER_CONFIG"], DOCKER_CONTEXT="made")
        finally:
            shutil.rmtree(f"{self.engine.home}/docker/contexts")

    def test_a_broken_configuration(self):
        folder = self.settings()
        for text in ("{", "[]", '{"currentContext": 5}', '{"currentContext": "../../x"}', "\0" * 100):
            with self.subTest(text):
                with open(f"{folder}/config.json", "w", encoding="ascii") as stream:
                    stream.write(text)
                result = self.tt("verify", TRAIN, env={"DOCKER_HOST": None, "DOCKER_CONFIG": folder})
                self.assertIn(result.status, (2, 8), str(result))

    @unittest.skipUnless(os.geteuid() == 0, "needs root for a mount name space")
    def test_the_usual_sockets(self):
        self.train()
        for place in ("/run/docker.sock", "/run/podman/podman.sock"):
            with self.subTest(place):
                script = f'mount -t tmpfs tmpfs /run && mkdir -p /run/podman && ln -s {self.engine.socket} {place}' \
                         ' && exec "$@"'
                result = self.tt("verify", TRAIN, pin=None, env={"DOCKER_HOST": None},
                                 before=["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"])
                self.assertEqual(result.status, 0, str(result))
        result = self.tt("verify", TRAIN, pin=None, env={"DOCKER_HOST": None}, before=[
            "unshare", "-m", "--propagation", "private", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh"])
        self.assertEqual(result.status, 8, str(result))
        self.assertIn("/var/run/docker.sock", result.err)
        self.assertIn("podman", result.err)

    def test_nobody_there(self):
        silent = socket.socket(socket.AF_UNIX)
        self.addCleanup(silent.close)
        silent.bind(f"{self.work}/dead")
        with open(f"{self.work}/file", "wb"):
            pass
        for place, word in (("absent", "no such file"), ("dead", "refused"), ("file", "refused")):
            with self.subTest(place):
                self.refused(8, [f"{self.work}/{place}", word], "verify", TRAIN,
                             env={"DOCKER_HOST": f"unix://{self.work}/{place}"})
        self.refused(8, [], "verify", TRAIN, env={"DOCKER_HOST": f"tcp://{engines.closed_port()}"})

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "needs root and setpriv")
    def test_not_permitted(self):
        self.train()
        os.chmod(self.work, 0o755)
        for place in (self.tmp, self.home):
            os.chmod(place, 0o777)
        # The socket is root's; the folders above it may be entered.
        os.chmod(self.engine.path, 0o711)
        mode = os.stat(self.engine.socket).st_mode & 0o777
        os.chmod(self.engine.socket, 0o600)
        try:
            result = self.tt("verify", TRAIN, before=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
        finally:
            os.chmod(self.engine.socket, mode)
            os.chmod(self.engine.path, 0o700)
        self.assertEqual(result.status, 8, str(result))
        self.assertIn("permission denied", result.err.lower())
        self.assertIn(self.engine.socket, result.err)

    def test_what_is_no_host(self):
        for host in ("ssh://user@machine", "unix://", "tcp://", "npipe:////./pipe/x", "relative/path", "tcp://a b:1",
                     "unix://relative", "unix://" + "/x" * 100, "http://127.0.0.1:1@evil/"):
            with self.subTest(host):
                self.refused((2, 8), [], "verify", TRAIN, env={"DOCKER_HOST": host})

    def test_versions(self):
        self.train()
        for version, fits in (("1.40", True), ("1.41", True), ("1.39", False), ("1.24", False), ("1.99", None),
                              ("2.0", None), ("nonsense", None), ("", None), ("1." + "9" * 40, None)):
            with self.subTest(version), engines.LyingDaemon(self.engine) as lying:
                head = f"Api-Version: {version}\r\n".encode()

                def change(answer, head=head):
                    start, _, rest = answer.partition(b"\r\n\r\n")
                    lines = [line for line in start.split(b"\r\n") if not line.lower().startswith(b"api-version:")]
                    return b"\r\n".join(lines) + b"\r\n" + head + b"\r\n" + rest
                lying.on("* /_ping", proxy.forward(change=change))
                lying.on("GET /version", proxy.edited_json(lambda value, v=version: value.update(ApiVersion=v)))
                self.client = lying
                result = self.tt("verify", TRAIN, pin=None)
                if fits is not None:
                    self.assertEqual(result.status, 0 if fits else 8, str(result))
                else:
                    self.assertIn(result.status, (0, 8), str(result))
                if fits is False:
                    self.assertIn("1.40", result.err)


class Certificates:
    """An authority, a server's certificate for 127.0.0.1 and a client's."""

    def __init__(self, folder):
        os.makedirs(folder)
        self.folder = folder

        def openssl(*words):
            subprocess.run(["openssl", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca-key.pem", "-out", "ca.pem", "-days", "2",
                "-subj", "/CN=throw-away authority")
        for name, extra in (("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth"),
                            ("foreign", "subjectAltName=DNS:elsewhere.example")):
            with open(f"{folder}/{name}.ext", "w", encoding="ascii") as stream:
                stream.write(extra + "\n")
            openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}-key.pem", "-out", f"{name}.csr", "-subj",
                    f"/CN={name}")
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
                    "-days", "2", "-out", f"{name}.pem", "-extfile", f"{name}.ext")

    def folder_for(self, place, ca="ca.pem", client=True):
        """As DOCKER_CERT_PATH wants it."""
        os.makedirs(place)
        shutil.copy(f"{self.folder}/{ca}", f"{place}/ca.pem")
        if client:
            shutil.copy(f"{self.folder}/client.pem", f"{place}/cert.pem")
            shutil.copy(f"{self.folder}/client-key.pem", f"{place}/key.pem")
        return place


class RemoteDaemon(proxy.Proxy):
    """An engine on TCP of loopback, without TLS."""

    def __init__(self, engine):
        listener = socket.create_server(("127.0.0.1", 0))
        self.name = f"127.0.0.1:{listener.getsockname()[1]}"
        super().__init__(listener, lambda: proxy.to_unix(engine.socket))


@engines.needs_engine("openssl")
class Remote(EngineCase):
    def stop(self, **env):
        """A whole stop over this connection."""
        name = self.train()
        self.good("verify", name, env=env)
        self.good("pre-run", name, station="alpha", env=env)
        self.run_code(name, "alpha")
        self.good("post-run", name, station="alpha", env=env)
        self.assertEqual(self.opened(name, pool_key("beta")).position, 1)
        self.assert_no_plaintext_in_engine()

    def test_without_tls(self):
        with RemoteDaemon(self.engine) as remote:
            self.stop(DOCKER_HOST=f"tcp://{remote.name}")
            with self.subTest("TLS is wanted, and not spoken there"):
                made = Certificates(f"{self.work}/certificates")
                self.refused(8, [], "verify", TRAIN, env={
                    "DOCKER_HOST": f"tcp://{remote.name}", "DOCKER_TLS_VERIFY": "1", "DOCKER_CLIENT_TIMEOUT": "1",
                    "DOCKER_CERT_PATH": made.folder_for(f"{self.work}/good")})

    def test_with_tls(self):
        made = Certificates(f"{self.work}/certificates")
        theirs = Certificates(f"{self.work}/others")
        good = made.folder_for(f"{self.work}/good")
        with engines.Engine(tls=made.folder) as self.engine:
            env = {"DOCKER_HOST": f"tcp://127.0.0.1:{self.engine.port}", "DOCKER_TLS_VERIFY": "1"}
            self.stop(**env, DOCKER_CERT_PATH=good)
            for what, folder in {"another authority": theirs.folder_for(f"{self.work}/bad"),
                                 "no certificate of ours": made.folder_for(f"{self.work}/none", client=False),
                                 "no folder": f"{self.work}/nothing"}.items():
                with self.subTest(what):
                    mark = self.engine.log_size()
                    result = self.tt("verify", TRAIN, env={**env, "DOCKER_CERT_PATH": folder})
                    self.assertEqual(result.status, 8, str(result))
                    self.assertEqual(self.engine.calls(mark), [])
            with self.subTest("another machine's certificate"):
                for name in ("server.pem", "server-key.pem"):
                    os.replace(f"{made.folder}/{name.replace('server', 'foreign')}", f"{made.folder}/{name}")
                self.engine.restart()
                mark = self.engine.log_size()
                result = self.tt("verify", TRAIN, env={**env, "DOCKER_CERT_PATH": good})
                self.assertEqual(result.status, 8, str(result))
                self.assertEqual(self.engine.calls(mark), [])


@engines.needs_engine()
class Reading(EngineCase):
    """Sub-commands that change nothing say of an image in an engine what they say of it in a layout."""

    def setUp(self):
        super().setUp()
        self.train(2)
        self.layout_ = self.layout_at(2, config={"config": SETTINGS})
        self.before = self.engine.state()

    def tearDown(self):
        self.assertEqual(self.engine.state(), self.before)
        super().tearDown()

    def same(self, *arguments, drop=("image", "digest", "layers"), **more):
        ours = self.good(*arguments, "--json", TRAIN, **more)
        theirs = self.good(*arguments, "--json", self.layout_, **more)
        for name in drop:
            ours.pop(name, None)
            theirs.pop(name, None)
        if "checks" in theirs:  # an engine shows no blobs
            theirs["checks"] = [one for one in theirs["checks"] if one["name"] != "blobs"]
        self.assertEqual(ours, theirs)
        return ours

    def test_verify(self):
        says = self.same("verify", pin=None)
        self.assertEqual((says["position"], says["station"], says["decrypted"]), (2, "gamma", False))

    def test_inspect(self):
        says = self.same("inspect", pin=None)
        self.assertEqual(says["command"], SETTINGS["Entrypoint"] + SETTINGS["Cmd"])
        whole = self.good("inspect", "--json", TRAIN)
        self.assertEqual([one["digest"] for one in whole["layers"]],
                         self.engine.image(f"{TRAIN}:latest")["RootFS"]["Layers"])
        self.assertNotIn("unknown", self.good("inspect", TRAIN).out.lower())

    def test_results(self):
        self.train(3, "pht/home")
        for name in ("pht/home", "docker-daemon:pht/home:latest"):
            out = f"{self.work}/out-{len(name)}"
            self.good("results", name, "-o", out, key="creator")
            with open(f"{out}/gamma.csv", "rb") as stream:
                self.assertEqual(stream.read(), MARKER + b",gamma\n")
            self.assertEqual(files_in(out), pht.relative(
                fs.tree([entry for stop in STOPS for entry in results_of(stop)]), pht.RESULTS))
        for tag in ("latest", "base"):
            self.engine.docker("rmi", f"pht/home:{tag}")
        self.refused(8, [], "results", TRAIN + "-nothing", "-o", f"{self.work}/nothing", key="creator")

    def test_a_tampered_train(self):
        opt = sample_at(2)
        bad = opt["opt/pht_results/beta.csv"]
        broken = bad.with_(content=bad.content[:-1] + bytes([bad.content[-1] ^ 1]))
        self.train_of(opt | {bad.path: broken}, sample_at(0), "pht/bad")
        before = self.everything()
        result = self.tt("pre-run", "pht/bad", station="gamma")
        self.assertEqual(result.status, 4, str(result))
        self.assert_all_is_as(before)
        self.assert_no_plaintext_in_engine()
        for tag in ("latest", "base"):
            self.engine.docker("rmi", f"pht/bad:{tag}")


@engines.needs_engine()
class Seal(EngineCase):
    def setUp(self):
        super().setUp()
        self.definition = f"{self.work}/definition"
        os.mkdir(self.definition)
        with open(f"{self.definition}/entrypoint.sh", "wb") as stream:
            stream.write(b"#!/bin/sh\n# " + MARKER + b"\n")
        os.chmod(f"{self.definition}/entrypoint.sh", 0o755)
        self.engine.import_base("master:latest", changes=(
            'CMD ["/bin/true"]', "ENV A=b", "WORKDIR /srv", "LABEL of=master", "USER user"))

    def argv(self, base="master", image="pht/new"):
        return ["seal", "--definition", self.definition, "--base", base, "--creator", "researcher",
                *(part for name in STOPS for part in ("--stop", f"{name}={self.public(name)}")), image]

    def public(self, name):
        path = f"{self.work}/{name}.pem"
        with open(path, "wb") as stream:
            stream.write(pht.public_pem(pool_key(name)))
        return path

    def test_a_train_is_made(self):
        base = self.engine.image("master")
        for image in ("pht/new", "docker-daemon:registry.example:5000/pht/new:latest"):
            with self.subTest(image):
                name = image.removeprefix("docker-daemon:").removesuffix(":latest")
                command, *options = self.argv(image=image)
                says = self.good(command, "--json", *options, key="creator")
                tags = self.engine.tags()
                self.assertEqual(tags[f"{name}:latest"], tags[f"{name}:base"])
                self.assertEqual(says["digest"], tags[f"{name}:latest"])
                self.assertEqual(says["base_digest"], tags[f"{name}:base"])
                made = self.engine.image(name)
                self.assertEqual(made["RootFS"]["Layers"][:-1], base["RootFS"]["Layers"])
                wanted = {**base["Config"], "Entrypoint": ["/opt/pht_train/entrypoint.sh"], "Cmd": None}
                self.assertEqual(made["Config"], wanted)
                self.assertEqual(self.opened(name, pool_key("alpha")).definition["entrypoint.sh"],
                                 b"#!/bin/sh\n# " + MARKER + b"\n")
        self.assert_no_plaintext_in_engine()
        counted = self.counted()
        self.assertEqual((counted["put"], counted["commit"]), (2, 2))

    def test_through_all_stops_and_home(self):
        self.good(*self.argv(), key="creator")
        for station in STOPS:
            self.good("verify", "pht/new")
            self.good("pre-run", "pht/new", station=station)
            self.run_code("pht/new", station)
            self.good("post-run", "pht/new", station=station)
            self.assert_no_plaintext_in_engine()
        self.good("results", "pht/new", "-o", f"{self.work}/out", key="creator")
        self.assertIn("gamma.csv", os.listdir(f"{self.work}/out"))

    def test_what_cannot_be(self):
        layout = oci.Layout.create(f"{self.work}/base")
        layout.tag("latest", layout.image([oci.SYSTEM]))
        for base, image, status in ((f"oci:{layout.path}", "pht/new", 2), ("master", f"oci:{self.work}/new", 2),
                                    ("nothing", "pht/new", 8), ("master", f"pht/new@sha256:{'0' * 64}", 2)):
            with self.subTest(base=base, image=image):
                self.refused(status, [], *self.argv(base, image), key="creator")

    def test_an_image_that_is_there_already(self):
        self.good(*self.argv(), key="creator")
        first = self.engine.tags()
        result = self.tt(*self.argv(), key="creator")
        second = self.engine.tags()
        if result.status == 0:  # a new train under the same names
            self.assertNotEqual(first["pht/new:latest"], second["pht/new:latest"])
            self.assertEqual(second["pht/new:latest"], second["pht/new:base"])
        else:
            self.assertEqual(first, second)


if __name__ == "__main__":
    unittest.main()
