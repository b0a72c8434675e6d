"""The script for models that write no text, for real: images, labels, seq2seq and speech, each with
its own class and processor; exactly what is named changes, and a head that is new."""

from __future__ import annotations

import json
import runpy
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

pytest.importorskip("datasets")
pytest.importorskip("PIL")

from PIL import Image

from spectrum_tui.cli.main import main
from tests.training.text_model import WORDS, words_tokenizer

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}


def images(root: Path) -> tuple[Path, Path]:
    model, data = root / "model", root / "data"
    config = transformers.ViTConfig(
        **SMALL,
        intermediate_size=32,
        image_size=16,
        patch_size=8,
        id2label={0: "cat", 1: "dog"},
        label2id={"cat": 0, "dog": 1},
    )
    transformers.ViTForImageClassification(config).save_pretrained(model)
    size = {"height": 16, "width": 16}
    transformers.ViTImageProcessor(size=size).save_pretrained(model)
    for number, name in enumerate(("cat", "dog")):
        (data / name).mkdir(parents=True)
        for copy in range(2):
            pixels = np.full((16, 16, 3), 90 * number + copy, np.uint8)
            Image.fromarray(pixels).save(data / name / f"{copy}.png")
    return model, data


def classes(root: Path) -> tuple[Path, Path]:
    model, data = root / "model", root / "data.jsonl"
    config = transformers.BertConfig(
        **SMALL,
        intermediate_size=32,
        vocab_size=20,
        id2label={0: "0", 1: "1"},
        label2id={"0": 0, "1": 1},
    )
    transformers.BertForSequenceClassification(config).save_pretrained(model)
    words_tokenizer().save_pretrained(model)
    rows = [{"text": " ".join(WORDS[at:]), "label": at % 2} for at in range(8)]
    data.write_text("\n".join(map(json.dumps, rows)))
    return model, data


def seq2seq(root: Path) -> tuple[Path, Path]:
    model, data = root / "model", root / "data.jsonl"
    config = transformers.T5Config(
        vocab_size=20,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=3,
        num_heads=2,
        decoder_start_token_id=1,
        pad_token_id=1,
        eos_token_id=2,
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(model)
    words_tokenizer().save_pretrained(model)
    rows = [
        {"prompt": " ".join(WORDS[at:]), "completion": " ".join(WORDS[: at + 2])} for at in range(8)
    ]
    data.write_text("\n".join(map(json.dumps, rows)))
    return model, data


def speech(root: Path) -> tuple[Path, Path]:
    model, data = root / "model", root / "data" / "data.jsonl"
    config = transformers.Wav2Vec2Config(
        **SMALL,
        intermediate_size=32,
        vocab_size=20,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 3),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        mask_time_prob=0.0,
        layerdrop=0.0,
        pad_token_id=1,
    )
    transformers.Wav2Vec2ForCTC(config).save_pretrained(model)
    data.parent.mkdir(parents=True)
    letters = {letter: at for at, letter in enumerate(["<unk>", "<pad>", "|", *"abcdefgh"])}
    (model / "vocab.json").write_text(json.dumps(letters))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(
        str(model / "vocab.json"), unk_token="<unk>", pad_token="<pad>", word_delimiter_token="|"
    )
    heard = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False)
    transformers.Wav2Vec2Processor(feature_extractor=heard, tokenizer=tokenizer).save_pretrained(
        model
    )
    rng = np.random.default_rng(0)
    for number in range(4):
        with wave.open(str(data.parent / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            samples = rng.integers(-9000, 9000, 800 + 100 * number).astype("<i2")
            file.writeframes(samples.tobytes())
    rows = [{"audio": f"{number}.wav", "text": "abc ed"} for number in range(4)]
    data.write_text("\n".join(map(json.dumps, rows)))
    return model, data


MAKERS: dict[str, Callable[[Path], tuple[Path, Path]]] = {
    "images": images,
    "classes": classes,
    "seq2seq": seq2seq,
    "speech": speech,
}


def exported(model: Path, root: Path) -> Path:
    assert main(["scan", str(model), "--output-dir", str(root), "--top-percent", "34"]) == 0
    (scores,) = (root / "model_snr_results").iterdir()
    script = root / "train.py"
    what = ["--as", "trainer", "--top-percent", "34", "--no-embeddings", "-o", str(script)]
    assert main(["export", str(scores), *what]) == 0
    return script


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def start(script: Path, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        runpy.run_path(str(script), run_name="__main__")

    return start


def changed(cls: str, before: Path, after: Path) -> set[str]:
    """The names that the model in memory has for what differs in the files."""
    old, new = (
        dict(getattr(transformers, cls).from_pretrained(folder).named_parameters())
        for folder in (before, after)
    )
    assert old.keys() == new.keys()
    return {
        name
        for name, tensor in old.items()
        if tensor.shape != new[name].shape or not torch.equal(tensor, new[name])
    }


@pytest.mark.parametrize("task", MAKERS)
def test_what_is_named_changes_and_nothing_else(
    task: str, run: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model, data = MAKERS[task](tmp_path)
    script = exported(model, tmp_path)
    values: dict[str, Any] = runpy.run_path(str(script))
    assert values["TASK"] == task
    out = tmp_path / "trained"
    where = ["--model", str(model), "--train", str(data), "--output-dir", str(out)]
    run(script, *where, "--learning-rate", "0.01", "--max-steps", "2", "--test", str(data))
    names = set(values["NAMES"])
    assert changed(values["MODEL_CLASS"], model, out) == names and len(names) > 3
    assert f"trained {len(names)} of {len(names)} tensors" in capfd.readouterr().out
    chosen = {"images": "AutoImageProcessor", "speech": "AutoProcessor"}.get(task, "AutoTokenizer")
    getattr(transformers, chosen).from_pretrained(out)


def test_a_head_for_other_labels_is_made_and_trains(
    run: Callable[..., None], tmp_path: Path
) -> None:
    model, data = classes(tmp_path)
    rows = [{"text": " ".join(WORDS[at : at + 3]), "label": "abc"[at % 3]} for at in range(6)]
    data.write_text("\n".join(map(json.dumps, rows)))
    script = exported(model, tmp_path)
    names = set(runpy.run_path(str(script))["NAMES"]) | {"classifier.weight", "classifier.bias"}
    out = tmp_path / "trained"
    where = ["--model", str(model), "--train", str(data), "--output-dir", str(out)]
    run(script, *where, "--learning-rate", "0.01", "--max-steps", "1")
    assert changed("BertForSequenceClassification", model, out) == names
    assert json.loads((out / "config.json").read_text())["id2label"] == {
        "0": "a",
        "1": "b",
        "2": "c",
    }
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"text": "fox", "label": "d"}))
    with pytest.raises(SystemExit, match="has the label d, which is not in the training data"):
        run(script, *where, "--test", str(more))


def test_bad_data_is_one_line(run: Callable[..., None], tmp_path: Path) -> None:
    for task, words in {"images": "is no folder", "speech": "has no column audio"}.items():
        model, _ = MAKERS[task](tmp_path / task)
        script = exported(model, tmp_path / task)
        bad = tmp_path / "bad.jsonl"
        bad.write_text('{"x": 1}')
        with pytest.raises(SystemExit, match=words):
            run(script, "--model", str(model), "--train", str(bad), "--output-dir", str(tmp_path))
