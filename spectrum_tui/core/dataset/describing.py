"""What is said of data before it is trained on."""

from __future__ import annotations

from spectrum_tui.core.dataset.examples import Dataset
from spectrum_tui.core.numbers import count, counted
from spectrum_tui.core.text import safe


def describe(dataset: Dataset) -> list[str]:
    """Return one line on what was read, and one on what was not where there is such."""
    noun = noun_of(dataset)
    said = sum(len(example.characters) for example in dataset.examples)
    more = len(dataset.files) - 1
    where = dataset.files[0] + (f" and {counted(more, 'more file')}" if more else "")
    lines = [f"{where}: {counted(len(dataset.examples), noun)}{_amount(dataset, said)}"]
    if left := _left_out(dataset):
        lines.append(left)
    return [safe(line) for line in lines]


_NOUNS = {"text": "document", "image": "image", "audio": "recording"}


def noun_of(dataset: Dataset) -> str:
    """Return what one of the examples is called."""
    return _NOUNS.get(dataset.form, "example")


def _amount(dataset: Dataset, characters: int) -> str:
    if dataset.form == "image":
        labels = {example.label for example in dataset.examples}
        return f" of {counted(len(labels), 'class', 'classes')}"
    return f", {count(characters)} characters, read from {', '.join(dataset.columns)}"


def _left_out(dataset: Dataset) -> str:
    parts = []
    if dataset.blank:
        parts.append(f"{counted(dataset.blank, 'blank document')} left out")
    if dataset.skipped:
        parts.append(f"{counted(dataset.skipped, 'line')} skipped, the first: {dataset.problem}")
    return "; ".join(parts)
