"""Texts to train tiny models on."""

from __future__ import annotations

_SENTENCE = "the quick brown fox jumps over a lazy dog and runs away from wise old owls"
WORDS = _SENTENCE.split()


def document(number: int, words: int = 30) -> str:
    """Some text, another for each number."""
    return " ".join(WORDS[(number * 7 + at * (number % 5 + 1)) % len(WORDS)] for at in range(words))
