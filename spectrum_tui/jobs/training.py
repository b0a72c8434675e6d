"""What every training script does with its model: freeze, train, save, and say what has changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from spectrum_tui.core import disk
from spectrum_tui.core.errors import InputError, OutputError, RecipeError
from spectrum_tui.freeze import Frozen, freeze_except
from spectrum_tui.jobs.options import Options

_REFUSALS = (ValueError, TypeError, ImportError, RuntimeError, OSError)
"""What trainers raise for options, packages, tokenizers and models that do not go together."""


def say(text: str) -> None:
    """One line in the log, of the first process of several."""
    if os.environ.get("RANK", "0") == "0":
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def freeze(
    model: Any, recipe: str | Iterable[str], *, assumed: Collection[str] = (), new: bool = False
) -> Frozen:
    """Leave only what a recipe names trainable, and with `new` what the checkpoint did not fill;
    say how much that is. Raises SpectrumError where it is not what was meant.

    `assumed` are names that may be missing. Before anything wraps the model: FSDP, torch.compile
    and PEFT change the names.
    """
    frozen = freeze_except(model, recipe, keep_new=new)
    missing = [name for name in frozen.unmatched if name not in assumed]
    if missing:
        raise RecipeError(
            f"Not in this model: {missing[0]}, one of {len(missing)} such names; "
            "it is another model, or another version of transformers. Scan it again."
        )
    trainable, total = frozen.trainable, frozen.total
    if not trainable:
        raise RecipeError("Nothing of this model would train.")
    say(f"training {trainable:,} of {total:,} parameters, {trainable / total:.2%}")
    return frozen


def train(build: Callable[[Any], Any], options: Options, frozen: Frozen | None) -> None:
    """Train with the Trainer that `build` makes, given a callback; go on from the job's own last
    checkpoint, save the model, and compare every tensor with what it was.

    Raises SpectrumError where something has changed that was to stay, and before the training where
    nothing could be saved, or the trainer refuses what it was given.
    """
    from spectrum_tui.jobs.changes import Changes
    from spectrum_tui.jobs.checkpoints import check_whole, own_checkpoint

    _check_output(options.output_dir)
    changes = Changes(frozen)
    try:
        trainer = build(changes)
    except _REFUSALS as error:
        raise InputError(f"The trainer refuses this: {error}.", "Correct the option.") from error
    names = frozen.matched if frozen else ()
    own = own_checkpoint(options.checkpoint_dir, names, resume=options.resume)
    last = trainer.args.resume_from_checkpoint or own
    if last:
        check_whole(last)
        say(f"going on from {last}")
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(options.output_dir)
    say(f"saved to {options.output_dir}")
    say(str(changes.trained))
    changes.check()


def _check_output(folder: str) -> None:
    """Raise OutputError where the first process, which saves, cannot write into a folder."""
    if os.environ.get("RANK", "0") != "0":
        return
    try:
        disk.make_folder(Path(folder), 0o777)
        disk.probe(Path(folder))
    except (OSError, ValueError) as error:
        raise OutputError(f"Cannot write to {folder}: {error}.", "Give another folder.") from None
