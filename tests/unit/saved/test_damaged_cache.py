"""Whatever becomes of a file of the cache: everything still works, from what is left."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from spectrum_tui.core.files import cache_dir
from spectrum_tui.core.hub.cache import cached_models
from spectrum_tui.core.model import demo
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.model.kept_plans import KeptModel
from spectrum_tui.core.requests import ResultReady
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.kept_spectra import completed, kept_spectra, spectra_of
from spectrum_tui.core.saved.sizes import load_sized
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.settings import Settings
from tests.checkpoints import llama, save
from tests.scans import spy_on_scores

Damage = Callable[[Path, random.Random], None]


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def cut(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def flipped(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(5):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def zeroed(path: Path, rng: random.Random) -> None:
    """As some file systems leave a file that was open when the power failed."""
    path.write_bytes(bytes(path.stat().st_size))


def noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(2000))


def deep(path: Path, rng: random.Random) -> None:
    path.write_text("[" * 100_000)


def digits(path: Path, rng: random.Random) -> None:
    path.write_text('{"layers": ' + "9" * 5000 + "}")


def other_json(path: Path, rng: random.Random) -> None:
    path.write_text('{"kind": ["ModelSummary"], "layers": {"a": null}, "score": "x", "snr": [[]]}')


def doubled(path: Path, rng: random.Random) -> None:
    path.write_bytes(2 * path.read_bytes())


def folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path, rng: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def gone(path: Path, rng: random.Random) -> None:
    path.unlink()


DAMAGES: list[Damage] = [
    empty,
    cut,
    flipped,
    zeroed,
    noise,
    deep,
    digits,
    other_json,
    doubled,
    folder,
    pipe,
    gone,
]
KINDS = ["scans/*.jsonl", "scans/*.spectra", "results/*.json", "plans/*.json"]


def scanned(model: Path, out: Path) -> Path:
    request = Settings(model=str(model), device="cpu", output_dir=str(out))
    (path,) = (Path(e.path) for e in run_scan(request) if isinstance(e, ResultReady))
    return path


def looked_at(result: Result) -> None:
    """What the app reads of the cache for a result that is open."""
    completed(result)
    for row in range(len(result.scores)):
        spectra_of(result, row)
    list(kept_spectra(result, range(len(result.scores))))


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its cache and its score files: {model, cache, out}."""
    place = tmp_path_factory.mktemp("before")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECTRUM_TUI_CACHE", str(place / "cache"))
        model = save(place / "model", llama(1))
        scanned(model, place / "out")
        KeptModel(inspect_model(str(model))).summary()
    return place


@pytest.fixture
def place(before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the cache and the score files. The model is the same: a copy would be another."""
    for part in ("cache", "out"):
        shutil.copytree(before / part, tmp_path / "copy" / part)
    (tmp_path / "copy" / "model").symlink_to(before / "model")
    monkeypatch.setenv("SPECTRUM_TUI_CACHE", str(tmp_path / "copy" / "cache"))
    return tmp_path / "copy"


def needed_files() -> list[Path]:
    """All but the library, which records each output folder."""
    return sorted(path for path in cache_dir().rglob("*") if "library" not in path.parts)


def test_without_damage_nothing_is_computed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = spy_on_scores(monkeypatch)
    files = needed_files()
    assert load_sized(scanned(place / "model", place / "again")).scores.has_shapes
    KeptModel(inspect_model(str(place / "model"))).summary()
    assert not computed
    assert needed_files() == files


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_costs_what_it_held(damage: Damage, kind: str, place: Path) -> None:
    (path,) = cache_dir().glob(kind)
    damage(path, random.Random(f"{damage.__name__} {kind}"))
    (scores,) = (place / "out" / "model_snr_results").iterdir()
    right = scores.read_bytes()
    result = load_sized(scores)
    assert result.scores.has_shapes == (kind != "results/*.json")
    looked_at(result)
    summary = KeptModel(inspect_model(str(place / "model"))).summary()
    assert summary.naming
    if path.is_dir() or path.is_fifo():
        return  # nothing can be kept there: said by the next scan, see test_journal
    again = scanned(place / "model", place / "again")
    assert again.read_bytes() == right
    assert load_sized(again).scores.has_shapes


def test_a_demonstration_model_that_is_damaged_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "LAYERS", 2)
    monkeypatch.setattr(demo, "VOCABULARY", 64)
    model = demo.make_demo_model()
    weights, config = model / "model.safetensors", model / "config.json"
    right, made = weights.read_bytes(), weights.stat().st_mtime_ns
    demo.make_demo_model()
    assert weights.stat().st_mtime_ns == made
    damages: list[Damage] = [cut, empty, flipped_header, pipe]
    for damage in damages:
        damage(weights, random.Random(1))
        config.write_text("{")
        demo.make_demo_model()
        assert weights.read_bytes() == right
        assert config.read_text().startswith("{\n")


def flipped_header(path: Path, rng: random.Random) -> None:
    with path.open("r+b") as file:
        file.seek(20)
        file.write(b"\0")


def test_suggestions_survive_what_lies_in_their_folders() -> None:
    root = Path(os.environ["HF_HOME"]) / "hub"
    (root / "models--a--c").mkdir(parents=True)
    (root / "models--a--c" / "snapshots").symlink_to("snapshots")
    (root / "models--\udcff--d").mkdir()
    (root / "models--a--b").touch()
    assert cached_models() == []
