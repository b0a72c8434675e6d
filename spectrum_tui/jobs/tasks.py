"""Data and processors of tasks other than writing text: images, labels, translation, speech."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum_tui.core.errors import DataError
from spectrum_tui.jobs.data import load_data, load_rows

Batch = Mapping[str, list[Any]]
Encode = Callable[[Batch], dict[str, Any]]
Collate = Callable[[list[dict[str, Any]]], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """How a task is trained with transformers' Trainer.

    `auto` and `processor` name classes of transformers. `rows` reads the data at a place;
    `labels` returns the names of the classes in them, None where the head has none. `encoded`
    makes a function of a batch of rows to what the model takes, of a processor and the model's
    `label2id`; `collator` makes what puts examples together.
    """

    auto: str
    processor: str
    rows: Callable[[str], Any]
    labels: Callable[[Any], list[str] | None]
    encoded: Callable[[Any, Mapping[str, int], str], Encode]
    collator: Callable[[Any, Any], Collate]


def _column(rows: Any, *names: str, place: str) -> str:
    """Return the first of these columns that there is; raises DataError."""
    found = next((name for name in names if name in rows.column_names), "")
    if not found:
        columns = ", ".join(rows.column_names[:10])
        raise DataError(f"{place} has no column {names[0]}, but {columns}.", "Rename yours.")
    return found


def _no_labels(rows: Any) -> list[str] | None:
    return None


# -- images ------------------------------------------------------------------------------------


def _image_rows(place: str) -> Any:
    """Return the images in a folder with a folder for each class."""
    from datasets import load_dataset

    if not Path(place).is_dir():
        raise DataError(f"{place} is no folder.", "Name one with a folder of images a class.")
    try:
        rows = load_dataset("imagefolder", data_dir=place, split="train")
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{place} cannot be read: {error}.", "Name a folder of images.") from None
    if "label" not in rows.features or "image" not in rows.features:
        raise DataError(f"{place} has no folder for each class.", "Sort the images into folders.")
    return rows


def _image_labels(rows: Any) -> list[str] | None:
    names: list[str] = rows.features["label"].names
    return names


def _images(processor: Any, ids: Mapping[str, int], place: str) -> Encode:
    names = _image_labels(_image_rows(place)) or []

    def encode(batch: Batch) -> dict[str, Any]:
        images = [image.convert("RGB") for image in batch["image"]]
        values = processor(images=images, return_tensors="pt")["pixel_values"]
        labels = [ids[names[label]] for label in batch["label"]]
        return {"pixel_values": list(values), "labels": labels}

    return encode


def _stack(processor: Any, model: Any) -> Collate:
    from transformers import default_data_collator

    collate: Collate = default_data_collator
    return collate


# -- classes of texts --------------------------------------------------------------------------


def _labelled_rows(place: str) -> Any:
    rows = load_rows(place)
    text = _column(rows, "text", "sentence", place=place)
    label = _column(rows, "label", "labels", place=place)
    rows = rows.select_columns([text, label]).rename_columns({text: "text", label: "label"})
    return rows.map(lambda row: {"label": str(row["label"])}, features=None)


def _text_labels(rows: Any) -> list[str] | None:
    return sorted(set(rows["label"]))


def _texts(processor: Any, ids: Mapping[str, int], place: str) -> Encode:
    def encode(batch: Batch) -> dict[str, Any]:
        encoded = dict(processor(batch["text"], truncation=True, max_length=512))
        return {**encoded, "labels": [ids[label] for label in batch["label"]]}

    return encode


def _pad(processor: Any, model: Any) -> Collate:
    from transformers import DataCollatorWithPadding

    collate: Collate = DataCollatorWithPadding(processor)
    return collate


# -- one text into another ---------------------------------------------------------------------


def _pair_rows(place: str) -> Any:
    rows = load_data(place, "sft")
    _column(rows, "prompt", place=place)
    return rows


def _pairs(processor: Any, ids: Mapping[str, int], place: str) -> Encode:
    def encode(batch: Batch) -> dict[str, Any]:
        encoded = processor(
            batch["prompt"], text_target=batch["completion"], truncation=True, max_length=512
        )
        return dict(encoded)

    return encode


def _pad_pairs(processor: Any, model: Any) -> Collate:
    from transformers import DataCollatorForSeq2Seq

    collate: Collate
    collate = DataCollatorForSeq2Seq(processor, model=model)
    return collate


# -- speech ------------------------------------------------------------------------------------


def _speech_rows(place: str) -> Any:
    rows = load_rows(place)
    audio = _column(rows, "audio", "file_name", "file", "path", place=place)
    text = _column(rows, "text", "transcription", "sentence", place=place)
    return rows.select_columns([audio, text]).rename_columns({audio: "audio", text: "text"})


def _speech(processor: Any, ids: Mapping[str, int], place: str) -> Encode:
    folder = Path(place) if Path(place).is_dir() else Path(place).parent
    rate = processor.feature_extractor.sampling_rate

    def encode(batch: Batch) -> dict[str, Any]:
        sounds = [read_sound(folder / name, rate) for name in batch["audio"]]
        heard = processor(audio=sounds, sampling_rate=rate)
        labels = processor.tokenizer(batch["text"])["input_ids"]
        return {**dict(heard), "labels": labels}

    return encode


def read_sound(path: Path, rate: int) -> Any:
    """Return the samples of a WAV file of 16 bits as float32 in -1 to 1, channels averaged; raises
    DataError where it is another file or has another rate."""
    import wave

    import numpy as np

    try:
        with wave.open(str(path), "rb") as file:
            form = file.getsampwidth(), file.getframerate(), file.getnchannels()
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    except (OSError, EOFError, ValueError, wave.Error) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Give WAV files.") from None
    if form[:2] != (2, rate):
        raise DataError(
            f"{path} has {8 * form[0]} bits at {form[1]} Hz.", f"Convert it to 16 bits, {rate} Hz."
        )
    return samples.reshape(-1, form[2]).mean(1).astype(np.float32) / 32768


def _pad_speech(processor: Any, model: Any) -> Collate:
    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        plain = [{k: v for k, v in one.items() if k != "labels"} for one in examples]
        batch = dict(processor.feature_extractor.pad(plain, padding=True, return_tensors="pt"))
        texts = [{"input_ids": one["labels"]} for one in examples]
        padded = processor.tokenizer.pad(texts, padding=True, return_tensors="pt")
        absent = padded["attention_mask"].ne(1)
        return {**batch, "labels": padded["input_ids"].masked_fill(absent, -100)}

    return collate


TASKS = {
    "images": Task(
        auto="AutoModelForImageClassification",
        processor="AutoImageProcessor",
        rows=_image_rows,
        labels=_image_labels,
        encoded=_images,
        collator=_stack,
    ),
    "classes": Task(
        auto="AutoModelForSequenceClassification",
        processor="AutoTokenizer",
        rows=_labelled_rows,
        labels=_text_labels,
        encoded=_texts,
        collator=_pad,
    ),
    "seq2seq": Task(
        auto="AutoModelForSeq2SeqLM",
        processor="AutoTokenizer",
        rows=_pair_rows,
        labels=_no_labels,
        encoded=_pairs,
        collator=_pad_pairs,
    ),
    "speech": Task(
        auto="AutoModelForCTC",
        processor="AutoProcessor",
        rows=_speech_rows,
        labels=_no_labels,
        encoded=_speech,
        collator=_pad_speech,
    ),
}
"""Tasks by their names, as `core/recipes/tasks.py` has them."""


def check_labels(task: Task, rows: Any, known: Mapping[str, int], place: str) -> None:
    """Raise DataError where rows have a label that the model has no class for."""
    for name in task.labels(rows) or ():
        if name not in known:
            raise DataError(f"{place} has the label {name}, which is not in the training data.", "")


def new_labels(wanted: Sequence[str] | None, known: Mapping[str, int]) -> dict[str, Any]:
    """Return what makes a new head for the labels `wanted`; nothing where the model knows them."""
    if wanted is None or set(wanted) <= known.keys():
        return {}
    ids = {name: number for number, name in enumerate(wanted)}
    names = {number: name for name, number in ids.items()}
    return {"label2id": ids, "id2label": names, "ignore_mismatched_sizes": True}
