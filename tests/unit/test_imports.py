"""Who imports whom: the core knows no screen, the screens load no torch, --help loads neither."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import spectrum_tui

PACKAGE = Path(spectrum_tui.__file__).parent
CORE = sorted((PACKAGE / "core").rglob("*.py"))
AT_WORK = PACKAGE / "core" / "quantised" / "kernels.py"
"""Arithmetic on tensors, imported by the decoders when they decode the first one."""
HEAVY = ("torch", "transformers", "huggingface_hub")
SCREEN = ("textual", "rich")
WORKER_ONLY = {"spectrum_tui.worker.server"}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def loaded_by(*modules: str) -> set[str]:
    """The top-level packages in memory after these imports, in a process of its own."""
    code = f"import sys, {', '.join(modules)}\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def imported_by(path: Path) -> set[str]:
    """The top-level packages that any import statement of a file names, those in functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_the_core_loads_no_screen_and_nothing_heavy() -> None:
    assert len(CORE) > 15
    loaded = loaded_by(*(module_of(path) for path in CORE if path != AT_WORK))
    assert not loaded & {*SCREEN, *HEAVY}


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.name)
def test_no_file_of_the_core_knows_a_screen(path: Path) -> None:
    names = imported_by(path)
    assert not {name.split(".")[0] for name in names} & set(SCREEN)
    outside = {n for n in names if n.startswith("spectrum_tui") and ".core" not in n}
    assert outside <= {"spectrum_tui"}  # its version
    text = path.read_text(encoding="utf-8")
    assert "print(" not in text


def app_side() -> list[str]:
    files = [PACKAGE / "worker" / "client.py", PACKAGE / "cli" / "main.py"]
    return sorted(module_of(path) for path in [*files, *(PACKAGE / "app").rglob("*.py")])


def test_the_app_loads_nothing_heavy() -> None:
    loaded = loaded_by(*app_side())
    assert "textual" in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("module", app_side())
def test_no_file_of_the_app_imports_anything_heavy_later(module: str) -> None:
    path = PACKAGE.parent / (module.replace(".", "/") + ".py")
    if not path.is_file():
        path = PACKAGE.parent / module.replace(".", "/") / "__init__.py"
    names = imported_by(path)
    assert not {name.split(".")[0] for name in names} & set(HEAVY)
    assert not names & WORKER_ONLY


def test_the_command_line_loads_neither() -> None:
    loaded = loaded_by("spectrum_tui.cli.main", "spectrum_tui.__main__")
    assert not loaded & {*SCREEN, *HEAVY, "numpy", "yaml", "safetensors"}


def test_saved_scores_need_nothing_heavy() -> None:
    loaded = loaded_by("spectrum_tui.core.saved.store", "spectrum_tui.core.recipes.spectrum")
    assert not loaded & {*SCREEN, *HEAVY, "safetensors"}


def test_headless_loads_nothing_heavy_at_import() -> None:
    assert not loaded_by("spectrum_tui.cli.headless") & {*SCREEN, *HEAVY}
