"""Signed manifests (docs/protocol.md, section 13) from outside: made and checked by the program and by an independent
implementation, and every way to break, move or take away one. Rows 8 and 9 of docs/threat-model.md are here."""

import base64
import copy
import functools
import os
import unittest

from support import files as fs
from support import manifest, oci, pht
from support.station import MARKER, STOPS, Case, edited, flipped, pool_key, results_of, sample, with_config

NO_MODULE = "/nonexistent/module.so"
LAYERS = [oci.SYSTEM.diff_id]
# Two files of one size, two of another, and one that others' bytes can go to.
DEFINITION = {
    "entrypoint.sh": fs.file("", b"#!/bin/sh\n# " + MARKER + b"\nexit 0\n", 0o755),
    "lib/a.py": b"print('a')\n",
    "lib/b.py": b"print('b')\n",
    "lib/c.py": b"print('a longer one')\n",
}


def results(station):
    return [*results_of(station), fs.file("opt/pht_results/one.csv", b"1,2,3\n"),
            fs.file("opt/pht_results/oo.csv", b"4,5,6\n")]


@functools.cache
def _signed_at(position, session_id=bytes(range(64)), ran=results):
    """The sample train with manifests, all of it made in Python."""
    opt = manifest.seal(sample(definition=DEFINITION, session_id=session_id), pool_key("creator"),
                        pool_key("alpha"))
    start = opt
    for station in STOPS[:position]:
        key = pool_key(station)
        plain = pht.pre_run(opt, station, key)
        executed = dict(plain) | {entry.path: entry for entry in ran(station)}
        opt = manifest.post_run(executed, plain[pht.CONFIG].content, start, station, key)
    return opt


def signed_at(position, **more):
    return dict(_signed_at(position, **more))


def renamed(opt, one, other):
    """Two files of a tree under each other's names."""
    return opt | {one: opt[other].with_(path=one), other: opt[one].with_(path=other)}


def secret_of(opt):
    config = pht.load_config(opt[pht.CONFIG].content)
    return pht.unwrap(pool_key("creator"), bytes.fromhex(config["creator"]["encrypted_key"]))


def with_content(opt, path, plain, **more):
    return opt | {path: opt[path].with_(content=pht.encrypt(secret_of(opt), plain), **more)}


def swapped_listing(opt, one, other):
    """Two definition files under each other's names, with file_list changed so that their hash stays."""
    def swap(names):
        return [other if name == one else one if name == other else name for name in names]
    root = pht.DEFINITION + "/"
    return edited(renamed(opt, root + one, root + other), "file_list", swap)


class ManifestCase(Case):
    def train(self, opt, base=None):
        """The train in a layout whose base tag is as it was sealed."""
        return self.layout(opt, base, name="case")

    def holds(self, opt, station="beta", base=None):
        layout = self.train(opt, signed_at(0) if base is None else base)
        self.good("verify", layout)
        return layout, self.good("pre-run", "--json", layout, station=station)

    def breaks(self, opt, words, status=4, station="beta", public=True, base=None, more=()):
        """Pre-run refuses it: without any token where public data decides, and then verify does, too."""
        base = signed_at(0) if base is None else base
        layout = self.train(opt, base)
        if not public:
            return self.refused(status, words, "pre-run", *more, layout, station=station)
        self.refused(status, words, "verify", *more, layout, pin=None)
        return self.refused(status, words, "pre-run", *more, layout, station=station, module=NO_MODULE, pin=None)


SETTINGS = {"Entrypoint": ["/bin/sh"], "Cmd": ["-c", "true"], "Env": ["PATH=/bin", "MODE=a=b c", "EMPTY="],
            "User": "1000:1000", "Labels": {"maintainer": "somebody"}, "WorkingDir": "/srv"}


class Made(ManifestCase):
    """What the program makes holds for the checker, and the other way round."""

    def seal(self, definition=None, *more):
        place = f"{self.work}/definition"
        for name, what in (definition or DEFINITION).items():
            entry = what if isinstance(what, fs.Entry) else fs.file("", what)
            os.makedirs(os.path.dirname(f"{place}/{name}"), exist_ok=True)
            with open(f"{place}/{name}", "wb") as stream:
                stream.write(entry.content)
            os.chmod(f"{place}/{name}", entry.mode)
        base = oci.Layout.create(f"{self.work}/base")
        base.tag("latest", base.image([oci.SYSTEM, oci.Layer([fs.file("srv", b"more")])], {"config": SETTINGS}))
        for name in STOPS:
            with open(f"{self.work}/{name}.pem", "wb") as stream:
                stream.write(pht.public_pem(pool_key(name)))
        train = oci.Layout(f"{self.work}/train")
        says = self.good("seal", "--json", "--definition", place, "--base", f"oci:{base.path}:latest", "--creator", "r-1",
                         *(part for stop in STOPS for part in ("--stop", f"{stop}={self.work}/{stop}.pem")), *more,
                         train, key="creator")
        return train, says, [diff_id for _, diff_id in base.layers_of("latest")]

    def check(self, layout, key):
        layers = [diff_id for _, diff_id in layout.layers_of("latest")]
        return manifest.check(layout.tree(), pool_key(key), layers)

    def stop(self, layout, station, entries=None):
        self.good("verify", layout)
        self.good("pre-run", layout, station=station)
        self.good("verify", layout)
        self.run_code(layout, station, results(station) if entries is None else entries)
        return self.good("post-run", "--json", layout, station=station)

    def test_from_seal_to_results(self):
        query = f"{self.work}/q.json"
        with open(query, "wb") as stream:
            stream.write(b'{"q": 1}')
        layout, says, layers = self.seal(None, "--query", query, "--id", "a train")
        self.assertEqual([one["operation"] for one in says["token_operations"]],
                         ["sign-definition", "sign-build", "sign-manifest"])
        first = self.check(layout, "alpha")[0]["predicate"]
        self.assertEqual((first["train"], first["base"]["layers"]), ("a train", layers))
        self.assertEqual([entry["path"] for entry in first["definition"]["entries"]],
                         ["entrypoint.sh", "lib/a.py", "lib/b.py", "lib/c.py", "query.json"])
        self.assertEqual(first["definition"]["entries"][0]["mode"], "0755")
        for place, station in enumerate(STOPS):
            says = self.stop(layout, station)
            self.assertEqual([one["operation"] for one in says["token_operations"]],
                             ["sign-result", "sign-route", "sign-manifest"])
            self.assertEqual(len(self.check(layout, "creator")), place + 2)
        says = self.good("verify", "--json", layout)
        self.assertEqual(says["manifests"], {"count": 4, "absence": None})
        self.assertIn("manifests", [check["name"] for check in says["checks"]])
        self.good("results", "--require-manifest", layout, "-o", f"{self.work}/out", key="creator")

    def test_what_the_checker_made(self):
        for position, station in enumerate(STOPS):
            with self.subTest(position=position):
                layout, says = self.holds(signed_at(position), station, signed_at(0) if position else signed_at(0))
                self.assertEqual(len(says["token_operations"]), 1)
        layout = self.train(signed_at(3), signed_at(0))
        self.good("results", layout, "-o", f"{self.work}/out", key="creator")
        with open(f"{self.work}/home.tar", "wb") as stream:
            stream.write(fs.write_tar([entry.with_(path=entry.path[4:]) for entry in
                                       [*fs.under(signed_at(3), pht.RESULTS), signed_at(3)[pht.CONFIG]]]))
        self.good("results", "--require-manifest", f"{self.work}/home.tar", "-o", f"{self.work}/out2", key="creator")

    def test_between_both(self):
        opt = signed_at(1)
        layout = self.train(opt, signed_at(0))
        self.stop(layout, "beta")
        tree = layout.tree()
        self.assertEqual(len(manifest.check(tree, pool_key("gamma"))), 3)
        plain = pht.pre_run(tree, "gamma", pool_key("gamma"))
        executed = dict(plain) | {entry.path: entry for entry in results("gamma")}
        home = manifest.post_run(executed, plain[pht.CONFIG].content, signed_at(0), "gamma", pool_key("gamma"))
        self.good("results", self.train(home, signed_at(0)), "-o", f"{self.work}/out", key="creator")

    def test_the_settings_of_the_image(self):
        layout, _, _ = self.seal()
        honest = layout.config("latest")["config"]
        signed = self.check(layout, "alpha")[0]["predicate"]["base"]["settings_sha512"]
        self.assertEqual(signed, manifest.settings_digest(honest))
        self.assertEqual(honest["Env"], SETTINGS["Env"])

        def changed(**members):
            config = {name: value for name, value in (honest | members).items() if value is not None}
            layout.tag("latest", layout.image(layout.layers_of("base"), {"config": config}))

        same = {"variables in another order": {"Env": SETTINGS["Env"][::-1]}, "empty members": {"OnBuild": [], "Tty": False},
                "what an engine adds": {"Hostname": "abc", "Image": "sha256:00"}, "no command": {"Cmd": None}}
        for name, members in same.items():
            with self.subTest(name):
                changed(**members)
                self.good("verify", layout)
        other = {"a variable more": {"Env": [*SETTINGS["Env"], "LD_PRELOAD=/opt/pht_results/x.so"]},
                 "a variable less": {"Env": SETTINGS["Env"][1:]}, "no variables": {"Env": None},
                 "another value": {"Env": [SETTINGS["Env"][0] + ":/opt", *SETTINGS["Env"][1:]]},
                 "a variable twice": {"Env": [*SETTINGS["Env"], SETTINGS["Env"][0]]},
                 "two in one": {"Env": ["".join(SETTINGS["Env"])]},
                 "what Podman adds, again": {"Env": [
                     *sorted(SETTINGS["Env"]), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
                 "another program": {"Entrypoint": ["/bin/sh", "/opt/pht_train/entrypoint.sh"]},
                 "another file": {"Entrypoint": ["/opt/pht_train/lib/a.py"]}, "a word more": {"Cmd": ["--leak"]},
                 "another user": {"User": "root"}, "a volume": {"Volumes": {"/opt/x": {}}},
                 "another label": {"Labels": {"maintainer": "somebody else"}},
                 "another folder": {"WorkingDir": "/opt/pht_results"}, "another shell": {"Shell": ["/bin/evil"]},
                 "a check": {"Healthcheck": {"Test": ["CMD", "/bin/evil"]}}, "a signal": {"StopSignal": "SIGKILL"},
                 "a trigger": {"OnBuild": ["RUN evil"]}, "a port": {"ExposedPorts": {"80/tcp": {}}}}
        for name, members in other.items():
            with self.subTest(name):
                changed(**members)
                self.refused(4, "settings of oci:", "verify", layout)
                self.refused(4, "settings of oci:", "pre-run", layout, station="alpha", module="/nonexistent/module.so")
        for name in ("env", "ENTRYPOINT", "uSer"):
            with self.subTest(name):
                changed(**{name: ["LD_PRELOAD=/opt/pht_results/x.so"]})
                self.refused(3, "differs only in capital letters", "verify", layout)
        changed()
        self.good("pre-run", layout, station="alpha")

    def test_many_files(self):
        definition = DEFINITION | {f"data/{number:03}": b"%d" % number for number in range(125)}
        layout, _, _ = self.seal(definition)
        first = self.check(layout, "alpha")[0]["predicate"]["definition"]
        self.assertEqual((first["files"], "entries" in first), (129, False))
        many = [fs.folder("opt/pht_results/m"), *(fs.file(f"opt/pht_results/m/{number}", b"") for number in range(128)),
                fs.symlink("opt/pht_results/link", "m/1")]
        self.stop(layout, "alpha", many)
        second = self.check(layout, "beta")[1]["predicate"]["results"]
        self.assertEqual((second["files"], second["links"], "entries" in second), (128, 1, False))
        self.stop(layout, "beta", [fs.file("opt/pht_results/m/0", b"other")])
        # Which file it is only an explicit list tells; that it is one, any does.
        tree = layout.tree()
        secret = pht.open_train(tree, pool_key("gamma")).secret
        one, two = "opt/pht_results/m/0", "opt/pht_results/m/1"
        moved = tree | {one: tree[one].with_(content=pht.encrypt(secret, b"oth")),
                        two: tree[two].with_(content=pht.encrypt(secret, b"er"))}
        layout.push([moved[one], moved[two]])
        self.refused(4, ["files of /opt/pht_results", "beta", "borders"], "pre-run", layout, station="gamma")

    def test_odd_names(self):
        layout, _, _ = self.seal()
        odd = [fs.file("opt/pht_results/a\nb \"c\"\\", b"1"), fs.file("opt/pht_results/\x01\x7f", b""),
               fs.file("opt/pht_results/" + "n" * 200, b"2", 0o4711), fs.folder("opt/pht_results/d"),
               fs.file("opt/pht_results/d/Zo\u00eb.csv", b"3"), fs.symlink("opt/pht_results/d/l", "../\u00fc"),
               fs.hardlink("opt/pht_results/z", "opt/pht_results/d/Zo\u00eb.csv")]
        self.stop(layout, "alpha", odd)
        said = self.check(layout, "beta")[1]["predicate"]["results"]
        self.assertEqual(said["links"], 2)
        self.assertIn({"4711", "symlink", "hardlink"}, [{"4711", "symlink", "hardlink"} &
                                                        {entry["mode"] for entry in said["entries"]}])
        self.stop(layout, "beta", [fs.file("opt/pht_results/\udcff\udc80", b"not UTF-8")])
        self.assertNotIn("entries", self.check(layout, "gamma")[2]["predicate"]["results"])
        self.stop(layout, "gamma", [])
        self.check(layout, "creator")
        self.good("results", layout, "-o", f"{self.work}/out", key="creator")

    def test_no_results(self):
        layout, _, _ = self.seal()
        self.stop(layout, "alpha", [])
        said = self.check(layout, "beta")[1]["predicate"]["results"]
        self.assertEqual((said["files"], said["entries"]), (0, []))
        self.good("pre-run", layout, station="beta")

    def test_a_stop_that_is_repeated(self):
        layout, _, _ = self.seal()
        self.good("pre-run", layout, station="alpha")
        decrypted = layout.tags()["latest"]
        kept = {digest: layout.get(digest) for digest in layout.blobs()}
        self.good("post-run", layout, station="alpha")
        for digest, data in kept.items():
            with open(layout.blob_path(digest), "wb") as stream:
                stream.write(data)
        layout.tag("latest", {name: decrypted[name] for name in ("mediaType", "digest", "size")})
        self.run_code(layout, "alpha", results("alpha"))
        self.good("post-run", "--again", layout, station="alpha")
        self.assertEqual(len(self.check(layout, "beta")), 2)
        self.good("pre-run", layout, station="beta")


class Absent(ManifestCase):
    """A train without manifests, from the start or since a station with other software."""

    def lost(self, position):
        return manifest.with_manifests(signed_at(position), None)

    def test_lost_on_the_way(self):
        layout = self.train(self.lost(1), signed_at(0))
        for command in ("verify", "inspect"):
            self.assertIn("the train has no signed manifest: it lost it", self.good(command, layout).out)
            says = self.good(command, "--json", layout)["manifests"]
            self.assertEqual(says["count"], 0)
            self.assertIn("lost it", says["absence"])
        self.good("pre-run", layout, station="beta")
        self.run_code(layout, "beta")
        says = self.good("post-run", "--json", layout, station="beta")
        self.assertEqual([one["operation"] for one in says["token_operations"]], ["sign-result", "sign-route"])
        self.assertIsNone(manifest.manifests_of(layout.tree()))

    def test_never_there(self):
        layout = self.train(self.lost(0))
        for command in ("verify", "inspect"):
            self.assertIn("it was made without one", self.good(command, layout).out)
        self.good("pre-run", layout, station="alpha")

    def test_there(self):
        layout = self.train(signed_at(2), signed_at(0))
        self.assertIn("signed manifests: 3", self.good("inspect", layout).out)
        self.assertEqual(self.good("inspect", "--json", layout)["manifests"], {"count": 3, "absence": None})

    def test_required(self):
        for position, words in ((0, "made without one"), (1, "lost it")):
            self.breaks(self.lost(position), [words, "--require-manifest"], 5, STOPS[position], base=self.lost(0),
                        more=["--require-manifest"])
        home = self.train(self.lost(3), signed_at(0))
        self.refused(5, ["--require-manifest"], "results", "--require-manifest", home, "-o", f"{self.work}/out",
                     key="creator", module=NO_MODULE, pin=None)
        self.good("results", home, "-o", f"{self.work}/out", key="creator")
        layout, _ = self.holds(self.lost(0), "alpha", self.lost(0))
        self.refused(5, ["--require-manifest"], "post-run", "--require-manifest", layout, station="alpha",
                     module=NO_MODULE, pin=None)

    def test_null_is_absent(self):
        for value in (None, {}, {"manifests": None}, {"other": 1}):
            opt = edited(self.lost(1), "traintoken", value)
            self.breaks(opt, ["--require-manifest"], 5, more=["--require-manifest"])
            self.holds(opt)
            os.system(f"rm -rf {self.state}")

    def test_an_array_that_is_there_counts(self):
        self.breaks(manifest.with_manifests(signed_at(1), []), ["0 signed manifests"])
        layout = self.train(signed_at(1), signed_at(0))
        self.good("verify", "--require-manifest", layout)
        self.good("pre-run", "--require-manifest", layout, station="beta")


class Form(ManifestCase):
    """Envelopes and statements that are none: [3]."""

    def test_the_member(self):
        for value in ([], "x", 1, True, {"manifests": {}}, {"manifests": "x"}, {"manifests": [1, 2]},
                      {"manifests": [None, None]}, {"manifests": [[], []]}):
            with self.subTest(value=value):
                self.breaks(edited(signed_at(1), "traintoken", value), ["traintoken"], 3)

    def envelope(self, place, **members):
        there = manifest.manifests_of(signed_at(1))
        there[place] = {name: value for name, value in (there[place] | members).items() if value is not None}
        return manifest.with_manifests(signed_at(1), there)

    def test_envelopes(self):
        good = manifest.manifests_of(signed_at(1))[1]
        signature = good["signatures"][0]
        for name, members in {"no payload": {"payload": None}, "no signatures": {"signatures": None},
                              "none": {"signatures": []}, "two": {"signatures": [signature, signature]},
                              "no key id": {"signatures": [{"sig": signature["sig"]}]},
                              "no sig": {"signatures": [{"keyid": signature["keyid"]}]},
                              "another type": {"payloadType": "text/plain"}, "one member more": {"more": 1},
                              "not base64": {"payload": good["payload"][:-4] + "!!!!"},
                              "payload of no bytes": {"payload": ""},
                              "payload as an object": {"payload": {}}}.items():
            for place in (0, 1):
                with self.subTest(name, place=place):
                    self.breaks(self.envelope(place, **members), ["manifest"], 3)

    def test_statements(self):
        keys = [pool_key("creator"), pool_key("alpha")]
        for place, key in enumerate(keys):
            for name, payload in {"not JSON": b"x", "an array": b"[]", "empty": b"{}", "nul": b'{"a":"\\u0000"}',
                                  "a member twice": b'{"_type":1,"_type":1}', "cut off": b'{"_type":'}.items():
                with self.subTest(name, place=place):
                    there = manifest.manifests_of(signed_at(1))
                    there[place] = manifest.sign(key, payload)
                    self.breaks(manifest.with_manifests(signed_at(1), there), ["manifest"], 3)

    def test_each_member_missing_or_of_another_type(self):
        for place, key in enumerate((pool_key("creator"), pool_key("alpha"))):
            statement = manifest.statement_of(manifest.manifests_of(signed_at(1))[place])
            for steps in paths(statement):
                for value in ("gone", 1, [[]], {"x": 1}, True):
                    held = step_in(statement, steps)
                    if isinstance(value, str) and isinstance(steps[-1], int):
                        continue
                    if type(value) is type(held) or steps in (("predicate", "query"),) or \
                       (value == "gone" and steps[-1] in ("entries", "annotations")):
                        continue
                    with self.subTest(place=place, member=steps, value=value):
                        changed = changed_at(statement, steps, value, drop=value == "gone")
                        self.quick(place, changed, key)

    def quick(self, place, statement, key):
        """Only verify: a statement whose form is wrong, or that therefore contradicts itself."""
        there = manifest.manifests_of(signed_at(1))
        there[place] = manifest.sign(key, statement)
        layout = self.train(manifest.with_manifests(signed_at(1), there), signed_at(0))
        result = self.tt("verify", layout, pin=None)
        self.assertIn(result.status, (3, 4), str(result))
        self.assertIn("manifest", result.err)


def paths(value, so_far=()):
    """The places of all values in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in items:
        if isinstance(step, int) and step > 0:
            continue  # one of each kind is enough
        yield (*so_far, step)
        yield from paths(inner, (*so_far, step))


def step_in(value, steps):
    for step in steps:
        value = value[step]
    return value


def changed_at(value, steps, new, drop=False):
    changed = copy.deepcopy(value)
    holder = step_in(changed, steps[:-1])
    if drop:
        del holder[steps[-1]]
    else:
        holder[steps[-1]] = new
    return changed


def other(value):
    """Another value of the same form."""
    if isinstance(value, bool) or value is None:
        return {"sha512": "0" * 128}
    if isinstance(value, int):
        return value + 1
    if value in ("0644", "0755"):
        return "0600"
    if value.endswith("Z") and value[4] == "-":
        return None  # any time is as good: it only is signed
    if len(value) in (64, 128) or value.startswith("sha256:"):
        return value[:-1] + ("0" if value[-1] != "0" else "1")
    return value + "x"


class Content(ManifestCase):
    """Each member changed alone: with the old signature, and signed anew by the one who may sign it."""

    def test_each_member(self):
        for place, key in enumerate((pool_key("creator"), pool_key("alpha"))):
            statement = manifest.statement_of(manifest.manifests_of(signed_at(1))[place])
            for steps in paths(statement):
                held = step_in(statement, steps)
                if isinstance(held, (dict, list)):
                    continue
                changed = other(held)
                if changed is None or steps == ("predicate", "base", "reference"):
                    continue  # for people only
                with self.subTest(place=place, member=steps):
                    self.each(place, changed_at(statement, steps, changed), key)

    def each(self, place, statement, key):
        for signer, status in ((None, {4}), (key, {3, 4})):
            opt = manifest.replaced(signed_at(1), place, lambda _, said=statement: said, signer)
            layout = self.train(opt, signed_at(0))
            result = self.tt("verify", layout, pin=None)
            if result.status == 0 and signer:  # what only the plaintext tells
                result = self.tt("pre-run", layout, station="beta")
            self.assertIn(result.status, status, str(result))
            self.assertIn("manifest", result.err)

    def test_unsigned_times_and_names(self):
        for place, steps in ((1, ("predicate", "time")), (0, ("predicate", "base", "reference"))):
            statement = manifest.statement_of(manifest.manifests_of(signed_at(1))[place])
            said = changed_at(statement, steps, "2020-01-01T00:00:00Z")
            self.breaks(manifest.replaced(signed_at(1), place, lambda _, said=said: said), ["signature", "manifest"])

    def test_times_that_are_none(self):
        for value in ("2026-01-31 12:00:00Z", "2026-01-31T12:00:00", "", "2026-01-31T12:00:00+01:00", "x" * 20):
            opt = manifest.replaced(signed_at(1), 1, lambda said, value=value: said["predicate"].update(time=value),
                                    pool_key("alpha"))
            self.breaks(opt, ["time"], 3)

    def test_lists_that_contradict_themselves(self):
        def entries(change):
            def edit(said):
                change(said["predicate"]["results"]["entries"])
            return manifest.replaced(signed_at(1), 1, edit, pool_key("alpha"))
        for name, change in {"one less": list.pop, "none": list.clear, "turned": list.reverse,
                             "one more": lambda list_: list_.append(list_[0])}.items():
            with self.subTest(name):
                self.breaks(entries(change), ["contradicts itself"])

    def test_a_list_without_entries_counts_as_much(self):
        def drop(said):
            del said["predicate"]["results"]["entries"]
        opt = manifest.replaced(signed_at(1), 1, drop, pool_key("alpha"))
        self.holds(opt)

        def add(said):
            drop(said)
            said["predicate"]["results"]["files"] += 1
        self.breaks(manifest.replaced(signed_at(1), 1, add, pool_key("alpha")), ["/opt/pht_results has", "alpha"])

        def link(said):
            drop(said)
            said["predicate"]["results"]["links"] += 1
        self.breaks(manifest.replaced(signed_at(1), 1, link, pool_key("alpha")), ["/opt/pht_results has", "alpha"])

        for query in (None, {"sha512": "0" * 128}):
            def other_query(said, query=query):
                del said["predicate"]["definition"]["entries"]
                said["predicate"]["query"] = query
            opt = manifest.replaced(signed_at(0), 0, other_query, pool_key("creator"))
            self.breaks(opt, ["query", "creator"], station="alpha", public=False, base=opt)

    def test_the_last_of_a_list_is_missing(self):
        def add(said):
            made = manifest.listing({path: fs.file(path) for path in ("r/a", "r/b")}, "r", {"a": b"", "b": b""})
            said["predicate"]["results"] = made
            said["subject"][0]["digest"]["sha512"] = made["list_sha512"]
        opt = manifest.replaced(signed_at(1), 1, add, pool_key("alpha"))
        opt = {path: entry for path, entry in opt.items() if not path.startswith("opt/pht_results/")}
        opt["opt/pht_results/a"] = fs.file("opt/pht_results/a", bytes(32))
        self.breaks(opt, ["/opt/pht_results/b", "not in the train"])

    def test_texts_have_a_limit(self):
        for steps in (("creator", "id"), ("train",)):
            said = manifest.statement_of(manifest.manifests_of(signed_at(1))[0])
            changed = changed_at(said, ("predicate", *steps), "x" * 5000)
            self.breaks(manifest.replaced(signed_at(1), 0, lambda _, changed=changed: changed, pool_key("creator")),
                        ["too long"], 3)

    def test_the_configuration_changed(self):
        for steps, value in ((("@id",), "another"), (("creator", "id"), "researcher-2")):
            with self.subTest(member=steps):
                self.breaks(edited(signed_at(1), *steps, value), ["creator's manifest", "does not belong"])

    def test_keys_of_others_swapped(self):
        """Row 2: who comes later cannot be replaced, nor added, nor moved."""
        outsider = pht.public_pem(pool_key("outsider")).hex()
        swapped = edited(signed_at(1), "route", 2, "rsa_public_key", outsider)
        self.breaks(swapped, ["public key of stop 2"])
        self.refused(4, ["public key of stop 2"], "trust", "add", "--trust", f"{self.work}/new", "--yes", "--from",
                     self.train(swapped), "station", "gamma", pin=None)
        self.breaks(edited(signed_at(1), "route", 2, "station", "delta"), ["station of stop 2"])
        stop = pht.load_config(signed_at(1)[pht.CONFIG].content)["route"][2]
        added = edited(signed_at(1), "route", lambda route: [*route, stop | {"index": 3, "station": "delta"}])
        self.breaks(added, ["number of stops"])
        self.breaks(edited(signed_at(1), "route", lambda route: route[:2]), ["number of stops"])
        swapped = edited(edited(signed_at(1), "route", 1, "index", 2), "route", 2, "index", 1)
        self.breaks(swapped, ["station of stop 1"], station="gamma")


class Chain(ManifestCase):
    """Envelopes moved, taken away, or taken from elsewhere: all of them good ones."""

    def put(self, *envelopes, position=2):
        return manifest.with_manifests(signed_at(position), list(envelopes))

    def gone(self, opt, words=(), status=4):
        self.breaks(opt, list(words) or ["manifest"], status, "gamma")

    def test_cut_off_doubled_turned(self):
        one, two, three = manifest.manifests_of(signed_at(2))
        self.gone(self.put(one, two), ["2 signed manifests"])
        self.gone(self.put(one), ["1 signed manifests"])
        self.gone(self.put(two, three))
        self.gone(self.put(one, two, three, three), ["4 signed manifests"])
        self.gone(self.put(one, three, two))
        self.gone(self.put(two, one, three))
        self.gone(self.put(one, two, two))
        self.gone(self.put(one, one, three))
        self.holds(self.put(one, two, three), "gamma")

    def test_from_another_train(self):
        session = bytes(range(1, 65))
        theirs = manifest.manifests_of(signed_at(2, session_id=session))
        ours = manifest.manifests_of(signed_at(2))
        self.gone(self.put(*theirs), ["creator's manifest", "session id"])
        for place, words in enumerate((["session id"], ["session id"], ["session id"])):
            mixed = list(ours)
            mixed[place] = theirs[place]
            self.gone(self.put(*mixed), words)

    def test_from_an_older_run(self):
        def other_results(station):
            return [fs.file(f"opt/pht_results/{station}.csv", b"older")]
        older = manifest.manifests_of(signed_at(2, ran=other_results))
        ours = manifest.manifests_of(signed_at(2))
        self.gone(self.put(ours[0], older[1], ours[2]), ["stop 0", "route digest"])
        self.gone(self.put(ours[0], ours[1], older[2]), ["stop 1", "route digest"])
        self.gone(self.put(ours[0], older[1], older[2]), ["route digest"])

    def test_the_same_results_after_another_manifest(self):
        """Signed twice, each time honestly: only the one that the next station saw is before its own."""
        ours = manifest.manifests_of(signed_at(2))
        again = manifest.sign(pool_key("alpha"), manifest.statement_of(ours[1]))
        self.assertNotEqual(again, ours[1])
        self.gone(self.put(ours[0], again, ours[2]), ["stop 1", "after another manifest"])
        first = manifest.sign(pool_key("creator"), manifest.statement_of(ours[0]))
        self.gone(self.put(first, *ours[1:]), ["stop 0", "after another manifest"])

    def test_other_keys(self):
        ours = manifest.manifests_of(signed_at(2))
        for place in range(3):
            mixed = list(ours)
            mixed[place] = manifest.sign(pool_key("outsider"), manifest.statement_of(ours[place]))
            self.gone(self.put(*mixed), ["signature"])
            mixed[place] = copy.deepcopy(ours[place])
            mixed[place]["signatures"][0]["keyid"] = manifest.fingerprint(pool_key("outsider"))
            self.gone(self.put(*mixed), ["signing key"])
            signature = copy.deepcopy(ours[place])
            signature["signatures"][0]["sig"] = ours[(place + 1) % 3]["signatures"][0]["sig"]
            mixed[place] = signature
            self.gone(self.put(*mixed), ["signature"])

    def test_another_creator(self):
        """The attacker's key for the creator's: without all of its signatures [4], with them a matter of trust."""
        opt = edited(signed_at(2), "creator", "rsa_public_key", pht.public_pem(pool_key("outsider")).hex())
        self.gone(opt, ["signature"])
        config = pht.load_config(opt[pht.CONFIG].content)
        digest = bytes.fromhex(config["hash"])
        signature = pht.sign_pkcs1(pool_key("outsider"), digest)
        opt = edited(edited(opt, "signature", signature.hex()), "build",
                     {"signature": pht.sign_pkcs1(pool_key("outsider"), digest + signature).hex(),
                      "rsa_public_key": pht.public_pem(pool_key("outsider")).hex()})
        self.gone(opt, ["signature of the creator's manifest"])

    def test_a_result_signature_signs_no_statement(self):
        """Who seals a train chooses its session id, and its code the results: both together may be what a statement's
        signature covers. The station signs the hash of it, as it has to; that must be no signature of the statement."""
        ours = manifest.manifests_of(signed_at(1))
        payload = manifest.compact(manifest.statement_of(ours[1]) | {"forged": True})
        covered = manifest.encoding(payload)
        bait = sample(session_id=covered[-64:])
        plain = pht.pre_run(bait, "alpha", pool_key("alpha"))
        executed = dict(plain) | {"opt/pht_results/x": fs.file("opt/pht_results/x", covered[:-64])}
        signed = pht.post_run(executed, plain[pht.CONFIG].content, bait, "alpha", pool_key("alpha"))
        forged = copy.deepcopy(ours[1])
        forged["payload"] = base64.b64encode(payload).decode()
        signature = bytes.fromhex(pht.load_config(signed[pht.CONFIG].content)["result_signature"])
        forged["signatures"][0]["sig"] = base64.b64encode(signature).decode()
        self.breaks(self.put(ours[0], forged, position=1), ["signature of the manifest of stop 0"])

    def test_a_statement_of_another_kind(self):
        """What a station's key signed elsewhere is no manifest, nor is one kind the other."""
        ours = manifest.manifests_of(signed_at(2))
        for place, key in enumerate(("creator", "alpha", "beta")):
            for kind in (manifest.CREATOR, manifest.STOP, "https://traintoken.example/key/v1"):
                said = manifest.statement_of(ours[place])
                if said["predicateType"] == kind:
                    continue
                mixed = list(ours)
                mixed[place] = manifest.sign(pool_key(key), said | {"predicateType": kind})
                self.gone(self.put(*mixed), ["another kind"])
            mixed = list(ours)
            said = manifest.statement_of(ours[place])
            mixed[place] = manifest.sign(pool_key(key), said | {"_type": "https://in-toto.io/Statement/v0.1"})
            self.gone(self.put(*mixed), ["another kind"])


class Files(ManifestCase):
    """Rows 8 and 9: what the hashes of the format do not see."""

    def test_attack_8_names_swapped(self):
        bad = swapped_listing(signed_at(1), "lib/a.py", "lib/b.py")
        self.breaks(bad, ["/opt/pht_train/lib/a.py", "another content", "creator"], public=False)
        # The sizes of these two tell it from outside.
        self.breaks(swapped_listing(signed_at(1), "lib/a.py", "lib/c.py"), ["/opt/pht_train/lib/a.py", "size"])

    def test_attack_8_without_a_manifest_nothing_tells(self):
        bare = manifest.with_manifests(signed_at(1), None)
        self.holds(swapped_listing(bare, "lib/a.py", "lib/b.py"), base=manifest.with_manifests(signed_at(0), None))

    def test_attack_8_bytes_moved(self):
        opt, root = signed_at(1), "opt/pht_train/lib/"
        bad = with_content(with_content(opt, root + "a.py", b"print('a')\np"), root + "b.py", b"rint('b')\n")
        self.breaks(bad, ["/opt/pht_train/lib/a.py", "11 bytes and has 12"], public=False)
        bad = with_content(with_content(opt, root + "a.py", b"print('a')\nprint('b')\n"), root + "b.py", b"")
        self.breaks(bad, ["/opt/pht_train/lib/a.py", "size"])

    def test_attack_8_renamed(self):
        opt = edited(signed_at(1), "file_list", lambda names: [name.replace("c.py", "d.py") for name in names])
        entry = opt.pop("opt/pht_train/lib/c.py")
        opt["opt/pht_train/lib/d.py"] = entry.with_(path="opt/pht_train/lib/d.py")
        self.breaks(opt, ["/opt/pht_train/lib/c.py", "not in the train"])

    def test_an_empty_file_more(self):
        opt = edited(signed_at(1), "file_list", lambda names: [*names, "lib/json.py"])
        opt["opt/pht_train/lib/json.py"] = fs.file("opt/pht_train/lib/json.py", pht.encrypt(secret_of(opt), b""))
        self.breaks(opt, ["/opt/pht_train/lib/json.py", "not in the signed manifest"])
        self.holds(manifest.with_manifests(opt, None), base=manifest.with_manifests(signed_at(0), None))

    def test_a_query_becomes_a_file(self):
        """The query is hashed after the session id: bytes cannot move into it, but its name is part of the manifest."""
        opt = signed_at(1)
        opt = opt | {"opt/pht_train/query.json": opt["opt/pht_train/query.json"].with_(mode=0o755)}
        self.breaks(opt, ["query.json", "mode"])

    def test_modes(self):
        for path, mode in (("opt/pht_train/entrypoint.sh", 0o644), ("opt/pht_train/lib/a.py", 0o4755),
                           ("opt/pht_results/one.csv", 0o755)):
            with self.subTest(path=path):
                opt = signed_at(1)
                self.breaks(opt | {path: opt[path].with_(mode=mode)}, ["/" + path, "mode"])

    def test_attack_9_names_swapped(self):
        one, two = "opt/pht_results/one.csv", "opt/pht_results/oo.csv"
        opt = signed_at(1)
        bad = with_content(with_content(opt, one, b"1,2,3\n4,"), two, b"5,6\n")
        self.breaks(bad, ["/opt/pht_results/one.csv", "station 'alpha'", "6 bytes and has 8"], public=False)
        bare = manifest.with_manifests(bad, None)
        self.holds(bare, base=manifest.with_manifests(signed_at(0), None))

    def test_attack_9_renamed(self):
        opt = signed_at(1)
        entry = opt.pop("opt/pht_results/oo.csv")
        opt["opt/pht_results/oo.txt"] = entry.with_(path="opt/pht_results/oo.txt")
        self.breaks(opt, ["/opt/pht_results/oo.csv", "not in the train"])
        self.holds(manifest.with_manifests(opt, None), base=manifest.with_manifests(signed_at(0), None))

    def test_attack_9_at_home(self):
        one, two = "opt/pht_results/one.csv", "opt/pht_results/oo.csv"
        opt = signed_at(3)
        bad = with_content(with_content(opt, one, b"1,2,3\n4,"), two, b"5,6\n")
        tar = f"{self.work}/home.tar"
        with open(tar, "wb") as stream:
            stream.write(fs.write_tar([entry.with_(path=entry.path[4:]) for entry in
                                       [*fs.under(bad, pht.RESULTS), bad[pht.CONFIG]]]))
        for source in (self.train(bad, signed_at(0)), tar):
            out = f"{self.work}/out"
            self.refused(4, ["/opt/pht_results/one.csv", "station 'gamma'"], "results", source, "-o", out,
                         key="creator")
            self.assertFalse(os.path.lexists(out))

    def test_attack_19_links(self):
        opt = signed_at(1)
        link = opt["opt/pht_results/last"]
        self.assertEqual(link.kind, fs.SYMLINK)
        for target in ("one.csv", "aleph.csv"):
            self.breaks(opt | {link.path: link.with_(target=target)}, ["/opt/pht_results/last", "another link"])
        self.breaks(opt | {link.path: fs.file(link.path, bytes(32), 0)}, ["/opt/pht_results/last", "mode"])
        self.breaks(opt | {link.path: fs.hardlink(link.path, "opt/pht_results/alpha.csv")},
                    ["/opt/pht_results/", "in the signed manifest"])
        self.breaks(opt | {"opt/pht_results/one.csv": fs.symlink("opt/pht_results/one.csv", "oo.csv")},
                    ["/opt/pht_results/one.csv", "another link"])
        more = opt | {"opt/pht_results/zz": fs.symlink("opt/pht_results/zz", "one.csv")}
        self.breaks(more, ["/opt/pht_results/zz", "not in the signed manifest"])
        self.breaks({path: entry for path, entry in opt.items() if path != link.path},
                    ["/opt/pht_results/last", "not in the train"])
        self.holds(manifest.with_manifests(more, None), base=manifest.with_manifests(signed_at(0), None))

    def test_attack_18_other_base_layers(self):
        other = oci.Layer([fs.folder("bin"), fs.file("bin/sh", b"the attacker's", 0o755)])
        layout = self.layout(signed_at(1), signed_at(0), name="case", system=other)
        self.refused(4, ["layer 0", "creator"], "verify", layout, pin=None)
        self.refused(4, ["layer 0", "creator"], "pre-run", layout, station="beta", module=NO_MODULE, pin=None)
        # The train itself is whole; only what post-run would build on is not.
        good, _ = self.holds(signed_at(1))
        self.run_code(good, "beta")
        base = self.layout(signed_at(0), name="other", system=other)
        self.refused(4, ["layer 0", "creator"], "post-run", "--base", f"oci:{base.path}:base", good, station="beta",
                     module=NO_MODULE, pin=None)

    def test_fewer_layers(self):
        statement = manifest.creator_statement(signed_at(0), pool_key("alpha"), LAYERS * 5)
        opt = manifest.with_manifests(signed_at(0), [manifest.sign(pool_key("creator"), statement)])
        self.breaks(opt, ["2 layers", "has 5"], station="alpha", base=opt)

    def test_the_run_changes_the_definition(self):
        """The train's code moves bytes of its own definition; its hash stays, and still nothing of the run is taken."""
        layout, _ = self.holds(signed_at(1))
        before = self.everything()
        moved = [fs.file("opt/pht_train/lib/a.py", b"print('a')\np"), fs.file("opt/pht_train/lib/b.py", b"rint('b')\n")]
        layout.push([*results("beta"), *moved])
        self.refused(4, ["/opt/pht_train/lib/a.py", "11 bytes and has 12"], "verify", layout)
        self.refused(4, ["/opt/pht_train/lib/a.py", "11 bytes and has 12"], "post-run", layout, station="beta")
        self.assertNotEqual(before, self.everything())

    def test_the_run_changes_the_manifests(self):
        layout, _ = self.holds(signed_at(1))
        opt = manifest.with_manifests(layout.tree(), None)
        layout.push([opt[pht.CONFIG]])
        self.refused(4, ["train_config.json", "verified"], "post-run", layout, station="beta")

    def test_compiled_python_is_not_listed(self):
        opt = signed_at(1)
        cached = "opt/pht_train/lib/__pycache__/a.cpython-311.pyc"
        opt = opt | {cached: fs.file(cached, opt["opt/pht_train/lib/a.py"].content)}
        layout, _ = self.holds(opt)
        layout.push([*results("beta"), fs.folder("opt/pht_train/lib/__pycache__"),
                     fs.file("opt/pht_train/lib/__pycache__/b.pyc", b"bytes")])
        self.good("verify", layout)
        self.good("post-run", layout, station="beta")
        manifest.check(layout.tree(), pool_key("gamma"))


class Spelling(ManifestCase):
    """The text of a configuration is its writer's; what was signed stays what it is."""

    def test_written_otherwise(self):
        config = pht.load_config(signed_at(1)[pht.CONFIG].content)
        for style in ("indent", "compact"):
            with self.subTest(style=style):
                layout = self.train(with_config(signed_at(1), pht.dump_config(config, style)), signed_at(0))
                self.good("pre-run", layout, station="beta")
                self.run_code(layout, "beta")
                self.good("post-run", layout, station="beta")
                manifest.check(layout.tree(), pool_key("gamma"))
                os.system(f"rm -rf {self.state}")

    def test_members_turned(self):
        config = pht.load_config(signed_at(1)[pht.CONFIG].content)
        config["traintoken"]["manifests"] = [dict(reversed(one.items())) for one in config["traintoken"]["manifests"]]
        config["traintoken"]["later"] = {"kept": [1, 2.50]}
        layout = self.train(with_config(signed_at(1), pht.dump_config(config)), signed_at(0))
        self.good("pre-run", layout, station="beta")
        self.run_code(layout, "beta")
        self.good("post-run", layout, station="beta")
        after = pht.load_config(layout.tree()[pht.CONFIG].content)
        self.assertEqual(after["traintoken"]["later"], {"kept": [1, 2.50]})
        self.assertEqual(len(after["traintoken"]["manifests"]), 3)
        self.good("pre-run", layout, station="gamma")

    def test_flipped_bits(self):
        for place in (0, 1):
            envelope = manifest.manifests_of(signed_at(1))[place]
            for at in (0, 100, -1):
                there = manifest.manifests_of(signed_at(1))
                there[place] = copy.deepcopy(envelope)
                sig = base64.b64decode(envelope["signatures"][0]["sig"])
                there[place]["signatures"][0]["sig"] = base64.b64encode(flipped(sig, at)).decode()
                self.breaks(manifest.with_manifests(signed_at(1), there), ["signature", "manifest"])


if __name__ == "__main__":
    unittest.main()
