"""Every test runs as on a bare machine: no user's settings, caches or token, no network."""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_UNSET = (
    *("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "CLICOLOR", "CLICOLOR_FORCE"),
    "PYTHONDONTWRITEBYTECODE",  # each worker would spend 10 s on rewriting the asserts anew
)
_UNSET_PREFIXES = ("TEXTUAL_", "HF_", "HUGGING", "TRANSFORMERS_", "SPECTRUM_TUI_")
_FIXED = {"COLORTERM": "truecolor", "TERM": "xterm-256color", "HF_HUB_OFFLINE": "1"}
# Tests run side by side: threads that wait for each other on cores that others use made the SVDs
# of a real model take 40 s instead of 3 s.
_FIXED |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


_TESTS = Path(__file__).parent


def _is_foreign(name: str) -> bool:
    if name == "TEXTUAL_SNAPSHOT_TEMPDIR":  # the snapshot plugin's own, set before this file
        return False
    return name in _UNSET or name.startswith(_UNSET_PREFIXES)


# Textual, huggingface_hub and OpenBLAS read their variables when imported: before any fixture.
for _name in list(filter(_is_foreign, os.environ)):
    del os.environ[_name]
os.environ.update(_FIXED)
sys.dont_write_bytecode = False
os.environ["HF_HOME"] = str(Path(tempfile.gettempdir()) / f"no-hf-home-{os.getpid()}")


# The same examples in every run: what is found by other seeds becomes an example of its own. On a
# busy machine the tables of Unicode alone took 54 s, which is no fault of the examples.
settings.register_profile(
    "suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests of screens and processes wait a third of their time."""
    return 1 + (os.cpu_count() or 1)


def pytest_collection(session: pytest.Session) -> None:
    """Of the whole suite, each worker imports another share of the files first.

    Where no bytecode is kept yet, pytest rewrites the asserts of what it imports, 10 s for all
    files: so every worker finds most of them rewritten by the others.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None or [Path(arg).resolve() for arg in session.config.args] != [_TESTS]:
        return
    training = _TESTS / "training"  # not collected; some take 2 s to import their packages
    files = sorted(file for file in _TESTS.rglob("test_*.py") if training not in file.parents)
    for file in files[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        name = ".".join(file.relative_to(_TESTS.parent).with_suffix("").parts)
        # What cannot be imported here, or is to be skipped, says so when it is collected.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(name)


def pytest_collection_finish() -> None:
    """Torch and transformers never die: without them a full collection takes 0.1 s less.

    A screen makes 100,000 objects and lives for a second: looking at them after every 700 is a
    quarter of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    """A number for each test of this process."""
    return itertools.count()


@pytest.fixture
def tmp_path(
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    _numbers: Iterator[int],
) -> Path:
    """A folder of the test's own, named after it.

    pytest's own looks for a free number among the folders of all tests before: 10 ms in the end.
    """
    name = re.sub(r"\W", "_", request.node.name)[:30]
    return tmp_path_factory.mktemp(f"{name}{next(_numbers)}", numbered=False)


@pytest.fixture(autouse=True)
def _bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Home, caches and terminal of one test; child processes inherit them."""
    for name in list(filter(_is_foreign, os.environ)):
        monkeypatch.delenv(name)
    for name, value in _FIXED.items():
        monkeypatch.setenv(name, value)
    # No test cuts the power, and a disk that others use takes its time.
    monkeypatch.setattr(os, "fsync", lambda file: None)
    # Beside tmp_path rather than in it, which tests list and compare.
    home = tmp_path.parent / f"{tmp_path.name}-home"
    home.mkdir(exist_ok=True)
    for name, place in (
        ("HOME", ""),
        ("XDG_CACHE_HOME", ".cache"),
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
        ("HF_HOME", ".cache/huggingface"),
        ("SPECTRUM_TUI_CACHE", ".cache/spectrum-tui"),
    ):
        monkeypatch.setenv(name, str(home / place))


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is an empty one."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
