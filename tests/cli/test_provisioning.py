"""Tokens and keys made, listed, changed and removed, with a real SoftHSM: what comes out, every refusal, and that
nothing half-made stays, whatever call of the module fails."""

import base64
import hashlib
import inspect
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from support import pht, terminal
from support.station import FIXTURES, PIN, POOL, SANITIZED, Case, pool_key, results_of, sample, tokens

SO_PIN = "tt-throw-away-officer"
NEW_PIN = "tt-throw-away-5678"
WRONG_PIN = "tt-throw-away-9999"
FIXTURE_SO_PIN = "12345678"
PASSPHRASE = "tt-throw-away-passphrase"
FAULTS = os.environ.get("TT_FAULT_LIBRARY")
SECRETS = (PIN, SO_PIN, NEW_PIN, WRONG_PIN, PASSPHRASE, "BEGIN PRIVATE")


class ProvisioningCase(Case):
    """A folder of tokens of its own for every test, with the token "station" in it."""

    def setUp(self):
        super().setUp()
        self.place = tempfile.mkdtemp(prefix="traintoken-test-tokens-")
        self.addCleanup(shutil.rmtree, self.place, True)
        self.module = tokens().module
        self.fixture("init")
        self.fixture("token", "station", PIN)

    def fixture(self, command, *arguments):
        subprocess.run([FIXTURES, command, self.place, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       check=True)

    def environment(self, **more):
        return super().environment(**{"SOFTHSM2_CONF": f"{self.place}/softhsm2.conf", "TRAINTOKEN_MODULE": self.module,
                                      **more})

    def tt(self, command, *more, **options):
        result = super().tt(*command.split(), *more, **options)
        for secret in SECRETS:
            self.assertNotIn(secret, result.out + result.err)
        return result

    def everything(self, *more):
        """Without the files in which SoftHSM notes that a PIN was tried."""
        return {path: seen for path, seen in super().everything(self.place, *more).items()
                if not path.endswith("/token.object")}

    def make(self, *more, uri="pkcs11:token=station", bits=2048, label="train", **options):
        return self.good("key generate", "--label", label, "--bits", bits, "--json", *more, uri, **options)

    def objects(self, pin=PIN, label="station"):
        """What pkcs11-tool shows of a token: a list of (class, facts)."""
        shown = subprocess.run(["pkcs11-tool", "--module", self.module, "--token-label", label, "--login", "--pin", pin,
                                "--list-objects"], env=self.environment(), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, check=True).stdout
        found = []
        for line in shown.splitlines():
            if not line.startswith(" "):
                found.append((line.split(" Object")[0], {}))
            elif ":" in line and found:
                name, value = line.split(":", 1)
                found[-1][1][name.strip()] = value.strip()
        return sorted(found, key=lambda one: (one[1].get("label", ""), one[0]))

    def pem(self, key, name="key.pem", form="PKCS8", encoding="PEM", passphrase=None):
        path = f"{self.work}/{name}"
        protection = (serialization.BestAvailableEncryption(passphrase.encode()) if passphrase
                      else serialization.NoEncryption())
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(key.private_bytes(getattr(serialization.Encoding, encoding),
                                           getattr(serialization.PrivateFormat, form), protection))
        return path

    def on_a_terminal(self, command, *more, answers, **env):
        """Runs it on a pseudo-terminal and answers each question in turn. Gives (status, what was shown)."""
        argv = self.arguments(*command.split(), *more)
        status, text, _ = terminal.converse(argv, self.environment(TERM="xterm", **env), answers, patience=30)
        for secret in SECRETS:
            self.assertNotIn(secret, text, "a secret was echoed")
        return status, text


class Tokens(ProvisioningCase):
    def init(self, *more, label="second", officer=SO_PIN, **options):
        return self.good("token init", "--label", label, "--json", *more, env={"TRAINTOKEN_SO_PIN": officer}, **options)

    def test_list(self):
        first, empty = self.good("token list", "--json", pin=None)["tokens"]
        self.assertRegex(first["uri"], r"^pkcs11:.*token=station")
        self.assertEqual((first["label"], first["initialized"], first["pin"], first["login_required"],
                          first["write_protected"], first["keypad"], first["module"]),
                         ("station", True, "set", True, False, False, self.module))
        self.assertEqual((empty["label"], empty["initialized"], empty["pin"]), (None, False, None))
        self.assertRegex(empty["uri"], r"^pkcs11:slot-id=\d+$")
        # Ready to paste.
        self.good("key list", first["uri"])
        text = self.good("token list", pin=None).out
        self.assertIn(first["uri"], text)
        self.assertIn("not initialized", text)

    def test_list_of_named_modules(self):
        once = self.good("token list", "--module", self.module, "--json", pin=None, env={"TRAINTOKEN_MODULE": None})
        self.assertEqual(len(once["tokens"]), 2)
        self.refused(6, ["/nonexistent.so"], "token list", "--module", "/nonexistent.so", pin=None)
        self.refused(6, ["libz"], "token list", "--module", "libz.so.1", pin=None)

    def test_list_of_all_modules(self):
        """p11-kit's own list, in which SoftHSM is where the package registered it."""
        # Modules that are installed here come and go; what they leak has no name any more when they are gone.
        env = {"TRAINTOKEN_MODULE": None, **({"ASAN_OPTIONS": "detect_leaks=0"} if SANITIZED else {})}
        shown = self.good("token list", "--json", pin=None, env=env)
        registered = {path.stem for folder in ("/usr/share/p11-kit/modules", "/etc/pkcs11/modules")
                      for path in pathlib.Path(folder).glob("*.module")}
        if "softhsm2" in registered:
            self.assertIn("station", [token["label"] for token in shown["tokens"]])
        self.assertNotIn("System Trust", json.dumps(shown))

    def test_list_tells_of_wrong_pins(self):
        self.refused(7, ["wrong", "few tries"], "key list", "pkcs11:token=station", pin=WRONG_PIN)
        self.assertEqual(self.good("token list", "--json", pin=None)["tokens"][0]["pin"], "count-low")
        self.assertIn("few tries", self.good("key list", "pkcs11:token=station").err)
        self.assertEqual(self.good("token list", "--json", pin=None)["tokens"][0]["pin"], "set")

    def test_init(self):
        made = self.init()
        self.assertEqual((made["token"]["label"], made["token"]["pin"], made["erased"]), ("second", "set", False))
        self.make(uri=made["token"]["uri"])
        self.refused(7, ["officer", "wrong"], "token set-pin", "--so", "pkcs11:token=second",
                     env={"TRAINTOKEN_SO_PIN": WRONG_PIN, "TRAINTOKEN_NEW_PIN": NEW_PIN})

    def test_init_of_a_named_slot(self):
        slot = self.good("token list", "--json", pin=None)["tokens"][1]["uri"]
        self.init(slot)
        self.refused(6, ["--erase"], "token init", "--label", "third", "pkcs11:token=station",
                     env={"TRAINTOKEN_SO_PIN": SO_PIN})
        self.refused(6, [], "token init", "--label", "third", "pkcs11:slot-id=999", env={"TRAINTOKEN_SO_PIN": SO_PIN})

    def test_init_refuses(self):
        officer = {"TRAINTOKEN_SO_PIN": SO_PIN}
        self.refused(2, ["--label"], "token init", env=officer)
        self.refused(2, ["32"], "token init", "--label", "x" * 33, env=officer)
        self.refused(2, ["--label"], "token init", "--label", "a\tb", env=officer)
        self.refused(6, ["station", "another label"], "token init", "--label", "station", env=officer)
        self.refused(7, ["same"], "token init", "--label", "second", env={"TRAINTOKEN_SO_PIN": PIN})
        self.refused(7, ["TRAINTOKEN_SO_PIN", "--so-pin-fd"], "token init", "--label", "second")
        self.refused(7, ["PRIVATE_KEY_PASSWORD"], "token init", "--label", "second", env=officer, pin=None)
        self.refused(7, ["short", "4 to 255"], "token init", "--label", "second", env=officer, pin="12")
        self.refused(7, ["short"], "token init", "--label", "second", env={"TRAINTOKEN_SO_PIN": "12"})
        self.refused(2, [], "token init", "--label", "second", "--pin", PIN, env=officer)

    def test_erase(self):
        self.make()
        arguments = ("--label", "again", "--erase", "pkcs11:token=station")
        self.refused(2, ["--yes"], "token init", *arguments, env={"TRAINTOKEN_SO_PIN": FIXTURE_SO_PIN})
        self.refused(7, ["officer"], "token init", "--yes", *arguments, env={"TRAINTOKEN_SO_PIN": WRONG_PIN})
        status, shown = self.on_a_terminal("token init", *arguments, answers=["no\n"],
                                           TRAINTOKEN_SO_PIN=FIXTURE_SO_PIN, PRIVATE_KEY_PASSWORD=PIN)
        self.assertEqual(status, 2, shown)
        self.assertEqual(len(self.objects()), 2)
        status, shown = self.on_a_terminal("token init", *arguments, answers=["station\n"],
                                           TRAINTOKEN_SO_PIN=FIXTURE_SO_PIN, PRIVATE_KEY_PASSWORD=PIN)
        self.assertEqual(status, 0, shown)
        self.assertEqual(self.objects(label="again"), [])

    def test_pins_by_descriptor_and_terminal(self):
        ends = [os.pipe() for _ in range(2)]
        for (_, write), pin in zip(ends, (SO_PIN, PIN)):
            os.write(write, pin.encode())
            os.close(write)
        fds = tuple(read for read, _ in ends)
        self.good("token init", "--label", "second", "--so-pin-fd", fds[0], "--pin-fd", fds[1], fds=fds, pin=None)
        for read in fds:
            os.close(read)
        self.good("key list", "pkcs11:token=second")
        status, shown = self.on_a_terminal("token init", "--label", "third",
                                           answers=[f"{SO_PIN}\n", f"{SO_PIN}\n", f"{PIN}\n", f"{WRONG_PIN}\n"])
        self.assertEqual((status, "differ" in shown), (7, True), shown)
        status, shown = self.on_a_terminal("token init", "--label", "third",
                                           answers=[f"{SO_PIN}\n", f"{SO_PIN}\n", f"{PIN}\n", f"{PIN}\n"])
        self.assertEqual((status, shown.count("again")), (0, 2), shown)
        self.good("key list", "pkcs11:token=third")

    def test_pins_by_credential(self):
        place = f"{self.home}/credentials"
        os.mkdir(place)
        for name, pin in (("so-pin", SO_PIN), ("pin", PIN), ("new-pin", NEW_PIN)):
            descriptor = os.open(f"{place}/traintoken-{name}", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(descriptor, pin.encode())
            os.close(descriptor)
        env = {"CREDENTIALS_DIRECTORY": place}
        self.good("token init", "--label", "second", pin=None, env=env)
        self.good("token set-pin", "pkcs11:token=second", pin=None, env=env)
        self.good("key list", "pkcs11:token=second", pin=NEW_PIN)

    def test_set_pin(self):
        new = {"TRAINTOKEN_NEW_PIN": NEW_PIN}
        self.refused(7, ["wrong"], "token set-pin", "pkcs11:token=station", pin=WRONG_PIN, env=new)
        self.refused(7, ["TRAINTOKEN_NEW_PIN"], "token set-pin", "pkcs11:token=station")
        self.refused(7, ["old one"], "token set-pin", "pkcs11:token=station", env={"TRAINTOKEN_NEW_PIN": PIN})
        self.refused(7, ["short"], "token set-pin", "pkcs11:token=station", env={"TRAINTOKEN_NEW_PIN": "1"})
        self.refused(6, ["nowhere"], "token set-pin", "pkcs11:token=nowhere", env=new)
        self.refused(2, ["URI"], "token set-pin", env=new)
        self.assertEqual(self.good("token set-pin", "--json", "pkcs11:token=station", env=new)["pin_of"], "user")
        self.good("key list", "pkcs11:token=station", pin=NEW_PIN)
        self.refused(7, ["wrong"], "key list", "pkcs11:token=station")

    def test_set_pin_of_the_officer_who_unlocks(self):
        officer = {"TRAINTOKEN_SO_PIN": FIXTURE_SO_PIN, "TRAINTOKEN_NEW_PIN": SO_PIN}
        self.refused(2, ["--unlock"], "token set-pin", "--so", "--unlock", "pkcs11:token=station", env=officer)
        self.good("token set-pin", "--so", "pkcs11:token=station", env=officer)
        self.refused(7, ["officer"], "token set-pin", "--so", "pkcs11:token=station", env=officer)
        self.good("token set-pin", "--unlock", "pkcs11:token=station", pin=None,
                  env={"TRAINTOKEN_SO_PIN": SO_PIN, "TRAINTOKEN_NEW_PIN": NEW_PIN})
        self.good("key list", "pkcs11:token=station", pin=NEW_PIN)


class Generating(ProvisioningCase):
    def test_what_comes_out(self):
        for bits in (2048, 3072, 4096):
            with self.subTest(bits=bits):
                made = self.make(bits=bits, label=f"train-{bits}")
                self.assertEqual(made["key"]["bits"], bits)
                self.assertEqual({name: made["probe"][name]["way"] for name in made["probe"]},
                                 {"unwrap": "raw", "sign": "native"})
                for name in ("sensitive", "always_sensitive", "never_extractable", "local", "decrypt", "sign",
                             "private"):
                    self.assertIs(made["key"]["attributes"][name], True, name)
                for name in ("extractable", "unwrap", "sign_recover", "always_authenticate"):
                    self.assertIs(made["key"]["attributes"][name], False, name)
        shown = [one for one in self.objects() if one[1]["label"] == "train-3072"]
        self.assertEqual([one[0] for one in shown], ["Private Key", "Public Key"])
        private, public = shown[0][1], shown[1][1]
        self.assertEqual(private["Usage"], "decrypt, sign")
        self.assertEqual(private["Access"], "sensitive, always sensitive, never extractable, local")
        self.assertEqual(public["Usage"], "encrypt, verify")
        self.assertEqual(private["ID"], public["ID"])

    def test_default_size_and_id(self):
        made = self.good("key generate", "--label", "train", "--json", "pkcs11:token=station")
        self.assertEqual((made["key"]["bits"], len(made["key"]["id"])), (3072, 16))

    def test_the_public_half_shows_without_a_pin(self):
        self.make()
        shown = subprocess.run(["pkcs11-tool", "--module", self.module, "--token-label", "station", "--list-objects"],
                               env=self.environment(), stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertIn("Public Key Object", shown)

    def test_special(self):
        made = self.make("--always-authenticate", "--id", "0A0b")
        self.assertEqual((made["key"]["id"], made["key"]["attributes"]["always_authenticate"]), ("0a0b", True))
        self.make("--allow-mechanisms", "raw,CKM_RSA_PKCS_PSS", label="limited")
        shown = self.good("key show", "pkcs11:object=limited", "--json")["key"]["allowed_mechanisms"]
        self.assertEqual(sorted(shown), ["CKM_RSA_PKCS_PSS", "CKM_RSA_X_509"])

    def test_usage(self):
        uri = "pkcs11:token=station"
        named = ("--label", "x")
        for words, *arguments in (
                (["--label"], uri), (["TOKEN-URI"], *named), (["2048"], *named, "--bits", "1024", uri),
                (["--bits"], *named, "--bits", "many", uri), (["--id"], *named, "--id", "xyz", uri),
                (["--id"], *named, "--id", "123", uri), (["--id"], *named, "--id", "00" * 256, uri),
                (["--label"], "--label", "x" * 256, uri), (["--label"], "--label", "a\nb", uri),
                (["oaep"], *named, "--allow-mechanisms", "oaep,des", uri), (["pkcs11:"], *named, "station")):
            with self.subTest(arguments=arguments):
                self.refused(2, words, "key generate", *arguments)
        for word in ("", "unknown"):
            self.assertEqual(self.tt("key", *([word] if word else [])).status, 2)

    def test_token_and_pin(self):
        self.refused(6, ["nowhere"], "key generate", "--label", "x", "pkcs11:token=nowhere")
        self.refused(7, ["wrong"], "key generate", "--label", "x", "pkcs11:token=station", pin=WRONG_PIN)
        self.refused(7, ["PRIVATE_KEY_PASSWORD"], "key generate", "--label", "x", "pkcs11:token=station", pin=None)
        self.refused(6, ["/nonexistent.so"], "key generate", "--label", "x", "--module", "/nonexistent.so",
                     "pkcs11:token=station")
        self.make(uri=f"pkcs11:token=station?pin-value={PIN}", pin=None)
        self.make(uri=f"pkcs11:token=station?module-path={self.module}", label="by-path",
                  env={"TRAINTOKEN_MODULE": None})

    def test_label_and_id_are_not_used_twice(self):
        uri = self.make("--id", "01")["key"]["uri"]
        for arguments in (("--label", "train"), ("--label", "other", "--id", "01")):
            with self.subTest(arguments=arguments):
                self.refused(6, [uri, "traintoken key delete"], "key generate", *arguments, "pkcs11:token=station")
        # A public half that is left over stands in the way as well.
        subprocess.run(["pkcs11-tool", "--module", self.module, "--token-label", "station", "--login", "--pin", PIN,
                        "--delete-object", "--type", "privkey", "--label", "train"], env=self.environment(), check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.refused(6, ["public"], "key generate", "--label", "train", "pkcs11:token=station")

    def test_a_token_that_cannot_serve(self):
        """No raw RSA, and SoftHSM has no OAEP with SHA-512: the pair that was made is gone again."""
        result = self.tt("key generate", "--label", "x", "--allow-mechanisms", "oaep,pss", "pkcs11:token=station")
        self.assertEqual(result.status, 6, str(result))
        for word in ("unwrap", "CKR_ARGUMENTS_BAD", "station"):
            self.assertIn(word, result.err)
        self.assertEqual(self.objects(), [])
        self.fixture("strict")
        result = self.tt("key generate", "--label", "x", "--bits", 2048, "pkcs11:token=station")
        self.assertEqual(result.status, 6, str(result))
        self.assertEqual(self.objects(), [])

    def test_interrupted(self):
        for signal_number, after in ((signal.SIGINT, 0.15), (signal.SIGTERM, 0.4), (signal.SIGINT, 0.7)):
            child = subprocess.Popen(self.arguments("key", "generate", "--label", "x", "--bits", "4096",
                                                    "pkcs11:token=station"),
                                     env=self.environment(PRIVATE_KEY_PASSWORD=PIN), stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, start_new_session=True)
            time.sleep(after)
            child.send_signal(signal_number)
            status = child.wait(60)
            left = self.objects()
            self.assertIn(status, (0, -signal_number))
            self.assertEqual(len(left), 2 if status == 0 else 0)
            if status == 0:
                self.good("key delete", "--yes", "pkcs11:object=x")

    def test_a_stop_with_the_new_key(self):
        for bits in (2048, 4096):
            with self.subTest(bits=bits):
                self.make(bits=bits, label=f"train-{bits}")
                uri = f"pkcs11:token=station;object=train-{bits}"
                exported = subprocess.run([FIXTURES, "public", self.place, "station", PIN, f"train-{bits}"],
                                          stdout=subprocess.PIPE, check=True).stdout
                layout = self.layout(sample([("station", serialization.load_pem_public_key(exported))]))
                self.good("pre-run", layout, station="station", key=uri, module=self.module)
                self.run_code(layout, "station")
                self.good("post-run", layout, station="station", key=uri, module=self.module)
                layout.check()

    def test_secrets_reach_no_child_and_no_environment(self):
        """While it works, neither its arguments nor its environment show a PIN any more, and it has no children."""
        child = subprocess.Popen(self.arguments("key", "generate", "--label", "x", "--bits", "4096",
                                                f"pkcs11:token=station?pin-value={PIN}"),
                                 env=self.environment(PRIVATE_KEY_PASSWORD=WRONG_PIN), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, start_new_session=True)
        seen, children = {}, set()
        while child.poll() is None:
            for name in ("cmdline", "environ", f"task/{child.pid}/children"):
                try:
                    found = pathlib.Path(f"/proc/{child.pid}/{name}").read_bytes()
                except OSError:  # it ended, or this user may not look
                    continue
                if name.startswith("task"):
                    children.update(found.split())
                elif found:
                    seen[name] = found
            time.sleep(0.01)
        self.assertEqual(child.returncode, 0)
        self.assertNotIn(PIN.encode(), seen["cmdline"])
        self.assertNotIn(WRONG_PIN.encode(), seen.get("environ", b""))
        if not SANITIZED:  # the sanitizer's search for leaks is a process of its own
            self.assertEqual(children, set())


class Importing(ProvisioningCase):
    def bring(self, path, *more, label="train", **options):
        return self.good("key import", "--label", label, "--json", *more, path, "pkcs11:token=station", **options)

    def test_every_form(self):
        key = rsa.generate_private_key(65537, 2048)
        forms = [("pkcs8.pem", "PKCS8", "PEM", None), ("traditional.pem", "TraditionalOpenSSL", "PEM", None),
                 ("pkcs8.der", "PKCS8", "DER", None), ("traditional.der", "TraditionalOpenSSL", "DER", None),
                 ("pkcs8-encrypted.pem", "PKCS8", "PEM", PASSPHRASE),
                 ("pkcs8-encrypted.der", "PKCS8", "DER", PASSPHRASE),
                 ("traditional-encrypted.pem", "TraditionalOpenSSL", "PEM", PASSPHRASE)]
        for name, form, encoding, passphrase in forms:
            with self.subTest(name):
                path = self.pem(key, name, form, encoding, passphrase)
                result = self.tt("key import", "--label", "train", "--json", path, "pkcs11:token=station",
                                 env={"TRAINTOKEN_FILE_PASSPHRASE": PASSPHRASE})
                self.assertEqual(result.status, 0, str(result))
                self.assertIn("outside", result.err)
                made = result.json
                self.assertEqual(made["key"]["fingerprint"], fingerprint(key))
                self.assertEqual((made["key"]["attributes"]["sensitive"], made["key"]["attributes"]["extractable"],
                                  made["key"]["attributes"]["local"], made["shredded"]), (True, False, False, False))
                self.assertTrue(os.path.exists(path))
                self.good("key delete", "--yes", "pkcs11:object=train")

    def test_a_key_behind_a_certificate(self):
        key = rsa.generate_private_key(65537, 2048)
        path = self.pem(key)
        made = subprocess.run(["openssl", "req", "-new", "-x509", "-key", path, "-subj", "/CN=throw-away"],
                              stdout=subprocess.PIPE, check=True).stdout
        with open(path, "r+b") as stream:
            text = stream.read()
            stream.seek(0)
            stream.write(made + text)
        self.bring(path)

    def test_sizes_and_a_stop(self):
        for bits in (2048, 3072, 4096):
            with self.subTest(bits=bits):
                key = rsa.generate_private_key(65537, bits)
                self.bring(self.pem(key), label=f"key-{bits}")
                uri = f"pkcs11:token=station;object=key-{bits}"
                layout = self.layout(sample([("station", key)]))
                self.good("pre-run", layout, station="station", key=uri, module=self.module)
                self.run_code(layout, "station")
                self.good("post-run", layout, station="station", key=uri, module=self.module)
                layout.check()
        private = [facts for kind, facts in self.objects() if kind == "Private Key"]
        self.assertEqual({(one["Usage"], one["Access"]) for one in private}, {("decrypt, sign", "sensitive")})

    def test_default_id_is_what_other_tools_make(self):
        self.bring(self.pem(pool_key("alpha")), label="ours")
        numbers = pool_key("alpha").public_key().public_numbers()
        modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
        self.assertEqual(self.good("key show", "pkcs11:object=ours", "--json")["key"]["id"],
                         hashlib.sha1(modulus).hexdigest())

    def test_passphrase(self):
        path = self.pem(pool_key("alpha"), passphrase=PASSPHRASE)
        arguments = ("key import", "--label", "x", path, "pkcs11:token=station")
        self.refused(7, ["passphrase", "wrong"], *arguments, env={"TRAINTOKEN_FILE_PASSPHRASE": WRONG_PIN})
        self.refused(7, ["TRAINTOKEN_FILE_PASSPHRASE", "--file-pin-fd"], *arguments)
        status, shown = self.on_a_terminal(*arguments, answers=[f"{WRONG_PIN}\n"], PRIVATE_KEY_PASSWORD=PIN)
        self.assertEqual(status, 7, shown)
        read, write = os.pipe()
        os.write(write, PASSPHRASE.encode() + b"\n")
        os.close(write)
        self.bring(path, "--file-pin-fd", read, fds=(read,))
        os.close(read)
        self.good("key delete", "--yes", "pkcs11:object=train")
        status, shown = self.on_a_terminal(*arguments, answers=[f"{PASSPHRASE}\n", f"{PIN}\n"])
        self.assertEqual(status, 0, shown)

    def test_files_that_are_no_such_key(self):
        public = f"{self.work}/public.pem"
        pathlib.Path(public).write_bytes(pht.public_pem(pool_key("alpha")))
        noise = f"{self.work}/noise"
        pathlib.Path(noise).write_bytes(bytes(range(256)) * 64)
        large = f"{self.work}/large"
        pathlib.Path(large).write_bytes(b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 100000)
        empty = f"{self.work}/empty"
        pathlib.Path(empty).touch()
        damaged = self.pem(pool_key("alpha"), "damaged.pem")
        text = pathlib.Path(damaged).read_text(encoding="ascii").splitlines()
        pathlib.Path(damaged).write_text("\n".join(text[:8] + text[9:]) + "\n", encoding="ascii")
        elliptic = self.pem(ec.generate_private_key(ec.SECP256R1()), "ec.pem")
        numbers = pool_key("alpha").private_numbers()
        wrong = rsa.RSAPrivateNumbers(numbers.p, numbers.q, numbers.d, numbers.dmp1, numbers.dmq1, numbers.iqmp ^ 4,
                                      numbers.public_numbers)
        unfit = wrong.private_key(unsafe_skip_rsa_key_validation=True) if can_skip() else None
        cases = [(public, ["private key"]), (noise, ["private key"]), (large, ["too long"]), (empty, ["private key"]),
                 (damaged, []), (elliptic, ["RSA"]), (str(POOL / "throwaway-short.pem"), ["1024"]),
                 (self.work, ["folder"])]
        if unfit:
            cases.append((self.pem(unfit, "unfit.pem"), ["damaged"]))
        for path, words in cases:
            with self.subTest(path=path):
                self.refused(2, words, "key import", "--label", "x", path, "pkcs11:token=station")
        self.refused(8, ["nothing-there"], "key import", "--label", "x", f"{self.work}/nothing-there",
                     "pkcs11:token=station")
        self.assertEqual(self.objects(), [])

    def test_refusals(self):
        path = self.pem(pool_key("alpha"))
        self.refused(2, ["--label"], "key import", path, "pkcs11:token=station")
        self.refused(2, ["FILE"], "key import", "--label", "x", path)
        self.refused(7, ["wrong"], "key import", "--label", "x", path, "pkcs11:token=station", pin=WRONG_PIN)
        self.bring(path)
        self.refused(6, ["object=train"], "key import", "--label", "train", path, "pkcs11:token=station")
        self.refused(6, ["object=train", "id"], "key import", "--label", "other", path, "pkcs11:token=station")

    def test_shred(self):
        key = rsa.generate_private_key(65537, 2048)
        path = self.pem(key)
        link, twin = f"{self.work}/link.pem", f"{self.work}/twin.pem"
        os.symlink(path, link)
        self.refused(2, ["--shred"], "key import", "--shred", "--label", "x", link, "pkcs11:token=station")
        self.fixture("strict")
        result = self.tt("key import", "--shred", "--label", "x", path, "pkcs11:token=station")
        self.assertEqual(result.status, 6, str(result))
        self.assertTrue(os.path.exists(path), "shredded though the token cannot serve")
        self.assertEqual(self.objects(), [])
        config = pathlib.Path(f"{self.place}/softhsm2.conf")
        text = config.read_text(encoding="ascii").replace("slots.mechanisms", "# slots.mechanisms")
        config.write_text(text, encoding="ascii")
        os.link(path, twin)
        size = os.path.getsize(path)
        result = self.tt("key import", "--shred", "--label", "x", path, "pkcs11:token=station")
        self.assertEqual(result.status, 0, str(result))
        self.assertIn("journals", result.out)
        self.assertIn("other names", result.err)
        self.assertFalse(os.path.exists(path))
        left = pathlib.Path(twin).read_bytes()
        self.assertEqual(len(left), size)
        self.assertNotIn(b"PRIVATE", left)


def fingerprint(key):
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


def can_skip():
    return "unsafe_skip_rsa_key_validation" in inspect.signature(rsa.RSAPrivateNumbers.private_key).parameters


class Changing(ProvisioningCase):
    def test_list_and_show(self):
        self.assertIn("no private key", self.good("key list").out)
        first = self.make("--id", "01", label="first")["key"]
        second = self.make("--id", "02", label="second")["key"]
        listed = self.good("key list", "--json")["keys"]
        self.assertEqual(sorted(one["uri"] for one in listed), sorted([first["uri"], second["uri"]]))
        self.assertEqual([one["label"] for one in self.good("key list", "pkcs11:id=%02", "--json")["keys"]], ["second"])
        text = self.good("key list", "pkcs11:token=station").out
        self.assertIn(first["uri"], text)
        self.assertIn(first["fingerprint"], text)
        shown = self.good("key show", first["uri"], "--json")["key"]
        self.assertEqual({name: shown[name] for name in first}, first)
        text = self.good("key show", "pkcs11:object=second").out
        for word in ("second", second["fingerprint"], "sensitive", "RSA, 2048"):
            self.assertIn(word, text)
        self.refused(6, [first["uri"], second["uri"]], "key show", "pkcs11:token=station")
        self.refused(6, [first["uri"], "third"], "key show", "pkcs11:object=third")
        self.refused(2, ["URI"], "key show")
        self.refused(7, ["wrong"], "key show", first["uri"], pin=WRONG_PIN)
        self.fixture("token", "another", PIN)
        self.refused(6, ["token=station", "token=another"], "key list")

    def test_delete(self):
        self.make("--id", "01", label="first")
        self.make("--id", "02", label="second")
        before = self.objects()
        self.refused(2, ["--yes"], "key delete", "pkcs11:object=first")
        self.refused(6, ["object=first", "object=second"], "key delete", "--yes", "pkcs11:token=station")
        self.refused(6, ["nothing"], "key delete", "--yes", "pkcs11:object=nothing")
        arguments = ("key delete", "pkcs11:object=first")
        for answer in ("second\n", "\n", "\x04"):
            status, shown = self.on_a_terminal(*arguments, answers=[answer], PRIVATE_KEY_PASSWORD=PIN)
            self.assertEqual(status, 2, shown)
        status, shown = self.on_a_terminal(*arguments, answers=["\x03"], PRIVATE_KEY_PASSWORD=PIN)
        self.assertEqual(status, -signal.SIGINT, shown)
        self.assertEqual(self.objects(), before)
        status, shown = self.on_a_terminal(*arguments, answers=["first\n"], PRIVATE_KEY_PASSWORD=PIN)
        self.assertEqual(status, 0, shown)
        self.assertEqual({facts["label"] for _, facts in self.objects()}, {"second"})
        self.good("key delete", "--yes", "pkcs11:token=station")
        self.assertEqual(self.objects(), [])

    def test_rename(self):
        self.make("--id", "01", label="first")
        self.make("--id", "02", label="second")
        self.refused(2, ["--label", "--id"], "key rename", "pkcs11:object=first")
        self.refused(6, ["object=second"], "key rename", "--label", "second", "pkcs11:object=first")
        self.refused(6, ["object=second"], "key rename", "--label", "third", "--id", "02", "pkcs11:object=first")
        self.refused(6, ["object=first"], "key rename", "--label", "third", "pkcs11:token=station")
        done = self.good("key rename", "--label", "dritter Schlüssel", "--id", "AB01", "--json", "pkcs11:object=first")
        self.assertIn("object=first", done["before"])
        self.assertEqual((done["key"]["label"], done["key"]["id"]), ("dritter Schlüssel", "ab01"))
        self.good("key rename", "--id", "03", done["key"]["uri"])
        self.good("key rename", "--label", "third", "--id", "03", "pkcs11:id=%03")
        self.assertEqual([(kind, facts["label"], facts["ID"]) for kind, facts in self.objects()],
                         [("Private Key", "second", "02"), ("Public Key", "second", "02"),
                          ("Private Key", "third", "03"), ("Public Key", "third", "03")])


@unittest.skipUnless(FAULTS, "needs the module that fails on demand, named by TT_FAULT_LIBRARY")
class Failing(ProvisioningCase):
    def faulty(self, rule, **more):
        return {"TRAINTOKEN_MODULE": FAULTS, "TT_FAULT_MODULE": self.module, "TT_FAULT": rule, **more}

    def calls(self, *arguments, **env):
        log = f"{self.home}/calls"
        pathlib.Path(log).unlink(missing_ok=True)
        self.good(*arguments, env=self.faulty("", TT_FAULT_LOG=log, **env))
        names = pathlib.Path(log).read_text(encoding="ascii").split()
        return sorted({(name, names[:i + 1].count(name)) for i, name in enumerate(names)})

    def sweep(self, arguments, check, codes=("CKR_DEVICE_ERROR",), skip=()):
        """Lets each call that the command makes fail, one at a time; check(status, place) looks at what is left."""
        points = [one for one in self.calls(*arguments) if one[0] not in skip]
        self.assertGreater(len(points), 15)
        self.reset()
        for name, count in points:
            for code in codes:
                place = f"{name}:{count}={code}"
                result = self.tt(*arguments, env=self.faulty(place))
                self.assertIn(result.status, (0, 6, 7), f"{place}\n{result}")
                check(result, place)
                self.reset()

    def reset(self):
        """The tokens as they were when the test began."""
        shutil.rmtree(f"{self.place}/tokens")
        shutil.copytree(f"{self.place}/saved", f"{self.place}/tokens")

    def save(self):
        shutil.copytree(f"{self.place}/tokens", f"{self.place}/saved")

    def all_or_nothing(self, result, place):
        left = [kind for kind, _ in self.objects()]
        self.assertEqual(left, ["Private Key", "Public Key"] if result.status == 0 else [], f"{place}\n{result}")

    def test_generate(self):
        self.save()
        self.sweep(("key generate", "--label", "x", "--bits", "2048", "--quiet", "pkcs11:token=station"),
                   self.all_or_nothing, skip=("C_GetAttributeValue", "C_FindObjects", "C_FindObjectsFinal"))

    def test_generate_reading_back(self):
        self.save()
        self.sweep(("key generate", "--label", "x", "--bits", "2048", "--quiet", "pkcs11:token=station"),
                   self.all_or_nothing, skip={name for name, _ in self.calls(
                       "key generate", "--label", "y", "--bits", "2048", "pkcs11:token=station")} -
                   {"C_GetAttributeValue", "C_FindObjects", "C_FindObjectsFinal"})

    def test_import(self):
        path = self.pem(rsa.generate_private_key(65537, 2048))
        self.save()

        def check(result, place):
            self.all_or_nothing(result, place)
            self.assertTrue(os.path.exists(path))
        self.sweep(("key import", "--label", "x", "--quiet", path, "pkcs11:token=station"), check)

    def test_rename(self):
        self.make("--id", "01", label="old")
        self.save()
        old = self.objects()

        def check(result, place):
            labels = [facts["label"] for _, facts in self.objects()]
            self.assertEqual(labels, ["new", "new"] if result.status == 0 else [facts["label"] for _, facts in old],
                             f"{place}\n{result}")
        self.sweep(("key rename", "--label", "new", "--id", "02", "--quiet", "pkcs11:object=old"), check)

    def test_a_lost_session_leaves_no_pair(self):
        for call in ("C_GetAttributeValue:6", "C_OpenSession:2", "C_DecryptInit:1", "C_Decrypt:2", "C_SignInit:1",
                     "C_Sign:1"):
            with self.subTest(call):
                result = self.tt("key generate", "--label", "x", "--bits", "2048", "pkcs11:token=station",
                                 env=self.faulty(f"{call}=session"))
                self.assertIn(result.status, (0, 6), str(result))
                self.assertEqual(len(self.objects()), 2 if result.status == 0 else 0, str(result))
                if result.status == 0:
                    self.good("key delete", "--yes", "pkcs11:object=x")

    def test_a_pair_that_cannot_be_removed_is_named(self):
        result = self.tt("key generate", "--label", "x", "--bits", "2048", "pkcs11:token=station",
                         env=self.faulty("C_DestroyObject:1+=CKR_DEVICE_ERROR", TT_FAULT_FORBID="raw"))
        self.assertEqual(result.status, 6, str(result))
        self.assertIn("object=x", result.err)
        self.assertIn("could not be removed", result.err)

    def test_which_way_serves(self):
        for forbidden, status, word in (("pss", 0, '"raw"'), ("long-salt", 0, '"raw"'), ("raw", 6, "unwrap"),
                                        ("raw,pss", 6, "unwrap")):
            with self.subTest(forbidden=forbidden):
                result = self.tt("key generate", "--label", f"x-{forbidden}", "--bits", "2048", "--json",
                                 "pkcs11:token=station", env=self.faulty("", TT_FAULT_FORBID=forbidden))
                self.assertEqual(result.status, status, str(result))
                self.assertIn(word, result.out + result.err)
                if status == 0:
                    self.assertEqual(result.json["probe"]["sign"]["way"], "raw")

    def test_pins_are_tried_once(self):
        log = f"{self.home}/calls"
        for arguments in (("key list",), ("token set-pin", "pkcs11:token=station"),
                          ("key generate", "--label", "x", "pkcs11:token=station")):
            pathlib.Path(log).unlink(missing_ok=True)
            result = self.tt(*arguments, pin=WRONG_PIN,
                             env=self.faulty("", TT_FAULT_LOG=log, TRAINTOKEN_NEW_PIN=NEW_PIN))
            self.assertEqual(result.status, 7, str(result))
            names = pathlib.Path(log).read_text(encoding="ascii").split()
            self.assertEqual((names.count("C_Login"), names.count("C_SetPIN")), (1, 0))


if __name__ == "__main__":
    unittest.main()
