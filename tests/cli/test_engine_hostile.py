"""The corpus of hostile trains, in a Docker Engine."""

import unittest

from support import engine as engines
from support import hostile, oci
from support.engine_case import SETTINGS, EngineCase


@engines.needs_engine()
class Engine(hostile.HostileCase, EngineCase):
    store = "docker"

    def setUp(self):
        super().setUp()
        self.placed, self.now = set(), None

    def layers(self, twin):
        base, opt = hostile.tree(f"twins/{twin}.base"), hostile.tree(f"twins/{twin}")
        below = [engines.system_layer(), oci.Layer(list(base.values()))]
        return below, below if base == opt else [*below, oci.Layer(oci.difference(base, opt))]

    def place(self, twin, case=None):
        """All cases of a twin come with one load: their lower layers are the same."""
        if twin not in self.placed:
            self.placed.add(twin)
            below, layers = self.layers(twin)
            images = {f"{twin}:base": below, f"{twin}:latest": layers}
            for one in hostile.about()["cases"]:
                if one["twin"] == twin and "docker" in one["stores"] and one.get("after") != "pre-run":
                    images[f"case/{one['name']}:base"] = below
                    images[f"case/{one['name']}:latest"] = [
                        *layers, oci.Layer(hostile.entries(f"cases/{one['name']}"))]
            self.engine.load(images, {"config": SETTINGS})
        return f"case/{case['name']}" if case else twin

    def everything(self, *more):
        """Hundreds of images are listed at the end, not with each case: here, what it may have changed."""
        found = super(EngineCase, self).everything(*more)
        if self.now:
            found["the image"] = self.engine.id(f"{self.now}:latest")
        return found

    def check(self, case, name):
        self.now = name
        super().check(case, name)

    def test_as_trains_arrive(self):
        for twin in hostile.about()["twins"]:
            self.place(twin)
        before = self.engine.state()
        super().test_as_trains_arrive()
        self.assertEqual(self.engine.state(), before)

    def ran(self, name, case):
        self.engine.put(f"{name}:latest", hostile.entries(f"cases/{case['name']}"), f"ran/{case['name']}:latest")
        self.engine.tag(f"{name}:base", f"ran/{case['name']}:base")
        return f"ran/{case['name']}"


if __name__ == "__main__":
    unittest.main()
