"""Fine-tunes the layers that Spectrum selected, and freezes the rest.

    python -P THIS_FILE --model org/name --train data.jsonl --output-dir trained

Needs the packages spectrum-tui, trl (1.0 or later) and datasets. Data are files of JSON
lines, JSON, Parquet or CSV, or a folder that datasets saved, with what TRL takes: a
column "messages", "text", or "prompt" and "completion".

As the entry point of a SageMaker training job it reads the channels train and, where
there are such, test, model and config, and saves to the job's model folder; its
hyperparameters are the options below, and a requirements.txt beside it names those
packages. Any option may stand in a YAML file, --config; what is given on the command
line counts more.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# -- what is trained, and of which model ---------------------------------------
MODEL = ""
REVISION = ""
MODEL_CLASS = ""
NAMES: tuple[str, ...] = ()
ASSUMED: tuple[str, ...] = ()
# -- end -----------------------------------------------------------------------

READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
"""Which reader of the package `datasets` takes a file."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, train, save."""
    options = read_options(sys.argv[1:] if arguments is None else arguments)
    model = load_model(options)
    freeze(model)
    train(model, options)


def say(text: str) -> None:
    """One line in the log, of the first process of several."""
    if os.environ.get("RANK", "0") == "0":
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


# -- options -------------------------------------------------------------------


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the command line, before it what a YAML file says, before that a job's environment."""
    given = [with_dashes(argument) for argument in arguments]
    parser = make_parser()
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", default=environment("SM_CHANNEL_CONFIG"))
    config = first.parse_known_args(given)[0].config
    options = parser.parse_args([*(from_yaml(config, parser) if config else ()), *given])
    if not options.model:
        parser.error("say which model: --model, or a channel of that name")
    if not options.train:
        parser.error("say where the data are: --train, or a channel of that name")
    scored = REVISION if options.model == MODEL else ""
    options.revision = options.revision or scored or "main"
    below = Path(options.output_dir) / "checkpoints"
    options.checkpoint_dir = options.checkpoint_dir or str(below)
    return options


def with_dashes(argument: str) -> str:
    """Hyperparameters are often spelled with underscores: --batch_size is --batch-size."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


def from_yaml(path: str, parser: argparse.ArgumentParser) -> list[str]:
    """Return a YAML file of options, or the only one in a folder, as a command line."""
    import yaml

    place = Path(path)
    found = sorted(place.glob("*.y*ml")) if place.is_dir() else [place]
    if len(found) != 1:
        parser.error(f"{path} holds {len(found)} YAML files: name the one that is meant")
    try:
        values = yaml.safe_load(found[0].read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        parser.error(f"{found[0]} cannot be read: {' '.join(str(error).split())}")
    if not isinstance(values, dict):
        parser.error(f"{found[0]} is not a mapping of options to values")
    for name, value in values.items():
        if isinstance(value, (dict, list)):
            parser.error(f"{found[0]}: {name} is not a plain value")
    plain = {name: value for name, value in values.items() if value is not None}
    return [with_dashes(f"--{name}={value}") for name, value in plain.items()]


def yes_or_no(text: str) -> bool:
    """Return a hyperparameter arrives as text: true, false, yes, no, 1 or 0."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError("true or false")
    return words[text.lower()]


def environment(*names: str) -> str:
    """Return the first of these variables that is set."""
    return next(filter(None, map(os.environ.get, names)), "")


def make_parser() -> argparse.ArgumentParser:
    """Every option, with what a training job has in its place."""
    output = environment("SM_MODEL_DIR") or "trained"
    checkpoints = environment("SM_OUTPUT_DATA_DIR")
    test = environment("SM_CHANNEL_TEST", "SM_CHANNEL_VALIDATION")
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def add(name: str, default: Any, what: str, kind: Any = str, **more: Any) -> None:
        shown = "" if default == "" else f" ({default})".lower().replace("%", "%%")
        short = None if "choices" in more else name.rpartition("-")[2].upper()
        more |= {"default": default, "type": kind, "metavar": short, "help": what + shown}
        parser.add_argument(f"--{name}", **more)

    add("config", "", "a YAML file of these options")
    add("model", environment("SM_CHANNEL_MODEL") or MODEL, "folder or Hugging Face id")
    add("revision", "", "branch, tag or commit of the model (the one that was scored)")
    train = environment("SM_CHANNEL_TRAIN", "SM_CHANNEL_TRAINING")
    add("train", train, "a data file, or a folder of them")
    add("test", test, "the same for evaluation, after each epoch")
    add("output-dir", output, "where the trained model goes")
    add("checkpoint-dir", checkpoints, "where checkpoints go, if not below output-dir")
    add("epochs", 1.0, "passes through the data", float)
    add("max-steps", -1, "most steps, -1 for no limit", int)
    add("batch-size", 1, "examples per device at a time", int)
    add("gradient-accumulation-steps", 8, "batches before each optimizer step", int)
    add("learning-rate", 1e-5, "peak learning rate of AdamW", float)
    add("warmup-steps", 0, "steps to reach the peak learning rate", int)
    add("max-length", 1024, "most tokens per example; the rest is cut off", int)
    add("packing", False, "whether to pack several examples into one", yes_or_no)
    types = ("bfloat16", "float32")
    add("dtype", "bfloat16", "type of the weights", choices=types)
    add("gradient-checkpointing", True, "use less memory and more time", yes_or_no)
    add("logging-steps", 10, "steps between log lines", int)
    add("save-steps", 0, "steps between checkpoints, 0 for none", int)
    add("report-to", "none", "where metrics are sent, such as wandb")
    add("seed", 42, "seed of all random numbers", int)
    return parser


# -- the model -----------------------------------------------------------------


def load_model(options: argparse.Namespace) -> Any:
    """Return the model, of the class whose parameter names NAMES are."""
    import torch
    import transformers

    chosen = getattr(transformers, MODEL_CLASS, transformers.AutoModelForCausalLM)
    return chosen.from_pretrained(
        options.model,
        revision=options.revision,
        dtype=getattr(torch, options.dtype),
        trust_remote_code=False,
    )


def freeze(model: Any) -> None:
    """Leave only NAMES trainable; say how much that is, and end where it is not what was meant.

    Before anything wraps the model: FSDP, torch.compile and PEFT change the names.
    """
    from spectrum_tui.freeze import SpectrumError, freeze_except

    try:
        frozen = freeze_except(model, NAMES)
    except SpectrumError as error:
        sys.exit(str(error))
    missing = [name for name in frozen.unmatched if name not in ASSUMED]
    if missing:
        sys.exit(
            f"{len(missing)} of {len(NAMES)} names are not in this model, first {missing[0]}: "
            "it is another one, or another version of transformers. Scan it again."
        )
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if not trainable:
        sys.exit("Nothing of this model would train.")
    total = sum(p.numel() for p in model.parameters())
    say(f"training {trainable:,} of {total:,} parameters, {trainable / total:.2%}")


# -- training ------------------------------------------------------------------


def train(model: Any, options: argparse.Namespace) -> None:
    """Train on the data, and save model and tokenizer."""
    from transformers import AutoTokenizer
    from trl import SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(options.model, revision=options.revision)
    trainer = SFTTrainer(
        model=model,
        args=training_arguments(options),
        train_dataset=load_data(options.train),
        eval_dataset=load_data(options.test) if options.test else None,
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(options.output_dir)
    say(f"saved to {options.output_dir}")


def training_arguments(options: argparse.Namespace) -> Any:
    """Return the options as TRL calls them."""
    import torch
    from trl import SFTConfig

    return SFTConfig(
        output_dir=options.checkpoint_dir,
        num_train_epochs=options.epochs,
        max_steps=options.max_steps,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=options.batch_size,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        learning_rate=options.learning_rate,
        warmup_steps=options.warmup_steps,
        max_length=options.max_length,
        packing=options.packing,
        bf16=options.dtype == "bfloat16" and torch.cuda.is_available(),
        gradient_checkpointing=options.gradient_checkpointing,
        # Reentrant checkpoints give no gradient to what lies above frozen embeddings.
        gradient_checkpointing_kwargs={"use_reentrant": False},
        logging_steps=options.logging_steps,
        eval_strategy="epoch" if options.test else "no",
        save_strategy="steps" if options.save_steps else "no",
        save_steps=options.save_steps or 500,
        report_to=options.report_to,
        seed=options.seed,
    )


def load_data(place: str) -> Any:
    """Return a data file, all that are in a folder, or a folder that datasets saved."""
    from datasets import load_dataset, load_from_disk

    path = Path(place)
    if (path / "state.json").is_file():
        return load_from_disk(place)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [file for file in files if file.suffix in READERS and file.is_file()]
    readers = {READERS[file.suffix] for file in files}
    if len(readers) != 1:
        kinds = ", ".join(READERS)
        sys.exit(f"{place} must be a file, or hold files of one kind: {kinds}.")
    names = [str(file) for file in files]
    return load_dataset(readers.pop(), data_files=names, split="train")


if __name__ == "__main__":
    main()
