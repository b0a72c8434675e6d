"""What is in memory after an import: the core loads no screen, the screens no torch, --help none.

Who may import whom at all is told by the contracts of import-linter in pyproject.toml.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import spectrum_tui
from tests.checkpoints import llama, save

PACKAGE = Path(spectrum_tui.__file__).parent
HEAVY = ("torch", "transformers", "huggingface_hub")
SCREEN = ("textual", "rich")


def modules_in(folder: Path) -> list[str]:
    paths = (path.relative_to(PACKAGE.parent).with_suffix("") for path in folder.rglob("*.py"))
    return sorted(".".join(p.parts).removesuffix(".__init__") for p in paths)


def loaded_by(*modules: str) -> set[str]:
    """The top-level packages in memory after these imports, in a process of its own."""
    code = f"import sys, {', '.join(modules)}\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_core_loads_no_screen_and_nothing_heavy() -> None:
    core = modules_in(PACKAGE / "core")
    assert len(core) > 100
    assert not loaded_by(*core) & {*SCREEN, *HEAVY}


def test_the_app_loads_nothing_heavy() -> None:
    loaded = loaded_by("spectrum_tui.worker.client", *modules_in(PACKAGE / "app"))
    assert "textual" in loaded
    assert not loaded & set(HEAVY)


def test_the_command_line_loads_neither() -> None:
    loaded = loaded_by("spectrum_tui.cli.main", "spectrum_tui.__main__")
    assert not loaded & {*SCREEN, *HEAVY, "numpy", "yaml"}


def test_saved_scores_need_nothing_heavy() -> None:
    loaded = loaded_by("spectrum_tui.core.saved.store", "spectrum_tui.core.recipes.spectrum")
    assert not loaded & {*SCREEN, *HEAVY}


def test_a_scan_without_a_screen_loads_none() -> None:
    assert not loaded_by("spectrum_tui.cli.scan") & {*SCREEN, *HEAVY}


def test_what_is_written_after_a_scan_is_loaded_after_it() -> None:
    code = "import sys, spectrum_tui.cli.scan_model\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    later = ("recipes.kinds", "recipes.writing", "trainers.trainers", "memory.estimate")
    assert not {f"spectrum_tui.core.{name}" for name in later} & set(run.stdout.split())


SCAN = """
import sys
from spectrum_tui.cli.main import main
given = zip(("--precision", "--output-dir"), sys.argv[2:], strict=True)
code = main(["scan", sys.argv[1], "--device", "cpu", *(part for pair in given for part in pair)])
print(code, *{m.split(".")[0] for m in sys.modules}, file=sys.stderr)
"""


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_a_scan_on_a_cpu_loads_no_torch(precision: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "m", llama(2), config={"attention_bias": False, "mlp_bias": False})
    command = [sys.executable, "-c", SCAN, str(folder), precision, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    code, *loaded = run.stderr.splitlines()[-1].split()
    assert code == "0", run.stderr
    assert "numpy" in loaded
    assert not set(loaded) & {*SCREEN, "torch", "transformers"}
