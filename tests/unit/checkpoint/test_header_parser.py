"""The official safetensors reader is the judge of headers: what it takes we take, with the same
tensors, and what it refuses we refuse in one line."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from spectrum_tui.core.checkpoint.headers import BITS, parse_header, read_header
from spectrum_tui.core.checkpoint.heads import header_length
from spectrum_tui.core.errors import CheckpointError

QUICK = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

Found = dict[str, tuple[str, list[int], bytes]]

NAMES = st.one_of(
    st.sampled_from(["a", "model.layers.0.mlp.down_proj.weight", "layer-0", "", "\x00", "é😀"]),
    st.text(max_size=8),
)
WHOLE = st.one_of(st.integers(0, 4), st.sampled_from([2**32, 2**63, 2**64 - 1, 2**64]))
NUMBERS = st.one_of(WHOLE, st.integers(-2, 9), st.sampled_from([1.0, 1.5, True, None, "1", -0.0]))
JUNK = st.recursive(
    st.one_of(NUMBERS, st.text(max_size=3), st.booleans()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def official(data: bytes) -> Found | None:
    """The tensors of a file as the official reader has them; None for what it refuses."""
    try:
        entries = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError:
        return None
    return {name: (e["dtype"], list(e["shape"]), bytes(e["data"])) for name, e in entries}


def ours(data: bytes) -> Found | None:
    """The same by the parser of headers that came over the network."""
    try:
        length = header_length(data[:8], "x", len(data))
        tensors = parse_header(data[8 : 8 + length], "x", len(data))
    except CheckpointError as exc:
        assert exc.field == "model" and exc.hint and exc.message.startswith("x ")
        return None
    assert [t.start for t in tensors] == sorted(t.start for t in tensors)
    return {t.name: (t.dtype, list(t.shape), data[t.start : t.end]) for t in tensors}


def in_file(path: Path, data: bytes) -> Found | None:
    """The same by the parser of a file."""
    path.write_bytes(data)
    try:
        tensors = read_header(path).tensors
    except CheckpointError:
        return None
    return {t.name: (t.dtype, list(t.shape), data[t.start : t.end]) for t in tensors}


def whole(header: bytes | dict[str, Any], data: bytes, length: int | None = None) -> bytes:
    blob = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(blob) if length is None else length) + blob + data


@st.composite
def headers(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """A right header with its data: tensors in any order in JSON, one after another on disk."""
    header: dict[str, Any] = {}
    at = 0
    for name in draw(st.lists(NAMES.filter(lambda n: n != "__metadata__"), max_size=4)):
        dtype = draw(st.sampled_from(sorted(BITS)))
        shape = draw(st.lists(st.sampled_from([0, 1, 2, 4, 8]), max_size=3))
        elements = 1
        for size in shape:
            elements *= size
        if name in header or elements * BITS[dtype] % 8:
            continue
        end = at + elements * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    items = draw(st.permutations(list(header.items())))
    metadata = draw(st.sampled_from([None, {}, {"format": "pt"}]))
    return ({"__metadata__": metadata} if metadata is not None else {}) | dict(items), bytes(
        i % 251 for i in range(at)
    )


@st.composite
def damaged(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """A header with one thing in it changed."""
    header, data = draw(headers())
    entries = [value for key, value in header.items() if key != "__metadata__"]
    change = draw(st.sampled_from(["field", "number", "entry", "gone", "metadata", "data", "more"]))
    if change == "metadata":
        header["__metadata__"] = draw(JUNK)
    elif change == "data":
        data = data[:-1] if draw(st.booleans()) else data + b"\0"
    elif change == "entry":
        header[draw(NAMES)] = draw(JUNK.filter(lambda junk: not isinstance(junk, list)))
    elif entries:
        entry = draw(st.sampled_from(entries))
        field = draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
        if change == "field":
            # serde also takes {"U8": null} for the name of a type, which nobody writes
            entry[field] = draw(JUNK.filter(lambda junk: not isinstance(junk, dict)))
        elif change == "number" and isinstance(entry[field], list) and entry[field]:
            entry[field][draw(st.integers(0, len(entry[field]) - 1))] = draw(NUMBERS)
        elif change == "gone":
            del entry[field]
        else:
            entry[draw(NAMES)] = draw(JUNK)
    return header, data


@settings(QUICK, max_examples=40)
@given(headers())
def test_what_is_right_is_taken(made: tuple[dict[str, Any], bytes]) -> None:
    data = whole(*made)
    found = official(data)
    assert found is not None
    assert ours(data) == found


@settings(QUICK, max_examples=80)
@given(damaged())
def test_one_thing_changed(made: tuple[dict[str, Any], bytes]) -> None:
    data = whole(*made)
    assert ours(data) == official(data)


@settings(QUICK, max_examples=80)
@given(made=headers(), draw=st.data())
def test_bytes_changed(tmp_path: Path, made: tuple[dict[str, Any], bytes], draw: Any) -> None:
    """Flipped, put in, taken out, or cut off, in the length, the header or the data."""
    data = bytearray(whole(*made))
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw.draw(st.sampled_from(["flip", "put", "take", "cut", "length"]))
        if kind == "flip" and data:
            data[at] = draw.draw(st.integers(0, 255))
        elif kind == "put":
            data[at:at] = draw.draw(st.sampled_from([b"0", b"-", b" ", b"{", b"}", b",", b"\xff"]))
        elif kind == "take":
            del data[at : at + draw.draw(st.integers(1, 8))]
        elif kind == "cut":
            del data[at:]
        else:
            data[:8] = struct.pack("<Q", draw.draw(WHOLE.filter(lambda n: n < 2**64)))
    found = official(bytes(data))
    assert ours(bytes(data)) == found
    assert in_file(tmp_path / "x.safetensors", bytes(data)) == found


@settings(QUICK, max_examples=40)
@given(JUNK.filter(lambda junk: not isinstance(junk, list)))
def test_any_json(value: Any) -> None:
    data = whole(json.dumps(value).encode(), b"")
    assert ours(data) == official(data)


ENTRY = '{"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}'


@pytest.mark.parametrize(
    "header",
    [
        f' \n{{"a": {ENTRY}}}\t ',
        f'{{"a": {ENTRY}}}\0',
        f'{{"a": {ENTRY}, "a": {ENTRY}}}',
        f'{{"a": {ENTRY}, "\\u0061": {ENTRY}}}',
        f'{{"\\ud83d\\ude00": {ENTRY}}}',
        f'{{"\\ud83d": {ENTRY}}}',
        f'{{"a\n": {ENTRY}}}',
        f'{{"a": {ENTRY}, "__metadata__": {{"x": "\\udc00"}}}}',
        f'{{"a": {ENTRY}, "__metadata__": {{"x": "1", "x": "2"}}}}',
        f'{{"__metadata__": {{}}, "a": {ENTRY}, "__metadata__": {{}}}}',
        f'{{"a": {ENTRY[:-1]}, "dtype": "U8"}}}}',
        f'{{"a": {ENTRY[:-1]}, "x": 1, "x": 2}}}}',
        f'{{"a": {ENTRY[:-1]}, "x": -Infinity}}}}',
        f'{{"a": {ENTRY[:-1]}, "x": 1e400}}}}',
        f'{{"a": {ENTRY[:-1]}, "x": [1e10, -0]}}}}',
        f'{{"a": {ENTRY.replace("[0,", "[-0,")}}}',
        f'{{"a": {ENTRY.replace("[1]", "[1e0]")}}}',
        f'{{"a": {ENTRY},}}',
    ],
)
def test_json_as_strict_readers_have_it(header: str) -> None:
    data = whole(header.encode(), b"1")
    assert ours(data) == official(data)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_other_encodings(encoding: str) -> None:
    data = whole(f'{{"a": {ENTRY}}}'.encode(encoding), b"1")
    assert official(data) is None
    assert ours(data) is None
