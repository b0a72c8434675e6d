"""Parquet files, as pyarrow of the extra `train` writes and reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from spectrum_tui.core.dataset.examples import Example, Message
from spectrum_tui.core.dataset.reading import read_dataset
from spectrum_tui.core.errors import DataError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def write(path: Path, columns: Mapping[str, Any]) -> str:
    parquet.write_table(pyarrow.table(columns), path, row_group_size=7)
    return str(path)


def test_texts_with_other_columns_beside_them(tmp_path: Path) -> None:
    texts = [f"Text {n}" for n in range(2500)]
    file = write(tmp_path / "a.parquet", {"id": list(range(2500)), "text": texts})
    found = read_dataset([file])
    assert [one.text for one in found.examples] == texts


def test_chats_and_answers_are_nested(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    chat = read_dataset([write(tmp_path / "a.parquet", {"messages": [turns]})])
    expected = (Message(role="user", content="Hi"), Message(role="assistant", content="Hello"))
    assert chat.examples == (Example(messages=expected),)
    squad = {"context": ["It is 3."], "question": ["What?"], "answers": [{"text": ["3"]}]}
    assert read_dataset([write(tmp_path / "b.parquet", squad)]).examples[0].completion == " 3"


def test_optional_columns_may_be_missing(tmp_path: Path) -> None:
    columns = {"instruction": ["Go."], "output": ["Gone"], "id": [1]}
    (one,) = read_dataset([write(tmp_path / "a.parquet", columns)]).examples
    assert one.completion == "Gone"


def test_a_missing_text_is_counted_by_its_row(tmp_path: Path) -> None:
    texts: list[str | None] = ["x"] * 1500
    texts[1200] = None
    found = read_dataset([write(tmp_path / "a.parquet", {"text": texts})])
    assert found.skipped == 1
    assert found.problem.endswith("row 1201: its text is missing")


def test_what_is_no_data(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"image": [b"x"], "label": [1]})
    with pytest.raises(DataError, match="but image, label"):
        read_dataset([file])
    data = Path(write(tmp_path / "b.parquet", {"text": ["x"] * 100})).read_bytes()
    for damaged in (data[:-20], data[:10] + b"\xff" * 20 + data[30:], b"PAR1" * 3):
        (tmp_path / "c.parquet").write_bytes(damaged)
        with pytest.raises(DataError, match="not readable Parquet"):
            read_dataset([str(tmp_path / "c.parquet")])
    with pytest.raises(DataError, match="is empty"):
        read_dataset([write(tmp_path / "d.parquet", {"text": []})])


@pytest.mark.parametrize("column", ["text", "sentence"])
def test_every_recording_of_a_table_is_read(tmp_path: Path, column: str) -> None:
    names = [f"{n}.wav" for n in range(3)]
    table = {"path": names, column: ["one", "two", "three"], "id": [1, 2, 3]}
    found = read_dataset([write(tmp_path / "a.parquet", table)], media=True)
    assert found.form == "audio"
    assert [Path(one.file).name for one in found.examples] == names
    assert [one.text for one in found.examples] == ["one", "two", "three"]
