"""docs/threat-model.md keeps its word: each attack has tests, and each test that it names is there."""

import json
import re
import unittest

from support.station import SOURCE

DOCUMENT = SOURCE / "docs" / "threat-model.md"
CORPUS = SOURCE / "tests" / "vectors" / "hostile" / "cases.json"
# What the existing implementation lets through, 24 attacks; what was found beyond them has higher numbers, or letters.
KNOWN = {str(number) for number in range(1, 25)}


def tables():
    """Each table's rows, as lists of cells, without head and rule."""
    found, rows = [], []
    for line in [*DOCUMENT.read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            found.append((rows[0], rows[2:]))
            rows = []
    return found


def numbered(words):
    """The attacks that a cell of the table of tests is about: "8, 9b, 18 to 20"."""
    rows = set()
    for first, last in re.findall(r"\b(\d+[a-z]?)(?: to (\d+))?\b", words):
        rows |= {first} | ({str(number) for number in range(int(first), int(last) + 1)} if last else set())
    return rows


def attacks():
    return {row[0]: row for head, rows in tables() if head[0] == "#" for row in rows}


def tests():
    return [row for head, rows in tables() if head == ["rows", "tests"] for row in rows]


def path_of(name):
    return SOURCE / name if "/" in name else SOURCE / "tests" / "cli" / name


def is_in(name, text):
    """Is that a class or a function there? A name that ends in an ellipsis is how several begin."""
    words = re.escape(name.rstrip("…")) + ("" if name.endswith("…") else r"\b")
    return re.search(rf"^\s*(?:class|def|static void|void) {words}", text, re.M) is not None


class ThreatModel(unittest.TestCase):
    maxDiff = None

    def test_every_attack_is_listed(self):
        self.assertLessEqual(KNOWN, set(attacks()))

    def test_every_attack_has_tests(self):
        self.assertEqual(set(attacks()), set.union(*(numbered(row[0]) for row in tests())))

    def test_the_tests_exist(self):
        for rows, names in tests():
            path = None
            for name in re.findall(r"`([^`]+)`", names):
                with self.subTest(rows=rows, name=name):
                    if re.search(r"\.(py|c)$|/", name):
                        path = path_of(name)
                        self.assertTrue(path.exists(), f"there is no {path}")
                    else:
                        self.assertTrue(is_in(name, path.read_text(encoding="utf-8")), f"{path} has no {name}")

    def test_the_corpus_is_of_these_attacks(self):
        cases = json.loads(CORPUS.read_text(encoding="utf-8"))["cases"]
        self.assertLessEqual({str(case["row"]) for case in cases}, set(attacks()))
        named = set.union(*(numbered(row[0]) for row in tests() if "test_hostile.py" in row[1]))
        self.assertEqual(named, {str(case["row"]) for case in cases})


if __name__ == "__main__":
    unittest.main()
