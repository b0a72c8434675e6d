"""Tiny language models with a tokenizer of single characters, and texts for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectrum_tui.core.dataset.examples import Example
from spectrum_tui.core.dataset.kept_examples import write_examples
from spectrum_tui.core.proof.rows import Conditions, Job, Row
from tests.architectures.tiny import ARCHITECTURES
from tests.unit.proving.texts import document

CHARACTERS = [chr(code) for code in range(32, 123)]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
PAD, BEGIN, END, UNKNOWN, MASK = range(5)
FIRST = len(SPECIAL)
"""The token of a space, the first of 91 characters; 96 tokens in all."""


def ids(text: str) -> list[int]:
    """What the tokenizer makes of a text."""
    return [FIRST + ord(character) - 32 for character in text]


def tokenizer(*, template: str = "", around: bool = False, mask: bool = True) -> Any:
    """One token a character; `around` puts <s> and </s> around every text, as BERT does."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: at for at, token in enumerate([*SPECIAL, *CHARACTERS])}
    made = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = Split(Regex("."), "isolated")
    if around:
        made.post_processor = TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", BEGIN), ("</s>", END)]
        )
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    if mask:
        names["mask_token"] = "<mask>"
    fast = PreTrainedTokenizerFast(tokenizer_object=made, **names)
    if template:
        fast.chat_template = template
    return fast


def save_model(name: str, folder: Path, **options: Any) -> Path:
    """A model of `tests.architectures.tiny` with a tokenizer."""
    ARCHITECTURES[name].build().save_pretrained(folder)
    tokenizer(**options).save_pretrained(folder)
    return folder


def conditions(model: Path, folder: Path, **changes: Any) -> Conditions:
    """Texts of 24 documents to train on, six to judge by and six to keep, in a folder."""
    texts = [Example(text=document(number)) for number in range(36)]
    parts = {"train": texts[:24], "held_out": texts[24:30], "kept": texts[30:]}
    files = {name: folder / f"{name}.jsonl" for name in parts}
    digests = tuple(write_examples(files[name], parts[name]) for name in parts)
    given = {name: str(path) for name, path in files.items()}
    usual = {"batch": 2, "sequence": 32, "judged": 4, "device": "cpu", "digests": digests}
    return Conditions(**{"model": str(model), **given, **usual, **changes})


def job(conditions: Conditions, *names: str, **changes: Any) -> Job:
    """Five steps of these parameters, of all without any."""
    usual = {"method": "top:25" if names else "full", "seed": 1, "rate": 1e-3, "steps": 5}
    return Job(conditions=conditions, row=Row(**{**usual, "names": names, **changes}))
