"""key export: the public half in every form, and requests and certificates that openssl verifies."""

import base64
import os
import pathlib
import stat
import subprocess
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from support.station import PIN, Case, pool_key, tokens

needs_make_key = unittest.skipUnless(os.environ.get("TT_MAKE_KEY"), "needs make_key, named by TT_MAKE_KEY")
SUBJECT = "--subject=/CN=alpha/O=Throw-Away Hospital/C=DE"


class ExportCase(Case):
    def export(self, uri, *options, **more):
        more["env"] = {"TRAINTOKEN_MODULE": tokens().module} | more.get("env", {})
        more.setdefault("pin", None)
        return self.tt("key", "export", *options, uri, **more)

    def exported(self, uri, *options, **more):
        result = self.export(uri, *options, **more)
        self.assertEqual((result.status, result.err), (0, ""), str(result))
        return result.out

    def fails(self, status, words, uri, *options, **more):
        result = self.export(uri, *options, **more)
        self.assertEqual(result.status, status, str(result))
        self.assertEqual(result.out, "", str(result))
        for word in words:
            self.assertIn(word, result.err)

    def openssl(self, *arguments, text=None):
        done = subprocess.run(["openssl", *arguments], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    @staticmethod
    def spki(key, encoding=serialization.Encoding.PEM):
        key = key.public_key() if hasattr(key, "public_key") else key
        return key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


class Public(ExportCase):
    def setUp(self):
        super().setUp()
        self.uri = tokens().uri("alpha")
        self.pem = self.spki(pool_key("alpha")).decode()

    def test_pem(self):
        self.assertEqual(self.exported(self.uri), self.pem)
        self.assertEqual(self.exported(self.uri, "--format", "pem"), self.pem)

    def test_hex_is_that_of_train_configurations(self):
        self.assertEqual(self.exported(self.uri, "--format=hex"), self.pem.encode().hex() + "\n")

    def test_der(self):
        path = f"{self.work}/key.der"
        self.exported(self.uri, "--format=der", "-o", path)
        self.assertEqual(pathlib.Path(path).read_bytes(), self.spki(pool_key("alpha"), serialization.Encoding.DER))

    def test_fingerprint(self):
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self.spki(pool_key("alpha"), serialization.Encoding.DER))
        wanted = "SHA256:" + base64.b64encode(digest.finalize()).decode().rstrip("=")
        self.assertEqual(self.exported(self.uri, "--format=fingerprint"), wanted + "\n")

    def test_json(self):
        result = self.export(self.uri, "--json")
        self.assertEqual(result.status, 0, str(result))
        self.assertEqual(result.json["content"], self.pem)
        self.assertEqual((result.json["bits"], result.json["login"], result.json["file"]), (2048, False, None))
        self.assertTrue(result.json["fingerprint"].startswith("SHA256:"))
        der = self.export(self.uri, "--json", "--format=der").json
        self.assertEqual(bytes.fromhex(der["content_hex"]), self.spki(pool_key("alpha"), serialization.Encoding.DER))

    @needs_make_key
    def test_hidden_public_half_needs_the_pin(self):
        public = tokens().odd("hidden")
        self.assertEqual(self.exported(tokens().uri("hidden"), pin=PIN), self.spki(public).decode())
        self.fails(7, [], tokens().uri("hidden"))

    def test_login_proves_that_the_private_half_is_there(self):
        self.assertEqual(self.exported(self.uri, "--login", pin=PIN), self.pem)
        self.fails(7, [], self.uri, "--login")
        facts = self.export(self.uri, "--login", "--json", pin=PIN).json
        self.assertTrue(facts["login"])

    def test_none_and_several(self):
        self.fails(6, ["there is no private key"], "pkcs11:token=alpha;object=other", pin=PIN)
        if "pair" not in tokens().made:
            tokens().add("pair", pool_key("beta"), "first", "11")
            tokens().add("pair", pool_key("alpha"), "second", "22")
        self.fails(6, ["several"], "pkcs11:token=pair")
        self.assertEqual(self.exported("pkcs11:token=pair;object=second"), self.pem)
        self.assertEqual(self.exported("pkcs11:token=pair;id=%22"), self.pem)

    def test_usage(self):
        for options, words in ((["--format=ssh"], "--format"), ([SUBJECT], "--subject"), (["--days=3"], "--days"),
                               (["--force"], "-o"), (["--format=request"], "subject"),
                               (["--format=certificate"], "subject"), (["--format=request", SUBJECT, "--days=3"], "--days"),
                               (["--format=certificate", SUBJECT, "--days=40000"], "--days")):
            with self.subTest(options):
                self.fails(2, [words], self.uri, *options)


class File(ExportCase):
    def test_written_whole_and_never_over_another(self):
        path = f"{self.work}/key.pem"
        uri = tokens().uri("alpha")
        result = self.export(uri, "-o", path)
        self.assertEqual(result.status, 0, str(result))
        self.assertIn("key.pem", result.out)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o644)
        before = pathlib.Path(path).read_bytes()
        self.fails(2, ["--force"], uri, "--format=hex", "-o", path)
        self.assertEqual(pathlib.Path(path).read_bytes(), before)
        self.exported(uri, "--format=fingerprint", "-o", path, "--force")
        self.assertTrue(pathlib.Path(path).read_bytes().startswith(b"SHA256:"))
        self.assertEqual(sorted(os.listdir(self.work)), ["home", "key.pem", "tmp", "trust"])

    def test_not_through_a_link(self):
        target, link = f"{self.work}/target", f"{self.work}/link"
        pathlib.Path(target).write_text("precious", encoding="utf-8")
        os.symlink(target, link)
        self.fails(2, ["--force"], tokens().uri("alpha"), "-o", link)
        self.exported(tokens().uri("alpha"), "-o", link, "--force")
        self.assertEqual(pathlib.Path(target).read_text(encoding="utf-8"), "precious")

    def test_only_files_are_replaced(self):
        """As /dev/null would be, where root exports."""
        os.mkfifo(f"{self.work}/pipe")
        os.mkdir(f"{self.work}/folder")
        for name in ("pipe", "folder"):
            before = os.stat(f"{self.work}/{name}").st_mode
            self.fails(2, ["no regular file"], tokens().uri("alpha"), "--force", "-o", f"{self.work}/{name}")
            self.assertEqual(os.stat(f"{self.work}/{name}").st_mode, before)

    def test_no_such_folder(self):
        self.fails(8, ["nowhere"], tokens().uri("alpha"), "-o", f"{self.work}/nowhere/key.pem")
        self.fails(2, ["folder"], tokens().uri("alpha"), "-o", f"{self.work}/")


class Signed(ExportCase):
    def check_request(self, text, key):
        request = x509.load_pem_x509_csr(text.encode())
        self.assertTrue(request.is_signature_valid)
        self.assertEqual(self.spki(request.public_key()), self.spki(key))
        self.assertIn("verify OK", self.openssl("req", "-verify", "-noout", text=text))
        return request

    def test_request(self):
        text = self.exported(tokens().uri("alpha"), "--format=request", SUBJECT, pin=PIN)
        request = self.check_request(text, pool_key("alpha"))
        self.assertEqual(request.subject.rfc4514_string(), "C=DE,O=Throw-Away Hospital,CN=alpha")
        self.assertEqual(request.signature_hash_algorithm.name, "sha512")

    def test_certificate(self):
        path = f"{self.work}/certificate.pem"
        self.exported(tokens().uri("beta"), "--format=certificate", SUBJECT, "--days=10", "-o", path, pin=PIN)
        certificate = x509.load_pem_x509_certificate(pathlib.Path(path).read_bytes())
        self.assertEqual(certificate.subject, certificate.issuer)
        self.assertEqual(self.spki(certificate.public_key()), self.spki(pool_key("beta")))
        self.assertEqual((certificate.not_valid_after - certificate.not_valid_before).days, 10)
        self.assertEqual(certificate.version, x509.Version.v3)
        self.assertFalse(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
        self.openssl("verify", "-check_ss_sig", "-CAfile", path, path)
        other = self.exported(tokens().uri("beta"), "--format=certificate", SUBJECT, pin=PIN)
        self.assertNotEqual(certificate.serial_number, x509.load_pem_x509_certificate(other.encode()).serial_number)

    def test_json_tells_how_it_was_signed(self):
        facts = self.export(tokens().uri("alpha"), "--json", "--format=request", SUBJECT, pin=PIN).json
        self.check_request(facts["content"], pool_key("alpha"))
        self.assertIn(facts["padding"], ("native", "raw"))

    def test_escapes_in_subjects(self):
        text = self.exported(tokens().uri("alpha"), "--format=request",
                             r"--subject=/CN=alpha \/ beta\\=+,/OU=one/OU=zwölf", pin=PIN)
        names = [part.value for part in self.check_request(text, pool_key("alpha")).subject]
        self.assertEqual(names, ["alpha / beta\\=+,", "one", "zwölf"])

    def test_subjects_that_are_none(self):
        for subject in ("CN=alpha", "/", "/CN=", "/CN", "/cn=alpha", "/O=Hospital", "/CN=a/CN=b", "/CN=a/C=de", "/CN=a/",
                        "/CN=a/C=DEU", "/CN=a\\b", "/CN=a\\", "/XX=a/CN=a", "/CN=a\nb", "/CN=" + "a" * 65, "//CN=a",
                        "/CN=a/serialNumber=ü", "/CN=" + "a" * 3000):
            with self.subTest(subject):
                self.fails(2, ["subject"], tokens().uri("alpha"), "--format=request", "--subject", subject, pin=PIN)

    def test_the_way_to_the_key(self):
        uri = tokens().uri("alpha")
        text = self.exported(uri, "--format=request", SUBJECT, "--key-loader=libp11", pin=PIN)
        self.check_request(text, pool_key("alpha"))
        # The option comes before the environment.
        self.exported(uri, "--format=request", SUBJECT, "--key-loader=auto", pin=PIN,
                      env={"TRAINTOKEN_KEY_LOADER": "engine:no-such-engine"})
        self.fails(6, ["no-such-provider"], uri, "--format=request", SUBJECT, "--key-loader=provider:no-such-provider",
                   pin=PIN)
        self.fails(2, ["key loader"], uri, "--format=request", SUBJECT, "--key-loader=file", pin=PIN)
        self.fails(2, ["--key-loader"], uri, "--key-loader=libp11")

    def test_pin(self):
        self.fails(7, [], tokens().uri("gamma"), "--format=request", SUBJECT)
        self.fails(7, [], tokens().uri("gamma"), "--format=request", SUBJECT, pin="tt-throw-away-9999")

    @needs_make_key
    def test_a_key_that_must_not_sign(self):
        tokens().odd("no-sign")
        self.fails(6, [], tokens().uri("no-sign"), "--format=request", SUBJECT, pin=PIN)


if __name__ == "__main__":
    unittest.main()
