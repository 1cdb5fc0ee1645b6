"""Every malformation of train_config.json: [3], naming the member, before any token is looked for."""

import json
import unittest

from support import files as fs
from support import pht
from support.station import POOL, SANITIZED, Case, edited, pool_key, sample_at, with_config

NO_MODULE = "/nonexistent/module.so"

REQUIRED = [
    ("session_id",), ("hash",), ("signature",), ("file_list",), ("route",), ("creator",), ("creator", "id"),
    ("creator", "rsa_public_key"), ("build",), ("build", "signature"), ("build", "rsa_public_key"),
    ("route", 0, "station"), ("route", 1, "index"), ("route", 2, "rsa_public_key"),
    ("route", 0, "signature", "digest"), ("route", 0, "signature", "signature"),
]

WRONG_TYPES = {
    "text": [("session_id",), ("hash",), ("signature",), ("creator", "rsa_public_key"), ("build", "signature"),
             ("build", "rsa_public_key"), ("route", 2, "rsa_public_key"), ("result_hash",), ("result_signature",),
             ("route", 1, "encrypted_key"), ("route", 0, "signature", "digest"),
             ("route", 0, "signature", "signature"), ("creator", "encrypted_key")],
    "object": [("creator",), ("build",), ("route", 0), ("route", 0, "signature")],
    "list": [("route",), ("file_list",)],
    "id": [("creator", "id"), ("route", 0, "station")],
    "number": [("route", 0, "index")],
}
WRONG = {
    "text": [5, True, ["a"], {"a": 1}],
    "object": [5, True, ["a"], "text"],
    "list": [5, True, {"a": 1}, "text"],
    "id": [True, ["a"], {"a": 1}, 1.5],
    "number": [True, "0", [0], {"a": 1}, 0.5, -1, 1e300, 2**63, 1000000],
}

HEX = [("session_id",), ("hash",), ("signature",), ("result_hash",), ("result_signature",), ("build", "signature"),
       ("creator", "rsa_public_key"), ("route", 2, "rsa_public_key"), ("route", 1, "encrypted_key"),
       ("route", 0, "signature", "digest"), ("route", 0, "signature", "signature")]
SIZED = [("session_id",), ("hash",), ("result_hash",), ("route", 0, "signature", "digest")]


def name_of(steps):
    """As messages name a member: route[0].signature.digest."""
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


class ConfigCase(Case):
    def good_train(self):
        return sample_at(1)

    def malformed(self, opt, words, status=3):
        layout = self.layout(opt, sample_at(0), name="case")
        self.refused(status, words, "verify", layout, pin=None)
        self.refused(status, words, "pre-run", layout, station="beta", module=NO_MODULE, pin=None)


class Members(ConfigCase):
    def test_the_honest_twin(self):
        layout = self.layout(self.good_train(), sample_at(0))
        self.good("verify", layout)
        self.good("pre-run", layout, station="beta")

    def test_missing(self):
        for steps in REQUIRED:
            with self.subTest(member=name_of(steps)):
                self.malformed(edited(self.good_train(), *steps, drop=True), [name_of(steps)])

    def test_null(self):
        for steps in REQUIRED:
            with self.subTest(member=name_of(steps)):
                self.malformed(edited(self.good_train(), *steps, None), [name_of(steps)])

    def test_wrong_type(self):
        for kind, members in WRONG_TYPES.items():
            for steps in members:
                for value in WRONG[kind]:
                    with self.subTest(member=name_of(steps), value=value):
                        self.malformed(edited(self.good_train(), *steps, value), [name_of(steps)])

    def test_file_list(self):
        for value in (5, None, ["a"], "", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".", "..", "a/./b", "./",
                      "x" * 1100, "a\nb", "a\x7fb"):
            with self.subTest(value=value):
                self.malformed(edited(self.good_train(), "file_list", 1, value), ["file_list[1]"])

    def test_file_twice(self):
        opt = edited(self.good_train(), "file_list", lambda names: [*names, "./" + names[0]])
        self.malformed(opt, ["file_list"])

    def test_bad_hex(self):
        for steps in HEX:
            for change in (lambda text: text[:-1], lambda text: text[:-1] + "g", lambda text: "0x" + text[2:],
                           lambda text: " " + text[1:], lambda text: text[:10] + "\u0660" + text[11:]):
                with self.subTest(member=name_of(steps)):
                    self.malformed(edited(self.good_train(), *steps, change), [name_of(steps)])

    def test_wrong_length(self):
        for steps in SIZED:
            for change in (lambda text: text[:-2], lambda text: text + "00", lambda text: ""):
                with self.subTest(member=name_of(steps)):
                    self.malformed(edited(self.good_train(), *steps, change), [name_of(steps)])

    def test_signatures_too_long(self):
        for steps in (("signature",), ("result_signature",), ("build", "signature"), ("route", 1, "encrypted_key"),
                      ("route", 0, "signature", "signature")):
            with self.subTest(member=name_of(steps)):
                self.malformed(edited(self.good_train(), *steps, "ab" * 1025), [name_of(steps)])

    def test_keys(self):
        pem = pht.public_pem(pool_key("alpha"))
        bad = {
            "RSA-1024": pht.public_pem(pool_key("short")),
            "not RSA": pht.public_pem(pool_key("curve")),
            "not PEM": b"ssh-rsa AAAA",
            "empty": b"",
            "cut": pem[:200],
            "broken base64": pem.replace(b"A", b"*", 3),
            "a private key": (POOL / "throwaway-outsider.pem").read_bytes(),
            "huge": pem + b"\n" * 20000,
        }
        for steps, owner in ((("creator", "rsa_public_key"), "creator"), (("build", "rsa_public_key"), "build"),
                             (("route", 2, "rsa_public_key"), "2")):
            for name, text in bad.items():
                with self.subTest(member=name_of(steps), key=name):
                    self.malformed(edited(self.good_train(), *steps, text.hex()), ["rsa_public_key", owner])


class Route(ConfigCase):
    def test_indices(self):
        for indices in ((1, 2, 3), (0, 1, 3), (0, 1, 1), (0, 0, 1), (2, 2, 2), (0, 2, 3), (0, 1, -1)):
            with self.subTest(indices=indices):
                opt = self.good_train()
                for place, index in enumerate(indices):
                    opt = edited(opt, "route", place, "index", index)
                self.malformed(opt, ["index"])

    def test_a_station_twice(self):
        for first, second in (("alpha", "alpha"), (7, "7"), ("7", 7), (7, 7)):
            with self.subTest(stations=(first, second)):
                opt = edited(self.good_train(), "route", 0, "station", first)
                self.malformed(edited(opt, "route", 2, "station", second), ["station", str(first)])

    def test_no_stops(self):
        self.malformed(edited(self.good_train(), "route", []), ["route"])

    def test_too_many_stops(self):
        config = pht.load_config(self.good_train()[pht.CONFIG].content)
        stop = config["route"][2]
        config["route"] = config["route"] + [{**stop, "station": f"s{place}", "index": place}
                                             for place in range(3, 1002)]
        self.malformed(with_config(self.good_train(), pht.dump_config(config, "compact")), ["route"])


class Text(ConfigCase):
    def changed(self, change):
        opt = self.good_train()
        return with_config(opt, change(opt[pht.CONFIG].content))

    def test_not_json(self):
        bad = {
            "empty": lambda text: b"",
            "cut": lambda text: text[:-1],
            "cut in the middle": lambda text: text[: len(text) // 2],
            "more after it": lambda text: text + b"{}",
            "a list": lambda text: b"[" + text + b"]",
            "a number": lambda text: b"5",
            "null": lambda text: b"null",
            "not UTF-8": lambda text: text.replace(b"train", b"tr\xffin", 1),
            "overlong UTF-8": lambda text: text.replace(b"train", b"tr\xc0\xafin", 1),
            "a surrogate in UTF-8": lambda text: text.replace(b"train", b"tr\xed\xa0\x80in", 1),
            "half a surrogate pair": lambda text: text.replace(b"train", b"tr\\ud800in", 1),
            "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
            "UTF-16": lambda text: text.decode().encode("utf-16"),
            "a NUL": lambda text: text.replace(b"train", b"tr\0in", 1),
            "an escaped NUL": lambda text: text.replace(b'"tue"', b'"t\\u0000e"', 1),
            "an escaped NUL in a name": lambda text: text.replace(b"{", b'{"x\\u0000y": 1,', 1),
            "a NUL after it": lambda text: text + b"\0",
            "a control character": lambda text: text.replace(b'"tue"', b'"t\te"', 1),
            "a comment": lambda text: text.replace(b"{", b"{ // train\n", 1),
            "a comma too many": lambda text: text.replace(b"\n}", b",\n}"),
            "an unknown escape": lambda text: text.replace(b'"tue"', b'"t\\xe"', 1),
            "a leading zero": lambda text: text.replace(b'"proposal_id": 1', b'"proposal_id": 01', 1),
            "not a number": lambda text: text.replace(b'"proposal_id": 1', b'"proposal_id": NaN', 1),
            "single quotes": lambda text: text.replace(b'"tue"', b"'tue'", 1),
        }
        for name, change in bad.items():
            with self.subTest(text=name):
                self.malformed(self.changed(change), ["train_config.json"])

    def test_a_member_twice(self):
        for member, extra in (("hash", b'"hash": "00", '), ("hash", b'"h\\u0061sh": "00", '),
                              ("zz", b'"zz": 1, "zz": 1, ')):
            with self.subTest(extra=extra):
                self.malformed(self.changed(lambda text: text.replace(b"{", b"{" + extra, 1)), [member])
        nested = b'"eco_system": "tue", "station": "alpha",'
        self.malformed(self.changed(lambda text: text.replace(b'"eco_system": "tue",', nested, 1)), ["station"])
        deep = b'{"aa": [{"bb": {"cc": 1, "cc": 2}}], '
        self.malformed(self.changed(lambda text: text.replace(b"{", deep, 1)), ["cc"])

    def test_nested_deep(self):
        for depth in (100, 10_000, 500_000):
            for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
                with self.subTest(depth=depth, opening=opening):
                    nest = opening * depth + b"1" + closing * depth
                    self.malformed(self.changed(lambda text: text.replace(b"{", b'{"zz": ' + nest + b",", 1)),
                                   ["train_config.json"])

    def test_100_mib(self):
        opt = self.changed(lambda text: text + b" " * (100 << 20))
        layout = self.layout(opt, sample_at(0), name="case")
        self.refused(3, ["train_config.json"], "pre-run", layout, station="beta", module=NO_MODULE)
        if not SANITIZED:
            argv = self.arguments("verify", layout)
            self.assertLess(self.peak(argv, 3), 32 * 1024, "KiB of memory")

    def test_a_million_values(self):
        self.malformed(self.changed(lambda text: text.replace(b"{", b'{"zz": [' + b"0," * 1_000_000 + b"0],", 1)),
                       ["train_config.json"])

    def test_honest_oddities_pass(self):
        good = {
            "compact": lambda text: json.dumps(json.loads(text), separators=(",", ":")).encode(),
            "white space": lambda text: text.replace(b"\n", b"\r\n\t") + b" \n",
            "nested a little": lambda text: text.replace(b"{", b'{"zz": ' + b"[" * 40 + b"]" * 40 + b",", 1),
            "escaped member": lambda text: text.replace(b'"hash"', b'"h\\u0061sh"', 1),
            "other planes": lambda text: text.replace(b'"tue"', '"\U0001f682"'.encode(), 1)
                                             .replace(b'"tue"', b'"\\ud83d\\ude82"', 1),
        }
        for name, change in good.items():
            with self.subTest(text=name):
                layout = self.layout(self.changed(change), sample_at(0), name="case")
                self.good("verify", layout)
                self.good("inspect", layout)

    def test_members_that_may_be_missing(self):
        for steps in (("@id",), ("@context",), ("source",), ("proposal_id",), ("source", "branch"),
                      ("creator", "paillier_public_key"), ("route", 2, "encrypted_key"), ("route", 0, "eco_system")):
            for drop in (True, False):
                with self.subTest(member=name_of(steps), missing=drop):
                    opt = self.good_train()
                    opt = edited(opt, *steps, drop=True) if drop else edited(opt, *steps, None)
                    layout = self.layout(opt, sample_at(0), name="case")
                    self.good("verify", layout)
                    self.good("inspect", "--json", layout)
                    self.good("inspect", layout)


class NotATrain(ConfigCase):
    def test_no_configuration(self):
        opt = self.good_train()
        without = {path: entry for path, entry in opt.items() if path != pht.CONFIG}
        self.malformed(without, ["train_config.json"])
        self.malformed({}, ["train_config.json"])

    def test_it_is_something_else(self):
        for entry in (fs.folder(pht.CONFIG), fs.symlink(pht.CONFIG, "user_sym_key.key"),
                      fs.symlink(pht.CONFIG, "/etc/passwd"), fs.Entry(pht.CONFIG, fs.PIPE)):
            with self.subTest(kind=entry.kind):
                self.malformed(self.good_train() | {pht.CONFIG: entry}, ["train_config.json"], (3, 4))

    def test_our_stop_has_no_key(self):
        layout = self.layout(edited(self.good_train(), "route", 1, "encrypted_key", None), sample_at(0))
        self.refused((3, 4), ["encrypted_key"], "pre-run", layout, station="beta", module=NO_MODULE, pin=None)


if __name__ == "__main__":
    unittest.main()
