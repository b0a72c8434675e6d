"""Which class of a model a probe computes: by what the data hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spectrum_tui.core.dataset.examples import Example
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.proof.rows import Conditions
from spectrum_tui.proving.loading import class_of, classes_in, config_of

_IMAGES = ("AutoModelForImageClassification", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES")
SPEECH = ("AutoModelForCTC", "MODEL_FOR_CTC_MAPPING_NAMES")


def class_for(conditions: Conditions, examples: Sequence[Example]) -> Any:
    """Return the class that learns what the data hold: images by class, recordings with their text
    (CTC), else text; of a language model also the text of recordings. Raises InputError."""
    if examples[0].label:
        if (found := _relative(conditions, *_IMAGES)) is None:
            raise _refused(conditions, "classifies images", "Give it texts.")
        return found
    if (found := _relative(conditions, *SPEECH)) is not None:
        if not examples[0].file:
            hint = "Give a table with the columns path (WAV) and text."
            raise _refused(conditions, "learns from text alone", hint)
        return found
    if _relative(conditions, *_IMAGES) is not None and not _is_language(conditions):
        hint = "Give images: a folder with a subfolder for each class."
        raise _refused(conditions, "learns from text", hint)
    return class_of(conditions)


def _is_language(conditions: Conditions) -> bool:
    try:
        class_of(conditions)
    except InputError:
        return False
    return True


def _relative(conditions: Conditions, auto_class: str, listed: str) -> Any:
    """Return the class that the scores are of, where it is in a list of transformers; else the Auto
    class, where it has one for the configuration; None where neither is so."""
    import transformers

    known = classes_in(listed)
    config = config_of(conditions)
    for name in (conditions.model_class, *(config.architectures or ())):
        if name in known:
            return getattr(transformers, name)
    auto = getattr(transformers, auto_class)
    return auto if type(config) in auto._model_mapping else None


def _refused(conditions: Conditions, what: str, hint: str) -> InputError:
    config = config_of(conditions)
    name = next(iter(config.architectures or ()), config.model_type)
    return InputError(f"{name} is no model that {what}.", hint, field="data")
