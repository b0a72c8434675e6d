"""What LLaMA-Factory can train of a model without adapters: modules of the first or last blocks.

How it reads its three keys (0.9.6.dev0, August 2026: `_setup_freeze_tuning` in
`src/llamafactory/model/adapter.py`): `freeze_trainable_layers` are the last n blocks, or the first
n where it is negative; of those, what holds `.{block}.{module}` for one of
`freeze_trainable_modules` trains, and whatever holds one of `freeze_extra_modules`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

_PARTS = re.compile(r"\.(?=(\d+)\.([^.]*))")
ALL = "all"
"""The name that stands for every module of a block."""


@dataclass(frozen=True, slots=True)
class FreezeSetting:
    """The three keys, and the parameters that train by them."""

    layers: int
    modules: tuple[str, ...]
    extra: tuple[str, ...]
    trains: frozenset[str]

    @property
    def keys(self) -> dict[str, str]:
        """{key: value} as they stand in its YAML; without extra modules, that key is left out."""
        keys = {
            "freeze_trainable_layers": str(self.layers),
            "freeze_trainable_modules": ",".join(self.modules),
        }
        return keys | ({"freeze_extra_modules": ",".join(self.extra)} if self.extra else {})


def smallest_setting(wanted: Collection[str], names: Sequence[str]) -> FreezeSetting | None:
    """Return the setting with the fewest parameters among those that train all of `wanted`; None
    where nothing is wanted, or the model has no blocks or several stacks of them, of which
    LLaMA-Factory freezes some by rules of its own."""
    stacks = {name[: found.start()] for name in names if (found := _PARTS.search(name))}
    if not wanted or len(stacks) != 1:
        return None
    blocks = 1 + max(_block(name) for name in names)
    chosen = [_block(name) for name in wanted if _block(name) >= 0]
    modules = {found[2] for name in wanted if (found := _PARTS.search(name))}
    extra = tuple(sorted({name.split(".")[-2] for name in wanted if _block(name) < 0}))
    known = {found[2] for name in names if (found := _PARTS.search(name)) and found[1] == "0"}
    listed = tuple(sorted(modules)) if modules and modules <= known else (ALL,)
    counts = (blocks - min(chosen), -1 - max(chosen)) if chosen else (0,)
    settings = [
        FreezeSetting(n, listed, extra, frozenset(_trained(names, n, blocks, listed, extra)))
        for n in counts
    ]
    return min(settings, key=lambda setting: len(setting.trains))


def _block(name: str) -> int:
    """Return the number of the block that a parameter is in, -1 outside."""
    found = _PARTS.search(name)
    return int(found[1]) if found else -1


def _trained(
    names: Sequence[str], n: int, blocks: int, modules: tuple[str, ...], extra: tuple[str, ...]
) -> Iterator[str]:
    trained = range(max(0, blocks - n), blocks) if n > 0 else range(min(-n, blocks))
    starts = ("",) if modules == (ALL,) else modules
    for name in names:
        inside = any(
            int(number) in trained and module.startswith(starts)
            for number, module in _PARTS.findall(name)
        )
        if inside or any(part in name for part in extra):
            yield name
