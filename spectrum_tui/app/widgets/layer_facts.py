"""What is said of the layer under the cursor, in the table and in the heat map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.content import Content

from spectrum_tui.app.training_memory import TrainingMemory
from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.app.widgets.marks import BY_HAND, Mark
from spectrum_tui.core import numbers
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Scores
from spectrum_tui.core.results.selection import Hand, Selection
from spectrum_tui.core.results.standing import By, Standing, standing
from spectrum_tui.core.scoring.metrics import described

Part = tuple[str, float]
"""(label, score) of one matrix of a layer that has several."""
Words = str | tuple[str, str] | Content
"""What is said, in a style or plainly."""
_GOOD = "bold $text-success"


def spread_text(parts: Sequence[Part]) -> str:
    """`mean of 256 matrices from 0.12 to 3.41`."""
    scores = [score for _, score in parts]
    low, high = numbers.score(min(scores)), numbers.score(max(scores))
    return f"mean of {numbers.counted(len(parts), 'matrix', 'matrices')} from {low} to {high}"


def what_it_is(scores: Scores, row: int) -> list[str]:
    """Return its type, where the name does not end with it, its matrices, shape and size."""
    type_name = scores.type_names[scores.type_ids[row]]
    parts = [] if scores.layers[row].endswith(type_name) else [printable(type_name)]
    if row in scores.parts:
        parts.append(f"{spread_text(scores.parts[row])} (x)")
    if scores.has_shapes:
        parts.append(scores.shape(row))
        parts.append(f"{numbers.count(float(scores.numel[row]))} parameters")
    return parts


def why_unscored(selection: Selection, row: int) -> str:
    """Return why a layer has no score; "" where it has one."""
    scores = selection.result.scores
    if row in scores.problems:
        return printable(scores.problems[row])
    return "" if selection.rank[row] else "not a number in the file"


def its_score(selection: Selection, row: int) -> str:
    """`SNR 0.0908 · rank 19 of 32`."""
    scores = selection.result.scores
    title = described(scores.metric).title
    value, n = numbers.score(float(scores.values[row])), selection.counts[scores.type_ids[row]]
    return f"{title} {value} · rank {selection.rank[row]} of {n}"


def why_chosen(selection: Selection, policy: Policy, row: int) -> tuple[str, str]:
    """(words, style): whether it trains, by what, and at which percentage that changes."""
    found = standing(selection, policy, row)
    if found.by is By.HAND:
        hand = Hand(int(selection.by_hand(policy)[row]))
        return _marked(BY_HAND[hand]), "bold"
    if found.by is By.EMBEDDINGS and found.selected:
        return _marked(Mark.EMBEDDINGS), _GOOD
    if found.by is By.EMBEDDINGS:
        return "frozen with embeddings and head (e)", ""
    if found.by is By.NOTHING:
        return "never selected", ""
    when = _place(found, policy) if found.by is By.BUDGET else _percent(found)
    return (
        (f"{_marked(Mark.ALL)}, {when}", _GOOD) if found.selected else (f"not selected, {when}", "")
    )


def _marked(mark: Mark) -> str:
    return f"{mark.glyph} {mark.words}"


def _percent(found: Standing) -> str:
    own = " of its type" if found.by is By.TYPE else ""
    way = "leaves below" if found.selected else "enters at"
    return f"{way} {found.percent:g} %{own}"


def _place(found: Standing, policy: Policy) -> str:
    return f"place {found.place:,}, the budget holds {policy.layers or 0:,}"


def what_it_costs(memory: TrainingMemory | None, selection: Selection, row: int) -> str:
    """`352 MB to train`: gradients and optimizer state; "" where sizes are not known yet."""
    if memory is None or not memory.prepared:
        return ""
    nbytes = memory.table(selection).of_layer(row, memory.training)
    return f"{numbers.size(nbytes)} to train" if nbytes else "takes no adapter"


def first_fitting(ways: Iterable[Sequence[Words]], width: int) -> Content:
    """Return the first of these lines that has room, its parts with dots between them; the last one
    where none has."""
    line = Content("")
    for parts in ways:
        line = Content(" · ").join(Content.assemble(part) for part in parts if part)
        if line.cell_length <= width:
            break
    return line


def whole(parts: Iterable[Words], width: int, gap: str = " · ") -> Content:
    """Return the parts that have room, each as a whole, up to the first that has none; the first
    in any case."""
    line = Content("")
    for part in parts:
        longer = Content.assemble(line, gap if line else "", part)
        if line and longer.cell_length > width:
            break
        line = longer
    return line


def layer_lines(
    selection: Selection, policy: Policy, memory: TrainingMemory | None, row: int, width: int
) -> tuple[Content, Content]:
    """Two lines: what the layer is; its score, whether it trains, and what that costs. What has no
    room goes as a whole: first what is said at length, then the shape and the cost."""
    scores = selection.result.scores
    name, parts = (printable(scores.layers[row]), "bold"), what_it_is(scores, row)
    brief = [part.removesuffix(" parameters") for part in parts]
    title = first_fitting(([name, *parts], [name, *brief], [name, *brief[-1:]], [name]), width)
    if reason := why_unscored(selection, row):
        return title, Content.styled(f"no score: {reason}", "$text-error")
    score, (why, style) = its_score(selection, row), why_chosen(selection, policy, row)
    cost, rank = what_it_costs(memory, selection, row), score.replace(" of ", "/")
    short = (why.removeprefix("not selected, ").partition(":")[0], style)
    ways: tuple[list[Words], ...] = (
        [score, (why, style), cost],
        [rank, (why, style), cost.removesuffix(" to train")],
        [rank, short, cost.removesuffix(" to train")],
        [score, (why, style)],
        [rank, short],
    )
    return title, first_fitting(ways, width)
