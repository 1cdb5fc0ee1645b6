"""The audit trail: what each command records and when, what happens when it cannot, and what an auditor finds."""

import base64
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
import unittest

from support import pht
from support.station import MARKER, PIN, Case, edited, needs_program, pool_key, sample_at, tokens

SPY = next(iter(sorted(glob.glob("/usr/lib/*/pkcs11-spy.so") + glob.glob("/usr/lib/pkcs11-spy.so"))), None)
UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m", "--propagation", "private"]
CAN_MOUNT = shutil.which("unshare") and subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False,
                                                       stderr=subprocess.DEVNULL).returncode == 0
needs_mounts = unittest.skipUnless(CAN_MOUNT, "needs a mount name space (unshare -m)")
needs_spy = unittest.skipUnless(SPY, "needs pkcs11-spy.so (package opensc)")
WRONG_PIN = "tt-throw-away-9999"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class AuditCase(Case):
    def records(self, path=None):
        """All of them; the chain is checked here, without the program."""
        with open(path or self.trail, "rb") as stream:
            lines = stream.read().split(b"\n")
        self.assertEqual(lines.pop(), b"")
        found = [json.loads(line) for line in lines]
        for number, record in enumerate(found):
            self.assertEqual(record["number"], found[0]["number"] + number)
            if number:
                self.assertEqual(record["previous"], digest(lines[number - 1]))
        return found

    def fresh(self):
        """What was recorded since the last time."""
        found = self.records()
        seen, self.seen = getattr(self, "seen", 0), len(found)
        return found[seen:]

    def events(self, records):
        return [record["event"] for record in records]

    def audit(self, command, *more, **how):
        return self.good("audit", command, "--json", *more, **how)

    def assert_silent(self):
        """Neither PIN nor content, in whatever form."""
        with open(self.trail, "rb") as stream:
            text = stream.read()
        for secret in (PIN.encode(), WRONG_PIN.encode(), MARKER):
            for form in (secret, secret.hex().encode(), base64.b64encode(secret)[:-4]):
                self.assertNotIn(form, text)


class Records(AuditCase):
    def about(self, records, **facts):
        for record in records:
            self.assertEqual({name: record.get(name) for name in facts}, facts)

    def test_a_whole_stop(self):
        layout = self.layout_at(1)
        config = pht.load_config(sample_at(1)[pht.CONFIG].content)
        before = layout.tags()["latest"]["digest"]
        says = self.good("pre-run", "--json", layout, station="beta")
        records = self.fresh()
        self.assertEqual(self.events(records), ["trail", "begin", "key", "decision", "end"])
        first, begin, key, decision, end = records
        self.assertNotIn("train", first)
        self.about(records, pid=first["pid"], uid=os.geteuid(), host=socket.gethostname())
        self.about(records[1:], command="pre-run", image=f"oci:{layout.path}:latest", station="beta", train=says["train"],
                   session_id=says["session_id"], stop=1, stops=3, digest_before=before)
        self.assertNotIn("digest_after", key)
        self.assertEqual(begin["key"], tokens().uri("beta"))
        self.assertIn("signatures", begin["checked"])
        self.assertIn("hash of the definition", decision["checked"])
        self.about(records[2:], key=says["key"]["uri"], token="beta", token_serial=says["key"]["serial"],
                   loader="libp11", fingerprint=says["key"]["fingerprint"])
        wrapped = bytes.fromhex(config["route"][1]["encrypted_key"])
        self.about([key], operation="unwrap", mechanism="RSA-OAEP-SHA512", outcome="done", status="ok", code=0,
                   padding=says["token_operations"][0]["padding"],
                   ciphertext_sha256=hashlib.sha256(wrapped).hexdigest())
        self.about([decision], outcome="accepted", status="ok", code=0, digest_after=says["digest_after"])
        self.about([end], outcome="done", digest_after=says["digest_after"])
        self.run_code(layout, "beta")
        says = self.good("post-run", "--json", layout, station="beta")
        records = self.fresh()
        count = len(says["token_operations"])
        self.assertEqual(self.events(records), ["begin", *["key"] * count, "decision", "end"])
        self.assertEqual([one.get("purpose") for one in records[1:-2]],
                         [one["operation"] for one in says["token_operations"]])
        self.about(records[1:3], operation="sign", mechanism="RSASSA-PSS-SHA512", outcome="done")
        self.assertEqual([one["digest_sha512"] for one in records[1:3]], [says["result_hash"], says["route_digest"]])
        self.about(records[-2:], command="post-run", digest_before=says["digest_before"],
                   digest_after=says["digest_after"])
        self.assert_silent()

    def test_seal_and_results(self):
        os.mkdir(f"{self.work}/definition")
        with open(f"{self.work}/definition/main.sh", "wb") as stream:
            stream.write(b"#!/bin/sh\n# " + MARKER + b"\n")
        os.chmod(f"{self.work}/definition/main.sh", 0o755)
        with open(f"{self.work}/alpha.pem", "wb") as stream:
            stream.write(pht.public_pem(pool_key("alpha")))
        base = self.layout({})
        says = self.good("seal", "--json", "--definition", f"{self.work}/definition", "--base", f"oci:{base.path}:base",
                         "--creator", "me", "--stop", f"alpha={self.work}/alpha.pem", "--builder-key",
                         tokens().uri("builder"), f"oci:{self.work}/train:latest", key="creator")
        records = self.fresh()
        self.assertEqual(self.events(records)[:2], ["trail", "begin"])
        self.assertEqual(self.events(records)[-2:], ["decision", "end"])
        uses = [one for one in records if one["event"] == "key"]
        purposes = [one["purpose"] for one in uses]
        self.assertEqual((purposes[0], purposes[-1]), ("sign-definition", "sign-build"))
        self.assertEqual([one["token"] for one in (uses[0], uses[-1])], ["creator", "builder"])
        self.about(uses, session_id=says["session_id"])
        self.about([uses[0], uses[-1]], mechanism="RSASSA-PKCS1-v1_5-SHA512")
        self.assertEqual(records[-2]["digest_after"], says["digest"])
        self.good("results", self.layout_at(3), "-o", f"{self.work}/out", key="creator")
        records = self.fresh()
        self.assertEqual(self.events(records), ["begin", "key", "decision", "end"])
        self.about(records, command="results")
        self.assert_silent()

    def test_refusals(self):
        """Decided without the token: no record says that the key was to be used."""
        cases = (("malformed", 3, self.layout(edited(sample_at(1), "route", 1, "index", 5))),
                 ("tampered", 4, self.layout(edited(sample_at(1), "signature", lambda old: old[:-2] + "00"))),
                 ("wrong-stop", 9, self.layout_at(2)))
        for word, code, layout in cases:
            with self.subTest(word):
                self.refused(code, "", "pre-run", layout, station="beta")
                last = self.fresh()[-1:]
                self.about(last, event="decision", outcome="refused", status=word, code=code, command="pre-run")
                self.assertTrue(last[0]["message"])
        self.assertNotIn("begin", self.events(self.records()))
        self.refused(5, "another key", "pre-run", self.layout_at(1), station="beta", key="alpha")
        self.about(self.fresh()[-1:], event="decision", outcome="refused", code=5)
        # What fails once the token is asked has both.
        self.refused(7, "pin", "pre-run", self.layout_at(1), station="beta", pin=WRONG_PIN)
        records = self.fresh()
        self.assertEqual(self.events(records), ["begin", "decision"])
        self.about(records[1:], outcome="failed", status="pin", code=7, detail="CKR_PIN_INCORRECT")
        self.good("pre-run", self.layout_at(1), station="beta")  # takes back the count of wrong PINs
        self.assert_silent()

    def test_an_operation_that_fails_is_recorded(self):
        wrong = pht.load_config(sample_at(1)[pht.CONFIG].content)["route"][2]["encrypted_key"]  # gamma's
        layout = self.layout(edited(sample_at(1), "route", 1, "encrypted_key", wrong))
        self.refused(4, "does not open with this key", "pre-run", layout, station="beta")
        begin, key, decision = self.fresh()[1:]
        self.assertEqual(begin["event"], "begin")
        self.about([key], event="key", outcome="failed", status="tampered", code=4,
                   ciphertext_sha256=hashlib.sha256(bytes.fromhex(wrong)).hexdigest())
        self.about([decision], event="decision", outcome="refused", code=4)

    def test_a_pin_in_the_uri(self):
        for uri in (f"{tokens().uri('beta')}?pin-value={PIN}", f"{tokens().uri('beta')};pin-value={PIN}"):
            self.good("pre-run", "--again", self.layout_at(1), station="beta", key=uri, pin=None)
        self.assertIn("begin", self.events(self.fresh()))
        self.assert_silent()

    def test_where_it_is(self):
        """In the station's state; --audit and TRAINTOKEN_AUDIT name another place."""
        self.good("pre-run", self.layout_at(1), station="beta", env={"TRAINTOKEN_AUDIT": None})
        self.assertEqual(stat.S_IMODE(os.stat(f"{self.state}/audit.jsonl").st_mode), 0o600)
        other = f"{self.work}/other"
        self.good("pre-run", "--state", other, self.layout_at(1), station="beta", env={"TRAINTOKEN_AUDIT": ""})
        self.assertEqual(len(self.records(f"{other}/audit.jsonl")), 5)
        self.assertFalse(os.path.exists(self.trail))
        self.good("pre-run", "--again", "--audit", f"{self.work}/named", self.layout_at(1), station="beta")
        self.assertEqual(len(self.records(f"{self.work}/named")), 5)
        self.refused(2, "--audit has an empty value", "pre-run", "--audit=", self.layout_at(1), station="beta")
        self.refused(2, "--audit-log takes", "pre-run", "--audit-log=paper", self.layout_at(1), station="beta")
        self.refused(2, "--audit-log takes", "pre-run", self.layout_at(1), station="beta",
                     env={"TRAINTOKEN_AUDIT_LOG": "paper"})


class Provisioning(AuditCase):
    def test_commands_that_try_a_key(self):
        module = {"TRAINTOKEN_MODULE": tokens().module}
        label = f"audit{os.urandom(3).hex()}"
        tokens()._fixture("token", label, PIN)
        self.good("key", "generate", "--label", "key", "--bits", "2048", f"pkcs11:token={label}", env=module)
        self.fresh()
        cases = (("check",), ("export", "--login"), ("attest",))
        for command in cases:
            with self.subTest(command[0]):
                self.good("key", *command, f"pkcs11:token={label};object=key?pin-value={PIN}", pin=None, env=module)
                records = self.fresh()
                self.assertEqual(self.events(records)[0], "begin")
                self.assertEqual(self.events(records)[-1], "decision")
                uses = records[1:-1]
                self.assertEqual({one["operation"] for one in uses}, {"unwrap", "sign"})
                for one in uses:
                    self.assertEqual((one["event"], one["token"], one["command"]), ("key", label, f"key {command[0]}"))
                    self.assertRegex(one["fingerprint"], "^SHA256:")
                    self.assertTrue(one.get("digest_sha512") or one.get("ciphertext_sha256") or one["block_sha256"])
        for command in ("request", "certificate"):
            with self.subTest(command):
                self.good("key", "export", "--format", command, "--subject", "/CN=x",
                          f"pkcs11:token={label};object=key", env=module)
                records = self.fresh()
                self.assertEqual(self.events(records), ["begin", "key", "decision"])
                self.assertEqual(records[1]["purpose"], command)
        self.good("key", "export", f"pkcs11:token={label};object=key", env=module)  # the private half is not used
        self.assertEqual(self.fresh(), [])
        self.assert_silent()

    @needs_spy
    def test_nothing_is_tried_unrecorded(self):
        tokens().uri("beta")
        log = f"{self.trail}.spy"
        env = {"TRAINTOKEN_MODULE": SPY, "PKCS11SPY": tokens().module, "PKCS11SPY_OUTPUT": log,
               "TRAINTOKEN_AUDIT": f"{self.work}/missing/trail"}
        uri = tokens().uri("beta")
        for command in (("check", uri), ("attest", uri), ("export", "--login", uri),
                        ("export", "--format", "request", "--subject", "/CN=x", uri),
                        ("generate", "--label", "x", "--bits", "2048", "pkcs11:token=beta")):
            with self.subTest(command[:2]):
                self.refused(8, ["cannot be recorded", "the key was not used"], "key", *command, env=env)
                if not os.path.exists(log):  # not even the module was loaded
                    continue
                with open(log, encoding="utf-8", errors="replace") as stream:
                    self.assertNotRegex(stream.read(), r"\d: C_(Login|Decrypt|Sign|GenerateKeyPair)\b")
                os.remove(log)


class Unwritable(AuditCase):
    """A trail that cannot be written is [8], and neither the image nor the station's memory changes."""

    def setUp(self):
        super().setUp()
        tokens().uri("beta")

    def broken_places(self):
        os.mkdir(f"{self.work}/folder")
        os.symlink("/dev/null", f"{self.work}/link")
        os.mkfifo(f"{self.home}/fifo")
        for name, mode, text in (("other", 0o600, "not a trail\n"), ("open", 0o622, "")):
            with open(f"{self.work}/{name}", "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chmod(f"{self.work}/{name}", mode)
        os.mkdir(f"{self.work}/common")
        os.chmod(f"{self.work}/common", 0o777)
        yield f"{self.work}/missing/trail", "ENOENT"
        yield f"{self.work}/folder", "cannot write"
        yield f"{self.work}/link", "symbolic link"
        yield f"{self.home}/fifo", "not a regular file"
        yield f"{self.work}/other", "does not end with a record"
        yield f"{self.work}/open", "others may write"
        yield f"{self.work}/common/trail", "everybody may write to the folder"

    @needs_spy
    def test_the_key_is_not_used(self):
        log = f"{self.trail}.spy"
        layout = self.layout_at(1)
        for place, words in self.broken_places():
            with self.subTest(words):
                self.refused(8, [words, "the key was not used"], "pre-run", "--audit", place, layout, station="beta",
                             module=SPY, env={"PKCS11SPY": tokens().module, "PKCS11SPY_OUTPUT": log})
                self.assertFalse(os.path.exists(log), "the module was loaded")

    def test_what_is_refused_anyway_stays_so(self):
        """With its own status, and a warning."""
        layout = self.layout(edited(sample_at(1), "signature", lambda old: old[:-2] + "00"))
        self.refused(4, ["could not be recorded", "signature"], "pre-run", "--audit", f"{self.work}/missing/trail",
                     layout, station="beta")

    @needs_program("strace")
    def test_at_each_record(self):
        """The disk fails at the first, second, ... record: before the key is used, after it was, before the image
        changes; only after that it is a warning."""
        self.good("audit", "verify", self.empty_trail())
        for command, count in (("pre-run", 3), ("post-run", 4)):
            for what, error in (("fsync", "EIO"), ("write", "ENOSPC")):
                number = 0
                while True:
                    number += 1
                    with self.subTest(f"{command}: {what} {number}"):
                        layout = self.layout_at(1, name=f"l{command}")
                        shutil.rmtree(self.state, True)
                        if command == "post-run":
                            self.good("pre-run", layout, station="beta")
                            self.run_code(layout, "beta")
                        self.empty_trail()
                        trace = ("strace", "-f", "-qq", "-o", f"{self.home}/trace", "-P", self.trail, "-e",
                                 f"inject={what}:error={error}:when={number}")
                        how = {"station": "beta", "before": trace, "env": {"ASAN_OPTIONS": "detect_leaks=0"}}
                        result = self.tt(command, layout, **how)
                        if result.status == 0:
                            break
                        self.assertEqual(result.status, 8, str(result))
                        self.assertIn("cannot be recorded", result.err)
                        self.assertLess(number, 10)
                        self.assertNotIn(layout.tags()["latest"]["digest"],
                                         [one.get("digest_after") for one in self.records_or_none()])
                        # Once the disk is well, all goes on.
                        self.good(command, layout, station="beta")
                        self.good("audit", "verify", self.trail)
                self.assertGreater(number, count, "the records before the change")
                self.assertIn("says that it was about to be", result.err)

    def empty_trail(self):
        with open(self.trail, "wb"):
            pass
        os.chmod(self.trail, 0o600)
        return self.trail

    def records_or_none(self):
        try:
            return self.records()
        except (ValueError, AssertionError):
            return []

    @needs_mounts
    def test_a_full_disk(self):
        layout = self.layout_at(1)
        place = f"{self.work}/small"
        os.mkdir(place)
        kept = f"{self.trail}.kept"
        script = f'mount -t tmpfs -o size=4k,mode=700 tmpfs {place} && head -c 4096 /dev/zero > {place}/full && "$@"; ' \
                 f'status=$?; cp {place}/trail {kept}; exit $status'
        self.refused(8, ["disk is full", "the key was not used"], "pre-run", "--audit", f"{place}/trail", layout,
                     station="beta", before=[*UNSHARE, "sh", "-c", script, "sh"])
        self.assertEqual(self.audit("verify", kept)["first"], 0)

    @needs_program("strace")
    def test_names_are_on_disk_too(self):
        """Who made the file, or its folder, may have been killed before its name was on disk: each process sees to it,
        once. A record in a file that nothing leads to after a crash would be none."""
        folder = os.path.dirname(self.trail)
        new = f"{self.home}/made/state"
        self.tt("pre-run", self.layout_at(2), station="beta")
        for trail, wanted in ((self.trail, [folder]), (None, [self.home, f"{self.home}/made", new])):
            with self.subTest(trail or "in a new folder"):
                self.good("results", self.layout_at(3), "-o", f"{self.work}/{len(wanted)}", key="creator",
                          before=["strace", "-f", "-y", "-o", f"{self.home}/trace", "-e", "trace=fsync"],
                          env={"TRAINTOKEN_AUDIT": trail, "TRAINTOKEN_STATE": new, "ASAN_OPTIONS": "detect_leaks=0"})
                with open(f"{self.home}/trace", encoding="utf-8") as stream:
                    synced = re.findall(r"fsync\(\d+<([^>]*)>\) += 0", stream.read())
                file = trail or f"{new}/audit.jsonl"
                before = synced[:synced.index(file) + 2]
                for place in wanted:
                    self.assertIn(place, before)
                self.assertEqual(synced.count(file), 4)
                if trail:
                    self.assertEqual(synced.count(folder), 1)

    def test_a_limit_on_the_size_of_files(self):
        """The signal that comes with it does not kill; where the record is cut off, the next one tells so."""
        limited = ["bash", "-c", 'ulimit -f 1 && exec "$@"', "bash"]
        self.good("audit", "verify", self.empty_trail())
        while os.path.getsize(self.trail) < 700:
            self.tt("pre-run", self.layout_at(2, name="done"), station="beta")
        self.refused(8, ["EFBIG", "the key was not used"], "pre-run", self.layout_at(1), station="beta", before=limited)
        self.assertEqual(os.path.getsize(self.trail), 1024)
        self.tt("pre-run", self.layout_at(2, name="done"), station="beta")
        self.assertEqual(self.audit("verify", self.trail)["recoveries"], 1)

    @needs_program("flock")
    def test_somebody_keeps_it_locked(self):
        """For a moment it is waited for."""
        with open(self.empty_trail(), "rb"):
            holder = subprocess.Popen(["flock", self.trail, "sleep", "1"])
            self.good("pre-run", self.layout_at(1), station="beta")
            holder.wait()
        self.assertEqual(len(self.records()), 5)


    def test_an_interrupted_one_does_not_wait_long(self):
        layout = self.layout_at(1)
        with open(self.empty_trail(), "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            start = time.monotonic()
            self.assertEqual(self.killed(self.arguments("pre-run", layout, station="beta"), 0.7,
                                         with_signal=signal.SIGTERM), -signal.SIGTERM)
            self.assertLess(time.monotonic() - start, 20)


class Many(AuditCase):
    def test_at_once(self):
        """Eight processes append, and the trail is rotated meanwhile."""
        layout = self.layout_at(2)
        loop = 'for i in 1 2 3 4; do "$@" >/dev/null 2>&1; [ $? = 9 ] || exit 1; done'
        argv = ["sh", "-c", loop, "sh", *self.arguments("pre-run", layout, station="beta")]
        env = self.environment(PRIVATE_KEY_PASSWORD=PIN)
        children = [subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL) for _ in range(8)]
        rotations = 0
        while any(child.poll() is None for child in children):
            rotations += self.tt("audit", "rotate", self.trail).status == 0
        self.assertEqual([child.wait() for child in children], [0] * 8)
        says = self.audit("verify", self.trail)
        self.assertEqual(says["files"], rotations + 1)
        shown = self.audit("show", "--event", "decision", self.trail)["records"]
        self.assertEqual(len(shown), 32)
        self.assertEqual(says["last"], 32 + 1 + rotations)


class Verification(AuditCase):
    def setUp(self):
        super().setUp()
        for _ in range(3):
            self.tt("pre-run", self.layout_at(2, name="same"), station="beta")
        self.tt("pre-run", self.layout_at(1, name="same"), station="beta")
        with open(self.trail, "rb") as stream:
            self.lines = stream.read().splitlines(True)
        self.checkpoint = f"{self.work}/checkpoint.json"
        self.good("audit", "checkpoint", "-o", self.checkpoint, self.trail)

    def put(self, lines):
        with open(self.trail, "wb") as stream:
            stream.write(b"".join(lines))

    def test_a_good_one(self):
        says = self.audit("verify", self.trail)
        self.assertEqual((says["first"], says["last"], says["files"]), (1, len(self.lines), 1))
        self.assertEqual(says["last_sha256"], hashlib.sha256(self.lines[-1][:-1]).hexdigest())
        self.assertIn("only a checkpoint can tell", self.good("audit", "verify", self.trail).out)
        says = self.audit("verify", "--checkpoint", self.checkpoint, self.trail)
        self.assertEqual(says["checkpoint"]["records"], len(self.lines))
        self.tt("pre-run", self.layout_at(2), station="beta")
        self.good("audit", "verify", "--checkpoint", self.checkpoint)  # by TRAINTOKEN_AUDIT

    def test_tampering(self):
        lines = self.lines
        cases = {
            "an edit": ([*lines[:2], lines[2].replace(b"refused", b"decided"), *lines[3:]], "record 3 was changed"),
            "an outcome": ([*lines[:2], lines[2].replace(b'"code":9', b'"code":0'), *lines[3:]], "record 3"),
            "a gap": ([*lines[:2], *lines[3:]], "record 4 follows on record 2: records in between are gone"),
            "a beginning": (lines[1:], "its first record, number 2"),
            "an insertion": ([*lines[:2], lines[1], *lines[2:]], "record 2 follows on record 2: it was put in"),
            "another order": ([lines[0], lines[2], lines[1], *lines[3:]], "record 3 follows on record 1"),
            "garbage": ([*lines[:2], b"x\n", *lines[2:]], "stands what is no record"),
            "a second trail": ([*lines, lines[0]], "begins another trail"),
        }
        for what, (changed, words) in cases.items():
            with self.subTest(what):
                self.put(changed)
                self.refused(4, words, "audit", "verify", self.trail)
                self.refused(4, "", "audit", "show", "--json", self.trail)

    def test_truncation(self):
        self.put(self.lines[:-1])
        self.good("audit", "verify", self.trail)
        self.refused(4, ["was cut off", f"vouches for {len(self.lines)} records"], "audit", "verify", "--checkpoint",
                     self.checkpoint, self.trail)
        os.remove(self.trail)
        self.refused(8, "cannot read", "audit", "verify", self.trail)
        for _ in range(len(self.lines)):  # another trail in its place
            self.tt("pre-run", self.layout_at(2, name="same"), station="beta")
        self.refused(4, "written anew", "audit", "verify", "--checkpoint", self.checkpoint, self.trail)
        self.put([])
        self.assertIn("no record yet", self.good("audit", "verify", self.trail).out)
        self.refused(2, "no record yet", "audit", "checkpoint", self.trail)
        self.put([b"something else\n"])
        self.refused(3, "no audit trail", "audit", "verify", self.trail)

    def test_after_a_crash(self):
        self.put([*self.lines, b'{"number":99,"prev'])
        self.assertEqual(self.audit("verify", self.trail)["unfinished_bytes"], 18)
        self.assertIn("never finished", self.good("audit", "verify", self.trail).out)
        self.refused(2, "never finished", "audit", "rotate", self.trail)
        result = self.tt("pre-run", self.layout_at(2), station="beta")
        self.assertIn("never finished; that is recorded", result.err)
        says = self.audit("verify", self.trail)
        self.assertEqual((says["recoveries"], says["unfinished_bytes"]), (1, 0))
        self.assertIn("recovered", self.good("audit", "show", self.trail).out)

    def test_signed_checkpoints(self):
        key = ("--key", tokens().uri("creator"), "--module", tokens().module)
        with open(f"{self.work}/creator.pem", "wb") as stream:
            stream.write(pht.public_pem(pool_key("creator")))
        with open(f"{self.work}/alpha.pem", "wb") as stream:
            stream.write(pht.public_pem(pool_key("alpha")))
        signed = f"{self.work}/signed.json"
        says = self.audit("checkpoint", *key, "-o", signed, self.trail)
        self.assertEqual(says["records"], len(self.lines))
        records = self.records()[len(self.lines):]
        self.assertEqual(self.events(records), ["begin", "key", "decision"])
        self.assertEqual(records[1]["purpose"], "sign-checkpoint")
        verify = ("audit", "verify", "--checkpoint", signed, "--public-key")
        found = self.good("audit", "verify", "--json", "--checkpoint", signed, "--public-key",
                          f"{self.work}/creator.pem", self.trail)
        self.assertEqual(found["checkpoint"]["signed_by"], says["signed_by"])
        self.assertIn("signed by", self.good("audit", "verify", "--checkpoint", signed, self.trail).out)
        self.refused(5, "another key", *verify, f"{self.work}/alpha.pem", self.trail)
        self.refused(2, "", *verify, self.checkpoint, self.trail)
        self.refused(2, "--public-key is for", "audit", "verify", "--public-key", f"{self.work}/alpha.pem", self.trail)
        self.refused(4, "not signed", "audit", "verify", "--checkpoint", self.checkpoint, "--public-key",
                     f"{self.work}/creator.pem", self.trail)
        with open(signed, encoding="utf-8") as stream:
            envelope = json.load(stream)
        payload = base64.b64decode(envelope["payload"])
        statement = json.loads(payload)
        self.assertEqual(statement["subject"][0]["digest"]["sha256"], says["last_sha256"])
        for changed in (payload.replace(b'"records":', b'"records":1'), payload.replace(b"Statement/v1", b"Statement/v2")):
            with open(signed, "w", encoding="utf-8") as stream:
                json.dump(envelope | {"payload": base64.b64encode(changed).decode()}, stream)
            self.refused((3, 4), "signed.json", *verify[:-1], self.trail)
        self.refused(7, "pin", "audit", "checkpoint", *key, self.trail, pin=WRONG_PIN)
        self.audit("checkpoint", *key, self.trail)
        self.refused(8, "cannot be opened", "audit", "checkpoint", "-o", f"{self.work}/missing/x", self.trail)

    def test_a_checkpoint_replaces_checkpoints_only(self):
        os.symlink(self.checkpoint, f"{self.work}/link")
        os.mkfifo(f"{self.home}/fifo")
        before = self.records()
        for place in (self.trail, f"{self.work}/link", f"{self.home}/fifo", self.work):
            with self.subTest(place):
                self.refused(2, "no checkpoint, so it is not replaced", "audit", "checkpoint", "-o", place, self.trail)
        self.assertEqual(self.records(), before)
        self.good("audit", "checkpoint", "-o", self.checkpoint, self.trail)

    def test_rotation(self):
        self.refused(2, "there is no audit trail", "audit", "rotate", f"{self.work}/none")
        old = self.audit("rotate", self.trail)["old_file"]
        self.assertEqual(old, f"{self.trail}.{len(self.lines)}")
        self.tt("pre-run", self.layout_at(2, name="same"), station="beta")
        self.audit("verify", "--checkpoint", self.checkpoint, self.trail)
        self.assertEqual(len(self.audit("show", self.trail)["records"]), len(self.lines) + 2)
        self.assertEqual(len(self.audit("show", "--alone", self.trail)["records"]), 2)
        self.good("audit", "verify", "--checkpoint", self.checkpoint, "--alone", old)
        self.refused(2, "earlier file", "audit", "verify", "--checkpoint", self.checkpoint, "--alone", self.trail)
        self.audit("checkpoint", "--alone", self.trail)
        os.rename(old, f"{self.work}/away")
        self.refused(4, ["continues", "which is not there", "--alone"], "audit", "verify", self.trail)
        self.good("audit", "verify", "--alone", self.trail)

    def test_a_closed_file_stays_as_it_is(self):
        """Whatever was written behind its last record, the next file would not follow on."""
        old = self.audit("rotate", self.trail)["old_file"]
        folder = os.path.dirname(old)
        key = ("--key", tokens().uri("creator"), "--module", tokens().module)
        self.refused(2, ["was closed by rotation", "leave --key away"], "audit", "checkpoint", *key, old,
                     untouched=[folder])
        self.refused(2, "is closed already", "audit", "rotate", old, untouched=[folder])
        self.refused(8, ["was closed by rotation", "the key was not used"], "pre-run", "--audit", old,
                     self.layout_at(1, name="same"), station="beta", untouched=[folder])
        self.good("audit", "checkpoint", old)
        self.good("audit", "verify", self.trail)
        away = shutil.move(old, self.work)
        self.refused(2, "was closed by rotation", "audit", "checkpoint", *key, away)


class Showing(AuditCase):
    def test_filters(self):
        self.good("pre-run", self.layout_at(1), station="beta")
        self.tt("pre-run", self.layout_at(2), station="beta")
        every = self.audit("show", self.trail)["records"]
        self.assertEqual(every, self.records())
        key = every[2]
        cases = (((), len(every)), (("--event", "key"), 1), (("--train", key["train"]), 5),
                 (("--train", key["session_id"]), 5), (("--train", "other"), 0), (("--status", "wrong-stop"), 1),
                 (("--status", "9"), 1), (("--status", "ok"), 3), (("--key", key["fingerprint"]), 3),
                 (("--key", "SHA256:x"), 0), (("--since", "2000-01-01"), len(every)), (("--since", "2999-01-01T00:00Z"), 0),
                 (("--since", every[-1]["time"]), 1))
        for options, count in cases:
            with self.subTest(" ".join(options)):
                self.assertEqual(len(self.audit("show", *options, self.trail)["records"]), count)
                table = self.good("audit", "show", *options, self.trail).out.splitlines()
                self.assertEqual(len(table), count + 1)
        text = self.good("audit", "show", self.trail).out
        for words in ("is about to use pkcs11:", "unwrap by RSA-OAEP-SHA512", "refused: the train was at"):
            self.assertIn(words, text)
        for since in ("yesterday", "2026-1-1", "2026-11-22T", "2026-11-22Z", "2026-11-22T00:00:00ZZ", "2026-13-01",
                      "2026-00-01", "2026-11-32", "2026-11-00"):
            self.refused(2, "--since takes", "audit", "show", "--since", since, self.trail)
        self.refused(2, "no records of an event 'keys'", "audit", "show", "--event", "keys", self.trail)
        for status in ("bad", "11", "-1", "04"):
            self.refused(2, "--status takes", "audit", "show", "--status", status, self.trail)

    def test_hostile_text_is_shown_plainly(self):
        with open(self.trail, "wb") as stream:
            stream.write(b'{"number":1,"previous":null,"time":"\\u001b[2J","event":"trail","command":"\\u001b]0;x\\u0007"}\n')
        self.assertNotIn("\x1b", self.good("audit", "show", self.trail).out)
        self.assertNotIn("\x1b", self.good("audit", "verify", self.trail).out)

    def test_an_id_is_one_column(self):
        forged = "7  alpha  ok  root  accepted"
        self.tt("pre-run", self.layout(edited(sample_at(2), "@id", forged)), station="beta")
        self.assertIn(f"  '{forged}'  ", self.good("audit", "show", self.trail).out)


class Copies(AuditCase):
    def test_journald(self):
        place = f"{self.home}/journal"
        env = {"TRAINTOKEN_JOURNAL": place}
        layout = self.layout_at(1)
        self.refused(8, "cannot reach the journal", "pre-run", "--audit-log", "journald", layout, station="beta", env=env)
        self.assertFalse(os.path.exists(self.trail))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.bind(place)
            journal.settimeout(10)
            self.good("pre-run", layout, station="beta", env=env | {"TRAINTOKEN_AUDIT_LOG": "journald"})
            with open(self.trail, encoding="utf-8") as stream:
                lines = stream.read().splitlines()
            for line in lines:
                got = dict(part.split("=", 1) for part in journal.recv(1 << 17).decode().splitlines())
                self.assertEqual(got["MESSAGE"], line)
                self.assertEqual(got["SYSLOG_IDENTIFIER"], "traintoken")
                self.assertEqual(got["TRAINTOKEN_EVENT"], json.loads(line)["event"])
            key = ("--key", tokens().uri("creator"), "--module", tokens().module)
            env["TRAINTOKEN_AUDIT_LOG"] = "journald"
            self.good("audit", "checkpoint", *key, self.trail, env=env)
            self.good("audit", "rotate", self.trail, env=env)
            got = [journal.recv(1 << 17).decode().splitlines()[3] for _ in range(4)]
            self.assertEqual(got, [f"TRAINTOKEN_EVENT={event}" for event in ("begin", "key", "decision", "trail")])

    @needs_mounts
    def test_syslog(self):
        layout = self.layout_at(1)
        devices = f"{self.work}/dev"
        os.makedirs(f"{devices}/shm")
        names = ("null", "zero", "random", "urandom", "full")
        for name in names:
            with open(f"{devices}/{name}", "wb"):
                pass
        script = "".join(f"mount --bind /dev/{name} {devices}/{name} && " for name in names) + \
            f'mount --rbind /dev/shm {devices}/shm && mount --rbind {devices} /dev && exec "$@"'
        inside = [*UNSHARE, "sh", "-c", script, "sh"]
        self.refused(8, "no syslog here", "pre-run", "--audit-log", "syslog", layout, station="beta", before=inside)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(f"{devices}/log")
            log.settimeout(10)
            self.good("pre-run", "--audit-log", "syslog", layout, station="beta", before=inside)
            with open(self.trail, encoding="utf-8") as stream:
                lines = stream.read().splitlines()
            for line in lines:
                got = log.recv(1 << 17).decode().rstrip("\0\n")
                self.assertTrue(got.endswith(line), got)
                self.assertRegex(got, r"^<85>.*traintoken\[\d+\]: ")


if __name__ == "__main__":
    unittest.main()
