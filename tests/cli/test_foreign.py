"""One train, two implementations: the independent checker and traintoken alternate stops in every order."""

import itertools
import os
import unittest

from support import files as fs
from support import oci, pht
from support.station import DEFINITION, QUERY, STOPS, Case, pool_key, results_of, sample, tokens, vector_key


def by_checker(case, layout, station):
    """A whole stop done by the checker, written back as images as other station software does."""
    base = layout.tree("base")
    plain = pht.pre_run(layout.tree("latest"), station, pool_key(station))
    executed = dict(plain) | {entry.path: entry for entry in results_of(station)}
    after = pht.post_run(executed, plain[pht.CONFIG].content, base, station, pool_key(station))
    layout.push(oci.difference(base, after), on="base", tag="latest")
    drop_unreachable(layout)


def by_traintoken(case, layout, station):
    case.good("pre-run", layout, station=station)
    case.run_code(layout, station)
    case.good("post-run", layout, station=station)


def drop_unreachable(layout):
    for digest in set(layout.blobs()) - layout.reachable():
        os.remove(layout.blob_path(digest))


class Alternating(Case):
    def test_every_order(self):
        for ways in itertools.product((by_checker, by_traintoken), repeat=3):
            names = [way.__name__ for way in ways]
            with self.subTest(ways=names):
                layout = self.layout(sample())
                for station, way in zip(STOPS, ways):
                    way(self, layout, station)
                opened = self.open(layout, pool_key("creator"))
                self.assertEqual(opened.position, 3)
                self.assertEqual(opened.query, QUERY)
                self.assertEqual(set(opened.results), {name for station in STOPS
                                                       for name in (f"{station}.csv", f"plots/{station}.bin")})
                self.good("results", layout, "-o", f"{self.work}/{'-'.join(names)}", key="creator")


class Trains(Case):
    """Trains of many forms, made by the checker, through one stop of traintoken."""

    def test_forms(self):
        definition = {"main.py": b"print()"}
        many = {f"d{place % 7}/f{place}.txt": bytes([place % 256]) * (place % 40) for place in range(300)}
        odd = {"Ärzte/ü.txt": b"1", "with space": b"2", "-dash": b"3", "a'b\"c": b"4", "back\\slash": b"5",
               "é" * 60 + "/" + "x" * 200: b"6", "a.b/c": b"7", "a/c": b"8", "a-b/c": b"9"}
        forms = {
            "compact, no query": dict(definition=definition, query=None, style="compact"),
            "numeric creator id": dict(creator_id=2**53 - 1),
            "non-ASCII creator id": dict(creator_id="forschéř-ü"),
            "leading ./ in file_list": dict(definition=definition, file_list=["./main.py"]),
            "query.json in file_list": dict(definition=definition, file_list=["main.py", "query.json"]),
            "order of file_list": dict(definition={"b": b"2", "a": b"1", "c/d": b"3"}, file_list=["c/d", "b", "a"]),
            "many files": dict(definition=many),
            "odd names": dict(definition=odd),
            "empty files alone": dict(definition={"a": b"", "b": b""}, query=b""),
            "unknown members": dict(extra={"zz": [1, {"a": None}], "id": 5, "@context": {"x": 1.50}}),
        }
        for name, form in forms.items():
            with self.subTest(form=name):
                opt = sample(["alpha"], **form)
                layout = self.layout(opt)
                self.good("pre-run", layout, station="alpha")
                want = pht.pre_run(opt, "alpha", pool_key("alpha"))
                have = layout.tree("latest")
                self.assert_same_files(fs.under(have, "opt"), fs.under(want, "opt"))
                self.run_code(layout, "alpha")
                self.good("post-run", layout, station="alpha")
                opened = self.open(layout, pool_key("creator"))
                self.assertEqual(set(opened.results), {"alpha.csv", "plots/alpha.bin"})

    def test_unknown_members_stay_as_they_are(self):
        opt = sample(["alpha"])
        text = opt[pht.CONFIG].content
        text = text.replace(b'"proposal_id": 1,', b'"proposal_id": 1 ,\t"n\\u00e9w" : [1.50, -0, "\\u002f"],')
        text = text.replace(b'"eco_system": "tue",', b'"eco_system": "tue", "hop": {"k":[ ]},')
        layout = self.layout(opt | {pht.CONFIG: fs.file(pht.CONFIG, text)})
        by_traintoken(self, layout, "alpha")
        after = layout.tree("latest")[pht.CONFIG].content
        for piece in (b'"proposal_id": 1 ,\t"n\\u00e9w" : [1.50, -0, "\\u002f"],', b'"hop": {"k":[ ]},'):
            self.assertTrue(piece in after, piece)

    def test_station_ids_compare_as_text(self):
        for written, asked in ((7, "7"), ("7", "7"), ("süd/1", "süd/1"), (-3, "-3"), ("..", ".."), ("a b", "a b")):
            with self.subTest(station=written):
                layout = self.layout(sample([(written, pool_key("alpha")), "beta"]))
                self.good("pre-run", layout, station=asked, key="alpha")
                self.run_code(layout, "x")
                self.good("post-run", layout, station=asked, key="alpha")
                self.assertEqual(self.open(layout, pool_key("beta")).position, 1)
                by_traintoken(self, layout, "beta")

    def test_key_sizes_mixed(self):
        stops = [("small", pool_key("alpha")), ("middle", pool_key("wide")),
                 ("large", vector_key("wide", "tuebingen"))]
        layout = self.layout(sample(stops))
        for name, key in stops:
            if name not in tokens().made:
                tokens().add(name, key)
            by_traintoken(self, layout, name)
        self.assertEqual(self.open(layout, pool_key("creator")).position, 3)

    def test_a_session_where_station_and_creator_share_a_key(self):
        layout = self.layout(sample([("alpha", pool_key("creator"))]))
        self.good("pre-run", layout, station="alpha", key="creator")
        self.run_code(layout, "alpha")
        self.good("post-run", layout, station="alpha", key="creator")
        self.good("results", layout, "-o", f"{self.work}/out", key="creator")

    def test_a_stop_that_writes_nothing(self):
        layout = self.layout(sample(definition=DEFINITION))
        self.good("pre-run", layout, station="alpha")
        self.good("post-run", layout, station="alpha")
        self.assertEqual(self.open(layout, pool_key("beta")).results, {})
        by_traintoken(self, layout, "beta")

    def test_no_results_folder_at_the_first_stop(self):
        opt = sample()
        del opt[pht.RESULTS]
        layout = self.layout(opt)
        by_traintoken(self, layout, "alpha")
        self.assertEqual(self.open(layout, pool_key("beta")).position, 1)

    def test_a_stop_may_remove_and_change_earlier_results(self):
        layout = self.layout_at(1)
        self.good("pre-run", layout, station="beta")
        layout.push([oci.whiteout("opt/pht_results/plots"), fs.file("opt/pht_results/alpha.csv", b"changed", 0o600)])
        self.good("post-run", layout, station="beta")
        self.assertEqual(self.open(layout, pool_key("creator")).results, {"alpha.csv": b"changed"})


if __name__ == "__main__":
    unittest.main()
