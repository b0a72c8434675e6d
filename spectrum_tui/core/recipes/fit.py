"""Whether a trainer loads models of this kind at all."""

from __future__ import annotations

import re

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.spectrum import model_class
from spectrum_tui.core.results.results import Result

_TEXT = re.compile(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration)$")
_CLASSIFIES_TEXT = "ForSequenceClassification"
_CROSS_ATTENTION = re.compile(r"\.(encoder_attn|EncDecAttention|encoder_attention)\.")


def refuse_unfit(result: Result, trainer: str, *, classifiers: bool = False) -> None:
    """Raise SelectionError where the model is none that writes text by a decoder alone, or, with
    `classifiers`, classifies texts: others `trainer` does not load. One whose class is not known
    is taken for such a model unless it has the head of a task."""
    name = model_class(result.provenance)
    if classifiers and name.endswith(_CLASSIFIES_TEXT):
        return
    fits = _TEXT.search(name) if name else not result.task_head
    if fits and not any(_CROSS_ATTENTION.search(one) for one in result.names):
        return
    raise SelectionError(
        f"{trainer} loads models that write text by a decoder, and {name or 'this model'} is none.",
        "Save spectrum, and call freeze_except in the script that trains it.",
        field="kind",
    )
