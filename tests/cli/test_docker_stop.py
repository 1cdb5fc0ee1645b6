"""Stops at trains in a Docker Engine: they do what they do in an OCI layout, keep the image's settings, leave no
plaintext in the engine, and take no more of it than they must."""

import os
import unittest
import urllib.parse

from support import engine as engines
from support import files as fs
from support import manifest, oci, pht
from support.engine_case import SETTINGS, EngineCase
from support.station import (MARKER, PIN, SANITIZED, STOPS, pool_key, results_of, sample, sample_at, tokens, vector,
                             vector_key)
from test_vectors import FAMILIES, hashed, results_only
from test_vectors import STOPS as VECTOR_STOPS

MIB = 1 << 20
ALL = ("kind", "content", "mode", "uid", "gid", "mtime", "target")


def opt_only(tree):
    """Without /opt itself: an engine sets its time when something new comes into it."""
    return {path: entry for path, entry in tree.items() if path.startswith("opt/")}


@engines.needs_engine()
class Vectors(EngineCase):
    """As the existing container image does it: STATION_ID, PRIVATE_KEY_PATH, PRIVATE_KEY_PASSWORD, two words."""

    def key(self, family, who):
        label = f"{family}-{who}"
        if label not in tokens().made:
            tokens().add(label, vector_key(family, who))
        return label

    def station(self, family, who):
        return {"STATION_ID": who, "PRIVATE_KEY_PATH": tokens().uri(self.key(family, who)),
                "TRAINTOKEN_MODULE": tokens().module}

    def plain_words(self, family, index):
        """Pieces of the plaintext at a stop, to search for."""
        executed = vector(family, f"stop{index}.executed")
        return [entry.content[:48] for entry in fs.under(executed, "opt")
                if entry.kind == fs.FILE and len(entry.content) >= 24 and entry.path not in (pht.CONFIG, pht.KEY_FILE)]

    def check_pre_run(self, family, index, name, arrived, says):
        theirs = {**arrived, **vector(family, f"stop{index}.decrypted")}
        ours = self.engine.tree(f"{name}:latest")
        self.assert_same_files(opt_only(ours), opt_only(theirs), ("kind", "content", "target"))
        # Something new came into /opt.
        ours, arrived = ({path: one for path, one in tree.items() if path != "opt"} for tree in (ours, arrived))
        self.assert_same_files(ours, arrived, ("kind", "mode", "uid", "gid", "mtime", "target"))
        self.assertEqual(says["digest_after"], self.engine.id(name))

    def check_post_run(self, family, index, name, says):
        expected = FAMILIES[family]["stops"][index]
        self.assertEqual((says["result_hash"], says["route_digest"]), (expected["result_hash"], expected["digest"]))
        tree = self.engine.tree(f"{name}:latest")
        for who in [*FAMILIES[family]["stations"], "user"]:
            opened = pht.open_train(tree, vector_key(family, who))
            self.assertEqual(opened.position, index + 1)
            self.assertEqual(hashed(opened.definition), FAMILIES[family]["train_files"])
            self.assertEqual(hashed(opened.results), expected["results"])
        self.assert_same_files(results_only(tree), results_only(vector(family, f"stop{index}.executed")),
                               ("kind", "mode", "uid", "gid", "mtime", "target"))
        self.assert_no_plaintext_in_engine(*self.plain_words(family, index))

    def in_a_layout(self, family, index, station):
        """The same stop by an OCI layout, with a memory of its own."""
        state, self.state = self.state, f"{self.work}/oci-{family}-{index}"
        opt = vector(family, f"stop{index}")
        layout = self.layout(opt, vector(family, "stop0") if index else None)
        self.good("pre-run", layout, env=self.station(family, station))
        entered = layout.tree("latest")
        executed = vector(family, f"stop{index}.executed")
        layout.push(oci.difference(entered, executed, pht.RESULTS))
        says = self.good("post-run", "--json", layout, env=self.station(family, station))
        self.state = state
        return opt_only(entered), says, opt_only(layout.tree("latest"))

    def test_each_stop(self):
        for place, (family, index, station) in enumerate(VECTOR_STOPS):
            with self.subTest(family=family, stop=index):
                name = f"127.0.0.1:5000/{family}/train-{index}"
                opt = vector(family, f"stop{index}")
                self.train_of(opt, vector(family, "stop0") if index else None, name)
                arrived = self.engine.tree(f"{name}:latest")
                env = self.station(family, station)
                written = f"docker-daemon:{name}:latest" if place % 2 else f"{name}:latest"
                says = self.good("pre-run", "--json", written, env=env)
                self.check_pre_run(family, index, name, arrived, says)
                entered = self.engine.tree(f"{name}:latest")
                self.engine.put(f"{name}:latest", results_only(vector(family, f"stop{index}.executed")))
                options = ["--rebase"] if place % 2 else []
                order = [written, *options] if place % 3 else [*options, written]
                says = self.good("post-run", "--json", *order, env=env)
                self.check_post_run(family, index, name, says)
                theirs, parity, left = self.in_a_layout(family, index, station)
                self.assert_same_files(opt_only(entered), theirs, ALL)
                for member in ("result_hash", "route_digest", "stop", "stops", "station", "session_id",
                               "definition_files", "definition_bytes", "result_files", "result_bytes"):
                    self.assertEqual(says[member], parity[member], member)
                after = opt_only(self.engine.tree(f"{name}:latest"))
                del after[pht.CONFIG], left[pht.CONFIG], after[pht.KEY_FILE], left[pht.KEY_FILE]
                self.assert_same_files(after, left, ("kind", "mode", "uid", "gid", "mtime", "target"))

    def test_whole_sessions_and_home(self):
        """Later stations work on what the earlier ones left; every train ends with the expected results."""
        for family, expected in FAMILIES.items():
            with self.subTest(family=family):
                name = self.train_of(vector(family, "stop0"), name=f"pht/{family}")
                for index, station in enumerate(expected["stations"]):
                    env = self.station(family, station)
                    self.good("pre-run", name, env=env)
                    self.engine.put(f"{name}:latest", results_only(vector(family, f"stop{index}.executed")))
                    says = self.good("post-run", "--json", name, "--rebase", env=env)
                    self.assertEqual(says["route_digest"], expected["stops"][index]["digest"])
                home = f"{self.work}/home-{family}"
                says = self.good("results", "--json", name, "-o", home, key=self.key(family, "user"))
                self.assertEqual(says["result_hash"], expected["stops"][-1]["result_hash"])


@engines.needs_engine()
class Manifests(EngineCase):
    """What stations sign of odd files is what the next one finds, whatever an engine does to them in between."""

    odd = [fs.file("opt/pht_results/a\nb \"c\"\\", b"1", 0o4711), fs.file("opt/pht_results/\x01\x7f", b"", 0o2750),
           fs.folder("opt/pht_results/d", 0o1777), fs.file("opt/pht_results/d/Zo\u00eb.csv", b"3", 0o200),
           fs.symlink("opt/pht_results/d/l", "../\u00fc"), fs.symlink("opt/pht_results/abs", "/opt/pht_results/d"),
           fs.hardlink("opt/pht_results/a-link", "opt/pht_results/d/Zo\u00eb.csv"),
           fs.hardlink("opt/pht_results/z-link", "opt/pht_results/d/Zo\u00eb.csv")]

    def test_odd_files(self):
        opt = manifest.seal(sample(), pool_key("creator"), pool_key("alpha"), [engines.system_layer().diff_id])
        name = self.train_of(opt, config={"Entrypoint": ["/bin/sh", "/opt/pht_train/entrypoint.sh"]})
        for station, entries in zip(STOPS, (self.odd, [], [fs.file("opt/pht_results/last", b"not a link")])):
            self.good("pre-run", name, station=station)
            self.run_code(name, station, entries)
            self.good("verify", name)
            self.good("post-run", name, station=station)
        said = manifest.check(self.engine.tree(f"{name}:latest"), pool_key("creator"),
                              self.engine.image(name)["RootFS"]["Layers"])
        self.assertEqual([len(said), said[1]["predicate"]["results"]["links"]], [4, 4])
        self.good("results", "--require-manifest", name, "-o", f"{self.work}/out", key="creator")

    def test_other_layers_below(self):
        opt = manifest.seal(sample(), pool_key("creator"), pool_key("alpha"))
        name = self.train_of(opt)
        self.assertNotEqual(oci.SYSTEM.diff_id, engines.system_layer().diff_id)
        self.refused(4, ["layer 0", "creator"], "pre-run", name, station="alpha", module="/nonexistent", pin=None)


@engines.needs_engine()
class Images(EngineCase):
    """What the images are that pre-run and post-run make."""

    def test_settings_are_the_bases(self):
        name = self.train(1, config=SETTINGS)
        base = self.engine.image(f"{name}:base")
        self.good("pre-run", name, station="beta")
        entered = self.engine.image(name)
        self.assertEqual(entered["Config"], base["Config"])
        self.assertEqual(entered["RootFS"]["Layers"][:3], self.engine.image(entered["Parent"])["RootFS"]["Layers"])
        # What a run and a commit leave in the settings is not the train's.
        container = self.engine.create(name, Env=["SECRET=of this station"], Labels={"scheduler": "x"}, User="0",
                                       Cmd=["other"], command=["/bin/true"])
        self.engine.api("PUT", f"/containers/{container}/archive?path=/", fs.write_tar(results_of("beta")))
        self.engine.docker("commit", container, f"{name}:latest")
        self.engine.remove(container)
        self.assertNotEqual(self.engine.image(name)["Config"], base["Config"])
        self.good("post-run", name, station="beta")
        left = self.engine.image(name)
        self.assertEqual(left["Config"], base["Config"])
        self.assertEqual((left["Architecture"], left["Os"]), (base["Architecture"], base["Os"]))
        self.assertNotIn("SECRET", str(self.engine.image(name)) + self.engine.docker("history", "--no-trunc", name))
        self.assertEqual(left["RootFS"]["Layers"][:-1], base["RootFS"]["Layers"])

    def test_an_image_with_no_command(self):
        for config in ({}, {"Entrypoint": None, "Cmd": None}):
            with self.subTest(config=config):
                name = self.train_of(sample_at(0), name=f"pht/bare-{len(config)}", config={"Env": ["A=b"], **config})
                base = self.settings(f"{name}:base")
                self.good("pre-run", name, station="alpha")
                self.assertEqual(self.settings(name), base)
                container = self.engine.create(name, command=["/bin/true"])
                self.engine.api("PUT", f"/containers/{container}/archive?path=/", fs.write_tar(results_of("alpha")))
                self.engine.commit(container, f"{name}:latest")
                self.engine.remove(container)
                self.good("post-run", name, station="alpha")
                self.assertEqual(self.settings(name), base)
                self.state = f"{self.work}/other-state"

    def settings(self, name):
        """Of an image, without what is empty: an engine makes {} of nothing and the like."""
        return {member: value for member, value in self.engine.image(name)["Config"].items() if value}

    def test_bits_owners_and_times(self):
        odd = [
            fs.folder("opt/pht_results", 0o1777, uid=7, gid=8, mtime=fs.WHEN + 1),
            fs.file("opt/pht_results/set-uid", MARKER, 0o4751, uid=1000, gid=100, mtime=1),
            fs.file("opt/pht_results/big-owner", MARKER, 0o600, uid=3_000_000, gid=3_000_001),
            fs.file("opt/pht_results/none", b"", 0o000),
            fs.folder("opt/pht_results/shut", 0o000, mtime=fs.WHEN + 9),
            fs.file("opt/pht_results/shut/in", MARKER, 0o777, mtime=fs.WHEN + 0.25),
            fs.symlink("opt/pht_results/other", "shut/in", mtime=fs.WHEN + 3),
            fs.file("opt/pht_results/n\u00e4me with space", MARKER),
            fs.file("opt/pht_results/" + "long/" * 30 + "x" * 200, MARKER),
            fs.file("opt/pht_results/.wh-like", MARKER), fs.folder("opt/pht_results/empty", 0o700),
        ]
        name = self.train()
        self.good("pre-run", name, station="alpha")
        self.run_code(name, "alpha", fs.tree(odd).values())
        entered = self.engine.tree(f"{name}:latest")
        self.good("post-run", name, station="alpha")
        left = self.engine.tree(f"{name}:latest")
        self.assert_same_files(results_only(left), results_only(entered), ("kind", "mode", "uid", "gid", "mtime", "target"))
        self.assert_same_files(fs.under(left, pht.DEFINITION), fs.under(entered, pht.DEFINITION),
                               ("kind", "mode", "uid", "gid", "mtime"))
        self.good("pre-run", name, station="beta")
        again = self.engine.tree(f"{name}:latest")
        self.assert_same_files(results_only(again), results_only(entered), ALL)
        self.assertEqual(again["opt/pht_train/entrypoint.sh"].mode, 0o755)

    def test_hard_links(self):
        name = self.train()
        self.good("pre-run", name, station="alpha")
        self.run_code(name, "alpha", [fs.folder(pht.RESULTS), fs.file("opt/pht_results/one", MARKER * 20, 0o640),
                                      fs.hardlink("opt/pht_results/two", "opt/pht_results/one")])
        self.good("post-run", name, station="alpha")
        opened = self.opened(name, pool_key("beta"))
        self.assertEqual(opened.results["one"], MARKER * 20)
        self.assert_no_plaintext_in_engine()
        self.good("pre-run", name, station="beta")
        tree = self.engine.tree(f"{name}:latest")
        self.assertEqual(tree["opt/pht_results/one"].content, MARKER * 20)
        self.assertIn(tree["opt/pht_results/two"].kind, (fs.HARDLINK, fs.FILE))

    def test_results_that_were_removed(self):
        """A run may replace and delete: what is gone stays gone, through a commit and a pre-run."""
        name = self.train(1)
        self.good("pre-run", name, station="beta")
        container = self.engine.create(name, command=["/bin/sh", "-c", "rm -r /opt/pht_results/* && "
                                                      "echo new > /opt/pht_results/new"], User="0")
        self.engine.docker("start", "-a", container)
        self.engine.commit(container, f"{name}:latest")
        self.engine.remove(container)
        self.good("post-run", name, station="beta")
        self.assertEqual(self.opened(name, pool_key("gamma")).results, {"new": b"new\n"})
        self.good("pre-run", name, station="gamma")
        self.assertEqual(pht.relative(self.engine.tree(f"{name}:latest"), pht.RESULTS), {"new": b"new\n"})

    def test_base_with_results_and_more_in_it(self):
        """Files of an earlier state under :base are not part of what travels on."""
        base = {**sample_at(0), **fs.tree([fs.file("opt/pht_results/old", b"of the base"),
                                           fs.file("opt/other", b"stays", 0o600)])}
        name = self.train_of(sample_at(1), base)
        self.good("pre-run", name, station="beta")
        self.run_code(name, "beta")
        self.good("post-run", name, station="beta")
        tree = self.engine.tree(f"{name}:latest")
        self.assertNotIn("opt/pht_results/old", tree)
        self.assertEqual(tree["opt/other"].content, b"stays")
        self.opened(name, pool_key("gamma"))

    def test_a_volume_over_the_results(self):
        """An engine takes what lies in a volume for no part of the image: that must not lose results unseen."""
        for where in ("/opt/pht_results", "/opt", "/opt/pht_train"):
            with self.subTest(where):
                name = self.train_of(sample_at(1), sample_at(0), "pht/volume" + where.replace("/", ".").replace("_", "-"),
                                     {**SETTINGS, "Volumes": {where: {}}})
                before = self.everything()
                result = self.tt("pre-run", name, station="beta")
                if result.status == 0:
                    tree = self.engine.tree(f"{name}:latest")
                    self.assertIn(MARKER, tree["opt/pht_train/entrypoint.sh"].content)
                    self.assertIn(MARKER, tree["opt/pht_results/alpha.csv"].content)
                else:
                    self.assertIn(result.status, (3, 4, 8), str(result))
                    self.assertIn("volume", result.err)
                    self.assert_all_is_as(before)
                self.assertEqual(self.engine.api("GET", "/volumes")["Volumes"] or [], [], "volumes left")
                self.state = f"{self.work}/state-{where.replace('/', '-')}"

    def test_on_build_is_not_carried_out(self):
        name = self.train_of(sample_at(0), config={**SETTINGS, "OnBuild": ["RUN false"]})
        self.good("pre-run", name, station="alpha")
        self.assertEqual(self.engine.image(name)["Config"]["OnBuild"], ["RUN false"])


@engines.needs_engine()
class Base(EngineCase):
    def test_no_base(self):
        name = self.decrypted()
        self.engine.docker("rmi", f"{name}:base")
        before = self.everything()
        result = self.tt("post-run", "--rebase", name, station="beta")
        self.assertEqual(result.status, 8, str(result))
        self.assertIn(f"{name}:base", result.err)
        self.assertIn("pull", result.err)
        self.assert_all_is_as(before)
        self.engine.tag(self.engine.image(name)["Id"], "something:else")

    def test_the_missing_base_is_seen_before_the_token(self):
        name = self.decrypted()
        self.engine.docker("rmi", f"{name}:base")
        result = self.tt("post-run", name, station="beta", pin="wrong-pin")
        self.assertEqual(result.status, 8, str(result))

    def test_another_base(self):
        name = self.decrypted()
        self.engine.tag(f"{name}:base", "elsewhere/kept:as")
        self.engine.docker("rmi", f"{name}:base")
        for wrong in ("elsewhere/missing:as", f"oci:{self.work}/x"):
            result = self.tt("post-run", "--base", wrong, name, station="beta")
            self.assertIn(result.status, (2, 8), str(result))
        self.good("post-run", "--base", "elsewhere/kept:as", name, station="beta")
        self.assertEqual(self.opened(name, pool_key("gamma")).position, 2)
        self.assert_no_plaintext_in_engine()

    def test_a_base_that_is_decrypted(self):
        name = self.decrypted()
        self.engine.tag(f"{name}:latest", f"{name}:base")
        before = self.everything()
        result = self.tt("post-run", name, station="beta")
        self.assertEqual(result.status, 4, str(result))
        self.assert_all_is_as(before)

    def test_the_record_of_the_station(self):
        name = self.train(1)
        self.refused(9, [], "post-run", name, station="beta")
        self.good("pre-run", name, station="beta")
        self.refused(9, ["decrypted"], "pre-run", name, station="beta")
        self.run_code(name, "beta")
        self.good("post-run", name, station="beta")
        for command in ("pre-run", "post-run"):
            self.refused(9, [], command, name, station="beta")
        # The same train once more, as it arrived.
        again = self.train(1, "pht/again")
        self.refused(9, [], "pre-run", again, station="beta")
        self.good("pre-run", "--again", again, station="beta")

    def test_what_the_run_must_not_change(self):
        for what, entry in {"configuration": fs.file(pht.CONFIG, b"{}"),
                            "definition": fs.file("opt/pht_train/entrypoint.sh", b"#!/bin/sh\n", 0o755),
                            "new": fs.file("opt/pht_train/more.sh", b"#!/bin/sh\n")}.items():
            with self.subTest(what):
                self.state = f"{self.work}/state-{what}"
                name = self.decrypted(name=f"pht/{what}")
                self.run_code(name, "beta", [entry])
                before = self.everything()
                result = self.tt("post-run", name, station="beta")
                self.assertIn(result.status, (3, 4), str(result))
                self.assert_all_is_as(before)

    def test_nothing_else_of_the_run_travels(self):
        name = self.train()
        self.good("pre-run", name, station="alpha")
        self.run_code(name, "alpha", [*results_of("alpha"), fs.file("etc/passwd", MARKER), fs.file("opt/pht_resultsx", MARKER),
                                      fs.file("opt/new", MARKER), fs.file("root/.cache/x", MARKER)])
        self.good("post-run", name, station="alpha")
        tree = self.engine.tree(f"{name}:latest")
        base = self.engine.tree(f"{name}:base")
        new = {path for path in tree.keys() - base.keys() if not path.startswith("opt/pht_results/")}
        self.assertEqual(new, {pht.KEY_FILE})
        self.assertEqual(tree["etc/passwd"], base["etc/passwd"])
        self.assert_no_plaintext_in_engine()


@engines.needs_engine()
class Plaintext(EngineCase):
    def test_after_each_stop(self):
        name = self.train()
        for station in STOPS:
            self.good("pre-run", name, station=station)
            self.assertTrue(self.engine.holding(MARKER), "decrypted trains hold plaintext")
            self.run_code(name, station)
            self.good("post-run", name, station=station)
            self.assert_no_plaintext_in_engine()
            self.assertEqual(set(self.engine.tags()), {f"{name}:base", f"{name}:latest"})

    def test_images_that_are_left(self):
        """Beside base and latest there is the image as it arrived, as docker leaves one whose tag moved on."""
        name = self.train(1)
        arrived = self.engine.id(name)
        self.good("pre-run", name, station="beta")
        self.run_code(name, "beta")
        self.good("post-run", name, station="beta")
        tagged = set(self.engine.tags().values())
        self.assertLessEqual(set(self.engine.images()) - tagged, {arrived})

    def test_after_a_pre_run_that_fails(self):
        opt = sample_at(1)
        secret = pht.open_train(opt, pool_key("beta")).secret
        late = opt["opt/pht_results/plots/alpha.bin"]
        for what, content in {"other result": pht.encrypt(secret, MARKER), "short": late.content[:-1],
                              "last block": late.content[:-1] + bytes([late.content[-1] ^ 1])}.items():
            with self.subTest(what):
                name = self.train_of(opt | {late.path: late.with_(content=content)}, sample_at(0),
                                     "pht/" + what.replace(" ", "-"))
                before = self.everything()
                result = self.tt("pre-run", name, station="beta")
                self.assertIn(result.status, (3, 4), str(result))
                self.assert_all_is_as(before)
                self.assert_no_plaintext_in_engine()

    def test_after_a_wrong_pin(self):
        name = self.train(1)
        before = self.everything()
        self.assertEqual(self.tt("pre-run", name, station="beta", pin="0000").status, 7)
        self.assert_all_is_as(before)
        counted = self.counted()
        self.assertEqual((counted["put"], counted["commit"]), (0, 0))
        tokens().add("beta-again", pool_key("beta"))  # a right login resets the count of tries
        self.good("pre-run", name, station="beta")
        self.run_code(name, "beta")
        before = self.everything()
        mark = self.engine.log_size()
        self.assertEqual(self.tt("post-run", name, station="beta", pin="0000").status, 7)
        self.assert_all_is_as(before)
        self.assertEqual(self.counted(mark)["commit"], 0)
        self.good("post-run", name, station="beta")
        self.assert_no_plaintext_in_engine()

    def test_many_commits_of_the_run(self):
        name = self.train(1)
        self.good("pre-run", name, station="beta")
        for step in range(4):
            self.run_code(name, "beta", [*results_of("beta"), fs.file(f"opt/pht_results/step{step}", MARKER)])
        self.good("post-run", name, station="beta")
        self.assert_no_plaintext_in_engine()

    def test_commits_that_hand_our_comment_on(self):
        """As those of Podman 5 do: what is made of a decrypted image says the same of itself."""
        name = self.train(1)
        self.good("pre-run", name, station="beta")
        comment = urllib.parse.quote(self.engine.image(name)["Comment"])
        for step in range(2):
            container = self.engine.create(name)
            result = fs.file(f"opt/pht_results/step{step}", MARKER)
            self.engine.api("PUT", f"/containers/{container}/archive?path=/", fs.write_tar([result]))
            self.engine.api("POST", f"/commit?container={container}&repo={name}&tag=latest&comment={comment}", {})
            self.engine.remove(container)
        self.good("post-run", name, station="beta")
        self.assert_no_plaintext_in_engine()

    def test_another_tag_is_said(self):
        name = self.decrypted()
        self.engine.tag(f"{name}:latest", "debug/kept:mine")
        result = self.good("post-run", name, station="beta")
        self.assertIn("warning", result.err)
        self.assertIn("debug/kept:mine", result.err)
        self.assertIn("debug/kept:mine", self.engine.tags())
        self.assertEqual(self.opened(name, pool_key("gamma")).position, 2)
        self.engine.docker("rmi", "debug/kept:mine")

    def test_a_tag_on_what_pre_run_made_is_said(self):
        name = self.train(1)
        self.good("pre-run", name, station="beta")
        self.engine.tag(f"{name}:latest", "debug/entered:mine")
        self.run_code(name, "beta")
        result = self.good("post-run", name, station="beta")
        self.assertIn("warning", result.err)
        self.assertIn("debug/entered:mine", result.err)
        self.assertIn("debug/entered:mine", self.engine.tags())
        self.engine.docker("rmi", "debug/entered:mine")
        self.assert_no_plaintext_in_engine()

    def test_a_container_is_said(self):
        for state in ("created", "exited", "running"):
            with self.subTest(state):
                self.state = f"{self.work}/state-{state}"
                name = self.decrypted(name=f"pht/{state}")
                container = self.engine.create(name, f"left-{state}", ["/bin/sleep", "1000"] if state == "running"
                                               else ["/bin/true"], User="0")
                if state != "created":
                    self.engine.docker("start", container)
                if state == "exited":
                    self.engine.docker("wait", container)
                result = self.good("post-run", name, station="beta")
                self.assertIn("warning", result.err)
                self.assertIn(f"left-{state}", result.err)
                self.assertIn(f"left-{state}", self.engine.containers())
                self.engine.remove(container)
                self.assertEqual(self.opened(name, pool_key("gamma")).position, 2)
                self.engine.docker("image", "prune", "-f")
                self.assert_no_plaintext_in_engine()

    def test_others_things_are_left_alone(self):
        """Images and containers that look a little like ours."""
        self.engine.import_base("other:latest", [fs.file("x", b"1")])
        container = self.engine.create("other", "traintoken-like", ["/bin/true"], Labels={"traintoken": "no"})
        lost = self.engine.put("other:latest", [fs.file("y", b"2")], "other:lost")
        self.engine.put("other:latest", [fs.file("y", b"3")], "other:lost")
        name = self.decrypted()
        self.good("post-run", name, station="beta")
        self.good("clean")
        self.assertIn("traintoken-like", self.engine.containers())
        self.assertIn(lost, self.engine.images())
        self.assertIn("other:lost", self.engine.tags())
        self.engine.remove(container)

    def test_neither_pin_nor_plaintext_in_the_daemons_log(self):
        name = self.decrypted()
        self.good("post-run", name, station="beta")
        words = self.engine.log_text(self.mark)
        self.assertNotIn(PIN, words)
        self.assertNotIn(MARKER.decode(), words)


@engines.needs_engine()
class Costs(EngineCase):
    def test_each_byte_moves_once(self):
        name = self.train(1)
        mark = self.engine.log_size()
        self.good("pre-run", name, station="beta")
        self.assertEqual(self.counted(mark), {"get": 1, "put": 1, "commit": 1})
        self.run_code(name, "beta")
        mark = self.engine.log_size()
        self.good("post-run", name, station="beta")
        self.assertEqual(self.counted(mark), {"get": 1, "put": 1, "commit": 1})
        self.assertLessEqual(len(self.engine.calls(mark)), 60)

    def test_reading_makes_nothing(self):
        name = self.train(1)
        for command in ("verify", "inspect"):
            mark = self.engine.log_size()
            self.good(command, name)
            counted = self.counted(mark)
            self.assertEqual((counted["put"], counted["commit"]), (0, 0), command)

    def test_disk_and_memory(self):
        """Of the daemon: at most the new train. Of traintoken: the same for any train."""
        big = fs.file("opt/pht_results/big", os.urandom(4 * MIB) * 8)
        name = self.train_of(sample(session_id=bytes(64)))
        before = self.engine.disk_use()
        self.good("pre-run", name, station="alpha")
        self.run_code(name, "alpha", [*results_of("alpha"), big])
        with self.subTest("post-run"):
            peak = self.peak(self.arguments("post-run", name, station="alpha"))
            if not SANITIZED:
                self.assertLess(peak, 32 * 1024)
        grown = self.engine.disk_use() - before
        self.assertLess(grown, len(big.content) + 1.5 * MIB)
        self.assert_no_plaintext_in_engine(MARKER, big.content[:64])
        with self.subTest("pre-run"):
            peak = self.peak(self.arguments("pre-run", name, station="beta"))
            if not SANITIZED:
                self.assertLess(peak, 32 * 1024)
        middle = self.engine.disk_use()
        self.assertLess(middle - before - grown, len(big.content) + 1.5 * MIB)
        self.run_code(name, "beta", results_of("beta"))
        self.good("post-run", name, station="beta")
        self.assertLess(self.engine.disk_use() - before - grown, len(big.content) + 1.5 * MIB)
        self.engine.docker("image", "prune", "-f")
        self.assertLess(self.engine.disk_use() - before, len(big.content) + 1.5 * MIB)


if __name__ == "__main__":
    unittest.main()
