"""Examples that a process of ours gets from another: exactly the same, or an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectrum_tui.core.dataset.examples import Example, Message
from spectrum_tui.core.dataset.kept_examples import digest_of, read_examples, write_examples
from spectrum_tui.core.errors import DataError, OutputError

EXAMPLES = st.builds(
    Example,
    text=st.text(),
    prompt=st.text(),
    completion=st.text(),
    messages=st.lists(st.builds(Message, role=st.text(), content=st.text()), max_size=3).map(tuple),
    file=st.text(),
    label=st.text(),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(examples=st.lists(EXAMPLES, max_size=4).map(tuple))
def test_examples_come_back_as_they_were(tmp_path: Path, examples: tuple[Example, ...]) -> None:
    path = tmp_path / "train.jsonl"
    digest = write_examples(path, examples)
    assert digest == digest_of(examples)
    assert read_examples(path, digest) == examples
    assert path.read_bytes().count(b"\n") == len(examples)


def test_a_changed_or_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    digest = write_examples(path, [Example(text="One"), Example(text="Two")])
    path.write_bytes(path.read_bytes().replace(b"Two", b"Too"))
    with pytest.raises(DataError, match="has changed since it was written"):
        read_examples(path, digest)
    path.unlink()
    with pytest.raises(DataError, match="Cannot read"):
        read_examples(path, digest)


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"text": 3}', '{"txt": "x"}', '{"messages": [["a"]]}']
)
def test_what_we_did_not_write_is_refused_whatever_its_digest(tmp_path: Path, line: str) -> None:
    import hashlib

    path = tmp_path / "train.jsonl"
    path.write_text(line)
    with pytest.raises(DataError):
        read_examples(path, hashlib.sha256(line.encode()).hexdigest())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_examples(tmp_path / "file" / "train.jsonl", [])
