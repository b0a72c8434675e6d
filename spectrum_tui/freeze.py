"""For training scripts: freeze a model but for what a recipe names, and say what that did.

    from spectrum_tui.freeze import freeze_except

    print(freeze_except(model, "snr_results_my-model_unfrozenparameters_25percent.yaml"))

Names mean what they say: no prefixes, no substrings, no dots that match anything. Call it after
loading and before anything that looks at which parameters train: an optimizer, DDP, FSDP. Where
it would be too late, or would train nothing, it raises instead.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spectrum_tui.core import numbers
from spectrum_tui.core.errors import RecipeError, SpectrumError
from spectrum_tui.core.numbers import counted, part_of
from spectrum_tui.core.text import safe
from spectrum_tui.core.trainers.recipe_text import names_in_file
from spectrum_tui.core.training.live_names import LiveParameter, live_parameters, unique
from spectrum_tui.core.training.too_late import check_not_flattened, check_not_too_late

if TYPE_CHECKING:
    import torch

__all__ = ["Frozen", "RecipeError", "SpectrumError", "freeze_except"]

RecipeSource = str | os.PathLike[str] | Iterable[str]

log = logging.getLogger(__name__)

_ROWS = re.compile(r"(.+)\[\d*(?::\d*)?\]\$?$")
_PATTERN = re.compile(r"[*+?()\[\]{}|\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What was done to a model.

    `matched` are the names of the parameters that train, in the model's order and as the recipe
    would call them; `unmatched` the entries of the recipe that no parameter has, as written.
    `trainable` of `total` elements train, in `len(matched)` of `parameters` parameters; tied ones
    count once. `notes` say what else was done or should be known. `random` are the parameters
    that start from random values, since the checkpoint did not fill them, and stay frozen.
    """

    matched: tuple[str, ...]
    unmatched: tuple[str, ...]
    trainable: int
    total: int
    parameters: int
    notes: tuple[str, ...] = ()
    random: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The share of the model's elements that train, 0 to 1."""
        return self.trainable / self.total if self.total else 0.0

    def __str__(self) -> str:
        share, total = numbers.percent(self.share), numbers.count(self.total)
        train = part_of(len(self.matched), self.parameters, "parameter", "trains", "train")
        text = f"{train}: {share} of {total}"
        missing = counted(len(self.unmatched), "name matches", "names match")
        text += f"; {missing} no parameter" if self.unmatched else ""
        frozen = "starts from random values and stays", "start from random values and stay"
        left = counted(len(self.random), *frozen)
        return f"{text}; {left} frozen" if self.random else text


def freeze_except(
    model: torch.nn.Module,
    recipe: RecipeSource,
    *,
    keep_adapters: bool = False,
    keep_new: bool = False,
) -> Frozen:
    """Freeze every parameter of `model` except those that `recipe` names; raises SpectrumError.

    `recipe` is the path of a YAML file with `unfrozen_parameters`, of this program or of the
    reference tool, or the names themselves. An entry is the name of a parameter, or of a module,
    which means its own weight and bias and nothing below it; `^` and `$` around it and a
    backslash before a dot change nothing. A tied weight trains under any of its names.
    Prefixes that PEFT, torch.compile, DDP or FSDP add to a model's names are ignored.

    What the checkpoint did not fill, such as a classifier with labels of your own, starts from
    random values: if the recipe leaves it frozen, `Frozen.random` and the log say so.
    `keep_new` trains it besides what is named.

    Entries that match nothing are reported and logged, for a recipe may name more than this
    version of a model has. Refused, with the model left as it was: a recipe that matches nothing;
    regular expressions and row ranges; quantised weights; a model that is already wrapped or
    handed to an optimizer in a way that would ignore it; and freezing the adapters of a PEFT
    model, unless the recipe names some or `keep_adapters` trains all of them besides.
    """
    entries = _entries(recipe)
    parameters = live_parameters(model)
    check_not_flattened(parameters)
    chosen, unmatched = _chosen(parameters, entries)
    if not chosen:
        raise _nothing_matches(entries, parameters)
    chosen |= _kept_adapters(parameters, chosen, keep_adapters=keep_adapters)
    owners = unique(parameters)
    new = [p for p in _not_loaded(owners) if id(p.parameter) not in chosen]
    if keep_new:
        chosen |= {id(p.parameter) for p in new}
    _check_floating(owners, chosen)
    check_not_too_late(model, owners, chosen)
    _apply(owners, chosen)
    frozen = _described(owners, chosen, unmatched, _inputs_need_gradients(model))
    if new and not keep_new:
        frozen = replace(frozen, random=tuple(p.name for p in new))
    _log(frozen)
    return frozen


def _entries(recipe: RecipeSource) -> tuple[str, ...]:
    if isinstance(recipe, str | os.PathLike):
        return names_in_file(Path(recipe).expanduser())
    entries = tuple(recipe)
    if not all(isinstance(entry, str) for entry in entries):
        raise RecipeError("The recipe holds something that is not a name.", "Give strings.")
    if not entries:
        raise RecipeError(
            "The recipe is empty: it would train nothing.", "Name at least one parameter."
        )
    return tuple(dict.fromkeys(entries))


def _chosen(
    parameters: Sequence[LiveParameter], entries: Sequence[str]
) -> tuple[set[int], tuple[str, ...]]:
    """(ids of the parameters that are named, the entries that name none)."""
    by_name: dict[str, set[int]] = {}
    for p in parameters:
        before = p.actual.rpartition(".")[0]
        for name in {p.name, p.actual, p.owner, before}:
            by_name.setdefault(name, set()).add(id(p.parameter))
    chosen: set[int] = set()
    unmatched = []
    for entry in entries:
        found = by_name.get(entry) or by_name.get(_plain(entry))
        chosen |= found or set()
        if not found:
            unmatched.append(entry)
    return chosen, tuple(unmatched)


def _plain(entry: str) -> str:
    """Return the name that an entry stands for; raises RecipeError for what is more than a name.

    >>> _plain("^lm_head.weight$"), _plain(r"^model[.]norm\\.weight$")
    ('lm_head.weight', 'model.norm.weight')
    """
    name = entry.removeprefix("^").removesuffix("$").replace("\\.", ".").replace("[.]", ".")
    if rows := _ROWS.match(name):
        raise RecipeError(
            f"{entry} names rows of a parameter, which only axolotl can train separately.",
            f"Name {rows[1]} to train all of it: weight decay would move its other rows anyway.",
        )
    if _PATTERN.search(name):
        raise RecipeError(
            f"{entry} is a regular expression, not a name.",
            "Name each parameter, as the recipes of spectrum-tui do.",
        )
    return name


def _nothing_matches(entries: Sequence[str], parameters: Sequence[LiveParameter]) -> RecipeError:
    example = parameters[len(parameters) // 2].name if parameters else "nothing"
    entry = entries[min(len(entries) - 1, len(entries) // 2 + 1)]
    return RecipeError(
        f"Nothing that the recipe names is a parameter of the model (0 of {len(entries)}).",
        f"It names {entry}, the model has {example}: scan this model with the installed "
        "version of transformers.",
    )


def _kept_adapters(
    parameters: Sequence[LiveParameter], chosen: set[int], *, keep_adapters: bool
) -> set[int]:
    """Return the adapters that go on training; raises RecipeError where they would be frozen
    unasked."""
    adapters = {id(p.parameter) for p in parameters if p.adapter and p.parameter.requires_grad}
    if keep_adapters or not adapters - chosen:
        return adapters
    named = (p for p in parameters if id(p.parameter) in chosen & adapters)
    if any(p.role == "adapter" for p in named):
        return set()
    raise RecipeError(
        f"This would freeze {counted(len(adapters), 'adapter parameter')} of a PEFT model.",
        "Pass keep_adapters=True to train them besides what the recipe names.",
    )


def _not_loaded(parameters: Sequence[LiveParameter]) -> list[LiveParameter]:
    """Return what a checkpoint did not fill, or not all of it (a table that was made longer).

    transformers marks what it has loaded; in a model without a mark nothing is known.
    """
    own = [p for p in parameters if not p.role and _can_train(p.parameter)]
    new = [p for p in own if not getattr(p.parameter, "_is_hf_initialized", False)]
    return new if len(new) < len(own) else []


def _check_floating(parameters: Sequence[LiveParameter], chosen: set[int]) -> None:
    quantised = [p for p in parameters if id(p.parameter) in chosen and not _can_train(p.parameter)]
    if quantised:
        kind = str(quantised[0].parameter.dtype).removeprefix("torch.")
        raise RecipeError(
            f"{quantised[0].name} is quantised ({kind}) and cannot be trained; this "
            f"affects {len(quantised)} of {len(chosen)} that the recipe names.",
            "Keep them out of quantisation (llm_int8_skip_modules), or train adapters on them.",
        )


def _can_train(parameter: torch.nn.Parameter) -> bool:
    """Return whether autograd takes it: 8-bit floats do, but no optimizer trains them."""
    return parameter.is_floating_point() and parameter.element_size() > 1


def _apply(parameters: Sequence[LiveParameter], chosen: set[int]) -> None:
    """Set what trains. A frozen parameter loses its gradient: an optimizer would still use it."""
    for p in parameters:
        trains = id(p.parameter) in chosen
        p.parameter.requires_grad_(trains)
        if not trains:
            p.parameter.grad = None


def _inputs_need_gradients(model: torch.nn.Module) -> tuple[str, ...]:
    """Let the inputs carry gradients where checkpointed blocks would else cut them off.

    Reentrant checkpointing gives no gradient to a block whose inputs need none, which is so
    behind frozen embeddings.
    """
    embeddings = getattr(model, "get_input_embeddings", lambda: None)
    enable = getattr(model, "enable_input_require_grads", None)
    if enable is None or not _checkpoints(model):
        return ()
    try:
        table = embeddings()
    except NotImplementedError:
        return ()
    if table is None or any(p.requires_grad for p in table.parameters()):
        return ()
    enable()
    return ("embeddings are frozen under gradient checkpointing: enabled input gradients",)


def _checkpoints(model: torch.nn.Module) -> bool:
    """Return whether it recomputes activations, by either name that transformers has for it."""
    new = getattr(model, "is_activation_checkpointing", None)
    return bool(getattr(model, "is_gradient_checkpointing", False) if new is None else new)


def _described(
    owners: Sequence[LiveParameter],
    chosen: set[int],
    unmatched: tuple[str, ...],
    notes: tuple[str, ...],
) -> Frozen:
    trains = [p for p in owners if id(p.parameter) in chosen]
    return Frozen(
        matched=tuple(p.name for p in trains),
        unmatched=unmatched,
        trainable=sum(p.numel for p in trains),
        total=sum(p.numel for p in owners),
        parameters=len(owners),
        notes=notes,
    )


def _log(frozen: Frozen) -> None:
    log.info("%s", frozen)
    for note in frozen.notes:
        log.info("%s", safe(note))
    if frozen.unmatched:
        log.warning("no parameter of the model is called %s", _first(frozen.unmatched))
    if frozen.random:
        log.warning(
            "frozen at random values, since the checkpoint did not fill them: %s; name them in the "
            "recipe, or pass keep_new=True",
            _first(frozen.random),
        )


def _first(names: Sequence[str]) -> str:
    return safe(", ".join(names[:5])) + (" …" if len(names) > 5 else "")
