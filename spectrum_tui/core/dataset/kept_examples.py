"""Examples as a file of ours holds them: JSON lines, exact, with a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from spectrum_tui.core import disk, files, json_text
from spectrum_tui.core.conforming import conforms
from spectrum_tui.core.dataset.examples import Example, Message
from spectrum_tui.core.errors import DataError, reason_of


def digest_of(examples: Iterable[Example]) -> str:
    """Return the SHA-256 of examples in their order, in hexadecimal: that of the file in which
    `write_examples` keeps them."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(_line(example))
    return digest.hexdigest()


def write_examples(path: Path, examples: Iterable[Example]) -> str:
    """Write one example a line, in one step, and return their digest; raises OutputError."""
    digest = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        for example in examples:
            line = _line(example)
            digest.update(line)
            yield line

    files.write_pieces(path, pieces())
    return digest.hexdigest()


def read_examples(path: Path, digest: str) -> tuple[Example, ...]:
    """Return the examples that `write_examples` wrote under this digest; raises DataError for
    anything else."""
    try:
        data = disk.read_regular(path)
    except OSError as exc:
        raise DataError(f"Cannot read {path}: {reason_of(exc)}.", field="data") from None
    if hashlib.sha256(data).hexdigest() == digest:
        try:
            return tuple(map(_example, data.splitlines()))
        except json_text.WRONG_SHAPE:
            pass
    raise DataError(f"{path} has changed since it was written.", "Start again.", field="data")


def _line(example: Example) -> bytes:
    data: dict[str, Any] = {
        name: value
        for name in ("text", "prompt", "completion", "file", "label")
        if (value := getattr(example, name))
    }
    if example.messages:
        data["messages"] = [[turn.role, turn.content] for turn in example.messages]
    return json.dumps(data, ensure_ascii=False).encode("utf-8") + b"\n"


def _example(line: bytes) -> Example:
    data = json.loads(line)
    turns = data.pop("messages", [])
    messages = tuple(Message(role=role, content=content) for role, content in turns)
    example = Example(**data, messages=messages)
    if not conforms(example, Example):
        raise ValueError(line[:100])
    return example
