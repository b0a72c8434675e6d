"""What else stands in a trainer's configuration, and works against the list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spectrum_tui.core.audit.entries import Recipe
from spectrum_tui.core.audit.findings import Finding, Severity
from spectrum_tui.core.trainers.recipe_text import KEY

_ADAPTERS = ("adapter", "peft_type", "lora_r", "lora_target_modules", "use_peft")


def beside_findings(recipe: Recipe) -> list[Finding]:
    """Keys that make trainers ignore the list, or train something else."""
    return [*_adapter(recipe), *_ignored(recipe), *_checkpointing(recipe), *_fsdp(recipe)]


def _line(recipe: Recipe, key: str) -> int:
    lines = enumerate(recipe.document.lines, 1)
    return next((n for n, line in lines if line.lstrip().startswith(f"{key}:")), 0)


def _adapter(recipe: Recipe) -> Iterator[Finding]:
    key = next((key for key in _ADAPTERS if recipe.data.get(key)), "")
    if key:
        yield Finding(
            severity=Severity.ERROR,
            code="adapter",
            line=_line(recipe, key),
            message=f"{key} asks for an adapter beside {KEY}: axolotl freezes after adding the "
            "adapter, so it does not train.",
            hint="Use one or the other.",
        )


def _ignored(recipe: Recipe) -> Iterator[Finding]:
    if recipe.data.get("mxfp4") is True:
        yield Finding(
            severity=Severity.ERROR,
            code="mxfp4",
            line=_line(recipe, "mxfp4"),
            message="mxfp4 is on: AWS sft.py then ignores the list and trains the whole model.",
            hint="Switch mxfp4 off.",
        )
    plugins = recipe.data.get("plugins")
    if isinstance(plugins, list) and any(
        isinstance(name, str) and "spectrum" in name.lower() for name in plugins
    ):
        yield Finding(
            severity=Severity.ERROR,
            code="plugin",
            line=_line(recipe, "plugins"),
            message="axolotl's Spectrum plugin replaces this list with one of its own.",
            hint="Remove the plugin.",
        )


def _checkpointing(recipe: Recipe) -> Iterator[Finding]:
    kwargs = recipe.data.get("gradient_checkpointing_kwargs")
    reentrant = isinstance(kwargs, dict) and kwargs.get("use_reentrant") is True
    head = any("embed_tokens" in e.pattern or "lm_head" in e.pattern for e in recipe.entries)
    if reentrant and not head:
        yield Finding(
            severity=Severity.WARNING,
            code="reentrant",
            line=_line(recipe, "use_reentrant"),
            message="use_reentrant is on and no embeddings train: on transformers 4 no layer gets "
            "a gradient.",
            hint="Set use_reentrant: false.",
        )


def _fsdp(recipe: Recipe) -> Iterator[Finding]:
    if not recipe.data.get("fsdp"):
        return
    config: Any = recipe.data.get("fsdp_config")
    config = config if isinstance(config, dict) else {}
    version = config.get("fsdp_version", recipe.data.get("fsdp_version", 1))
    names = ("use_orig_params", "fsdp_use_orig_params")
    if version in (1, "1") and not any(config.get(name) is True for name in names):
        yield Finding(
            severity=Severity.WARNING,
            code="fsdp",
            line=_line(recipe, "fsdp"),
            message="FSDP 1 cannot mix frozen and trained weights without use_orig_params.",
            hint="Set use_orig_params: true in fsdp_config.",
        )
