"""Ways in which a file can be wrong, decided by a random generator and nothing else."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

Damage = Callable[[bytes, random.Random, str], bytes]
"""(content, generator, a path that nobody may write to) -> other content."""

_CHECKSUM = b', "checksum": "'
"""What stands before the checksum of a journal's entry."""
_HUGE, _DEEP, _LONE = "@@huge@@", "@@deep@@", "@@lone@@"
# json.dumps refuses numbers of 4,300 digits and nests no deeper than Python's stack: put in after.
_LATER = {
    f'"{_HUGE}"': "7" * 5000,
    f'"{_DEEP}"': "[" * 100_000 + "]" * 100_000,
    _LONE: "\\ud800",
}


def hostile_values(canary: str) -> list[Any]:
    """Values that a parser, a terminal, a path or a format string may stumble over."""
    return [
        None,
        True,
        -1,
        0,
        1.5,
        float("inf"),
        float("nan"),
        2**31,
        2**63,
        -(2**64),
        10**30,
        _HUGE,
        _DEEP,
        _LONE,
        "",
        " ",
        "0",
        "\x1b]52;c;aGk=\x07",
        "\u202ereversed\u2066",
        "\x9b31m",
        "a\r\nb\x00c",
        "\n- lm_head.weight\n",
        "../canary/x",
        canary,
        "C:\\canary\\x",
        "x" * 20_000,
        "[red]%s{0}$(id)`id`",
        "model.layers.99999999999999999999.mlp.up_proj",
        "(a+)+$",
        [],
        {},
        [[]],
        {"": ""},
        [None, 1, "x"],
        {"weight": {"weight": []}},
    ]


def damage_bytes(data: bytes, rng: random.Random, canary: str) -> bytes:
    """Flip, cut, insert, repeat or replace somewhere, one to three times."""
    if rng.random() < 0.3:  # what a bad disk does: nothing but a checksum sees it
        return _flip(data, rng, canary)
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice((_flip, _cut, _cut_end, _insert, _repeat, _replace))(data, rng, canary)
    return data


def _place(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 8, 64, 1000)))


def _flip(data: bytes, rng: random.Random, canary: str) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 32))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, rng: random.Random, canary: str) -> bytes:
    start, end = _place(data, rng)
    return data[:start] + data[end:]


def _cut_end(data: bytes, rng: random.Random, canary: str) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _insert(data: bytes, rng: random.Random, canary: str) -> bytes:
    start, _ = _place(data, rng)
    return data[:start] + _snippet(rng, canary) + data[start:]


def _repeat(data: bytes, rng: random.Random, canary: str) -> bytes:
    start, end = _place(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 2, 500)) + data[end:]


def _replace(data: bytes, rng: random.Random, canary: str) -> bytes:
    start, end = _place(data, rng)
    return data[:start] + _snippet(rng, canary) + data[end:]


def _snippet(rng: random.Random, canary: str) -> bytes:
    if rng.random() < 0.3:
        return rng.randbytes(rng.choice((1, 4, 100)))
    value = rng.choice(hostile_values(canary))
    text = value if isinstance(value, str) and rng.random() < 0.5 else _dumped(value)
    return rng.choice(
        (text, f"- {text}\n", f'{{"{text}": 1}}', "\ufeff", "&a *a", "!!python/none")
    ).encode("utf-8", "surrogatepass")


def damage_json(data: bytes, rng: random.Random, canary: str) -> bytes:
    """Change the structure of a JSON document; its bytes in a third of the cases."""
    if rng.random() < 0.35:
        return damage_bytes(data, rng, canary)
    document = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        document = _damage_tree(document, rng, canary)
    return _dumped(document).encode("utf-8", "surrogatepass")


def damage_lines(data: bytes, rng: random.Random, canary: str) -> bytes:
    """Change one line of JSON lines, their order, or their bytes."""
    lines = data.splitlines(keepends=True)
    kind = rng.randrange(5)
    if kind == 0 or not lines:
        return damage_bytes(data, rng, canary)
    if kind == 1:
        rng.shuffle(lines)
        return b"".join(lines[: rng.randrange(len(lines) + 1)])
    for _ in range(rng.choice((1, 3, 10))):
        at = rng.randrange(len(lines))
        try:
            lines[at] = damage_json(lines[at], rng, canary) + b"\n"
        except (ValueError, RecursionError):  # damaged before
            lines[at] = damage_bytes(lines[at], rng, canary)
    return b"".join(lines)


def resealed_lines(data: bytes, rng: random.Random, canary: str) -> bytes:
    """Entries of a journal with odd fields and true checksums, as another version might write."""
    lines = []
    for line in data.splitlines():
        body = line.rpartition(_CHECKSUM)[0] + b"}"
        if rng.random() < 0.3:
            body = damage_json(body, rng, canary)
        body = body.rstrip().removesuffix(b"}")
        lines.append(body + _CHECKSUM + f'{zlib.crc32(body):08x}"}}\n'.encode())
    return b"".join(lines)


def damage_header(data: bytes, rng: random.Random, canary: str) -> bytes:
    """Change the JSON header of a safetensors file and say its new length, or change its bytes."""
    length = struct.unpack("<Q", data[:8])[0]
    header, rest = data[8 : 8 + length], data[8 + length :]
    kind = rng.randrange(4)
    if kind == 0:
        return damage_bytes(data[: 8 + length], rng, canary) + rest
    if kind == 1:
        return data[: rng.randrange(len(data))]
    header = damage_json(header, rng, canary)
    said = len(header) if rng.random() < 0.95 else rng.choice((0, 1, 2**63, 10**8, len(header) + 9))
    return struct.pack("<Q", said) + header + rest


def damage_text(data: bytes, rng: random.Random, canary: str) -> bytes:
    """Change lines of a YAML document: as text, as entries, or its bytes."""
    lines = data.decode("utf-8", "replace").splitlines()
    kind = rng.randrange(4)
    if kind == 0 or not lines:
        return damage_bytes(data, rng, canary)
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(len(lines))
        value = rng.choice(hostile_values(canary))
        text = value if isinstance(value, str) else _dumped(value)
        lines[at] = rng.choice(
            (
                f"- {text}",
                f"- {_dumped(value)}",
                f"  {lines[at]}",
                lines[at].replace(".", "\\."),
                lines[at].replace("weight", ""),
                f"{lines[at]} # {text}",
                f"- ^{lines[at][2:]}$",
                f"- {lines[at][2:]}" + "_norm" * 300,
                f"{text}: [{text}]",
                f"unfrozen_parameters: {_dumped(value)}",
                "- " + "(" * 200 + "a" + ")*" * 200,
                "? - x",
                "<<: *x",
                "---",
            )
        )
    if rng.random() < 0.2:
        lines *= rng.choice((2, 50))
    return "\n".join(lines).replace(_HUGE, "7" * 5000).encode("utf-8", "surrogatepass")


def _damage_tree(node: Any, rng: random.Random, canary: str) -> Any:
    """The document with a change at one random place."""
    children = (
        list(node.items() if isinstance(node, dict) else enumerate(node))
        if (isinstance(node, dict | list) and node)
        else []
    )
    if not children or rng.random() < 0.15:
        return _changed(node, rng, canary)
    key, child = rng.choice(children)
    kind = rng.randrange(8)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[str(rng.choice(hostile_values(canary)))] = node.pop(key)
    elif kind == 2 and isinstance(node, dict):
        node[rng.choice(list(node))] = child
    elif kind == 3 and isinstance(node, list):
        node.insert(key, child)
    else:
        node[key] = _damage_tree(child, rng, canary)
    return node


def _changed(node: Any, rng: random.Random, canary: str) -> Any:
    kind = rng.randrange(6)
    if kind <= 2 and isinstance(node, int | float) and abs(node) < 1e100:  # fits a float
        return rng.choice((node + 1, -node, node * 2, node * 1.01, node * 10**6, str(node)))
    if kind <= 1 and isinstance(node, str):
        return rng.choice((node.upper(), node * 2, node[:-1], node + "\u202e", [node], {node: 1}))
    if kind == 2:
        return [node, node]
    return rng.choice(hostile_values(canary))


def _dumped(value: Any) -> str:
    text = json.dumps(value)
    for mark, real in _LATER.items():
        text = text.replace(mark, real)
    return text
