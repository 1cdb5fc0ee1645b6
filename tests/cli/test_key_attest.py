"""key attest: a record that the key signs about itself, verified by another implementation, and every way to alter it."""

import base64
import hashlib
import json
import os
import pathlib
import pty
import stat
import unittest

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from support import files as fs
from support.station import PIN, PROGRAM, Case, pool_key, sample, tokens

needs_make_key = unittest.skipUnless(os.environ.get("TT_MAKE_KEY"), "needs make_key, named by TT_MAKE_KEY")
TYPE = "application/vnd.in-toto+json"


def spki(key, encoding):
    return key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def encoded(payload):
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE.encode(), len(payload), payload)


def encoding_to_sign(payload):
    """Its SHA-256, which is what a statement's signature covers."""
    return hashlib.sha256(encoded(payload)).digest()


def pss(key):
    return padding.PSS(padding.MGF1(hashes.SHA512()), (key.key_size + 6) // 8 - 64 - 2)


def open_record(text, key=None):
    """Verifies a record with `key`, or the one it names; gives its statement."""
    envelope = json.loads(text)
    assert set(envelope) == {"payloadType", "payload", "signatures"} and envelope["payloadType"] == TYPE
    payload = base64.b64decode(envelope["payload"], validate=True)
    statement = json.loads(payload)
    key = key or serialization.load_pem_public_key(statement["predicate"]["key"]["public_key"].encode())
    (signature,) = envelope["signatures"]
    key.verify(base64.b64decode(signature["sig"], validate=True), encoding_to_sign(payload), pss(key), hashes.SHA512())
    return statement


def sign(statement, key, key_id):
    """A record of one's own making."""
    payload = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
    signature = key.sign(encoding_to_sign(payload), pss(key), hashes.SHA512())
    return json.dumps({"payloadType": TYPE, "payload": base64.b64encode(payload).decode(),
                       "signatures": [{"keyid": key_id, "sig": base64.b64encode(signature).decode()}]})


class AttestCase(Case):
    def attest(self, *arguments, pin=PIN, **more):
        more["env"] = {"TRAINTOKEN_MODULE": tokens().module} | more.get("env", {})
        return self.tt("key", "attest", *arguments, pin=pin, **more)

    def record(self, uri, *options):
        result = self.attest(*options, uri)
        self.assertEqual((result.status, result.err), (0, ""), str(result))
        return result.out

    def fails(self, status, words, *arguments, **more):
        result = self.attest(*arguments, **more)
        self.assertEqual(result.status, status, str(result))
        self.assertEqual(result.out, "", str(result))
        for word in words:
            self.assertIn(word, result.err)

    def write(self, text, name="record.json"):
        path = f"{self.work}/{name}"
        pathlib.Path(path).write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def verify(self, text, *options):
        """Without any module or PIN."""
        return self.tt("key", "attest", "--verify", self.write(text), *options, pin=None,
                       env={"SOFTHSM2_CONF": "/nowhere", "TRAINTOKEN_MODULE": "/nowhere"})

    def refused_record(self, status, words, text, *options):
        result = self.verify(text, *options)
        self.assertEqual((result.status, result.out), (status, ""), str(result))
        self.assertIn(words, result.err)


class Made(AttestCase):
    def test_record_is_verified_independently(self):
        statement = open_record(self.record(tokens().uri("alpha"), "--note", "station=alpha", "--note=operator=A. Löwe=7"),
                                pool_key("alpha").public_key())
        self.assertEqual(statement["_type"], "https://in-toto.io/Statement/v1")
        self.assertEqual(statement["predicateType"], "https://traintoken.example/key/v1")
        der = spki(pool_key("alpha"), serialization.Encoding.DER)
        (subject,) = statement["subject"]
        self.assertEqual(subject["digest"], {"sha256": hashlib.sha256(der).hexdigest()})
        facts = statement["predicate"]
        self.assertEqual(facts["notes"], {"station": "alpha", "operator": "A. Löwe=7"})
        self.assertEqual(facts["key"]["public_key"], spki(pool_key("alpha"), serialization.Encoding.PEM).decode())
        self.assertEqual((facts["key"]["bits"], facts["key"]["label"], facts["key"]["id"]), (2048, "key", "01"))
        self.assertEqual((facts["token"]["label"], facts["token"]["model"]), ("alpha", "SoftHSM v2"))
        self.assertEqual(facts["token"]["serial"], facts["key"]["serial"])
        self.assertEqual(facts["module"]["path"], tokens().module)
        self.assertEqual(facts["probe"]["sign"]["way"], "native")
        self.assertEqual(facts["probe"]["unwrap"]["way"], "raw")
        self.assertRegex(facts["made"]["time"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(facts["made"]["host"], os.uname().nodename)
        self.assertIn(facts["made"]["traintoken"], self.tt("--version").out)
        for name in ("version", "cryptoki_version", "manufacturer", "description"):
            self.assertTrue(facts["module"][name])

    def test_attributes_of_an_imported_key_and_of_one_made_in_the_token(self):
        imported = open_record(self.record(tokens().uri("alpha")))["predicate"]["key"]["attributes"]
        self.assertEqual((imported["local"], imported["always_sensitive"], imported["never_extractable"]),
                         (False, False, False))
        tokens().add("made", pool_key("beta"))  # one more is made in the token
        done = self.tt("key", "generate", "--label=fresh", "--bits=2048", "--json", "pkcs11:token=made",
                       env={"TRAINTOKEN_MODULE": tokens().module})
        self.assertEqual(done.status, 0, str(done))
        statement = open_record(self.record("pkcs11:token=made;object=fresh"))
        self.assertEqual(statement["predicate"]["key"]["attributes"],
                         {"sensitive": True, "always_sensitive": True, "extractable": False, "never_extractable": True,
                          "local": True, "private": True, "decrypt": True, "sign": True, "unwrap": False,
                          "sign_recover": False, "always_authenticate": False, "modifiable": True})
        self.assertEqual(statement["predicate"]["key"]["fingerprint"], done.json["key"]["fingerprint"])

    def test_file(self):
        path = f"{self.work}/made.json"
        result = self.attest("-o", path, tokens().uri("alpha"))
        self.assertEqual(result.status, 0, str(result))
        self.assertIn("SHA256:", result.out)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o644)
        before = pathlib.Path(path).read_bytes()
        open_record(before)
        self.fails(2, ["--force"], "-o", path, tokens().uri("alpha"))
        self.assertEqual(pathlib.Path(path).read_bytes(), before)
        self.assertEqual(self.attest("-o", path, "--force", tokens().uri("alpha")).status, 0)
        self.assertNotEqual(pathlib.Path(path).read_bytes(), before)  # each signature has a salt of its own
        self.fails(8, ["nowhere"], "-o", f"{self.work}/nowhere/record", tokens().uri("alpha"))

    def test_json(self):
        facts = self.attest("--json", "--note=a=", tokens().uri("alpha")).json
        statement = open_record(json.dumps(facts["envelope"]))
        self.assertEqual(statement["predicate"]["notes"], {"a": ""})
        self.assertEqual(facts["fingerprint"], statement["predicate"]["key"]["fingerprint"])
        self.assertEqual(facts["key"]["attributes"], statement["predicate"]["key"]["attributes"])
        self.assertEqual(facts["file"], None)

    def test_notes_that_are_none(self):
        for note in ("", "alpha", "=alpha", "a=b\nc", "a\x7f=b", "n" * 65 + "=x", "a=" + "v" * 1025, "a=\udcff"):
            with self.subTest(note):
                self.fails(2, ["NAME=VALUE"], "--note", note, tokens().uri("alpha"))
        self.fails(2, ["twice"], "--note=a=1", "--note=a=2", tokens().uri("alpha"))
        self.fails(2, ["more than 64"], *(f"--note=n{i}=x" for i in range(65)), tokens().uri("alpha"))

    def test_pin(self):
        self.fails(7, [], tokens().uri("gamma"), pin=None)
        self.fails(7, ["PIN is wrong"], tokens().uri("gamma"), pin="tt-throw-away-9999")

    def test_no_key_and_several(self):
        self.fails(6, ["there is no private key"], "pkcs11:token=alpha;object=other")
        tokens().add("twins", pool_key("beta"), "first", "11")
        tokens().add("twins", pool_key("alpha"), "second", "22")
        self.fails(6, ["several"], "pkcs11:token=twins")

    @needs_make_key
    def test_keys_that_something_is_special_with(self):
        tokens().odd("no-sign")
        self.fails(6, ["does not sign"], tokens().uri("no-sign"))
        tokens().odd("ec")
        self.fails(6, ["public half"], tokens().uri("ec"))
        tokens().odd("no-decrypt")
        result = self.attest(tokens().uri("no-decrypt"))
        self.assertEqual(result.status, 0, str(result))
        self.assertIn("cannot serve", result.err)
        self.assertEqual(open_record(result.out)["predicate"]["probe"]["unwrap"]["way"], "no")
        tokens().odd("always-authenticate")
        statement = open_record(self.record(tokens().uri("always-authenticate")))
        self.assertTrue(statement["predicate"]["key"]["attributes"]["always_authenticate"])

    def test_usage(self):
        uri = tokens().uri("alpha")
        for arguments, words in (([], "which key"), (["--verify=x", uri], "no URI"), (["--verify=x", "--note=a=b"], "--note"),
                                 (["--verify=x", "-o", "y"], "-o"), (["--public-key=x", uri], "--verify"),
                                 (["--force", uri], "-o")):
            with self.subTest(arguments):
                self.fails(2, [words], *arguments)


class Forged(AttestCase):
    """A train's maker chooses its session id and, by its code, the results: what a station signs of them must never be
    a record that it did not make."""

    def claims(self):
        """A statement about alpha's key, and the end of its text, as long as a session id."""
        der = spki(pool_key("alpha"), serialization.Encoding.DER)
        fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
        key = {"public_key": spki(pool_key("alpha"), serialization.Encoding.PEM).decode(), "fingerprint": fingerprint,
               "bits": 2048, "local": True}
        text = json.dumps({"_type": "https://in-toto.io/Statement/v1",
                           "subject": [{"name": "key", "digest": {"sha256": hashlib.sha256(der).hexdigest()}}],
                           "predicateType": "https://traintoken.example/key/v1",
                           "predicate": {"key": key, "notes": {"witness": "nobody" + "." * 64}}}).encode()
        return text, text[-64:], fingerprint

    def test_results_are_no_record(self):
        text, session_id, fingerprint = self.claims()
        start = encoded(text)[:-64]
        for results in ([("a", start)], [("a", start[:3]), ("b", b""), ("c", start[3:])]):
            layout = self.layout(sample(session_id=session_id))
            self.good("pre-run", "--again", layout, station="alpha")
            entries = [fs.file(f"opt/pht_results/{name}", content) for name, content in results]
            self.run_code(layout, "alpha", [fs.folder("opt/pht_results"), *entries])
            self.good("post-run", layout, station="alpha")
            config = json.loads(layout.tree()["opt/train_config.json"].content)
            signature = bytes.fromhex(config["result_signature"])
            # It does sign what DSSE alone would have signed; a record needs more.
            pool_key("alpha").public_key().verify(signature, encoded(text), pss(pool_key("alpha")), hashes.SHA512())
            record = json.dumps({"payloadType": TYPE, "payload": base64.b64encode(text).decode(),
                                 "signatures": [{"keyid": fingerprint, "sig": base64.b64encode(signature).decode()}]})
            self.assertEqual(self.verify(record).status, 4)


class Verified(AttestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.good = None

    def setUp(self):
        super().setUp()
        cls = type(self)
        cls.good = cls.good or self.record(tokens().uri("alpha"), "--note=station=alpha")
        self.envelope = json.loads(self.good)
        self.statement = open_record(self.good)

    def altered(self, *steps_and_value):
        """The statement with one member another one, and still the old signature around it."""
        *steps, last, value = steps_and_value
        statement = json.loads(json.dumps(self.statement))
        holder = statement
        for step in steps:
            holder = holder[step]
        holder[last] = value
        return statement

    def with_payload(self, statement):
        payload = statement if isinstance(statement, bytes) else json.dumps(statement, separators=(",", ":")).encode()
        return json.dumps(self.envelope | {"payload": base64.b64encode(payload).decode()})

    def test_good_one(self):
        result = self.verify(self.good)
        self.assertEqual((result.status, result.err), (0, ""), str(result))
        for words in ("the record holds", "key.attributes.sensitive", "notes.station", "compare the fingerprint"):
            self.assertIn(words, result.out)
        facts = self.verify(self.good, "--json").json
        self.assertEqual(facts["statement"], self.statement)
        self.assertEqual((facts["expected_key"], facts["bits"]), (False, 2048))
        # Other spacing and another order of the members change nothing.
        self.assertEqual(self.verify(json.dumps(dict(reversed(self.envelope.items())), indent=3)).status, 0)

    def test_expected_key(self):
        alpha = self.write(spki(pool_key("alpha"), serialization.Encoding.PEM), "alpha.pem")
        beta = self.write(spki(pool_key("beta"), serialization.Encoding.PEM), "beta.pem")
        result = self.verify(self.good, "--public-key", alpha)
        self.assertEqual(result.status, 0, str(result))
        self.assertNotIn("compare the fingerprint", result.out)
        self.refused_record(5, "and not about SHA256:", self.good, "--public-key", beta)
        self.refused_record(2, "nowhere", self.good, "--public-key", f"{self.work}/nowhere")
        self.refused_record(2, "PEM public key", self.good, "--public-key", self.write(b"nonsense", "nonsense"))
        # Signed anew by another key, about that key: good in itself, and found out by whose key it should be.
        pem = spki(pool_key("beta"), serialization.Encoding.PEM).decode()
        der = spki(pool_key("beta"), serialization.Encoding.DER)
        fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
        self.statement["predicate"]["key"] |= {"public_key": pem, "fingerprint": fingerprint}
        self.statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(der).hexdigest()
        forged = sign(self.statement, pool_key("beta"), fingerprint)
        self.assertEqual(self.verify(forged).status, 0)
        self.refused_record(5, "and not about SHA256:", forged, "--public-key", alpha)

    def test_a_key_that_claims_to_be_encrypted_asks_for_nothing(self):
        """OpenSSL would ask for its passphrase on the terminal, and the record's maker would choose when."""
        pem = self.statement["predicate"]["key"]["public_key"].replace(
            "KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n", 1)
        record = self.write(self.with_payload(self.altered("predicate", "key", "public_key", pem)).encode(), "asks.json")
        child, master = pty.fork()
        if child == 0:
            try:
                os.execve(PROGRAM, [PROGRAM, "key", "attest", "--verify", record], self.environment())
            finally:
                os._exit(127)
        shown = b""
        try:
            while b"phrase" not in shown and (data := os.read(master, 4096)):
                shown += data
        except OSError:
            pass  # the other end is closed
        os.close(master)
        _, status = os.waitpid(child, 0)
        self.assertNotIn(b"phrase", shown)
        self.assertEqual(os.waitstatus_to_exitcode(status), 3, shown)

    def test_altered_statements(self):
        for steps in (("predicate", "key", "attributes", "extractable", True), ("predicate", "notes", "station", "beta"),
                      ("predicate", "key", "label", "other"), ("predicate", "token", "serial", "1"),
                      ("predicate", "made", "time", "2020-01-01T00:00:00Z"), ("predicate", "probe", {}),
                      ("subject", 0, "digest", "sha256", "00" * 32), ("predicate", "more", 1),
                      ("predicate", "key", "public_key", spki(pool_key("beta"), serialization.Encoding.PEM).decode())):
            with self.subTest(steps[:-1]):
                self.refused_record(4, "is wrong", self.with_payload(self.altered(*steps)))
        self.refused_record(4, "is wrong", self.with_payload(json.dumps(self.statement).encode()))  # other spacing only

    def test_statements_that_contradict_themselves(self):
        alpha, mine = pool_key("alpha"), self.statement["predicate"]["key"]["fingerprint"]
        for steps in (("predicate", "key", "fingerprint", "SHA256:" + "A" * 43), ("predicate", "key", "bits", 4096),
                      ("subject", 0, "digest", "sha256", "00" * 32), ("subject", []), ("subject", 0, "digest", {}),
                      ("subject", self.statement["subject"] * 2), ("subject", {"0": self.statement["subject"][0]}),
                      ("predicate", "key", "public_key", self.statement["predicate"]["key"]["public_key"] + "# more")):
            with self.subTest(steps[:-1]):
                self.refused_record(4, "does not fit", sign(self.altered(*steps), alpha, mine))
        self.refused_record(4, "does not fit", sign(self.statement, alpha, "SHA256:" + "A" * 43))
        # The same, untouched and signed by hand, is a good record.
        self.assertEqual(self.verify(sign(self.statement, alpha, mine)).status, 0)

    def test_altered_envelopes(self):
        signature = self.envelope["signatures"][0]
        raw = bytearray(base64.b64decode(signature["sig"]))
        raw[7] ^= 1
        for status, change in ((4, {"signatures": [signature | {"sig": base64.b64encode(raw).decode()}]}),
                               (4, {"signatures": [signature | {"sig": "AAAA"}]}),
                               (4, {"signatures": [signature | {"keyid": "other"}]}),
                               (3, {"signatures": [signature | {"sig": signature["sig"][:-1] + "\n"}]}),
                               (3, {"signatures": [signature, signature]}), (3, {"signatures": []}),
                               (3, {"signatures": signature}), (3, {"payloadType": "text/plain"}),
                               (3, {"payload": self.envelope["payload"] + "="}), (3, {"payload": ""}),
                               (3, {"more": 1})):
            with self.subTest(change):
                self.refused_record(status, "record.json", json.dumps(self.envelope | change))

    def test_what_is_no_record(self):
        alpha = pool_key("alpha")
        for text in (b"", b"{}", b"[]", b"\xff", b"nonsense", self.good[:-3].encode(), (self.good + self.good).encode(),
                     self.good.replace('"payload"', '"payload":"","payload"', 1).encode(), b"[" * 1000,
                     b" " * (1024 * 1024 + 1), json.dumps(self.statement).encode(),
                     sign(self.altered("_type", "https://in-toto.io/Statement/v0.1"), alpha, "k").encode(),
                     sign(self.altered("predicateType", "https://slsa.dev/provenance/v1"), alpha, "k").encode(),
                     sign(self.altered("predicate", None), alpha, "k").encode(),
                     sign(self.altered("predicate", "key", "public_key", "nonsense"), alpha, "k").encode(),
                     sign(b"nonsense", alpha, "k").encode(), sign(b'{"_type":1}', alpha, "k").encode(),
                     sign([[[]]], alpha, "k").encode()):
            with self.subTest(text[:40]):
                self.refused_record(3, "", text)
        short = self.altered("predicate", "key", "public_key", spki(pool_key("short"), serialization.Encoding.PEM).decode())
        self.refused_record(3, "public key", sign(short, pool_key("short"), "k"))
        self.fails(8, ["nowhere"], "--verify", f"{self.work}/nowhere")

    def test_what_it_says_moves_no_cursor(self):
        self.statement["predicate"]["notes"]["evil\x1b[2J"] = "\x1b[31mred\r\n\u202e"
        result = self.verify(sign(self.statement, pool_key("alpha"), self.statement["predicate"]["key"]["fingerprint"]))
        self.assertEqual(result.status, 0, str(result))
        self.assertNotIn("\x1b", result.out)


if __name__ == "__main__":
    unittest.main()
