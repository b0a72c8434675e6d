"""Starts the training job in this folder on SageMaker, with the SDK's ModelTrainer.

    pip install sagemaker
    python -P launch.py --role ARN --train s3://bucket/train --output s3://bucket/models

--train and --test are S3 prefixes, or files and folders here, which the SDK uploads. The job
reads args.yaml through the channel config; an option of train.py that is given here after --
counts more: python -P launch.py … -- --learning-rate 2e-5
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
CONFIG = "/opt/ml/input/data/config/args.yaml"
CHECKPOINTS = "/opt/ml/checkpoints"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, build the job, start it and follow its log."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, more = _split(given)
    options = make_parser().parse_args(own)
    trainer, inputs = build(options, hyperparameters(more))
    trainer.train(input_data_config=inputs, wait=not options.no_wait)


def _split(given: list[str]) -> tuple[list[str], list[str]]:
    at = given.index("--") if "--" in given else len(given)
    return given[:at], given[at + 1 :]


def make_parser() -> argparse.ArgumentParser:
    """Where the job runs, on what, and on which data."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--role", required=True, help="ARN of the role that the job runs under")
    add("--train", required=True, help="S3 prefix or local path of the training data")
    add("--test", help="the same for evaluation")
    add("--model", help="the same of a model, where it comes from no hub")
    add("--output", required=True, help="S3 prefix for the trained model")
    add("--checkpoints", help="S3 prefix of the checkpoints of an earlier job, to go on from it")
    add("--instance-type", default="ml.p4d.24xlarge", help="machine (ml.p4d.24xlarge)")
    add("--instance-count", type=int, default=1, help="how many of them (1)")
    add("--volume-size", type=int, default=500, help="disk in GB (500)")
    add("--image", help="container image, in the place of PyTorch 2.6.0's")
    add("--region", help="AWS region (the session's)")
    add("--spot", action="store_true", help="use spot instances: the job resumes by itself")
    add("--max-hours", type=float, default=10, help="the job ends after this time (10)")
    add("--no-wait", action="store_true", help="do not follow the log")
    return parser


def hyperparameters(more: Sequence[str]) -> dict[str, Any]:
    """Return what the job's command line says: args.yaml, checkpoints, and options after --, read
    as train.py reads them. Ends with a line where one has no name."""
    sys.path.insert(0, str(FOLDER))  # the job has with it what it needs of spectrum-tui
    from spectrum_tui.core.errors import SpectrumError
    from spectrum_tui.jobs.values import from_command_line

    try:
        given = from_command_line(more)
    except SpectrumError as error:
        sys.exit(str(error))
    return {"config": CONFIG, "checkpoint_dir": CHECKPOINTS, **given}


def build(options: argparse.Namespace, values: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Return the ModelTrainer and its input channels."""
    configs, torchrun, model_trainer, image_uris = sdk()
    name = f"spectrum-{time.strftime('%Y%m%d-%H%M%S')}"
    image = options.image or image_uris.retrieve(
        framework="pytorch",
        region=options.region or _region(),
        version="2.6.0",
        instance_type=options.instance_type,
        image_scope="training",
    )
    checkpoints = options.checkpoints or f"{options.output.rstrip('/')}/{name}/checkpoints"
    seconds = round(options.max_hours * 3600)
    trainer = model_trainer(
        training_image=image,
        role=options.role,
        base_job_name=name,
        source_code=configs.SourceCode(
            source_dir=str(FOLDER), requirements="requirements.txt", entry_script="train.py"
        ),
        compute=configs.Compute(
            instance_type=options.instance_type,
            instance_count=options.instance_count,
            volume_size_in_gb=options.volume_size,
            enable_managed_spot_training=options.spot,
        ),
        distributed=torchrun(),
        stopping_condition=configs.StoppingCondition(
            max_runtime_in_seconds=seconds,
            **({"max_wait_time_in_seconds": 2 * seconds} if options.spot else {}),
        ),
        hyperparameters=values,
        output_data_config=configs.OutputDataConfig(s3_output_path=options.output),
        checkpoint_config=configs.CheckpointConfig(s3_uri=checkpoints, local_path=CHECKPOINTS),
    )
    return trainer, channels(configs, options)


def channels(configs: Any, options: argparse.Namespace) -> list[Any]:
    """Return the input channels: train, config, and test and model where they are given."""
    places = {
        "train": options.train,
        "test": options.test,
        "model": options.model,
        "config": str(FOLDER / "args.yaml"),
    }
    return [
        configs.InputData(channel_name=name, data_source=place)
        for name, place in places.items()
        if place
    ]


def sdk() -> tuple[Any, Any, Any, Any]:
    """Return configurations, Torchrun, ModelTrainer and image_uris of the SDK, 3.x or 2.x."""
    try:
        from sagemaker.core import image_uris
        from sagemaker.core.training import configs
        from sagemaker.train.distributed import Torchrun
        from sagemaker.train.model_trainer import ModelTrainer
    except ImportError:
        try:
            from sagemaker import image_uris
            from sagemaker.modules import configs
            from sagemaker.modules.distributed import Torchrun
            from sagemaker.modules.train import ModelTrainer
        except ImportError as error:
            sys.exit(f"The SDK cannot be imported ({error}): pip install -U sagemaker")
    return configs, Torchrun, ModelTrainer, image_uris


def _region() -> str:
    import boto3

    region = boto3.Session().region_name
    if not region:
        sys.exit("No region is configured: give --region.")
    return str(region)


if __name__ == "__main__":
    main()
