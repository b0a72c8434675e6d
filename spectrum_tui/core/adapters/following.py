"""The adapters of a model in training: measured, ranked, and given other ranks.

A layer that is chosen has an adapter that trains. One that is not chosen keeps its adapter: from
the start B is zero, so it adds nothing; later it adds what it has learned, and trains no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spectrum_tui.core.adapters.grouping import Similar, share, similar_groups, tie
from spectrum_tui.core.adapters.moves import Moves, moves_of
from spectrum_tui.core.adapters.patterns import config_of, write_patterns
from spectrum_tui.core.adapters.processes import follow_changes
from spectrum_tui.core.adapters.resizing import resize, switch
from spectrum_tui.core.adapters.tiers import Ranks
from spectrum_tui.core.adapters.watching import GradientWatch, is_watched
from spectrum_tui.core.errors import InputError, SpectrumError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.settings import METRIC
from spectrum_tui.core.text import safe
from spectrum_tui.core.training.live_adapters import LiveAdapter, live_adapters
from spectrum_tui.core.training.rescoring import (
    LiveLayer,
    Rescorer,
    dequantised,
    live_layers,
    result_of,
)

if TYPE_CHECKING:
    import torch

    from spectrum_tui.core.results.results import Result

GRADIENT = "gradient"
"""The metric that a training measures by itself."""


class Following:
    """What may be done with the adapters of a model; raises SpectrumError for a model without any,
    one whose weights are spread over processes, or one that cannot be dequantised.

    `seed` starts the rows of adapters that grow: the same in all processes, and in a run that is
    resumed.
    """

    def __init__(self, model: torch.nn.Module, *, name: str, seed: int) -> None:
        self.model = model
        self.layers = [one for one in live_layers(model) if one.adapter]
        self.adapters = live_adapters(model)
        if not self.adapters:
            raise InputError(
                "The model has no LoRA adapters.", "Give the trainer a model from get_peft_model."
            )
        _check_base(self.adapters, {one.name for one in self.layers})
        self.config = config_of(model, self.adapters[0].name)
        self.watch = GradientWatch(self.adapters)
        self.groups: tuple[tuple[str, ...], ...] = ()
        self._name, self._seed = name, seed
        self._rescorers: dict[str, Rescorer] = {}

    # -- what there is -------------------------------------------------------------------------

    @property
    def ranks(self) -> Ranks:
        """The rank of each adapter, whether it trains or not."""
        return {one.layer: one.rank for one in self.adapters}

    @property
    def off(self) -> list[str]:
        """The layers whose adapter does not train."""
        return [one.layer for one in self.adapters if not one.trains]

    @property
    def trainable(self) -> int:
        """The parameters of adapters that train, shared ones once."""
        factors = {id(p): p for one in self.adapters for p in (one.down, one.up)}
        return sum(p.numel() for p in factors.values() if p.requires_grad)

    def check_optimizer(self, optimizer: Any) -> None:
        """Raise InputError for an optimizer that would never train some of the adapters, or that
        remembers them with other ranks."""
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        factors = {id(p): p for one in self.adapters for p in (one.down, one.up)}
        if missing := len(factors.keys() - held):
            raise InputError(
                f"The optimizer was made without {missing} of {len(factors)} adapter matrices.",
                "Let the trainer make it, or make it while all adapters train.",
            )
        for parameter in factors.values():
            for value in optimizer.state.get(parameter, {}).values():
                other = getattr(value, "shape", parameter.shape)
                if len(other) == 2 and value.is_floating_point() and other != parameter.shape:
                    raise InputError(
                        f"The optimizer remembers a matrix of {tuple(other)} where the adapter has "
                        f"{tuple(parameter.shape)}: it is of a run with other ranks.",
                        "Resume with the same callback in Trainer(callbacks=[...]).",
                    )

    # -- measuring -----------------------------------------------------------------------------

    def measured(self, metric: str) -> Result:
        """Return the scores of the adapted layers as they are: of their effective weights, or by
        what the watch has seen since it last forgot."""
        if metric == GRADIENT:
            return self._by_gradient()
        if metric not in self._rescorers:
            self._rescorers[metric] = Rescorer(self.layers, metric, self._name)
        return self._rescorers[metric].result()

    def _by_gradient(self) -> Result:
        """Return the mean norm of the gradient of the weight over the norm of the effective weight.

        Fused experts, whose gradient cannot be watched, have the default metric of their effective
        weight: they are types of their own, ranked among themselves.
        """
        norms = self.watch.norms()
        values = [_relative(layer, norms) for layer in self.layers]
        hidden = [one for one in self.layers if one.adapter and not is_watched(one.adapter)]
        if hidden:
            known = Rescorer(hidden, METRIC, self._name).result().scores
            of_hidden = dict(zip(known.layers, known.values.tolist(), strict=True))
            values = [
                of_hidden.get(layer.name, value)
                for layer, value in zip(self.layers, values, strict=True)
            ]
        return result_of(self.layers, values, GRADIENT, self._name)

    # -- changing ------------------------------------------------------------------------------

    def apply(self, wanted: Ranks, optimizer: Any, step: int) -> Moves:
        """Give every adapter the rank that is wanted of it, 0 to switch it off; a shared one the
        largest of its layers. The optimizer and PEFT's configuration follow."""
        before = [(one.rank, one.trains) for one in self.adapters]
        for place, unit in enumerate(self._units()):
            first = unit[0]
            rank = max(wanted.get(one.layer, one.rank if one.trains else 0) for one in unit)
            switch(first, rank > 0, optimizer)
            if rank:
                self._resize(first, rank, optimizer, self._generator(step, place))
            for one in unit[1:]:
                one.say_rank(first.rank, first.scale)
        after = ((one.rank, one.trains) for one in self.adapters)
        moves = moves_of([(a[0], b[0], a[1], b[1]) for a, b in zip(before, after, strict=True)])
        if moves.any:
            self._changed()
        return moves

    def similar(self, limit: float) -> Similar:
        """Return which layers of one type, shape and scale have had similar gradients."""
        kinds = {
            one.name: (one.layer.type, one.layer.shape, one.adapter.scale)
            for one in self.layers
            if one.adapter
        }
        return similar_groups(self.watch.sketches(), kinds, limit)

    def tie(self, groups: Sequence[Sequence[str]], optimizer: Any, step: int) -> None:
        """Let the layers of each group share an adapter from now on."""
        by_name = {one.layer: one for one in self.adapters}
        for place, group in enumerate(groups):
            generator = self._generator(step, place)
            members = [by_name[layer] for layer in group]
            tie(members, optimizer, gaussian=self._gaussian, generator=generator)
        if groups:
            self.groups = tuple(map(tuple, groups))
            self._changed()

    def restore(self, off: Sequence[str], groups: Sequence[Sequence[str]]) -> None:
        """Bring back what factors that were loaded do not tell."""
        by_name = {one.layer: one for one in self.adapters}
        for group in groups:
            first, *others = [by_name[layer] for layer in group if layer in by_name]
            share(first, others)
        for one in self.adapters:
            switch(one, one.layer not in off)
        self.groups = tuple(map(tuple, groups))
        self._changed()

    def write_config(self) -> None:
        """Put the ranks as they are into PEFT's configuration."""
        write_patterns(self.config, self.adapters)

    def _changed(self) -> None:
        self.write_config()
        factors = {id(p): p for one in self.adapters for p in (one.down, one.up)}
        follow_changes(self.model, factors.values())

    def _units(self) -> list[list[LiveAdapter]]:
        """Return the adapters, those of shared factors together."""
        units: dict[int, list[LiveAdapter]] = {}
        for one in self.adapters:
            units.setdefault(id(one.down), []).append(one)
        return list(units.values())

    def _resize(
        self, one: LiveAdapter, rank: int, optimizer: Any, generator: torch.Generator
    ) -> None:
        resize(one, rank, optimizer, gaussian=self._gaussian, generator=generator)

    @property
    def _gaussian(self) -> bool:
        return str(self.config.init_lora_weights).lower() == "gaussian"

    def _generator(self, step: int, place: int) -> torch.Generator:
        import torch

        seed = np.random.SeedSequence([self._seed, step, place]).generate_state(1)[0]
        return torch.Generator().manual_seed(int(seed))


def fit_on_load(model: torch.nn.Module) -> None:
    """Let the adapters of a model take the ranks of whatever is loaded into them: a checkpoint of
    a run in which they changed."""
    for one in live_adapters(model):
        for linear in (one.module.lora_A[one.name], one.module.lora_B[one.name]):
            linear.register_load_state_dict_pre_hook(_fitting(one))


def _fitting(adapter: LiveAdapter) -> Any:
    def fit(module: Any, state: Mapping[str, torch.Tensor], prefix: str, *_: Any) -> None:
        values = state.get(f"{prefix}weight")
        weight = module.weight
        if values is None or values.ndim != 2 or values.shape == weight.shape:
            return
        same = [a == b for a, b in zip(values.shape, weight.shape, strict=True)]
        if not any(same):  # another layer's: torch says so
            return
        weight.data = weight.new_empty(values.shape)
        rank = values.shape[same.index(False)] // adapter.experts
        adapter.say_rank(rank, adapter.scale)

    return fit


def _relative(layer: LiveLayer, norms: Mapping[str, float]) -> float | str:
    if layer.name not in norms:
        return "no gradient has come to it"
    weight = float(layer.effective().float().norm())
    return norms[layer.name] / weight if weight else "holds only zeros"


def _check_base(adapters: Sequence[LiveAdapter], scored: set[str]) -> None:
    """Raise SpectrumError where the weight beside an adapter cannot be read as numbers."""
    kinds = {(type(a.base), a.dtype): a for a in adapters if a.dtype is not None}
    for one in kinds.values():
        dequantised(one)
    missing = [one for one in adapters if one.layer not in scored]
    if missing:
        kind = type(missing[0].base).__name__
        raise SpectrumError(
            f"{counted(len(missing), 'adapted layer')} cannot be scored, {safe(missing[0].layer)} "
            f"the first: {kind} is no dequantiser's that is known.",
            "Load the base in 16 bits, or in 4 or 8 bits by bitsandbytes.",
        )
