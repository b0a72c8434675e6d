"""The model of a row as its trainer has it before the optimizer: loaded, frozen or adapted."""

from __future__ import annotations

import importlib.util
import inspect
import runpy
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spectrum_tui.core.errors import CheckpointError, InputError, RecipeError, SpectrumError
from spectrum_tui.core.naming.model_class import first_line, resolve_class
from spectrum_tui.core.proof.methods import parse_method
from spectrum_tui.core.proof.rows import Conditions, Row
from spectrum_tui.core.scanning.devices import is_out_of_memory
from spectrum_tui.core.settings import DATA_METRICS, METRIC
from spectrum_tui.freeze import freeze_except
from spectrum_tui.proving.batches import Kind
from spectrum_tui.proving.following import Follower
from spectrum_tui.proving.model_files import NO_TOKENIZER

INSTALL = "Install it with: pip install 'spectrum-tui[train]'."
KINDS: tuple[tuple[Kind, str, str], ...] = (
    ("seq2seq", "AutoModelForSeq2SeqLM", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"),
    ("masked", "AutoModelForMaskedLM", "MODEL_FOR_MASKED_LM_MAPPING_NAMES"),
    ("causal", "AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"),
    ("causal", "AutoModelForImageTextToText", "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES"),
)
"""How models learn by their class, with the Auto class and its list in transformers. Bart is in
the first two, BERT in the second and third: the first that has a class counts."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to train, and how it learns."""

    model: Any
    kind: Kind
    follower: Follower | None = None
    """What changes its adapters while it trains."""


def load_tokenizer(conditions: Conditions) -> Any:
    """Return the model's own tokenizer; raises CheckpointError where it has none."""
    return load_part(conditions, "AutoTokenizer", "tokenizer", NO_TOKENIZER)


def load_part(conditions: Conditions, auto: str, what: str, hint: str) -> Any:
    """Return what stands beside a model's weights, by an Auto class of transformers; raises
    CheckpointError, which says `what` cannot be read, with a hint."""
    import transformers

    try:
        return getattr(transformers, auto).from_pretrained(
            conditions.model, revision=conditions.revision or "main", trust_remote_code=False
        )
    except Exception as exc:  # missing files, missing packages, files of anybody's
        raise CheckpointError(
            f"{conditions.model} has no {what} that can be read ({first_line(exc)}).",
            hint,
            field="model",
        ) from None


def load_row(conditions: Conditions, row: Row, device: torch.device, dtype: torch.dtype) -> Loaded:
    """Return the model of a row, on its device, with what the row trains and nothing else set to
    train; raises SpectrumError.

    Adapters are made by running the recipe itself.
    """
    with in_one_line(conditions.model):
        names: dict[str, Any] = {}
        if row.files:
            model, names = _adapted(conditions, row)
            kind = kind_of(model.get_base_model())
        else:
            model, kind = _whole(conditions, dtype)
            _freeze(model, row.names)
    model = _placed(model, device, dtype)
    _settle(model, checkpointing=conditions.checkpointing)
    return Loaded(model, kind, _follower(model, row, names))


# -- whole parameters ----------------------------------------------------------------------------


def _whole(conditions: Conditions, dtype: torch.dtype) -> tuple[Any, Kind]:
    chosen = class_of(conditions)
    model = chosen.from_pretrained(
        conditions.model,
        revision=conditions.revision or "main",
        dtype=dtype,
        trust_remote_code=False,
    )
    return model, kind_of(model)


def class_of(conditions: Conditions) -> Any:
    """Return the class that the scores are of, or the one that trainers choose; in place of a
    model without a head for language its relative that has one."""
    import transformers

    config = config_of(conditions)
    name = conditions.model_class
    chosen = getattr(transformers, name, None) if name else resolve_class(config)[0]
    if chosen is None:
        raise InputError(
            f"transformers has no class {name}.", "Leave --model-class out.", field="model_class"
        )
    learns = any(chosen.__name__ in classes_in(listed) for *_, listed in KINDS)
    if name.startswith("Auto") or learns:
        return chosen
    for _, auto_class, _ in KINDS:
        auto = getattr(transformers, auto_class)
        if type(config) in auto._model_mapping:
            return auto
    raise _no_language(chosen.__name__)


def config_of(conditions: Conditions) -> Any:
    """Return the model's configuration."""
    import transformers

    return transformers.AutoConfig.from_pretrained(
        conditions.model, revision=conditions.revision or "main", trust_remote_code=False
    )


def kind_of(model: Any) -> Kind:
    """Return how a model learns text; raises InputError for one that does not."""
    name = type(model).__name__
    for kind, _, listed in KINDS:
        if name in classes_in(listed):
            return kind
    raise _no_language(name)


def classes_in(listed: str) -> set[str]:
    """Return the names of the classes in one of transformers' lists."""
    from transformers.models.auto import modeling_auto

    names = getattr(modeling_auto, listed).values()
    return {one for found in names for one in ([found] if isinstance(found, str) else found)}


def _no_language(name: str) -> InputError:
    return InputError(
        f"{name} is no language model: there is no loss of text for it.",
        "Causal, masked and sequence-to-sequence language models learn from text.",
        field="model",
    )


def _freeze(model: Any, names: Sequence[str]) -> None:
    """Leave what is named to train, and a head that the checkpoint did not fill; without names
    everything trains."""
    own = dict(model.named_parameters(remove_duplicate=False))
    wanted = [_as_here(name, model, own) for name in names] or list(own)
    frozen = freeze_except(model, wanted, keep_new=True)
    if frozen.unmatched:
        raise RecipeError(
            f"{len(frozen.unmatched)} of {len(wanted)} names are no parameters of "
            f"{type(model).__name__}, first {frozen.unmatched[0]}.",
            "Scan this model with the installed version of transformers.",
        )


def _as_here(name: str, model: Any, own: dict[str, Any]) -> str:
    """Return the name that a parameter of the model without a head has in the one with it."""
    inside = f"{model.base_model_prefix}.{name}"
    return inside if name not in own and inside in own else name


# -- adapters ------------------------------------------------------------------------------------


def _adapted(conditions: Conditions, row: Row) -> tuple[Any, dict[str, Any]]:
    """Return what the recipe's own `load_model` returns, and all that the recipe defines."""
    _check_installed("peft")
    four_bit = parse_method(row.method).kind == "qlora"
    with tempfile.TemporaryDirectory() as folder:
        for name, text in row.files:
            (Path(folder) / name).write_text(text, encoding="utf-8")
        names = runpy.run_path(str(Path(folder) / row.files[-1][0]))
        load = names["load_model"]
        takes = "four_bit" in inspect.signature(load).parameters
        if four_bit or not takes:
            _check_installed("bitsandbytes")
        try:
            model = load(conditions.model, four_bit) if takes else load(conditions.model)
            return model, names
        except SystemExit as exc:
            raise RecipeError(
                f"The recipe refuses: {exc}.", "Scan the model again with this transformers."
            ) from None


def _follower(model: Any, row: Row, names: dict[str, Any]) -> Follower | None:
    """Return what changes the adapters as the recipe's `callback` would, None where it has none."""
    if "callback" not in names:
        return None
    callback = names["callback"]()
    # A row measures no gradients besides its own.
    metric = METRIC if callback.metric in DATA_METRICS else callback.metric
    return Follower(model, callback.tiers, metric, steps=row.steps, seed=row.seed)


def _check_installed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise InputError(f"This method needs the package {package}.", INSTALL, field="methods")


# -- all of them ---------------------------------------------------------------------------------


@contextmanager
def in_one_line(model: str) -> Iterator[None]:
    """Turn what libraries raise about a model into one line; memory that ran out stays that."""
    try:
        yield
    except SpectrumError:
        raise
    except Exception as exc:  # a model is anybody's, and so is what a class makes of it
        if is_out_of_memory(exc):
            raise
        raise CheckpointError(
            f"{model} cannot be loaded ({type(exc).__name__}: {first_line(exc)}).",
            INSTALL if isinstance(exc, ImportError) else "Check that it is the model scanned.",
            field="model",
        ) from exc


def _placed(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Move a model to its device, in the dtype that all rows have where a recipe loads it as it is
    stored; what PEFT trains stays in float32 above a base in bfloat16.

    A quantised one is on its device, and stays as its recipe loads it.
    """
    parameters = list(model.parameters())
    if any(getattr(parameter, "quant_state", None) is not None for parameter in parameters):
        return model
    for parameter in parameters:
        plain = parameter.is_floating_point() and parameter.element_size() > 1
        if plain and not (parameter.requires_grad and parameter.element_size() > dtype.itemsize):
            parameter.data = parameter.data.to(dtype)
    return model.to(device)


def _settle(model: Any, *, checkpointing: bool) -> None:
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False  # keys and values of a training are never asked for again
    if checkpointing:
        # Reentrant checkpoints give no gradient to what lies above frozen embeddings.
        how = {"use_reentrant": False}
        if hasattr(model, "activation_checkpointing_enable"):  # the newer name
            model.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
        else:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
