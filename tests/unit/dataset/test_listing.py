"""What completes a path to texts."""

from __future__ import annotations

from pathlib import Path

from spectrum_tui.core.dataset.listing import data_in, going_on


def test_folders_and_what_can_be_read(tmp_path: Path) -> None:
    for name in (
        "b10.jsonl",
        "b9.jsonl",
        "c.txt.gz",
        "model.safetensors",
        ".hidden.txt",
        "a\n.txt",
    ):
        (tmp_path / name).touch()
    (tmp_path / "texts").mkdir()
    (tmp_path / ".git").mkdir()
    names = ("b9.jsonl", "b10.jsonl", "c.txt.gz", "texts/")
    assert data_in(f"{tmp_path}/") == tuple(f"{tmp_path}/{name}" for name in names)


def test_what_cannot_be_looked_at_is_empty(tmp_path: Path) -> None:
    assert data_in(f"{tmp_path}/nothing/") == () == data_in("\0")


def test_what_goes_on() -> None:
    assert going_on("bui", ()) == "builtin:pydoc"
    assert going_on("da", ("a.txt", "data/", "data.jsonl")) == "data/"
    assert going_on("", ("a.txt",)) is None
    assert going_on("x", ("a.txt",)) is None
