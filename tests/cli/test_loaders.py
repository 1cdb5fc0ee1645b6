"""Keys by each of OpenSSL's ways: libp11, its pkcs11 provider and its pkcs11 engine, on SoftHSM. Each serves the
protocol, and says as well as libp11 what is wrong with a PIN, a token or a key, at one PIN try at most."""

import glob
import os
import shutil
import subprocess
import tempfile
import time
import unittest

import test_token_locks as locks
from support import pht
from support.station import FIXTURES, PIN, POOL, SANITIZED, Case, pool_key, sample, tokens, vector_key
from test_token_use import PRIVATE_ATTRIBUTES, SPY, calls

WRONG_PIN = "tt-throw-away-9999"
HERE = {"libp11": True, "provider": bool(glob.glob("/usr/lib/*/ossl-modules/pkcs11.so")),
        "engine": bool(glob.glob("/usr/lib/*/engines-3/pkcs11.so"))}
# It opens modules with RTLD_DEEPBIND, which the sanitizers' run-time refuses.
if SANITIZED:
    del HERE["provider"]
PACKAGES = {"provider": "pkcs11-provider", "engine": "libengine-pkcs11-openssl"}
OPERATIONS = ("C_Decrypt", "C_DecryptFinal", "C_Sign", "C_SignFinal", "C_SignRecover", "C_UnwrapKey", "C_DeriveKey")


class LoaderCase(Case):
    others = frozenset()  # lines that modules which are none of the test's write to stderr

    def loaders(self):
        """Each loader. One that is not there fails the test: scripts/install-packages has them all."""
        for loader, here in HERE.items():
            self.assertTrue(here, f"needs the package {PACKAGES.get(loader)}")
        return list(HERE)

    def spied(self, status, loader, command, layout, *options, **more):
        log = f"{self.home}/spy-{os.urandom(4).hex()}"
        more.setdefault("env", {})
        more["env"] = {"PKCS11SPY": tokens().module, "PKCS11SPY_OUTPUT": log} | more["env"]
        more.setdefault("station", "alpha")
        result = self.tt(command, "--key-loader", loader, *options, layout, module=SPY, **more)
        self.assertEqual(result.status, status, str(result))
        with open(log, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
        for attribute in PRIVATE_ATTRIBUTES:
            self.assertNotIn(attribute, text)
        self.assertNotIn(PIN, result.err + result.out)
        self.assertNotIn(WRONG_PIN, result.err + result.out)
        return calls(text), result

    def logins(self, seen):
        return [call.status for call in seen if call.name == "C_Login"]

    def used(self, seen):
        return [call.name for call in seen if call.name in OPERATIONS and call.good and not call.size_only]

    def fails(self, status, words, loader, layout, *options, **more):
        more.setdefault("station", "alpha")
        result = self.refused(status, words, "pre-run", "--key-loader", loader, *options, layout, untouched=[], **more)
        self.assertEqual([line for line in result.err.splitlines()
                          if not line.startswith(("traintoken: ", "  (")) and line not in self.others], [],
                         "the loader spoke for itself")
        return result


class Serving(LoaderCase):
    def one_stop(self, loader, stations, name):
        layout = self.layout(sample(stations), name=name)
        station, _ = stations[0]
        key = f"wide-{station}"
        if key not in tokens().made:
            tokens().add(key, stations[0][1], "key", "01")
        said = self.good("pre-run", "--json", "--key-loader", loader, layout, station=station, key=key)
        self.assertEqual(said["key"]["loader"], loader)
        self.assertIn(f"token={key}", said["key"]["uri"])
        self.assertIn("object=key", said["key"]["uri"])
        self.assertEqual([one["padding"] for one in said["token_operations"]], ["raw"])
        self.run_code(layout, station)
        said = self.good("post-run", "--json", "--key-loader", loader, layout, station=station, key=key)
        self.assertEqual([one["padding"] for one in said["token_operations"]], ["native", "native"])
        return said["key"]["bits"]

    def test_keys_of_every_size(self):
        for loader in self.loaders():
            bits = [self.one_stop(loader, [(one, vector_key(family, one))], f"{loader}-{one}")
                    for family, one in (("basic", "station_1"), ("wide", "tuebingen"), ("wide", "aachen"))]
            self.assertEqual(sorted(bits), [2048, 3072, 4096])

    @unittest.skipUnless(SPY, "needs pkcs11-spy.so (package opensc)")
    def test_the_token_is_used_sparingly(self):
        for loader in self.loaders():
            layout = self.layout_at(0, name=loader)
            seen, _ = self.spied(0, loader, "pre-run", layout, "--again")
            self.assertEqual(self.logins(seen), ["CKR_OK"])
            self.assertEqual(self.used(seen), ["C_Decrypt"])
            self.run_code(layout, "alpha")
            seen, _ = self.spied(0, loader, "post-run", layout, "--again")
            self.assertEqual(self.logins(seen), ["CKR_OK"])
            self.assertEqual(self.used(seen), ["C_Sign", "C_Sign"])
            self.assertEqual(sum(call.name == "C_Initialize" for call in seen),
                             sum(call.name == "C_Finalize" for call in seen))

    def test_sealing_and_results(self):
        for loader in self.loaders():
            definition = f"{self.work}/definition-{loader}"
            os.mkdir(definition)
            with open(f"{definition}/main.sh", "w", encoding="ascii") as stream:
                stream.write("#!/bin/sh\n")
            os.chmod(f"{definition}/main.sh", 0o755)
            base = self.layout_at(0, name=f"base-{loader}")
            with open(f"{self.work}/{loader}.pem", "wb") as stream:
                stream.write(pht.public_pem(pool_key("alpha")))
            said = self.good("seal", "--json", "--key-loader", loader, "--definition", definition, "--base",
                             f"oci:{base.path}:base", "--creator", "me", "--stop", f"alpha={self.work}/{loader}.pem",
                             "--builder-key", tokens().uri("builder"), f"oci:{self.work}/new-{loader}:latest",
                             key="creator")  # two keys, one after the other in one process
            self.assertEqual(said["key"]["loader"], loader)
            self.good("results", "--key-loader", loader, self.layout_at(3, name=f"done-{loader}"), "-o",
                      f"{self.work}/out-{loader}", key="creator")

    def test_the_environment_and_auto(self):
        said = self.good("pre-run", "--json", self.layout_at(0, name="auto"), station="alpha",
                         env={"TRAINTOKEN_KEY_LOADER": "auto"})
        self.assertEqual(said["key"]["loader"], "libp11")
        result = self.good("pre-run", "--again", "-v", self.layout_at(0, name="why"), station="alpha")
        self.assertIn("key loader: libp11", result.err)
        if SANITIZED:
            return
        self.loaders()
        said = self.good("pre-run", "--json", "--again", self.layout_at(0, name="set"), station="alpha",
                         env={"TRAINTOKEN_KEY_LOADER": "provider"})
        self.assertEqual(said["key"]["loader"], "provider")
        # The module is ours to choose, whatever the provider's own variable says.
        self.good("pre-run", "--again", "--key-loader", "provider", self.layout_at(0, name="module"), station="alpha",
                  env={"PKCS11_PROVIDER_MODULE": "/nonexistent"})

    @unittest.skipUnless(os.environ.get("TT_MAKE_KEY"), "needs make_key, named by TT_MAKE_KEY")
    def test_auto_takes_the_provider_where_libp11_gives_up(self):
        if "ed25519" not in tokens().made:
            tokens().add("ed25519", pool_key("alpha"), "train", "02")
            # libp11 0.4.12 does not know such a key, and lists none then.
            subprocess.run([FIXTURES, "odd-key", tokens().place, "ed25519", PIN, "edwards", "01", "ed25519"], check=True,
                           stdout=subprocess.DEVNULL)
        key = "pkcs11:token=ed25519;object=train"
        alone = self.tt("pre-run", "--again", "--key-loader", "libp11", self.layout_at(0, name="alone"), key=key,
                        station="alpha")
        if alone.status == 0:
            self.assertNotIn(b"0.4.12", subprocess.run(["dpkg-query", "-W", "libp11-3"], stdout=subprocess.PIPE,
                                                       check=False).stdout)
            return
        self.assertIn("cannot list the private keys", alone.err)
        if SANITIZED:
            return
        self.loaders()
        said = self.good("pre-run", "--again", "--json", self.layout_at(0, name="json"), station="alpha", key=key)
        self.assertEqual(said["key"]["loader"], "provider")
        result = self.good("pre-run", "--again", "-v", self.layout_at(0, name="why"), station="alpha", key=key)
        self.assertIn("key loader: provider, because libp11 failed", result.err)
        # Without the provider it stays libp11's error.
        self.fails(6, ["cannot list the private keys"], "auto", self.layout_at(0, name="none"), key=key,
                   env={"OPENSSL_MODULES": "/nonexistent"})

    @unittest.skipUnless(os.environ.get("TT_MAKE_KEY"), "needs make_key, named by TT_MAKE_KEY")
    def test_keys_that_want_the_pin_at_each_use(self):
        for loader in self.loaders():
            layout = self.layout(sample([("always", tokens().odd("always-authenticate"))]), name=loader)
            self.good("pre-run", "--key-loader", loader, layout, station="always", key="always-authenticate")
            self.run_code(layout, "always")
            self.good("post-run", "--key-loader", loader, layout, station="always", key="always-authenticate")


class Failing(LoaderCase):
    def setUp(self):
        super().setUp()
        self.train = self.layout_at(0)

    @unittest.skipUnless(SPY, "needs pkcs11-spy.so (package opensc)")
    def test_a_wrong_pin_is_tried_once(self):
        for loader in self.loaders():
            seen, result = self.spied(7, loader, "pre-run", self.train, pin=WRONG_PIN)
            self.assertIn("the PIN is wrong; few tries are left", result.err)
            self.assertEqual(self.logins(seen), ["CKR_PIN_INCORRECT"])
            self.assertEqual(self.used(seen), [])
            # Again, with the flag that is set already.
            seen, result = self.spied(7, loader, "pre-run", self.train, pin=WRONG_PIN)
            self.assertIn("the PIN is wrong; few tries are left", result.err)
            self.assertEqual(len(self.logins(seen)), 1)
            self.good("pre-run", "--again", "--key-loader", loader, self.layout_at(0, name=loader), station="alpha",
                      env={"TRAINTOKEN_STATE": f"{self.home}/state-{loader}"} if os.geteuid() == 0 else {})

    @unittest.skipUnless(SPY, "needs pkcs11-spy.so (package opensc)")
    def test_no_login_when_it_is_decided_before(self):
        for loader in self.loaders():
            seen, _ = self.spied(7, loader, "pre-run", self.train, pin=None)
            self.assertEqual(self.logins(seen), [])
            seen, result = self.spied(5, loader, "pre-run", self.train, key="outsider")
            self.assertIn("SHA256:", result.err)
            self.assertEqual(self.logins(seen), [])
            seen, result = self.spied(6, loader, "pre-run", self.train, key="pkcs11:token=nowhere;object=key")
            self.assertIn("tokens there are", result.err)
            self.assertEqual(self.logins(seen), [])

    def test_no_token_or_module(self):
        tokens().uri("alpha")
        for loader in self.loaders():
            self.fails(6, ["no token matches", "token=alpha"], loader, self.train, key="pkcs11:token=nowhere;object=key")
            self.fails(6, ["/nonexistent/x.so cannot be loaded"], loader, self.train, key="alpha",
                       module="/nonexistent/x.so")

    def test_no_key(self):
        for loader in self.loaders():
            for uri in ("pkcs11:token=alpha;object=other", "pkcs11:token=alpha;object=key;id=%99"):
                tokens().uri("alpha")
                self.fails(6, ["no private key in token 'alpha' matches", "object=key;type=private'"], loader,
                           self.train, key=uri)

    def test_two_keys(self):
        if "pair" not in tokens().made:
            tokens().add("pair", vector_key("basic", "station_1"), "key", "31")
            tokens().add("pair", vector_key("basic", "station_2"), "key", "32")
        for loader in self.loaders():
            for uri in ("pkcs11:token=pair;object=key", "pkcs11:token=pair"):
                self.fails(6, ["2 private keys match", "%31", "%32"], loader, self.train, key=uri)

    def test_keys_that_cannot_serve(self):
        for loader in self.loaders():
            self.fails((5, 6), [], loader, self.train, key="short")
            self.fails(6, ["RSA"], loader, self.train, key="curve")

    @unittest.skipUnless(os.environ.get("TT_MAKE_KEY"), "needs make_key, named by TT_MAKE_KEY")
    def test_rights(self):
        for loader in self.loaders():
            layout = self.layout(sample([("deaf", tokens().odd("no-decrypt"))]), name=f"deaf-{loader}")
            self.fails(6, ["decrypt"], loader, layout, station="deaf", key="no-decrypt")
            layout = self.layout(sample([("mute", tokens().odd("no-sign"))]), name=f"mute-{loader}")
            self.good("pre-run", "--key-loader", loader, layout, station="mute", key="no-sign")
            self.run_code(layout, "mute")
            self.refused(6, ["sign"], "post-run", "--key-loader", loader, layout, station="mute", key="no-sign")

    def test_loaders_that_are_not_there(self):
        self.fails(6, ["provider 'nosuch'"], "provider:nosuch", self.train, key="alpha")
        self.fails(6, ["engine 'nosuch'"], "engine:nosuch", self.train, key="alpha")
        self.fails(6, ["pkcs11-provider"], "provider", self.train, key="alpha", env={"OPENSSL_MODULES": "/nonexistent"})
        self.fails(6, ["libengine-pkcs11-openssl"], "engine", self.train, key="alpha",
                   env={"OPENSSL_ENGINES": "/nonexistent"})

    def test_words_that_are_no_loader(self):
        for word in ("", "file", "libp11:x", "auto:x", "provider:", "engine:", "engine:../x", "provider:a b",
                     "engine:" + "x" * 300):
            with self.subTest(word=word):
                self.refused(2, ["loader"], "pre-run", "--key-loader", word, self.train, station="alpha")


class Behind(LoaderCase):
    """p11-kit gives each caller an instance of its own: nothing beside the loader sees what it does."""

    CLIENT = next(iter(glob.glob("/usr/lib/*/pkcs11/p11-kit-client.so")), None)

    def all_is_told(self, loader, env, **more):
        tokens().uri("alpha")
        more["env"] = env
        train = self.layout_at(0)
        self.fails(6, ["no private key in token 'alpha' matches"], loader, train, key="pkcs11:token=alpha;object=other",
                   **more)
        self.fails(7, ["the PIN is wrong; few tries are left"], loader, train, key="alpha", pin=WRONG_PIN, **more)
        said = self.good("pre-run", "--again", "--json", "--key-loader", loader, train, station="alpha", **more)
        self.assertEqual(said["key"]["loader"], loader)

    def test_the_proxy(self):
        os.mkdir(f"{self.home}/.cache")  # where other modules that p11-kit knows keep theirs
        said = subprocess.run(["p11-kit", "list-modules"], env=self.environment(), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, check=False).stderr
        self.others = frozenset(said.splitlines())
        for loader in self.loaders():
            self.all_is_told(loader, {}, module=False)

    @unittest.skipUnless(CLIENT, "needs p11-kit-client.so (package p11-kit-modules)")
    def test_a_server(self):
        tokens().uri("alpha")
        socket = f"{self.work}/s"
        server = subprocess.Popen(["p11-kit", "server", "-f", "--provider", tokens().module, "-n", socket, "pkcs11:"],
                                  env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                if os.path.exists(socket):
                    break
                time.sleep(0.05)
            for loader in self.loaders():
                self.all_is_told(loader, {"P11_KIT_SERVER_ADDRESS": f"unix:path={socket}"}, module=self.CLIENT)
        finally:
            server.terminate()
            server.wait()


@unittest.skipIf(locks.MISSING, f"needs {locks.MISSING}")
class Locking(LoaderCase):
    """opencryptoki, which counts wrong PINs, locks at the third, and does all of the protocol natively."""

    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.mkdtemp(prefix="traintoken-test-ock-")
        cls.addClassCleanup(shutil.rmtree, cls.place, True)
        cls.addClassCleanup(locks.fixture, "stop", cls.place)
        locks.fixture("start", cls.place, "station", locks.RIGHT)
        locks.fixture("import", cls.place, locks.RIGHT, "key", "01", str(POOL / "throwaway-alpha.pem"))

    def options(self, pin):
        return {"station": "alpha", "key": "pkcs11:token=station;object=key", "module": locks.fixture("module"),
                "before": (locks.FIXTURE, "in", self.place), "pin": pin,
                # What it leaks itself has no name any more once its library is unloaded.
                "env": {"ASAN_OPTIONS": "detect_leaks=0"}}

    def test_every_wrong_pin_counts_once(self):
        train = self.layout_at(0)
        for loader in self.loaders():
            locks.fixture("reset", self.place, locks.RIGHT)
            for words in ("the PIN is wrong; few tries", "the PIN is wrong; 1 try is left", "has 1 PIN try left"):
                self.fails(7, words, loader, train, **self.options(locks.WRONG))
            if loader != "provider":  # it never spends the last one
                self.fails(7, "it is locked now", loader, train, "--last-pin-try", **self.options(locks.WRONG))
                self.fails(7, "is locked", loader, train, "--last-pin-try", **self.options(locks.RIGHT))

    def test_all_is_native(self):
        for loader in self.loaders():
            locks.fixture("reset", self.place, locks.RIGHT)
            layout = self.layout_at(0, name=loader)
            self.fails(6, "no private key in token 'station' matches", loader, layout, "--again",
                       **self.options(locks.RIGHT) | {"key": "pkcs11:token=station;object=other"})
            said = [self.good("pre-run", "--again", "--json", "--key-loader", loader, layout,
                              **self.options(locks.RIGHT))]
            self.run_code(layout, "alpha")
            said.append(self.good("post-run", "--again", "--json", "--key-loader", loader, layout,
                                  **self.options(locks.RIGHT)))
            self.assertEqual([one["padding"] for run in said for one in run["token_operations"]], ["native"] * 3)


if __name__ == "__main__":
    unittest.main()
