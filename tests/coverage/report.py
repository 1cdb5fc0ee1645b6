"""What gcovr counted, held against what is demanded; called by scripts/coverage.

Demanded: of every parser of outside data, 90 % of the lines by the fuzz corpora alone; 90 % of all lines by all tests; and
of the protocol and of the decisions on trust, every branch, or a reason in explained.txt why it is not run.
"""

import argparse
import collections
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LEAST = 90

# Code that takes apart what a stranger may have written: images, archives, engines' answers, files, command lines' URIs.
PARSERS = """
    src/base/base64.c src/base/hex.c src/json/json.c src/json/json_scan.c src/json/json_put.c
    src/archive/tar_reader.c src/archive/tar_doubt.c
    src/train/train_config.c src/statement/envelope.c src/statement/manifest_read.c
    src/image/oci_index.c src/image/oci_select.c src/image/oci_manifest.c src/image/oci_child.c src/image/oci_digest.c
    src/image/image_settings.c src/state/state_record.c
    src/image/docker_output.c src/image/docker_saved.c src/image/docker_config.c src/image/docker_endpoint.c
    src/image/docker_engine.c src/image/docker_container.c src/image/docker_driver.c src/image/docker_store.c
    src/image/docker_sweep.c src/image/docker_clean.c
    src/image/credentials.c src/protocol/layer_rules.c
    src/trust/trust_file.c src/audit/audit_line.c src/audit/audit_chain.c src/audit/trail.c src/audit/checkpoint.c
    provisioning/policy.c provisioning/enrol.c provisioning/attested.c pkcs11/uri.c
""".split()


def is_decision(name):
    """Of the protocol, and whom to trust. What only changes the trust store, when its owner says so, decides nothing."""
    return name.startswith(("src/protocol/", "src/trust/")) and name != "src/trust/trust_change.c"


class File:
    def __init__(self, name):
        self.name = name
        self.lines = {}  # number: how often it ran
        self.branches = collections.defaultdict(dict)  # line: {which: how often it was taken}

    def missing(self):
        """How many branches of a line were not taken, by the line's text."""
        with open(os.path.join(ROOT, self.name), encoding="utf-8") as source:
            text = source.read().split("\n")
        found = collections.Counter()
        for number, branches in self.branches.items():
            found[text[number - 1].strip()] += sum(count == 0 for count in branches.values())
        return +found

    def line_figures(self):
        return sum(count > 0 for count in self.lines.values()), len(self.lines)

    def branch_figures(self):
        counts = [count for branches in self.branches.values() for count in branches.values()]
        return sum(count > 0 for count in counts), len(counts)


def read(path):
    """gcovr's JSON: {name: File}. Headers are reached by way of links in the build, one for each library."""
    files = {}
    with open(path, encoding="utf-8") as stream:
        document = json.load(stream)
    for entry in document["files"]:
        name = os.path.relpath(os.path.realpath(os.path.join(ROOT, entry["file"])), ROOT)
        file = files.setdefault(name, File(name))
        for line in entry["lines"]:
            if line.get("gcovr/noncode") or line.get("gcovr/excluded"):  # newer versions name what is so only
                continue
            number = line["line_number"]
            file.lines[number] = file.lines.get(number, 0) + line["count"]
            for which, branch in enumerate(line["branches"]):
                branches = file.branches[number]
                branches[which] = branches.get(which, 0) + branch["count"]
    return files


def percent(covered, total):
    return 100 * covered / total if total else 100.0


def figures(covered, total):
    return f"{percent(covered, total):.1f} % ({covered} of {total})"


def total(pairs):
    pairs = list(pairs)
    return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)


class Explanations:
    """explained.txt: reasons ("NAME: words"), then lines "NAME | FILE | COUNT | the line's text"."""

    def __init__(self, path):
        self.reasons = {}
        self.lines = {}  # (file, text): (reason, least, most)
        with open(path, encoding="utf-8") as stream:
            for line in stream:
                line = line.rstrip("\n")
                if line and not line.startswith("#"):
                    self.take(line)

    def take(self, line):
        parts = line.split(" | ", 3)
        if len(parts) == 1:
            name, words = line.split(": ", 1)
            self.reasons[name] = words
            return
        name, file, count, text = parts
        least, _, most = count.partition("-")
        if name not in self.reasons or (file, text) in self.lines:
            sys.exit(f"explained.txt: an unknown reason, or the same line twice: {line}")
        self.lines[file, text] = name, int(least), int(most or least)

    def judge(self, files):
        """(branches not run and not explained, explanations not needed, {reason: branches it explains})."""
        missing = {(file.name, text): count for file in files for text, count in file.missing().items()}
        unexplained, idle, used = [], [], collections.Counter()
        for place, count in sorted(missing.items()):
            name, _, most = self.lines.get(place, (None, 0, 0))
            if count > most:
                unexplained.append((*place, count - most))
            if name:
                used[name] += min(count, most)
        for place, (_, least, _) in self.lines.items():
            if missing.get(place, 0) < least:
                idle.append((*place, least - missing.get(place, 0)))
        return unexplained, idle, used


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join(" --- " for _ in head) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


class Report:
    def __init__(self, corpora, tests, explanations):
        self.corpora, self.tests, self.explanations = corpora, tests, explanations
        self.faults = []  # of the corpora
        self.lacks = []  # of all tests

    def parsers(self):
        rows = []
        for name in PARSERS:
            file = self.corpora.get(name) or File(name)
            covered, lines = file.line_figures()
            rows.append((f"`{name}`", figures(covered, lines)))
            if not lines or percent(covered, lines) < LEAST:
                bare = [number for number, count in sorted(file.lines.items()) if count == 0]
                self.faults.append(f"{name}: the fuzz corpora run {figures(covered, lines)} of its lines; not: {bare}")
        return table(("Parser of outside data", "lines run by the fuzz corpora"), rows)

    def folders(self):
        groups = collections.defaultdict(list)
        for name, file in self.tests.items():
            groups[os.path.dirname(name)].append(file)
        rows = [(f"`{folder}`", figures(*total(file.line_figures() for file in files)),
                 figures(*total(file.branch_figures() for file in files))) for folder, files in sorted(groups.items())]
        whole = total(file.line_figures() for file in self.tests.values())
        branches = total(file.branch_figures() for file in self.tests.values())
        rows.append(("**all**", f"**{figures(*whole)}**", figures(*branches)))
        if percent(*whole) < LEAST:
            self.lacks.append(f"all tests run {figures(*whole)} of the lines; {LEAST} % are demanded")
        return table(("Folder", "lines run by all tests", "branches"), rows)

    def decisions(self):
        files = [file for name, file in sorted(self.tests.items()) if is_decision(name) and file.branches]
        unexplained, idle, used = self.explanations.judge(files)
        for name, text, count in unexplained:
            self.lacks.append(f"{name}: {count} of the branches never taken, and not explained: {text}")
        for name, text, count in idle:
            self.lacks.append(f"{name}: explained, but {count} of the branches are taken or gone: {text}")
        covered, branches = total(file.branch_figures() for file in files)
        rows = [("taken by the tests", str(covered))]
        rows += [(self.explanations.reasons[name], str(count)) for name, count in used.most_common()]
        rows.append(("**all**", f"**{branches}**"))
        if unexplained:
            rows.insert(-1, ("not explained", str(sum(count for _, _, count in unexplained))))
        return table(("Branches of `src/protocol` and `src/trust`", "how many"), rows)

    def text(self):
        yield "# Coverage"
        yield ""
        yield "Written by `scripts/coverage --write`; `scripts/coverage` fails when a parser or the whole is below"
        yield f"{LEAST} %, or a branch of the protocol or of a decision on trust is neither taken by a test nor explained, line by"
        yield "line, in [tests/coverage/explained.txt](../tests/coverage/explained.txt)."
        yield ""
        yield from self.parsers()
        if self.tests:
            yield from self.folders()
            yield from self.decisions()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", required=True)
    parser.add_argument("--tests")
    parser.add_argument("--lenient", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    explanations = Explanations(os.path.join(HERE, "explained.txt"))
    report = Report(read(options.corpora), read(options.tests) if options.tests else {}, explanations)
    text = "\n".join(report.text())
    print(text)
    if options.write:
        with open(os.path.join(ROOT, "docs/coverage.md"), "w", encoding="utf-8") as stream:
            stream.write(text.rstrip() + "\n")
    for fault in report.faults + report.lacks:
        print(f"coverage: {fault}", file=sys.stderr)
    return 1 if report.faults or (report.lacks and not options.lenient) else 0


if __name__ == "__main__":
    sys.exit(main())
