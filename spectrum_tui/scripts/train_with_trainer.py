"""Fine-tunes the layers that Spectrum selected of a model for images, labels, translation or
speech, and freezes the rest.

    python -P THIS_FILE --model org/name --train DATA --output-dir trained

Needs the packages spectrum-tui, accelerate and datasets, for images pillow. DATA is, for
images, a folder with a folder for each class; for labels, files with "text" and "label"; for
one text into another, "prompt" and "completion" or "question" and "answer"; for speech,
"audio" (WAV files beside the data) and "text". A head whose labels are new is made, and trains.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectrum_tui.freeze import Frozen
    from spectrum_tui.jobs.options import Options
    from spectrum_tui.jobs.tasks import Task

# -- what is trained, and of which model ---------------------------------------
MODEL = ""
REVISION = ""
MODEL_CLASS = ""
TASK = ""
NAMES: tuple[str, ...] = ()
ASSUMED: tuple[str, ...] = ()
# -- end -----------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, load, freeze, train, save, and say what was trained."""
    from spectrum_tui.core.errors import SpectrumError
    from spectrum_tui.jobs.options import help_text, read_options

    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in given or "-h" in given:
        sys.stdout.write(help_text(__doc__ or ""))
        return
    try:
        run(read_options(given, model=MODEL, revision=REVISION, tasks=(TASK,), dtype="float32"))
    except SpectrumError as error:
        sys.exit(str(error))


def run(options: Options) -> None:
    """Load, freeze, train; raises SpectrumError."""
    import torch
    from transformers import TrainingArguments

    from spectrum_tui.jobs.arguments import trainer_arguments
    from spectrum_tui.jobs.loading import is_sharded, load_once, prepare_sharding
    from spectrum_tui.jobs.tasks import TASKS
    from spectrum_tui.jobs.training import train

    task = TASKS[TASK]
    settings = trainer_arguments(
        TrainingArguments,
        options,
        gradient_checkpointing=False,
        remove_unused_columns=False,
        bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
    )
    prepare_sharding(settings)
    rows = task.rows(options.train)
    sharded, device = is_sharded(settings), settings.device
    model = load_once(lambda: load_model(task, rows, options), sharded=sharded, device=device)
    frozen = freeze_model(model, options)
    train(lambda changes: make(task, rows, model, settings, options, changes), options, frozen)


def load_model(task: Task, rows: Any, options: Options) -> Any:
    """Return the model, of the class whose parameter names these are, with a head for the labels
    of the data."""
    import torch
    import transformers

    from spectrum_tui.core.errors import SpectrumError
    from spectrum_tui.jobs.tasks import new_labels

    chosen = getattr(transformers, MODEL_CLASS, getattr(transformers, task.auto))
    where = {"revision": options.revision, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(options.model, **where)
        head = new_labels(task.labels(rows), config.label2id or {})
        dtype = getattr(torch, options.dtype)
        return chosen.from_pretrained(options.model, dtype=dtype, **where, **head)
    except (OSError, ValueError, ImportError) as error:
        raise SpectrumError(f"{options.model} cannot be loaded: {error}.") from error


def freeze_model(model: Any, options: Options) -> Frozen | None:
    """Leave only what is named trainable, and a new head; None where all of the model trains."""
    from spectrum_tui.jobs.training import freeze, say

    if not options.enable_spectrum:
        say("training all of the model: enable_spectrum is false")
        return None
    return freeze(model, options.recipe or NAMES, assumed=ASSUMED, new=True)


def make(task: Task, rows: Any, model: Any, settings: Any, options: Options, changes: Any) -> Any:
    """Return the trainer of the model on the data."""
    import transformers

    from spectrum_tui.jobs.tasks import check_labels

    chosen = getattr(transformers, task.processor)
    processor = chosen.from_pretrained(options.model, revision=options.revision)
    ids = model.config.label2id or {}
    test = task.rows(options.test) if options.test else None
    if test is not None:
        check_labels(task, test, ids, options.test)
    return transformers.Trainer(
        model=model,
        args=settings,
        train_dataset=rows.with_transform(task.encoded(processor, ids, options.train)),
        eval_dataset=test and test.with_transform(task.encoded(processor, ids, options.test)),
        processing_class=processor,
        data_collator=task.collator(processor, model),
        callbacks=[changes],
    )


if __name__ == "__main__":
    main()
