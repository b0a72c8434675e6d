"""Run one case in a forked process, and say what did not hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.lab import MODELS, SCORES, Case, Lab, run_command

SECONDS = 30.0
"""More than any command may take on a damaged file."""
MEMORY = 3 << 30
"""Resident bytes that a process may have: about 0.6 GB of it are the imports."""
CODES = (0, 1, 2)
"""Exit codes that are no surprise: 70 is an unexpected error, 130 an interrupt."""

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


@dataclass(slots=True)
class Running:
    """A case in work."""

    case: Case
    folder: Path
    pid: int
    before: str
    started: float = field(default_factory=time.monotonic)
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a case ended; `problems` is empty where everything held."""

    case: Case
    code: int
    seconds: float
    memory: int
    problems: tuple[str, ...]
    said: str


def run_all(lab: Lab, cases: Iterator[Case], jobs: int) -> Iterator[Verdict]:
    """Run the cases, `jobs` at a time, and yield their verdicts as they end."""
    running: dict[int, Running] = {}
    number = 0
    while True:
        while len(running) < jobs and (case := next(cases, None)) is not None:
            one = _start(lab, case, lab.folder / f"case-{number}")
            running[one.pid] = one
            number += 1
        if not running:
            return
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if pid:
            one = running.pop(pid)
            yield _judge(lab, one, os.waitstatus_to_exitcode(status), usage)
            shutil.rmtree(one.folder, ignore_errors=True)
            continue
        for one in running.values():
            _watch(one)
        time.sleep(0.002)


def _start(lab: Lab, case: Case, folder: Path) -> Running:
    arguments = lab.lay_out(case, folder)
    before = _fingerprint(lab, folder)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            _child(arguments, folder)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(97)
    return Running(case, folder, pid, before)


def _child(arguments: list[str], folder: Path) -> None:
    os.setsid()
    work = folder / "work"
    os.chdir(work)
    home = folder / "home"
    os.environ.update(
        HOME=str(home),
        SPECTRUM_TUI_CACHE=str(folder / "cache"),
        **{f"XDG_{kind}_HOME": str(home) for kind in ("CACHE", "CONFIG", "DATA", "STATE")},
    )
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    code = run_command(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _watch(one: Running) -> None:
    """End a case that takes too long or too much."""
    if time.monotonic() - one.started > SECONDS:
        one.stopped = f"took more than {SECONDS:.0f} s"
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{one.pid}/statm").read_text().split()[1])
        if pages * resource.getpagesize() > MEMORY:
            one.stopped = f"took more than {MEMORY >> 30} GiB"
    if one.stopped:
        with contextlib.suppress(OSError):
            os.kill(one.pid, 9)


def _judge(lab: Lab, one: Running, code: int, usage: resource.struct_rusage) -> Verdict:
    out = (one.folder / "stdout").read_bytes() if (one.folder / "stdout").exists() else b""
    err = (one.folder / "stderr").read_bytes() if (one.folder / "stderr").exists() else b""
    text = err.decode("utf-8", "replace")
    problems = tuple(_problems(lab, one, code, out, text))
    seconds = time.monotonic() - one.started
    said = text.strip().rpartition("\n")[2]
    return Verdict(one.case, code, seconds, usage.ru_maxrss * 1024, problems, said)


def _problems(lab: Lab, one: Running, code: int, out: bytes, err: str) -> Iterator[str]:
    if one.stopped:
        yield one.stopped
    elif code not in CODES:
        yield f"ended with {code}"
    if "Traceback" in err:
        yield "traceback"
    if code == 2 and not err.rstrip("\n").rpartition("\n")[2].startswith("spectrum-tui"):
        yield "exit 2 without a line that says why"
    for name, text in (("stdout", out.decode("utf-8", "surrogateescape")), ("stderr", err)):
        if found := _CONTROL.search(text):
            yield f"{found.group()!r} on {name}"
    if list(lab.canary.iterdir()):
        yield "wrote outside its folders"
    if _fingerprint(lab, one.folder) != one.before:
        yield "changed the model or what lies beside it"
    if one.case.target.same_scores and not one.stopped:
        yield from _other_scores(lab, one)


def _other_scores(lab: Lab, one: Running) -> Iterator[str]:
    """Whether damage to what is only remembered shows in the scores."""
    found = list((one.folder / "work/out/model_snr_results").glob("*.json"))
    if len(found) != 1:
        yield "wrote no scores"
        return
    true = json.loads((lab.pristine / SCORES).read_text())
    if json.loads(found[0].read_text()) != true:
        yield "other scores than those of the weights"


def _fingerprint(lab: Lab, folder: Path) -> str:
    """The model's files, and the names of what lies beside them, here and in the lab."""
    digest = hashlib.sha256()
    for place in (folder, lab.pristine):
        for name in MODELS:
            for path in sorted((place / name).rglob("*")):
                stat = path.lstat()
                digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        names = sorted(path.name for path in place.iterdir())
        digest.update(repr([n for n in names if n not in ("stdout", "stderr")]).encode())
    return digest.hexdigest()
