"""Which parameter of the base each tensor of an adapter changes, and whether their sizes fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from spectrum_tui.core.adapters.configuration import AdapterConfig
from spectrum_tui.core.adapters.folder import Adapter, LowRank
from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.errors import AdapterError
from spectrum_tui.core.naming.parameters import ParameterPlan, RuntimeParameter
from spectrum_tui.core.numbers import counted

Kind = Literal["linear", "embedding", "convolution", "parameter", "experts"]
"""How B·A becomes an update: PEFT computes and rounds each of them differently."""
_OTHER_BASE = "Give the base that it was trained on: --into MODEL."


@dataclass(frozen=True, kw_only=True)
class Update:
    """One low-rank update: scale · up @ down, added to the parameter `name`.

    `transposed` says that the parameter holds inputs x outputs, as those of GPT-2's Conv1D do.
    """

    name: str
    key: str
    kind: Kind
    pair: LowRank
    rank: int
    scale: float
    transposed: bool = False
    experts: int = 0


@dataclass(frozen=True, kw_only=True)
class Change:
    """All that happens to one name of a parameter, in this order: other values beneath, the update,
    rows of tokens. `whole` instead of all that."""

    whole: Tensor | None = None
    beneath: Tensor | None = None
    update: Update | None = None
    added_bias: Update | None = None
    tokens: tuple[tuple[int, ...], Tensor] | None = None


@dataclass(frozen=True)
class Names:
    """The parameters of a base by every name that an adapter may have for them."""

    plan: ParameterPlan

    def find(self, name: str) -> tuple[str, RuntimeParameter] | None:
        """Return the name in the model and the parameter; None where there is no such one.

        Another class of the same model has other names at the start: `layers.0` of a bare model
        is `model.layers.0` of one with a head.
        """
        exact = self._by_name
        without_one = name.partition(".")[2]
        for likely in (name, without_one, without_one.partition(".")[2], self._by_end.get(name)):
            if likely and likely in exact:
                return likely, exact[likely]
        return None

    @cached_property
    def _by_name(self) -> dict[str, RuntimeParameter]:
        parameters = self.plan.parameters
        aliases = {alias: p for p in parameters for alias in p.aliases}
        return {**self._stored(), **aliases, **{p.name: p for p in parameters}}

    def _stored(self) -> dict[str, RuntimeParameter]:
        """Return stored tensors under their own names: what an older transformers had as
        parameters, single experts among them."""
        found: dict[str, RuntimeParameter] = {}
        for parameter in self.plan.parameters:
            if len(parameter.sources) == 1:
                found[parameter.sources[0].name] = parameter
                continue
            for source in parameter.sources:
                found[source.name] = RuntimeParameter(
                    name=source.name, shape=source.shape, dtype=source.dtype, sources=(source,)
                )
        return found

    @cached_property
    def _by_end(self) -> dict[str, str]:
        """{name without its first part: the name}, "" where that is ambiguous."""
        found: dict[str, str] = {}
        for parameter in self.plan.parameters:
            end = parameter.name.partition(".")[2]
            found[end] = "" if end in found else parameter.name
        return found

    def experts_turned(self, name: str) -> bool:
        """Return whether fused experts hold inputs x outputs: where gate and up are in one, the
        axis on which they lie is that of the outputs."""
        siblings = self._by_module.get(name.rpartition(".")[0], ())
        splits = (self._by_name[other].gate_up for other in siblings)
        return any(split is not None and split.axis == 2 for split in splits)

    def of_module(self, module: str, config: AdapterConfig) -> list[str]:
        """Return the parameters of a module that `target_parameters` name, in the model's order:
        that in which PEFT puts their adapters around each other."""
        return [n for n in self._by_module.get(module, ()) if config.targets(n)]

    @cached_property
    def _by_module(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for parameter in self.plan.parameters:
            for name in (parameter.name, *parameter.aliases):
                found.setdefault(name.rpartition(".")[0], []).append(name)
        return found


def changes_of(
    adapter: Adapter, plan: ParameterPlan
) -> tuple[dict[str, Change], dict[str, Tensor]]:
    """Return what changes of the base by names of its parameters, and the tensors of modules that
    it does not have (the head of a task); raises AdapterError where they do not fit."""
    return _Changes(adapter, Names(plan)).all()


def updates_of(adapter: Adapter, plan: ParameterPlan) -> list[Update]:
    """Return the low-rank updates of an adapter; raises AdapterError where they do not fit."""
    changes, _ = changes_of(adapter, plan)
    return [change.update for change in changes.values() if change.update is not None]


class _Changes:
    """Collects the changes of an adapter, name by name."""

    def __init__(self, adapter: Adapter, names: Names) -> None:
        self._adapter, self._names = adapter, names
        self._config = adapter.config
        self._found: dict[str, Change] = {}
        self._new: dict[str, Tensor] = {}

    def all(self) -> tuple[dict[str, Change], dict[str, Tensor]]:
        for pair in self._adapter.low_rank:
            self._low_rank(pair)
        for name, tensor in self._adapter.beneath.items():
            found, parameter = self._known(name)
            self._fit(found, parameter, tensor)
            self._change(found, beneath=tensor)
        for name, tensor in self._adapter.whole.items():
            self._whole(name, tensor)
        for module, tensor in self._adapter.tokens.items():
            self._tokens(module, tensor)
        return self._found, self._new

    def _known(self, name: str) -> tuple[str, RuntimeParameter]:
        found = self._names.find(name)
        if found is None:
            raise AdapterError(
                f"The adapter is not of this base, which has no {name}.", _OTHER_BASE
            )
        return found

    def _change(self, name: str, **fields: object) -> None:
        self._found[name] = replace(self._found.get(name, Change()), **fields)  # type: ignore[arg-type]

    def _low_rank(self, pair: LowRank) -> None:
        key, name, parameter = self._target(pair)
        update = self._update(pair, key, name, parameter)
        if name in self._found and self._found[name].update is not None:
            raise AdapterError(
                f"Two adapters of {pair.module} change {name}.", "Save the adapter again."
            )
        self._change(name, update=update)
        if pair.up_bias is not None:
            bias, there = self._known(f"{pair.module}.bias")
            self._fit(bias, there, pair.up_bias)
            self._change(bias, added_bias=update)

    def _target(self, pair: LowRank) -> tuple[str, str, RuntimeParameter]:
        """Return (what patterns are compared with, the parameter's name, the parameter)."""
        wrapped = self._names.of_module(pair.module, self._config)
        if wrapped:
            if pair.wraps >= len(wrapped):
                raise AdapterError(
                    f"{pair.module} has more adapters than parameters that they may be of.",
                    "target_parameters of the configuration must name them all.",
                )
            name = wrapped[len(wrapped) - 1 - pair.wraps]
            return name, *self._known(name)
        if pair.wraps:
            raise AdapterError(
                f"The adapter is not of this base, where {pair.module} has no parameter that "
                "target_parameters name.",
                _OTHER_BASE,
            )
        return pair.module, *self._known(f"{pair.module}.weight")

    def _whole(self, name: str, tensor: Tensor) -> None:
        found = self._names.find(name)
        if found is None:
            if not self._config.saves(name):
                self._known(name)
            self._new[name] = tensor
            return
        self._fit(*found, tensor)
        self._change(found[0], whole=tensor)

    def _tokens(self, module: str, tensor: Tensor) -> None:
        name, parameter = self._known(f"{module}.weight")
        by_end = self._config.token_indices
        ends = (end for end in by_end if not end or module == end or module.endswith(f".{end}"))
        rows = by_end.get(next(ends, ""), ())
        if tensor.shape != (len(rows), *parameter.shape[1:]) or max(rows) >= parameter.shape[0]:
            raise AdapterError(
                f"The rows of tokens for {module} do not fit: {list(tensor.shape)} for "
                f"{len(rows)} of {list(parameter.shape)}.",
                _OTHER_BASE,
            )
        self._change(name, tokens=(rows, tensor))

    def _fit(self, name: str, parameter: RuntimeParameter, tensor: Tensor) -> None:
        """Take a whole parameter of the same shape, or a table with other rows."""
        table = parameter.name in self._names.plan.embeddings
        same = tensor.shape[1:] == parameter.shape[1:] if table else False
        if tensor.shape != parameter.shape and not same:
            raise _misfit(name, tensor.shape, parameter)

    def _update(self, pair: LowRank, key: str, name: str, parameter: RuntimeParameter) -> Update:
        kind = _kind(pair, key == name, parameter)
        experts = parameter.shape[0] if kind == "experts" else 0
        rank = self._config.rank_of(key)
        _check_rank(pair, rank, experts)
        straight = _shape(pair, kind)
        transposed = (straight[1], straight[0])
        shape = parameter.shape[1:] if experts else parameter.shape
        turned = shape != straight and kind in ("linear", "experts")
        if straight == transposed:
            turned = self._holds_transpose(name, kind, parameter)
        if shape != (transposed if turned else straight):
            raise _misfit(name, straight, parameter)
        _check_magnitude(pair, straight)
        return Update(
            name=name,
            key=key,
            kind=kind,
            pair=pair,
            rank=rank,
            scale=self._config.scale_of(key, rank),
            transposed=turned,
            experts=experts,
        )

    def _holds_transpose(self, name: str, kind: Kind, parameter: RuntimeParameter) -> bool:
        """Return whether a square parameter is inputs x outputs, which its sizes do not say."""
        if kind == "experts":
            return self._names.experts_turned(name)
        is_conv1d = parameter.module == "conv1d"
        return kind == "linear" and (
            is_conv1d or (not parameter.module and self._config.fan_in_fan_out)
        )


def _check_rank(pair: LowRank, rank: int, experts: int) -> None:
    has = pair.down.shape[0]
    if has != rank * (experts or 1):
        each = f"{has} for {counted(experts, 'expert')}" if experts else str(has)
        raise AdapterError(
            f"The adapter of {pair.module} has rank {each}; its configuration says {rank}.",
            "r and rank_pattern must be those of the tensors.",
        )


def _kind(pair: LowRank, by_parameter: bool, parameter: RuntimeParameter) -> Kind:
    if by_parameter:
        return "experts" if len(parameter.shape) == 3 and parameter.shape[0] > 1 else "parameter"
    if pair.embedding:
        return "embedding"
    return "linear" if len(pair.down.shape) == 2 else "convolution"


def _shape(pair: LowRank, kind: Kind) -> tuple[int, ...]:
    """Return outputs x inputs, and the kernel of a convolution after them."""
    rows, columns, *kernel = (pair.up.shape[0], *pair.down.shape[1:])
    if kind == "embedding":
        return columns, rows
    return rows, columns, *kernel


def _check_magnitude(pair: LowRank, inner: tuple[int, ...]) -> None:
    magnitude = pair.magnitude
    outputs = inner[1] if pair.embedding else inner[0]
    if magnitude is not None and magnitude.numel != outputs:
        raise AdapterError(
            f"The magnitudes of {pair.module} do not fit: {list(magnitude.shape)} for {outputs}.",
            _OTHER_BASE,
        )


def _misfit(name: str, shape: Iterable[int], parameter: RuntimeParameter) -> AdapterError:
    return AdapterError(
        f"The adapter is not of this base: it changes {list(shape)} of {name}, which has "
        f"{list(parameter.shape)}.",
        _OTHER_BASE,
    )
