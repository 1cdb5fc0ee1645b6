"""key check: verdicts on keys that are as they should be, that something is wrong with, and under a policy."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from support.station import PIN, Case, Tokens, pool_key, tokens

WRONG_PIN = "tt-throw-away-9999"
needs_make_key = unittest.skipUnless(os.environ.get("TT_MAKE_KEY"), "needs make_key, named by TT_MAKE_KEY")


def public_der(modulus, exponent):
    """SubjectPublicKeyInfo, also with numbers that libraries refuse to write."""
    def item(tag, content):
        size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
        return bytes([tag]) + (size if len(content) < 128 else bytes([0x80 | len(size)]) + size) + content

    def integer(number):
        return item(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))
    algorithm = item(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    return item(0x30, algorithm + item(3, b"\0" + item(0x30, integer(modulus) + integer(exponent))))


class CheckCase(Case):
    def check(self, uri, *options, **more):
        more["env"] = {"TRAINTOKEN_MODULE": tokens().module} | more.get("env", {})
        return self.tt("key", "check", *options, uri, **more)

    def verdicts(self, uri, *options, status=0, **more):
        """The verdicts by name; text and JSON must agree."""
        result = self.check(uri, "--json", *options, **more)
        self.assertEqual(result.status, status, str(result))
        self.assertEqual(result.json["code"], status)
        self.assertEqual(result.json["command"], "key check")
        found = {check["name"]: check["verdict"] for check in result.json["checks"]}
        self.assertEqual(status != 0, "wrong" in found.values(), str(result))
        self.assertNotIn(PIN, result.out + result.err)
        text = self.check(uri, *options, **more)
        self.assertEqual(text.status, status, str(text))
        for check in result.json["checks"]:
            line = next(line for line in text.out.splitlines() if line.split()[1:2] == [check["name"]])
            self.assertTrue(line.strip().startswith(check["verdict"]), line)
            self.assertIn(check["says"], line)
        return found

    def policy(self, text):
        path = f"{self.work}/policy.json"
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text if isinstance(text, str) else json.dumps(text))
        return f"--policy={path}"


class Keys(CheckCase):
    def generated(self, bits="3072"):
        if f"made{bits}" not in tokens().made:
            self.good("key", "generate", "--label", "key", "--bits", bits, self.token(f"made{bits}"),
                      env={"TRAINTOKEN_MODULE": tokens().module})
        return f"pkcs11:token=made{bits};object=key"

    @staticmethod
    def token(label):
        tokens()._fixture("token", label, PIN)
        tokens().made.add(label)
        return f"pkcs11:token={label}"

    def test_a_good_key_has_nothing_to_say(self):
        found = self.verdicts(self.generated())
        self.assertEqual(set(found.values()), {"ok"}, found)
        for name in ("key", "type", "size", "sensitive", "always-sensitive", "extractable", "never-extractable", "local",
                     "private", "decrypt", "sign", "other-use", "try-unwrap", "try-sign"):
            self.assertIn(name, found)

    def test_facts_in_json(self):
        facts = self.check(self.generated(), "--json").json
        self.assertEqual(facts["status"], "ok")
        self.assertEqual(facts["key"]["bits"], 3072)
        self.assertTrue(facts["key"]["attributes"]["never_extractable"])
        self.assertEqual(facts["probe"]["unwrap"]["way"], "raw")  # SoftHSM's own OAEP knows SHA-1 only
        self.assertEqual(facts["probe"]["sign"]["way"], "native")

    def test_a_small_key_is_a_warning(self):
        self.assertEqual(self.verdicts(self.generated("2048"))["size"], "warning")

    def test_an_imported_key_serves_with_warnings(self):
        found = self.verdicts(tokens().uri("alpha"))
        for name in ("always-sensitive", "never-extractable", "local"):
            self.assertEqual(found[name], "warning", found)
        self.assertEqual(found["try-unwrap"], "ok")

    @needs_make_key
    def test_missing_rights(self):
        for kind, right, use in (("no-decrypt", "decrypt", "try-unwrap"), ("no-sign", "sign", "try-sign")):
            with self.subTest(kind):
                tokens().odd(kind)
                found = self.verdicts(tokens().uri(kind), status=6)
                self.assertEqual((found[right], found[use]), ("wrong", "wrong"))

    @needs_make_key
    def test_other_kinds_of_keys(self):
        tokens().odd("ec")
        self.assertEqual(self.verdicts(tokens().uri("ec"), status=6)["type"], "wrong")
        tokens().odd("rsa1024")
        self.assertEqual(self.verdicts(tokens().uri("rsa1024"), status=6)["size"], "wrong")

    @needs_make_key
    def test_a_key_for_everyone(self):
        tokens().odd("open")
        self.assertEqual(self.verdicts(tokens().uri("open"))["private"], "warning")
        tokens().odd("hidden")
        self.assertEqual(self.verdicts(tokens().uri("hidden"))["try-sign"], "ok")

    @needs_make_key
    def test_always_authenticate(self):
        tokens().odd("always-authenticate")
        found = self.verdicts(tokens().uri("always-authenticate"), self.policy({"always_authenticate": True}))
        self.assertEqual(found["always-authenticate"], "ok")
        self.verdicts(self.generated(), self.policy({"always_authenticate": True}), status=6)

    def test_a_public_half_that_is_no_honest_one(self):
        """Whoever may write to the token can put another public object there; with exponent 1 nothing is secret."""
        if "swapped" not in tokens().made:
            tokens().add("swapped", pool_key("alpha"))
            numbers = pool_key("alpha").public_key().public_numbers()
            path = f"{self.work}/public.der"
            pathlib.Path(path).write_bytes(public_der(numbers.n, 1))
            for action in (["--delete-object", "--type=pubkey"], ["--write-object", path, "--type=pubkey", "--label=key"]):
                subprocess.run(["pkcs11-tool", "--module", tokens().module, "--token-label=swapped", "--login",
                                f"--pin={PIN}", "--id=01", *action], env=self.environment(), check=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        uri = "pkcs11:token=swapped;object=key"
        self.assertEqual(self.verdicts(uri, status=6)["public-half"], "wrong")
        result = self.tt("key", "export", uri, env={"TRAINTOKEN_MODULE": tokens().module})
        self.assertEqual((result.status, result.out), (6, ""), str(result))
        self.assertIn("no honest key", result.err)

    def test_a_token_that_cannot_serve(self):
        place = tempfile.mkdtemp(prefix="traintoken-test-strict-")
        self.addCleanup(shutil.rmtree, place, True)
        strict = Tokens(place)
        strict.add("alpha")
        strict._fixture("strict")
        found = self.verdicts("pkcs11:token=alpha;object=key", status=6, env=strict.environment)
        self.assertEqual((found["try-unwrap"], found["try-sign"]), ("wrong", "ok"))


class Finding(CheckCase):
    def fails(self, status, words, uri, *options, **more):
        result = self.check(uri, *options, **more)
        self.assertEqual(result.status, status, str(result))
        self.assertEqual(result.out, "", str(result))
        for word in words:
            self.assertIn(word, result.err)
        return result

    def test_none_and_several(self):
        tokens().uri("alpha")
        self.fails(6, ["there is no private key"], "pkcs11:token=alpha;object=other")
        self.fails(6, ["nowhere"], "pkcs11:token=nowhere;object=key")
        if "couple" not in tokens().made:
            tokens().add("couple", pool_key("beta"), "first", "11")
            tokens().add("couple", pool_key("alpha"), "second", "22")
        self.fails(6, ["several", "object=first", "object=second"], "pkcs11:token=couple")

    def test_pin(self):
        result = self.fails(7, [], tokens().uri("alpha"), pin=WRONG_PIN)
        self.assertNotIn(WRONG_PIN, result.err)
        self.fails(7, [], tokens().uri("alpha"), pin=None)
        result = self.check(tokens().uri("alpha") + f"?pin-value={PIN}", pin=None)
        self.assertEqual(result.status, 0, str(result))

    def test_usage(self):
        self.fails(2, ["pkcs11"], "/etc/key.pem")


class Policy(CheckCase):
    def test_wishes_become_failures(self):
        uri = tokens().uri("alpha")  # 2048 bits, imported
        for wish, name in (({"minimum_bits": 3072}, "size"), ({"always_sensitive": True}, "always-sensitive"),
                           ({"never_extractable": True}, "never-extractable"), ({"local": True}, "local"),
                           ({"native": ["unwrap"]}, "try-unwrap")):
            with self.subTest(name):
                found = self.verdicts(uri, self.policy(wish), status=6)
                self.assertEqual([one for one, verdict in found.items() if verdict == "wrong"], [name])

    def test_wishes_that_are_granted(self):
        found = self.verdicts(tokens().uri("alpha"), self.policy(
            {"minimum_bits": 2048, "sensitive": True, "not_extractable": True, "private": True, "local": False,
             "native": ["sign"]}))
        self.assertEqual(found["size"], "ok")
        self.verdicts(tokens().uri("alpha"), self.policy({}))

    def test_a_policy_that_is_none(self):
        for text in ("", "[]", "{", '{"minimal_bits": 3072}', '{"minimum_bits": "3072"}', '{"minimum_bits": 3072.0}',
                     '{"minimum_bits": 1024}', '{"local": 1}', '{"native": "sign"}', '{"native": ["decrypt"]}',
                     '{"local": true, "local": false}', '{"local": true} x', "minimum_bits = 3072"):
            with self.subTest(text):
                result = self.check(tokens().uri("alpha"), self.policy(text), "--json")
                self.assertEqual((result.status, result.json["code"]), (2, 2), str(result))
                self.assertIn("policy.json", result.err)
        result = self.check(tokens().uri("alpha"), f"--policy={self.work}/none")
        self.assertEqual(result.status, 2, str(result))


if __name__ == "__main__":
    unittest.main()
