"""doctor before a real engine and a real registry: what they answer is what its findings are made of."""

import os
import unittest

from support import engine as engines
from support.engine_case import EngineCase


@engines.needs_engine("docker-registry", "htpasswd")
class Registry(EngineCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = engines.Registry()
        cls.addClassCleanup(cls.registry.close)

    def setUp(self):
        super().setUp()
        self.settings = f"{self.work}/docker"
        os.mkdir(self.settings)

    def environment(self, **more):
        return super().environment(**{"DOCKER_CONFIG": self.settings, **more})

    def findings(self, image, status):
        before = self.engine.state()
        result = self.tt("doctor", "--json", "--image", image, key="alpha", station=None)
        self.assertEqual(result.status, status, str(result))
        self.assertNotIn(engines.PASSWORD, result.out + result.err)
        self.assertEqual(self.engine.state(), before)
        return {one["name"]: (one["verdict"], one["says"]) for one in result.json["findings"]}

    def test_from_nothing_to_a_train_in_the_registry(self):
        name = f"{self.registry.name}/pht/train"
        found = self.findings(name, 8)
        self.assertEqual([found[one][0] for one in ("engine", "image", "registry-login", "registry", "clock")],
                         ["ok", "warning", "warning", "wrong", "ok"], found)
        self.assertIn("as the container engine's", found["clock"][1])
        engines.write_auth(f"{self.settings}/config.json", self.registry.name, password="throw-away-wrong-word")
        found = self.findings(name, 8)
        self.assertEqual((found["registry-login"][0], found["registry"][0]), ("ok", "wrong"), found)
        self.assertIn("docker login", found["registry"][1])
        engines.write_auth(f"{self.settings}/config.json", self.registry.name)
        found = self.findings(name, 0)
        self.assertEqual(found["registry"][0], "warning", found)
        self.assertIn("has no", found["registry"][1])
        self.train(0, name)
        self.good("push", f"{name}:latest")
        found = self.findings(name, 0)
        self.assertEqual((found["image"][0], found["registry"][0]), ("ok", "ok"), found)

    def test_nobody_there(self):
        found = self.findings(f"{engines.closed_port()}/pht/train", 8)
        self.assertEqual(found["registry"][0], "wrong", found)
        self.assertIn("connection refused", found["registry"][1])


if __name__ == "__main__":
    unittest.main()
