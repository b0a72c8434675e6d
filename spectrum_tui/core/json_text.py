"""JSON that people edit and programs cut short: read strictly, and said in words what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Container
from dataclasses import dataclass
from functools import partial
from typing import Any

WRONG_SHAPE = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""What JSON of another shape than expected raises; the last two by 1e999 and by 10,000 "["."""

_UTF8_MARK, _UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a text ("is empty"), and what to do about it."""

    problem: str
    hint: str


class NotJSONError(ValueError):
    """A text that is not JSON; `fault` says in words why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.problem)
        self.fault = fault


def load(data: str | bytes) -> Any:
    """Return the value of a JSON text, in UTF-8 where it is bytes; raises NotJSONError."""
    try:
        text = data if isinstance(data, str) else _decoded(data)
        if text.startswith("\ufeff"):
            raise NotJSONError(
                Fault(
                    "begins with a byte-order mark (BOM), which JSON does not allow",
                    "Save it as UTF-8 without BOM.",
                )
            )
        return json.loads(text)
    except json.JSONDecodeError as exc:
        raise NotJSONError(_fault(exc)) from None
    except RecursionError:
        fault = Fault("is not readable JSON (nested too deep)", "Download the file again.")
        raise NotJSONError(fault) from None
    except NotJSONError:
        raise
    except ValueError as exc:  # an integer of more than 4,300 digits
        fault = Fault(f"is not readable JSON ({exc})"[:200], "Correct it there.")
        raise NotJSONError(fault) from None


def _decoded(data: bytes) -> str:
    if data.startswith(_UTF8_MARK):
        return data.decode("utf-8", "replace")
    try:
        if data.startswith(_UTF16_MARKS) or b"\0" in data[:4]:
            raise UnicodeDecodeError("utf-8", data, 0, 1, "UTF-16")
        return data.decode("utf-8")
    except UnicodeDecodeError:
        fault = Fault("is not UTF-8 text, which JSON must be", "Save it as UTF-8 without BOM.")
        raise NotJSONError(fault) from None


def _fault(exc: json.JSONDecodeError) -> Fault:
    if not exc.doc.strip():
        return Fault("is empty", "Download the file again.")
    comma = _comma_too_many(exc.doc, exc.pos)
    if comma >= 0:
        line = exc.doc.count("\n", 0, comma) + 1
        return Fault(
            f"is not readable JSON (an extra comma at the end of line {line})", "Remove it."
        )
    where = f"line {exc.lineno}, column {exc.colno}: {exc.msg}"
    return Fault(f"is not readable JSON ({where})", "Correct it there, or download it again.")


def _comma_too_many(text: str, at: int) -> int:
    """Return where the comma before a closing bracket is, by which reading failed; -1 if by
    another.

    Python up to 3.12 stops at the bracket, later ones at the comma.
    """
    before, after = text[:at].rstrip(), text[at:]
    if after[:1] in ("}", "]") and before.endswith(","):
        return len(before) - 1
    return at if after[:1] == "," and after[1:].lstrip()[:1] in ("}", "]") else -1


def load_strict(data: bytes, *, once: Container[str]) -> Any:
    """Return the value of a JSON text as strict readers parse it; raises ValueError for what they
    refuse.

    Python also takes other encodings, NaN, 1e999, -0 for 0, half a pair of surrogates, and the
    last of several equal keys; keys in `once` may stand only once in an object.
    """
    text = data.decode("utf-8")
    value = json.loads(
        text,
        object_pairs_hook=partial(_object, once),
        parse_constant=_refuse,
        parse_float=_finite,
        # A function for each number costs a quarter of the time.
        parse_int=_not_minus_zero if "-0" in text else None,
    )
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _object(once: Container[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        if any(key in once and keys.count(key) > 1 for key in found):
            raise ValueError(keys)
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _not_minus_zero(text: str) -> float:
    return -0.0 if text == "-0" else int(text)
