"""Tokens that fail, at every call that a run makes of them: fault_module (tests/integration) stands before SoftHSM.

Each call of a pre-run and a post-run, from the first to the last, fails with some of the return values below, by this
rule: the first call of each function meets every value, and each other call three of them, taken in turn, so that
neighbours meet different ones.
"""

import concurrent.futures
import itertools
import os
import queue
import re
import shutil
import subprocess
import unittest

from support.station import PIN, SANITIZED, Case, difference, snapshot, tokens

FAULTS = os.environ.get("TT_FAULT_LIBRARY")
MOCK = os.environ.get("TT_MOCK_LIBRARY")

VALUES = ("CKR_DEVICE_ERROR", "CKR_DEVICE_REMOVED", "CKR_SESSION_HANDLE_INVALID", "CKR_TOKEN_NOT_PRESENT",
          "CKR_FUNCTION_FAILED", "CKR_HOST_MEMORY", "CKR_USER_NOT_LOGGED_IN", "CKR_PIN_LOCKED")
# What a lost session looks like: traintoken may log in again after these, with the PIN that was right before.
LOST = ("CKR_SESSION_HANDLE_INVALID", "CKR_USER_NOT_LOGGED_IN", "session")
# What an error says: the token's return value, or that there is no token.
WORDS = r"^traintoken: .*(token|module).*\n  \((CKR_\w+|no CKR)\)$|shows no token at all|no (token|private key in token .*) matches"
LIMIT = 120 if SANITIZED else 30


def numbered(calls):
    """C_ functions in the order of their calls to (name, which call of that function)."""
    seen = {}
    for name in calls:
        seen[name] = seen.get(name, 0) + 1
        yield name, seen[name]


def failures(calls):
    """Rules for fault_module, by the rule above: each lets one call fail with one value."""
    turn = itertools.cycle(VALUES)
    for name, number in numbered(calls):
        for value in VALUES if number == 1 else [next(turn) for _ in range(3)]:
            yield f"{name}:{number}={value}"


def leaks_a_slot(result):
    """libp11 itself leaks the slot whose facts it cannot read: itself, two texts of it, nothing secret."""
    leaks = re.findall(r"leak of (\d+) byte\(s\) in 1 object.*\n +#0 .*\n +#1 .*libp11", result.err)
    total = re.search(r"SUMMARY: .*: (\d+) byte\(s\) leaked in [123] allocation", result.err)
    return (SANITIZED and "cannot list its slots" in result.err and total is not None
            and sum(map(int, leaks)) == int(total.group(1)) < 512)


class Place:
    """A train before a step of its stop, with the station's memory; made anew from what it was for each run."""

    def __init__(self, case, work, number):
        self.case, self.origin = case, work
        self.root = f"{case.work}/place{number}"
        self.log = f"{self.root}.log"
        self.renew()

    def renew(self):
        shutil.rmtree(self.root, True)
        shutil.copytree(self.origin, self.root, symlinks=True)
        self.before = snapshot(self.root)

    def run(self, command, rules="", *options, module=None, **env):
        """Gives the Result, the calls that were made, and what is different now."""
        if os.path.exists(self.log):
            os.remove(self.log)
        env = {"TT_FAULT_MODULE": module or tokens().module, "TT_FAULT": rules, "TT_FAULT_LOG": self.log,
               "TRAINTOKEN_STATE": f"{self.root}/state", "TMPDIR": f"{self.root}/tmp", **env}
        result = self.case.tt(command, *options, f"oci:{self.root}/train:latest", station="alpha", module=FAULTS, env=env,
                              timeout=LIMIT)
        calls = []
        if os.path.exists(self.log):
            with open(self.log, encoding="ascii") as stream:
                calls = stream.read().split()
        changed = difference(self.before, snapshot(self.root))
        if changed:
            self.renew()
        return result, calls, changed


@unittest.skipUnless(FAULTS, "needs fault_module, named by TT_FAULT_LIBRARY")
class FaultCase(Case):
    def setUp(self):
        super().setUp()
        self.origins = {}
        for command in ("pre-run", "post-run"):
            origin = f"{self.work}/{command}"
            os.makedirs(f"{origin}/tmp")
            layout = self.layout_at(0, f"{command}/train")
            if command == "post-run":
                self.good("pre-run", layout, station="alpha", env={"TRAINTOKEN_STATE": f"{origin}/state"})
                self.run_code(layout, "alpha")
            self.origins[command] = origin

    def place(self, command, number=0):
        return Place(self, self.origins[command], f"-{command}-{number}")

    def calls_of(self, command):
        result, calls, _ = self.place(command).run(command)
        self.assertEqual(result.status, 0, str(result))
        return calls


class EachCall(FaultCase):
    def wrong_with(self, command, place, rule, allowed):
        """What is wrong with a run under this rule, None if nothing is."""
        try:
            result, calls, changed = place.run(command, rule)
        except subprocess.TimeoutExpired:
            return "hangs"
        if result.status not in allowed and not leaks_a_slot(result):
            return f"unexpected status: {result}"
        if result.status == 0 and not changed:
            return f"success, and nothing was done: {result}"
        if result.status != 0 and changed:
            return f"touched {changed}: {result}"
        if result.status != 0 and not re.search(WORDS, result.err, re.M):
            return f"does not say what failed: {result}"
        if calls.count("C_Login") > (2 if "opening it again" in result.err else 1):
            return f"a second PIN try: {result}"
        if "opening it again" in result.err and not rule.endswith(LOST):
            return f"opened again without need: {result}"
        if PIN in result.out + result.err:
            return "shows the PIN"
        return None

    def all_well(self, command, rules, allowed=None):
        """Runs the command once under each rule, two at a time."""
        places = queue.SimpleQueue()
        for number in range(2):
            places.put(self.place(command, number))

        def one(rule):
            place = places.get()
            try:
                return self.wrong_with(command, place, rule, allowed or ((0, 6, 7) if "PIN_LOCKED" in rule else (0, 6)))
            finally:
                places.put(place)

        rules = list(rules)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            wrong = [f"{rule}: {what}" for rule, what in zip(rules, pool.map(one, rules)) if what]
        self.assertEqual(wrong[:5], [], f"{len(wrong)} of {len(rules)}")

    def test_each_call_of_pre_run_fails(self):
        self.all_well("pre-run", failures(self.calls_of("pre-run")))

    def test_each_call_of_post_run_fails(self):
        self.all_well("post-run", failures(self.calls_of("post-run")))

    def test_token_and_sessions_are_lost_at_each_call(self):
        for command in ("pre-run", "post-run"):
            total = len(self.calls_of(command))
            for what in ("token", "session"):
                with self.subTest(command, what=what):
                    self.all_well(command, [f"*:{number}={what}" for number in range(1, total + 1)])

    def test_everything_fails_from_a_call_on(self):
        for command in ("pre-run", "post-run"):
            calls = self.calls_of(command)
            with self.subTest(command):
                self.all_well(command, [f"*:{number}+=CKR_DEVICE_ERROR" for number in range(1, len(calls) + 1)])
                self.all_well(command, [f"{name}:1+={value}" for name in dict.fromkeys(calls) for value in VALUES])

    def test_the_pin_is_the_matter(self):
        for value in ("CKR_PIN_INCORRECT", "CKR_PIN_LOCKED", "CKR_PIN_EXPIRED", "CKR_USER_PIN_NOT_INITIALIZED"):
            self.all_well("pre-run", [f"C_Login:1={value}"], allowed=(7,))

    def test_a_slow_token_is_waited_for(self):
        self.all_well("post-run", ["C_Sign:1=1500ms", "C_Login:1=1500ms"], allowed=(0,))


class LostSessions(FaultCase):
    """A session that the token ends after the login is opened again, once, where no PIN is at risk."""

    def lost(self, status, logins, rule="C_SignInit:2=session", command="post-run", options=(), **env):
        result, calls, changed = self.place(command).run(command, rule, *options, **env)
        self.assertEqual(result.status, status, str(result))
        self.assertEqual(bool(changed), status == 0, str(result))
        self.assertEqual(calls.count("C_Login"), logins, str(result))
        return result

    def test_once(self):
        for rule in ("C_SignInit:1=session", "C_SignInit:2=session", "C_Sign:2=session"):
            self.lost(0, 2, rule)
        for rule in ("C_DecryptInit:1=session", "C_DecryptInit:2=session", "C_Decrypt:1=session"):
            self.lost(0, 2, rule, "pre-run")

    def test_not_twice(self):
        result = self.lost(6, 2, "C_SignInit:2+=session")
        self.assertIn("ended the session", result.err)

    def test_not_when_it_is_gone_for_good(self):
        result = self.lost(6, 1, "C_SignInit:1=session,C_OpenSession:2=CKR_TOKEN_NOT_PRESENT")
        self.assertIn("was removed", result.err)

    def test_a_pin_that_was_changed_meanwhile_is_not_tried_again(self):
        self.lost(6, 2, "C_SignInit:1=session,C_Login:2=CKR_PIN_INCORRECT")

    @unittest.skipUnless(MOCK, "needs tt_mock_module, named by TT_MOCK_LIBRARY")
    def test_not_where_a_pin_is_at_risk(self):
        mock = {"module": MOCK, "TT_MOCK_MODULE": tokens().module, "TT_MOCK_PIN": PIN}
        for plays, options in (("final-try", ["--last-pin-try"]), ("keypad", [])):
            with self.subTest(plays):
                self.lost(0, 1, "", options=options, TT_MOCK=plays, **mock)
                result = self.lost(6, 1, options=options, TT_MOCK=plays, **mock)
                self.assertIn("no PIN is tried a second time", result.err)


class Personalities(FaultCase):
    """Devices that cannot do everything: SoftHSM with mechanisms taken away. It has no OAEP with SHA-512 of its own."""

    def run_on(self, command, forbidden, **more):
        result, _, changed = self.place(command).run(command, "", "--json", TT_FAULT_FORBID=forbidden, **more)
        self.assertEqual(bool(changed), result.status == 0, str(result))
        return result

    def serves(self, command, forbidden, *padding, **more):
        result = self.run_on(command, forbidden, **more)
        self.assertEqual(result.status, 0, str(result))
        self.assertEqual([use["padding"] for use in result.json["token_operations"]], list(padding))

    def cannot(self, command, forbidden, words, **more):
        result = self.run_on(command, forbidden, **more)
        self.assertEqual(result.status, 6, str(result))
        self.assertIn(f"token 'alpha' can do neither {words} nor raw RSA with this key: it cannot serve the protocol",
                      result.err)

    def test_raw_only(self):
        self.serves("pre-run", "oaep,pss,pkcs1", "raw")
        self.serves("post-run", "oaep,pss,pkcs1", "raw", "raw")

    def test_no_raw(self):
        self.cannot("pre-run", "raw", "RSA-OAEP with SHA-512")
        self.serves("post-run", "raw", "native", "native")

    @unittest.skipUnless(MOCK, "needs tt_mock_module, named by TT_MOCK_LIBRARY")
    def test_no_raw_and_oaep_of_its_own(self):
        # The mock does its OAEP with SoftHSM's raw RSA, behind the module that forbids it.
        self.serves("pre-run", "raw", "native", module=MOCK, TT_MOCK_MODULE=tokens().module, TT_MOCK="native-oaep")

    def test_short_salts(self):
        self.serves("post-run", "long-salt", "raw", "raw")

    def test_neither_long_salts_nor_raw(self):
        self.cannot("post-run", "long-salt,raw", "RSA signatures with SHA-512 and the protocol's salt")

    def test_neither_pss_nor_raw(self):
        self.cannot("post-run", "pss,raw", "RSA signatures with SHA-512 and the protocol's salt")

    @unittest.skipUnless(MOCK, "needs tt_mock_module, named by TT_MOCK_LIBRARY")
    def test_a_device_without_raw_that_fails_once_is_no_proof_against_the_train(self):
        mock = {"module": MOCK, "TT_MOCK_MODULE": tokens().module, "TT_MOCK": "native-oaep", "TT_FAULT_FORBID": "raw"}
        place = self.place("pre-run")
        result, _, changed = place.run("pre-run", "C_DecryptInit:1=CKR_DEVICE_ERROR", **mock)
        self.assertEqual(result.status, 0, str(result))
        self.assertTrue(changed)
        result, _, changed = place.run("pre-run", "C_DecryptInit:1+=CKR_DEVICE_ERROR", **mock)
        self.assertEqual((result.status, changed), (6, []), str(result))


if __name__ == "__main__":
    unittest.main()
