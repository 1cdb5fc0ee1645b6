"""key enrol: to Vault's key-value store (both versions) and to the central service, by HTTPS, and all that they may
answer."""

import json
import os
import unittest

from cryptography.hazmat.primitives import serialization

from support import registry
from support.station import PIN, Case, pool_key, tokens

needs_make_key = unittest.skipUnless(os.environ.get("TT_MAKE_KEY"), "needs make_key, named by TT_MAKE_KEY")
FIELD = "rsa_station_public_key"
SECRETS = (registry.VAULT_TOKEN, registry.CENTRAL_TOKEN, registry.ROBOT[1], PIN)


def pem(name):
    return pool_key(name).public_key().public_bytes(serialization.Encoding.PEM,
                                                    serialization.PublicFormat.SubjectPublicKeyInfo)


class EnrolCase(Case):
    secret = {}

    def setUp(self):
        super().setUp()
        self.place = f"{self.work}/server"
        os.mkdir(self.place)

    def serve(self, kind):
        self.server = kind(self.place)
        self.addCleanup(self.server.close)

    def enrol(self, *options, key="alpha", ca=True, env=None, **more):
        uri = key if ":" in key else tokens().uri(key)
        options += (f"--ca-file={self.server.ca_file}",) if ca else ()
        result = self.tt("key", "enrol", *self.where(), *options, uri,
                         env={"TRAINTOKEN_MODULE": tokens().module} | self.secret | (env or {}), **more)
        for secret in SECRETS:
            self.assertNotIn(secret, result.out + result.err)
        return result

    def enrolled(self, *options, **more):
        result = self.enrol("--json", *options, **more)
        self.assertEqual(result.status, 0, str(result))
        self.assertEqual((result.json["command"], result.json["code"]), ("key enrol", 0))
        return result.json

    def fails(self, status, words, *options, writes=0, **more):
        before = len(self.server.writes())
        result = self.enrol(*options, **more)
        self.assertEqual(result.status, status, str(result))
        self.assertEqual(result.out, "", str(result))
        for word in words:
            self.assertIn(word, result.err)
        self.assertEqual(len(self.server.writes()) - before, writes)
        return result


class VaultCase(EnrolCase):
    secret = {"VAULT_TOKEN": registry.VAULT_TOKEN}

    def setUp(self):
        super().setUp()
        self.serve(registry.Vault)


class Vault(VaultCase):
    path = "pht/keys/stations/alpha"
    stored = "/v1/pht/keys/data/stations/alpha"

    def where(self):
        return [f"--vault={self.server.url}", f"--vault-path={self.path}"]

    def content(self):
        return self.server.versions[self.stored][-1]

    def test_first_key(self):
        facts = self.enrolled()
        self.assertTrue(facts["written"])
        self.assertEqual((facts["kv"], facts["before"]), (2, None))
        self.assertEqual(self.server.versions[self.stored], [{FIELD: pem("alpha").hex()}])
        sent = json.loads(self.server.writes()[0][3])
        self.assertEqual(sent["options"], {"cas": 0})

    def test_same_key_is_not_written_again(self):
        self.enrolled()
        facts = self.enrolled()
        self.assertEqual((facts["written"], facts["before"]), (False, facts["fingerprint"]))
        self.assertEqual(len(self.server.writes()), 1)
        # Nor when it is spelled in another way.
        self.server.versions[self.stored] = [{FIELD: pem("alpha").decode()}]
        self.assertFalse(self.enrolled()["written"])
        self.assertIn("already", self.enrol().out)

    def test_another_key_is_replaced_on_request_only(self):
        self.server.versions[self.stored] = [None, {FIELD: pem("beta").hex(), "note": "ours", "count": 7}]
        result = self.fails(5, ["--replace"])
        self.assertEqual(result.err.count("SHA256:"), 2)
        facts = self.enrolled("--replace")
        self.assertIn(facts["before"], result.err)
        self.assertEqual(self.content(), {FIELD: pem("alpha").hex(), "note": "ours", "count": 7})
        self.assertEqual(json.loads(self.server.writes()[0][3])["options"], {"cas": 2})

    def test_what_is_no_key_is_another_one(self):
        for there in ({"pem": pem("beta").decode()}, [pem("beta").hex()], False, 7, "", "nonsense"):
            with self.subTest(there):
                self.server.versions[self.stored] = [{FIELD: there}]
                self.fails(5, ["unreadable", "--replace"])
        self.enrolled("--replace")

    def test_deleted_secret(self):
        self.server.versions[self.stored] = [{FIELD: pem("beta").hex()}, None]
        self.enrolled()
        self.assertEqual(json.loads(self.server.writes()[0][3])["options"], {"cas": 2})

    def test_somebody_else_writes_at_the_same_time(self):
        def before(to, method, path):
            if method == "POST":
                self.server.versions[self.stored].append({FIELD: pem("beta").hex()})
        self.server.before = before
        self.fails(8, ["somebody else", "check-and-set"], writes=1)
        self.assertEqual(self.content(), {FIELD: pem("beta").hex()})

    def test_numbers_that_would_change(self):
        def before(to, method, path):
            if method == "GET" and "/data/" in path:
                to.answer(200, raw=b'{"data":{"data":{"n":12345678901234567890},"metadata":{"version":1}}}')
                return True
            return False
        self.server.before = before
        self.fails(8, ["numbers"])

    def test_dry_run_shows_what_would_be_sent(self):
        result = self.enrol("--dry-run")
        self.assertEqual(result.status, 0, str(result))
        self.assertIn(f"POST {self.server.url}{self.stored}", result.out)
        self.assertEqual(json.loads(result.out.strip().splitlines()[-1]),
                         {"options": {"cas": 0}, "data": {FIELD: pem("alpha").hex()}})
        facts = self.enrolled("-n")
        self.assertEqual((facts["written"], facts["dry_run"]), (False, True))
        self.assertEqual(self.server.writes(), [])

    def test_field_and_version_can_be_told(self):
        self.server.denied = ("/v1/sys/",)
        self.fails(8, ["--vault-kv", "403"])
        self.server.denied = ()
        self.enrolled("--vault-field=key")
        self.assertEqual(self.content(), {"key": pem("alpha").hex()})

    def test_refusals(self):
        self.fails(8, ["permission denied", "403"], env={"VAULT_TOKEN": "tt-wrong"})
        self.server.sealed = True
        self.fails(8, ["sealed", "503"])
        self.server.sealed = False
        self.server.denied = ("/v1/pht/",)
        self.fails(8, ["permission denied"])

    def test_no_such_store(self):
        self.path = "nowhere/alpha"
        self.fails(8, [])
        self.fails(8, ["404", "no handler"], "--vault-kv=2")
        self.path = "pki/alpha"
        self.fails(8, ["no key-value store"])
        for self.path in ("alone", "a//b", "../x", "/station_pks/alpha", "station_pks/", "station_pks/.."):
            with self.subTest(self.path):
                self.fails(2, ["path"], "--vault-kv=2")

    def test_answers_that_are_none(self):
        bodies = {"not JSON": b"<html>", "an array": b"[]", "too much": b'"' + b"x" * (2 << 20) + b'"',
                  "twice": b'{"data":{},"data":{}}', "no version": b'{"data":{"data":{}}}'}
        for name, raw in bodies.items():
            with self.subTest(name):
                def before(to, method, path, raw=raw):
                    return "/sys/" not in path and (to.answer(200, raw=raw) or True)
                self.server.before = before
                self.fails(8, [])

    def test_redirects_are_not_followed(self):
        self.server.before = lambda to, method, path: to.answer(307, headers=[("Location", "/v1/other")]) or True
        self.fails(8, ["not followed"])
        self.assertEqual(len(self.server.requests), 1)

    def test_a_write_that_is_not_kept_is_told(self):
        self.server.before = lambda to, method, path: method == "POST" and (to.answer(200, {"data": {}}) or True)
        self.fails(8, ["does not show it"], writes=1)

    def test_untrusted_server_gets_nothing(self):
        self.fails(8, ["trusted"], ca=False)
        self.fails(8, ["trusted"], ca=False, env={"SSL_CERT_FILE": "/dev/null"})
        self.assertEqual(self.server.requests, [])
        port = self.server.url.rsplit(":", 1)[1]
        self.server.url = f"https://localhost:{port}"  # the certificate is for 127.0.0.1
        self.fails(8, ["trusted"])
        self.assertEqual(self.server.requests, [])

    def test_nobody_there(self):
        self.server.url = "https://127.0.0.1:9"
        self.fails(8, ["cannot be reached"])

    def test_token_from_a_file(self):
        path = f"{self.work}/token"
        with open(path, "w", encoding="ascii") as stream:
            stream.write(registry.VAULT_TOKEN + "\n")
        result = self.enrol(f"--token-file={path}", env={"VAULT_TOKEN": None})
        self.assertEqual(result.status, 0, str(result))
        self.assertIn("others than its owner", result.err)
        os.chmod(path, 0o600)
        self.assertEqual(self.enrol(f"--token-file={path}", env={"VAULT_TOKEN": None}).err, "")
        for bad in ("", "two\nlines", "x" * 5000, "\x01"):
            with open(path, "w", encoding="ascii") as stream:
                stream.write(bad)
            self.fails(2, [], f"--token-file={path}")
        self.fails(2, [], f"--token-file={path}.none")
        self.fails(2, ["VAULT_TOKEN"], env={"VAULT_TOKEN": None})
        self.fails(2, [], env={"VAULT_TOKEN": "a\r\nX-Evil: 1"})

    def test_usage(self):
        for options in (["--central=https://127.0.0.1:9"], ["--robot-file=/dev/null"], ["--vault-kv=3"]):
            with self.subTest(options):
                self.fails(2, ["--"], *options)
        for url in ("http://127.0.0.1:9", "vault.example", "https://", "https://me:secret@vault.example",
                    "https://vault.example?x", "https://vault.example/#x", "https:// vault"):
            with self.subTest(url):
                self.server.url = url
                result = self.fails(2, ["https://"])
                self.assertNotIn("secret@", result.err)

    @needs_make_key
    def test_a_key_that_cannot_serve_is_not_enrolled(self):
        tokens().odd("no-decrypt")
        self.fails(6, ["key check"], key="no-decrypt")
        self.assertEqual(self.server.requests, [])

    def test_pin(self):
        self.fails(7, [], pin=None)
        self.assertEqual(self.server.requests, [])


class VaultOfThePht(VaultCase):
    """Its store station_pks is of version 1, and keeps what a request to version 2 would hold."""

    stored = "/v1/station_pks/alpha"

    def where(self):
        return [f"--vault={self.server.url}", "--station=alpha"]

    def content(self):
        return self.server.plain[self.stored]

    def test_first_key(self):
        facts = self.enrolled()
        self.assertEqual((facts["written"], facts["kv"], facts["path"]), (True, 1, "station_pks/alpha"))
        self.assertEqual(self.content(), {"data": {FIELD: pem("alpha").hex()}, "options": {"cas": 1}})

    def test_same_key_is_not_written_again(self):
        self.enrolled()
        self.assertFalse(self.enrolled()["written"])
        self.server.plain[self.stored] = {FIELD: pem("alpha").hex()}
        self.assertFalse(self.enrolled()["written"])
        self.assertEqual(len(self.server.writes()), 1)

    def test_another_key_is_replaced_on_request_only(self):
        for old, new in (({"data": {FIELD: pem("beta").hex(), "note": 1}, "options": {"cas": 1}, "more": [1]},
                          {"data": {FIELD: pem("alpha").hex(), "note": 1}, "options": {"cas": 1}, "more": [1]}),
                         ({FIELD: pem("beta").hex(), "note": "x"}, {FIELD: pem("alpha").hex(), "note": "x"}),
                         ({"note": "x"}, {"note": "x", "data": {FIELD: pem("alpha").hex()}, "options": {"cas": 1}})):
            self.server.plain[self.stored] = old
            if "note" not in old or len(old) > 1:
                self.assertEqual(self.fails(5, ["--replace"]).err.count("SHA256:"), 2)
            self.enrolled("--replace")
            self.assertEqual(self.content(), new)

    def test_what_is_no_key_is_another_one(self):
        self.server.plain[self.stored] = {"data": {FIELD: "00" * 40}}
        self.fails(5, ["unreadable"])

    def test_dry_run_shows_what_would_be_sent(self):
        result = self.enrol("--dry-run")
        self.assertIn(f"POST {self.server.url}{self.stored}", result.out)
        self.assertEqual(self.server.writes(), [])

    def test_field_and_version_can_be_told(self):
        self.server.denied = ("/v1/sys/",)
        self.fails(8, ["--vault-kv", "403"])
        self.enrolled("--vault-kv=1")
        self.assertEqual(self.content()["data"], {FIELD: pem("alpha").hex()})

    def test_station_comes_from_the_environment_too(self):
        arguments = [f"--vault={self.server.url}"]
        self.where = lambda: arguments
        self.enrolled(env={"STATION_ID": "alpha"})
        self.fails(2, ["STATION_ID"])
        for station in ("a/b", "..", "."):
            self.fails(2, ["station"], f"--station={station}")

    def test_refusals(self):
        self.server.denied = ("/v1/station_pks/",)
        self.fails(8, ["permission denied"])


class Central(EnrolCase):
    secret = {"ROBOT_ID": registry.ROBOT[0], "ROBOT_SECRET": registry.ROBOT[1]}

    def setUp(self):
        super().setUp()
        self.serve(registry.Central)

    def where(self):
        return [f"--central={self.server.url}/api", "--station=alpha"]

    def test_as_a_robot(self):
        facts = self.enrolled()
        self.assertEqual((facts["written"], facts["station"]), (True, "alpha"))
        self.assertEqual(self.server.stations["alpha"]["public_key"], pem("alpha").hex())
        self.assertFalse(self.enrolled()["written"])
        self.assertEqual(len(self.server.writes()), 1)

    def test_with_a_bearer_token(self):
        self.enrolled(env={"ROBOT_ID": None, "ROBOT_SECRET": None, "CENTRAL_TOKEN": registry.CENTRAL_TOKEN})

    def test_credentials_from_files(self):
        path = f"{self.work}/secret"
        for option, text in (("--robot-file", ":".join(registry.ROBOT)), ("--token-file", registry.CENTRAL_TOKEN)):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as stream:
                stream.write(text + "\n")
            self.enrolled(f"{option}={path}", env={"ROBOT_ID": None, "ROBOT_SECRET": None})
        self.fails(2, ["colon"], f"--robot-file={path}")
        self.fails(2, ["ROBOT_SECRET"], env={"ROBOT_SECRET": None})
        self.fails(2, ["ROBOT_ID"], env={"ROBOT_ID": None})

    def test_another_key(self):
        self.server.stations["alpha"]["public_key"] = pem("beta").hex()
        self.assertEqual(self.fails(5, ["--replace"]).err.count("SHA256:"), 2)
        self.enrolled("--replace")

    def test_dry_run(self):
        result = self.enrol("--dry-run")
        self.assertIn(f"POST {self.server.url}/api/stations/alpha", result.out)
        self.assertEqual(json.loads(result.out.strip().splitlines()[-1]), {"public_key": pem("alpha").hex()})
        self.assertEqual(self.server.writes(), [])

    def test_refusals(self):
        self.fails(8, ["401", "authenticated"], env={"ROBOT_SECRET": "tt-wrong"})
        del self.server.stations["alpha"]
        self.fails(8, ["404"])
        self.server.stations["alpha"] = {"id": "alpha"}
        self.server.before = lambda to, method, path: to.answer(200, {"id": "alpha"}) or True
        self.fails(8, ["right to edit"])

    def test_usage(self):
        self.fails(2, ["--vault"], "--vault-path=a/b")


if __name__ == "__main__":
    unittest.main()
