"""Losses of the model before it is trained: judged once for all rows that begin with the same
model, in the folder of their texts."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from spectrum_tui.core import json_text
from spectrum_tui.core.conforming import conforms
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.files import read_kept, write_kept
from spectrum_tui.core.proof.rows import Job, Losses

log = logging.getLogger(__name__)
_FORM = "untrained losses 1"


class Untrained:
    """Where the losses of a row's untrained model are kept.

    The key holds all that could change one bit of them: every condition, the recipe of an adapted
    model, the machine and its software; and the seed where a part of the model is drawn by it. For
    several processes nothing is kept: one that found no losses would wait for those that did.
    """

    def __init__(self, job: Job, model: torch.nn.Module, computes: Mapping[str, str]) -> None:
        conditions = job.conditions
        self._alone = conditions.processes == 1
        drawn = _is_drawn(model)
        same = {
            "conditions": conditions.same,
            "files": job.row.files,
            "seed": job.row.seed if drawn else None,
            "computes": {**computes, **_machine()},
        }
        text = json.dumps(same, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:20]
        self._path = Path(conditions.held_out).with_name("untrained") / f"{key}.txt"

    def read(self) -> Losses | None:
        """Return the losses, None where they are to be judged."""
        text = read_kept(self._path, _FORM) if self._alone else None
        try:
            losses = Losses(**json.loads(text or ""))
        except json_text.WRONG_SHAPE:
            return None
        return losses if conforms(losses, Losses) else None

    def keep(self, losses: Losses) -> None:
        """Keep the losses for other rows; where that fails, they are judged again."""
        if self._alone:
            try:
                write_kept(self._path, _FORM, json.dumps(asdict(losses)))
            except OutputError as exc:
                log.warning("%s", exc)


def _is_drawn(model: torch.nn.Module) -> bool:
    """Return whether any parameter is not known to be the checkpoint's: a new head, adapters."""
    return not all(getattr(p, "_is_hf_initialized", False) for p in model.parameters())


def _machine() -> dict[str, str]:
    return {"host": platform.node(), "processor": torch.backends.cpu.get_cpu_capability()}
