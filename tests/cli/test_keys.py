"""Modules, tokens, keys and PINs that do not fit, each said in words that help, and every way to give a PIN."""

import os
import pty
import re
import select
import signal
import unittest

from support import pht
from support.station import POOL, PIN, Case, pool_key, sample, sample_at, tokens

WRONG_PIN = "tt-throw-away-9999"


class KeyCase(Case):
    def setUp(self):
        super().setUp()
        self.train = self.layout_at(0)

    def fails(self, status, words, *options, key=None, **more):
        more.setdefault("pin", PIN)
        return self.refused(status, words, "pre-run", *options, self.train, station="alpha", key=key or "alpha",
                            untouched=[], **more)

    def works(self, *options, **more):
        layout = self.layout_at(0, name="works")
        more.setdefault("env", {})
        more["env"] = {"TRAINTOKEN_STATE": None, "XDG_STATE_HOME": f"{self.home}/{os.urandom(4).hex()}"} | more["env"]
        if os.geteuid() == 0:
            more["env"]["TRAINTOKEN_STATE"] = f"{self.home}/state-{os.urandom(4).hex()}"
        return self.good("pre-run", *options, layout, station="alpha", **more)


class Finding(KeyCase):
    def test_no_module(self):
        self.fails(6, ["/nonexistent/x.so"], module="/nonexistent/x.so")
        self.fails(6, ["/etc/passwd"], module="/etc/passwd")
        self.fails(6, ["libz"], module=find_library("libz.so.1"))

    def test_no_token(self):
        self.fails(6, ["nowhere"], key="pkcs11:token=nowhere;object=key")

    def test_no_key(self):
        tokens().uri("alpha")
        for uri in ("pkcs11:token=alpha;object=other", "pkcs11:token=alpha;object=key;id=%99",
                    "pkcs11:token=alpha;object=KEY", "pkcs11:token=alpha;type=cert;object=key"):
            with self.subTest(uri=uri):
                self.fails((2, 6) if "cert" in uri else 6, [], key=uri)

    def test_two_keys_are_listed_as_uris(self):
        if "double" not in tokens().made:
            tokens().add("double", pool_key("beta"), "first", "11")
            tokens().add("double", pool_key("alpha"), "second", "22")
        result = self.fails(6, [], key="pkcs11:token=double")
        found = sorted(re.findall(r"pkcs11:[^\s,']+", result.err), key=len, reverse=True)
        listed = [uri for uri in found if "object=first" in uri or "object=second" in uri]
        self.assertEqual(len(listed), 2, str(result))
        # Ready to paste: the one that names alpha's key serves.
        self.works(key=next(uri for uri in listed if "second" in uri))
        self.works(key="pkcs11:token=double;object=second")
        self.works(key="pkcs11:token=double;id=%22")

    def test_two_keys_of_one_label(self):
        if "twins" not in tokens().made:
            tokens().add("twins", pool_key("alpha"), "key", "31")
            tokens().add("twins", pool_key("beta"), "key", "32")
        result = self.fails(6, ["%31", "%32"], key="pkcs11:token=twins;object=key")
        self.assertIn("pkcs11:", result.err)
        self.works(key="pkcs11:token=twins;object=key;id=%31")

    @unittest.skipUnless(os.environ.get("TT_MAKE_KEY"), "needs make_key, named by TT_MAKE_KEY")
    def test_rights(self):
        for kind in ("no-decrypt", "no-sign"):
            with self.subTest(kind):
                layout = self.layout(sample([(kind, tokens().odd(kind))]))
                if kind == "no-sign":
                    self.good("pre-run", layout, station=kind)
                    self.run_code(layout, kind)
                    self.refused(6, ["sign"], "post-run", layout, station=kind)
                else:
                    self.refused(6, ["decrypt"], "pre-run", layout, station=kind)

    @unittest.skipUnless(os.environ.get("TT_MAKE_KEY"), "needs make_key, named by TT_MAKE_KEY")
    def test_keys_that_are_special_but_fine(self):
        for kind in ("always-authenticate", "hidden", "no-raw"):
            with self.subTest(kind):
                layout = self.layout(sample([(kind, tokens().odd(kind))]))
                if kind == "no-raw":
                    # SoftHSM has no OAEP with SHA-512, so this key cannot serve: the message says so.
                    self.refused(6, [], "pre-run", layout, station=kind)
                    continue
                self.good("pre-run", layout, station=kind)
                self.run_code(layout, kind)
                self.good("post-run", layout, station=kind)

    def test_keys_that_cannot_serve(self):
        for name, words in (("short", ["1024"]), ("curve", ["RSA"])):
            with self.subTest(key=name):
                tokens().uri(name)
                self.fails((5, 6), words if name == "curve" else [], key=name)

    def test_a_train_for_another_key(self):
        result = self.fails(5, [], key="outsider", pin=None)
        self.assertEqual(len(set(re.findall(r"SHA256:[A-Za-z0-9+/]{43}", result.err))), 2, str(result))

    def test_a_file_is_no_key(self):
        path = str(POOL / "throwaway-alpha.pem")
        for key in (path, "file:" + path, "./key.pem", "/nonexistent/key.pem", "key.pem"):
            with self.subTest(key=key):
                argv = {"env": {"PRIVATE_KEY_PATH": key, "STATION_ID": "alpha"}, "pin": None}
                self.refused(2, ["token"], "pre-run", self.train, **argv)
                self.refused(2, ["token"], "pre-run", "--station", "alpha", "--key", key, self.train, pin=None)
        result = self.refused(2, ["import"], "pre-run", "--station", "alpha", "--key", path, self.train)
        self.assertNotIn("BEGIN", result.err)

    def test_uris(self):
        tokens().uri("alpha")
        serial, = re.findall(r"serial=([^;\s]+)", self.works("--json")["key"]["uri"])
        good = [f"pkcs11:serial={serial};object=key", "pkcs11:token=alpha;manufacturer=SoftHSM%20project;object=key",
                "pkcs11:token=alpha;model=SoftHSM%20v2;type=private", "pkcs11:object=key;token=alpha;id=%01",
                "pkcs11:token=al%70ha;object=key", "pkcs11:token=alpha;object=key;type=public",
                f"pkcs11:token=alpha;object=key?module-path={tokens().module}"]
        for uri in good:
            with self.subTest(uri=uri):
                if "type=public" in uri:
                    # Either the private twin is meant, or it is said that a private key is needed.
                    result = self.tt("pre-run", self.layout_at(0, "x"), station="alpha", key=uri)
                    self.assertIn(result.status, (0, 2, 6), str(result))
                else:
                    self.works(key=uri, module="module-path" not in uri)
        bad = ["pkcs11", "pkcs11:", "pkcs11:token", "pkcs11:token=%zz", "pkcs11:token=alpha;unknown=1",
               "pkcs11:token=alpha;object=key;vendor-x", "pkcs11:token=alpha;token=beta", "pkcs11:slot-id=x",
               "pkcs12:token=alpha"]
        for uri in bad:
            with self.subTest(uri=uri):
                self.refused((2, 6) if uri == "pkcs11:" else 2, [], "pre-run", "--station", "alpha", "--key", uri,
                             "--module", tokens().module, self.train)

    def test_no_key_or_station_given(self):
        self.refused(2, ["--key", "PRIVATE_KEY_PATH"], "pre-run", "--station", "alpha", self.train)
        self.refused(2, ["--station", "STATION_ID"], "pre-run", "--key", tokens().uri("alpha"), self.train)

    def test_environment_names_station_key_and_module(self):
        self.good(
            "pre-run", self.train, env={"STATION_ID": "alpha", "PRIVATE_KEY_PATH": tokens().uri("alpha"),
                                        "TRAINTOKEN_MODULE": tokens().module})

    def test_options_win_over_the_environment(self):
        self.works(env={"STATION_ID": "beta", "PRIVATE_KEY_PATH": tokens().uri("beta"),
                        "TRAINTOKEN_MODULE": "/nonexistent"})


class Pins(KeyCase):
    def test_wrong(self):
        result = self.fails(7, ["PIN", "alpha"], pin=WRONG_PIN)
        self.assertNotIn(WRONG_PIN, result.err)

    def test_none_and_no_terminal(self):
        self.fails(7, ["PIN", "alpha"], pin=None)

    def test_empty_and_odd(self):
        self.fails(7, ["PIN"], pin="")
        self.fails(7, ["PIN"], pin="x" * 5000)

    def test_by_descriptor(self):
        for text in (PIN, PIN + "\n", PIN + "\nmore"):
            with self.subTest(text=text):
                read, write = os.pipe()
                os.write(write, text.encode())
                os.close(write)
                try:
                    self.works("--pin-fd", str(read), pin=None, fds=(read,))
                finally:
                    os.close(read)
        for number in ("99", "-1", "x", "", "999999999999"):
            with self.subTest(number=number):
                self.fails((2, 7), [], "--pin-fd", number, pin=None)

    def test_by_credential(self):
        place = f"{self.home}/credentials"
        os.mkdir(place)
        with open(f"{place}/traintoken-pin", "w", encoding="ascii") as stream:
            stream.write(PIN + "\n")
        self.works(pin=None, env={"CREDENTIALS_DIRECTORY": place})
        os.remove(f"{place}/traintoken-pin")
        self.fails(7, [], pin=None, env={"CREDENTIALS_DIRECTORY": place})

    def test_by_pin_source(self):
        path = f"{self.home}/pin"
        with open(path, "w", encoding="ascii") as stream:
            stream.write(PIN + "\n")
        os.chmod(path, 0o600)
        uri = tokens().uri("alpha")
        for source in (f"?pin-source=file:{path}", f"?pin-source=file://{path}", f"?pin-source={path}"):
            with self.subTest(source=source):
                self.works(key=uri + source, pin=None)
        self.fails(7, [f"{self.home}/none"], key=uri + f"?pin-source=file:{self.home}/none", pin=None)
        self.fails((2, 7), [], key=uri + "?pin-source=|cat%20/etc/passwd", pin=None)

    def test_by_pin_value_with_a_warning(self):
        for uri in (f"{tokens().uri('alpha')}?pin-value={PIN}", f"{tokens().uri('alpha')};pin-value={PIN}"):
            with self.subTest(uri=uri):
                result = self.works(key=uri, pin=None)
                if ";pin-value" in uri:  # where RFC 7512 does not have it
                    self.assertIn("warning", result.err)
                self.assertNotIn(PIN, result.err + result.out)
                said = self.works("--json", key=uri, pin=None)
                self.assertNotIn(PIN, str(said))

    def test_order(self):
        """URI before PRIVATE_KEY_PASSWORD before the credential before --pin-fd; what comes later is not tried."""
        read, write = os.pipe()
        os.write(write, WRONG_PIN.encode())
        os.close(write)
        self.works("--pin-fd", str(read), fds=(read,))
        os.close(read)
        self.works(key=f"{tokens().uri('alpha')}?pin-value={PIN}", pin=WRONG_PIN)
        self.fails(7, [], key=f"{tokens().uri('alpha')}?pin-value={WRONG_PIN}")

    def on_a_terminal(self, layout, typed, *options):
        """Runs pre-run on a pseudo-terminal, types after the prompt, and gives (status, what the terminal showed)."""
        argv = self.arguments("pre-run", *options, layout, station="alpha")
        env = self.environment(TERM="xterm")
        child, master = pty.fork()
        if child == 0:
            try:
                os.execve(argv[0], argv, env)
            finally:
                os._exit(127)
        shown, asked = b"", False
        try:
            while True:
                ready, _, _ = select.select([master], [], [], 20)
                if not ready:
                    os.kill(child, signal.SIGKILL)
                    break
                try:
                    data = os.read(master, 4096)
                except OSError:
                    data = b""
                if not data:
                    break
                shown += data
                if not asked and b"PIN" in shown:
                    asked = True
                    os.write(master, typed)
        finally:
            os.close(master)
            _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), shown.decode("utf-8", "replace")

    def test_asked_on_the_terminal(self):
        status, shown = self.on_a_terminal(self.train, PIN.encode() + b"\n")
        self.assertEqual(status, 0, shown)
        self.assertIn("alpha", shown)
        self.assertNotIn(PIN, shown, "the PIN was echoed")

    def test_asked_once_when_wrong(self):
        status, shown = self.on_a_terminal(self.train, WRONG_PIN.encode() + b"\n")
        self.assertEqual(status, 7, shown)
        self.assertNotIn(WRONG_PIN, shown)

    def test_interrupted_at_the_prompt(self):
        before = self.everything()
        status, shown = self.on_a_terminal(self.train, b"\x03")
        self.assertEqual(status, -signal.SIGINT, shown)
        self.assertEqual({path for path in self.everything() if path not in before and "state" not in path}, set())

    def test_end_of_input_at_the_prompt(self):
        status, shown = self.on_a_terminal(self.train, b"\x04")
        self.assertEqual(status, 7, shown)

    def test_never_asked_when_public_data_decides(self):
        layout = self.layout(sample_at(1), sample_at(0), "case")
        status, shown = self.on_a_terminal(layout, b"\x03")
        self.assertEqual(status, 9, shown)
        self.assertNotIn("PIN", shown)


class Others(KeyCase):
    def test_creator_signs_with_the_token(self):
        definition = f"{self.work}/definition"
        os.mkdir(definition)
        with open(f"{definition}/main.sh", "w", encoding="ascii") as stream:
            stream.write("#!/bin/sh\n")
        os.chmod(f"{definition}/main.sh", 0o755)
        public = f"{self.work}/alpha.pem"
        with open(public, "wb") as stream:
            stream.write(pht.public_pem(pool_key("alpha")))
        seal = ["seal", "--definition", definition, "--base", f"oci:{self.train.path}:base", "--creator", "me",
                "--stop", f"alpha={public}", f"oci:{self.work}/new:latest"]
        self.refused(6, ["nowhere"], *seal, key="pkcs11:token=nowhere;object=key")
        self.refused(7, ["PIN"], *seal, key="creator", pin=None)
        self.refused(7, ["PIN"], *seal, key="creator", pin=WRONG_PIN)
        self.good(*seal, key="creator")

    def test_results_with_a_strangers_key(self):
        layout = self.layout_at(3)
        result = self.refused(5, ["SHA256:"], "results", layout, "-o", f"{self.work}/out", key="outsider", pin=None)
        self.assertEqual(len(set(re.findall(r"SHA256:[A-Za-z0-9+/]{43}", result.err))), 2, str(result))

    def test_a_train_made_for_this_test_is_fine(self):
        layout = self.layout(sample(["alpha"]))
        self.good("pre-run", layout, station="alpha")


def find_library(name):
    for place in ("/lib", "/usr/lib"):
        for root, _, names in os.walk(place):
            if name in names:
                return f"{root}/{name}"
    raise unittest.SkipTest(f"needs {name}")


if __name__ == "__main__":
    unittest.main()
