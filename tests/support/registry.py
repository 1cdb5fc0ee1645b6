"""Registries of public keys to test with, by HTTPS: Vault's key-value store, versions 1 and 2, as its API documentation
has it, and the part of the central service that knows stations. Throw-away certificates by a throw-away authority."""

import base64
import datetime
import http.server
import ipaddress
import json
import ssl
import threading
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from support.station import pool_key

VAULT_TOKEN = "hvs.tt-throw-away-vault-token"
CENTRAL_TOKEN = "tt-throw-away-bearer"
ROBOT = ("robot-1", "tt-throw-away-robot-secret")


def make_authority(place):
    """An authority and a server's certificate for 127.0.0.1 of it: files ca.pem and server.pem (with its key)."""
    def certificate(subject, key, issuer, issuer_key, ca):
        name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])  # noqa: E731
        start = datetime.datetime(2020, 1, 1)
        made = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
                .public_key(key.public_key()).serial_number(x509.random_serial_number())
                .not_valid_before(start).not_valid_after(start + datetime.timedelta(days=36500))
                .add_extension(x509.BasicConstraints(ca, None), True))
        if not ca:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            made = made.add_extension(x509.SubjectAlternativeName([address]), False)
        return made.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority, server = pool_key("creator"), pool_key("builder")
    with open(f"{place}/ca.pem", "wb") as stream:
        stream.write(certificate("throw-away authority", authority, "throw-away authority", authority, True))
    with open(f"{place}/server.pem", "wb") as stream:
        stream.write(certificate("throw-away server", server, "throw-away authority", authority, False))
        stream.write(server.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                          serialization.NoEncryption()))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, document=None, headers=(), raw=None):
        body = raw if raw is not None else b"" if document is None else json.dumps(document).encode()
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.handle_all(None)

    def do_POST(self):
        self.handle_all(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    do_PUT = do_POST

    def handle_all(self, body):
        registry = self.server.registry
        url = urllib.parse.urlsplit(self.path)
        registry.requests.append((self.command, self.path, dict(self.headers), body))
        if registry.before:
            if registry.before(self, self.command, url.path):
                return
        registry.handle(self, self.command, urllib.parse.unquote(url.path), urllib.parse.parse_qs(url.query), body)


class Registry:
    """Serves on 127.0.0.1 until closed. `before`: a function that may answer in its place (and then says True)."""

    def __init__(self, place):
        make_authority(place)
        self.ca_file = f"{place}/ca.pem"
        self.requests = []
        self.before = None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{place}/server.pem")
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.registry = self
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def writes(self):
        return [request for request in self.requests if request[0] != "GET"]


class Vault(Registry):
    """With the stores station_pks (version 1, as in the PHT), pht/keys (version 2) and pki (none)."""

    def __init__(self, place):
        super().__init__(place)
        self.plain = {}      # version 1: by path
        self.versions = {}   # version 2: by path, a list of contents (None: deleted)
        self.sealed = False
        self.denied = ()     # beginnings of paths

    def handle(self, to, method, path, query, body):
        if self.sealed:
            return to.answer(503, {"errors": ["Vault is sealed"]})
        denied = any(path.startswith(start) for start in self.denied)
        if to.headers.get("X-Vault-Token") != VAULT_TOKEN or denied:
            return to.answer(403, {"errors": ["permission denied"]})
        mounts = "/v1/sys/internal/ui/mounts/"
        if path.startswith(mounts):
            return self.mount(to, path[len(mounts):])
        if path.startswith("/v1/station_pks/"):
            return self.version_1(to, method, path, body)
        if path.startswith("/v1/pht/keys/data/"):
            return self.version_2(to, method, path, body)
        return to.answer(404, {"errors": [f"no handler for route \"{path[4:]}\". route entry not found."]})

    def mount(self, to, path):
        for name, kind, options in (("station_pks/", "kv", {"version": "1"}), ("pht/keys/", "kv", {"version": "2"}),
                                    ("pki/", "pki", None)):
            if path.startswith(name):
                return to.answer(200, {"request_id": "1", "data": {"type": kind, "path": name, "options": options}})
        return to.answer(403, {"errors": ["preflight capability check returned 403"]})

    def version_1(self, to, method, path, body):
        if method == "GET":
            if path not in self.plain:
                return to.answer(404, {"errors": []})
            return to.answer(200, {"request_id": "1", "lease_duration": 2764800, "data": self.plain[path]})
        self.plain[path] = json.loads(body)
        return to.answer(204)

    def version_2(self, to, method, path, body):
        versions = self.versions.setdefault(path, [])
        metadata = {"created_time": "2026-11-21T20:00:00.123456789Z", "custom_metadata": None, "deletion_time": "",
                    "destroyed": False, "version": len(versions)}
        if method == "GET":
            if not versions:
                return to.answer(404, {"errors": []})
            if versions[-1] is None:
                metadata["deletion_time"] = "2026-11-21T21:00:00Z"
            return to.answer(404 if versions[-1] is None else 200, {"data": {"data": versions[-1], "metadata": metadata}})
        wanted = json.loads(body)
        if wanted.get("options", {}).get("cas") != len(versions):
            return to.answer(400, {"errors": ["check-and-set parameter did not match the current version"]})
        versions.append(wanted["data"])
        return to.answer(200, {"request_id": "1", "data": metadata | {"version": len(versions)}})


class Central(Registry):
    """With stations by id; those who may edit see the public key, when they ask for it."""

    def __init__(self, place):
        super().__init__(place)
        self.stations = {"alpha": {"id": "alpha", "name": "Alpha", "public_key": None}}

    def handle(self, to, method, path, query, body):
        basic = "Basic " + base64.b64encode(":".join(ROBOT).encode()).decode()
        if to.headers.get("Authorization") not in (f"Bearer {CENTRAL_TOKEN}", basic):
            return to.answer(401, {"statusCode": 401, "message": "You are not authenticated."})
        station = self.stations.get(path.removeprefix("/api/stations/"))
        if station is None:
            return to.answer(404, {"statusCode": 404, "message": "The requested resource was not found."})
        if method == "GET":
            shown = dict(station)
            if query.get("fields") != ["+public_key"]:
                del shown["public_key"]
            return to.answer(200, shown)
        if method != "POST":
            return to.answer(405, {"message": "no"})
        key = json.loads(body).get("public_key")
        if not isinstance(key, str) or not 5 <= len(key) <= 4096:
            return to.answer(400, {"message": "The attribute public_key is invalid."})
        station["public_key"] = key
        return to.answer(202, station)
