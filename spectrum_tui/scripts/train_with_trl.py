"""Fine-tunes the layers that Spectrum selected, and freezes the rest.

    python -P THIS_FILE --model org/name --train data.jsonl --output-dir trained
    torchrun --nproc-per-node 4 THIS_FILE …
    accelerate launch THIS_FILE …

Needs the packages spectrum-tui, trl (1.0 or later) and datasets. Data are files of JSON
lines, JSON, Parquet or CSV, or a folder that datasets saved, with columns that spectrum-tui
knows: "text"; "messages"; "prompt" and "completion"; "context", "question" and "answers"; …
With --task dpo: "prompt", "chosen" and "rejected".

As the entry point of a SageMaker training job it reads the channels train and, where there
are such, test, model and config, and saves to the job's model folder; its hyperparameters
are the options below. Any option may stand in a YAML file, --config.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectrum_tui.freeze import Frozen
    from spectrum_tui.jobs.options import Options

# -- what is trained, and of which model ---------------------------------------
MODEL = ""
REVISION = ""
MODEL_CLASS = ""
RECIPE = ""
NAMES: tuple[str, ...] = ()
ASSUMED: tuple[str, ...] = ()
# -- end -----------------------------------------------------------------------

TRAINERS = {"sft": ("SFTConfig", "SFTTrainer"), "dpo": ("DPOConfig", "DPOTrainer")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, load, freeze, train, save, and say what was trained."""
    if RECIPE:  # a job has with it what it needs of spectrum-tui
        sys.path.insert(0, str(Path(__file__).resolve().parent))
    from spectrum_tui.core.errors import SpectrumError
    from spectrum_tui.jobs.options import help_text, read_options

    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in given or "-h" in given:
        sys.stdout.write(help_text(__doc__ or ""))
        return
    try:
        run(read_options(given, model=MODEL, revision=REVISION, tasks=TRAINERS))
    except SpectrumError as error:
        sys.exit(str(error))


def run(options: Options) -> None:
    """Load, freeze, train; raises SpectrumError."""
    import trl

    from spectrum_tui.jobs.arguments import trainer_arguments
    from spectrum_tui.jobs.loading import is_sharded, load_once, prepare_sharding
    from spectrum_tui.jobs.training import train

    config, trainer = (getattr(trl, name) for name in TRAINERS[options.task])
    # The configuration starts torch.distributed: with it only one process reads the weights.
    settings = trainer_arguments(config, options, precompute_ref_log_probs=True)
    prepare_sharding(settings)
    sharded = is_sharded(settings)
    model = load_once(lambda: load_model(options), sharded=sharded, device=settings.device)
    frozen = freeze_model(model, options)
    train(lambda changes: make(trainer, model, settings, options, changes), options, frozen)


def load_model(options: Options) -> Any:
    """Return the model, of the class whose parameter names these are."""
    import torch
    import transformers

    from spectrum_tui.core.errors import SpectrumError

    chosen = getattr(transformers, MODEL_CLASS, transformers.AutoModelForCausalLM)
    try:
        return chosen.from_pretrained(
            options.model,
            revision=options.revision,
            dtype=getattr(torch, options.dtype),
            trust_remote_code=False,
        )
    except (OSError, ValueError, ImportError) as error:
        raise SpectrumError(f"{options.model} cannot be loaded: {error}.") from error


def freeze_model(model: Any, options: Options) -> Frozen | None:
    """Leave only what is named trainable; None where all of the model trains."""
    from spectrum_tui.jobs.training import freeze, say

    if not options.enable_spectrum:
        say("training all of the model: enable_spectrum is false")
        return None
    recipe = options.recipe or (RECIPE and str(Path(__file__).resolve().parent / RECIPE))
    return freeze(model, recipe or NAMES, assumed=ASSUMED)


def make(trainer: Any, model: Any, settings: Any, options: Options, changes: Any) -> Any:
    """Return TRL's trainer of the model on the data."""
    from transformers import AutoTokenizer

    from spectrum_tui.jobs.data import load_data

    return trainer(
        model=model,
        args=settings,
        train_dataset=load_data(options.train, options.task),
        eval_dataset=load_data(options.test, options.task) if options.test else None,
        processing_class=AutoTokenizer.from_pretrained(options.model, revision=options.revision),
        callbacks=[changes],
    )


if __name__ == "__main__":
    main()
