"""A tiny model of text with its tokenizer, in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]


TOKENS = ["<unk>", "<pad>", "</s>", *WORDS]


def words_tokenizer() -> Any:
    """A tokenizer of whole words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(TOKENS)}
    words: Any = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


def write_model(folder: Path, **sizes: int) -> Path:
    """A Llama of three layers, with a tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    words_tokenizer().save_pretrained(folder)
    torch.manual_seed(0)
    plain = {
        "vocab_size": len(TOKENS),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
    }
    config = LlamaConfig(
        **{**plain, **sizes},
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        eos_token_id=2,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
