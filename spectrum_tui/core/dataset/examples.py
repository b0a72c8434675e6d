"""What a data file holds once it is read: examples, and what was said of the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Column = Literal["text", "messages", "prompt", "question", "image", "audio"]
"""Which of the known forms a file has: `text`, `messages` (chat), `prompt` with `completion`, or
`question` with `context` and `answers` (SQuAD); images by class, recordings with their text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One document or exchange.

    Of a `text` every token is learned; of a `prompt` and `completion` the completion alone; of
    `messages` what the assistant says, with the model's chat template around it. A `file` is an
    image, of the class `label`, or a recording, in which `text` is said.
    """

    text: str = ""
    prompt: str = ""
    completion: str = ""
    messages: tuple[Message, ...] = ()
    file: str = ""
    label: str = ""

    @property
    def characters(self) -> str:
        """All that it says, as one text: what it is known by, wherever it stands."""
        said = (f"{turn.role}\n{turn.content}" for turn in self.messages)
        return "\n".join(filter(None, (self.text, self.prompt, self.completion, *said)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The examples of one or several files, in their order.

    `form` is the kind that they are of, `columns` those that it was read from. `skipped` counts the
    lines that were no example, of which `problem` describes the first; `blank` the documents
    without a word, which are no damage. `digest` is a SHA-256 of all examples, whatever files they
    lie in.
    """

    examples: tuple[Example, ...]
    files: tuple[str, ...]
    form: Column
    columns: tuple[str, ...]
    digest: str
    blank: int = 0
    skipped: int = 0
    problem: str = ""
