"""Which class of transformers a trainer builds from a configuration, and an empty one of it.

The class decides the names: as its own architecture says, a vision-language model's weights
are `model.language_model.layers…`, as a causal language model they are `model.layers…`.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.naming import transformers_api

AUTO_CLASSES = (
    "AutoModelForCausalLM",
    "AutoModelForImageTextToText",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSpeechSeq2Seq",
    "AutoModelForMaskedLM",
    "AutoModelForSequenceClassification",
    "AutoModelForZeroShotImageClassification",
    "AutoModelForImageClassification",
    "AutoModelForCTC",
    "AutoModelForTextToWaveform",
    "AutoModelForAudioClassification",
    "AutoModelForObjectDetection",
    "AutoModelForImageSegmentation",
    "AutoModel",
)
"""Asked in this order when config.json names no class that this transformers has."""


MOST_PARTS = 2000
"""Layers or experts that a configuration may ask for: a million takes minutes to build."""
_COUNTS = re.compile(r"(^|_)(layers?|blocks|depth|experts)$")


class Reason(StrEnum):
    """Why no model class can give the names."""

    NO_TRANSFORMERS = "transformers is not installed"
    NO_MODEL_TYPE = "config.json does not say which architecture this is"
    UNKNOWN_MODEL_TYPE = "this transformers does not know the architecture"
    CUSTOM_CODE = "the architecture needs code of its own, which is never run"
    NO_CLASS = "transformers has no model class for this configuration"
    MISSING_DEPENDENCY = "the model class needs a package that is not installed"
    CANNOT_BUILD = "the model class refuses the configuration"


class NoModelClassError(Exception):
    """There is no model class to ask; `reason` and a `detail` of one line."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else str(reason))
        self.reason = reason
        self.detail = detail


def empty_model(raw: Mapping[str, Any], model_class: str = "") -> Any:
    """Return a model without weights, of the class that a trainer would load.

    `model_class` overrides which: a class of transformers or one of its Auto classes. Raises
    NoModelClassError, or InputError for an override that does not fit.
    """
    try:
        with transformers_api.quiet():
            config = load_config(raw)
            chosen, config = resolve_class(config, model_class)
            return transformers_api.meta_model(chosen, config)
    except (NoModelClassError, InputError):
        raise
    except ImportError as exc:
        raise NoModelClassError(_import_reason(exc), first_line(exc)) from None
    except Exception as exc:  # config.json is anybody's, and so is what a class makes of it
        raise NoModelClassError(Reason.CANNOT_BUILD, first_line(exc)) from None


def names_by_class(raw: Mapping[str, Any], but: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(class, Auto class, names of its parameters) of what the Auto classes make of a
    configuration, each class once, without `but`; nothing where there is no class to ask."""
    seen = {but}
    with contextlib.suppress(Exception), transformers_api.quiet():  # see `empty_model`
        config = load_config(raw)
        for auto_class in AUTO_CLASSES:
            chosen, own = _auto_class(auto_class, config, []) or (None, config)
            if chosen is not None and chosen.__name__ not in seen:
                seen.add(chosen.__name__)
                model = transformers_api.meta_model(chosen, own)
                names = tuple(name for name, _ in model.named_parameters())
                yield chosen.__name__, auto_class, names


def empty_model_of(raw: Mapping[str, Any], model_class: str) -> Any:
    """Return a model without weights of exactly this class, whatever config.json is of: built as
    the class's own `from_pretrained` builds it. None for what is no model class or cannot be
    built."""
    if model_class.startswith("Auto"):
        return None
    try:
        with transformers_api.quiet():
            chosen = _model_class(model_class)
            if chosen is None or chosen.config_class is None:
                return None
            _check_counts(raw)
            return transformers_api.meta_model(chosen, _config_from(raw, chosen.config_class))
    except Exception:  # a configuration that is not of this class may fail in any way
        return None


def load_config(raw: Mapping[str, Any]) -> Any:
    """Return the configuration object; never runs a repository's own code and never asks to."""
    from transformers import CONFIG_MAPPING, AutoConfig

    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise NoModelClassError(Reason.CUSTOM_CODE if "auto_map" in raw else Reason.NO_MODEL_TYPE)
    if model_type not in CONFIG_MAPPING:
        reason = Reason.CUSTOM_CODE if "auto_map" in raw else Reason.UNKNOWN_MODEL_TYPE
        raise NoModelClassError(reason, model_type)
    _check_counts(raw)
    return _config_from(raw, AutoConfig, trust_remote_code=False)


def _config_from(raw: Mapping[str, Any], config_class: Any, **options: Any) -> Any:
    # From a folder with nothing but config.json in it: a model that is not downloaded has no
    # folder, and the name of one must not decide anything.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(dict(raw)))
        return config_class.from_pretrained(folder, local_files_only=True, **options)


def _check_counts(raw: Mapping[str, Any]) -> None:
    """Refuse what would keep the machine busy for minutes, in the configuration or a part of it."""
    for part in (raw, *(value for value in raw.values() if isinstance(value, Mapping))):
        for name, value in part.items():
            if isinstance(value, int) and value > MOST_PARTS and _COUNTS.search(str(name)):
                raise NoModelClassError(Reason.CANNOT_BUILD, f"{name} is {value}")


def resolve_class(config: Any, model_class: str = "") -> tuple[Any, Any]:
    """(model class, its configuration): the trainers' rule, or the override.

    First the class that config.json names, then what the Auto classes have. A name is only
    followed to a model class made for this very configuration: config.json could say anything.
    """
    if model_class and not model_class.startswith("Auto"):
        chosen = _named_class(model_class, config)
        if chosen is None:
            raise _no_such_class(model_class, config)
        return chosen, config
    listed = getattr(config, "architectures", None)
    names = [n for n in listed if isinstance(n, str)] if isinstance(listed, list) else []
    if not model_class:
        for name in names:
            if (chosen := _named_class(name, config)) is not None:
                return chosen, config
    for auto_class in (model_class,) if model_class else AUTO_CLASSES:
        if (found := _auto_class(auto_class, config, names)) is not None:
            return found
    if model_class:
        raise _no_such_class(model_class, config)
    raise NoModelClassError(Reason.NO_CLASS, type(config).__name__)


def _named_class(name: str, config: Any) -> Any:
    """Return the model class of this name, if it is made for this configuration."""
    found = _model_class(name)
    made_for = getattr(found, "config_class", None)
    return found if isinstance(made_for, type) and isinstance(config, made_for) else None


def _model_class(name: str) -> Any:
    """Return the model class of this name; None for everything else that transformers has."""
    import transformers

    if not name.isidentifier() or name.startswith("_"):
        return None
    found: Any = getattr(transformers, name, None)
    if type(found).__name__ == "DummyObject":  # stands in for a class whose packages are missing
        raise ImportError(f"{name} needs {' and '.join(found._backends)}")
    is_model = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    return found if is_model else None


def _auto_class(name: str, config: Any, names: list[str]) -> tuple[Any, Any] | None:
    import transformers

    auto_class = getattr(transformers, name, None)
    if auto_class is None or not hasattr(auto_class, "_model_mapping"):
        return None
    classes = transformers_api.auto_model_class(auto_class, config)
    if not classes:
        return None
    chosen = next((c for c in classes if c.__name__ in names), classes[0])
    inner = getattr(config, "sub_configs", {}).get("text_config")
    # As the Auto classes do: a text model is built from the text part of the configuration.
    wants_text = inner is not None and chosen.config_class is inner
    return chosen, config.get_text_config() if wants_text else config


def _no_such_class(name: str, config: Any) -> InputError:
    return InputError(
        f"{name} is not a model class of transformers for {type(config).__name__}.",
        "Leave it out, or name one such as AutoModelForCausalLM.",
        field="model_class",
    )


def _import_reason(exc: ImportError) -> Reason:
    missing = exc.name or ""
    without = missing.partition(".")[0] == "transformers"
    return Reason.NO_TRANSFORMERS if without else Reason.MISSING_DEPENDENCY


def first_line(exc: Exception) -> str:
    """Return what an exception says, in one line of at most 160 characters."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    text = lines[0] if lines else type(exc).__name__
    return text if len(text) <= 160 else f"{text[:159]}…"
