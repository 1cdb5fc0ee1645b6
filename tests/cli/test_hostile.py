"""The corpus of hostile trains, in OCI image layouts; and that the corpus is what its script makes."""

import subprocess
import sys
import unittest

from support import hostile, oci
from support.station import Case


class Corpus(Case):
    def test_it_is_what_the_script_makes(self):
        done = subprocess.run([sys.executable, "-B", hostile.CORPUS / "generate", "--check"], stdout=subprocess.PIPE,
                              text=True, check=False)
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.returncode, 0)

    def test_it_is_large_enough(self):
        cases = hostile.about()["cases"]
        self.assertGreaterEqual(sum(set(case["stores"]) == {"oci", "docker"} for case in cases), 150)
        self.assertEqual(len({case["name"] for case in cases}), len(cases))
        for case in cases:
            self.assertTrue(case["says"] and case["row"] and case["by"] in "RSC", case)


class Layouts(hostile.HostileCase):
    store = "oci"

    def place(self, twin, case=None):
        layout = self.layout(hostile.tree(f"twins/{twin}"),
                             None if twin in ("first", "numbers") else hostile.tree(f"twins/{twin}.base"), name="case")
        if case:
            layout.push(hostile.entries(f"cases/{case['name']}"))
        return layout

    def ran(self, layout, case):
        copy = oci.copy_layout(layout, f"{self.work}/{case['name']}")
        copy.push(hostile.entries(f"cases/{case['name']}"))
        return copy



if __name__ == "__main__":
    unittest.main()
