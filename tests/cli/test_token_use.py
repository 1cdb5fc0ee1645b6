"""What the token is asked for, seen by OpenSC's pkcs11-spy between traintoken and SoftHSM."""

import glob
import os
import re
import unittest

from support import manifest
from support.station import PIN, Case, pool_key, sample_at, tokens

SPY = next(iter(sorted(glob.glob("/usr/lib/*/pkcs11-spy.so") + glob.glob("/usr/lib/pkcs11-spy.so"))), None)

PRIVATE_ATTRIBUTES = ("CKA_PRIVATE_EXPONENT", "CKA_PRIME_1", "CKA_PRIME_2", "CKA_EXPONENT_1", "CKA_EXPONENT_2",
                      "CKA_COEFFICIENT")


class Call:
    def __init__(self, name, text):
        self.name, self.text = name, text
        status = re.search(r"Returned:\s+(\d+) (\w+)", text)
        self.status = status.group(2) if status else None
        self.good = self.status == "CKR_OK"
        # A call that only asks for the output's size carries no operation out.
        self.size_only = bool(re.search(r"\[out\] p(Data|Signature)\[[^]]*\] NULL", text)) or "NULL [size" in text


def calls(log):
    parts = re.split(r"^\d+: (C_\w+)$", log, flags=re.M)
    return [Call(name, text) for name, text in zip(parts[1::2], parts[2::2])]


@unittest.skipUnless(SPY, "needs pkcs11-spy.so (package opensc)")
class TokenUse(Case):
    def spied(self, status, command, layout, *options, pin=PIN, key="alpha", **more):
        log = f"{self.home}/spy-{os.urandom(4).hex()}"
        result = self.tt(command, *options, layout, key=key, module=SPY, pin=pin,
                         env={"PKCS11SPY": tokens().module, "PKCS11SPY_OUTPUT": log}, **more)
        self.assertEqual(result.status, status, str(result))
        text = ""
        if os.path.exists(log):
            with open(log, encoding="utf-8", errors="replace") as stream:
                text = stream.read()
            os.remove(log)
        for attribute in PRIVATE_ATTRIBUTES:
            self.assertNotIn(attribute, text)
        return calls(text)

    def count(self, seen, *names):
        return sum(call.name in names for call in seen)

    def operations(self, seen):
        """Private-key operations that succeeded: a Decrypt or Sign that gave data."""
        return [call.name for call in seen
                if call.name in ("C_Decrypt", "C_DecryptFinal", "C_Sign", "C_SignFinal", "C_SignRecover", "C_UnwrapKey",
                                 "C_DeriveKey") and call.good and not call.size_only]

    def test_one_stop(self):
        layout = self.layout_at(0)
        seen = self.spied(0, "pre-run", layout, station="alpha")
        self.assertEqual(self.count(seen, "C_Login"), 1)
        self.assertEqual(len(self.operations(seen)), 1, self.operations(seen))
        self.assertEqual(self.count(seen, "C_Finalize"), 1)
        self.run_code(layout, "alpha")
        seen = self.spied(0, "post-run", layout, station="alpha")
        self.assertEqual(self.count(seen, "C_Login"), 1)
        self.assertEqual(len(self.operations(seen)), 2, self.operations(seen))
        self.assertEqual(self.count(seen, "C_Finalize"), 1)

    def test_a_manifest_takes_one_operation_more(self):
        opt = manifest.seal(sample_at(0), pool_key("creator"), pool_key("alpha"))
        layout = self.layout(opt)
        self.assertEqual(len(self.operations(self.spied(0, "pre-run", layout, station="alpha"))), 1)
        self.run_code(layout, "alpha")
        seen = self.spied(0, "post-run", layout, station="alpha")
        self.assertEqual(self.count(seen, "C_Login"), 1)
        self.assertEqual(len(self.operations(seen)), 3, self.operations(seen))

    def test_what_json_says_is_what_happened(self):
        layout = self.layout_at(0)
        says = self.good("pre-run", "--json", layout, station="alpha")
        self.assertEqual([one["operation"] for one in says["token_operations"]], ["unwrap"])
        self.assertIn(says["token_operations"][0]["padding"], ("native", "raw", "unknown"))
        # SoftHSM cannot do OAEP with SHA-512.
        self.assertNotEqual(says["token_operations"][0]["padding"], "native")
        self.run_code(layout, "alpha")
        says = self.good("post-run", "--json", layout, station="alpha")
        self.assertEqual([one["operation"] for one in says["token_operations"]], ["sign-result", "sign-route"])

    def test_a_wrong_pin_is_tried_once(self):
        layout = self.layout_at(0)
        seen = self.spied(7, "pre-run", layout, station="alpha", pin="tt-throw-away-9999")
        self.assertEqual(self.count(seen, "C_Login"), 1)
        self.assertEqual(self.operations(seen), [])

    def test_no_login_without_a_pin(self):
        seen = self.spied(7, "pre-run", self.layout_at(0), station="alpha", pin=None)
        self.assertEqual(self.count(seen, "C_Login"), 0)

    def test_no_login_for_a_train_that_names_another_key(self):
        seen = self.spied(5, "pre-run", self.layout_at(0), station="alpha", key="outsider")
        self.assertEqual(self.count(seen, "C_Login"), 0)

    def test_no_call_at_all_when_public_data_decides(self):
        seen = self.spied(9, "pre-run", self.layout_at(1), station="alpha")
        self.assertEqual(seen, [])
        opt = sample_at(1)
        layout = self.layout({path: entry for path, entry in opt.items() if not path.endswith("empty.txt")},
                             sample_at(0))
        self.assertEqual(self.spied(4, "pre-run", layout, station="beta", key="beta"), [])

    def test_verify_and_inspect_never_load_a_module(self):
        layout = self.layout_at(1)
        log = f"{self.home}/spy"
        for command in ("verify", "inspect"):
            self.good(command, layout, env={"PKCS11SPY": tokens().module, "PKCS11SPY_OUTPUT": log,
                                            "TRAINTOKEN_MODULE": SPY, "PRIVATE_KEY_PATH": tokens().uri("alpha")})
        self.assertFalse(os.path.exists(log))

    def test_results(self):
        seen = self.spied(0, "results", self.layout_at(3), "-o", f"{self.work}/out", key="creator")
        self.assertEqual(self.count(seen, "C_Login"), 1)
        self.assertEqual(len(self.operations(seen)), 1)


if __name__ == "__main__":
    unittest.main()
