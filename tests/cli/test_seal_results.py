"""The researcher's side: making a train, and opening what came home. Archive names are hostile input."""

import os
import subprocess
import unittest

from support import files as fs
from support import oci, pht
from support.station import (MARKER, POOL, STOPS, Case, edited, flipped, pool_key, results_of, sample, sample_at,
                             tokens, vector, vector_key)


class SealCase(Case):
    def setUp(self):
        super().setUp()
        self.base = oci.Layout.create(f"{self.work}/base")
        self.base.tag("latest", self.base.image([oci.SYSTEM], {"config": {"Env": ["A=b"], "Cmd": ["/bin/sh"],
                                                                         "WorkingDir": "/srv"}}))
        self.definition = f"{self.work}/definition"
        self.write("entrypoint.sh", b"#!/bin/sh\n# " + MARKER + b"\n", 0o755)
        self.write("lib/deep/model.bin", MARKER * 1000)
        self.write("lib/a-b", b"1")
        self.write("lib.txt", b"")
        for name in STOPS:
            with open(f"{self.work}/{name}.pem", "wb") as stream:
                stream.write(pht.public_pem(pool_key(name)))
        self.train = oci.Layout(f"{self.work}/train")

    def write(self, name, content, mode=0o644, root=None):
        path = f"{root or self.definition}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(content)
        os.chmod(path, mode)
        return path

    def argv(self, *more, stops=STOPS, definition=None, base=None, creator="researcher"):
        return ["seal", *more, "--definition", definition or self.definition, "--base",
                base or f"oci:{self.base.path}:latest", "--creator", creator,
                *(part for stop in stops for part in ("--stop", f"{stop}={self.work}/{stop}.pem")),
                f"oci:{self.train.path}:latest"]

    def seal(self, *more, **how):
        return self.good(*self.argv(*more, **how), key="creator")

    def seal_refused(self, status, words, *more, **how):
        return self.refused(status, words, *self.argv(*more, **how), key="creator")


class Seal(SealCase):
    def test_the_checker_accepts_it(self):
        query = self.write("q.json", b'{"q": 1}', root=self.work)
        says = self.seal("--json", "--query", query, "--id", "my train")
        self.train.check()
        tree = self.train.tree("latest")
        for who in (*STOPS, "creator"):
            opened = pht.open_train(tree, pool_key(who))
            self.assertEqual((opened.position, opened.query), (0, b'{"q": 1}'))
            self.assertEqual(set(opened.definition), {"entrypoint.sh", "lib/deep/model.bin", "lib/a-b", "lib.txt"})
            self.assertEqual(opened.definition["lib/deep/model.bin"], MARKER * 1000)
        config = opened.train.config
        self.assertEqual((config["@id"], config["creator"]["id"]), ("my train", "researcher"))
        self.assertEqual([stop["station"] for stop in opened.train.stops], list(STOPS))
        # Archive order is the default order of file_list.
        self.assertEqual(opened.train.files, ["entrypoint.sh", "lib/a-b", "lib/deep/model.bin", "lib.txt"])
        self.assertEqual((says["hash"], says["session_id"]), (config["hash"], config["session_id"]))
        self.assertEqual(set(self.train.tags()), {"latest", "base"})
        self.assertEqual(self.train.tree("base"), tree)
        self.assert_no_plaintext(self.train)
        self.assertEqual(tree["opt/pht_train/entrypoint.sh"].mode, 0o755)
        self.assertEqual(config.get("result_hash"), None)
        image = self.train.config("latest")["config"]
        self.assertEqual(image["Entrypoint"], ["/opt/pht_train/entrypoint.sh"])
        self.assertFalse(image.get("Cmd"))
        self.assertEqual((image["Env"], image["WorkingDir"]), (["A=b"], "/srv"))
        below = {path: entry for path, entry in tree.items() if not (path + "/").startswith("opt/")}
        self.assertEqual(below, self.base.tree("latest"))

    def test_through_all_stops_and_home(self):
        self.seal()
        for station in STOPS:
            self.good("verify", self.train)
            self.good("pre-run", self.train, station=station)
            self.run_code(self.train, station)
            self.good("post-run", self.train, station=station)
        out = f"{self.work}/out"
        self.good("results", self.train, "-o", out, key="creator")
        with open(f"{out}/gamma.csv", "rb") as stream:
            self.assertEqual(stream.read(), MARKER + b",gamma\n")

    def test_two_seals_differ_in_all_that_is_random(self):
        self.seal()
        one = pht.open_train(self.train.tree("latest"), pool_key("creator"))
        self.train = oci.Layout(f"{self.work}/train2")
        self.seal()
        two = pht.open_train(self.train.tree("latest"), pool_key("creator"))
        self.assertNotEqual(one.secret, two.secret)
        self.assertNotEqual(one.train.session_id, two.train.session_id)

    def test_file_list_and_entry_point(self):
        names = self.write("names", b"lib.txt\n./lib/deep/model.bin\nlib/a-b\nentrypoint.sh\n", root=self.work)
        self.seal("--file-list", names, "--entry-point", "lib/a-b", "--interpreter", "/usr/bin/python3")
        opened = pht.open_train(self.train.tree("latest"), pool_key("alpha"))
        self.assertEqual(opened.train.files, ["lib.txt", "lib/deep/model.bin", "lib/a-b", "entrypoint.sh"])
        self.assertEqual(self.train.config("latest")["config"]["Entrypoint"],
                         ["/usr/bin/python3", "/opt/pht_train/lib/a-b"])

    def test_builder_of_its_own(self):
        self.good(*self.argv("--builder-key", tokens().uri("builder")), key="creator")
        opened = pht.open_train(self.train.tree("latest"), pool_key("alpha"))
        self.assertEqual(pht.public_der(opened.train.build_key), pht.public_der(pool_key("builder")))
        self.assertEqual(pht.public_der(opened.train.creator_key), pht.public_der(pool_key("creator")))

    def test_odd_ids(self):
        query = self.write("q", b"{}", root=self.work)
        self.seal("--query", query, creator="Zoë \"x\"\\ 1")
        opened = pht.open_train(self.train.tree("latest"), pool_key("alpha"))
        self.assertEqual((opened.query, opened.train.creator_id), (b"{}", "Zoë \"x\"\\ 1"))

    def test_what_the_existing_implementation_reads_otherwise(self):
        query = self.write("q", b"", root=self.work)
        self.seal_refused(2, ["query is empty"], "--query", query)
        for creator in ("007", "1_000", "+7"):
            with self.subTest(creator):
                self.seal_refused(2, [creator, "read as a number"], creator=creator)
        self.seal(creator="42")

    def test_refused(self):
        outside = f"{self.work}/outside"
        cases = {
            "no definition": (dict(definition=outside), (2, 8), ["outside"]),
            "definition is a file": (dict(definition=f"{self.work}/alpha.pem"), (2, 8), []),
            "no base": (dict(base=f"oci:{self.work}/none:latest"), 8, ["none"]),
            "no such key file": (dict(stops=("delta",)), (2, 8), ["delta.pem"]),
            "a station twice": (dict(stops=("alpha", "alpha")), (2, 3), ["alpha"]),
            "no stops": (dict(stops=()), 2, ["--stop"]),
        }
        for name, (how, status, words) in cases.items():
            with self.subTest(name):
                self.seal_refused(status, words, **how)
                self.assertFalse(os.path.exists(self.train.path))
        options = {
            "entry point missing": (["--entry-point", "none.sh"], ["none.sh"]),
            "entry point outside": (["--entry-point", "../alpha.pem"], []),
            "entry point not executable": (["--entry-point", "lib/a-b"], ["lib/a-b"]),
            "query missing": (["--query", outside], ["outside"]),
        }
        for name, (more, words) in options.items():
            with self.subTest(name):
                self.seal_refused((2, 3, 8), words, *more)
                self.assertFalse(os.path.exists(self.train.path))

    def test_stops_that_cannot_be(self):
        for name, content in {"private": (POOL / "throwaway-outsider.pem").read_bytes(),
                              "short": pht.public_pem(pool_key("short")), "curve": pht.public_pem(pool_key("curve")),
                              "text": b"hello", "empty": b""}.items():
            with self.subTest(key=name):
                self.write(f"bad-{name}.pem", content, root=self.work)
                self.seal_refused((2, 3), [f"bad-{name}"], stops=("alpha", f"bad-{name}"))
        for stop in ("alpha", "=x", "alpha=", f"={self.work}/alpha.pem"):
            with self.subTest(stop=stop):
                self.seal_refused((2, 8), [], "--stop", stop)

    def test_file_lists_that_cannot_be(self):
        whole = b"entrypoint.sh\nlib/a-b\nlib/deep/model.bin\nlib.txt\n"
        for name, text in {"missing one": whole[:-8], "one more": whole + b"gone\n", "twice": whole + b"lib/a-b\n",
                           "outside": whole + b"../x\n", "empty": b""}.items():
            with self.subTest(name):
                path = self.write("names", text, root=self.work)
                self.seal_refused((2, 3), [], "--file-list", path)

    def test_definitions_that_cannot_be(self):
        def no_entry_point():
            os.rename(f"{self.definition}/entrypoint.sh", f"{self.definition}/other.sh")

        def not_executable():
            os.chmod(f"{self.definition}/entrypoint.sh", 0o644)

        for name, change in {"a link": lambda: os.symlink("lib.txt", f"{self.definition}/link"),
                             "a link outside": lambda: os.symlink("/etc/passwd", f"{self.definition}/link"),
                             "a pipe": lambda: os.mkfifo(f"{self.definition}/link"),
                             "no entry point": no_entry_point, "entry point not executable": not_executable}.items():
            with self.subTest(name):
                subprocess.run(["rm", "-rf", self.definition], check=True)
                self.write("entrypoint.sh", b"#!/bin/sh\n", 0o755)
                self.write("lib.txt", b"")
                change()
                self.seal_refused((2, 3), ["link"] if "link" in name or "pipe" in name else [])

    def test_a_query_in_the_definition(self):
        self.write("query.json", b"{}")
        self.seal()
        opened = pht.open_train(self.train.tree("latest"), pool_key("alpha"))
        self.assertEqual(opened.query, b"{}")
        # Two of them: which one is meant is not for the program to guess.
        self.train = oci.Layout(f"{self.work}/train2")
        other = self.write("q.json", b"[]", root=self.work)
        self.seal_refused((2, 3), ["query.json"], "--query", other)

    def test_an_image_that_is_there_already(self):
        self.seal()
        before = self.train.tree("latest"), self.train.tree("base")
        result = self.tt(*self.argv(), key="creator")
        if result.status == 0:
            self.train.check()
            self.assertEqual(pht.open_train(self.train.tree("latest"), pool_key("alpha")).position, 0)
        else:
            self.assertIn(result.status, (2, 8), str(result))
            self.assertEqual((self.train.tree("latest"), self.train.tree("base")), before)

    def test_base_image_is_not_touched(self):
        before = self.everything()
        self.seal()
        after = self.everything()
        self.assertEqual([path for path in before if before[path] != after.get(path)], [])


class ResultsCase(Case):
    def tar(self, entries, name="home.tar"):
        path = f"{self.work}/{name}"
        with open(path, "wb") as stream:
            stream.write(entries if isinstance(entries, bytes) else fs.write_tar(entries))
        return path

    def home_tar(self, opt=None, prefix=""):
        """The entries of the tar that the central service hands out."""
        opt = sample_at(3) if opt is None else opt
        picked = [entry.with_(path=prefix + entry.path[4:]) for entry in fs.under(opt, pht.RESULTS)]
        return [*picked, opt[pht.CONFIG].with_(path=prefix + "train_config.json")]

    def secret(self, opt=None):
        return pht.open_train(opt or sample_at(3), pool_key("creator")).secret

    def results_refused(self, status, words, source, *more, key="creator", **how):
        out = f"{self.work}/out"
        subprocess.run(["rm", "-rf", out], check=True)
        self.refused(status, words, "results", *more, source, "-o", out, key=key, **how)
        self.assertFalse(os.path.lexists(out))

    def results_good(self, source, *more, key="creator"):
        out = f"{self.work}/out"
        subprocess.run(["rm", "-rf", out], check=True)
        says = self.good("results", "--json", *more, source, "-o", out, key=key)
        return out, says

    def files(self, place):
        found = {}
        for root, folders, names in os.walk(place):
            for name in [*folders, *names]:
                path = f"{root}/{name}"
                if os.path.islink(path):
                    found[os.path.relpath(path, place)] = os.readlink(path)
                elif os.path.isfile(path):
                    with open(path, "rb") as stream:
                        found[os.path.relpath(path, place)] = stream.read()
        return found


class Results(ResultsCase):
    def wanted(self, opt=None):
        opened = pht.open_train(opt or sample_at(3), pool_key("creator"))
        return opened.results | {"last": "gamma.csv"}

    def test_from_image_and_tar(self):
        layout = self.layout_at(3)
        home = self.home_tar()
        sources = {"image": layout, "tar": self.tar(home), "with dots": self.tar(self.home_tar(prefix="./"), "d.tar"),
                   "configuration first": self.tar([home[-1], *home[:-1]], "c.tar")}
        for name, source in sources.items():
            with self.subTest(source=name):
                out, says = self.results_good(source)
                self.assertEqual(self.files(out), self.wanted())
                opened = pht.open_train(sample_at(3), pool_key("creator"))
                self.assertEqual(says["result_hash"], opened.train.result_hash.hex())
                self.assertEqual((says["files"], says["bytes"]),
                                 (len(opened.results), sum(map(len, opened.results.values()))))
                self.assertEqual(os.stat(out).st_mode & 0o022, 0)

    def test_the_other_implementations(self):
        for family, last in (("basic", 3), ("wide", 2)):
            with self.subTest(family=family):
                if f"{family}-user" not in tokens().made:
                    tokens().add(f"{family}-user", vector_key(family, "user"))
                opt = vector(family, f"stop{last}")
                out, _ = self.results_good(self.tar(self.home_tar(opt)), key=f"{family}-user")
                opened = pht.open_train(opt, vector_key(family, "user"))
                found = {name: content for name, content in self.files(out).items() if isinstance(content, bytes)}
                self.assertEqual(found, opened.results)

    def test_unfinished(self):
        for position in (1, 2):
            layout = self.layout_at(position, name="case")
            self.results_refused(9, ["--unfinished"], layout, module="/nonexistent", pin=None)
            out, _ = self.results_good(layout, "--unfinished")
            self.assertEqual(set(self.files(out)) - {"last"},
                             set(pht.open_train(sample_at(position), pool_key("creator")).results))
        self.results_refused((3, 4, 9), [], self.layout_at(0, name="case"), "--unfinished", module="/nonexistent",
                             pin=None)

    def test_a_decrypted_image_is_no_source(self):
        layout = self.layout_at(2)
        self.good("pre-run", layout, station="gamma")
        self.results_refused((3, 4, 9), [], layout)

    def test_the_folder_is_there_already(self):
        makers = {"a folder": os.mkdir, "a dangling link": lambda path: os.symlink(f"{self.work}/nonexistent", path),
                  "a link to a folder": lambda path: os.symlink(self.home, path),
                  "a file": lambda path: open(path, "wb").close()}
        layout = self.layout_at(3)
        for name, make in makers.items():
            with self.subTest(name):
                subprocess.run(["rm", "-rf", f"{self.work}/out"], check=True)
                make(f"{self.work}/out")
                self.refused((2, 8), ["out"], "results", layout, "-o", f"{self.work}/out", key="creator",
                             module="/nonexistent", pin=None)

    def test_its_parent_is_not_there(self):
        self.refused(8, ["none"], "results", self.layout_at(3), "-o", f"{self.work}/none/out", key="creator")

    def test_no_source(self):
        empty = self.tar(b"", "empty.tar")
        self.results_refused((2, 8), ["none.tar"], f"{self.work}/none.tar")
        self.results_refused(3, ["empty.tar"], empty)
        self.results_refused(3, [], self.tar(b"hello " * 1000, "text.tar"))
        self.results_refused(3, ["train_config.json"], self.tar(self.home_tar()[:-1], "bare.tar"))
        self.results_refused(3, [], self.tar(fs.write_tar(self.home_tar())[:3000], "cut.tar"))
        self.results_refused((2, 3, 8), [], self.work)

    def test_a_strangers_key(self):
        self.results_refused(5, ["SHA256:"], self.tar(self.home_tar()), key="outsider", pin=None)
        # A station's key opens its own stop, not the creator's results.
        self.results_refused(5, ["SHA256:"], self.tar(self.home_tar()), key="gamma", pin=None)

    def test_tampered_results(self):
        opt = sample_at(3)
        secret = self.secret()
        path = "opt/pht_results/gamma.csv"
        bad = {
            "a bit": opt | {path: opt[path].with_(content=flipped(opt[path].content, 20))},
            "the last block": opt | {path: opt[path].with_(content=flipped(opt[path].content))},
            "removed": {name: entry for name, entry in opt.items() if name != path},
            "added": opt | {"opt/pht_results/new": fs.file("opt/pht_results/new", pht.encrypt(secret, b"x"))},
            "other content": opt | {path: opt[path].with_(content=pht.encrypt(secret, b"x"))},
            "empty": opt | {path: opt[path].with_(content=b"")},
            "the wrapped key": edited(opt, "creator", "encrypted_key", lambda text: flipped(text, 30)),
        }
        for name, changed in bad.items():
            with self.subTest(name):
                self.results_refused(4, [], self.tar(self.home_tar(changed)))
                self.results_refused(4, [], self.layout(changed, sample_at(0), "case"))

    def test_tampered_configuration_needs_no_token(self):
        for steps in (("hash",), ("signature",), ("build", "signature"), ("result_hash",), ("result_signature",),
                      ("route", 2, "signature", "digest"), ("route", 0, "signature", "signature")):
            with self.subTest(member=steps):
                changed = edited(sample_at(3), *steps, lambda text: flipped(text, 5))
                self.results_refused(4, [], self.tar(self.home_tar(changed)), module="/nonexistent", pin=None)

    def test_a_changed_session_id_shows_in_the_hash(self):
        changed = edited(sample_at(3), "session_id", lambda text: flipped(text, 5))
        self.results_refused(4, [], self.tar(self.home_tar(changed)))

    def test_modes_and_links(self):
        out, _ = self.results_good(self.layout_at(3))
        self.assertEqual(os.stat(f"{out}/plots/gamma.bin").st_mode & 0o7777 & ~0o022, 0o755)
        self.assertEqual(os.readlink(f"{out}/last"), "gamma.csv")

    def test_the_umask_holds(self):
        """Decrypted results are for whom the researcher lets read files, whatever modes the train has."""
        opt = sample(["alpha"])
        plain = pht.pre_run(opt, "alpha", pool_key("alpha"))
        loose = [fs.file("opt/pht_results/loose", b"x", 0o666), fs.folder("opt/pht_results/wide", 0o777),
                 fs.file("opt/pht_results/wide/inner", b"x", 0o777)]
        final = pht.post_run(plain | {entry.path: entry for entry in loose}, plain[pht.CONFIG].content, opt, "alpha",
                             pool_key("alpha"))
        for mask in (0o077, 0o022):
            with self.subTest(f"{mask:o}"):
                before = os.umask(mask)
                try:
                    out, _ = self.results_good(self.layout(final, opt, "train"))
                finally:
                    os.umask(before)
                for name in ("", "loose", "wide", "wide/inner"):
                    self.assertEqual(os.stat(f"{out}/{name}").st_mode & mask, 0, name)

    def test_somebody_elses_folder_in_the_way(self):
        """In /tmp another user may put one there, to swap links in while it is cleaned up."""
        if os.geteuid() != 0:
            return  # only root can give a folder away
        source = self.tar(self.home_tar())
        partial = f"{self.work}/.out.traintoken"
        os.mkdir(partial)
        with open(f"{partial}/file", "wb") as stream:
            stream.write(b"kept")
        os.chown(partial, 65534, 65534)
        self.results_refused(8, [partial, "somebody else"], source)
        self.assertEqual(os.listdir(partial), ["file"])

    def test_no_set_id_bits(self):
        opt = sample(["alpha"])
        plain = pht.pre_run(opt, "alpha", pool_key("alpha"))
        executed = plain | {"opt/pht_results/tool": fs.file("opt/pht_results/tool", b"x", 0o6755, uid=0)}
        final = pht.post_run(executed, plain[pht.CONFIG].content, opt, "alpha", pool_key("alpha"))
        out, _ = self.results_good(self.layout(final, opt))
        self.assertEqual(os.stat(f"{out}/tool").st_mode & 0o7000, 0)


class HostileNames(ResultsCase):
    """An attacker who knows the symmetric key, or only adds what no hash covers."""

    def hostile(self, extra, words=(), status=(3, 4), first=False):
        subprocess.run(["rm", "-rf", f"{self.work}/out"], check=True)
        before = snapshot_outside(self.work)
        entries = self.home_tar()
        entries = [*extra, *entries] if first else [*entries[:-1], *extra, entries[-1]]
        self.results_refused(status, list(words), self.tar(entries))
        self.assertEqual(snapshot_outside(self.work), before)

    def test_names(self):
        content = pht.encrypt(self.secret(), b"pwned")
        for name in ("../evil", "pht_results/../../evil", "pht_results/a/../../../evil", f"{self.work}/evil",
                     "pht_results/./../evil", "/pht_results/evil", "..", "pht_results/..", "evil/../../evil",
                     "pht_results//../../evil"):
            with self.subTest(name=name):
                self.hostile([fs.file(name, content)])
                self.hostile([fs.symlink(name, "/etc")])

    def test_links_and_files_through_them(self):
        content = pht.encrypt(self.secret(), b"pwned")
        outside = f"{self.work}/outside"
        os.mkdir(outside)
        cases = {
            "link then file below": [fs.symlink("pht_results/l", outside), fs.file("pht_results/l/evil", content)],
            "relative link": [fs.symlink("pht_results/l", "../outside"), fs.file("pht_results/l/evil", content)],
            "link alone": [fs.symlink("pht_results/l", "/etc/passwd")],
            "link to a link": [fs.symlink("pht_results/a", "b"), fs.symlink("pht_results/b", "../..")],
            "link through a link": [fs.symlink("pht_results/plots/a", "."),
                                    fs.symlink("pht_results/plots/b", "a/a/../../..")],
            "hard link outside": [fs.hardlink("pht_results/l", "../outside/x")],
            "hard link absolute": [fs.hardlink("pht_results/l", "/etc/passwd")],
            "hard link to the configuration": [fs.hardlink("pht_results/l", "train_config.json")],
            "hard link to nothing": [fs.hardlink("pht_results/l", "pht_results/none")],
            "link in place of the folder": [fs.symlink("pht_results", outside)],
            "link in place of a folder inside": [fs.symlink("pht_results/plots", outside)],
            "device": [fs.Entry("pht_results/d", fs.CHAR)],
            "block device": [fs.Entry("pht_results/d", fs.BLOCK)],
            "pipe": [fs.Entry("pht_results/d", fs.PIPE)],
        }
        for name, extra in cases.items():
            with self.subTest(name):
                self.hostile(extra)
                self.hostile(extra, first=True)
                self.assertEqual(os.listdir(outside), [])

    def test_doubles(self):
        home = self.home_tar()
        for entry in home:
            with self.subTest(entry=entry.path):
                self.hostile([entry])
        self.hostile([fs.file("train_config.json", b"{}")], first=True)
        self.hostile([fs.symlink("pht_results/gamma.csv", "alpha.csv")])
        self.hostile([fs.folder("pht_results/gamma.csv")])
        self.hostile([home[2].with_(path="./" + home[2].path)])

    def test_other_names_do_not_come_along(self):
        entries = [*self.home_tar(), fs.file("elsewhere/evil", b"x"), fs.file("pht_resultsevil", b"x")]
        result = self.tt("results", self.tar(entries), "-o", f"{self.work}/out", key="creator")
        self.assertIn(result.status, (0, 3, 4), str(result))
        self.assertEqual([path for path in self.everything() if "evil" in path], [])

    def test_terminal_codes_in_names(self):
        content = pht.encrypt(self.secret(), b"x")
        path = self.tar([*self.home_tar(), fs.file("pht_results/\x1b[2Jevil", content)])
        result = self.refused((3, 4), [], "results", path, "-o", f"{self.work}/out", key="creator")
        self.assertNotIn("\x1b", result.err)

    def test_links_inside_are_made(self):
        opt = sample(["alpha"])
        plain = pht.pre_run(opt, "alpha", pool_key("alpha"))
        links = [fs.symlink("opt/pht_results/plots/up", "../alpha.csv"), fs.symlink("opt/pht_results/gone", "nowhere"),
                 fs.symlink("opt/pht_results/plots/absolute", "/opt/pht_results/alpha.csv"),
                 fs.symlink("opt/pht_results/root", "/opt/pht_results")]
        executed = plain | {entry.path: entry for entry in [*results_of("alpha"), *links]}
        final = pht.post_run(executed, plain[pht.CONFIG].content, opt, "alpha", pool_key("alpha"))
        out, _ = self.results_good(self.tar(self.home_tar(final)))
        found = self.files(out)
        self.assertEqual((found["plots/up"], found["gone"]), ("../alpha.csv", "nowhere"))
        # In the image an absolute link means a place in the image; on the researcher's machine it would mean another.
        self.assertEqual((found["plots/absolute"], found["root"]), ("../alpha.csv", "."))

    def test_many_and_long(self):
        names = ["pht_results/" + "/".join(["d" * 200] * 30) + "/evil", "pht_results/" + "n" * 300]
        for name in names:
            with self.subTest(length=len(name)):
                self.hostile([fs.file(name, pht.encrypt(self.secret(), b"x"))], status=(3, 4, 8))


def snapshot_outside(work):
    """Names in the places where hostile names would land."""
    return (sorted(set(os.listdir(work)) - {"home.tar"}),
            sorted(name for place in ("/", "/tmp", "/etc") for name in os.listdir(place) if "evil" in name),
            os.path.exists("/pht_results"))


if __name__ == "__main__":
    unittest.main()
