"""The corpus of hostile trains (tests/vectors/hostile), as cases for the tests: what each store does with it is said by
a test of its own."""

import functools
import gzip
import json

from support import files as fs
from support.station import PIN, VECTORS, Case, pool_key

CORPUS = VECTORS / "hostile"
NO_MODULE = "/nonexistent/module.so"
KEYS = {"7": "alpha", "8": "beta", "7.0": "alpha", "delta": "alpha"}


@functools.cache
def about():
    return json.loads((CORPUS / "cases.json").read_text("utf-8"))


@functools.cache
def entries(name):
    return fs.read_tar(gzip.decompress((CORPUS / f"{name}.tar.gz").read_bytes()))


def tree(name):
    return {entry.path: entry for entry in entries(name)}


class HostileCase(Case):
    """`place(twin, case)` puts a train into the store and gives its name: the twin, with the case's layer or None on
    top of it; `store` is what the corpus calls that store."""

    store = None

    def setUp(self):
        super().setUp()
        for station in ("7", "8"):
            self.pin("stations", station, pool_key(KEYS[station]))

    def environment(self, **more):
        return super().environment(**{"TRAINTOKEN_TRUST_TRAIN_KEYS": None, **more})

    def cases(self, after=None):
        found = [case for case in about()["cases"] if self.store in case["stores"] and case.get("after") == after]
        self.assertTrue(found)
        return found

    def key_of(self, station):
        return KEYS.get(station, station)

    def check(self, case, name):
        """The case is refused as it must be; where public data decides, no module is asked: there is none."""
        status = tuple(case["status"]) if isinstance(case["status"], list) else case["status"]
        station = case["station"]
        self.refused(status, case["words"], case["command"], name, station=station, key=self.key_of(station),
                     module=True if case["token"] else NO_MODULE, pin=PIN if case["token"] else None)

    def honest(self, twin):
        """The twin is not refused: neither by public data (only the module is missed) nor in the end."""
        station = about()["twins"][twin]["station"]
        name = self.place(twin)
        self.refused(6, [NO_MODULE], "pre-run", name, station=station, key=self.key_of(station), module=NO_MODULE,
                     pin=None)
        self.good("pre-run", name, station=station, key=self.key_of(station))
        return name

    # ------------------------------------------------------------------------------------------ the tests

    def test_honest_twins(self):
        for twin in about()["twins"]:
            with self.subTest(twin):
                self.honest(twin)

    def test_as_trains_arrive(self):
        """Rows 1, 2, 4 to 11 and 19 to 23."""
        for case in self.cases():
            with self.subTest(case["name"], says=case["says"]):
                self.check(case, self.place(case["twin"], case))

    def test_what_the_code_leaves(self):
        """Rows 3 and 10 to 12: between pre-run and post-run."""
        name = self.honest("second")
        for case in self.cases("pre-run"):
            with self.subTest(case["name"], says=case["says"]):
                self.check(case, self.ran(name, case))
        self.run_code(name, "beta")
        self.good("post-run", name, station="beta")

    def test_an_older_state(self):
        """Row 6: after the stop was done."""
        name = self.honest("second")
        self.run_code(name, "beta")
        self.good("post-run", name, station="beta")
        for case in self.cases("stop"):
            with self.subTest(case["name"], says=case["says"]):
                self.check(case, self.place(case["twin"], case))
