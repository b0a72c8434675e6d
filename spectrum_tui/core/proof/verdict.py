"""What may be said of the rows of a proof, in words: no more than the seeds allow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from spectrum_tui.core.numbers import counted
from spectrum_tui.core.proof.comparing import HELD_OUT, KEPT, Pair, compared, pairs
from spectrum_tui.core.proof.methods import SELECTIONS, parse_method
from spectrum_tui.core.proof.proof import Comparison, Verdict
from spectrum_tui.core.proof.statistics import Spread, least_share
from spectrum_tui.core.proof.summary import Summary, why_not
from spectrum_tui.core.text import safe

_Found = Mapping[tuple[str, str, str], Comparison]
_ALIKE = 0.02
"""Share by which two numbers of parameters may differ and count as the same."""


def verdict(found: Sequence[Summary]) -> Verdict:
    """Return what may be said of methods, and the comparisons that it rests on."""
    trained = [one for one in found if one.held_out]
    best = min(trained, key=lambda one: one.loss.mean).method if trained else ""
    together = pairs(found)
    repeated = any(one.loss.spread > 0 for one in trained)
    comparisons = compared(together) if repeated else ()
    lines = (
        *_opening(trained, comparisons),
        *_of_pairs(together, comparisons),
        *_not_learned(trained),
        *_forgotten(trained),
        *_without_random(found),
        *_failures(found),
        *_method(comparisons),
    )
    return Verdict(lines=tuple(map(safe, lines)), comparisons=comparisons, best=best)


def _opening(trained: Sequence[Summary], comparisons: Sequence[Comparison]) -> Iterator[str]:
    seeds = max((one.loss.count for one in trained), default=0)
    if not seeds:
        yield "No row came to an end, so nothing can be said."
    elif seeds == 1:
        yield "Only one seed was trained, so no difference can be claimed."
    elif not any(one.loss.spread > 0 for one in trained):
        yield (
            "All seeds gave the same loss, so nothing was repeated and no difference can be "
            "claimed: train on more text."
        )
    elif not comparisons:
        yield "There is nothing to compare: give full, or a selection and a random one."
    elif not (some := sum(one.found for one in comparisons)):
        made = counted(len(comparisons), "comparison")
        yield f"No difference was found ({made} over {counted(seeds, 'seed')})."
        share = least_share(seeds, seeds + 2, len(comparisons))
        if share < 0.75:
            yield f"{seeds + 2} seeds would find differences {1 / share:.2g} times smaller."
    else:
        made = f"{some:,} of {counted(len(comparisons), 'comparison')}"
        yield f"A difference was found in {made} over {counted(seeds, 'seed')}."


def _of_pairs(together: Sequence[Pair], comparisons: Sequence[Comparison]) -> Iterator[str]:
    by_pair = {(one.one, one.other, one.text): one for one in comparisons}
    for pair in together:
        one, other = pair.one, pair.other
        held_out = by_pair.get((one.method, other.method, HELD_OUT))
        if held_out is None:
            continue
        said = [_learned(held_out, one, other)]
        if kept := by_pair.get((one.method, other.method, KEPT)):
            said.append(_kept(kept, one, other, both=not held_out.found))
        full = parse_method(other.method).kind == "full"
        said.append(_cost(one, other) if full else _size(one, other))
        yield " ".join(filter(None, said))


def _learned(held_out: Comparison, one: Summary, other: Summary) -> str:
    losses = against(one.loss, other.loss, _claimed(held_out))
    if not held_out.found:
        words = f"No difference found between {one.method} and {other.method}: {losses}"
        return f"{words}{_unseen(held_out)}."
    more = "more" if held_out.difference < 0 else "less"
    return f"{one.method} learned {more} than {other.method}: {losses} ({_p(held_out)})."


def _kept(kept: Comparison, one: Summary, other: Summary, *, both: bool) -> str:
    losses = against(one.kept_loss, other.kept_loss, _claimed(kept))
    if not kept.found:
        none = "Nor on the kept text" if both else "On the kept text no difference was found"
        return f"{none}: {losses}{_unseen(kept)}."
    lower = kept.difference < 0
    worse = other if lower else one
    if worse.kept_loss.mean > worse.kept_before:
        words = f"It forgot {'less' if lower else 'more'}"
    else:
        words = f"Its loss on the kept text is {'lower' if lower else 'higher'}"
    return f"{words}: {losses} ({_p(kept)})."


def _claimed(comparison: Comparison) -> float:
    return comparison.difference if comparison.found else math.nan


def _unseen(comparison: Comparison) -> str:
    least = comparison.least
    if not least > 0:
        return ""
    digits = max(0, 1 - math.floor(math.log10(least)))
    return f" (less than {least:.{digits}f} would not be seen)"


def _p(comparison: Comparison) -> str:
    p = comparison.adjusted
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _size(one: Summary, other: Summary) -> str:
    if not (one.trained and other.trained):
        return ""
    times = one.trained / other.trained
    if abs(times - 1) <= _ALIKE:
        return ""
    return f"It trains {times:.2g} times as many parameters."


def _cost(one: Summary, other: Summary) -> str:
    """Return what a method takes of what another one does; "" where nothing is known."""
    parts = (
        ("the parameters", one.trained, other.trained),
        ("the memory", one.peak, other.peak),
        ("the time", one.step_seconds, other.step_seconds),
    )
    shares = [f"{_share(mine / its)} of {what}" for what, mine, its in parts if mine and its]
    if not shares:
        return ""
    joined = " and ".join(filter(None, (", ".join(shares[:-1]), shares[-1])))
    return f"It takes {joined} of {other.method}."


def _share(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if share >= 0.1 else f"{share * 100:.2g} %"


def _not_learned(trained: Sequence[Summary]) -> Iterator[str]:
    worse = [one for one in trained if one.loss.mean >= one.before]
    if worse and len(worse) == len(trained):
        yield (
            "No method lowered the loss on the held-out text "
            f"({worse[0].before:.2f} before): more steps, other rates or more text are needed."
        )
        return
    for one in worse:
        after = loss_text(one.loss)
        yield f"{one.method} did not learn: {one.before:.2f} before, {after} after."


def _forgotten(trained: Sequence[Summary]) -> Iterator[str]:
    kept = [one for one in trained if one.kept and math.isfinite(one.kept_before)]
    if not kept:
        return
    changes = {one.method: one.kept_loss.mean - one.kept_before for one in kept}
    most = max(changes, key=lambda method: changes[method])
    if changes[most] <= 0:
        yield "The loss on the kept text rose for no method: nothing was forgotten."
    else:
        yield f"The loss on the kept text rose most for {most}: by {changes[most]:.3f}."


def _without_random(found: Sequence[Summary]) -> Iterator[str]:
    methods = [parse_method(one.method) for one in found]
    by_chance = {method.percent for method in methods if method.is_random}
    chosen = [m for m in methods if m.kind in SELECTIONS and not m.is_random]
    missing = {m.percent for m in chosen if m.percent and m.percent not in by_chance}
    for percent in sorted(missing):
        yield (
            f"No random {percent:g} % was trained: whether the choice of layers matters stays "
            f"open. Add random:{percent:g}."
        )
    if not by_chance and any(method.kind == "policy" for method in chosen):
        yield "No random selection was trained beside the policy. Add one of its size."


def _failures(found: Sequence[Summary]) -> Iterator[str]:
    for one in found:
        reasons: dict[str, list[str]] = {}
        for outcome in one.failed:
            reasons.setdefault(why_not(outcome), []).append(outcome.hint)
        for reason, hints in reasons.items():
            rows = counted(len(hints), "row")
            said = f"{reason.rstrip('.')}. {hints[0]}".strip()
            yield f"{one.method}: {rows} without a result: {said}"


def _method(comparisons: Sequence[Comparison]) -> Iterator[str]:
    if comparisons:
        made = counted(len(comparisons), "comparison")
        yield f"p: paired t tests over the seeds, corrected for {made} (Holm)."


# -- losses in words ------------------------------------------------------------------------------


def digits_of(*spreads: float) -> int:
    """Return how many decimals losses of these spreads are written with: 2 to 4, so that the
    smallest shows a digit."""
    known = [spread for spread in spreads if math.isfinite(spread) and spread > 0]
    return min(4, max(2, -math.floor(math.log10(min(known) / 0.95)))) if known else 3


def loss_text(loss: Spread, digits: int | None = None) -> str:
    """Return a loss as `2.67 ± 0.01`, without the spread where it is not known."""
    if not loss.count:
        return "–"
    digits = digits_of(loss.spread) if digits is None else digits
    spread = "" if math.isnan(loss.spread) else f" ± {loss.spread:.{digits}f}"
    return f"{loss.mean:.{digits}f}{spread}"


def against(one: Spread, other: Spread, difference: float = math.nan) -> str:
    """Return two losses as `2.67 ± 0.01 against 2.65 ± 0.01`, equally exact, so that a difference
    that is claimed can be seen."""
    digits = digits_of(one.spread, other.spread, abs(difference))
    return f"{loss_text(one, digits)} against {loss_text(other, digits)}"
