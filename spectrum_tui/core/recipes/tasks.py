"""Which task a model was made for, by its class in transformers and its parameters: each has its
own training script."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.recipes.choice import RecipeKind
from spectrum_tui.core.recipes.spectrum import model_class
from spectrum_tui.core.results.results import Result

_HEADS = (
    ("ForImageClassification", "images"),
    ("ForSequenceClassification", "classes"),
    ("ForCTC", "speech"),
    ("ForCausalLM", "text"),
    ("LMHeadModel", "text"),
    ("MTModel", "seq2seq"),
)
"""(how the name of a class ends, what its models are trained for)."""
_GENERATES = "ForConditionalGeneration"
"""What a class is called that writes text about text, pictures or sound."""
_TWO_STACKS = re.compile(r"(?:^|\.)(encoder|decoder)\.")
_NO_TEXT = re.compile(r"(?:^|\.)(?:vision|visual|audio|image)|\.conv\d")

WORDS = {
    "images": "classifies images",
    "classes": "classifies texts",
    "speech": "transcribes speech (CTC)",
    "seq2seq": "turns one text into another",
    "text": "writes text",
}
"""{task: what a model of it does}."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """The class of a model and its task: "" where none of ours fits, "text" where nothing is
    known of the class."""

    cls: str
    task: str

    @property
    def words(self) -> str:
        """What the model is, as a sentence's end."""
        headless = self.cls.endswith("Model")
        other = "has no head" if headless else "has a head that no script of ours trains"
        does = WORDS.get(self.task, other)
        return f"This is a {self.cls}, which {does}." if self.cls else "Its class is not known."


def purpose_of(result: Result) -> Purpose:
    """Return what the scanned model was made for."""
    cls = model_class(result.provenance)
    if not cls:
        return Purpose("", "text")
    if cls.endswith(_GENERATES):
        return Purpose(cls, _generates(result))
    return Purpose(cls, next((task for end, task in _HEADS if cls.endswith(end)), ""))


def _generates(result: Result) -> str:
    """Return the task of a model that writes: from text by an encoder and a decoder, from text
    (and pictures) by a decoder alone; none for speech, whose encoder begins with convolutions."""
    stacks = {found[1] for name in result.names if (found := _TWO_STACKS.search(name))}
    if stacks != {"encoder", "decoder"}:
        return "text"
    return "" if any(map(_NO_TEXT.search, result.names)) else "seq2seq"


def fits(kind: RecipeKind, result: Result) -> bool:
    """Return whether a kind of recipe trains models as this one."""
    return not kind.tasks or purpose_of(result).task in kind.tasks


def refuse_other(result: Result, kind: RecipeKind) -> Purpose:
    """Return what the model was made for; raises SelectionError where the kind does not fit it."""
    found = purpose_of(result)
    if fits(kind, result):
        return found
    others = "trl" if found.task == "text" else "trainer"
    hint = f"Save {others}." if found.task else "Save spectrum, and freeze_except in your script."
    raise SelectionError(f"{found.words} {kind.name} does not train it.", hint, field="kind")
