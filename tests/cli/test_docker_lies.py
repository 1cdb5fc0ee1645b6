"""What answers is no engine in its right mind: archives, JSON, headers and lengths that make no sense or never end."""

import os
import tarfile
import time
import unittest

from support import engine as engines
from support import files as fs
from support import proxy
from support.engine_case import TRAIN
from support.fault_case import FaultCase
from support.station import SANITIZED

MIB = 1 << 20


def renamed(edit):
    """Edits the tar of an answer as a list of entries."""
    return proxy.edited_body(lambda body: fs.write_tar(edit(fs.read_tar(body))))


def tar_with_size(size):
    info = tarfile.TarInfo("pht_results/big")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + b"x" * 1024


RESULTS = "GET /containers/*/archive*pht_results*"
ARCHIVE = "GET /containers/*/archive*"
IMAGE = "GET /images/*/json"


@engines.needs_engine()
class Lies(FaultCase):
    """Answers that make no sense. The engine behind them is sound, so that all can be cleaned up."""

    def refused_with(self, what, pattern, action, statuses=(8,), seconds=20, command="pre-run", **more):
        with self.subTest(what):
            if getattr(self, "command", None) != command or self.engine.state() != self.before:
                self.prepare(command)
            self.lying.forget()
            self.lying.on(pattern, action, **more)
            start = time.monotonic()
            result = self.run_it(env={"DOCKER_CLIENT_TIMEOUT": "5"})
            taken = time.monotonic() - start
            self.assertTrue(self.lying.seen(pattern), "not asked for")
            self.check_failure(result, what, statuses)
            self.assertLess(taken, seconds, what)
            self.assertEqual(os.listdir(self.tmp), [])

    def test_archives(self):
        damaged = (3, 4, 8)
        body = proxy.edited_body
        for what, action in {
                "half of it": body(lambda data: data[:len(data) // 2]),
                "cut within a header": body(lambda data: data[:700]),
                "nothing": body(lambda data: b""),
                "no end": body(lambda data: data.rstrip(b"\0") + b"\0" * 100),
                "noise": body(lambda data: os.urandom(20000)),
                "zeros": body(lambda data: b"\0" * 20000),
                "text": body(lambda data: b'{"message": "no"}'),
                "longer than said": proxy.wrong_length(-1000),
                "shorter than said": proxy.wrong_length(1000),
                "cut": proxy.cut_reply(3000),
                "an endless file": proxy.chunked(lambda: (tar_with_size(1 << 62) for _ in range(64)), "application/x-tar"),
                "a size below zero": body(lambda data: tar_with_size(-5) + data),
                "others' names": renamed(lambda all_: [one.with_(path="x" + one.path) for one in all_]),
                "absolute names": renamed(lambda all_: [one.with_(path="/" + one.path) for one in all_[:1]]
                                          + [fs.file("/etc/passwd", b"x")]),
                "names that climb": renamed(lambda all_: all_ + [fs.file("pht_results/../../etc/passwd", b"x")]),
                "a name twice": renamed(lambda all_: all_ + [all_[-1]]),
                "a file where a folder was": renamed(lambda all_: all_ + [fs.file("pht_results/plots", b"x")]),
                "not a folder": renamed(lambda all_: [fs.file("pht_results", b"x")]),
                "a device": renamed(lambda all_: all_ + [fs.Entry("pht_results/zz", fs.BLOCK)]),
                "a hard link out": renamed(lambda all_: all_ + [fs.hardlink("pht_results/zz", "etc/passwd")]),
                "one file fewer": renamed(lambda all_: [one for one in all_ if not one.path.endswith("alpha.csv")]),
                "one file more": renamed(lambda all_: all_ + [fs.file("pht_results/zz", b"x" * 32)]),
                "one bit": renamed(lambda all_: [one.with_(content=one.content[:-1] + bytes([one.content[-1] ^ 1]))
                                                 if one.content else one for one in all_]),
                "not found after all": proxy.refusal(404, "no such path"),
                "another kind": proxy.reply(200, {"a": 1}),
                "no body": proxy.reply(204),
                "refused": proxy.refusal(500, "layer is broken")}.items():
            self.refused_with(what, RESULTS, action, damaged)

    def test_archives_of_what_ran(self):
        """post-run hashes what comes as it comes: only what is not whole, or out of order, can be seen."""
        for what, action in {"half of it": proxy.edited_body(lambda data: data[:len(data) // 2]),
                             "another order": renamed(lambda all_: [all_[0], *reversed(all_[1:])]),
                             "cut": proxy.cut_reply(3000), "shorter than said": proxy.wrong_length(1000),
                             "noise": proxy.edited_body(lambda data: os.urandom(20000)),
                             "a device": renamed(lambda all_: all_ + [fs.Entry("pht_results/zz", fs.BLOCK)]),
                             "names that climb": renamed(lambda all_: all_ + [fs.file("pht_results/../x", b"x")]),
                             "others' names": renamed(lambda all_: [one.with_(path="x" + one.path) for one in all_]),
                             "a name twice": renamed(lambda all_: all_ + [all_[-1]]),
                             "not found after all": proxy.refusal(500, "no")}.items():
            self.refused_with(what, RESULTS, action, (3, 4, 8), command="post-run")

    def test_facts_of_an_image(self):
        for what, action in {
                "no object": proxy.reply(200, []), "nothing": proxy.reply(200, b""), "text": proxy.reply(200, b"hello"),
                "half": proxy.edited_body(lambda data: data[:len(data) // 2]), "null": proxy.reply(200, b"null"),
                "no id": proxy.edited_json(lambda value: value.pop("Id") and None),
                "a number": proxy.edited_json(lambda value: value.update(Id=5)),
                "a path": proxy.edited_json(lambda value: value.update(Id="sha256:" + "../" * 21 + "x")),
                "short": proxy.edited_json(lambda value: value.update(Id=value["Id"][:20])),
                "deep": proxy.reply(200, b"[" * 100_000 + b"]" * 100_000),
                "10 GiB": proxy.flood(10 << 30), "endless headers": proxy.endless_headers(),
                "a long header": proxy.long_header(), "zeros": proxy.reply(200, b"\0" * 1000),
                "not JSON": proxy.reply(200, b"\xff\xfe" * 100),
                "redirect": proxy.reply(301, b"", Location="http://127.0.0.1:1/"),
                "401": proxy.refusal(401, "who are you"), "500": proxy.reply(500, b"<html>trouble</html>"),
                "no status": proxy.raw([b"hello\r\n\r\n"]), "status 0": proxy.raw([b"HTTP/1.1 0 x\r\n\r\n"]),
                "status 9999": proxy.raw([b"HTTP/1.1 9999 x\r\n\r\n"]),
                "1xx for ever": proxy.raw(lambda: iter(lambda: b"HTTP/1.1 103 Early\r\n\r\n" * 100, None)),
                "two lengths": proxy.raw([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello"]),
                "a length below zero": proxy.raw([b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"]),
                "a huge length": proxy.raw([b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello"]),
                "bad chunks": proxy.raw([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n"]),
                "an unfinished chunk": proxy.raw([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nhello"]),
        }.items():
            self.refused_with(what, IMAGE, action)
        for what, edit in {
                "no RootFS": lambda value: value.pop("RootFS") and None,
                "layers are a number": lambda value: value["RootFS"].update(Layers=7),
                "layers are no digests": lambda value: value["RootFS"].update(Layers=["x", None, 5]),
                "a million layers": lambda value: value["RootFS"].update(Layers=["sha256:" + "a" * 64] * 1_000_00),
                "no Config": lambda value: value.update(Config=None),
                "Config is a list": lambda value: value.update(Config=[1])}.items():
            with self.subTest(what):
                self.lying.forget()
                self.lying.on(IMAGE, proxy.edited_json(edit))
                result = self.tt("inspect", TRAIN)
                self.assertIn(result.status, (0, 3, 8), str(result))

    def test_replies_to_what_changes_something(self):
        """Made-up answers to requests that the engine never got to see."""
        for pattern in ("POST /containers/create*", "POST /commit*"):
            for what, action in {
                    "no id": proxy.reply(201, {"Warnings": []}), "text": proxy.reply(201, b"done"),
                    "an id that is a path": proxy.reply(201, {"Id": "../../images/json"}),
                    "an id that is not there": proxy.reply(201, {"Id": "ab" * 32}),
                    "10 GiB": proxy.flood(10 << 30), "endless headers": proxy.endless_headers(),
                    "no space": proxy.refusal(500, "no space left on device"),
                    "conflict": proxy.refusal(409, "conflict"), "gone": proxy.refusal(404, "No such container: x"),
                    "200 without anything": proxy.reply(200)}.items():
                self.refused_with(f"{pattern}: {what}", pattern, action)
        for what, action in {"refused at once": proxy.refusal(500, "disk trouble"), "cut": proxy.cut_request(3000),
                             "forbidden": proxy.refusal(403, "read-only"), "gone": proxy.refusal(404, "no container"),
                             "lost": proxy.lost_reply(), "endless headers": proxy.endless_headers()}.items():
            self.refused_with(f"PUT: {what}", "PUT *", action)
        for what, action in {"refused": proxy.refusal(500, "disk trouble"), "conflict": proxy.refusal(409, "no"),
                             "not there": proxy.refusal(404, "no such image")}.items():
            self.refused_with(f"tag: {what}", "POST /images/*/tag*", action)

    def test_stats_of_paths(self):
        """X-Docker-Container-Path-Stat."""
        def header(value):
            return proxy.reply(200, b"", X_Docker_Container_Path_Stat=value)
        for what, action in {"missing": proxy.reply(200, b""), "empty": header(""), "no base64": header("%%%"),
                             "no JSON": header("aGVsbG8="), "an array": header("W10="), "long": header("QUFB" * 10000),
                             "refused": proxy.reply(500, b""), "a mode of text": header("eyJtb2RlIjoieCJ9")}.items():
            self.refused_with(what, "HEAD /containers/*", action, (3, 4, 8))

    def test_memory_stays_small(self):
        self.prepare("pre-run")
        for what, pattern, action in (("JSON", IMAGE, proxy.flood(10 << 30)),
                                      ("headers", IMAGE, proxy.endless_headers()),
                                      ("a header", RESULTS, proxy.long_header()),
                                      ("an error", RESULTS, proxy.raw(lambda: (
                                          b"HTTP/1.1 500 x\r\n\r\n" if not place else b"a" * MIB
                                          for place in range(4096)))),
                                      ("a created container", "POST /containers/create*", proxy.flood(10 << 30))):
            with self.subTest(what):
                self.lying.forget()
                self.lying.on(pattern, action)
                peak = self.peak(self.arguments("pre-run", TRAIN, station="beta"), status=8)
                if not SANITIZED:  # which takes memory of its own
                    self.assertLess(peak, 64 * 1024)
                self.assertEqual(self.engine.state(), self.before)

    def test_slow_answers(self):
        for command in ("pre-run", "post-run"):
            self.prepare(command)
            for what, pattern in (("of an image", IMAGE), ("of an archive", ARCHIVE), ("of the first", "* /_ping")):
                with self.subTest(f"{command}: {what}, never"):
                    self.lying.forget()
                    self.lying.on(pattern, proxy.silence(60))
                    start = time.monotonic()
                    result = self.run_it(env={"DOCKER_CLIENT_TIMEOUT": "1"})
                    taken = time.monotonic() - start
                    self.check_failure(result, what)
                    self.assertTrue(0.7 < taken < 12, taken)
                    self.assertTrue(any(word in result.err for word in ("1 s", "time", "silent", "answer")), result.err)
        for pattern in ("POST /commit*", "POST /containers/create*", "DELETE *"):
            with self.subTest(f"{pattern} takes its time"):
                self.prepare("pre-run")
                self.lying.on(pattern, proxy.slow(2.5), times=1)
                result = self.run_it(env={"DOCKER_CLIENT_TIMEOUT": "1"})
                self.assertEqual(result.status, 0, str(result))
        with self.subTest("slow, but it comes"):
            self.prepare("pre-run")
            self.lying.on(RESULTS, proxy.dripping(0.1))
            result = self.run_it(env={"DOCKER_CLIENT_TIMEOUT": "1"})
            self.assertEqual(result.status, 0, str(result))

    def test_lists(self):
        """What a killed run left is looked for first: absurd lists end the run, or are passed over with a warning."""
        self.prepare("pre-run")
        for pattern in ("GET /containers/json*", "GET /images/json*"):
            for what, action in {"text": proxy.reply(200, b"x"), "an object": proxy.reply(200, {}),
                                 "null": proxy.reply(200, b"null"), "500": proxy.refusal(500, "no"),
                                 "numbers": proxy.reply(200, [1, 2, None, {"Id": 5, "Names": 7, "RepoTags": "x"}]),
                                 "10 GiB": proxy.flood(10 << 30, b"["), "cut": proxy.cut()}.items():
                with self.subTest(f"{pattern}: {what}"):
                    self.lying.forget()
                    self.lying.on(pattern, action)
                    result = self.tt("clean")
                    self.assertIn(result.status, (0, 8), str(result))
                    self.assertEqual(self.engine.state(), self.before)


if __name__ == "__main__":
    unittest.main()
