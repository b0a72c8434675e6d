"""The sketches of gradients that a probe leaves in the cache, for whoever compares layers later."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spectrum_tui.core import json_text
from spectrum_tui.core.files import cache_dir, read_kept, write_kept
from spectrum_tui.core.training.sketching import SIDE

FORM = f"gradient sketches {SIDE}"
Sketches = Mapping[str, npt.NDArray[np.float32]]
"""{parameter: the sketch of its mean gradient}"""


def sketches_path(checkpoint: str, digest: str) -> Path:
    """Return where the sketches of a checkpoint, by its fingerprint, on some data lie."""
    key = hashlib.sha256(f"{checkpoint}\n{digest}".encode()).hexdigest()
    return cache_dir() / "probes" / f"{key[:40]}.json"


def write_sketches(checkpoint: str, digest: str, sketches: Sketches) -> None:
    """Keep sketches in the cache; raises OutputError."""
    data = {
        name: [one.shape, base64.b64encode(one.astype("<f4").tobytes()).decode()]
        for name, one in sketches.items()
    }
    write_kept(sketches_path(checkpoint, digest), FORM, json.dumps(data))


def read_sketches(checkpoint: str, digest: str) -> Sketches:
    """Return the sketches that a probe kept; {} where there are none, or damaged ones."""
    text = read_kept(sketches_path(checkpoint, digest), FORM)
    try:
        return {name: _sketch(*one) for name, one in json.loads(text or "{}").items()}
    except json_text.WRONG_SHAPE:
        return {}


def _sketch(shape: list[int], text: str) -> npt.NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape).astype(np.float32)
