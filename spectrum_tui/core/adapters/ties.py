"""Tables that a model shares (input embeddings and output head), where an adapter changes one.

While it trains, PEFT computes the two apart: an adapter of the head does not change what is looked
up. Its merge adds the update to the table that both share, so that the merged model answers
otherwise than the adapter did. Here they are stored apart then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from spectrum_tui.core.adapters.folder import Adapter
from spectrum_tui.core.adapters.targets import Change
from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.reading import read_stored
from spectrum_tui.core.errors import AdapterError
from spectrum_tui.core.naming.parameters import ParameterPlan, RuntimeParameter


def untied(
    changes: Mapping[str, Change], plan: ParameterPlan, adapter: Adapter
) -> tuple[dict[str, Change], dict[str, str]]:
    """Return the changes by names that are stored apart, and {name that is stored besides: the
    parameter that it was tied to}."""
    found = dict(changes)
    separate: dict[str, str] = {}
    for parameter in plan.parameters:
        names = (parameter.name, *parameter.aliases)
        if parameter.aliases and any(name in changes for name in names):
            for name in names:
                found.pop(name, None)
            apart = _apart(parameter, changes, adapter)
            found |= apart
            kept = stored_name(parameter)
            separate |= {n: parameter.name for n in apart if len(apart) > 1 and n != kept}
    return found, separate


def stored_name(parameter: RuntimeParameter) -> str:
    """Return under which of its names a parameter is stored; its own where that is none of them."""
    stored = {source.name for source in parameter.sources}
    names = (parameter.name, *parameter.aliases)
    return next((name for name in names if name in stored), parameter.name)


def _apart(
    parameter: RuntimeParameter, changes: Mapping[str, Change], adapter: Adapter
) -> dict[str, Change]:
    """Return the change of each name; of all names under the first where they stay one."""
    names = (parameter.name, *parameter.aliases)
    shared = Change()
    own: dict[str, Change] = {}
    for name in names:
        change = changes.get(name, Change())
        mine = _own(name, change, adapter)
        beneath = change.beneath or (None if mine.whole else change.whole)
        shared = Change(beneath=beneath or shared.beneath, tokens=change.tokens or shared.tokens)
        if mine != Change():
            own[name] = mine
    if not own:
        return {stored_name(parameter): shared}
    if set(own) == set(names) and _all_equal([change.whole for change in own.values()]):
        return {stored_name(parameter): own[names[0]]}
    if len(names) > 2:
        raise AdapterError(
            f"{parameter.name} is one with {', '.join(parameter.aliases)}, and the adapter changes "
            f"only {', '.join(own)}.",
            "Merge it with PEFT, and compare the answers.",
        )
    return {
        name: replace(shared, whole=mine.whole, update=mine.update)
        for name in names
        for mine in (own.get(name, Change()),)
    }


def _own(name: str, change: Change, adapter: Adapter) -> Change:
    """Return what holds for this name alone: PEFT trains a copy of a module that is saved."""
    saved = change.whole if adapter.config.saves(name) else None
    return Change(whole=saved, update=change.update)


def _all_equal(tensors: list[Tensor | None]) -> bool:
    found = {None if tensor is None else _digest(tensor) for tensor in tensors}
    return len(found) == 1 and None not in found


def _digest(tensor: Tensor) -> str:
    digest = hashlib.sha256(repr((tensor.shape, tensor.dtype)).encode())
    for first in range(0, tensor.nbytes, 2**24):
        digest.update(read_stored(tensor, first, min(2**24, tensor.nbytes - first)))
    return digest.hexdigest()
