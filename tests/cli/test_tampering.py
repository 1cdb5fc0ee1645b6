"""Every tampering that docs/protocol.md (clause 5) and the table of attacks in docs/threat-model.md tell of: exact
status, the thing named, nothing changed; each with an honest twin that passes. Numbers in names are its rows."""

import os
import re
import shutil
import unittest

from support import files as fs
from support import oci, pht
from support.station import (DEFINITION, STOPS, Case, edited, flipped, pool_key, results_of, sample,
                             sample_at)

NO_MODULE = "/nonexistent/module.so"
MAIN = "opt/pht_train/entrypoint.sh"
OTHER_SESSION = bytes(range(1, 65))


def without(opt, *paths):
    return {path: entry for path, entry in opt.items()
            if not any(path == one or path.startswith(one + "/") for one in paths)}


def put(opt, *entries):
    return opt | {entry.path: entry for entry in entries}


def moved(opt, old, new):
    return put(without(opt, old), opt[old].with_(path=new))


def after_alpha(session_id=bytes(range(64)), results=None):
    """The sample train after alpha, of another session or with other results: what an attacker may have kept."""
    opt = sample(session_id=session_id)
    plain = pht.pre_run(opt, "alpha", pool_key("alpha"))
    executed = dict(plain) | {entry.path: entry for entry in (results or results_of("alpha"))}
    return pht.post_run(executed, plain[pht.CONFIG].content, opt, "alpha", pool_key("alpha"))


def config_of(opt):
    return pht.load_config(opt[pht.CONFIG].content)


def transplanted(opt, other, *members):
    """Members of the configuration (paths as tuples) taken over from another train."""
    for steps in members:
        value = config_of(other)
        for step in steps:
            value = value[step]
        opt = edited(opt, *steps, value)
    return opt


class PreRunCase(Case):
    def tampered(self, opt, words, status=4, station="beta", position=1, module=NO_MODULE, **more):
        layout = self.layout(opt, sample_at(0) if position else None, name="case")
        pin = None if module == NO_MODULE else more.pop("pin", "tt-throw-away-1234")
        result = self.refused(status, words, "pre-run", layout, station=station, module=module, pin=pin, **more)
        if module == NO_MODULE and 6 not in (status if isinstance(status, tuple) else (status,)):
            verified = self.tt("verify", layout, pin=None)
            if result.status not in (2, 9):
                self.assertEqual(verified.status, result.status, str(verified))
        return result


class Public(PreRunCase):
    """What public data can decide is decided before any token: the module named here does not exist."""

    def test_the_honest_twins(self):
        for position, station in enumerate(STOPS):
            with self.subTest(position=position):
                layout = self.layout_at(position)
                self.good("verify", layout)
                # Everything public holds: only then is the module missed.
                self.refused(6, [NO_MODULE], "pre-run", layout, station=station, module=NO_MODULE)
                self.good("pre-run", layout, station=station)

    def test_flipped_bits_in_the_configuration(self):
        members = [(("hash",), "signature"), (("signature",), "signature"), (("build", "signature"), "build"),
                   (("result_hash",), "result"), (("result_signature",), "result"), (("session_id",), "digest"),
                   (("route", 0, "signature", "digest"), "alpha"), (("route", 0, "signature", "signature"), "alpha")]
        for steps, word in members:
            for place in (0, 20, -1):
                with self.subTest(member=steps, byte=place):
                    self.tampered(edited(sample_at(1), *steps, lambda text: flipped(text, place)), [word])

    def test_signatures_of_the_wrong_kind(self):
        opt, config, alpha = sample_at(1), config_of(sample_at(1)), pool_key("alpha")
        digest, result_hash = (bytes.fromhex(text) for text in
                               (config["route"][0]["signature"]["digest"], config["result_hash"]))
        definition_hash = bytes.fromhex(config["hash"])
        bad = {
            "salt of 64 bytes": (("result_signature",), pht.sign_pss(alpha, result_hash, 64)),
            "no salt": (("route", 0, "signature", "signature"), pht.sign_pss(alpha, digest, 0)),
            "PKCS#1 instead of PSS": (("result_signature",), pht.sign_pkcs1(alpha, result_hash)),
            "by another key": (("result_signature",), pht.sign_pss(pool_key("beta"), result_hash)),
            "PSS instead of PKCS#1": (("signature",), pht.sign_pss(pool_key("creator"), definition_hash)),
            "empty": (("result_signature",), b""),
            "one byte short": (("signature",), bytes.fromhex(config["signature"])[:-1]),
            "one byte long": (("signature",), bytes.fromhex(config["signature"]) + b"\0"),
            "a zero in front": (("result_signature",), b"\0" + bytes.fromhex(config["result_signature"])),
        }
        for name, (steps, signature) in bad.items():
            with self.subTest(signature=name):
                self.tampered(edited(opt, *steps, signature.hex()), [], (3, 4))

    def test_keys_swapped(self):
        for steps in (("creator", "rsa_public_key"), ("build", "rsa_public_key"), ("route", 0, "rsa_public_key")):
            with self.subTest(member=steps):
                self.tampered(edited(sample_at(1), *steps, pht.public_pem(pool_key("outsider")).hex()), [])

    def test_creator_id_changed_shows_with_the_hash(self):
        # Part of the definition hash, which only a key holder can recompute.
        self.tampered(edited(sample_at(1), "creator", "id", "researcher-2"), ["hash"], module=True)

    def test_attack_4_results_signatures_removed(self):
        opt = sample_at(1)
        for name in ("result_hash", "result_signature"):
            self.tampered(edited(opt, name, None), [])
            self.tampered(edited(opt, name, drop=True), [])
        self.tampered(edited(opt, "route", 0, "signature", None), [])
        alone = edited(edited(opt, "result_hash", None), "result_signature", None)
        self.tampered(alone, [])
        bare = edited(alone, "route", 0, "signature", None)
        self.tampered(bare, ["alpha"], 9)
        # Back at the first station it would be a first stop with results already there.
        self.tampered(bare, ["pht_results"], 4, station="alpha")

    def test_results_before_the_first_stop(self):
        self.tampered(put(sample_at(0), fs.file("opt/pht_results/x", bytes(32))), ["pht_results"], station="alpha",
                      position=0)

    def test_attack_5_signatures_of_another_train_or_run(self):
        mine = sample_at(1)
        others = {"another train": after_alpha(OTHER_SESSION),
                  "an older run": after_alpha(results=[fs.file("opt/pht_results/alpha.csv", b"old")])}
        whole = [("route", 0, "signature"), ("result_hash",), ("result_signature",)]
        for name, other in others.items():
            for members in (whole[:1], whole[1:]):
                with self.subTest(other=name, members=members):
                    self.tampered(transplanted(mine, other, *members), [])
        with self.subTest("all three of another train"):
            self.tampered(transplanted(mine, others["another train"], *whole), ["digest"])
        with self.subTest("all three of an older run: only the hash of the results tells"):
            self.tampered(transplanted(mine, others["an older run"], *whole), ["results"], module=True)

    def test_signatures_out_of_order(self):
        two = sample_at(2)
        signature = config_of(two)["route"][0]["signature"]
        for name, opt in {"a gap": edited(two, "route", 0, "signature", None),
                          "one ahead": edited(sample_at(1), "route", 2, "signature", signature),
                          "one ahead at the start": edited(sample_at(0), "route", 1, "signature", signature)}.items():
            with self.subTest(name):
                self.tampered(opt, [], (4, 9), station="gamma")

    def test_digests_of_earlier_stops(self):
        two = sample_at(2)
        first = config_of(after_alpha(OTHER_SESSION))["route"][0]["signature"]
        self.tampered(edited(two, "route", 0, "signature", first), ["beta"], station="gamma")

    def test_files_of_the_definition(self):
        opt, copied = sample_at(1), sample_at(1)[MAIN].content
        empty_folder = put(opt, fs.folder("opt/pht_train/more"))
        bad = {
            "7 a file added": (put(opt, fs.file("opt/pht_train/json.py", bytes(32))), "json.py"),
            "7 ciphertext copied": (put(opt, fs.file("opt/pht_train/lib/json.py", copied)), "json.py"),
            "7 a hidden file added": (put(opt, fs.file("opt/pht_train/.env", copied)), ".env"),
            "7 a query.json deeper": (put(opt, fs.file("opt/pht_train/lib/query.json", copied)), "query.json"),
            "removed": (without(opt, MAIN), "entrypoint.sh"),
            "a folder removed": (without(opt, "opt/pht_train/lib"), "lib/"),
            "renamed": (moved(opt, MAIN, "opt/pht_train/entrypoint2.sh"), "entrypoint"),
            "capitals": (moved(opt, MAIN, "opt/pht_train/Entrypoint.sh"), "ntrypoint.sh"),
            "10 a link": (put(opt, fs.symlink(MAIN, "empty.txt")), "entrypoint.sh"),
            "10 a link more": (put(opt, fs.symlink("opt/pht_train/link", "empty.txt")), "link"),
            "10 a link to a folder": (put(opt, fs.symlink("opt/pht_train/all", "lib")), "all"),
            "10 a hard link": (put(opt, fs.hardlink("opt/pht_train/lib/exact.bin", "opt/pht_train/empty.txt")),
                               "exact.bin"),
            "10 a hard link more": (put(opt, fs.hardlink("opt/pht_train/zz", MAIN)), "zz"),
            "10 a device": (put(opt, fs.Entry("opt/pht_train/null", fs.CHAR)), "null"),
            "10 a block device": (put(opt, fs.Entry("opt/pht_train/disk", fs.BLOCK)), "disk"),
            "10 a pipe": (put(opt, fs.Entry(MAIN, fs.PIPE)), "entrypoint.sh"),
            "10 query is a link": (put(opt, fs.symlink("opt/pht_train/query.json", "empty.txt")), "query.json"),
            "a file is a folder": (put(opt, fs.folder(MAIN)), "entrypoint.sh"),
            "a folder is a file": (put(without(opt, "opt/pht_train/lib"), fs.file("opt/pht_train/lib", copied)), "lib"),
            "19 the folder is a link": (put(without(opt, "opt/pht_train"), fs.symlink("opt/pht_train", "pht_results")),
                                        "pht_train"),
            "no definition": (without(opt, "opt/pht_train"), "pht_train"),
            "a file is empty": (put(opt, fs.file(MAIN, b"")), "entrypoint.sh"),
            "only an IV": (put(opt, fs.file(MAIN, copied[:16])), "entrypoint.sh"),
            "not whole blocks": (put(opt, fs.file(MAIN, copied[:-1])), "entrypoint.sh"),
            "listed but missing": (edited(opt, "file_list", lambda names: [*names, "gone.py"]), "gone.py"),
            "there but not listed": (edited(opt, "file_list", lambda names: names[1:]), "entrypoint.sh"),
        }
        for name, (changed, word) in bad.items():
            with self.subTest(name):
                self.tampered(changed, [word], 3 if name == "no definition" else 4)
        layout = self.layout(empty_folder, sample_at(0), name="case")
        self.good("pre-run", layout, station="beta")

    def test_attack_7_compiled_python_of_a_station_before(self):
        opt, copied = sample_at(1), sample_at(1)[MAIN].content
        cached = "opt/pht_train/lib/__pycache__/model.cpython-311.pyc"
        layout = self.layout(put(opt, fs.file(cached, copied)), sample_at(0))
        result = self.good("pre-run", layout, station="beta")
        self.assertIn("compiled Python", result.err)
        self.assertEqual([path for path in layout.tree() if "__pycache__" in path], [])

    def test_files_of_the_results(self):
        opt = sample_at(1)
        bad = {
            "10 a link outside": put(opt, fs.symlink("opt/pht_results/out", "../../etc/passwd")),
            "10 an absolute link outside": put(opt, fs.symlink("opt/pht_results/out", "/etc/passwd")),
            "10 a link into the definition": put(opt, fs.symlink("opt/pht_results/out", "../pht_train/empty.txt")),
            "10 a hard link outside": put(opt, fs.hardlink("opt/pht_results/out", MAIN)),
            "10 a device": put(opt, fs.Entry("opt/pht_results/out", fs.CHAR)),
            "10 a pipe": put(opt, fs.Entry("opt/pht_results/out", fs.PIPE)),
            "11 the folder is a link": put(without(opt, "opt/pht_results"), fs.symlink("opt/pht_results", "/out")),
            "the folder is a file": put(without(opt, "opt/pht_results"), fs.file("opt/pht_results", bytes(32))),
            "no whole blocks": put(opt, fs.file("opt/pht_results/out", bytes(33))),
        }
        for name, changed in bad.items():
            with self.subTest(name):
                # Of two names of one file, the first in archive order is the file; either is named.
                word = "pht_results" if "folder" in name else "hard link" if "hard" in name else "out"
                self.tampered(changed, [word])

    def test_opt_is_a_link(self):
        opt = sample_at(1)
        elsewhere = {path.replace("opt", "srv", 1): entry.with_(path=path.replace("opt", "srv", 1))
                     for path, entry in opt.items()}
        layout = self.layout({}, name="case")
        layout.push([fs.symlink("opt", "srv"), *elsewhere.values()])
        self.refused(4, ["opt"], "pre-run", layout, station="beta", module=NO_MODULE, pin=None)

    def test_wrong_stop(self):
        for position, station, words in ((0, "beta", ["alpha"]), (0, "gamma", ["alpha"]), (1, "alpha", []),
                                         (2, "alpha", []), (1, "gamma", ["beta"]), (3, "gamma", []),
                                         (1, "delta", ["alpha", "beta", "gamma"]), (1, "ALPHA", []), (1, "", [])):
            with self.subTest(position=position, station=station):
                status = 9 if station else (2, 9)
                self.tampered(sample_at(position), words, status, station=station, position=position, key="beta")


class Secret(PreRunCase):
    """What only the token's key can tell."""

    def test_the_wrapped_key(self):
        opt, config = sample_at(1), config_of(sample_at(1))
        beta, own = pool_key("beta"), bytes.fromhex(config["route"][1]["encrypted_key"])
        bad = {
            "a bit at the start": flipped(own, 1),
            "a bit in the middle": flipped(own, 100),
            "a bit at the end": flipped(own),
            "gamma's": bytes.fromhex(config["route"][2]["encrypted_key"]),
            "16 bytes wrapped": pht.wrap(beta, bytes(16)),
            "33 bytes wrapped": pht.wrap(beta, bytes(33)),
            "nothing wrapped": pht.wrap(beta, b""),
            "another key wrapped": pht.wrap(beta, bytes(32)),
            "zeros": bytes(256),
            "a number above the modulus": b"\xff" * 256,
        }
        says = {}
        for name, wrapped in bad.items():
            with self.subTest(name):
                result = self.tampered(edited(opt, "route", 1, "encrypted_key", wrapped.hex()), [], module=True)
                says[name] = result.err
        # One message for all failures of decryption: nothing tells padding from length.
        self.assertEqual(says["a bit in the middle"], says["16 bytes wrapped"])
        self.assertEqual(says["a bit in the middle"], says["gamma's"])
        for length in (255, 257, 1, 0):
            with self.subTest(bytes=length):
                self.tampered(edited(opt, "route", 1, "encrypted_key", (own + own)[:length].hex()), [], (3, 4),
                              module=True)

    def test_flipped_bits_in_files(self):
        opt = sample_at(1)
        says = set()
        for path, entry in opt.items():
            if entry.kind != fs.FILE or path in (pht.CONFIG, pht.KEY_FILE):
                continue
            for name, place in {"IV": 3, "middle": len(entry.content) // 2, "last block": -1}.items():
                with self.subTest(path=path, place=name):
                    changed = put(opt, entry.with_(content=flipped(entry.content, place, 16)))
                    says.add(self.tampered(changed, [], module=True).err)
        # One message for the definition, one for the results: nothing tells which file or byte it was, or why.
        self.assertEqual(len(says), 2, says)

    def test_blocks_removed_or_added(self):
        opt = sample_at(1)
        for path in ("opt/pht_train/lib/model.bin", "opt/pht_results/plots/alpha.bin"):
            content = opt[path].content
            for name, changed in {"last block": content[:-16], "first block": content[16:],
                                  "doubled": content + content[-16:]}.items():
                with self.subTest(path=path, change=name):
                    self.tampered(put(opt, opt[path].with_(content=changed)), [], module=True)

    def test_definition(self):
        opt = sample_at(1)
        one, two = opt[MAIN], opt["opt/pht_train/lib/model.bin"]
        secret = pht.open_train(opt, pool_key("beta")).secret
        bad = {
            "contents swapped": put(opt, one.with_(content=two.content), two.with_(content=one.content)),
            "file_list reordered": edited(opt, "file_list", lambda names: names[::-1]),
            "query removed": without(opt, "opt/pht_train/query.json"),
            "query is a folder": put(opt, fs.folder("opt/pht_train/query.json")),
            "query changed": put(opt, fs.file("opt/pht_train/query.json", pht.encrypt(secret, b"{}"))),
            "query is a copy": put(opt, fs.file("opt/pht_train/query.json", one.content)),
            "code changed by who knows the key": put(opt, one.with_(content=pht.encrypt(secret, b"#!/bin/sh\n"))),
        }
        for name, changed in bad.items():
            with self.subTest(name):
                self.tampered(changed, [], module=True)

    def test_results(self):
        opt = sample_at(1)
        one, two = opt["opt/pht_results/alpha.csv"], opt["opt/pht_results/plots/alpha.bin"]
        secret = pht.open_train(opt, pool_key("beta")).secret
        bad = {
            "contents swapped": put(opt, one.with_(content=two.content), two.with_(content=one.content)),
            "one removed": without(opt, one.path),
            "all removed": without(opt, "opt/pht_results"),
            "one added": put(opt, fs.file("opt/pht_results/new.csv", pht.encrypt(secret, b"1,2"))),
            "a copy added": put(opt, one.with_(path="opt/pht_results/copy.csv")),
            "renamed past another": moved(opt, one.path, "opt/pht_results/z.csv"),
            "turned into a link": put(opt, fs.symlink(one.path, "plots/alpha.bin")),
            "turned into a hard link": put(opt, fs.hardlink(two.path, one.path)),
        }
        for name, changed in bad.items():
            with self.subTest(name):
                self.tampered(changed, ["results"], module=True)

    def test_session_id_of_a_train_before_its_first_stop(self):
        opt = edited(sample_at(0), "session_id", lambda text: flipped(text))
        self.tampered(opt, [], station="alpha", position=0, module=True)

    def test_a_query_added_to_a_train_without(self):
        opt = sample(query=None, secret=bytes(32))
        honest = self.layout(opt)
        self.good("pre-run", honest, station="alpha")
        opt = put(opt, fs.file("opt/pht_train/query.json", pht.encrypt(bytes(32), b"{}")))
        self.tampered(opt, [], station="alpha", position=0, module=True)


class Large(Case):
    """Blobs of more than 256 MiB are checked beside the decryption: after the token was asked, before all else."""

    def test_a_damaged_blob(self):
        system = oci.Layer([fs.file("usr/share/big", bytes(257 << 20))])
        layout = self.layout(sample_at(0), system=system)
        big = layout.layers_of("latest")[0][0]["digest"]
        with open(layout.blob_path(big), "r+b") as stream:
            stream.seek(128 << 20)
            stream.write(b"1")
        self.refused(6, [], "pre-run", layout, station="alpha", module=NO_MODULE)
        self.refused(4, [big], "pre-run", layout, station="alpha")
        self.assert_no_plaintext(layout)
        self.refused(4, [big], "verify", layout)
        with open(layout.blob_path(big), "r+b") as stream:
            stream.seek(128 << 20)
            stream.write(b"\0")
        self.good("pre-run", layout, station="alpha")


class PostRunCase(Case):
    """Between pre-run and post-run the train's own code may do anything to the image."""

    def setUp(self):
        super().setUp()
        self.ready = self.layout_at(1, name="ready")
        self.good("pre-run", self.ready, station="beta")

    def executed(self, entries):
        shutil.rmtree(f"{self.work}/case", True)
        layout = oci.copy_layout(self.ready, f"{self.work}/case")
        layout.push([*results_of("beta"), *entries])
        return layout

    def tampered(self, entries, words, status=4):
        layout = self.executed(entries)
        self.refused(status, words, "post-run", layout, station="beta", module=NO_MODULE, pin=None)
        return layout


class PostRun(PostRunCase):
    def test_attack_3_configuration_changed(self):
        opt = self.ready.tree("latest")
        text = opt[pht.CONFIG].content
        outsider = pht.public_pem(pool_key("outsider")).hex()
        recipient = {"station": "thief", "eco_system": "tue", "rsa_public_key": outsider, "index": 3,
                     "signature": None, "encrypted_key": None}
        bad = {
            "a space": [fs.file(pht.CONFIG, text + b" ")],
            "a recipient": [edited(opt, "route", lambda route: [*route, recipient])[pht.CONFIG]],
            "a key swapped": [edited(opt, "creator", "rsa_public_key", outsider)[pht.CONFIG]],
            "formatted anew": [fs.file(pht.CONFIG, pht.dump_config(pht.load_config(text), "compact"))],
            "removed": [oci.whiteout(pht.CONFIG)],
            "not JSON": [fs.file(pht.CONFIG, b"{")],
            "a link": [fs.file("opt/copy.json", text), fs.symlink(pht.CONFIG, "copy.json")],
            "a folder": [oci.whiteout(pht.CONFIG), fs.folder(pht.CONFIG)],
        }
        for name, entries in bad.items():
            with self.subTest(name):
                self.tampered(entries, ["train_config.json"], (3, 4) if name in ("removed", "not JSON") else 4)

    def test_definition_changed(self):
        plain = self.ready.tree("latest")[MAIN].content
        bad = {
            "content": ([fs.file(MAIN, b"#!/bin/sh\n", 0o755)], "entrypoint.sh"),
            "one bit": ([fs.file(MAIN, flipped(plain), 0o755)], "definition"),
            "a file added": ([fs.file("opt/pht_train/json.py", b"")], "json.py"),
            "a file removed": ([oci.whiteout(MAIN)], "entrypoint.sh"),
            "emptied": ([oci.opaque("opt/pht_train")], "pht_train"),
            "a link": ([fs.symlink(MAIN, "empty.txt")], "entrypoint.sh"),
            "a link more": ([fs.symlink("opt/pht_train/x", "empty.txt")], "opt/pht_train/x"),
            "a pipe more": ([fs.Entry("opt/pht_train/x", fs.PIPE)], "opt/pht_train/x"),
            "query": ([fs.file("opt/pht_train/query.json", b"{}")], "definition"),
            "query removed": ([oci.whiteout("opt/pht_train/query.json")], "definition"),
            "the folder is a link": ([fs.symlink("opt/pht_train", "/srv")], "pht_train"),
        }
        for name, (entries, word) in bad.items():
            with self.subTest(name):
                self.tampered(entries, [word] if name not in ("content",) else [])

    def test_attack_11_results_folder_replaced(self):
        for name, entries in {
                "a link": [fs.folder("tmp/out"), fs.file("tmp/out/x", b"1"), fs.symlink("opt/pht_results", "/tmp/out")],
                "a file": [oci.whiteout("opt/pht_results"), fs.file("opt/pht_results", b"1")],
                "opt is a link": [fs.symlink("opt", "/srv")]}.items():
            with self.subTest(name):
                shutil.rmtree(f"{self.work}/case", True)
                layout = oci.copy_layout(self.ready, f"{self.work}/case")
                layout.push(entries)
                self.refused(4, ["opt"], "post-run", layout, station="beta", module=NO_MODULE, pin=None)

    def test_attack_10_special_files_in_results(self):
        bad = {
            "a link outside": fs.symlink("opt/pht_results/out", "../../etc/passwd"),
            "an absolute link": fs.symlink("opt/pht_results/out", "/etc/passwd"),
            "into the definition": fs.symlink("opt/pht_results/out", "../pht_train/empty.txt"),
            "out through a folder": fs.symlink("opt/pht_results/plots/out", "../../x"),
            "a link of many dots": fs.symlink("opt/pht_results/out", "plots/../../pht_results/../x"),
            "a prefix-alike folder": fs.symlink("opt/pht_results/out", "../pht_results.so/x"),
            "a hard link outside": fs.hardlink("opt/pht_results/out", "etc/passwd"),
            "a hard link to the configuration": fs.hardlink("opt/pht_results/out", pht.CONFIG),
            "a device": fs.Entry("opt/pht_results/out", fs.CHAR),
            "a block device": fs.Entry("opt/pht_results/out", fs.BLOCK),
            "a pipe": fs.Entry("opt/pht_results/out", fs.PIPE),
            "a link to itself": fs.symlink("opt/pht_results/out", "out"),
        }
        for name, entry in bad.items():
            with self.subTest(name):
                self.tampered([entry], ["hard link" if entry.kind == fs.HARDLINK else "out"])

    def test_links_inside_the_results_pass(self):
        links = [fs.symlink("opt/pht_results/plots/up", "../beta.csv"), fs.symlink("opt/pht_results/dir", "plots"),
                 fs.symlink("opt/pht_results/dangling", "nowhere"),
                 fs.hardlink("opt/pht_results/twin.csv", "opt/pht_results/beta.csv")]
        layout = self.executed(links)
        self.good("post-run", layout, station="beta")
        after = layout.tree("latest")
        for link in links:
            self.assertEqual((after[link.path].kind, after[link.path].target), (link.kind, link.target))
        opened = self.open(layout, pool_key("gamma"))
        self.assertNotIn("twin.csv", opened.results)
        self.good("pre-run", layout, station="gamma")

    def test_attack_12_nothing_else_rides_along(self):
        extra = [fs.file("opt/exfil.csv", b"patients"), fs.file("opt/pht_results.so/x", b"patients"),
                 fs.file("opt/pht_train.so", b"patients"), fs.folder("srv"), fs.file("srv/exfil.csv", b"patients"),
                 fs.file("etc/passwd", b"changed"), oci.whiteout("usr/lib/libc.so"),
                 fs.file("opt/user_sym_key.key", b"other")]
        layout = self.executed(extra)
        base = layout.tree("base")
        self.good("post-run", layout, station="beta")
        after = layout.tree("latest")
        self.assert_no_plaintext(layout, b"patients")
        outside = {path: entry for path, entry in after.items() if not path.startswith("opt")}
        self.assert_same_files(outside, {path: entry for path, entry in base.items() if not path.startswith("opt")})
        self.assertEqual([path for path in after if path.startswith("opt/") and path.count("/") == 1],
                         ["opt/pht_results", "opt/pht_train", "opt/train_config.json", "opt/user_sym_key.key"])
        self.assertEqual(after["opt/user_sym_key.key"].content.hex(), config_of(after)["creator"]["encrypted_key"])

    def test_attack_7_compiled_python_of_this_run(self):
        layout = self.executed([fs.file("opt/pht_train/lib/__pycache__/model.cpython-311.pyc", b"compiled")])
        self.good("post-run", layout, station="beta")
        self.assertEqual([path for path in layout.tree() if "__pycache__" in path], [])
        self.assert_no_plaintext(layout, b"compiled")

    def test_stray_files_in_the_base(self):
        layout = self.executed([])
        layout.push([fs.file("opt/pht_train/stray.py", b"1"), fs.file("opt/pht_results/stray.csv", b"1"),
                     fs.symlink("opt/pht_train/lib", "/srv")], on="base", tag="base")
        self.good("post-run", layout, station="beta")
        after = layout.tree("latest")
        self.assertEqual([path for path in after if "stray" in path], [])
        self.assertEqual(self.open(layout, pool_key("creator")).position, 2)

    def test_the_image_configuration_is_the_bases(self):
        layout = self.executed([])
        changed = layout.config("latest")["config"] | {"Entrypoint": ["/bin/evil"], "Env": ["LD_PRELOAD=/evil.so"]}
        layout.tag("latest", layout.image(layout.layers_of("latest"), {"config": changed}))
        before = layout.config("base")["config"]
        self.good("post-run", layout, station="beta")
        self.assertEqual(layout.config("latest")["config"], before)

    def test_records_tell_whose_turn_it_is(self):
        layout = self.executed([])
        # Another station, or a station without memory, never let this train in.
        self.refused(9, [], "post-run", layout, station="alpha", module=NO_MODULE)
        self.refused(9, [], "post-run", layout, station="gamma", module=NO_MODULE)
        self.refused(9, ["--config"], "post-run", layout, station="beta", module=NO_MODULE,
                     env={"TRAINTOKEN_STATE": f"{self.home}/other"}, untouched=[])
        self.refused(9, [], "pre-run", layout, station="beta", module=NO_MODULE)
        self.good("post-run", layout, station="beta")
        self.refused(9, [], "post-run", layout, station="beta", module=NO_MODULE)
        self.refused(9, [], "pre-run", layout, station="beta", module=NO_MODULE)

    def test_post_run_before_the_code_ran_twice(self):
        layout = self.executed([])
        kept = oci.copy_layout(layout, f"{self.work}/kept")
        self.good("post-run", layout, station="beta")
        self.refused(9, ["--again"], "post-run", kept, station="beta", module=NO_MODULE)
        self.good("post-run", "--again", kept, station="beta")
        self.assertEqual(self.open(kept, pool_key("gamma")).position, 2)

    def test_config_given_by_hand(self):
        layout = self.executed([])
        path = f"{self.work}/config.json"
        elsewhere = {"TRAINTOKEN_STATE": f"{self.work}/other-state"}
        text = layout.tree("latest")[pht.CONFIG].content
        for name, content, status in (("other", text + b" ", 4), ("not JSON", b"{", 3), ("none", None, (2, 8))):
            with self.subTest(name):
                if content is not None:
                    with open(path, "wb") as stream:
                        stream.write(content)
                else:
                    os.remove(path)
                self.refused(status, [], "post-run", "--config", path, layout, station="beta", module=NO_MODULE,
                             env=elsewhere)
        with open(path, "wb") as stream:
            stream.write(text)
        self.good("post-run", "--config", path, layout, station="beta", env=elsewhere)
        self.assertEqual(self.open(layout, pool_key("gamma")).position, 2)

    def test_no_base(self):
        layout = self.executed([])
        layout.write_index([entry for entry in layout.index()["manifests"] if
                            entry["annotations"][oci.TAG] != "base"])
        self.refused(8, ["base"], "post-run", layout, station="beta", module=NO_MODULE)
        other = self.layout_at(0, name="elsewhere")
        self.good("post-run", "--base", f"oci:{other.path}:base", layout, station="beta")
        self.assertEqual(self.open(layout, pool_key("gamma")).position, 2)


class Again(Case):
    def test_attack_6_an_older_state_put_back(self):
        layout = self.layout_at(0)
        old = oci.copy_layout(layout, f"{self.work}/old")
        self.good("pre-run", layout, station="alpha")
        self.run_code(layout, "alpha")
        self.good("post-run", layout, station="alpha")
        self.refused(9, ["--again"], "pre-run", old, station="alpha", module=NO_MODULE, pin=None)
        # The same when post-run was killed before it noted that it was done.
        record = f"{self.state}/trains/{config_of(sample_at(0))['session_id']}/alpha.json"
        with open(record, encoding="utf-8") as stream:
            text = stream.read()
        with open(record, "w", encoding="utf-8") as stream:
            stream.write(re.sub(r'("phase":\s*)"done"', r'\1"leaving"', text))
        self.refused(9, ["--again"], "pre-run", old, station="alpha", module=NO_MODULE, pin=None)
        self.good("pre-run", "--again", old, station="alpha")
        self.run_code(old, "alpha")
        self.good("post-run", old, station="alpha")

    def test_pre_run_twice_of_a_stop_that_never_ended(self):
        # The station's container host lost the image: the registry's copy comes again.
        layout = self.layout_at(0)
        fresh = oci.copy_layout(layout, f"{self.work}/fresh")
        self.good("pre-run", layout, station="alpha")
        self.refused(9, [], "pre-run", layout, station="alpha", module=NO_MODULE)
        self.good("pre-run", fresh, station="alpha")
        self.run_code(fresh, "alpha")
        self.good("post-run", fresh, station="alpha")
        self.assertEqual(self.open(fresh, pool_key("beta")).position, 1)

    def test_records_are_private(self):
        layout = self.layout_at(0)
        self.good("pre-run", layout, station="alpha")
        modes = {}
        for root, folders, names in os.walk(self.state):
            for name in [*folders, *names]:
                modes[os.path.relpath(f"{root}/{name}", self.state)] = os.stat(f"{root}/{name}").st_mode & 0o7777
        session = config_of(sample_at(0))["session_id"]
        self.assertEqual(modes[f"trains/{session}/alpha.json"], 0o600)
        self.assertEqual({mode & 0o077 for mode in modes.values()}, {0}, modes)

    def test_a_broken_record_is_said(self):
        layout = self.layout_at(0)
        self.good("pre-run", layout, station="alpha")
        self.run_code(layout, "alpha")
        record = f"{self.state}/trains/{config_of(sample_at(0))['session_id']}/alpha.json"
        with open(record, "rb") as stream:
            good = stream.read()
        for name, text in {"empty": b"", "cut": good[:-10], "not an object": b"[]", "binary": bytes(100)}.items():
            with self.subTest(name):
                with open(record, "wb") as stream:
                    stream.write(text)
                self.refused(8, ["alpha.json"], "post-run", layout, station="alpha", module=NO_MODULE)
        with open(record, "wb") as stream:
            stream.write(good)
        self.good("post-run", layout, station="alpha")


class Untrusted(Case):
    def test_attack_2_our_key_swapped(self):
        """The train names another key for our stop than the token holds: [5], naming both, without a PIN."""
        opt = edited(sample_at(0), "route", 0, "rsa_public_key", pht.public_pem(pool_key("outsider")).hex())
        layout = self.layout(opt)
        result = self.refused(5, ["SHA256:"], "pre-run", layout, station="alpha", pin=None)
        self.assertEqual(result.err.count("SHA256:"), 2, str(result))

    def test_a_definition_for_the_twin(self):
        layout = self.layout(sample(definition=DEFINITION))
        self.good("pre-run", layout, station="alpha")


if __name__ == "__main__":
    unittest.main()
