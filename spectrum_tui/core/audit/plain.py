"""The name that a line of a recipe means, without what regular expressions need around it."""

from __future__ import annotations

import re
from functools import lru_cache

from spectrum_tui.core.experts import parent_is_experts
from spectrum_tui.core.trainers.patterns import ANY, at_start, axolotl_rows

_LEAVES = re.compile(
    r"(?:^|_)(?:weight|bias|sinks|A_log|D|dt_bias|position_embeddings?|positional_embedding|"
    r"class_embedding|pos_embed|gamma|beta|x_prev|inv_freq|masked_spec_embed|temperature)$"
)
_LEAF_ENDS = ("_token", "scale", "lambda", "embedding_table", "embeddings_table")
_MODULES = re.compile(
    r"(?:^|_)(?:gate|fc\d|lm_head|wte|wpe|c_attn|c_fc|query_key_value|qkv|wq|wk|wv|wo|w[123]|"
    r"router|embed_in|embed_out|shared_experts?|query|key|value|out|mlp|self_attn|attn|\d+|layers?)$"
)
_MODULE_ENDS = ("proj", "embed_tokens")
_MODULE_WORDS = ("_dense", "_linear", "_in_proj")
_DIGITS = "0123456789"


CLASS_AS_ROWS = re.compile(r"\[\d{2,}\]$")
"""A choice of digits, that axolotl takes for a row."""


@lru_cache(maxsize=100_000)
def plain_name(pattern: str) -> str:
    """The parameter or module that a pattern names; "" for a true regular expression.

    >>> plain_name(r"^model\\.norm\\.weight$"), plain_name("model.layers.(1|2).mlp")
    ('model.norm.weight', '')
    """
    try:
        name, _ = axolotl_rows(pattern)
    except ValueError:
        name = pattern.rpartition("[")[0]
    form = at_start(name)
    return "" if form.regex else form.literal.replace(ANY, ".").rstrip(".")


def has_rows(pattern: str) -> bool:
    """Whether axolotl would train some rows of the parameter alone."""
    try:
        return axolotl_rows(pattern)[1] is not None and not CLASS_AS_ROWS.search(pattern)
    except ValueError:
        return False


def is_module(name: str) -> bool:
    """Whether a name is that of a module rather than of a parameter, by its last part."""
    last = name.rpartition(".")[2]
    if parent_is_experts(name) or _is_leaf(last):
        return False
    last = last.lower()
    return (
        "norm" in last
        or last.rstrip(_DIGITS).endswith(_MODULE_ENDS)
        or any(word in f"_{last}" for word in _MODULE_WORDS)
        or bool(_MODULES.search(last))
    )


def _is_leaf(last: str) -> bool:
    """Whether parameters, and no modules, end in this part of a name."""
    return last.rstrip(_DIGITS).endswith(_LEAF_ENDS) or bool(_LEAVES.search(last))
