"""One token, used by many at once and from afar: runs at the same time, and a p11-kit server that dies. PINs and URIs at
the limits of what a token takes."""

import concurrent.futures
import glob
import os
import shutil
import signal
import subprocess
import time
import unicodedata
import unittest

from cryptography.hazmat.primitives import serialization

from support.station import PIN, SANITIZED, Case, difference, needs_program, pool_key, snapshot, tokens

FAULTS = os.environ.get("TT_FAULT_LIBRARY")
CLIENT = next(iter(sorted(glob.glob("/usr/lib/*/pkcs11/p11-kit-client.so")
                          + glob.glob("/usr/lib*/pkcs11/p11-kit-client.so"))), None)
MANY = 8
LIMIT = 240 if SANITIZED else 60


class Concurrent(Case):
    def test_eight_stops_at_once_on_one_token(self):
        tokens().uri("alpha")

        def stop(number):
            layout = layouts[number]
            env = {"TRAINTOKEN_STATE": f"{self.work}/state{number}"}
            for command in ("pre-run", "post-run"):
                result = self.tt(command, layout, station="alpha", env=env, timeout=LIMIT)
                if result.status != 0:
                    return str(result)
                if command == "pre-run":
                    self.run_code(layout, "alpha")
            return None

        layouts = [self.layout_at(0, name=f"many{number}") for number in range(MANY)]
        with concurrent.futures.ThreadPoolExecutor(MANY) as pool:
            self.assertEqual([wrong for wrong in pool.map(stop, range(MANY)) if wrong], [])
        for layout in layouts:
            self.open(layout, pool_key("alpha"))


@needs_program("p11-kit")
@unittest.skipUnless(CLIENT, "needs p11-kit-client.so (package p11-kit-modules)")
@unittest.skipUnless(FAULTS, "needs fault_module, named by TT_FAULT_LIBRARY")
class Server(Case):
    """The token behind a p11-kit server, which waits in the middle of a call until it is killed."""

    def setUp(self):
        super().setUp()
        tokens().uri("alpha")
        self.socket = f"{self.home}/p11"
        self.log = f"{self.home}/calls"
        self.server = None
        self.addCleanup(self.kill)

    def start(self, rules=""):
        self.kill()
        for path in (self.socket, self.log):
            if os.path.exists(path):
                os.remove(path)
        self.server = subprocess.Popen(
            ["p11-kit", "server", "--foreground", "--name", self.socket, "--provider", FAULTS, "pkcs11:token=alpha"],
            env=self.environment(TT_FAULT_MODULE=tokens().module, TT_FAULT=rules, TT_FAULT_LOG=self.log),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.wait_until(lambda: os.path.exists(self.socket))

    def kill(self):
        """The server and what it has forked for each client: a session of their own."""
        if self.server:
            try:
                os.killpg(self.server.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.server.wait()
            self.server = None

    def wait_until(self, holds):
        until = time.monotonic() + LIMIT
        while not holds():
            self.assertLess(time.monotonic(), until, "nothing happens")
            time.sleep(0.01)

    def called(self, name):
        try:
            with open(self.log, encoding="ascii") as stream:
                return stream.read().split().count(name)
        except FileNotFoundError:
            return 0

    def env(self):
        return {"P11_KIT_SERVER_ADDRESS": f"unix:path={self.socket}"}

    def dies(self, command, layout, function, number):
        """The server is killed during that call; everything must be as before, and said."""
        self.start(f"{function}:{number}=600000ms")
        before = snapshot(self.work)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(self.tt, command, layout, station="alpha", module=CLIENT, env=self.env(),
                                  timeout=LIMIT)
            self.wait_until(lambda: self.called(function) >= number or running.done())
            self.kill()
            result = running.result()
        self.assertGreaterEqual(self.called(function), number, str(result))
        self.assertEqual(result.status, 6, str(result))
        self.assertRegex(result.err, r"traintoken: .*(token|module)")
        self.assertEqual([path for path in difference(before, snapshot(self.work)) if not path.startswith(self.home)],
                         [], str(result))

    def test_server_that_dies(self):
        layout = self.layout_at(0)
        for function, number in (("C_Initialize", 1), ("C_GetSlotList", 1), ("C_OpenSession", 1),
                                 ("C_FindObjectsInit", 1), ("C_Login", 1), ("C_FindObjects", 4),
                                 ("C_DecryptInit", 1), ("C_Decrypt", 1)):
            with self.subTest(f"pre-run, {function}"):
                self.dies("pre-run", layout, function, number)
        self.start()
        self.good("pre-run", layout, station="alpha", module=CLIENT, env=self.env())
        self.run_code(layout, "alpha")
        for function, number in (("C_Login", 1), ("C_SignInit", 1), ("C_Sign", 1), ("C_SignInit", 2), ("C_Sign", 2)):
            with self.subTest(f"post-run, {function} {number}"):
                self.dies("post-run", layout, function, number)
        self.start()
        self.good("post-run", layout, station="alpha", module=CLIENT, env=self.env())
        self.open(layout, pool_key("alpha"))


def encoded(text):
    """Every byte percent-encoded."""
    return "".join(f"%{byte:02x}" for byte in (text.encode() if isinstance(text, str) else text))


class Limits(Case):
    def works(self, uri, pin=PIN, *options, **more):
        result = self.tt("pre-run", *options, self.layout_at(0, name="works"), station="alpha", key=uri, pin=pin,
                         **more)
        shutil.rmtree(self.state, True)
        return result

    def with_descriptor(self, uri, pin):
        read, write = os.pipe()
        os.write(write, pin)
        os.close(write)
        try:
            return self.works(uri, None, "--pin-fd", str(read), fds=(read,))
        finally:
            os.close(read)

    def token(self, label, pin):
        if label not in tokens().made:
            tokens()._fixture("token", label, pin)
            tokens().made.add(label)
            path = f"{self.work}/key.pem"
            with open(path, "wb") as stream:
                stream.write(pool_key("alpha").private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
            tokens()._fixture("import", label, pin, "key", "01", path)
            os.remove(path)
        return f"pkcs11:token={label};object=key"

    def test_a_pin_of_255_bytes(self):
        pin = "tt-throw-away-" + "9" * 241
        uri = self.token("long-pin", pin)
        self.assertEqual(len(pin), 255)
        for result in (self.works(uri, pin), self.with_descriptor(uri, pin.encode() + b"\n"),
                       self.works(f"{uri}?pin-value={encoded(pin)}", None)):
            self.assertEqual(result.status, 0, str(result))
        for longer in (pin + "9", pin + "9" * 4096):
            for result in (self.works(uri, longer), self.with_descriptor(uri, longer.encode() + b"\n")):
                self.assertEqual(result.status, 7, str(result))
                self.assertIn("longer than 255 bytes", result.err)
                self.assertNotIn(pin, result.err)

    def test_a_pin_with_utf8(self):
        pin = "Wegwerf-Schlüssel-鍵-🚂"
        uri = self.token("utf8-pin", pin)
        for result in (self.works(uri, pin), self.with_descriptor(uri, pin.encode()),
                       self.works(f"{uri}?pin-value={encoded(pin)}", None)):
            self.assertEqual(result.status, 0, str(result))
        self.assertEqual(self.works(uri, unicodedata.normalize("NFD", pin)).status, 7)  # another spelling is another PIN

    def test_a_pin_with_nul_is_refused(self):
        uri = tokens().uri("alpha")
        cut = PIN.encode() + b"\0"
        for pin in (cut, cut + b"more", b"\0" + PIN.encode()):
            result = self.with_descriptor(uri, pin)
            self.assertEqual(result.status, 7, str(result))
            self.assertIn("NUL", result.err)
        for pin in (cut, cut + b"more"):
            result = self.works(f"{uri}?pin-value={encoded(pin)}", None)
            self.assertEqual(result.status, 2, str(result))
            self.assertIn("NUL", result.err)

    def test_a_uri_with_every_character_encoded(self):
        tokens().uri("alpha")
        for upper in (False, True):
            def change(text):
                return encoded(text).upper() if upper else encoded(text)
            with self.subTest(upper=upper):
                # The names of the parts and the types are words of RFC 7512, not text.
                uri = f"pkcs11:token={change('alpha')};object={change('key')};id=%01;type=private"
                result = self.works(f"{uri}?module-path={change(tokens().module)}&pin-value={change(PIN)}", None,
                                    module=False)
                self.assertEqual(result.status, 0, str(result))

    def test_labels_of_every_kind_of_character(self):
        label, name = "a b;c/d?e=f%g&h", "Schlüssel 'für' \"alle\"; %00?"
        tokens()._fixture("token", label, PIN)
        tokens().made.add(label)
        tokens().add(label, pool_key("alpha"), name, "7f")
        result = self.works(f"pkcs11:token={encoded(label)};object={encoded(name)}?pin-value={encoded(PIN)}", None,
                            "--json")
        self.assertEqual(result.status, 0, str(result))
        # The complete URI that the answer gives serves as well.
        self.assertEqual(self.works(result.json["key"]["uri"]).status, 0)


if __name__ == "__main__":
    unittest.main()
