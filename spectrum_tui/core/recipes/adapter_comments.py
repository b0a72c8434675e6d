"""What the comments of every file that makes adapters say: where it is from, and what of it a
reader would not expect."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from spectrum_tui.core.recipes.adapters import REASONS, AdapterLayers
from spectrum_tui.core.recipes.check import missing_note
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.peft_config import Targets
from spectrum_tui.core.recipes.policy_line import policy_line
from spectrum_tui.core.recipes.spectrum import DEMONSTRATION, made_by, one_line, source_of
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.scoring.metrics import described
from spectrum_tui.core.settings import DEMO_NAME

WIDTH = 88
"""The line length of ruff and black where nobody asked for another."""
BY_WEIGHT = (
    "Some linear modules are named by their weight, in target_parameters: in target_modules, "
    "PEFT would also match the experts of every block by their names."
)


@dataclass(frozen=True, kw_only=True)
class Comments:
    """`opening` says in one line what the adapter is, `end` up to where layers were selected;
    `notes` are remarks of the kind, one line each. With `keeps`, the file names what must not be
    quantised."""

    layers: AdapterLayers
    targets: Targets
    choice: Choice
    opening: str
    end: float
    notes: Sequence[str] = ()
    keeps: bool = True

    def lines(self) -> list[str]:
        """Return the comments, none longer than a line of code but for the policy, the last."""
        texts = [self.opening, *self._origin(), *self.notes, *self._remarks()]
        folds = [f"# {line}" for text in texts for line in folded(one_line(text))]
        return [*folds, policy_line(self.choice.policy, self._result.scores.metric)]

    @property
    def _result(self) -> Result:
        return self.layers.result

    def _origin(self) -> list[str]:
        origin = self._result.provenance
        metric = f"metric {described(self._result.scores.metric).title}"
        how = (made_by(origin), metric, origin.finished, f"names as in {origin.naming}")
        return [
            *([DEMONSTRATION] if origin.model == DEMO_NAME else []),
            source_of(origin),
            " · ".join(filter(None, how)),
            *filter(None, [missing_note(self._result)]),
        ]

    def _remarks(self) -> list[str]:
        """Return what a reader would not expect: experts, names that PEFT rewrites, what is left
        out."""
        left_out = self.layers.left_out(
            self.choice.shape, self.end, embeddings=bool(self.targets.heads)
        )
        lines = [
            f"Left out: {len(rows):,} selected {REASONS[place]}."
            for place, rows in left_out.items()
        ]
        lines += self._about_heads()
        by_weight = [name.endswith(".weight") for name in self.targets.parameters]
        if not all(by_weight):
            lines.append(self._about_experts())
        if any(by_weight):
            lines.append(BY_WEIGHT)
        if by_weight and len(set(self.targets.ranks.values())) > 1:
            lines.append("PEFT warns that it ignores rank_pattern for these. It does not.")
        return lines

    def _about_heads(self) -> list[str]:
        task = ", ".join(self._result.task_modules)
        never = " are never quantised" if self.keeps else ""
        if not task:
            return [f"Embeddings and output head stay frozen{', and' * self.keeps}{never}."]
        if self.targets.heads:
            words = f"The task head trains whole: {task}. Embeddings stay frozen."
        else:
            words = f"Embeddings and heads stay frozen, including the task head: {task}."
        return [f"{words} They{never}." if never else words]

    def _about_experts(self) -> str:
        most = int(self.layers.experts.max())
        return (
            "Fused experts are adapted as one parameter: rank r for each expert, so r times their "
            f"number in all ({most} experts). bitsandbytes does not quantise them."
        )


def folded(text: str) -> list[str]:
    """Return the lines of a comment, none longer than a line of code, those after the first
    indented."""
    return textwrap.wrap(text, WIDTH - 2, subsequent_indent="  ", break_long_words=False)
