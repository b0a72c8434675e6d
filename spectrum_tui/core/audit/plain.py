"""The name that a line of a recipe means, without what regular expressions need around it."""

from __future__ import annotations

import re
from functools import lru_cache

from spectrum_tui.core.consumers.patterns import ANY, at_start, axolotl_rows

_LEAF = re.compile(
    r"(^|[._])(weight|bias|sinks|A_log|D|dt_bias|[a-z]+_token|position_embeddings?|"
    r"positional_embedding|class_embedding|pos_embed|[a-z_]*scale\d*|lambda\d*|gamma|beta|"
    r"[a-z_]*_bias|x_prev|inv_freq|masked_spec_embed|[a-z_]*embeddings?_table|temperature)$"
)
_FUSED = re.compile(r"\.experts\.\w+$")
_MODULE = re.compile(
    r"(^|[._])(\w*proj\d*|gate|dense\w*|fc\d|linear\w*|\w*norm\w*|\w*norm\d|lm_head|\w*embed_tokens|"
    r"wte|wpe|c_attn|c_fc|query_key_value|qkv|wq|wk|wv|wo|w[123]|router|embed_in|embed_out|"
    r"shared_experts?|in_proj\w*|query|key|value|out|mlp|self_attn|attn|\d+|layers?)$",
    re.IGNORECASE,
)


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


def is_module(name: str) -> bool:
    """Whether a name is that of a module rather than of a parameter, by its last part."""
    if _LEAF.search(name) or _FUSED.search(name):
        return False
    return bool(_MODULE.search(name))
