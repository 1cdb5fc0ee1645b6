"""Engines differ in how a commit finds what is new: some know what was written, others compare sizes and times. A file
that is only encrypted anew has the size and the time that it had."""

import json
import unittest

from support import engine as engines
from support import pht, proxy, station

TRAIN = "localhost/drivers/train"


class ComparingEngine(engines.Engine):
    def start(self):
        with open(f"{self.path}/daemon.json", "w", encoding="ascii") as stream:
            json.dump({"storage-driver": "vfs"}, stream)
        super().start()


class Drivers(station.Case):
    def two_stops(self, engine):
        engine.load_train(TRAIN, station.sample_at(0))
        for count, label in enumerate(station.STOPS[:2], 1):
            if label not in station.tokens().made:
                station.tokens().add(label)
            self.good("pre-run", f"{TRAIN}:latest", station=label, env=engine.env())
            engine.put(f"{TRAIN}:latest", station.results_of(label))
            self.good("post-run", f"{TRAIN}:latest", station=label, env=engine.env())
            opened = pht.open_train(engine.tree(f"{TRAIN}:latest"), station.pool_key("creator"))
            self.assertEqual(opened.position, count)
            self.assertEqual(sorted(opened.definition), sorted(station.DEFINITION))
            self.assertIn(f"{label}.csv", opened.results)
        self.assertEqual(sorted(engine.containers()), [])

    @engines.needs_engine()
    def test_an_engine_that_compares(self):
        with ComparingEngine() as engine:
            self.two_stops(engine)

    @engines.needs_engine()
    def test_a_store_that_forgets_parents(self):
        with engines.Engine() as engine, engines.LyingDaemon(engine) as lying:
            engine.load_train(TRAIN, station.sample_at(0))
            label = station.STOPS[0]
            if label not in station.tokens().made:
                station.tokens().add(label)
            result = self.good("pre-run", f"{TRAIN}:latest", station=label, env=lying.env())
            self.assertNotIn("containerd", result.err)
            store = [["driver-type", "io.containerd.snapshotter.v1"]]
            lying.on("GET */info", proxy.edited_json(lambda value: value.update(DriverStatus=store)))
            result = self.good("post-run", f"{TRAIN}:latest", station=label, env=lying.env())
            self.assertEqual(result.err.count("containerd"), 1)

    @engines.needs_engine("podman")
    def test_podman(self):
        with engines.Podman() as engine:
            self.two_stops(engine)


if __name__ == "__main__":
    unittest.main()
