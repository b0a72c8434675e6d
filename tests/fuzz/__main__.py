"""`python -m tests.fuzz`: run cases, print the failures and a line of figures."""

from __future__ import annotations

import argparse
import collections
import contextlib
import gc
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")

from tests.fuzz.harness import Verdict, run_all
from tests.fuzz.lab import TARGETS, Case, Lab

KEPT = Path(__file__).parent / "kept"


def main() -> int:
    """Run the cases; the exit code is 1 where one failed."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="spectrum-fuzz-") as place:
        home = Path(place) / "lab"
        os.environ.update(
            HOME=place, HF_HOME=f"{place}/hf", SPECTRUM_TUI_CACHE=f"{home}/pristine/cache"
        )
        lab = Lab(home)
        os.chdir(place)
        hush = io.StringIO()
        with contextlib.redirect_stdout(hush), contextlib.redirect_stderr(hush):
            lab.build()
        gc.collect()
        gc.freeze()
        return _report(lab, run_all(lab, _cases(lab, options), options.jobs), keep=options.keep)


def _cases(lab: Lab, options: argparse.Namespace) -> Iterator[Case]:
    names = options.target or list(TARGETS)
    if options.kept:
        yield from _kept(lab)
    for number in range(options.cases):
        target = TARGETS[names[number % len(names)]]
        yield lab.case(target, f"{options.seed}:{number // len(names)}")


def _kept(lab: Lab) -> Iterator[Case]:
    """Every file in `kept/`, TARGET-ANYTHING, with every command of its target."""
    for path in sorted(KEPT.glob("*")):
        target = TARGETS[path.name.partition("-")[0]]
        content = path.read_bytes().replace(b"@@canary@@", str(lab.canary / "x").encode())
        for command in target.commands:
            yield Case(target, content, command, path.name)


def _report(lab: Lab, verdicts: Iterator[Verdict], *, keep: bool) -> int:
    started = time.monotonic()
    codes: collections.Counter[int] = collections.Counter()
    failed, slowest, memory = 0, 0.0, 0
    for verdict in verdicts:
        codes[verdict.code] += 1
        slowest, memory = max(slowest, verdict.seconds), max(memory, verdict.memory)
        if verdict.problems:
            failed += 1
            _say(verdict)
            if keep:
                _keep(lab, verdict.case)
    number = sum(codes.values())
    seconds = time.monotonic() - started
    ends = ", ".join(f"exit {code}: {count}" for code, count in sorted(codes.items()))
    print(
        f"{number} cases, {failed} failed; {ends}; {number / seconds:.1f} a second, "
        f"slowest {slowest:.1f} s, most memory {memory / 2**30:.2f} GiB"
    )
    return 1 if failed else 0


def _say(verdict: Verdict) -> None:
    case = verdict.case
    command = " ".join(case.command)
    print(f"FAILED {case.label}: {'; '.join(verdict.problems)} (exit {verdict.code})")
    print(f"    {command}\n    {verdict.said[:300]!r}", flush=True)


def _keep(lab: Lab, case: Case) -> None:
    content = case.content.replace(str(lab.canary / "x").encode(), b"@@canary@@")
    (KEPT / case.label.replace(":", "-")).write_bytes(content)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, metavar="N", help="how many (1000)")
    parser.add_argument("--seed", default="0", metavar="S", help="another seed, other cases (0)")
    parser.add_argument("--target", action="append", choices=TARGETS, help="damage only this file")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--kept", action="store_true", help="run the files in kept/ first")
    parser.add_argument("--keep", action="store_true", help="write failing cases to kept/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
