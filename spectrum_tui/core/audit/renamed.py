"""Names of other generations of transformers, and what version 5 calls the same parameters.

Experts became one parameter for each layer, the language model of a model that sees moved below
`model.`, and some heads changed their name. Files made before match nothing today.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from spectrum_tui.core.audit.entries import Recipe, plain_name
from spectrum_tui.core.audit.findings import Finding, Severity, of_lines

_RENAMED = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"\.block_sparse_moe\.experts\.\d+\.w[13](\.weight)?$", ".mlp.experts.gate_up_proj"),
        (r"\.block_sparse_moe\.experts\.\d+\.w2(\.weight)?$", ".mlp.experts.down_proj"),
        (r"\.block_sparse_moe\.experts\.\d+(\.weight)?$", ".mlp.experts"),
        (r"\.block_sparse_moe\.", ".mlp."),
        (
            r"\.(mlp|feed_forward)\.experts\.\d+\.(gate|up)_proj(\.weight)?$",
            r".\1.experts.gate_up_proj",
        ),
        (r"\.(mlp|feed_forward)\.experts\.\d+\.down_proj(\.weight)?$", r".\1.experts.down_proj"),
        (r"^language_model\.model\.", "model.language_model."),
        (r"^language_model\.lm_head", "lm_head"),
        (r"^(vision_tower|multi_modal_projector)\.", r"model.\1."),
        (r"^visual\.", "model.visual."),
        (r"^embed_out", "lm_head"),
    )
)
_PARTS = {
    "gate_up_proj": (("w1", "gate_proj"), ("w3", "up_proj")),
    "down_proj": (("w2", "down_proj"),),
}
"""What each expert of Mixtral, and of others, had in the place of the fused parameters."""
_EMBEDDINGS = {
    "transformer.h": "transformer.wte.weight",
    "gpt_neox.layers": "gpt_neox.embed_in.weight",
    "model.decoder.layers": "model.decoder.embed_tokens.weight",
    "model.language_model.layers": "model.language_model.embed_tokens.weight",
    "language_model.model.layers": "model.language_model.embed_tokens.weight",
    "backbone.layers": "backbone.embeddings.weight",
}
"""What the input embeddings are called where the blocks are called so."""
_USUAL = "model.layers."
"""What they are called where the embeddings have the name that the reference script writes."""
EMBEDDING_NAMES = ("lm_head.weight", "lm_head", "model.embed_tokens.weight", "model.embed_tokens")
"""What the reference script writes for every model, without its anchors."""
_OWN = "names as in transformers 5"
"""Stands in a comment of the files that this program writes."""
_TIED = ("transformer.h",)


def modern(name: str) -> str:
    """Return what transformers 5 calls a parameter of an older generation; "" where it has no
    other."""
    for old, new in _RENAMED:
        if old.search(name):
            return old.sub(new, name, count=1)
    return ""


def older_names(name: str) -> Iterator[str]:
    """Yield what a parameter was called before transformers 5, one of its experts for all of
    them."""
    before, block, last = name.partition(".mlp.experts.")
    parts = _PARTS.get(last, ()) if block else ()
    for old, new in parts:
        yield f"{before}.block_sparse_moe.experts.0.{old}.weight"
        yield f"{before}.mlp.experts.0.{new}.weight"
    if ".mlp." in name:
        yield name.replace(".mlp.", ".block_sparse_moe.")


def renamed_findings(recipe: Recipe) -> list[Finding]:
    """Lines with names that transformers 5 does not have in most models: a few kept theirs, so
    that a file that says whose names it has is believed."""
    lines, new = [], ""
    if any(line.startswith("#") and _OWN in line for line in recipe.document.lines):
        return []
    for entry in recipe.entries:
        now = modern(plain_name(entry.pattern))
        if now:
            lines.append((entry.line, entry.pattern))
            new = new or now
    return of_lines(
        Severity.WARNING,
        "renamed",
        lines,
        f"is a name of transformers 4; version 5 has {new}",
        "Scan the model again, or give the model to see which names it has.",
    )


def _root(names: list[str]) -> str:
    """Return what the blocks are called whose embeddings have another name than usual; "" where
    most of the lines, or as many, name blocks as usual: a line of another model says nothing of
    these."""
    found = {root: sum(n.startswith(f"{root}.") for n in names) for root in _EMBEDDINGS}
    root = max(found, key=found.__getitem__)
    return root if found[root] > sum(n.startswith(_USUAL) for n in names) else ""


def embedding_findings(recipe: Recipe) -> list[Finding]:
    """Return the usual lines for embeddings and head in a file whose other names say that the model
    calls them otherwise."""
    names = [plain_name(entry.pattern) for entry in recipe.entries]
    root = _root(names)
    wrong = (
        {name for name in EMBEDDING_NAMES if "embed_tokens" in name or root in _TIED}
        if root
        else set()
    )
    lines = [
        (entry.line, entry.pattern)
        for entry, name in zip(recipe.entries, names, strict=True)
        if name in wrong
    ]
    return of_lines(
        Severity.WARNING,
        "head",
        lines,
        f"matches nothing in a model whose blocks are called {root}",
        f"Its embeddings are called {_EMBEDDINGS.get(root, '')}.",
    )
