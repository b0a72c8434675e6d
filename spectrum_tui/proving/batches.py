"""From people's texts to batches of tokens: what is read, and which tokens are learned of it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar

import torch

from spectrum_tui.core.dataset.examples import Example, Message
from spectrum_tui.core.errors import CheckpointError, InputError
from spectrum_tui.core.naming.model_class import first_line

T = TypeVar("T")
Kind = Literal["causal", "masked", "seq2seq"]
"""How a language model learns: each token from those before it, masked ones from those around
them, or an answer from what was said."""

NOT_LEARNED = -100
"""The label of a token that no loss is taken of: `cross_entropy` ignores it."""
MASKED_SHARE = 0.15
"""How many tokens BERT was trained to guess; of those 80 % become [MASK], 10 % another token."""
CHOICE = 4
"""So many times the sequences that are needed are made before some are drawn: of a few long
documents, not only the beginning of one."""
_CHUNK = 2**16
"""Characters that are tokenised at a time: of a book, no more than is needed."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A sequence for the model: `inputs`, and of each token (of an answer where the model is
    `seq2seq`) what is learned, or NOT_LEARNED."""

    inputs: list[int]
    labels: list[int]


Pieces = list[tuple[str, bool]]
"""A text in parts, each with whether it is learned."""


class Encoder:
    """Makes sequences of at most `length` tokens for one kind of model.

    Plain text is packed: the documents follow each other with the end token between them, and are
    cut into windows. Exchanges stand alone; the completion is learned, and the rest is cut on the
    left where both are too long.
    """

    def __init__(self, tokenizer: Any, kind: Kind, length: int) -> None:
        self._tokenizer = tokenizer
        self._kind = kind
        self._length = length
        self._before, self._after = _added(tokenizer)
        end = tokenizer.eos_token_id
        self._characters = self._tokens = 0
        self._end = self._after[-1:] or ([] if end is None else [end])
        if kind == "masked" and tokenizer.mask_token_id is None:
            raise CheckpointError(
                "The tokenizer has no mask token, and the model learns masked ones.",
                "Check that it belongs to the model.",
                field="model",
            )

    @property
    def padding(self) -> int:
        """The token that fills a batch."""
        tokenizer = self._tokenizer
        known = (tokenizer.pad_token_id, tokenizer.eos_token_id)
        return next((token for token in known if token is not None), 0)

    @property
    def density(self) -> float:
        """Tokens per character of what was read."""
        return self._tokens / self._characters if self._characters else 0.0

    def sequences(self, examples: Iterable[Example]) -> Iterator[Tokens]:
        """Yield sequences, those of plain text as soon as a window is full."""
        rest: list[int] = []
        for example in examples:
            if self._kind == "masked" or example.text:
                for ids in self._document(example):
                    rest += ids
                    while len(rest) >= self._room:
                        yield self._window(rest[: self._room])
                        rest = rest[self._room :]
            elif (alone := self._exchange(example)) is not None:
                yield alone
        if len(rest) > 1:
            yield self._window(rest)

    # -- plain text --------------------------------------------------------------------------

    @property
    def _room(self) -> int:
        """Tokens of text in a window: where the beginning and end of a text have tokens of their
        own, a masked window has both."""
        special = len(self._before) + len(self._after) if self._kind != "causal" else 0
        return max(2, self._length - special)

    def _document(self, example: Example) -> Iterator[list[int]]:
        text = example.characters
        if self._kind == "causal":
            yield self._before
        for begin in range(0, len(text), _CHUNK):
            yield self._ids(text[begin : begin + _CHUNK])
        yield self._end

    def _window(self, ids: list[int]) -> Tokens:
        if self._kind == "masked":
            return self._masked(ids)
        if self._kind == "causal":
            return Tokens(ids, ids)
        middle = len(ids) // 2
        return self._answered(ids[:middle], ids[middle:])

    def _masked(self, ids: list[int]) -> Tokens:
        """Mask tokens by chance: in the same window always the same ones."""
        chance = random.Random(zlib.crc32(repr(ids).encode()))
        inputs, labels = list(ids), [NOT_LEARNED] * len(ids)
        places = [at for at in range(len(ids)) if chance.random() < MASKED_SHARE]
        for at in places or [chance.randrange(len(ids))]:
            labels[at] = ids[at]
            how = chance.random()
            if how < 0.8:
                inputs[at] = self._tokenizer.mask_token_id
            elif how < 0.9:
                inputs[at] = chance.randrange(len(self._tokenizer))
        around = [NOT_LEARNED] * len(self._before), [NOT_LEARNED] * len(self._after)
        return Tokens([*self._before, *inputs, *self._after], [*around[0], *labels, *around[1]])

    # -- exchanges ---------------------------------------------------------------------------

    def _exchange(self, example: Example) -> Tokens | None:
        """Return one exchange, None where nothing of it could be learned."""
        if self._kind == "seq2seq":
            said, answer = self._asked_and_answered(example)
            return self._answered(self._ids(said), self._ids(answer)) if answer else None
        inputs, labels = list(self._before), [NOT_LEARNED] * len(self._before)
        if example.messages and self._tokenizer.chat_template:
            inputs, labels = [], []  # the template has all special tokens itself
            pieces = self._chat(example.messages)
        else:
            pieces = [(example.prompt, False), (example.completion, True)]
            pieces = _plain_chat(example.messages) if example.messages else pieces
        for text, learned in pieces:
            ids = self._ids(text) if text else []
            inputs += ids
            labels += ids if learned else [NOT_LEARNED] * len(ids)
        if not example.messages:
            inputs, labels = inputs + self._end, labels + self._end
        return self._fitted(inputs, labels)

    def _fitted(self, inputs: list[int], labels: list[int]) -> Tokens | None:
        learned = next((at for at, label in enumerate(labels) if at and label >= 0), 0)
        if not learned:
            return None
        start = max(0, min(len(inputs) - self._length, learned - 1))
        end = start + self._length
        return Tokens(inputs[start:end], labels[start:end])

    def _answered(self, said: list[int], answer: list[int]) -> Tokens:
        before, after = self._before, self._after or self._end
        room = max(1, self._length - len(before) - len(after))
        return Tokens([*before, *said[-room:], *after], [*before, *answer[:room], *after])

    def _asked_and_answered(self, example: Example) -> tuple[str, str]:
        if not example.messages:
            return example.prompt, example.completion
        said = [at for at, turn in enumerate(example.messages) if turn.role == "assistant"]
        turns = example.messages[: said[-1]] if said else ()
        answer = example.messages[said[-1]].content if said else ""
        return "".join(text for text, _ in _plain_chat(turns)), answer

    def _chat(self, messages: Sequence[Message]) -> Pieces:
        """Cut what the chat template makes at the turns of the assistant.

        A template that tells earlier turns otherwise once there is a later one (reasoning is left
        out) lets only the last turn be found.
        """
        whole, pieces, at = self._told(messages), [], 0
        for number, turn in enumerate(messages):
            if turn.role != "assistant":
                continue
            begin = self._told(messages[:number], asks=True)
            end = self._told(messages[: number + 1])
            if whole.startswith(begin) and whole.startswith(end) and at <= len(begin) < len(end):
                pieces += [(whole[at : len(begin)], False), (whole[len(begin) : len(end)], True)]
                at = len(end)
        return [*pieces, (whole[at:], False)]

    def _told(self, messages: Sequence[Message], *, asks: bool = False) -> str:
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        try:
            text = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=asks
            )
        except Exception as exc:  # templates are programs that refuse in any way
            if asks and not turns:
                return ""
            raise InputError(
                f"The chat template of the model refuses a conversation ({first_line(exc)}).",
                "Check the order of the roles in the data.",
                field="data",
            ) from None
        return str(text)

    def _ids(self, text: str) -> list[int]:
        ids = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        self._characters += len(text)
        self._tokens += len(ids)
        return ids


def _plain_chat(messages: Iterable[Message]) -> Pieces:
    """Return a conversation in words, for a tokenizer without a chat template."""
    pieces: Pieces = []
    for turn in messages:
        pieces += [(f"{turn.role}: ", False), (f"{turn.content}\n", turn.role == "assistant")]
    return pieces


def _added(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the tokens that a tokenizer puts before and after every text."""
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    whole = list(tokenizer("a")["input_ids"])
    for at in range(len(whole) - len(plain) + 1):
        if whole[at : at + len(plain)] == plain:
            return whole[:at], whole[at + len(plain) :]
    return [], []


# -- which of them, in which order ---------------------------------------------------------------


def drawn(encoder: Encoder, examples: Sequence[Example], count: int, seed: int) -> list[Tokens]:
    """Return at most `count` sequences of the examples, drawn with a seed; raises InputError where
    there is none."""
    generator = torch.Generator().manual_seed(seed)
    documents = torch.randperm(len(examples), generator=generator).tolist()
    made = list(islice(encoder.sequences(examples[at] for at in documents), CHOICE * count))
    if not made:
        raise InputError(
            "No text of the data is long enough to learn from.",
            "Give texts of more than one token, or exchanges with an answer.",
            field="data",
        )
    order = torch.randperm(len(made), generator=generator).tolist()
    return [made[at] for at in order[:count]]


def endless(sequences: Sequence[Tokens], batch: int) -> Iterator[list[Tokens]]:
    """Yield batches for ever: after the last sequence comes the first one again."""
    at = 0
    while True:
        yield [sequences[(at + n) % len(sequences)] for n in range(batch)]
        at += batch


def in_batches(sequences: Sequence[T], batch: int) -> Iterator[list[T]]:
    """Yield all sequences once, the last batch with what is left."""
    for at in range(0, len(sequences), batch):
        yield list(sequences[at : at + batch])


def learned(kind: Kind, sequences: Iterable[Tokens]) -> int:
    """Return how many tokens are learned of sequences: a causal model never guesses the first."""
    first = 1 if kind == "causal" else 0
    return sum(label >= 0 for tokens in sequences for label in tokens.labels[first:])


def tensors(
    sequences: Sequence[Tokens], padding: int, device: torch.device | str
) -> dict[str, torch.Tensor]:
    """Return a batch as a model takes it, padded on the right to its longest sequence."""

    def filled(rows: list[list[int]], value: int) -> torch.Tensor:
        width = max(map(len, rows))
        return torch.tensor([row + [value] * (width - len(row)) for row in rows], device=device)

    inputs = [tokens.inputs for tokens in sequences]
    return {
        "input_ids": filled(inputs, padding),
        "attention_mask": filled([[1] * len(row) for row in inputs], 0),
        "labels": filled([tokens.labels for tokens in sequences], NOT_LEARNED),
    }
