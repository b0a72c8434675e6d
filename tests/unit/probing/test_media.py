"""A probe on images and on speech against autograd in float64, and what is said of bad files."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectrum_tui.core.dataset.describing import describe
from spectrum_tui.core.dataset.examples import Dataset, Example
from spectrum_tui.core.dataset.kept_examples import write_examples
from spectrum_tui.core.dataset.reading import read_dataset
from spectrum_tui.core.errors import DataError, InputError
from spectrum_tui.core.probing.records import Plan, ProbeJob, Target
from spectrum_tui.proving.probing.inputs import SEED
from spectrum_tui.proving.probing.sound import samples_of
from tests.architectures.tiny import ARCHITECTURES
from tests.unit.probing.by_hand import Gradients, Measured, assert_close, probed, said
from tests.unit.proving.tiny_language import save_model

PICTURES = {
    "image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32},
    "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 2,
}  # fmt: skip
SOUND = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000}
RATE = 16_000
WORDS = ("ABBA", "CAB", "DEAF FACE", "BEE", "FADE", "DAD")


def job(model: Path, dataset: Dataset, *targets: Target, **changes: Any) -> ProbeJob:
    """Two batches of two."""
    data = model.parent / "data.jsonl"
    usual = {"batches": 2, "batch": 2, "device": "cpu", "dtype": "float64"}
    return ProbeJob(
        model=str(model),
        data=str(data),
        digest=write_examples(data, dataset.examples),
        targets=targets,
        **{**usual, **changes},
    )


def in_order(examples: Sequence[Example]) -> list[Example]:
    """The four examples that two batches of two are of."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(SEED))
    return [examples[at] for at in order[:4]]


def measured(model: Any, folder: Path, batches: Sequence[dict[str, torch.Tensor]]) -> Measured:
    """The gradients of the loss that the class computes itself."""
    found: Gradients = {}
    for batch in batches:
        model.zero_grad()
        model(**batch).loss.backward()
        for name, parameter in model.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            found.setdefault(name, []).append(gradient.detach().clone())
    return Measured(folder, {n: p.detach() for n, p in model.named_parameters()}, found)


def assert_measured(model: Measured, asked: Callable[..., ProbeJob]) -> None:
    """All at once, and each layer in a pass of its own, block by block."""
    targets = [Target(parameter=one) for one in model.weights]
    lines, at_once = said(asked(*targets))
    assert at_once.error == "" and isinstance(lines[0], Plan) and not lines[0].recompute
    assert_close(model, targets, at_once)
    few = [one for one in targets if model.weights[one.parameter].ndim > 1][::4]
    lines, alone = said(asked(*few, memory=1))
    assert isinstance(lines[0], Plan) and lines[0].recompute and lines[0].passes == len(few)
    for target, values in zip(few, alone.values, strict=True):
        for metric, value in at_once.values[targets.index(target)].items():
            assert values[metric] == pytest.approx(value, rel=1e-9), target


# -- images ---------------------------------------------------------------------------------------


def pictures(folder: Path, *classes: str, count: int = 3) -> Path:
    """A folder for each class, with noise in it."""
    from PIL import Image

    chance = np.random.default_rng(0)
    for label in classes:
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = chance.integers(0, 256, (40, 50 + number, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    pytest.importorskip("PIL")
    ARCHITECTURES["vit"].build().save_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(PICTURES))
    return tmp_path / "vit"


def test_gradients_of_images_are_those_of_autograd(vit: Path, tmp_path: Path) -> None:
    from PIL import Image
    from transformers import ViTForImageClassification

    dataset = read_dataset([str(pictures(tmp_path / "data", "cat", "dog"))], media=True)
    assert describe(dataset) == [f"{tmp_path / 'data' / '*'}: 6 images of 2 classes"]
    found = []
    for one in in_order(dataset.examples):
        image = Image.open(one.file).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
        pixels = (np.asarray(image).astype(np.float32) / 255 - 0.5) / 0.25
        found.append((torch.tensor(pixels.transpose(2, 0, 1)), ["cat", "dog"].index(one.label)))
    batches = [
        {
            "pixel_values": torch.stack([pixels for pixels, _ in group]).double(),
            "labels": torch.tensor([label for _, label in group]),
        }
        for group in (found[:2], found[2:])
    ]
    model = ViTForImageClassification.from_pretrained(vit, dtype=torch.float64).eval()
    assert_measured(measured(model, vit, batches), lambda *t, **c: job(vit, dataset, *t, **c))
    outcome = probed(job(vit, dataset, Target(parameter="classifier.weight")))
    assert (outcome.tokens, outcome.unit) == (4, "images")


def test_a_bare_model_gets_a_head_for_the_classes_of_the_data(vit: Path, tmp_path: Path) -> None:
    from transformers import ViTModel

    bare = tmp_path / "bare"
    ViTModel.from_pretrained(vit, add_pooling_layer=False).save_pretrained(bare)
    (bare / "preprocessor_config.json").write_text(json.dumps(PICTURES))
    dataset = read_dataset([str(pictures(tmp_path / "data", "a", "b", "c"))], media=True)
    target = Target(parameter="layers.1.mlp.fc1.weight")
    name = next(n for n, _ in ViTModel.from_pretrained(bare).named_parameters() if "fc1" in n)
    outcome = probed(job(bare, dataset, Target(parameter=name), target))
    assert outcome.model_class == "ViTForImageClassification"
    assert outcome.values[0]["gradient"][0] > 0
    assert "a new head for 3 classes is computed" in outcome.notes


def test_classes_that_the_model_does_not_know_are_said(vit: Path, tmp_path: Path) -> None:
    dataset = read_dataset([str(pictures(tmp_path / "data", "a", "b", "c", count=1))], media=True)
    with pytest.raises(DataError, match="The model knows no class a") as error:
        probed(job(vit, dataset))
    assert error.value.hint == "Name the folders as its 2 classes: LABEL_0, LABEL_1."


def test_a_damaged_image_is_named(vit: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "data", "cat", "dog", count=1)
    (folder / "cat" / "0.png").write_bytes(b"\x89PNG but no more")
    with pytest.raises(DataError, match=r"cat/0\.png: it is no image, or a damaged one"):
        probed(job(vit, read_dataset([str(folder)], media=True)))


def test_what_reads_images_is_asked_for_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectrum_tui.proving.probing.images.find_spec", lambda name: None)
    ARCHITECTURES["vit"].build().save_pretrained(tmp_path / "vit")
    (tmp_path / "data" / "cat").mkdir(parents=True)
    for name in ("0.png", "notes.txt", ".hidden.png"):
        (tmp_path / "data" / "cat" / name).touch()
    (tmp_path / "data" / "dog").mkdir()
    (tmp_path / "data" / "dog" / "1.JPG").touch()
    dataset = read_dataset([str(tmp_path / "data")], media=True)
    assert [one.label for one in dataset.examples] == ["cat", "dog"]
    with pytest.raises(InputError, match="Images need the package pillow") as error:
        probed(job(tmp_path / "vit", dataset))
    assert error.value.hint == "Install it with: pip install pillow."


def test_data_of_another_kind_are_refused_by_what_the_model_learns(tmp_path: Path) -> None:
    texts = Dataset(
        examples=(Example(text="Some words."),), files=(), form="text", columns=(), digest=""
    )
    ARCHITECTURES["vit"].build().save_pretrained(tmp_path / "vit")
    with pytest.raises(InputError, match="is no model that learns from text") as error:
        probed(job(tmp_path / "vit", texts))
    assert error.value.hint == "Give images: a folder with a subfolder for each class."
    labelled = Dataset(
        examples=(Example(file="a.png", label="a"),), files=(), form="image", columns=(), digest=""
    )
    with pytest.raises(InputError, match="LlamaForCausalLM is no model that classifies images"):
        probed(job(save_model("llama", tmp_path / "llama"), labelled))
    ARCHITECTURES["wav2vec2"].build().save_pretrained(tmp_path / "speech")
    with pytest.raises(InputError, match="is no model that learns from text alone"):
        probed(job(tmp_path / "speech", texts))


# -- speech ---------------------------------------------------------------------------------------


def write_wav(path: Path, samples: Any, width: int = 2, rate: int = RATE) -> None:
    """Samples between -1 and 1, (count, channels)."""
    whole = np.round(np.asarray(samples) * (2 ** (8 * width - 1) - 1)).astype("<i8")
    if width == 1:
        whole = whole + 128
    raw = whole.reshape(-1, 1).view("u1").reshape(-1, 8)[:, :width]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(np.asarray(samples).shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(raw.tobytes())


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    from transformers import Wav2Vec2CTCTokenizer

    folder = tmp_path / "speech"
    ARCHITECTURES["wav2vec2"].build().save_pretrained(folder)
    vocabulary = {one: at for at, one in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|"])}
    vocabulary |= {letter: 5 + at for at, letter in enumerate("ABCDEF")}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json")).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(SOUND))
    return folder


def recordings(folder: Path, words: Sequence[str] = WORDS) -> Dataset:
    """Noise of another length for each word, and what is said to be said in it."""
    chance = np.random.default_rng(0)
    (folder / "wav").mkdir()
    lines = []
    for number, word in enumerate(words):
        noise = chance.uniform(-0.5, 0.5, (1600 + 160 * number, 1))
        write_wav(folder / "wav" / f"{number}.wav", noise)
        lines.append(json.dumps({"path": f"wav/{number}.wav", "text": word}))
    (folder / "table.jsonl").write_text("\n".join(lines))
    return read_dataset([str(folder / "table.jsonl")], media=True)


def test_gradients_of_speech_are_those_of_autograd(speech: Path, tmp_path: Path) -> None:
    from transformers import AutoProcessor, Wav2Vec2ForCTC

    dataset = recordings(tmp_path)
    assert describe(dataset)[0].endswith("6 recordings, 26 characters, read from path, text")
    processor = AutoProcessor.from_pretrained(speech)
    model = Wav2Vec2ForCTC.from_pretrained(speech, dtype=torch.float64).eval()
    chosen, batches = in_order(dataset.examples), []
    for group in (chosen[:2], chosen[2:]):
        sound = []
        for one in group:
            with wave.open(one.file) as file:
                sound.append(np.frombuffer(file.readframes(file.getnframes()), "<i2") / 2**15)
        made = dict(processor(sound, sampling_rate=RATE, padding=True, return_tensors="pt"))
        ids = [torch.tensor(processor.tokenizer(one.text).input_ids) for one in group]
        labels = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-100)
        batches.append({**made, "input_values": made["input_values"].double(), "labels": labels})
    # float32 samples, normalised in float32: rounding of 1e-7 in the inputs of both
    assert_measured(measured(model, speech, batches), lambda *t, **c: job(speech, dataset, *t, **c))


def test_small_letters_are_spelled_as_the_model_does(speech: Path, tmp_path: Path) -> None:
    target = Target(parameter="lm_head.weight")
    dataset = recordings(tmp_path)
    large = probed(job(speech, dataset, target))
    lines = (tmp_path / "table.jsonl").read_text().lower()
    (tmp_path / "table.jsonl").write_text(lines)
    small = read_dataset([str(tmp_path / "table.jsonl")], media=True)
    assert probed(job(speech, small, target)).values == large.values


def test_recordings_that_no_letter_fits_in_are_left_out(speech: Path, tmp_path: Path) -> None:
    dataset = recordings(tmp_path, ["A" * 500, "BEE"])
    outcome = probed(job(speech, dataset, Target(parameter="lm_head.weight")))
    assert outcome.tokens == 1 and outcome.unit == "recordings"
    said = "1 recording is too long, or too short for the text: left out"
    assert outcome.notes[:2] == (said, "the data is enough for 1 batch")
    (tmp_path / "table.jsonl").write_text('{"path": "wav/0.wav", "text": "' + "A" * 500 + '"}')
    with pytest.raises(DataError, match="No recording is of the length of its text"):
        probed(job(speech, read_dataset([str(tmp_path / "table.jsonl")], media=True)))


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_every_width_are_the_same_numbers(width: int, tmp_path: Path) -> None:
    wanted = np.linspace(-0.9, 0.9, 64).reshape(-1, 2)
    write_wav(tmp_path / "a.wav", wanted, width)
    found = samples_of(tmp_path / "a.wav", RATE)
    assert found.dtype == np.float32
    assert np.abs(found - wanted.mean(1)).max() < 2.0 ** (2 - 8 * width) + 1e-6


@pytest.mark.parametrize("data", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", b"ID3 some mp3"])
def test_what_is_no_recording_is_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(DataError, match=r"Cannot read .*a\.wav: it is no"):
        samples_of(tmp_path / "a.wav", RATE)
    with pytest.raises(DataError, match="No such file"):
        samples_of(tmp_path / "b.wav", RATE)


def test_another_rate_of_samples_is_refused_with_what_converts(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros((8, 1)), rate=44_100)
    with pytest.raises(DataError, match="has 44,100 samples a second, the model takes 16,000"):
        samples_of(tmp_path / "a.wav", RATE)


def test_tables_of_source_code_are_texts(tmp_path: Path) -> None:
    (tmp_path / "code.jsonl").write_text('{"path": "src/a.py", "text": "x = 1"}\n')
    found = read_dataset([str(tmp_path / "code.jsonl")], media=True)
    assert found == read_dataset([str(tmp_path / "code.jsonl")])
    assert (found.form, found.examples) == ("text", (Example(text="x = 1"),))
