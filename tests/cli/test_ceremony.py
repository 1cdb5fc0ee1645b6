"""The key ceremony: whole runs without questions and with them, broken off anywhere and run again, and what it must not
touch."""

import base64
import hashlib
import json
import os
import pathlib
import re
import stat
import subprocess
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from support import registry, terminal
from support.station import PIN, PROGRAM, SOURCE, Case, Result, Tokens, pool_key

CEREMONY = str(SOURCE / "provisioning/ceremony")
SO_PIN = "tt-throw-away-officer"
WRONG_PIN = "tt-throw-away-9999"
STORED = "/v1/station_pks/alpha"
FILES = {"alpha.pem", "alpha.hex", "alpha.fingerprint", "alpha.record.json"}

# Stands in for traintoken: TT_BREAK names what is to happen to which call, "kill", "fail" or nothing, and its first words.
BREAKER = """#!/bin/sh
printf '%s\\n' "$*" >>"$TT_CALLS"
case "$*" in
"$TT_WORDS"*) [ "$TT_BREAK" != fail ] || exit 8 ;;
esac
"$TT_REAL" "$@"
status=$?
case "$*" in
"$TT_WORDS"*) [ "$TT_BREAK" != kill ] || kill -9 0 ;;
esac
exit $status
"""


class CeremonyCase(Case):
    def setUp(self):
        super().setUp()
        self.place = f"{self.work}/tokens"
        os.mkdir(self.place)
        self.tokens = Tokens(self.place)
        self.module = self.tokens.module
        self.out = f"{self.work}/out"
        self.calls = f"{self.work}/calls"
        self.pin_file, self.so_pin_file = f"{self.work}/pin", f"{self.work}/so-pin"
        self.breaker = f"{self.work}/breaker"
        pathlib.Path(self.breaker).write_text(BREAKER, encoding="utf-8")
        os.chmod(self.breaker, 0o755)

    def where(self, **more):
        env = self.environment(**self.tokens.environment, TRAINTOKEN=PROGRAM, PRIVATE_KEY_PASSWORD=PIN,
                               TRAINTOKEN_SO_PIN=SO_PIN)
        return {name: value for name, value in (env | more).items() if value is not None}

    def usual(self, *options):
        return ["--station=alpha", f"--module={self.module}", f"--out={self.out}", "--bits=2048", *options]

    def start(self, *options, break_at=("", "-"), **env):
        """The whole command line, unattended; a call of traintoken may be broken: ("kill" or "fail", its words)."""
        argv = [CEREMONY, "--unattended", *options]
        if break_at[0]:
            env |= {"TRAINTOKEN": self.breaker, "TT_REAL": PROGRAM, "TT_CALLS": self.calls, "TT_BREAK": break_at[0],
                    "TT_WORDS": break_at[1]}
        done = subprocess.run(argv, env=self.where(**env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.PIPE, start_new_session=True, timeout=120, check=False)
        for secret in (PIN, SO_PIN, WRONG_PIN, registry.VAULT_TOKEN):
            self.assertNotIn(secret, done.stdout + done.stderr)
        return Result(argv, done.returncode, done.stdout, done.stderr)

    def ceremony(self, *options, **more):
        return self.start(*self.usual(*options), **more)

    def done(self, *options, **more):
        result = self.ceremony(*options, **more)
        self.assertEqual(result.status, 0, str(result))
        return result

    def stopped(self, status, words, *options, **more):
        result = self.ceremony(*options, **more)
        self.assertEqual(result.status, status, str(result))
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, result.err)
        return result

    def traintoken(self, *arguments, **env):
        done = subprocess.run([PROGRAM, *arguments], env=self.where(TRAINTOKEN_MODULE=self.module, **env), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True,
                              start_new_session=True)
        return json.loads(done.stdout)

    def listed(self):
        return [one for one in self.traintoken("token", "list", "--json")["tokens"] if one["initialized"]]

    def keys(self):
        return self.traintoken("key", "list", "--json", "pkcs11:token=station")["keys"]

    def read(self, name):
        return pathlib.Path(f"{self.out}/{name}").read_text(encoding="utf-8")

    def check_made(self, names=FILES, notes=None):
        """Files, key and record agree, the record being verified by another implementation."""
        self.assertEqual(set(os.listdir(self.out)), set(names))
        (key,) = self.keys()
        public = serialization.load_pem_public_key(self.read("alpha.pem").encode())
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
        self.assertEqual((key["fingerprint"], self.read("alpha.fingerprint").strip()), (fingerprint, fingerprint))
        self.assertEqual(bytes.fromhex(self.read("alpha.hex")).decode(), self.read("alpha.pem"))
        envelope = json.loads(self.read("alpha.record.json"))
        payload = base64.b64decode(envelope["payload"], validate=True)
        signed = hashlib.sha256(b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)).digest()
        public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed,
                      padding.PSS(padding.MGF1(hashes.SHA512()), public.key_size // 8 - 64 - 2), hashes.SHA512())
        facts = json.loads(payload)["predicate"]
        self.assertEqual(facts["key"]["fingerprint"], fingerprint)
        self.assertEqual(facts["token"]["serial"], key["serial"])
        self.assertEqual((facts["key"]["attributes"]["local"], facts["key"]["attributes"]["extractable"]), (True, False))
        self.assertEqual(facts["notes"], {"station": "alpha"} | (notes or {}))
        verified = self.traintoken("key", "attest", "--json", f"--verify={self.out}/alpha.record.json",
                                   f"--public-key={self.out}/alpha.pem")
        self.assertEqual(verified["fingerprint"], fingerprint)
        return fingerprint


class Whole(CeremonyCase):
    def test_unattended(self):
        policy = re.search(r"```json\n(.*?)```", (SOURCE / "docs/ceremony.md").read_text(encoding="utf-8"), re.S)[1]
        pathlib.Path(f"{self.work}/policy.json").write_text(policy, encoding="utf-8")
        os.mkdir(f"{self.work}/server")
        vault = registry.Vault(f"{self.work}/server")
        self.addCleanup(vault.close)
        answers = f"{self.work}/answers"
        pathlib.Path(answers).write_text(
            f"# throw-away\nstation = alpha\nmodule={self.module}\nout = {self.out}\n\ngenerate-pins = yes\n"
            f"pin-file = {self.pin_file}\nso-pin-file = {self.so_pin_file}\noperator = A. Lovelace\nwitness = C. Babbage\n"
            f"note = room=7 = cellar\npolicy = {self.work}/policy.json\nsubject = /CN=alpha/O=Throw-Away Hospital\n"
            f"vault = {vault.url}\nca-file = {vault.ca_file}", encoding="utf-8")
        run = lambda: self.start("--from", answers, PRIVATE_KEY_PASSWORD=None, TRAINTOKEN_SO_PIN=None,  # noqa: E731
                                 VAULT_TOKEN=registry.VAULT_TOKEN)
        result = run()
        self.assertEqual((result.status, result.err), (0, ""), str(result))
        pins = [pathlib.Path(path).read_text(encoding="utf-8") for path in (self.pin_file, self.so_pin_file)]
        for path, pin in zip((self.pin_file, self.so_pin_file), pins):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
            self.assertRegex(pin, r"^[A-Za-z2-9]{16}\n$")
            self.assertNotIn(pin.strip(), result.out)
        self.assertNotEqual(*pins)
        made = FILES | {"alpha.csr"}
        with_pin = {"PRIVATE_KEY_PASSWORD": pins[0].strip()}
        (key,) = self.traintoken("key", "list", "--json", "pkcs11:token=station", **with_pin)["keys"]
        self.assertEqual((key["bits"], set(os.listdir(self.out))), (3072, made))
        record = json.loads(base64.b64decode(json.loads(self.read("alpha.record.json"))["payload"]))["predicate"]
        self.assertEqual(record["notes"], {"station": "alpha", "operator": "A. Lovelace", "witness": "C. Babbage",
                                           "room": "7 = cellar"})
        request = x509.load_pem_x509_csr(self.read("alpha.csr").encode())
        self.assertTrue(request.is_signature_valid)
        stored = vault.plain[STORED]["data"]["rsa_station_public_key"]
        self.assertEqual(bytes.fromhex(stored).decode(), self.read("alpha.pem"))
        self.assertEqual(key["fingerprint"], self.read("alpha.fingerprint").strip())
        # Once more: nothing changes.
        before = {name: pathlib.Path(f"{self.out}/{name}").read_bytes() for name in made}
        again = run()
        self.assertEqual((again.status, again.err), (0, ""), str(again))
        self.assertEqual(before, {name: pathlib.Path(f"{self.out}/{name}").read_bytes() for name in made})
        self.assertEqual(len(vault.writes()), 1)
        self.assertEqual(pins, [pathlib.Path(path).read_text(encoding="utf-8")
                                for path in (self.pin_file, self.so_pin_file)])

    def test_pins_are_never_arguments_and_secrets_reach_their_command_only(self):
        spy = f"{self.work}/spy"
        pathlib.Path(spy).write_text('#!/bin/sh\n{ echo "$*"; env; echo; } >>"$TT_CALLS"\nexec "$TT_REAL" "$@"\n',
                                     encoding="utf-8")
        os.chmod(spy, 0o755)
        os.mkdir(f"{self.work}/server")
        vault = registry.Vault(f"{self.work}/server")
        self.addCleanup(vault.close)
        self.done(f"--vault={vault.url}", f"--ca-file={vault.ca_file}", TRAINTOKEN=spy, TT_REAL=PROGRAM,
                  TT_CALLS=self.calls, VAULT_TOKEN=registry.VAULT_TOKEN)
        calls = pathlib.Path(self.calls).read_text(encoding="utf-8")
        self.assertNotIn(PIN, calls)
        self.assertNotIn(SO_PIN, calls)
        knowing = [call for call in calls.split("\n\n") if registry.VAULT_TOKEN in call]
        self.assertEqual([call.split(" ")[:2] for call in knowing], [["key", "enrol"]])
        self.check_made()

    def test_dry_run_does_nothing(self):
        before = self.everything()
        result = self.done("--dry-run", "--generate-pins", f"--pin-file={self.pin_file}", "--subject=/CN=a",
                           f"--so-pin-file={self.so_pin_file}", "--vault=https://127.0.0.1:1",
                           PRIVATE_KEY_PASSWORD=None, TRAINTOKEN_SO_PIN=None)
        for words in ("would initialize", "would look for it", "would write", "would register", "nothing was done"):
            self.assertIn(words, result.out)
        self.assertEqual(before, self.everything())
        self.done()
        before = self.everything()
        result = self.done("--dry-run", PRIVATE_KEY_PASSWORD=None)
        self.assertIn("it is there, and stays as it is", result.out)
        self.assertEqual(before, self.everything())

    def test_digits_and_length(self):
        self.done("--generate-pins", f"--pin-file={self.pin_file}", f"--so-pin-file={self.so_pin_file}", "--pin-digits",
                  "--pin-length=8", PRIVATE_KEY_PASSWORD=None, TRAINTOKEN_SO_PIN=None)
        for path in (self.pin_file, self.so_pin_file):
            self.assertRegex(pathlib.Path(path).read_text(encoding="utf-8"), r"^[0-9]{8}\n$")

    def test_made_pins_that_the_token_does_not_take(self):
        """They stay in their files, so that the same would happen again and again: it is said what to do."""
        pathlib.Path(self.breaker).write_text('#!/bin/sh\ncase "$*" in "token init"*) exit 7 ;; esac\nexec "$TT_REAL" "$@"\n',
                                              encoding="utf-8")
        files = (f"--pin-file={self.pin_file}", f"--so-pin-file={self.so_pin_file}")
        no_pins = {"PRIVATE_KEY_PASSWORD": None, "TRAINTOKEN_SO_PIN": None}
        self.stopped(7, ["--pin-length", self.pin_file, self.so_pin_file], "--generate-pins", *files,
                     TRAINTOKEN=self.breaker, TT_REAL=PROGRAM, **no_pins)
        self.done("--generate-pins", *files, **no_pins)

    def test_usage(self):
        for options, words in ((["--station="], "empty"), (["--station=a/b"], "station's id"),
                               (["--station=.."], "station's id"), (["--token=a;b"], "token's label"),
                               (["--token=" + "a" * 33], "token's label"), (["--key=ü"], "key's label"),
                               (["--bits=1024"], "--bits"), (["--generate-pins"], "--pin-file"),
                               (["--generate-pins=no"], "no value"), (["--pin-length=3"], "--pin-length"),
                               (["--pin-length=08"], "--pin-length"), (["--vault=https://a", "--central=https://b"], "both"),
                               (["--vault-kv=1"], "--vault-kv"), (["--policy=/nowhere"], "/nowhere"), (["--slot=0"], "--slot"),
                               (["--pin-file=x", "--so-pin-file=x"], "of its own"), (["--erase"], "--erase"),
                               (["--erase=yes"], "--erase"), (["--out"], "needs a value"), (["alpha"], "'alpha'"),
                               (["--from=/nowhere"], "/nowhere"), (["--from", self.breaker], "line 2")):
            with self.subTest(options):
                self.stopped(2, words, *options)
        self.assertEqual(self.start("--station=alpha", TRAINTOKEN="/nowhere/traintoken").status, 2)
        shown = subprocess.run([CEREMONY, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
        page = (SOURCE / "docs/man/traintoken-ceremony.1").read_text(encoding="utf-8")
        for option in set(re.findall(r"--([a-z][a-z-]+)", shown)):
            self.assertIn(f"Fl Fl {option}", page)
        self.assertFalse(os.path.exists(self.out))


    def test_options_names_as_words_of_values(self):
        self.done("--dry-run", "--operator", "the operator on duty", "--witness=a witness , out of two",
                  "--subject=/CN=our station alpha/O=the key office")

    def test_a_folder_that_cannot_be_made(self):
        result = self.start("--station=alpha", f"--module={self.module}", f"--out={self.breaker}/out")
        self.assertEqual(result.status, 8, str(result))
        self.assertIn("cannot be made", result.err)


class Again(CeremonyCase):
    """Broken off after each step that changes something, and before it."""

    changes = ("token init", "key generate", "key export --module={} --pin-fd=5 --format=pem",
               "key export --module={} --pin-fd=5 --format=hex", "key export --module={} --pin-fd=5 --format=fingerprint",
               "key attest", "key enrol")

    def vault(self):
        os.mkdir(f"{self.work}/server")
        vault = registry.Vault(f"{self.work}/server")
        self.addCleanup(vault.close)
        self.options = (f"--vault={vault.url}", f"--ca-file={vault.ca_file}", "--generate-pins",
                        f"--pin-file={self.pin_file}", f"--so-pin-file={self.so_pin_file}")
        self.secrets = {"VAULT_TOKEN": registry.VAULT_TOKEN, "PRIVATE_KEY_PASSWORD": None, "TRAINTOKEN_SO_PIN": None}
        return vault

    def finish(self, vault):
        pin = pathlib.Path(self.pin_file).read_text(encoding="utf-8")
        self.done(*self.options, **self.secrets)
        self.assertEqual(pin, pathlib.Path(self.pin_file).read_text(encoding="utf-8"))
        (key,) = self.traintoken("key", "list", "--json", "pkcs11:token=station",
                                 PRIVATE_KEY_PASSWORD=pin.strip())["keys"]
        self.assertEqual(key["fingerprint"], self.read("alpha.fingerprint").strip())
        self.assertEqual(len(self.listed()), 1)
        self.assertEqual(bytes.fromhex(vault.plain[STORED]["data"]["rsa_station_public_key"]).decode(), self.read("alpha.pem"))
        self.assertEqual(len(vault.writes()), 1)
        self.assertEqual(set(os.listdir(self.out)), FILES)
        self.assertEqual([name for name in os.listdir(self.work) if name.startswith(("pin.", "so-pin."))], [])

    def test_killed_after_each_change(self):
        vault, made = self.vault(), []
        for words in self.changes:
            with self.subTest(words):
                words = words.format(self.module)
                result = self.ceremony(*self.options, break_at=("kill", words), **self.secrets)
                self.assertEqual(result.status, -9, str(result))
                self.assertIn(words, pathlib.Path(self.calls).read_text(encoding="utf-8"))
                if os.path.exists(f"{self.out}/alpha.pem"):
                    made.append(pathlib.Path(f"{self.out}/alpha.pem").read_bytes())
        self.assertEqual(len(set(made)), 1)
        self.finish(vault)
        self.assertEqual(made[0], pathlib.Path(f"{self.out}/alpha.pem").read_bytes())

    def test_failed_before_each_change(self):
        vault = self.vault()
        for words in (*self.changes, "token list", "key list", "key check", "key attest --module={} --verify"):
            with self.subTest(words):
                result = self.ceremony(*self.options, break_at=("fail", words.format(self.module)), **self.secrets)
                self.assertEqual(result.status, 8, str(result))
                self.assertIn("the next run goes on from there", result.err)
                if words == self.changes[-1]:
                    self.assertEqual(vault.writes(), [])
                    self.done(*self.options, **self.secrets)
        self.finish(vault)

    def test_only_one_pin_was_written(self):
        self.vault()
        pathlib.Path(self.so_pin_file).write_text(SO_PIN, encoding="utf-8")
        os.chmod(self.so_pin_file, 0o600)
        self.done(*self.options, **self.secrets)
        self.assertEqual(pathlib.Path(self.so_pin_file).read_text(encoding="utf-8"), SO_PIN)

    def test_token_without_a_pin_for_its_user_yet(self):
        slot = next(one["slot"] for one in self.traintoken("token", "list", "--json")["tokens"])
        subprocess.run(["pkcs11-tool", "--module", self.module, "--slot", str(slot), "--init-token", "--label", "station",
                        "--so-pin", SO_PIN], env=self.where(), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, check=True)
        self.assertEqual([one["pin"] for one in self.listed()], ["not-set"])
        self.stopped(7, "PIN", TRAINTOKEN_SO_PIN=WRONG_PIN)
        result = self.done()
        self.assertIn("no PIN yet", result.out)
        self.check_made()

    def test_two_at_once(self):
        os.mkdir(self.out)
        with subprocess.Popen(["flock", self.out, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            other.stdin.write(b"x\n")
            other.stdin.flush()
            other.stdout.readline()
            self.stopped(8, "another ceremony")
            other.stdin.close()
        self.done()


class Found(CeremonyCase):
    """What is there already, and is not as it should be, stays as it is."""

    def tokens_as_they_are(self):
        return sorted((one["serial"], one["label"]) for one in self.listed())

    def untouched(self, status, words, *options, **more):
        before = self.tokens_as_they_are()
        self.stopped(status, words, *options, **more)
        self.assertEqual(before, self.tokens_as_they_are())

    def test_token_of_somebody_else(self):
        self.tokens.add("station", pool_key("beta"), "theirs", "01")
        self.untouched(7, "PIN is wrong", PRIVATE_KEY_PASSWORD=WRONG_PIN)
        self.untouched(7, "was initialized before", "--generate-pins", f"--pin-file={self.pin_file}",
                       f"--so-pin-file={self.so_pin_file}", PRIVATE_KEY_PASSWORD=None, TRAINTOKEN_SO_PIN=None)
        self.assertFalse(os.path.exists(self.pin_file) or os.path.exists(self.so_pin_file))
        self.untouched(7, "there is no PIN", PRIVATE_KEY_PASSWORD=None)
        self.untouched(7, "missing or empty", f"--pin-file={self.pin_file}", PRIVATE_KEY_PASSWORD=None)
        self.assertEqual([key["label"] for key in self.keys()], ["theirs"])
        # With its PIN it serves: a key of its own beside the one that is there.
        self.done(TRAINTOKEN_SO_PIN=None)
        self.assertEqual(sorted(key["label"] for key in self.keys()), ["theirs", "train-key"])

    def test_wrong_pin_is_tried_once(self):
        self.tokens._fixture("token", "station", PIN)
        result = self.ceremony(break_at=("count", "-"), PRIVATE_KEY_PASSWORD=WRONG_PIN)
        self.assertEqual(result.status, 7, str(result))
        self.assertEqual(pathlib.Path(self.calls).read_text(encoding="utf-8").count("--pin-fd"), 1)

    def test_last_try_is_not_taken(self):
        self.tokens._fixture("token", "station", PIN)
        shows = f"{self.work}/shows"
        pathlib.Path(shows).write_text('#!/bin/sh\necho "$*" >>"$TT_CALLS"\n'
                                       '"$TT_REAL" "$@" | sed "s/\\"pin\\":.*/\\"pin\\": \\"$TT_PIN\\",/"\n', encoding="utf-8")
        os.chmod(shows, 0o755)
        for state, words in (("final-try", "--last-pin-try"), ("locked", "--unlock")):
            self.untouched(7, words, TRAINTOKEN=shows, TT_REAL=PROGRAM, TT_CALLS=self.calls, TT_PIN=state)
        self.assertNotIn("--pin-fd", pathlib.Path(self.calls).read_text(encoding="utf-8"))

    def test_refused_pins_for_a_new_token(self):
        for pins, words in (({"PRIVATE_KEY_PASSWORD": "12"}, "PIN"), ({"TRAINTOKEN_SO_PIN": "12"}, "PIN"),
                            ({"TRAINTOKEN_SO_PIN": PIN}, "the same"), ({"TRAINTOKEN_SO_PIN": None}, "no security officer")):
            with self.subTest(pins):
                self.untouched(7, words, **pins)
        self.assertEqual(self.listed(), [])

    def test_several_tokens_of_that_name(self):
        for _ in range(2):
            self.tokens._fixture("token", "station", PIN)
        self.untouched(6, "2 tokens 'station'")

    def test_key_that_fails_the_policy(self):
        self.tokens.add("station", pool_key("alpha"), "train-key", "01")
        policy = f"{self.work}/policy.json"
        pathlib.Path(policy).write_text('{"local": true, "minimum_bits": 2048}', encoding="utf-8")
        self.untouched(6, "not as the policy wants", f"--policy={policy}")
        self.assertEqual(os.listdir(self.out), [])
        self.assertEqual(len(self.keys()), 1)
        pathlib.Path(policy).write_text('{"locale": true}', encoding="utf-8")
        self.untouched(2, "no wish", f"--policy={policy}")

    def test_several_keys_of_that_name(self):
        self.tokens.add("station", pool_key("alpha"), "train-key", "01")
        self.tokens.add("station", pool_key("beta"), "train-key", "02")
        self.untouched(6, "2 keys 'train-key'")

    def test_files_of_another_key(self):
        self.done()
        for name, status in (("alpha.pem", 5), ("alpha.hex", 5), ("alpha.fingerprint", 5), ("alpha.record.json", 3)):
            with self.subTest(name):
                path = pathlib.Path(f"{self.out}/{name}")
                good = path.read_bytes()
                path.write_bytes(b"another\n")
                self.stopped(status, name)
                self.assertEqual(path.read_bytes(), b"another\n")
                path.write_bytes(good)
        record = pathlib.Path(f"{self.out}/alpha.record.json")
        good = json.loads(record.read_text(encoding="utf-8"))
        payload = base64.b64decode(good["payload"]).replace(b'"local":true', b'"local":null')
        record.write_text(json.dumps(good | {"payload": base64.b64encode(payload).decode()}), encoding="utf-8")
        self.stopped(4, "is wrong")
        record.write_text(json.dumps(good), encoding="utf-8")
        self.done()

    def test_another_key_is_registered(self):
        os.mkdir(f"{self.work}/server")
        vault = registry.Vault(f"{self.work}/server")
        self.addCleanup(vault.close)
        theirs = pool_key("beta").public_key().public_bytes(serialization.Encoding.PEM,
                                                            serialization.PublicFormat.SubjectPublicKeyInfo)
        vault.plain[STORED] = {"data": {"rsa_station_public_key": theirs.hex()}}
        self.stopped(5, "SHA256:", f"--vault={vault.url}", f"--ca-file={vault.ca_file}", VAULT_TOKEN=registry.VAULT_TOKEN)
        self.assertEqual(vault.writes(), [])
        self.check_made()

    def test_pin_that_others_may_read(self):
        pathlib.Path(self.pin_file).write_text(PIN + "\n", encoding="utf-8")
        os.chmod(self.pin_file, 0o644)
        result = self.done(f"--pin-file={self.pin_file}", PRIVATE_KEY_PASSWORD=None)
        self.assertIn("others than its owner may open it", result.err)
        self.check_made()

    def test_credentials_of_the_service_manager(self):
        folder = f"{self.work}/credentials"
        os.mkdir(folder, 0o700)
        for name, pin in (("traintoken-pin", PIN), ("traintoken-so-pin", SO_PIN)):
            pathlib.Path(f"{folder}/{name}").write_text(pin, encoding="utf-8")
            os.chmod(f"{folder}/{name}", 0o400)
        self.done(PRIVATE_KEY_PASSWORD=None, TRAINTOKEN_SO_PIN=None, CREDENTIALS_DIRECTORY=folder)
        self.check_made()


class StepByStep(CeremonyCase):
    def talk(self, answers, *options, **env):
        """Answers each question, in their order, on a terminal of its own. Gives status and what was shown."""
        def is_question(shown):
            return re.search(rb"(?:^|\n)(?!ERROR|WARNING)[^\n]*(: |\[Y/n\] )$", shown)

        # A question is what nothing follows: modules write what ends like one.
        status, text, left = terminal.converse([CEREMONY, *options], self.where(**env), answers,
                                               is_question=is_question, calm=0.1)
        for secret in (PIN, SO_PIN, WRONG_PIN):
            self.assertNotIn(secret, text, "a secret was echoed")
        self.assertEqual(left, [], text)
        return status, text

    # Station, module, Vault, policy, operator, witness, token, key, folder.
    questions = ("alpha\n", None, "\n", "\n", "A. Lovelace\n", "C. Babbage\n", "\n", "\n", None)

    def answers(self, *more):
        given = {1: f"{self.module}\n", 8: f"{self.out}\n"}
        return [given.get(i, answer) for i, answer in enumerate(self.questions)] + list(more)

    no_pins = {"PRIVATE_KEY_PASSWORD": None, "TRAINTOKEN_SO_PIN": None}

    def test_all_answers(self):
        pins = [f"{SO_PIN}\n"] * 2 + [f"{PIN}\n"] * 2
        status, text = self.talk(self.answers("y\n", *pins, "\n", "\n", "\n", "\n", "yes\n"), "--bits=2048", **self.no_pins)
        self.assertEqual(status, 0, text)
        self.check_made(notes={"operator": "A. Lovelace", "witness": "C. Babbage"})
        for words in ("It can be broken off", "== 1. The token", "Keep the two apart", "== 6. The registry",
                      "Compare this fingerprint"):
            self.assertIn(words, text)
        # Again, with an answer of no: the PIN is asked for once, and all stays.
        before = {name: self.read(name) for name in FILES}
        status, text = self.talk(self.answers("y\n", f"{PIN}\n", "\n", "n\n"), "--bits=2048", **self.no_pins)
        self.assertEqual(status, 2, text)
        self.assertIn("stopped in step 3", text)
        self.assertEqual(before, {name: self.read(name) for name in FILES})

    def test_wrong_answers(self):
        status, text = self.talk(self.answers("y\n", f"{SO_PIN}\n", f"{WRONG_PIN}\n"), **self.no_pins)
        self.assertEqual(status, 7, text)
        self.assertIn("two different ones", text)
        self.assertEqual(self.listed(), [])
        status, text = self.talk(["../alpha\n", *self.answers()[1:]], **self.no_pins)
        self.assertEqual(status, 2, text)
        self.tokens._fixture("token", "station", PIN)
        status, text = self.talk(self.answers("y\n", f"{WRONG_PIN}\n", "y\n"), **self.no_pins)
        self.assertEqual(status, 7, text)
        self.assertIn("PIN is wrong", text)

    def test_without_a_terminal(self):
        done = subprocess.run([CEREMONY, *self.usual()], env=self.where(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, start_new_session=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--unattended", done.stdout)


if __name__ == "__main__":
    unittest.main()
