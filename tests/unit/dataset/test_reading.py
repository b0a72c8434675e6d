"""Data files as people have them: whole, damaged, in another encoding, or no data at all."""

from __future__ import annotations

import errno
import gzip
import json
import os
import select
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spectrum_tui.core import disk
from spectrum_tui.core.dataset import reading
from spectrum_tui.core.dataset.examples import Dataset, Example
from spectrum_tui.core.dataset.formats import READERS
from spectrum_tui.core.dataset.reading import read_dataset
from spectrum_tui.core.errors import DataError

TEXTS = ("One.", "Zwei: ä\u2028ß", 'A "quoted",\nsecond; line\t', "四 😀")


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def rows(texts: tuple[str, ...] = TEXTS) -> list[dict[str, str]]:
    return [{"text": text} for text in texts]


def read(path: Path, data: bytes) -> Dataset:
    path.write_bytes(data)
    return read_dataset([str(path)])


def refused(path: Path, data: bytes | None = None) -> str:
    """What is said, which is one line."""
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_dataset([str(path)])
    assert caught.value.field == "data"
    return str(caught.value)


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


CSV = "\n".join(("text,label", *(f"{quoted(text)},1" for text in TEXTS)))


# -- kinds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf", "utf-16"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", lines(rows())),
        ("a.jsonl", lines(rows()).replace(b"\n", b"\r\n\r\n").rstrip()),
        ("A.NDJSON", lines(rows())),
        ("a.json", json.dumps(rows(), indent=1).encode()),
        ("a.json", lines(rows())),
        ("a.json", json.dumps({"data": rows(), "version": 1}).encode()),
        ("a.csv", CSV.encode()),
        ("a.csv", CSV.replace('",1', '";1').replace("t,l", "t;l").encode()),
        ("a.tsv", CSV.replace('",1', '"\t1').replace("t,l", "t\tl").encode()),
        ("pipe", lines(rows())),
        ("pipe", json.dumps(rows()).encode()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_holds_the_same(
    tmp_path: Path, name: str, data: bytes, packed: bool, bom: bytes | str
) -> None:
    data = data.decode().encode(bom) if isinstance(bom, str) else bom + data
    if name == "pipe" and bom:
        return
    if packed:
        name, data = f"{name}.gz", gzip.compress(data)
    found = read(tmp_path / name, data)
    assert found.examples == tuple(Example(text=text) for text in TEXTS)
    assert (found.form, found.columns, found.skipped) == ("text", ("text",), 0)
    assert found.files == (str(tmp_path / name),)
    again = read_dataset([str(tmp_path / name)])
    assert found == again


def test_a_text_file_is_one_document_with_plain_line_ends(tmp_path: Path) -> None:
    found = read(tmp_path / "a.txt", b"\xef\xbb\xbfOne\r\ntwo\rthree\x0c")
    assert found.examples == (Example(text="One\ntwo\nthree\x0c"),)


def test_the_nested_files_of_squad(tmp_path: Path) -> None:
    asked = [
        {"question": "What is it?", "id": "1", "answers": [{"text": "3", "answer_start": 6}]},
        {"question": "Who?", "id": "2", "answers": [], "is_impossible": True},
    ]
    squad = {"version": "2", "data": [{"paragraphs": [{"context": "It is 3.", "qas": asked}]}]}
    found = read(tmp_path / "dev.json", json.dumps(squad).encode())
    assert [one.completion for one in found.examples] == [" 3", " unanswerable"]
    assert found.form == "question"
    assert found.columns == ("context", "question", "answers")


def test_a_folder_of_texts_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("c.txt", "b/a.md", "a.txt", ".hidden.txt", ".git/x.txt", "code.py"):
        (tmp_path / name).write_text(name)
    (tmp_path / "empty.txt").touch()
    found = read_dataset([str(tmp_path)])
    assert [one.text for one in found.examples] == ["a.txt", "b/a.md", "c.txt"]
    assert found.blank == 1


def test_a_readme_beside_data_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("About the data.")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/b.jsonl").write_bytes(lines(rows(("b",))))
    (tmp_path / "data/a.csv").write_text("text\na\n")
    (tmp_path / "c.jsonl").symlink_to(tmp_path / "data/b.jsonl")  # as in the hub's cache
    found = read_dataset([str(tmp_path)])
    assert [one.text for one in found.examples] == ["b", "a", "b"]


def test_several_files_have_one_digest_wherever_they_lie(tmp_path: Path) -> None:
    one = read(tmp_path / "one.jsonl", lines(rows()))
    (tmp_path / "a.jsonl").write_bytes(lines(rows()[:2]))
    (tmp_path / "b.csv").write_text("text\n" + "\n".join(map(quoted, TEXTS[2:])), encoding="utf-8")
    two = read_dataset([str(tmp_path / "a.jsonl"), str(tmp_path / "b.csv")])
    assert two.digest == one.digest
    assert read(tmp_path / "c.jsonl", lines(rows()[::-1])).digest != one.digest


@pytest.mark.parametrize(("name", "least"), [("pydoc", 70), ("stdlib", 100)])
def test_texts_of_python_itself(name: str, least: int) -> None:
    found = read_dataset([f"builtin:{name}"])
    assert len(found.examples) >= least
    assert found.files == (f"builtin:{name}",)
    assert not found.skipped


def test_an_unknown_builtin_text() -> None:
    with pytest.raises(DataError, match="builtin:pydoc and builtin:stdlib"):
        read_dataset(["builtin:poem"])


# -- bad lines ---------------------------------------------------------------------------------


def test_a_bad_line_in_a_hundred_is_skipped_and_counted(tmp_path: Path) -> None:
    good = lines(rows(tuple(map(str, range(99)))))
    found = read(tmp_path / "a.jsonl", b'{"text": \n' + good)
    assert len(found.examples) == 99
    assert found.skipped == 1
    assert found.problem.startswith(f"{tmp_path / 'a.jsonl'}, line 1: it is not readable JSON")
    said = refused(tmp_path / "b.jsonl", good + b'["text"]\n{"text": 3}\n')
    assert said.startswith("2 of 101 lines cannot be read as examples, the first: ")
    assert "line 100: it is not an object with columns." in said


def test_blank_documents_are_counted_and_no_damage(tmp_path: Path) -> None:
    found = read(tmp_path / "wiki.jsonl", lines(rows(("", " = Title = ", "\n", "Prose."))))
    assert (found.blank, found.skipped, len(found.examples)) == (2, 0, 2)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b'{"text": ' + b"7" * 5000 + b"}", "Exceeds the limit"),
        (b'{"text": NaN}', "a number"),
        (b'{"text": "\\ud800"}', "half a surrogate pair"),
        (b'{"text": "a\\u0000"}', "a NUL character"),
        (b'{"text": "a\0"}', "control character"),
        (b'{"other": "a"}', "it has no text"),
        (b"null", "not an object"),
        (b"\0" * 4096, "not readable JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_lines_are_skipped(tmp_path: Path, bad: bytes, reason: str) -> None:
    good = lines(rows(tuple(map(str, range(99)))))
    found = read(tmp_path / "a.jsonl", good + bad + b"\n")
    assert (len(found.examples), found.skipped) == (99, 1)
    assert "line 100: " in found.problem
    assert reason in found.problem


def test_bad_rows_of_csv_are_counted_by_their_line(tmp_path: Path) -> None:
    good = "".join(f'"two\nlines {n}",x\n' for n in range(200))
    found = read(tmp_path / "a.csv", f'text,label\n{good}a,b,c\n"a"b,x\n'.encode())
    assert (len(found.examples), found.skipped) == (200, 2)
    assert "line 402: it has 3 columns, the first line 2" in found.problem
    unended = read(tmp_path / "b.csv", f'text,label\n{good}"never ended,x\n{good}'.encode())
    assert (len(unended.examples), unended.skipped) == (400, 1)


# -- no data -----------------------------------------------------------------------------------


def test_other_columns_are_named_with_those_that_are_known(tmp_path: Path) -> None:
    said = refused(tmp_path / "a.jsonl", lines([{f"c{n}": "x" for n in range(12)}] * 2))
    assert "none of the columns that are read, but c0, c1," in said
    assert "c9 and 2 more." in said
    assert "prompt and completion; instruction and output; context and question and" in said


def test_files_of_different_forms_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(rows()))
    (tmp_path / "b.jsonl").write_bytes(lines([{"prompt": "a", "completion": "b"}]))
    assert "holds prompt and completion, but" in refused(tmp_path)


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize("data", [b"", b"\n \r\n", b"\0\0\0\0", b"\xff\xfe", b"caf\xe9", b"PAR1\0"])
def test_an_empty_or_foreign_file_is_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    assert "\n" not in refused(tmp_path / f"a{name}", data)


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.json", "a.jsonl"])
def test_another_encoding_is_refused_with_the_place_and_the_way_out(
    tmp_path: Path, name: str
) -> None:
    data = lines(rows(("ok",))) + '{"text": "café"}'.encode("latin-1")
    said = refused(tmp_path / name, b"\xef\xbb\xbf" + data)
    assert f"is not UTF-8: its byte {data.index(0xE9) + 3} is 0xe9" in said
    assert f"iconv -f latin1 -t utf-8 {name} > utf8.txt" in said


def test_utf16_without_a_mark_is_named(tmp_path: Path) -> None:
    assert "its character 1 is NUL" in refused(tmp_path / "a.txt", "ab".encode("utf-16-le"))


def test_damaged_gzip(tmp_path: Path) -> None:
    packed = gzip.compress(lines(rows()) * 100)
    for data in (packed[:-30], b"nothing", packed[:20] + b"\xff" * 20 + packed[40:]):
        assert "is not readable gzip" in refused(tmp_path / "a.jsonl.gz", data)


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "MOST_KEPT", 1000)
    (tmp_path / "few").mkdir()
    for n in range(11):
        (tmp_path / f"few/{n}.txt").write_text("x" * 100)
    assert "head -n 100000" in refused(tmp_path / "few")
    monkeypatch.setattr(reading, "_MOST_FILES", 10)
    assert "holds more than 10 files" in refused(tmp_path / "few")
    assert "unpacked" in refused(tmp_path / "a.txt.gz", gzip.compress(b"x" * 5000))


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = refused(tmp_path / "a.parquet", b"PAR1")
    assert "pip install 'spectrum-tui[train]'" in said


def test_places_without_data(tmp_path: Path) -> None:
    (tmp_path / "code.py").touch()
    assert "holds no data" in refused(tmp_path)
    assert "There is no file" in refused(tmp_path / "missing.jsonl")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    assert "There is no file" in refused(tmp_path)
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    assert os.strerror(errno.ELOOP) in refused(tmp_path / "loop.txt")
    assert "is none of the kinds that are read" in refused(tmp_path / "a.pdf", b"%PDF")
    for name in ("", "a\0b.txt", "x" * 300, "/dev/null", str(tmp_path / "code.py" / "a.txt")):
        with pytest.raises(DataError):
            read_dataset([name])


def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "a.txt").write_text("x")
    monkeypatch.setattr(os, "scandir", denied)
    assert os.strerror(errno.EACCES) in refused(tmp_path)
    monkeypatch.setattr(os, "open", denied)
    assert os.strerror(errno.EACCES) in refused(tmp_path / "a.txt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """Also what is written only after the first half was read."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Open at both ends from the start: neither side waits for the other to open it.
    watch = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(pipe, os.O_WRONLY)
    data = lines(rows())
    half = len(data) // 2
    os.write(writer, data[:half])

    def write_the_rest() -> None:
        deadline = time.monotonic() + 20
        while select.select([watch], [], [], 0)[0] and time.monotonic() < deadline:
            time.sleep(0.001)
        os.write(writer, data[half:])
        os.close(writer)

    thread = threading.Thread(target=write_the_rest)
    thread.start()
    try:
        assert len(read_dataset([str(pipe)]).examples) == len(TEXTS)
    finally:
        thread.join()
        os.close(watch)


# -- whatever comes ----------------------------------------------------------------------------


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "messages", "role", "content", "paragraphs"]), inner
        )
    ),
    max_leaves=8,
)
ANY_FILE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@ANY_FILE
@given(name=st.sampled_from(sorted(READERS)), data=st.binary(max_size=60), packed=st.booleans())
@example(name=".csv", data=b'\x00"', packed=False)
def test_any_bytes_are_examples_or_one_line(
    tmp_path: Path, name: str, data: bytes, packed: bool
) -> None:
    _examples_or_a_line(
        tmp_path / f"a{name}{'.gz' * packed}", gzip.compress(data) if packed else data
    )


@ANY_FILE
@given(name=st.sampled_from([".json", ".jsonl"]), value=JSON)
def test_any_json_is_examples_or_one_line(tmp_path: Path, name: str, value: Any) -> None:
    _examples_or_a_line(tmp_path / f"a{name}", json.dumps(value).encode())


def _examples_or_a_line(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        found = read_dataset([str(path)])
    except DataError as exc:
        assert str(exc).isprintable()
    else:
        assert all(one.characters.strip() for one in found.examples)
