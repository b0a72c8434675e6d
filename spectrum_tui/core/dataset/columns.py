"""Which columns make an example, and how: the layouts that people publish data sets in.

A row that has the columns of several layouts is read by the first in `LAYOUTS`: one that says what
is to be learned goes before a plain `text`, which often repeats it with somebody's own template.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spectrum_tui.core import json_text
from spectrum_tui.core.dataset.examples import Column, Example, Message

Row = Mapping[str, Any]
MOST_BAD = 0.01
"""Share of the rows that may be no examples: beyond it, it is the file that is wrong."""

_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant"}
"""ShareGPT's names of the roles that chat templates know."""
_NO_ANSWER = "unanswerable"
"""What is learned for a question of SQuAD 2 that the context does not answer, a third of them."""


class BlankError(ValueError):
    """A document without a word."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that must be there, those that may be, and what they make.

    `example` raises ValueError with the reason where a row is none, BlankError for a blank text.
    """

    form: Column
    needed: tuple[str, ...]
    example: Callable[[Row], Example]
    optional: tuple[str, ...] = ()

    def is_of(self, row: Row) -> bool:
        """Return whether a row has the columns."""
        return all(name in row for name in self.needed)


def layout_of(row: Row, also: Sequence[Layout] = ()) -> Layout | None:
    """Return the first layout that a row is of, those in `also` before the others; None where there
    is none."""
    return next((one for one in (*also, *LAYOUTS) if one.is_of(row)), None)


def known_columns() -> str:
    """Return the layouts as a message lists them: `messages`; `prompt` and `completion`; …"""
    return "; ".join(" and ".join(one.needed) for one in LAYOUTS)


def text_in(row: Row, column: str, *, blank: bool = False) -> str:
    """Return what stands in a column; raises ValueError where that is no text."""
    if column not in row:
        raise ValueError(f"it has no {column}")
    return _checked(row[column], column, blank=blank)


def _checked(value: Any, column: str, *, blank: bool = False) -> str:
    if value is None:
        raise ValueError(f"its {column} is missing")
    if not isinstance(value, str):
        raise ValueError(f"its {column} is {_kind(value)}, not text")
    if "\0" in value:
        raise ValueError(f"its {column} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"its {column} holds half a surrogate pair") from None
    if not blank and not value.strip():
        raise ValueError(f"its {column} is blank")
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "missing"
    names = {
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        dict: "an object",
    }
    return names.get(
        type(value), "a list" if isinstance(value, list | tuple) else "of another kind"
    )


def _document(row: Row) -> Example:
    text = text_in(row, "text", blank=True)
    if not text.strip():
        raise BlankError
    return Example(text=text)


def _completion(row: Row) -> Example:
    return Example(prompt=text_in(row, "prompt"), completion=text_in(row, "completion"))


def _instruction(row: Row) -> Example:
    """Alpaca's template, without its opening sentence."""
    task = f"### Instruction:\n{text_in(row, 'instruction')}\n\n"
    given = "" if row.get("input") is None else text_in(row, "input", blank=True)
    more = f"### Input:\n{given}\n\n" if given.strip() else ""
    return Example(prompt=f"{task}{more}### Response:\n", completion=text_in(row, "output"))


def _question(row: Row) -> Example:
    return _asked(text_in(row, "question"), text_in(row, "answer"))


def _squad(row: Row) -> Example:
    answer = _first_answer(row.get("answers"))
    return _asked(text_in(row, "question"), answer, text_in(row, "context"))


def _asked(question: str, answer: str, context: str = "") -> Example:
    before = f"{context}\n\n" if context else ""
    return Example(prompt=f"{before}Question: {question}\nAnswer:", completion=f" {answer}")


def _first_answer(answers: Any) -> str:
    """Return the first of [{"text": …}], as in the files, or of {"text": […]}, as on the hub."""
    answers = _unpacked(answers)
    if isinstance(answers, str):
        return _checked(answers, "answers")
    texts = answers.get("text") if isinstance(answers, dict) else answers
    if not isinstance(texts, list):
        raise ValueError(f"its answers are {_kind(texts)}")
    if not texts:
        return _NO_ANSWER
    first = texts[0]
    return _checked(first.get("text") if isinstance(first, dict) else first, "answer")


def _chat(column: str, role: str, content: str) -> Callable[[Row], Example]:
    def example(row: Row) -> Example:
        turns = _unpacked(row.get(column))
        if not isinstance(turns, list) or not turns:
            raise ValueError(f"its {column} is {'empty' if turns == [] else _kind(turns)}")
        said = tuple(_turn(turn, role, content) for turn in turns)
        if not any(turn.role == "assistant" and turn.content.strip() for turn in said):
            raise ValueError("no turn of it is the assistant's, so that nothing can be learned")
        return Example(messages=said)

    return example


def _turn(turn: Any, role: str, content: str) -> Message:
    if not isinstance(turn, dict):
        raise ValueError(f"a turn of it is {_kind(turn)}, not an object")
    by = text_in(turn, role)
    said = turn.get(content)
    if isinstance(said, list):
        said = "".join(map(_part, said))
    return Message(role=_ROLES.get(by, by), content=_checked(said, content, blank=True))


def _part(part: Any) -> str:
    """Return the text of a part of a turn; those with images are not read."""
    if not isinstance(part, dict) or part.get("type") != "text":
        raise ValueError("a turn of it holds something else than text")
    return text_in(part, "text", blank=True)


def _unpacked(value: Any) -> Any:
    """Return the list or object that a cell of a CSV file holds as JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json_text.load(value)
        except json_text.NotJSONError as exc:
            raise ValueError(f"what it holds {exc.fault.problem}") from None
    return value


LAYOUTS = (
    Layout("messages", ("messages",), _chat("messages", "role", "content")),
    Layout("messages", ("conversations",), _chat("conversations", "from", "value")),
    Layout("prompt", ("prompt", "completion"), _completion),
    Layout("prompt", ("instruction", "output"), _instruction, ("input",)),
    Layout("question", ("context", "question", "answers"), _squad),
    Layout("question", ("question", "answer"), _question),
    Layout("text", ("text",), _document),
)
