"""docs/token-matrix.md holds: what each module can do here is what stands there, and it is whole."""

import json
import unittest

from support import matrix
from support.station import SANITIZED

# It opens modules with RTLD_DEEPBIND, which the sanitizers' run-time refuses.
LOADERS = [one for one in matrix.LOADERS if not (SANITIZED and one == "provider")]
# The others leak, and are no concern of the sanitizers.
MODULES = matrix.MODULES[:1] if SANITIZED else matrix.MODULES


def written():
    return matrix.verdicts(matrix.DOCUMENT.read_text(encoding="utf-8"))


def measured(rows):
    """As the document names them."""
    return {(row["module"], row["loader"], operation, int(bits)): cell["way"]
            for row in rows for operation, cells in row["cells"].items() for bits, cell in cells.items()}


class Matrix(unittest.TestCase):
    maxDiff = None

    def test_it_says_what_is_measured(self):
        system = matrix.release()
        if system not in ("Debian 12", "Debian 13"):
            self.skipTest(f"docs/token-matrix.md is not of {system}")
        for module in MODULES:
            with self.subTest(module=module.name):
                missing = module.why_not()
                if missing:
                    self.skipTest(f"needs {missing}")
                rows, _ = matrix.measure_module(module, LOADERS, sizes=(2048,), count=2, remote=False,
                                                with_overhead=False, say=lambda words: None)
                found = measured(rows)
                self.assertEqual(len(found), len(LOADERS) * len(matrix.OPERATIONS))
                stands = {key: way for key, way in written()[system].items() if key in found}
                self.assertEqual(stands, found, "docs/token-matrix.md is stale: run scripts/test --matrix\n"
                                 + json.dumps(rows, indent=1))

    def test_it_is_whole(self):
        wanted = {(module.title + behind, loader, operation, bits)
                  for module in matrix.MODULES for behind in ("", " behind p11-kit") for loader in matrix.LOADERS
                  for operation in matrix.OPERATIONS for bits in matrix.SIZES}
        verdicts = written()
        self.assertEqual(sorted(verdicts), ["Debian 12", "Debian 13"])
        for system, cells in verdicts.items():
            self.assertEqual(set(cells), wanted, system)
            self.assertLessEqual(set(cells.values()), {"native", "raw", "no"}, system)

    def test_it_can_be_read_back(self):
        cell, no = {"way": "raw", "ms": 12.34}, {"way": "no", "why": "it | will *not*"}
        cells = {operation: {str(bits): no if bits == 4096 else cell for bits in matrix.SIZES}
                 for operation in matrix.OPERATIONS}
        rows = [{"module": "Some", "remote": False, "loader": "engine", "cells": cells}]
        text = matrix.document([{"system": "Debian 99", "when": "now", "machine": "any", "cores": 1, "load": 0.0, "count": 1,
                                 "rounds": 1, "versions": [["OpenSSL", "9"]], "rows": rows, "overheads": []}])
        self.assertEqual(matrix.verdicts(text), {"Debian 99": measured(rows)})
        self.assertIn("no (1)", text)


if __name__ == "__main__":
    unittest.main()
