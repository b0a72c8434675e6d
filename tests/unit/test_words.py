"""No text of the program counts one layers, or three layer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import spectrum_tui
from spectrum_tui.core.numbers import counted, part_of

NOUNS = [
    "layers",
    "types",
    "parameters",
    "files",
    "shards",
    "tensors",
    "lines",
    "matrices",
    "others",
    "groups",
    "adapters",
    "experts",
    "scores",
    "values",
    "rows",
    "GPUs",
    "processes",
    "patterns",
    "blocks",
    "trainers",
    "models",
    "parts",
    "pieces",
    "changes",
    "spectra",
    "tokens",
    "heads",
    "steps",
    "dimensions",
    "entries",
    "items",
    "keys",
    "findings",
    "errors",
    "warnings",
    "notes",
    "folders",
]

ALWAYS_SEVERAL = {
    "app/widgets/heat_rows.py": {"blocks"},  # folded: two or more
    "app/widgets/layer_tree.py": {"experts"},  # of a parameter that holds several
    "core/recipes/axolotl.py": {"experts"},
    "core/proof/table.py": {"tokens"},  # of a batch: `2 × 512 tokens`
    "core/recipes/adapter_comments.py": {"experts"},
    "app/widgets/memory_line.py": {"GPUs"},  # said where there is more than one
    "app/proof_setup.py": {"tokens"},  # of texts, as `1.2 k`
    "app/screens/proof.py": {"steps"},  # of a window: two or more
    "app/widgets/heat_foot.py": {"parameters"},  # as `8.03 B`
    "cli/prove.py": {"tokens"},  # of a batch
    "cli/probe.py": {"tokens"},  # of batches
    "proving/probing/asking.py": {"tokens"},
    "core/proof/plan.py": {"processes"},  # that cannot share a batch: two or more
    "cli/memory.py": {"GPUs", "parameters", "tokens"},
    "core/memory/fit.py": {"GPUs"},
    "core/memory/budget.py": {"parameters"},  # as `8.03 B`
    "core/trainers/reports.py": {"lines"},  # more than 50,000
    "core/results/selection.py": {"types", "layers"},
    "core/scanning/scan.py": {"processes"},
    "core/naming/plan.py": {"parameters"},
    "core/naming/coverage.py": {"parameters"},  # most of a model
    "app/screens/save_report.py": {"trainers", "parameters"},  # as `8.03 B`
    "app/screens/result_notes.py": {"layers", "types", "parameters"},  # that are tied
    "app/screens/memory.py": {"parameters"},
    "cli/scan_model.py": {"parameters"},
    "freeze.py": {"rows"},
    "core/recipes/reference.py": {"layers"},  # after a type's name
    "jobs/training.py": {"parameters"},
    "app/widgets/plan_panel.py": {"GPUs", "parameters"},
    "app/widgets/layer_facts.py": {"parameters"},
}


def counts(tree: ast.AST) -> Iterator[str]:
    """The plural nouns that directly follow a number in the texts of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for value, text in zip(node.values, node.values[1:], strict=False):
                after = text.value if isinstance(text, ast.Constant) else ""
                is_value = isinstance(value, ast.FormattedValue) and _is_number(value)
                words = str(after).split(maxsplit=1)
                if is_value and str(after).startswith(" ") and words:
                    yield words[0].strip(".,:;()")


def _is_number(value: ast.FormattedValue) -> bool:
    """Whether it may be a number: what is counted by a helper brings its own noun."""
    call = value.value
    name = getattr(call.func, "attr", getattr(call.func, "id", "")) if isinstance(call, ast.Call) \
        else ""  # fmt: skip
    return name not in ("counted", "part_of")


ROOT = Path(spectrum_tui.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_counted_agrees_with_its_number(path: Path) -> None:
    found = set(counts(ast.parse(path.read_text(encoding="utf-8")))) & set(NOUNS)
    assert found <= ALWAYS_SEVERAL.get(str(path.relative_to(ROOT)), set())


def test_a_text_that_counts_is_found() -> None:
    tree = ast.parse('f"{n:,} layers" f"{m} of {n} others." f"{counted(n, x)} layers"')
    assert list(counts(tree)) == ["layers", "of", "others"]


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 lines"), (1, "1 line"), (2, "2 lines"), (1234, "1,234 lines")]
)
def test_a_number_of_things(n: int, said: str) -> None:
    assert counted(n, "line") == said


def test_some_of_a_number_of_things_and_what_they_do() -> None:
    assert counted(1, "matrix is", "matrices are") == "1 matrix is"
    assert counted(0, "matrix is", "matrices are") == "0 matrices are"
    assert part_of(1, 1, "layer") == "1 of 1 layer"
    assert part_of(1, 3, "layer", "has", "have") == "1 of 3 layers has"
    assert part_of(2, 1000, "layer", "has", "have") == "2 of 1,000 layers have"
