"""The train security protocol in Python, written from docs/protocol.md alone: the independent checker.
(Clauses are that document's.)

It works on trees (support.files): dicts from a path such as "opt/pht_train/main.py" to an Entry. Keys are software keys
of the cryptography package. Whatever breaks a rule raises Refused.

As a program it checks an image or a tar of /opt:
    python3 -m support.pht SOURCE [--key PRIVATE.pem]        SOURCE: a tar, or oci:DIR:TAG
"""

import copy
import hashlib
import hmac
import json
import os
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from support import files as fs

CONFIG = "opt/train_config.json"
KEY_FILE = "opt/user_sym_key.key"
DEFINITION = "opt/pht_train"
RESULTS = "opt/pht_results"
QUERY = "query.json"


class Refused(Exception):
    """A train that breaks the protocol."""


def demand(truth, why):
    if not truth:
        raise Refused(why)


# ---------------------------------------------------------------------------------------------- primitives


def sha512(*parts):
    digest = hashlib.sha512()
    for part in parts:
        digest.update(part)
    return digest.digest()


def load_private(path):
    with open(path, "rb") as stream:
        return serialization.load_pem_private_key(stream.read(), None)


def public_pem(key):
    public = key.public_key() if hasattr(key, "public_key") else key
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_der(key):
    public = key.public_key() if hasattr(key, "public_key") else key
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def parse_public(hex_of_pem, what):
    text = unhex(hex_of_pem, what)
    demand(text.startswith(b"-----BEGIN PUBLIC KEY-----"), f"{what}: not a PEM public key")
    try:
        key = serialization.load_pem_public_key(text)
    except ValueError as error:
        raise Refused(f"{what}: {error}") from None
    demand(isinstance(key, rsa.RSAPublicKey), f"{what}: not an RSA key")
    demand(2048 <= key.key_size <= 8192, f"{what}: {key.key_size} bits")
    return key


_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA512()), algorithm=hashes.SHA512(), label=None)


def wrap(key, secret):
    public = key.public_key() if hasattr(key, "public_key") else key
    return public.encrypt(secret, _OAEP)


def unwrap(key, wrapped):
    try:
        secret = key.decrypt(wrapped, _OAEP)
    except ValueError:
        raise Refused("the wrapped key does not open") from None
    demand(len(secret) == 32, "the wrapped key has not 32 bytes")
    return secret


def pss_salt(key):
    """emLen - hLen - 2, emLen being the octets of modulus bits - 1."""
    return (key.key_size - 1 + 7) // 8 - 64 - 2


def _pss(key, salt=None):
    return padding.PSS(mgf=padding.MGF1(hashes.SHA512()), salt_length=pss_salt(key) if salt is None else salt)


def sign_pss(key, digest, salt=None):
    return key.sign(digest, _pss(key, salt), utils.Prehashed(hashes.SHA512()))


def verify_pss(key, signature, digest, what):
    try:
        key.verify(signature, digest, _pss(key), utils.Prehashed(hashes.SHA512()))
    except InvalidSignature:
        raise Refused(f"{what}: wrong signature") from None


def sign_pkcs1(key, message):
    return key.sign(message, padding.PKCS1v15(), hashes.SHA512())


def verify_pkcs1(key, signature, message, what):
    try:
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA512())
    except InvalidSignature:
        raise Refused(f"{what}: wrong signature") from None


def encrypt(secret, plain, iv=None):
    iv = iv or os.urandom(16)
    count = 16 - len(plain) % 16
    cipher = Cipher(algorithms.AES(secret), modes.CBC(iv)).encryptor()
    return iv + cipher.update(plain + bytes([count]) * count) + cipher.finalize()


def decrypt(secret, data, what="file"):
    demand(len(data) >= 32 and len(data) % 16 == 0, f"{what}: {len(data)} bytes cannot be an encrypted file")
    cipher = Cipher(algorithms.AES(secret), modes.CBC(data[:16])).decryptor()
    plain = cipher.update(data[16:]) + cipher.finalize()
    count = plain[-1]
    demand(1 <= count <= 16 and plain.endswith(bytes([count]) * count), f"{what}: wrong padding")
    return plain[:-count]


# ---------------------------------------------------------------------------------------------- configuration


def unhex(value, what, size=None):
    demand(isinstance(value, str) and re.fullmatch("([0-9a-f]{2})*", value), f"{what}: not lower-case hex")
    data = bytes.fromhex(value)
    demand(size is None or len(data) == size, f"{what}: {len(data)} bytes instead of {size}")
    return data


def as_text(value, what):
    demand(isinstance(value, (str, int)) and not isinstance(value, bool), f"{what}: neither text nor number")
    return str(value)


def _no_doubles(pairs):
    names = [name for name, _ in pairs]
    demand(len(names) == len(set(names)), "a member occurs twice")
    return dict(pairs)


def load_config(text):
    try:
        config = json.loads(text.decode("utf-8"), object_pairs_hook=_no_doubles)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Refused(f"train_config.json: {error}") from None
    demand(isinstance(config, dict), "train_config.json: not an object")
    return config


def dump_config(config, style="indent"):
    """"indent" as the other station software writes it, "compact" as the central service does."""
    if style == "compact":
        return json.dumps(config, separators=(",", ":")).encode()
    return json.dumps(config, indent=2).encode()


class Train:
    """A configuration, checked for form (clause 2 and step 1 of clause 5)."""

    def __init__(self, text):
        self.config = config = load_config(text)
        self.session_id = unhex(config.get("session_id"), "session_id", 64)
        self.hash = unhex(config.get("hash"), "hash", 64)
        self.signature = unhex(config.get("signature"), "signature")
        creator, build = config.get("creator"), config.get("build")
        demand(isinstance(creator, dict), "creator: missing")
        demand(isinstance(build, dict), "build: missing")
        self.creator_id = as_text(creator.get("id"), "creator.id")
        self.creator_key = parse_public(creator.get("rsa_public_key"), "creator.rsa_public_key")
        self.build_key = parse_public(build.get("rsa_public_key"), "build.rsa_public_key")
        self.build_signature = unhex(build.get("signature"), "build.signature")
        self.files = self._file_list(config.get("file_list"))
        self.stops = self._route(config.get("route"))
        self.result_hash = self.result_signature = None
        if config.get("result_hash") is not None:
            self.result_hash = unhex(config["result_hash"], "result_hash", 64)
        if config.get("result_signature") is not None:
            self.result_signature = unhex(config["result_signature"], "result_signature")

    @staticmethod
    def _file_list(names):
        demand(isinstance(names, list) and all(isinstance(name, str) for name in names), "file_list: not a list")
        plain = [name.removeprefix("./") for name in names]
        for name in plain:
            demand(name and not any(part in ("", ".", "..") for part in name.split("/")), f"file_list: {name!r}")
        demand(len(set(plain)) == len(plain), "file_list: a file twice")
        return [name for name in plain if name != QUERY]

    @staticmethod
    def _route(route):
        demand(isinstance(route, list) and route, "route: empty")
        stops = []
        for place, stop in enumerate(route):
            what = f"route[{place}]"
            demand(isinstance(stop, dict), f"{what}: not an object")
            index = stop.get("index")
            demand(isinstance(index, int) and not isinstance(index, bool), f"{what}.index: not a number")
            signature = stop.get("signature")
            if signature is not None:
                demand(isinstance(signature, dict), f"{what}.signature: not an object")
                signature = (unhex(signature.get("digest"), f"{what}.signature.digest", 64),
                             unhex(signature.get("signature"), f"{what}.signature.signature"))
            wrapped = stop.get("encrypted_key")
            stops.append({
                "index": index,
                "station": as_text(stop.get("station"), f"{what}.station"),
                "key": parse_public(stop.get("rsa_public_key"), f"{what}.rsa_public_key"),
                "signature": signature,
                "wrapped": None if wrapped is None else unhex(wrapped, f"{what}.encrypted_key"),
                "place": place,
            })
        stops.sort(key=lambda stop: stop["index"])
        demand([stop["index"] for stop in stops] == list(range(len(stops))), "route: indices are not 0 to n-1")
        names = [stop["station"] for stop in stops]
        demand(len(set(names)) == len(names), "route: a station twice")
        return stops

    def stop(self, station):
        for stop in self.stops:
            if stop["station"] == str(station):
                return stop
        raise Refused(f"station {station} is not on the route")

    def position(self):
        """How many stops are signed, after step 3 of clause 5."""
        signed = [stop["signature"] is not None for stop in self.stops]
        count = sum(signed)
        demand(signed == [True] * count + [False] * (len(signed) - count), "stops are signed out of order")
        for name in ("result_hash", "result_signature"):
            demand((getattr(self, name) is not None) == (count > 0), f"{name} does not fit {count} signed stops")
        return count

    def route_digest(self, index, result_hash):
        if index == 0:
            return sha512(self.session_id, result_hash)
        return sha512(*(stop["signature"][0] for stop in self.stops[:index]), result_hash)

    def check_signatures(self):
        """Step 4 of clause 5. Returns the position."""
        position = self.position()
        verify_pkcs1(self.creator_key, self.signature, self.hash, "signature")
        verify_pkcs1(self.build_key, self.build_signature, self.hash + self.signature, "build.signature")
        for stop in self.stops[:position]:
            digest, signature = stop["signature"]
            verify_pss(stop["key"], signature, digest, f"signature of {stop['station']}")
        if position:
            last = self.stops[position - 1]
            verify_pss(last["key"], self.result_signature, self.result_hash, "result_signature")
            demand(hmac.compare_digest(last["signature"][0], self.route_digest(position - 1, self.result_hash)),
                   f"digest of {last['station']} is not that of this train")
        return position

    def definition_hash(self, plain, query):
        ordered = [plain[name] for name in self.files]
        return sha512(self.creator_id.encode(), *ordered, self.session_id, query or b"")

    def hash_of_results(self, results):
        ordered = sorted(results, key=fs.archive_key)
        return sha512(*(results[name] for name in ordered), self.session_id)


# ---------------------------------------------------------------------------------------------- whole trains


def relative(tree, root):
    """Regular files under a folder of a tree, by relative path, in archive order."""
    return {entry.path[len(root) + 1:]: entry.content for entry in fs.under(tree, root)
            if entry.kind == fs.FILE and entry.path != root}


class Opened:
    """A train's plaintext, as the holder of a key sees it."""

    def __init__(self, train, position, secret, definition, query, results):
        self.train, self.position, self.secret = train, position, secret
        self.definition, self.query, self.results = definition, query, results


def check_definition_names(train, tree):
    """The second half of step 6 of clause 5."""
    demand(tree.get(DEFINITION, fs.file("")).kind == fs.FOLDER, "opt/pht_train is not a folder")
    for entry in fs.under(tree, DEFINITION):
        demand(entry.kind in (fs.FILE, fs.FOLDER), f"{entry.path} is a {entry.kind}")
    there = set(relative(tree, DEFINITION))
    demand(there - {QUERY} == set(train.files), f"definition and file_list differ: {there ^ set(train.files)}")


def check_public(tree):
    """Everything that needs no key: the train's state and position."""
    demand(CONFIG in tree and tree[CONFIG].kind == fs.FILE, "no train_config.json")
    train = Train(tree[CONFIG].content)
    position = train.check_signatures()
    check_definition_names(train, tree)
    if position:
        demand(KEY_FILE in tree, "no user_sym_key.key")
        demand(tree[KEY_FILE].content.hex() == train.config["creator"].get("encrypted_key"),
               "user_sym_key.key is not the creator's wrapped key")
    return train, position


def wrapped_for(train, key):
    der = public_der(key)
    for stop in train.stops:
        if public_der(stop["key"]) == der and stop["wrapped"] is not None:
            return stop["wrapped"]
    demand(public_der(train.creator_key) == der, "the key belongs to nobody on this train")
    return unhex(train.config["creator"].get("encrypted_key"), "creator.encrypted_key")


def open_train(tree, key):
    """Checks the train as it travels and decrypts it with a stop's or the creator's key."""
    train, position = check_public(tree)
    secret = unwrap(key, wrapped_for(train, key))
    definition = {name: decrypt(secret, data, name) for name, data in relative(tree, DEFINITION).items()}
    query = definition.pop(QUERY, None)
    demand(hmac.compare_digest(train.definition_hash(definition, query), train.hash), "definition: wrong hash")
    results = {name: decrypt(secret, data, name) for name, data in relative(tree, RESULTS).items()}
    if position:
        demand(hmac.compare_digest(train.hash_of_results(results), train.result_hash), "results: wrong hash")
    else:
        demand(not results, "results before the first stop")
    return Opened(train, position, secret, definition, query, results)


def pre_run(tree, station, key):
    """The whole of clause 5: a new tree with the definition and results decrypted."""
    opened = open_train(tree, key)
    stop = opened.train.stop(station)
    demand(public_der(stop["key"]) == public_der(key), "the train names another key for this station")
    demand(stop["index"] == opened.position, "not this station's turn")
    changed = dict(tree)
    plain = dict(opened.definition) | ({QUERY: opened.query} if opened.query is not None else {})
    for root, contents in ((DEFINITION, plain), (RESULTS, opened.results)):
        for name, content in contents.items():
            path = f"{root}/{name}"
            changed[path] = changed[path].with_(content=content)
    return changed


def post_run(executed, config_text, base, station, key, style="indent", secret=None):
    """The whole of clause 6: `executed` is the tree after the run, `config_text` what pre-run verified, `base` the tree
    of the base tag. Gives the tree that travels on."""
    demand(executed[CONFIG].content == config_text, "the run changed train_config.json")
    train = Train(config_text)
    index = train.stop(station)["index"]
    demand(index == train.position(), "not this station's turn")
    check_definition_names(train, executed)
    definition = relative(executed, DEFINITION)
    query = definition.get(QUERY)
    plain = {name: data for name, data in definition.items() if name != QUERY}
    demand(train.definition_hash(plain, query) == train.hash, "the run changed the definition")
    results = relative(executed, RESULTS)
    result_hash = train.hash_of_results(results)

    config = copy.deepcopy(train.config)
    config["result_hash"] = result_hash.hex()
    config["result_signature"] = sign_pss(key, result_hash).hex()
    digest = train.route_digest(index, result_hash)
    place = train.stop(station)["place"]
    config["route"][place]["signature"] = {"digest": digest.hex(), "signature": sign_pss(key, digest).hex()}

    secret = secret or os.urandom(32)
    for stop in train.stops:
        config["route"][stop["place"]]["encrypted_key"] = wrap(stop["key"], secret).hex()
    for_creator = wrap(train.creator_key, secret)
    config["creator"]["encrypted_key"] = for_creator.hex()

    out = {path: entry for path, entry in base.items() if not path.startswith((DEFINITION + "/", RESULTS + "/"))}
    out[CONFIG] = fs.file(CONFIG, dump_config(config, style))
    out[KEY_FILE] = fs.file(KEY_FILE, for_creator)
    for root in (DEFINITION, RESULTS):
        for entry in fs.under(executed, root):
            if entry.kind == fs.FILE:
                entry = entry.with_(content=encrypt(secret, entry.content))
            out[entry.path] = entry
    return out


def seal(definition, stops, creator_id, creator_key, builder_key=None, query=None, session_id=None, file_list=None,
         secret=None, style="indent", train_id="train", extra=None):
    """A new train: the tree of /opt. `definition` maps relative paths to bytes or Entry values; `stops` is a list of
    (station, key) in order; the first key is wrapped for the first of them only, as the central service does. `extra`
    is merged into the configuration before it is written."""
    secret, session_id = secret or os.urandom(32), session_id or os.urandom(64)
    builder_key = builder_key or creator_key
    entries = {}
    for name, what in definition.items():
        entry = what if isinstance(what, fs.Entry) else fs.file("", what)
        entries[name] = entry.with_(path=f"{DEFINITION}/{name}")
    names = list(entries) if file_list is None else [name.removeprefix("./") for name in file_list]
    plain = [entries[name].content for name in names if name != QUERY]
    digest = sha512(str(creator_id).encode(), *plain, session_id, query or b"")
    signature = sign_pkcs1(creator_key, digest)
    config = {
        "@id": train_id,
        "@context": None,
        "source": {"type": "docker_repository", "address": "registry.example/base", "tag": "latest", "branch": None},
        "creator": {"id": creator_id, "rsa_public_key": public_pem(creator_key).hex(),
                    "paillier_public_key": None, "encrypted_key": None},
        "proposal_id": 1,
        "session_id": session_id.hex(),
        "route": [{"station": station, "eco_system": "tue", "rsa_public_key": public_pem(key).hex(), "index": index,
                   "signature": None, "encrypted_key": None if index else wrap(key, secret).hex()}
                  for index, (station, key) in enumerate(stops)],
        "file_list": names if file_list is None else file_list,
        "hash": digest.hex(),
        "signature": signature.hex(),
        "build": {"signature": sign_pkcs1(builder_key, digest + signature).hex(),
                  "rsa_public_key": public_pem(builder_key).hex()},
        "result_hash": None,
        "result_signature": None,
    }
    config.update(extra or {})
    if query is not None:
        entries[QUERY] = fs.file(f"{DEFINITION}/{QUERY}", query)
    out = [fs.folder("opt"), fs.folder(RESULTS), fs.folder(DEFINITION), fs.file(CONFIG, dump_config(config, style))]
    for entry in entries.values():
        content = encrypt(secret, entry.content) if entry.kind == fs.FILE else b""
        out.append(entry.with_(content=content))
    return fs.tree(out)


def open_results_tar(entries, key):
    """Clause 7: what the creator opens out of the tar of pht_results and train_config.json."""
    named = {entry.path: entry for entry in entries}
    train = Train(named["train_config.json"].content)
    demand(train.check_signatures() > 0, "no results yet")
    secret = unwrap(key, unhex(train.config["creator"].get("encrypted_key"), "creator.encrypted_key"))
    results = {name: decrypt(secret, data, name) for name, data in relative(named, "pht_results").items()}
    demand(train.hash_of_results(results) == train.result_hash, "results: wrong hash")
    return results


def main(arguments):
    import argparse

    from support import oci

    parser = argparse.ArgumentParser(description="Checks a train by an implementation of its own.")
    parser.add_argument("source", help="a tar of /opt, or oci:DIR:TAG")
    parser.add_argument("--key", help="private key of a stop or the creator (PEM)")
    chosen = parser.parse_args(arguments)
    if chosen.source.startswith("oci:"):
        place, _, tag = chosen.source[4:].partition(":")
        tree = oci.Layout(place).tree(tag or "latest")
    else:
        tree = fs.read_tree(chosen.source)
    try:
        train, position = check_public(tree)
        print(f"train {train.config.get('@id')}: {position} of {len(train.stops)} stops signed, signatures hold")
        if chosen.key:
            opened = open_train(tree, load_private(chosen.key))
            print(f"opened: {len(opened.definition)} definition files, {len(opened.results)} results, hashes hold")
    except Refused as error:
        print(f"refused: {error}")
        return 1
    return 0


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
