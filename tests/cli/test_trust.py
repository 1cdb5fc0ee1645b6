"""Whom a station trusts: the store, its commands, and what is refused because of it (ATTACKS, rows 1 and 2)."""

import datetime
import json
import os
import pathlib
import random
import shutil
import subprocess
import time
import unittest

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from support import files as fs
from support import oci, pht, registry, terminal
from support.station import (DEFINITION, PIN, PROGRAM, QUERY, STOPS, Case, edited, pool_key, sample, sample_at, tokens)


def fingerprint(key):
    import base64
    import hashlib

    return "SHA256:" + base64.b64encode(hashlib.sha256(pht.public_der(key)).digest()).decode().rstrip("=")


class TrustCase(Case):
    """A station that believes nobody but those in its store."""

    def environment(self, **more):
        return super().environment(**{"TRAINTOKEN_TRUST_TRAIN_KEYS": None, **more})

    def trust_command(self, command, *more, **options):
        return self.tt("trust", command, *more, **options)

    def done(self, command, *more, **options):
        result = self.trust_command(command, "--json", *more, **options)
        self.assertEqual(result.status, 0, str(result))
        self.assertEqual(result.json["command"], f"trust {command}", str(result))
        return result.json

    def fails(self, status, words, command, *more, **options):
        before = self.everything()
        result = self.trust_command(command, *more, **options)
        self.assertEqual(result.status, status, str(result))
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, result.err, str(result))
        self.assertEqual(self.everything(), before, str(result))
        return result

    def forget(self, *path):
        shutil.rmtree("/".join((self.trust, *path)))

    def pem(self, name, key=None):
        path = f"{self.work}/{name}.pem"
        pathlib.Path(path).write_bytes(pht.public_pem(key or pool_key(name)))
        return path

    def file(self, name, content):
        path = f"{self.work}/{name}"
        pathlib.Path(path).write_bytes(content)
        return path

    def missing(self, result):
        """The commands that a refusal printed, each on a line of its own warning."""
        found = [line.split("if the key is theirs: ", 1) for line in result.err.splitlines()]
        self.assertTrue(all(line.startswith("traintoken: ") for line in result.err.splitlines()), str(result))
        return [line[1] for line in found if len(line) == 2]

    def typed(self, command, answer, cwd=None):
        """Gives a command line to a shell on a terminal, and answers the question. Gives (status, what was shown)."""
        environment = self.environment(PATH=f"{os.path.dirname(PROGRAM)}:{os.environ['PATH']}")
        status, text, _ = terminal.converse(["/bin/sh", "-c", command], environment, [answer + "\n"], cwd or self.work)
        return status, text


class Attacks(TrustCase):
    def test_attack_1_train_of_an_attackers_keys(self):
        """Made and signed wholly with an attacker's keys; only ours is the right one, as it must be."""
        outsider = pool_key("outsider")
        twin = self.layout(sample())
        train = pht.seal(DEFINITION, [("alpha", pool_key("alpha")), ("beta", outsider)], "researcher-1", outsider,
                         query=QUERY)
        layout = self.layout(train)
        # Without a PIN, and with a module that cannot be loaded: refused before either matters.
        for command in ("pre-run", "verify"):
            result = self.refused(5, ["creator 'researcher-1'", "station 'beta'", "ANOTHER key is known"], command, layout,
                                  station=None if command == "verify" else "alpha", pin=None, module="/nonexistent.so")
            self.assertEqual(len(self.missing(result)), 2)
            self.assertIn(fingerprint(outsider), result.err)
            self.assertNotIn("station 'alpha'", result.err if command == "pre-run" else "")
        self.good("verify", twin)
        self.good("pre-run", twin, station="alpha")

    def test_attack_2_a_stops_key_swapped(self):
        """The attacker would open the results after our post-run. Nothing that is signed covers the keys of stops."""
        opt = sample()
        swapped = edited(opt, "route", 2, "rsa_public_key", pht.public_pem(pool_key("outsider")).hex())
        pht.check_public(swapped)
        result = self.refused(5, ["station 'gamma'", "ANOTHER key"], "pre-run", self.layout(swapped), station="alpha",
                              pin=None)
        self.assertEqual(len(self.missing(result)), 1)
        self.assertNotIn("creator", result.err)
        twin = self.layout(opt)
        self.good("pre-run", twin, station="alpha")

    def test_attack_2_between_pre_run_and_post_run(self):
        """With --config the configuration comes from elsewhere: whom it names is asked again."""
        layout = self.layout(sample())
        self.good("pre-run", layout, station="alpha")
        self.run_code(layout, "alpha")
        self.forget("stations", "gamma")
        self.refused(5, "station 'gamma'", "post-run", layout, station="alpha", pin=None)
        self.pin("stations", "gamma", pool_key("gamma"))
        self.good("post-run", layout, station="alpha")

    def test_attack_2_at_home(self):
        """A stop that is nobody's we know has signed: its results are not opened."""
        opt = sample_at(3)
        self.forget("stations", "beta")
        self.forget("creators")  # our own: the token tells
        result = self.refused(5, ["station 'beta'", "nothing is known"], "results", self.layout(opt, sample_at(0)), "-o",
                              f"{self.work}/out", key="creator", pin=None)
        self.assertEqual(len(self.missing(result)), 1)
        self.pin("stations", "beta", pool_key("beta"))
        self.good("results", self.layout(opt, sample_at(0)), "-o", f"{self.work}/out", key="creator")

    def test_own_entry_is_the_tokens(self):
        """Whatever the store has of us: the token's key is what counts."""
        self.forget("stations", "alpha")
        self.good("pre-run", self.layout(sample()), station="alpha")
        self.pin("stations", "alpha", pool_key("outsider"))
        self.good("pre-run", self.layout(sample()), station="alpha", env={"TRAINTOKEN_STATE": f"{self.home}/other"})
        swapped = edited(sample(), "route", 0, "rsa_public_key", pht.public_pem(pool_key("outsider")).hex())
        self.refused(5, "for another key", "pre-run", self.layout(swapped), station="alpha")

    def test_the_builders_key_is_nobodys(self):
        self.good("verify", self.layout(pht.seal(DEFINITION, [("alpha", pool_key("alpha"))], "researcher-1",
                                                 pool_key("creator"), pool_key("outsider"))))

    def test_verify_leaves_our_own_key_to_the_token(self):
        self.forget("stations", "alpha")
        layout = self.layout(sample())
        self.refused(5, "station 'alpha'", "verify", layout)
        says = self.good("verify", "--json", layout, env={"STATION_ID": "alpha"})
        found = {check["name"]: check["result"] for check in says["checks"]}
        self.assertEqual((found["trust"], found["own-key"]), ("ok", "needs-key"))
        self.good("verify", "--station=alpha", layout)
        self.refused(5, "station 'alpha'", "verify", "--station=delta", layout)

    def test_a_numeric_id_is_its_text(self):
        self.pin("stations", "7", pool_key("alpha"))
        self.pin("creators", "12", pool_key("creator"))
        opt = sample([(7, pool_key("alpha"))], creator_id=12)
        self.good("verify", self.layout(opt))
        self.good("verify", self.layout(sample([("7", pool_key("alpha"))], creator_id="12")))

    def test_the_same_id_of_the_other_role_does_not_count(self):
        self.pin("stations", "researcher-1", pool_key("creator"))
        self.forget("creators")
        self.refused(5, "creator 'researcher-1'", "verify", self.layout(sample()))


class TrainKeys(TrustCase):
    def test_loudly(self):
        shutil.rmtree(self.trust)
        layout = self.layout(sample())
        for more, env in ((["--trust-train-keys"], {}), ([], {"TRAINTOKEN_TRUST_TRAIN_KEYS": "1"}),
                          ([], {"TRAINTOKEN_TRUST_TRAIN_KEYS": "Yes"})):
            result = self.good("verify", "-q", *more, layout, env=env)
            self.assertIn("warning: 4 of 4 keys are BELIEVED", result.err)
            self.assertEqual(len(result.err.splitlines()), 1)
        result = self.good("pre-run", "--trust-train-keys", layout, station="alpha")
        self.assertIn("3 of 3 keys are BELIEVED", result.err)

    def test_recorded(self):
        shutil.rmtree(self.trust)
        self.good("pre-run", "--trust-train-keys", self.layout(sample()), station="alpha")
        text = pathlib.Path(self.trail).read_text("utf-8")
        for key in ("creator", "beta", "gamma"):
            self.assertIn(fingerprint(pool_key(key)), text)

    def test_only_what_is_missing(self):
        layout = self.layout(sample())
        self.assertEqual(self.good("verify", "--trust-train-keys", layout).err, "")
        self.forget("stations", "gamma")
        self.assertIn("1 of 4 keys are BELIEVED", self.good("verify", "--trust-train-keys", layout).err)

    def test_off(self):
        self.forget("stations", "gamma")
        layout = self.layout(sample())
        for value in ("0", "", "no", "False", "off"):
            self.refused(5, "gamma", "verify", layout, env={"TRAINTOKEN_TRUST_TRAIN_KEYS": value})
        for value in ("maybe", "2", " 1"):
            self.refused(2, "TRAINTOKEN_TRUST_TRAIN_KEYS is 1 or 0", "verify", layout,
                         env={"TRAINTOKEN_TRUST_TRAIN_KEYS": value})

    def test_tampering_is_tampering(self):
        """A train that was changed is refused for that, and nobody is invited to trust its keys."""
        shutil.rmtree(self.trust)
        opt = sample()
        changed = edited(opt, "hash", lambda text: "00" + text[2:])
        result = self.refused(4, "signature", "pre-run", self.layout(changed), station="alpha")
        self.assertNotIn("trust add", result.err)


class Printed(TrustCase):
    """The command that a refusal prints is one that works."""

    def works(self, layout, count, station="alpha", run=None):
        result = self.tt("pre-run", layout, station=station, pin=None)
        self.assertEqual(result.status, 5, str(result))
        commands = self.missing(result)
        self.assertEqual(len(commands), count, str(result))
        for command in commands:
            status, shown = self.typed(command, "yes")
            self.assertEqual(status, 0, f"{command}\n{shown}")
            self.assertRegex(shown, r"SHA256:\S{43}.*Type yes")
        self.assertEqual(self.tt("pre-run", layout, station=station).status, 0)

    def test_as_it_is(self):
        shutil.rmtree(self.trust)
        self.works(self.layout(sample()), 3)

    def test_names_that_a_shell_would_take_apart(self):
        evil = "'; touch pwned; echo `id` $(id) \"x\" -- *"
        creator = "-n ../../ü"
        opt = sample([("alpha", pool_key("alpha")), (evil, pool_key("beta")), ("--yes", pool_key("gamma"))],
                     creator_id=creator)
        self.trust = f"{self.work}/a trust store/it's"
        self.works(self.layout(opt, name="a layout; with 'spaces'"), 3)
        self.assertFalse(os.path.exists(f"{self.work}/pwned"))
        self.assertEqual({entry["id"] for entry in self.done("list")["entries"]}, {creator, evil, "--yes"})
        outside = [path for path in pathlib.Path(self.work).rglob("*.pem") if self.trust not in str(path)
                   and not str(path).startswith(f"{self.work}/trust/")]
        self.assertEqual(outside, [])

    def test_a_command_that_is_too_long_for_its_line(self):
        """Cut off within its quotes, it would be another command: it is not shown at all."""
        name = "'" * 120
        layout = self.layout(sample([("alpha", pool_key("alpha")), (name, pool_key("beta"))]), name="y" * 100 + "'" * 100)
        result = self.refused(5, "no names for a command line", "pre-run", layout, station="alpha")
        self.assertEqual(self.missing(result), ["traintoken trust add (the names are no names for a command line)"])

    def test_another_answer(self):
        self.forget("stations", "gamma")
        layout = self.layout(sample())
        command, = self.missing(self.tt("pre-run", layout, station="alpha"))
        for answer in ("no", "y", ""):
            status, shown = self.typed(command, answer)
            self.assertEqual(status, 2, shown)
        self.refused(5, "gamma", "pre-run", layout, station="alpha")

    def test_others_that_are_known_are_said(self):
        self.pin("stations", "gamma", pool_key("outsider"))
        command, = self.missing(self.tt("pre-run", self.layout(sample()), station="alpha"))
        status, shown = self.typed(command, "yes")
        self.assertEqual(status, 0, shown)
        self.assertIn("OTHER keys of it are trusted already", " ".join(shown.split()))

    def test_without_a_terminal(self):
        self.forget("stations", "gamma")
        layout = self.layout(sample())
        self.fails(2, "--yes", "add", "--from", layout, "station", "gamma")
        self.assertEqual(self.done("add", "--from", layout, "--yes", "station", "gamma")["fingerprint"],
                         fingerprint(pool_key("gamma")))
        self.good("pre-run", layout, station="alpha")

    def test_of_a_tar(self):
        tree = sample_at(3)
        tar = f"{self.work}/results.tar"
        entries = [entry.with_(path=entry.path.removeprefix("opt/")) for entry in tree.values()
                   if entry.path.startswith((pht.RESULTS, pht.CONFIG))]
        pathlib.Path(tar).write_bytes(fs.write_tar(entries))
        self.forget("stations", "beta")
        result = self.tt("results", tar, "-o", f"{self.work}/out", key="creator")
        self.assertEqual(result.status, 5, str(result))
        command, = self.missing(result)
        self.assertEqual(self.typed(command, "yes")[0], 0)
        self.good("results", tar, "-o", f"{self.work}/out", key="creator")

    def test_a_changed_train_is_no_source(self):
        changed = self.layout(edited(sample(), "hash", lambda text: "00" + text[2:]))
        self.fails(4, "signature", "add", "--yes", "--from", changed, "creator")
        self.fails(4, "signature", "check", changed)


class Commands(TrustCase):
    def test_add_a_key(self):
        shutil.rmtree(self.trust)
        says = self.done("add", "station", "7", self.pem("alpha"))
        self.assertEqual((says["role"], says["id"], says["was_there"], says["others"]), ("station", "7", False, 0))
        self.assertEqual(says["fingerprint"], fingerprint(pool_key("alpha")))
        says = self.done("add", "station", "7", self.pem("alpha"))
        self.assertEqual((says["was_there"], says["others"]), (True, 0))
        self.assertEqual(self.done("add", "station", "7", self.pem("beta"))["others"], 1)
        path = f"{self.trust}/{says['file']}"
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o644)
        self.assertEqual(serialization.load_pem_public_key(pathlib.Path(path).read_bytes()).public_numbers(),
                         pool_key("alpha").public_key().public_numbers())
        self.assertEqual(len(self.done("list")["entries"]), 2)

    def test_a_narrow_umask_hides_nothing(self):
        shutil.rmtree(self.trust)
        self.done("add", "station", "7", self.pem("alpha"), before=["/bin/sh", "-c", 'umask 077; exec "$@"', "sh"])
        for path in (self.trust, *pathlib.Path(self.trust).rglob("*")):
            self.assertEqual(os.stat(path).st_mode & 0o444, 0o444, path)

    def test_add_what_is_no_key(self):
        private = self.file("private.pem", pool_key("alpha").private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        for words, path in (("private key", private), ("neither", self.file("x", b"hello")), ("2048 to 8192", self.pem("short")),
                            ("not an RSA key", self.pem("curve")), ("cannot be read", f"{self.work}/none.pem"),
                            ("cannot be read", self.work), ("not text", self.file("y", b"\0")),
                            ("too long", self.file("z", bytes(70000))), ("neither", self.file("e", b""))):
            with self.subTest(path=path):
                self.fails(2, words, "add", "station", "7", path)

    def test_add_what_cannot_be(self):
        pem = self.pem("alpha")
        for words in ([], ["nobody", "7", pem], ["station"], ["station", "7"], ["station", "7", pem, "x"],
                      ["creator", pem], ["authority"], ["authority", "x", "y"], ["station", "", pem],
                      ["station", "x" * 300, pem], ["--from", "oci:x", "station", "7", pem],
                      ["--from", "oci:x", "authority"], ["--token", "pkcs11:x", "--vault", "https://x", "station", "7"],
                      ["--vault-path", "x/y", "station", "7", pem], ["--from", "oci:x", "station"],
                      ["--valid-until", "tomorrow", "station", "7", pem], ["--valid-until", "2020-01-01", "station", "7", pem],
                      ["--valid-from", "2040-01-01", "--valid-until", "2030-01-01", "station", "7", pem],
                      ["--trust", "", "station", "7", pem]):
            with self.subTest(words=words):
                self.fails(2, [], "add", *words)

    def test_hexadecimal_as_in_a_train(self):
        path = self.file("key.hex", pht.public_pem(pool_key("alpha")).hex().encode() + b"\n")
        self.assertEqual(self.done("add", "creator", "x", path)["fingerprint"], fingerprint(pool_key("alpha")))

    def test_list_show_remove(self):
        for name in ("alpha", "beta"):
            self.done("add", "station", "a/b", self.pem(name), "--valid-until", "2100-01-01")
        self.assertIn("until 2100-01-01T00:00:00Z", self.trust_command("list").out)
        shown = self.done("show", "station", "a/b")["entries"]
        self.assertEqual(len(shown), 2)
        self.assertIn("BEGIN PUBLIC KEY", shown[0]["text"])
        self.assertIn("BEGIN PUBLIC KEY", self.trust_command("show", "station", "a/b").out)
        self.fails(5, "nothing is known", "show", "station", "zeta")
        self.fails(2, [], "show", "authority", "x")
        self.fails(2, "nothing like that", "remove", "station", "zeta")
        self.fails(2, "nothing like that", "remove", "creator", "a/b")
        self.fails(2, "SHA256:", "remove", "station", "a/b", "97d6")
        self.fails(2, [], "remove", "station")
        self.fails(2, [], "remove", "authority", "SHA256:x", "y")
        self.done("remove", "station", "a/b", fingerprint(pool_key("alpha")))
        self.assertEqual(len(self.done("show", "station", "a/b")["entries"]), 1)
        self.done("remove", "station", "a/b")
        self.assertFalse(os.path.exists(f"{self.trust}/stations/a%2Fb"))

    def test_check(self):
        layout = self.layout(sample())
        self.assertEqual({key["result"] for key in self.done("check", layout)["keys"]}, {"ok"})
        self.pin("stations", "gamma", pool_key("outsider"))
        self.forget("stations", "alpha")
        result = self.trust_command("check", "--json", layout, env={"STATION_ID": "alpha", "TRAINTOKEN_TRUST_TRAIN_KEYS": "1"})
        self.assertEqual(result.status, 5, str(result))
        self.assertEqual({key["id"]: key["result"] for key in result.json["keys"]},
                         {"researcher-1": "ok", "alpha": "needs-key", "beta": "ok", "gamma": "untrusted"})
        self.assertEqual(len(self.missing(result)), 1)

    def test_import(self):
        other = f"{self.work}/other"
        self.done("add", "--trust", other, "station", "delta", self.pem("alpha"), "--valid-until", "2100-01-01")
        self.done("add", "--trust", other, "station", "beta", self.pem("beta"))
        self.fails(2, "--yes", "import", other)
        says = self.done("import", "--yes", other)
        self.assertEqual({entry["id"]: entry["was_there"] for entry in says["entries"]}, {"delta": False, "beta": True})
        self.assertEqual(self.done("show", "station", "delta")["entries"][0]["valid_until"], "2100-01-01T00:00:00Z")
        self.fails(2, "empty", "import", "--yes", f"{self.work}/none")
        pathlib.Path(other, "stations/beta/x.pem").write_text("nothing", "ascii")
        self.fails(5, "nothing is imported", "import", "--yes", other)

    def test_from_a_token(self):
        uri = tokens().uri("beta")
        for pin in (PIN, None):
            says = self.done("add", "--token", uri, "station", "delta", "--module", tokens().module, pin=pin)
            self.assertEqual(says["fingerprint"], fingerprint(pool_key("beta")))
        self.fails(6, [], "add", "--token", "pkcs11:token=none", "station", "delta", "--module", tokens().module)

    def test_concurrent_changes(self):
        names = [f"s{i}" for i in range(6)]
        running = [subprocess.Popen(self.arguments("trust", "add", "station", name, self.pem("alpha")),
                                    env=self.environment(), stdout=subprocess.DEVNULL) for name in names]
        self.assertEqual([one.wait(60) for one in running], [0] * 6)
        self.assertLessEqual(set(names), {entry["id"] for entry in self.done("list")["entries"]})

    def test_killed(self):
        """Whenever it dies, the store is one that can be read, and has the key or has it not."""
        seen = set()
        argv = self.arguments("trust", "add", "station", "delta", self.pem("outsider"))
        chance = random.Random(5)
        start = time.monotonic()
        self.done("add", "station", "epsilon", self.pem("outsider"))
        usual = time.monotonic() - start
        for _ in range(20):
            shutil.rmtree(f"{self.trust}/stations/delta", True)
            self.killed(argv, chance.uniform(0, 1.2 * usual), env=self.environment())
            entries = [entry["id"] for entry in self.done("list")["entries"]]
            seen.add("delta" in entries)
            self.assertEqual(set(entries) - {"delta"}, {"researcher-1", *STOPS, "epsilon"})
        self.done("add", "station", "delta", self.pem("outsider"))
        self.assertEqual([path for path in pathlib.Path(self.trust).rglob(".*")], [])


class Life(TrustCase):
    def test_roll_over(self):
        """Two keys at once; the old one ends by its date or is removed, and a train of the time counts by the clock."""
        old, new = self.layout(sample()), self.layout(sample([("alpha", pool_key("alpha")), ("beta", pool_key("outsider"))]))
        self.refused(5, "station 'beta'", "verify", new)
        self.done("add", "station", "beta", self.pem("outsider"))
        self.good("verify", old)
        self.good("verify", new)
        self.done("add", "station", "beta", self.pem("beta"), "--valid-until", "2100-01-01")
        self.good("verify", old)
        self.assertEqual(len(self.done("show", "station", "beta")["entries"]), 2)
        self.done("remove", "station", "beta", fingerprint(pool_key("beta")))
        self.refused(5, "ANOTHER key", "verify", old)
        self.good("verify", new)

    def test_expired_and_not_yet(self):
        path = pathlib.Path(self.trust, "stations/beta/key.pem")
        text = path.read_text("ascii")
        layout = self.layout(sample())
        path.write_text("Valid-Until: 2020-01-01T00:00:00Z\n" + text, "ascii")
        result = self.refused(5, ["station 'beta'", "ended at 2020-01-01T00:00:00Z"], "pre-run", layout, station="alpha")
        self.assertEqual(len(self.missing(result)), 1)
        self.assertIn("(OVER)", self.trust_command("list").out)
        # Not without being asked, as its life is given back to it.
        status, shown = self.typed(self.missing(result)[0], "no")
        self.assertEqual(status, 2, shown)
        path.write_text("Valid-From: 2100-01-01T00:00:00Z\n" + text, "ascii")
        self.refused(5, "begins at 2100-01-01", "pre-run", layout, station="alpha")
        path.write_text("Valid-Until: 2100-01-01T00:00:00Z\n" + text, "ascii")
        self.good("pre-run", layout, station="alpha")

    def test_a_store_in_doubt(self):
        layout = self.layout(sample())
        self.good("verify", layout)
        key = pathlib.Path(self.trust, "stations/beta/key.pem")

        def made(path, content=b"x"):
            pathlib.Path(self.trust, path).write_bytes(content)
            return lambda: pathlib.Path(self.trust, path).unlink()

        def changed(path, mode):
            before = os.stat(f"{self.trust}/{path}").st_mode & 0o7777
            os.chmod(f"{self.trust}/{path}", mode)
            return lambda: os.chmod(f"{self.trust}/{path}", before)

        def linked():
            key.rename(f"{self.work}/elsewhere")
            key.symlink_to(f"{self.work}/elsewhere")
            return lambda: (key.unlink(), pathlib.Path(f"{self.work}/elsewhere").rename(key))

        for words, do in {
                "nothing that belongs there": lambda: made("README"), "NAME.pem": lambda: made("stations/beta/key.pem~"),
                "none of Valid-From": lambda: made("stations/beta/x.pem"), "no folder": lambda: made("stations/x.pem"),
                "the same key": lambda: made("stations/beta/y.pem", key.read_bytes()),
                "go-w": lambda: changed("stations/beta/key.pem", 0o664), "others may write": lambda: changed("stations", 0o777),
                "others may write to": lambda: changed("", 0o1777), "symbolic link": linked,
                "too long": lambda: made("stations/beta/z.pem", bytes(10 << 20))}.items():
            with self.subTest(words):
                undo = do()
                self.refused(5, [words, "trusts nobody"], "verify", layout)
                self.refused(5, words, "pre-run", layout, station="alpha", env={"TRAINTOKEN_TRUST_TRAIN_KEYS": "1"})
                self.fails(5, words, "list")
                self.fails(5, words, "add", "station", "7", self.pem("alpha"))
                undo()
                self.good("verify", layout)
        os.mkfifo(f"{self.trust}/stations/beta/pipe.pem", 0o600)
        self.refused(5, "no regular file", "verify", layout)

    def test_default_places(self):
        self.forget()
        layout = self.layout(sample())
        config = f"{self.home}/.config/traintoken/trust" if os.geteuid() else None
        result = self.tt("verify", layout, env={"TRAINTOKEN_TRUST": None})
        self.assertEqual(result.status, 5, str(result))
        self.assertIn(config or "/etc/traintoken/trust", result.err)
        for command in self.missing(result):
            self.assertNotIn("--trust", command)
        for command in self.missing(self.tt("verify", "--trust", f"{self.work}/x", layout)):
            self.assertIn(f"--trust {self.work}/x ", command)


class Authorities(TrustCase):
    """Certificates that name the id and role, by an authority of the store."""

    def certificate(self, subject, key, issuer, issuer_key, ca=False, uri=None, days=1000):
        def name(parts):
            kinds = {"CN": x509.NameOID.COMMON_NAME, "OU": x509.NameOID.ORGANIZATIONAL_UNIT_NAME}
            return x509.Name([x509.NameAttribute(kinds[kind], value) for kind, value in parts])
        now = datetime.datetime.utcnow()
        made = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
                .public_key(pool_key(key).public_key()).serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=2000)).not_valid_after(now + datetime.timedelta(days=days))
                .add_extension(x509.BasicConstraints(ca, None), True))
        if uri:
            made = made.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)
        signed = made.sign(pool_key(issuer_key), hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def setUp(self):
        super().setUp()
        self.root = self.certificate([("CN", "root")], "wide", [("CN", "root")], "wide", True)
        self.forget("stations", "beta")

    def test_whole(self):
        layout = self.layout(sample())
        good = self.file("beta.pem", self.certificate([("CN", "beta"), ("OU", "station")], "beta", [("CN", "root")], "wide"))
        self.fails(5, "no authority", "add", "certificate", good)
        says = self.done("add", "authority", self.file("root.pem", self.root))
        self.assertEqual((says["kind"], says["subject"]), ("authority", "CN=root"))
        self.refused(5, "station 'beta'", "verify", layout)
        self.done("add", "certificate", good)
        self.good("verify", layout)
        kinds = [entry["kind"] for entry in self.done("list")["entries"]]
        self.assertEqual(kinds.count("certificate"), 1)
        self.assertEqual(kinds.count("authority"), 1)
        self.done("remove", "authority", fingerprint(pool_key("wide")))
        self.refused(5, "no authority of the store", "verify", layout)
        self.done("add", "authority", self.file("root.pem", self.root))
        self.done("remove", "certificate", fingerprint(pool_key("beta")))
        self.refused(5, "nothing is known", "verify", layout)

    def test_names(self):
        layout = self.layout(sample())
        self.done("add", "authority", self.file("root.pem", self.root))
        for good, subject, uri in ((False, [("CN", "beta")], None), (False, [("CN", "beta"), ("OU", "creator")], None),
                                   (False, [("CN", "alpha"), ("OU", "station")], None),
                                   (False, [("CN", "x")], "urn:traintoken:creator:beta"),
                                   (True, [("CN", "x")], "urn:traintoken:station:beta")):
            path = self.file("x.pem", self.certificate(subject, "beta", [("CN", "root")], "wide", uri=uri))
            fresh = self.done("add", "certificate", path)["fingerprint"]
            if good:
                self.good("verify", layout)
            else:
                self.refused(5, "nothing is known", "verify", layout)
            self.done("remove", "certificate", fresh)

    def test_expired(self):
        self.done("add", "authority", self.file("root.pem", self.root))
        path = self.file("x.pem", self.certificate([("CN", "beta"), ("OU", "station")], "beta", [("CN", "root")], "wide",
                                                   days=-1))
        self.fails(5, "expired", "add", "certificate", path)
        self.fails(2, "no authority's certificate", "add", "authority", path)
        self.fails(2, "no certificate", "add", "certificate", self.pem("beta"))


class Registries(TrustCase):
    def setUp(self):
        super().setUp()
        place = f"{self.work}/server"
        os.mkdir(place)
        self.place = place

    def serve(self, kind):
        server = kind(self.place)
        self.addCleanup(server.close)
        return server

    def test_vault(self):
        server = self.serve(registry.Vault)
        path = "/v1/pht/keys/data/stations/delta"
        server.versions[path] = [{"rsa_station_public_key": pht.public_pem(pool_key("outsider")).hex()}]
        where = ["--vault", server.url, "--vault-path", "pht/keys/stations/delta", "--ca-file", server.ca_file]
        env = {"VAULT_TOKEN": registry.VAULT_TOKEN}
        self.fails(2, "--yes", "add", *where, "station", "delta", env=env)
        says = self.done("add", "--yes", *where, "station", "delta", env=env)
        self.assertEqual(says["fingerprint"], fingerprint(pool_key("outsider")))
        self.assertEqual(self.done("add", "--yes", *where, "creator", "who", env=env)["role"], "creator")
        self.assertEqual(server.writes(), [])
        for content in ({"rsa_station_public_key": "nonsense"}, {}, None):
            server.versions[path] = [content]
            self.fails(8, "no public key", "add", "--yes", *where, "station", "delta", env=env)
        self.fails(8, "403", "add", "--yes", *where, "station", "delta", env={"VAULT_TOKEN": "tt-wrong"})
        self.fails(2, "VAULT_TOKEN", "add", "--yes", *where, "station", "delta")
        self.fails(2, "--vault-path", "add", "--vault", server.url, "creator", "x", env=env)

    def test_central(self):
        server = self.serve(registry.Central)
        server.stations["alpha"]["public_key"] = pht.public_pem(pool_key("outsider")).hex()
        where = ["--central", f"{server.url}/api", "--ca-file", server.ca_file]
        env = {"ROBOT_ID": registry.ROBOT[0], "ROBOT_SECRET": registry.ROBOT[1]}
        says = self.done("add", "--yes", *where, "station", "alpha", env=env)
        self.assertEqual((says["fingerprint"], says["others"]), (fingerprint(pool_key("outsider")), 1))
        self.assertEqual(server.writes(), [])
        self.fails(8, [], "add", "--yes", *where, "station", "zeta", env=env)


if __name__ == "__main__":
    unittest.main()
