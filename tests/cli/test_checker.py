"""The independent checker on the protocol's test vectors: what later tests rely on is right itself."""

import hashlib
import json
import tempfile
import unittest

from support import files as fs
from support import oci, pht
from support.station import VECTORS, vector, vector_key


class Vectors(unittest.TestCase):
    def opened(self, family, index, who):
        return pht.open_train(vector(family, f"stop{index}"), vector_key(family, who))

    def each_state(self):
        for family in ("basic", "wide"):
            with open(f"{VECTORS}/{family}/expected.json", encoding="utf-8") as stream:
                expected = json.load(stream)
            for index in range(len(expected["stations"]) + 1):
                yield family, expected, index

    def test_everything_expected(self):
        for family, expected, index in self.each_state():
            # The first key is wrapped for the first stop alone.
            for who in [*expected["stations"], "user"] if index else expected["stations"][:1]:
                opened = self.opened(family, index, who)
                self.assertEqual(opened.position, index)
                self.assertEqual(opened.secret.hex(), expected["symmetric_keys"][index])
                self.assertEqual(opened.train.session_id.hex(), expected["session_id"])
                self.assertEqual([stop["station"] for stop in opened.train.stops], expected["stations"])
                self.assertEqual(hashed(opened.definition), expected["train_files"])
                query = None if opened.query is None else hashlib.sha512(opened.query).hexdigest()
                self.assertEqual(query, expected["query_sha512"])
                before = expected["stops"][:index]
                self.assertEqual(hashed(opened.results), before[-1]["results"] if before else {})
                for stop, says in zip(opened.train.stops, before):
                    self.assertEqual(stop["signature"][0].hex(), says["digest"])
                if before:
                    self.assertEqual(opened.train.result_hash.hex(), before[-1]["result_hash"])

    def test_pre_run_gives_the_decrypted_state(self):
        for family, expected, index in self.each_state():
            if index == len(expected["stations"]):
                continue
            station = expected["stations"][index]
            ours = pht.pre_run(vector(family, f"stop{index}"), station, vector_key(family, station))
            theirs = vector(family, f"stop{index}.decrypted")
            self.assertEqual(contents(ours), contents(theirs), (family, index))

    def test_post_run_goes_on(self):
        for family, expected, index in self.each_state():
            if index == len(expected["stations"]):
                continue
            station, base = expected["stations"][index], vector(family, "stop0")
            executed = vector(family, f"stop{index}.executed")
            after = pht.post_run(executed, executed[pht.CONFIG].content, base, station, vector_key(family, station))
            opened = pht.open_train(after, vector_key(family, "user"))
            self.assertEqual(opened.position, index + 1)
            says = expected["stops"][index]
            self.assertEqual(opened.train.result_hash.hex(), says["result_hash"])
            self.assertEqual(opened.train.stops[index]["signature"][0].hex(), says["digest"])
            self.assertEqual(hashed(opened.results), says["results"])

    def test_a_flipped_bit_anywhere_in_the_configuration_is_refused(self):
        good = vector("basic", "stop2")
        config = pht.load_config(good[pht.CONFIG].content)
        for steps in (["hash"], ["signature"], ["build", "signature"], ["result_hash"], ["result_signature"],
                      ["session_id"], ["route", 0, "signature", "digest"], ["route", 0, "signature", "signature"],
                      ["route", 1, "signature", "digest"], ["route", 1, "signature", "signature"],
                      ["creator", "encrypted_key"]):
            with self.subTest(member=steps):
                changed = json.loads(json.dumps(config))
                holder = changed
                for step in steps[:-1]:
                    holder = holder[step]
                value = holder[steps[-1]]
                holder[steps[-1]] = value[:40] + f"{int(value[40], 16) ^ 1:x}" + value[41:]
                bad = good | {pht.CONFIG: fs.file(pht.CONFIG, pht.dump_config(changed))}
                with self.assertRaises(pht.Refused):
                    pht.open_train(bad, vector_key("basic", "station_3"))

    def test_made_here_opened_here(self):
        key = vector_key("basic", "station_1")
        made = pht.seal({"main.py": b"print()", "a/b": b""}, [("one", key)], 7, key, query=b"{}", style="compact")
        opened = pht.open_train(made, key)
        self.assertEqual((opened.definition, opened.query), ({"main.py": b"print()", "a/b": b""}, b"{}"))


class Layouts(unittest.TestCase):
    def test_written_and_read_back(self):
        opt = vector("basic", "stop2")
        with tempfile.TemporaryDirectory(prefix="traintoken-test-") as work:
            for compression in (None, "gzip", "zstd"):
                with self.subTest(compression=compression):
                    base = vector("basic", "stop0")
                    layout = oci.train_layout(f"{work}/{compression}", opt, base, compression=compression)
                    layout.check()
                    self.assertEqual(layout.reachable(), set(layout.blobs()))
                    self.assertEqual(under_opt(layout.tree("latest")), opt)
                    self.assertEqual(under_opt(layout.tree("base")), base)
                    less = {path: entry for path, entry in opt.items() if "plots" not in path}
                    layout.push(oci.difference(opt, less), tag="less")
                    self.assertEqual(under_opt(layout.tree("less")), less)
                    layout.push([oci.opaque("opt/pht_results"), fs.file("opt/pht_results/x")], tag="opaque")
                    self.assertEqual([one for one in layout.tree("opaque") if "pht_results/" in one],
                                     ["opt/pht_results/x"])


def under_opt(tree):
    return {entry.path: entry for entry in fs.under(tree, "opt")}


def hashed(plain):
    return {name: hashlib.sha512(content).hexdigest() for name, content in plain.items()}


def contents(tree):
    return {path: (entry.kind, entry.content, entry.target) for path, entry in tree.items()}


if __name__ == "__main__":
    unittest.main()
