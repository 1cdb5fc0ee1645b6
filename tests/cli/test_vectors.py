"""traintoken on the protocol's test vectors, in both directions: it reads what the other implementation wrote, and the
independent checker and the next station read what traintoken wrote."""

import hashlib
import json
import os
import unittest

from support import files as fs
from support import oci, pht
from support.station import VECTORS, Case, difference, snapshot, tokens, vector, vector_key

FAMILIES = {}
for _family in ("basic", "wide"):
    with open(f"{VECTORS}/{_family}/expected.json", encoding="utf-8") as _stream:
        FAMILIES[_family] = json.load(_stream)

STOPS = [(family, index, station) for family, expected in FAMILIES.items()
         for index, station in enumerate(expected["stations"])]


def hashed(plain):
    return {name: hashlib.sha512(content).hexdigest() for name, content in plain.items()}


def results_only(tree):
    return fs.under(tree, pht.RESULTS)


class VectorCase(Case):
    def key(self, family, who):
        label = f"{family}-{who}"
        if label not in tokens().made:
            tokens().add(label, vector_key(family, who))
        return label

    def arrived(self, family, index):
        opt = vector(family, f"stop{index}")
        return self.layout(opt, vector(family, "stop0") if index else None)

    def pre_run(self, layout, family, station):
        return self.good("pre-run", "--json", layout, station=station, key=self.key(family, station))

    def post_run(self, layout, family, station, *more):
        return self.good("post-run", "--json", *more, layout, station=station, key=self.key(family, station))


class PreRun(VectorCase):
    def test_it_gives_the_decrypted_state(self):
        for family, index, station in STOPS:
            with self.subTest(family=family, stop=index):
                layout = self.arrived(family, index)
                arrived = layout.tree("latest")
                base = layout.tree("base")
                says = self.pre_run(layout, family, station)
                layout.check()
                ours = layout.tree("latest")
                theirs = {**arrived, **vector(family, f"stop{index}.decrypted")}
                self.assert_same_files(ours, theirs, ("kind", "content", "target"))
                # The other implementation loses x bits, owners and times of what it decrypts; we keep them.
                self.assert_same_files(ours, arrived, ("kind", "mode", "uid", "gid", "mtime", "target"))
                self.assertEqual(layout.tree("base"), base)
                expected = FAMILIES[family]
                self.assertEqual((says["stop"], says["stops"], says["station"]),
                                 (index, len(expected["stations"]), station))
                self.assertEqual(says["session_id"], expected["session_id"])
                self.assertEqual(says["key"]["bits"], vector_key(family, station).key_size)
                plain = pht.relative(ours, pht.DEFINITION)
                self.assertEqual(says["definition_files"], len(plain))
                self.assertEqual(says["definition_bytes"], sum(map(len, plain.values())))
                self.assertEqual(says["result_bytes"], sum(map(len, pht.relative(ours, pht.RESULTS).values())))

    def test_the_last_state_is_nobodys_turn(self):
        for family, expected in FAMILIES.items():
            with self.subTest(family=family):
                layout = self.arrived(family, len(expected["stations"]))
                for station in expected["stations"]:
                    self.refused(9, [], "pre-run", layout, station=station, key=self.key(family, station))


class PostRun(VectorCase):
    def check(self, layout, family, index, says):
        expected = FAMILIES[family]["stops"][index]
        self.assertEqual(says["result_hash"], expected["result_hash"])
        self.assertEqual(says["route_digest"], expected["digest"])
        executed = vector(family, f"stop{index}.executed")
        for who in [*FAMILIES[family]["stations"], "user"]:
            opened = self.open(layout, vector_key(family, who))
            self.assertEqual(opened.position, index + 1)
            self.assertEqual(hashed(opened.definition), FAMILIES[family]["train_files"])
            self.assertEqual(hashed(opened.results), expected["results"])
            self.assertNotIn(opened.secret.hex(), FAMILIES[family]["symmetric_keys"])
        after = layout.tree("latest")
        links = [(entry.path, entry.target) for entry in results_only(after) if entry.kind == fs.SYMLINK]
        self.assertEqual(links, [(entry.path, entry.target) for entry in results_only(executed)
                                 if entry.kind == fs.SYMLINK])
        self.assert_same_files(results_only(after), results_only(executed),
                               ("kind", "mode", "uid", "gid", "mtime", "target"))
        self.assertEqual(layout.reachable(), set(layout.blobs()))

    def test_after_our_pre_run(self):
        for family, index, station in STOPS:
            with self.subTest(family=family, stop=index):
                layout = self.arrived(family, index)
                self.pre_run(layout, family, station)
                before = layout.tree("latest")
                executed = vector(family, f"stop{index}.executed")
                layout.push(oci.difference(before, executed, pht.RESULTS))
                self.check(layout, family, index, self.post_run(layout, family, station))
                # Modes, owners and times of the definition are the arrived train's.
                self.assert_same_files(fs.under(layout.tree("latest"), pht.DEFINITION),
                                       fs.under(before, pht.DEFINITION),
                                       ("kind", "mode", "uid", "gid", "mtime"))

    def test_after_the_other_implementations_pre_run(self):
        for family, index, station in STOPS:
            with self.subTest(family=family, stop=index):
                executed = vector(family, f"stop{index}.executed")
                layout = self.layout(executed, vector(family, "stop0"))
                config = f"{self.work}/verified-{family}-{index}.json"
                with open(config, "wb") as stream:
                    stream.write(executed[pht.CONFIG].content)
                says = self.post_run(layout, family, station, "--config", config)
                self.check(layout, family, index, says)

    def test_a_fresh_iv_for_every_file(self):
        layout = self.arrived("wide", 0)
        self.pre_run(layout, "wide", "tuebingen")
        layout.push(results_only(vector("wide", "stop0.executed")))
        self.post_run(layout, "wide", "tuebingen")
        after = layout.tree("latest")
        starts = [content[:16] for root in (pht.DEFINITION, pht.RESULTS)
                  for content in pht.relative(after, root).values()]
        self.assertEqual(len(set(starts)), len(starts))


class Sessions(VectorCase):
    def test_all_stations_in_one_layout_and_home(self):
        for family, expected in FAMILIES.items():
            with self.subTest(family=family):
                layout = self.arrived(family, 0)
                for index, station in enumerate(expected["stations"]):
                    self.pre_run(layout, family, station)
                    executed = vector(family, f"stop{index}.executed")
                    layout.push(oci.difference(layout.tree("latest"), executed, pht.RESULTS))
                    says = self.post_run(layout, family, station)
                    self.assertEqual(says["route_digest"], expected["stops"][index]["digest"])
                home = f"{self.work}/home-{family}"
                says = self.good("results", "--json", layout, "-o", home, key=self.key(family, "user"))
                self.assertEqual(says["result_hash"], expected["stops"][-1]["result_hash"])
                self.assertEqual(hashed(files_in(home)), expected["stops"][-1]["results"])

    def test_the_other_implementations_results(self):
        for family, expected in FAMILIES.items():
            with self.subTest(family=family):
                layout = self.arrived(family, len(expected["stations"]))
                home = f"{self.work}/results-{family}"
                before = snapshot(layout.path)
                self.good("results", layout, "-o", home, key=self.key(family, "user"))
                self.assertEqual(hashed(files_in(home)), expected["stops"][-1]["results"])
                self.assertEqual(difference(before, snapshot(layout.path)), [])

    def test_verify_without_any_key(self):
        for family, expected in FAMILIES.items():
            for index in range(len(expected["stations"]) + 1):
                with self.subTest(family=family, stop=index):
                    layout = self.arrived(family, index)
                    before = snapshot(layout.path)
                    says = self.good("verify", "--json", layout, pin=None)
                    self.assertEqual((says["position"], says["stops"]), (index, len(expected["stations"])))
                    self.assertEqual(says["station"], [*expected["stations"], None][index])
                    self.assertFalse(says["decrypted"])
                    self.assertEqual({check["result"] for check in says["checks"]}, {"ok", "needs-key"})
                    self.assertEqual(difference(before, snapshot(layout.path)), [])


def files_in(place):
    """Contents of the regular files under a folder, by relative path."""
    found = {}
    for root, _, names in os.walk(place):
        for name in names:
            path = f"{root}/{name}"
            if not os.path.islink(path):
                with open(path, "rb") as stream:
                    found[os.path.relpath(path, place)] = stream.read()
    return found


if __name__ == "__main__":
    unittest.main()
