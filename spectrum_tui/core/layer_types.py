"""Layer types: the unit within which layers are ranked against each other, and how they group.

A type is the module path after its first numeric component (`model.layers.7.mlp.down_proj` is of
type `mlp.down_proj`), or the whole path where there is none (`lm_head`); an index that counts
experts is `*`. `core.naming.roles` knows more where it has a whole model: stages, and further
numbers. Groups exist for the eye only; they never change a ranking.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from spectrum_tui.core import experts


class Group(StrEnum):
    """The branches of the layer tree, in the order that they are shown."""

    ATTENTION = "attention"
    MLP = "MLP"
    EXPERTS = "experts"
    EMBEDDINGS = "embeddings and head"
    NORMS = "norms"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeInfo:
    """One layer type of a model: what the layers screen shows on a line.

    `nbytes` are those that its weights are stored in, with all that decodes them. `cost` is the
    estimated work of its matrices in the units of `core.scoring.svd.cost`; a type of 1-D weights
    (`one_dimensional`) costs nothing and always scores 1.0. `experts` are how many are fused in
    each of its parameters; `tower` is set where a model has several.
    """

    name: str
    group: Group
    layers: int
    parameters: int
    cost: float
    nbytes: int = 0
    one_dimensional: bool = False
    experts: int = 0
    tower: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", Group(self.group))  # a plain string after JSON


LANGUAGE = "language"
"""The tower of everything that is not told apart as another one."""
_TOWERS = (
    ("projector", re.compile(r"projector|connector|merger|aligner", re.IGNORECASE)),
    ("vision", re.compile(r"vision|visual|image", re.IGNORECASE)),
    ("audio", re.compile(r"audio|speech", re.IGNORECASE)),
)
_INPUT_EMBEDDING = re.compile(
    r"(^|\.)(embed_tokens|wte|embed_in|word_embeddings|tok_embeddings|shared)$"
)
_OUTPUT_HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output_projection)$")
_TASK_HEAD = re.compile(
    r"^(?:[a-z_]\w*\.)*"  # below no number: a router inside a block may be called classifier
    r"((\w+_)?classifier|classification_head|score|qa_outputs|pooler|sequence_summary|logits_proj"
    r"|(v|value|reward|rm|regression|class|box|dist)_head|(class|bbox)_(embed|predictor)"
    r"|seq_relationship)(\.|$)"
)
_GROUP_PATTERNS = tuple(
    (group, re.compile(pattern, re.IGNORECASE))
    for group, pattern in (
        (Group.EXPERTS, experts.TYPE),
        (Group.NORMS, r"norm|(^|\.)ln(_?\w+)?$"),
        (Group.EMBEDDINGS, r"embed|(^|\.)(wte|wpe|shared|lm_head)$"),
        (Group.ATTENTION, r"att(entio)?n|(^|[._])[qkvo]_proj|qkv|query|key|value"),
        (Group.MLP, r"mlp|ffn|feed_?forward|dense|(^|\.)(fc\d?|w[123]|wi|wo|lin\d)(\.|$)"),
    )
)
_DIGITS = re.compile(r"(\d+)")
_INDEX = re.compile(r"(?<=\.)\d+(?=\.|$)")
ANY_NUMBER = "*"
"""Stands in a type for an index that only counts."""


def layer_type(layer: str) -> str:
    """Return the type of the layer with this module path, by its name alone; never empty.

    >>> layer_type("model.layers.7.mlp.down_proj"), layer_type("lm_head"), layer_type("proj.2")
    ('mlp.down_proj', 'lm_head', 'proj.*')
    >>> layer_type("model.layers.7.mlp.experts.17.down_proj")
    'mlp.experts.*.down_proj'
    """
    layer = experts.without_numbers(layer, ANY_NUMBER)
    # A container of bare layers ("proj.2") would give the empty type, which in the
    # reference matches every layer of the model.
    return reference_type(layer) or ".".join([*layer.split(".")[:-1], ANY_NUMBER])


def reference_type(layer: str) -> str:
    """Return the type that spectrum.py gives a layer; empty for a bare one of a container."""
    parts = layer.split(".")
    first = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return layer if first is None else ".".join(parts[first + 1 :])


def group_of(type_name: str) -> Group:
    """Return the branch of the tree that a type belongs to, judged by its name without the
    tower's."""
    type_name = type_name.rpartition(":")[2]
    for group, pattern in _GROUP_PATTERNS:
        if pattern.search(type_name):
            return group
    return Group.OTHER


def tower_of(layer: str) -> str:
    """Return the part of a multimodal model that a layer belongs to, judged by its path.

    >>> tower_of("model.visual.blocks.3.attn.qkv"), tower_of("model.language_model.norm")
    ('vision', 'language')
    """
    return next((name for name, pattern in _TOWERS if pattern.search(layer)), LANGUAGE)


def is_input_embedding(layer: str) -> bool:
    """Return whether the layer is the table of token embeddings (not of positions)."""
    return bool(_INPUT_EMBEDDING.search(layer))


def is_output_head(layer: str) -> bool:
    """Return whether the layer maps hidden states to the vocabulary."""
    return bool(_OUTPUT_HEAD.search(layer))


def is_task_head(layer: str) -> bool:
    """Return whether the layer belongs to what a task puts on a model: a classifier, a score or
    reward, spans of answers, boxes; or to the pooler before one. Judged by its name, outside
    towers.

    >>> is_task_head("classifier.out_proj"), is_task_head("block.0.mlp.router.classifier")
    (True, False)
    """
    return bool(_TASK_HEAD.match(layer)) and tower_of(layer) == LANGUAGE


def family(type_name: str) -> str:
    """Return the type with every index replaced, so that the experts of a model share one tree
    node.

    >>> family("mlp.experts.17.down_proj")
    'mlp.experts.*.down_proj'
    """
    return _INDEX.sub("*", type_name)


def natural_key(name: str) -> tuple[int | str, ...]:
    """Return a sort key under which layer 2 comes before layer 10."""
    parts: list[int | str] = [*_DIGITS.split(name)]
    parts[1::2] = map(int, parts[1::2])  # texts and numbers alternate, so that like meets like
    return tuple(parts)


def in_tree_order(types: Iterable[TypeInfo]) -> list[TypeInfo]:
    """Return the types by tower (language first), group, and naturally by name: the order of the
    tree and of the scan."""
    rank = {group: i for i, group in enumerate(Group)}
    towers = ("", LANGUAGE, "vision", "audio", "projector")
    return sorted(types, key=lambda t: (towers.index(t.tower), rank[t.group], natural_key(t.name)))


def scanned_by_default(types: Iterable[TypeInfo]) -> frozenset[str]:
    """Return the names of the types that are scanned unless the user says otherwise: those of
    matrices, and where a model has several towers those of its language model, if it has one."""
    matrices = [kind for kind in types if not kind.one_dimensional]
    language = [kind for kind in matrices if kind.tower in ("", LANGUAGE)]
    return frozenset(kind.name for kind in language or matrices)
