"""What a process of this program is started with."""

from __future__ import annotations

import os
from pathlib import Path

import spectrum_tui

OWN_ENV = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "PYTHONSAFEPATH": "1",
}


def own_environment() -> dict[str, str]:
    """Return the environment of a process of ours: it says nothing on its own, finds this package
    where it is not installed, and hands `-P` on to what a library starts. A PYTHONPATH counts
    first."""
    env = {**os.environ, **OWN_ENV}
    root = Path(spectrum_tui.__file__).parent.parent
    if root.name not in ("site-packages", "dist-packages"):  # run from a checkout
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (env.get("PYTHONPATH"), str(root))))
    return env
