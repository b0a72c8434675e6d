"""What stands beside a merged model's weights: its configuration, its tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrum_tui.core import disk
from spectrum_tui.core.checkpoint.headers import ADAPTER_FILE
from spectrum_tui.core.checkpoint.shards import INDEX_FILE
from spectrum_tui.core.errors import CheckpointError, reason_of
from spectrum_tui.core.recipes.peft_config import CLASS_TASKS

if TYPE_CHECKING:
    from spectrum_tui.core.adapters.merging import Merge

_KEPT = re.compile(
    r".*\.(json|txt|model|jinja|py|tiktoken|spm|vocab|bpe)|(LICENSE|NOTICE|USE_POLICY).*",
    re.IGNORECASE | re.DOTALL,
)
"""Names of the base's files that a model needs beside its weights, and its terms."""
_QUANTISED = {"quantize_config.json", "hf_quant_config.json"}
_NOT_KEPT = {"config.json", INDEX_FILE, ADAPTER_FILE, *_QUANTISED}
_OF_THE_TEXT = re.compile(
    r"(tokenizer.*|special_tokens_map|added_tokens|vocab|chat_template|preprocessor_config"
    r"|processor_config|video_preprocessor_config)\.json"
    r"|vocab\.txt|merges\.txt|.*\.(model|jinja|tiktoken|spm)"
)
"""What an adapter's folder may have of its own: a training saves the tokenizer that it used."""
_LARGEST = 2**28
_HEADS = {task: ending for ending, task in CLASS_TASKS}
_CLASS_ENDS = ("LMHeadModel", "Model")


def files_beside(base: Path, adapter: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the files that a merged model takes over; those of the adapter's
    folder win. Raises CheckpointError for one that cannot be read."""
    own = {name for name in _files(adapter) if _OF_THE_TEXT.fullmatch(name)}
    for name in sorted(_files(base)):
        if _KEPT.fullmatch(name) and name not in own | _NOT_KEPT and not name.startswith("."):
            yield name, _read(base / name)
    for name in sorted(own):
        yield name, _read(adapter / name)


def _files(folder: Path) -> list[str]:
    try:
        return [name for name in disk.names_in(folder) if (folder / name).is_file()]
    except OSError as exc:
        raise _unreadable(folder, exc) from None


def _read(path: Path) -> bytes:
    try:
        return disk.read_regular(path, _LARGEST)
    except OSError as exc:
        raise _unreadable(path, exc) from None


def _unreadable(path: Path, exc: OSError) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read ({reason_of(exc)}).", "Check its permissions.", field="model"
    )


def merged_config(merge: Merge) -> str:
    """Return the base's config.json with what is different of the merged model."""
    config: dict[str, Any] = json.loads(json.dumps(merge.checkpoint.config))
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    if merge.dequantised:
        for part in parts:
            part.pop("quantization_config", None)
            part.pop("compression_config", None)
    if merge.untied:
        _set(parts, "tie_word_embeddings", False)
        config["tie_word_embeddings"] = False
    if merge.rows:
        _set(parts, "vocab_size", merge.rows)
    if merge.new:
        _as_of_the_task(config, merge)
    return json.dumps(config, indent=2, ensure_ascii=True) + "\n"


def _set(parts: list[dict[str, Any]], name: str, value: object) -> None:
    for part in parts:
        if name in part:
            part[name] = value


def _as_of_the_task(config: dict[str, Any], merge: Merge) -> None:
    """Name the class with the head that the adapter brings, and as many labels as it has rows."""
    ending = _HEADS.get(merge.adapter.config.task, "")
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else ""
    stem = _stem(first) if isinstance(first, str) else ""
    if not ending or not stem:
        return
    config["architectures"] = [f"{stem}{ending}"]
    rows = {merge.adapter.whole[name].shape[0] for name in merge.new}
    if len(rows) == 1 and ending != _HEADS["QUESTION_ANS"]:
        labels = config.get("id2label")
        count = rows.pop()
        if not isinstance(labels, Mapping) or len(labels) != count:
            config["id2label"] = {str(i): f"LABEL_{i}" for i in range(count)}
            config["label2id"] = {f"LABEL_{i}": i for i in range(count)}


def _stem(model_class: str) -> str:
    """Return what the names of all classes of an architecture begin with."""
    stem = model_class.partition("For")[0]
    for end in _CLASS_ENDS:
        stem = stem.removesuffix(end)
    return stem
