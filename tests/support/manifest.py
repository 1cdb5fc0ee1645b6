"""Signed manifests in Python, written from docs/protocol.md, section 13, alone: made and checked apart from the program.
They lie in the configuration's member "traintoken"; see support.pht for the rest of a train."""

import base64
import copy
import hashlib
import json
import time

from support import files as fs
from support import oci, pht
from support.pht import demand

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
CREATOR = "https://traintoken.example/manifest/creator/v1"
STOP = "https://traintoken.example/manifest/stop/v1"


def fingerprint(key):
    return "SHA256:" + base64.b64encode(hashlib.sha256(pht.public_der(key)).digest()).decode().rstrip("=")


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# ---------------------------------------------------------------------------------------------- envelopes


def encoding(payload):
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def digest_to_sign(payload):
    return pht.sha512(hashlib.sha256(encoding(payload)).digest())


def sign(key, statement):
    payload = statement if isinstance(statement, bytes) else compact(statement)
    signature = pht.sign_pss(key, digest_to_sign(payload))
    return {"payloadType": PAYLOAD_TYPE, "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": fingerprint(key), "sig": base64.b64encode(signature).decode()}]}


def statement_of(envelope):
    return json.loads(base64.b64decode(envelope["payload"], validate=True))


def verify(envelope, key, what):
    """The statement in an envelope that this key signed."""
    demand(list(envelope) == ["payloadType", "payload", "signatures"] and len(envelope["signatures"]) == 1,
           f"{what}: not an envelope")
    demand(envelope["payloadType"] == PAYLOAD_TYPE, f"{what}: {envelope['payloadType']}")
    signature = envelope["signatures"][0]
    demand(list(signature) == ["keyid", "sig"] and signature["keyid"] == fingerprint(key), f"{what}: wrong key id")
    payload = base64.b64decode(envelope["payload"], validate=True)
    pht.verify_pss(key, base64.b64decode(signature["sig"], validate=True), digest_to_sign(payload), what)
    return json.loads(payload, object_pairs_hook=pht._no_doubles)


def digest_of(envelope):
    return hashlib.sha256(compact(envelope)).hexdigest()


# ---------------------------------------------------------------------------------------------- lists


def listing(tree, root, contents, explicit=True):
    """The list of what a tree holds below a folder; `contents` are the files' plaintexts by their names in it."""
    lines, entries, counts = [], [], {"files": 0, "bytes": 0, "links": 0}
    for entry in fs.under(tree, root):
        name = entry.path[len(root) + 1:]
        if entry.kind == fs.FILE:
            mode, data = f"{entry.mode:04o}", contents[name]
            counts["files"] += 1
            counts["bytes"] += len(data)
        elif entry.kind in (fs.SYMLINK, fs.HARDLINK):
            mode, data = entry.kind, entry.target.encode("utf-8", "surrogateescape")
            if entry.kind == fs.HARDLINK:
                data = data[len(root) + 1:]
            counts["links"] += 1
        else:
            continue
        digest = pht.sha512(data).hex()
        lines.append(f"{mode} {len(data)} {digest} {name}\0".encode("utf-8", "surrogateescape"))
        entries.append({"path": name, "mode": mode, "size": len(data), "sha512": digest})
    made = {**counts, "list_sha512": pht.sha512(*lines).hex()}
    if explicit and len(entries) <= 128:
        made["entries"] = entries
    return made


def statement(kind, predicate, folder, digest):
    return {"_type": STATEMENT, "subject": [{"name": folder, "digest": {"sha512": digest}}], "predicateType": kind,
            "predicate": predicate}


def creator_statement(opt, opener, layers, base="registry.example/base"):
    """What the creator says of a train that was just sealed and that the key `opener` opens."""
    opened = pht.open_train(opt, opener)
    train = opened.train
    contents = opened.definition | ({} if opened.query is None else {pht.QUERY: opened.query})
    made = listing(opt, pht.DEFINITION, contents)
    predicate = {
        "train": train.config.get("@id"),
        "session_id": train.session_id.hex(),
        "creator": {"id": train.creator_id, "fingerprint": fingerprint(train.creator_key)},
        "route": [{"station": stop["station"], "fingerprint": fingerprint(stop["key"])} for stop in train.stops],
        "definition": {"hash": train.hash.hex(), **made},
        "query": None if opened.query is None else {"sha512": pht.sha512(opened.query).hex()},
        "base": {"reference": base, "layers": layers},
    }
    return statement(CREATOR, predicate, pht.DEFINITION, made["list_sha512"])


NOTICED = ("Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild", "Shell", "StopSignal",
           "StopTimeout", "User", "Volumes", "WorkingDir")


def _written(value, loose=False):
    if not value:
        return b"-"
    if isinstance(value, str):
        return b"%d:%b" % (len(value.encode()), value.encode())
    if value is True:
        return b"true"
    if isinstance(value, (int, float)):
        return b"#%.17g" % value
    if isinstance(value, list):
        return b"(" + b"".join(_written(item, loose) for item in value) + b")"
    members = sorted((name.encode(), item) for name, item in value.items() if item or not loose)
    return b"(" + b"".join(b"%d:%b=%b" % (len(name), name, _written(item, loose)) for name, item in members) + b")"


def settings_digest(config):
    """The one value for the settings of an image, config being that member of its configuration."""
    text = b""
    for name in NOTICED:
        value = config.get(name)
        if not value or (name == "WorkingDir" and value == "/"):
            continue
        text += name.encode() + b"="
        text += _written(sorted(value) if name == "Env" else value, name == "Healthcheck")
    return pht.sha512(text).hex()


def stop_statement(opt, key, station, previous):
    """What a station says of the results of its stop; `opt` is the train as it leaves there."""
    opened = pht.open_train(opt, key)
    stop = opened.train.stop(station)
    made = listing(opt, pht.RESULTS, opened.results)
    predicate = {
        "station": stop["station"],
        "index": stop["index"],
        "session_id": opened.train.session_id.hex(),
        "route_digest": stop["signature"][0].hex(),
        "results": made,
        "previous": digest_of(previous),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return statement(STOP, predicate, pht.RESULTS, made["list_sha512"])


# ---------------------------------------------------------------------------------------------- trains


def manifests_of(opt):
    config = pht.load_config(opt[pht.CONFIG].content)
    return config.get("traintoken", {}).get("manifests")


def with_manifests(opt, manifests):
    """The train with these envelopes; None takes the member away."""
    config = pht.load_config(opt[pht.CONFIG].content)
    config.pop("traintoken", None)
    if manifests is not None:
        config["traintoken"] = {"manifests": manifests}
    return opt | {pht.CONFIG: opt[pht.CONFIG].with_(content=pht.dump_config(config))}


def seal(opt, key, opener, layers=None):
    """A train from support.pht with the creator's manifest; `opener` is the key of its first stop."""
    return with_manifests(opt, [sign(key, creator_statement(opt, opener, layers or [oci.SYSTEM.diff_id]))])


def post_run(executed, config_text, base, station, key, **more):
    """As support.pht's, with the station's manifest where there are some."""
    opt = pht.post_run(executed, config_text, base, station, key, **more)
    there = manifests_of(opt)
    if there is None:
        return opt
    return with_manifests(opt, [*there, sign(key, stop_statement(opt, key, station, there[-1]))])


def replaced(opt, place, change, key=None):
    """The train with one statement changed by a function, and signed anew by a key; without one, the old signature
    stays."""
    there = copy.deepcopy(manifests_of(opt))
    changed = statement_of(there[place])
    changed = change(changed) or changed
    if key:
        there[place] = sign(key, changed)
    else:
        there[place]["payload"] = base64.b64encode(compact(changed)).decode()
    return with_manifests(opt, there)


def check(tree, key=None, layers=None):
    """All of section 13. With a key that opens the train, the files' contents too. Gives the statements."""
    train, position = pht.check_public(tree)
    there = manifests_of(tree)
    demand(isinstance(there, list) and len(there) == position + 1, f"{there and len(there)} manifests at {position}")
    statements = [verify(there[0], train.creator_key, "the creator's manifest")]
    first = statements[0]["predicate"]
    demand(statements[0]["_type"] == STATEMENT and statements[0]["predicateType"] == CREATOR, "wrong type")
    demand(first["train"] == train.config.get("@id"), "another train")
    demand(first["session_id"] == train.session_id.hex(), "another session")
    demand(first["creator"] == {"id": train.creator_id, "fingerprint": fingerprint(train.creator_key)}, "creator")
    demand(first["route"] == [{"station": stop["station"], "fingerprint": fingerprint(stop["key"])}
                              for stop in train.stops], "another route")
    demand(first["definition"]["hash"] == train.hash.hex(), "another definition")
    demand(layers is None or layers[:len(first["base"]["layers"])] == first["base"]["layers"], "another base image")
    for stop, envelope, previous in zip(train.stops, there[1:], there):
        said = verify(envelope, stop["key"], f"the manifest of {stop['station']}")
        demand(said["_type"] == STATEMENT and said["predicateType"] == STOP, "wrong type")
        wanted = {"station": stop["station"], "index": stop["index"], "session_id": train.session_id.hex(),
                  "route_digest": stop["signature"][0].hex(), "previous": digest_of(previous)}
        demand({name: said["predicate"][name] for name in wanted} == wanted, f"{stop['station']}: other facts")
        time.strptime(said["predicate"]["time"], "%Y-%m-%dT%H:%M:%SZ")
        statements.append(said)
    for said, member, folder in [(statements[0], "definition", pht.DEFINITION),
                                 *((one, "results", pht.RESULTS) for one in statements[1:])]:
        demand(said["subject"] == [{"name": folder, "digest": {"sha512": said["predicate"][member]["list_sha512"]}}],
               "the subject is not the list")
    if key:
        _check_contents(tree, pht.open_train(tree, key), statements)
    return statements


def _check_contents(tree, opened, statements):
    contents = opened.definition | ({} if opened.query is None else {pht.QUERY: opened.query})
    first = statements[0]["predicate"]
    said = {name: value for name, value in first["definition"].items() if name != "hash"}
    demand(said == listing(tree, pht.DEFINITION, contents, "entries" in said), "other definition files")
    demand(first["query"] == (None if opened.query is None else {"sha512": pht.sha512(opened.query).hex()}),
           "another query")
    if len(statements) > 1:
        said = statements[-1]["predicate"]["results"]
        demand(said == listing(tree, pht.RESULTS, opened.results, "entries" in said), "other result files")
