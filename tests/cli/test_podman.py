"""Trains in Podman: what a container engine must do for them that is not Docker's own. Its containers need not start for
that: nothing is run here."""

import os
import shutil
import unittest

from support import engine as engines
from support import files as fs
from support import pht
from support.engine_case import SETTINGS, EngineCase
from support.station import MARKER, STOPS, pool_key, sample, sample_at

REASON = engines.why_not("podman")
NAME = "localhost/pht/train"


@unittest.skipIf(REASON is not None, REASON or "")
class PodmanCase(EngineCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = engines.Podman()
        cls.addClassCleanup(cls.engine.close)

    def setUp(self):
        super().setUp()
        self.before = self.engine.images()

    def tree(self, name=f"{NAME}:latest"):
        return {path: entry for path, entry in self.engine.tree(name).items() if path.startswith("opt/")}

    def holding(self, *markers):
        """Files among Podman's with one of these bytes in them."""
        found = []
        for root, _, names in os.walk(f"{self.engine.path}/data"):
            for name in names:
                path = f"{root}/{name}"
                if os.path.isfile(path) and not os.path.islink(path):
                    with open(path, "rb") as stream:
                        content = stream.read()
                    found += [path for marker in markers if marker in content]
        return found


class Stops(PodmanCase):
    def test_all_stops_and_home(self):
        opt = sample()
        self.train_of(opt, name=NAME)
        base = self.engine.id(f"{NAME}:base")
        settings = self.settings(f"{NAME}:base")
        for index, station in enumerate(STOPS):
            says = self.good("verify", "--json", NAME, pin=None)
            self.assertEqual((says["position"], says["digest"]), (index, self.engine.id(NAME)))
            arrived = self.tree()
            says = self.good("pre-run", "--json", NAME, station=station)
            self.assertEqual(says["digest_after"], self.engine.id(NAME))
            entered = self.tree()
            # Podman hands files out as its container's user's, whoever owns them: owners do not survive there.
            self.assert_same_files(entered, arrived, ("kind", "mode", "mtime", "target"))
            self.assertIn(MARKER, entered["opt/pht_train/entrypoint.sh"].content)
            self.run_code(NAME, station)
            self.good("post-run", NAME, "--rebase", station=station)
            opened = pht.open_train(self.engine.tree(f"{NAME}:latest"), pool_key("creator"))
            self.assertEqual(opened.position, index + 1)
            self.assertEqual(opened.results[f"{station}.csv"], MARKER + b"," + station.encode() + b"\n")
            self.assertEqual(self.settings(NAME), settings)
            self.assertEqual(self.holding(MARKER), [])
            self.assertEqual(self.engine.containers(), {})
        self.assertEqual(self.engine.id(f"{NAME}:base"), base)
        self.good("results", NAME, "-o", f"{self.work}/out", key="creator")
        self.assertIn("gamma.csv", os.listdir(f"{self.work}/out"))

    def settings(self, name):
        """What a train's image says that matters; Podman writes some of the rest in its own way, and adds what it sets
        in any container to what a commit takes over."""
        config = self.engine.image(name)["Config"]
        found = {member: config.get(member) or None for member in ("Entrypoint", "Cmd", "User", "WorkingDir", "Labels",
                                                                   "StopSignal")}
        return {**found, "Env": sorted(set(config["Env"]) - {"container=podman", "TERM=xterm"})}

    def test_same_as_in_a_layout(self):
        self.train_of(sample_at(1), sample_at(0), NAME)
        layout = self.layout_at(1, config={"config": SETTINGS})
        state = self.state
        said = []
        for image, place in ((NAME, "podman"), (layout, "layout")):
            self.state = f"{state}-{place}"
            self.good("pre-run", image, station="beta")
            self.run_code(image, "beta")
            said.append(self.good("post-run", "--json", image, station="beta"))
        for member in ("result_hash", "route_digest", "result_files", "result_bytes", "definition_bytes", "stop"):
            self.assertEqual(said[0][member], said[1][member], member)
        ours, theirs = self.tree(), layout.tree()
        self.assert_same_files(fs.under(ours, pht.RESULTS), fs.under(theirs, pht.RESULTS),
                               ("kind", "mode", "mtime", "target"))

    def test_removed_results_stay_away(self):
        self.train_of(sample_at(2), sample_at(0), NAME)
        self.good("pre-run", NAME, station="gamma")
        self.assertEqual(set(pht.relative(self.tree(), pht.RESULTS)),
                         {"alpha.csv", "plots/alpha.bin", "beta.csv", "plots/beta.bin"})
        self.run_code(NAME, "gamma")
        self.good("post-run", NAME, station="gamma")
        self.good("verify", NAME)

    def test_failures(self):
        opt = sample_at(1)
        last = opt["opt/pht_results/plots/alpha.bin"]
        broken = last.with_(content=last.content[:-1] + bytes([last.content[-1] ^ 1]))
        self.train_of(opt | {last.path: broken}, sample_at(0), NAME)
        before = self.engine.state()
        for status, more in ((4, {}), (7, {"pin": "0000"})):
            if status == 7:
                self.train_of(opt, sample_at(0), NAME)
                before = self.engine.state()
            result = self.tt("pre-run", NAME, station="beta", **more)
            self.assertEqual(result.status, status, str(result))
            self.assertEqual(self.engine.state(), before)
            self.assertEqual(self.holding(MARKER), [])
        self.good("verify", NAME)
        self.assertEqual(self.tt("post-run", NAME, station="beta").status, 9)
        result = self.tt("verify", "localhost/pht/nothing")
        self.assertEqual(result.status, 8, str(result))
        self.good("pre-run", NAME, station="beta")
        self.run_code(NAME, "beta")
        self.engine.api("DELETE", f"/images/{NAME}:base")
        result = self.tt("post-run", NAME, station="beta")
        self.assertEqual(result.status, 8, str(result))
        self.assertIn(":base", result.err)

    def test_what_still_uses_it_is_said(self):
        self.train_of(sample_at(1), sample_at(0), NAME)
        self.good("pre-run", NAME, station="beta")
        self.run_code(NAME, "beta")
        self.engine.tag(f"{NAME}:latest", "localhost/kept/by:me")
        result = self.good("post-run", NAME, station="beta")
        self.assertIn("warning", result.err)
        self.assertIn("localhost/kept/by:me", result.err)

    def test_seal(self):
        self.engine.import_base("localhost/master:latest", changes=('CMD ["/bin/true"]', "ENV A=b"))
        definition = f"{self.work}/definition"
        os.mkdir(definition)
        with open(f"{definition}/main.py", "wb") as stream:
            stream.write(MARKER)
        with open(f"{self.work}/alpha.pem", "wb") as stream:
            stream.write(pht.public_pem(pool_key("alpha")))
        self.good("seal", "--definition", definition, "--base", "localhost/master", "--creator", "me", "--interpreter",
                  "/bin/sh", "--stop", f"alpha={self.work}/alpha.pem", NAME, key="creator")
        self.assertEqual(self.engine.id(f"{NAME}:base"), self.engine.id(NAME))
        self.assertEqual(self.engine.image(NAME)["Config"]["Entrypoint"], ["/bin/sh", "/opt/pht_train/main.py"])
        self.assertEqual(pht.open_train(self.engine.tree(NAME), pool_key("alpha")).definition["main.py"], MARKER)
        self.assertEqual(self.holding(MARKER), [])

    def test_run_says_why_it_cannot(self):
        """Where Podman starts no container, the run ends with its words, and the image is as it came."""
        self.train_of(sample_at(0), name=NAME)
        before = self.engine.id(NAME)
        result = self.tt("run", NAME, station="alpha", timeout=120)
        if result.status == 0:
            self.assertEqual(pht.open_train(self.engine.tree(NAME), pool_key("creator")).position, 1)
        else:
            self.assertIn(result.status, (8, 10), str(result))
            self.assertEqual(self.engine.id(NAME), before)
        self.assertEqual(self.engine.containers(), {})
        self.assertEqual(self.holding(MARKER), [])


@unittest.skipUnless(shutil.which("docker-registry") and shutil.which("htpasswd"), "needs docker-registry and htpasswd")
class Moving(PodmanCase):
    @classmethod
    def setUpClass(cls):
        cls.registry = engines.Registry()
        cls.addClassCleanup(cls.registry.close)
        cls.engine = engines.Podman(plain=[cls.registry.name])
        cls.addClassCleanup(cls.engine.close)

    def test_push_and_pull(self):
        name = f"{self.registry.name}/pht/podman"
        self.train_of(sample_at(1), sample_at(0), name)
        result = self.tt("push", name)
        self.assertEqual(result.status, 8, str(result))
        engines.write_auth(f"{self.work}/auth.json", self.registry.name)
        env = {"REGISTRY_AUTH_FILE": f"{self.work}/auth.json"}
        self.good("push", name, env=env)
        self.assertIsNotNone(self.registry.digest("pht/podman"))
        self.engine.clear()
        self.good("pull", name, env=env)
        self.good("verify", name)
        self.assertEqual(pht.open_train(self.engine.tree(name), pool_key("beta")).position, 1)
        self.assertEqual(self.tt("pull", f"{self.registry.name}/pht/nothing", env=env).status, 8)


if __name__ == "__main__":
    unittest.main()
