"""The layers as a table, to look at and to count with: no recipe, as no trainer reads it."""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Iterator

import numpy as np

from spectrum_tui.core import numbers
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.results.selection import Hand
from spectrum_tui.core.results.standing import By, deciding
from spectrum_tui.core.scoring.metrics import described
from spectrum_tui.core.text import safe

Cell = str | int | float
"""A float is a score, NaN where there is none."""
_BY_HAND = {Hand.PINNED: "pin", Hand.BANNED: "ban", Hand.OUTSIDE: "blocks"}
_PLAIN = re.compile(r"[\w .:/%-]*", re.ASCII)


class TableKind(RecipeKind):
    """One row for each layer, whether it trains or not."""

    is_recipe = False

    def files(self, choice: Choice) -> tuple[RecipeFile, ...]:
        """Return the file; there is one for every choice."""
        text = self.text(choice, head(choice.selection.result), list(rows(choice)))
        return (RecipeFile(f"_{choice.policy.ending}.{self.ending}", text),)

    ending: str

    def text(self, choice: Choice, titles: list[str], cells: list[list[Cell]]) -> str:
        """Return the rows in the form of this kind."""
        raise NotImplementedError


class CsvKind(TableKind):
    """For spreadsheets and data frames."""

    name = "csv"
    title = "Table, CSV"
    purpose = "Each layer: rank, scores, size"
    ending = "csv"

    def text(self, choice: Choice, titles: list[str], cells: list[list[Cell]]) -> str:
        """Return RFC 4180 with `\\n`; texts in quotes, numbers as Python reads them back."""
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(titles)
        writer.writerows([_csv_cell(cell) for cell in row] for row in cells)
        return out.getvalue()


class MarkdownKind(TableKind):
    """For an issue, a README, a notebook."""

    name = "markdown"
    title = "Table, Markdown"
    purpose = "The same for an issue or a README"
    ending = "md"

    def text(self, choice: Choice, titles: list[str], cells: list[list[Cell]]) -> str:
        """Return a paragraph that says what is chosen, and the table."""
        result = choice.selection.result
        metric = described(result.scores.metric).words
        about = f"{result.provenance.model}: {choice.policy.words_by(metric)}"
        sides = ["---:" if isinstance(cell, int | float) else "---" for cell in (cells or [[]])[0]]
        lines = [_markdown_text(about), "", _row(map(_markdown_text, titles)), _row(sides)]
        lines += [_row(map(_markdown_cell, row)) for row in cells]
        return "\n".join(lines) + "\n"


TABLES = (CsvKind(), MarkdownKind())


def head(result: Result) -> list[str]:
    """Return the titles of the columns."""
    sizes = ("shape", "parameters", "trains", "by", "problem")
    return ["layer", "type", "rank", "of", *result.metrics, *sizes]


def rows(choice: Choice) -> Iterator[list[Cell]]:
    """Yield the cells of every layer, in the order of the scores; rank 0 is none."""
    selection = choice.selection
    scores = selection.result.scores
    trained, decided = selection.trained(choice.policy).tolist(), _decided(choice)
    rank, counts, numel = selection.rank.tolist(), selection.counts.tolist(), scores.numel.tolist()
    columns = [scores.metrics[name].values.tolist() for name in selection.result.metrics]
    for i, (layer, kind) in enumerate(zip(scores.layers, scores.type_ids.tolist(), strict=True)):
        yield [
            *(layer, scores.type_names[kind], rank[i], counts[kind]),
            *(values[i] for values in columns),
            *(scores.shape(i) if scores.rows[i] else "", numel[i]),
            *("yes" if trained[i] else "no", decided[i], scores.problems.get(i, "")),
        ]


def _decided(choice: Choice) -> list[str]:
    """Return for each layer what decides whether it trains."""
    selection, policy = choice.selection, choice.policy
    hands = selection.by_hand(policy)
    every = deciding(selection, policy, np.arange(len(hands)))
    return [
        _BY_HAND[Hand(hand)] if by is By.HAND else by.value
        for by, hand in zip(every, hands.tolist(), strict=True)
    ]


def _csv_cell(cell: Cell) -> Cell:
    """Return a number as it is, and a text that no spreadsheet takes for a formula: they look for
    =, +, - and @ of any width, behind blanks and control characters, too."""
    if not isinstance(cell, str):
        return "" if isinstance(cell, float) and math.isnan(cell) else cell
    shown = safe(cell)
    first = unicodedata.normalize("NFKC", cell.lstrip("\t\r\n \xa0\u3000")[:1])[:1]
    return f"'{shown}" if first in tuple("=+-@") or cell[:1] in tuple("\t\r\n") else shown


def _markdown_cell(cell: Cell) -> str:
    if isinstance(cell, float):
        return numbers.score(cell)
    return f"{cell:,}" if isinstance(cell, int) else _markdown_text(cell)


def _markdown_text(text: str) -> str:
    """Return a text that is shown as it is: what Markdown or HTML would obey as its number."""
    if _PLAIN.fullmatch(text) and "__" not in text:
        return f"`{text}`" if "." in text and " " not in text else text
    return "".join(c if c.isalnum() or c in " .,:/()-–×%" else f"&#{ord(c)};" for c in safe(text))


def _row(cells: Iterator[str] | list[str] | map[str]) -> str:
    return f"| {' | '.join(cells)} |"
