"""Files that change while they are scanned: the scan says so, and no score is made of them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from spectrum_tui.core.checkpoint import heads, sources
from spectrum_tui.core.checkpoint.headers import Checkpoint, read_checkpoint
from spectrum_tui.core.errors import ModelChangedError
from spectrum_tui.core.events import ScanEvent
from spectrum_tui.core.journal.journal import journal_path, read_journal
from spectrum_tui.core.model.inspection import inspect_model
from spectrum_tui.core.naming.layers import Layer, plan_layers
from spectrum_tui.core.naming.stored import same_bytes, stored_plan
from spectrum_tui.core.quantised.companions import Stored
from spectrum_tui.core.quantised.dequantise import dequantise
from spectrum_tui.core.quantised.detect import detect
from spectrum_tui.core.scanning.plan import make_plan
from spectrum_tui.core.scanning.run import run_scan
from spectrum_tui.core.scanning.scan import scan
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.settings import Settings
from tests import quantised, quantisers
from tests.checkpoints import Tensors, experts, llama, matrix, save
from tests.scans import run, scores_of

EMBEDDINGS = "model.embed_tokens.weight"

Change = Callable[[Path], None]


def rewritten(file: Path) -> None:
    """Other values in place, as a trainer writes them; the times of before, as rsync sets them."""
    stat = file.stat()
    data = bytearray(file.read_bytes())
    data[-200:] = bytes(reversed(data[-200:]))
    with file.open("r+b") as handle:
        handle.write(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replaced(file: Path) -> None:
    """A second download: another file of the same size and time under the name."""
    other = file.with_suffix(".part")
    stat = file.stat()
    other.write_bytes(file.read_bytes()[:-200] + bytes(200))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(file)


def cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 10)


def taken_away(file: Path) -> None:
    file.unlink()


def grown(file: Path) -> None:
    with file.open("ab") as handle:
        handle.write(b"0")


CHANGES = [rewritten, replaced, cut_short, taken_away, grown]


class AtRead:
    """Changes a file before the read `number` of all that are made, or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, after: bool = False) -> None:
        self.count = 0
        self.number = -1
        self.act: Callable[[], None] = lambda: None
        self._real = sources._filled
        self._after = after
        monkeypatch.setattr(sources, "_filled", self._filled)

    def _filled(self, file: io.FileIO, buffer: memoryview, offset: int) -> bool:
        due = self.count == self.number
        self.count += 1
        if due and not self._after:
            self.act()
        result = self._real(file, buffer, offset)
        if due and self._after:
            self.act()
        return result


def layers_in(checkpoint: Checkpoint) -> list[Layer]:
    """The matrices of a checkpoint, decoded where they are quantised."""
    plan = stored_plan(checkpoint, dequantise(checkpoint).sources, "")
    return [layer for layer in plan_layers(plan).layers if not layer.one_dimensional]


def scanned(checkpoint: Checkpoint) -> list[ScanEvent]:
    plan = make_plan(checkpoint, layers_in(checkpoint), device="cpu", batch_size=1)
    return list(scan(plan))


def fp8_model() -> tuple[Tensors, dict[str, object]]:
    stored = {"weight": quantisers.fp8(1, 64, 64), "weight_scale_inv": quantisers.scales(2, 1, 1)}
    tensors = quantised.of_layer(stored) | quantised.of_layer(stored, "model.layers.1.mlp.up_proj")
    return tensors, quantised.config("fp8", weight_block_size=[128, 128])


def models(folder: Path) -> dict[str, Path]:
    """Plain weights, decoded ones, experts of their own and fused, wide and tall pieces."""
    tensors, config = fp8_model()
    return {
        "plain": save(folder / "plain", llama(1), shards=2),
        "fp8": save(folder / "fp8", tensors, config=config),
        "experts": save(folder / "experts", experts(0, count=2)),
        "fused": save(folder / "fused", {"mlp.experts.down_proj": matrix("fused", 3, 32, 16)}),
        "pieces": save(
            folder / "pieces", {"a.weight": matrix("a", 90, 30), "b.weight": matrix("b", 30, 90)}
        ),
    }


@pytest.mark.parametrize("after", [False, True], ids=["before the read", "during the read"])
@pytest.mark.parametrize(
    ("kind", "change"),
    [*(("fused", change) for change in CHANGES)]
    + [(kind, rewritten) for kind in ("plain", "fp8", "experts", "pieces")],
)
def test_a_change_at_any_read_ends_the_scan_and_journals_nothing_of_it(
    kind: str, change: Change, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before every read in turn: what is journaled then has the scores of the first bytes."""
    monkeypatch.setattr(svd, "CHUNK_ELEMENTS", 900)
    folder = models(tmp_path)[kind]
    files = {file: file.read_bytes() for file in folder.glob("*.safetensors")}
    clean = scores_of(scanned(read_checkpoint(folder)))
    at_read = AtRead(monkeypatch, after=after)
    reads = 0
    while True:
        for file, data in files.items():
            file.write_bytes(data)
        checkpoint = read_checkpoint(folder)
        journal = journal_path(checkpoint.fingerprint)
        journal.unlink(missing_ok=True)
        target = Path(checkpoint.tensors[-1].file)
        at_read.count, at_read.number = 0, reads
        at_read.act = partial(change, target)
        try:
            scanned(checkpoint)
        except ModelChangedError as exc:
            assert target.name in exc.message
            assert "\n" not in str(exc)
        else:
            assert at_read.count <= reads  # the change was due after the last read
            break
        kept = read_journal(journal)
        found = {name: entry.metrics["spectrum"] for name, entry in kept.items() if name in clean}
        assert found.items() <= clean.items()
        reads += 1
    assert reads >= len(clean)


@pytest.mark.parametrize("change", CHANGES)
def test_scores_of_before_are_not_taken_for_those_of_changed_files(
    change: Change, tmp_path: Path
) -> None:
    """Everything is in the journal of the fingerprint that was taken, and the files change."""
    folder = save(tmp_path, llama(1))
    checkpoint = read_checkpoint(folder)
    assert scores_of(scanned(checkpoint))
    change(folder / "model.safetensors")
    with pytest.raises(ModelChangedError, match=r"model\.safetensors has changed since"):
        scanned(checkpoint)


def test_a_change_after_the_last_read_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, llama(1))
    checkpoint = read_checkpoint(folder)
    count = len(layers_in(checkpoint))
    done = 0
    plan = make_plan(checkpoint, layers_in(checkpoint), device="cpu", batch_size=1)
    with pytest.raises(ModelChangedError):
        for event in scan(plan):
            done += event.__class__.__name__ == "LayerDone"
            if done == count:
                rewritten(folder / "model.safetensors")
    assert len(read_journal(plan.journal)) == count == done


def test_restored_files_get_the_scores_of_their_own_bytes(tmp_path: Path) -> None:
    """The files come back with their times after a scan that was ended by the change."""
    folder = save(tmp_path, llama(2))
    file = folder / "model.safetensors"
    data, stat = file.read_bytes(), file.stat()
    clean = scores_of(run(folder))
    checkpoint = read_checkpoint(folder)
    plan = make_plan(checkpoint, layers_in(checkpoint), device="cpu", batch_size=1)
    plan.journal.unlink()
    events = scan(plan)
    with pytest.raises(ModelChangedError):
        for number, _ in enumerate(events):
            if number == 6:
                rewritten(file)
    kept = {name: entry.metrics["spectrum"] for name, entry in read_journal(plan.journal).items()}
    assert kept.items() < clean.items()
    assert kept
    file.write_bytes(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert scores_of(run(folder)) == clean


def test_a_model_that_changed_since_it_was_inspected_writes_no_files(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", llama(1))
    inspection = inspect_model(str(folder))
    rewritten(folder / "model.safetensors")
    request = Settings(model=str(folder), device="cpu", output_dir=str(tmp_path / "out"))
    with pytest.raises(ModelChangedError):
        list(run_scan(request, inspection))
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_read_for_the_names_is_checked_too(change: Change, tmp_path: Path) -> None:
    folder = save(tmp_path, llama(1))
    checkpoint = read_checkpoint(folder)
    a, b = (t for t in checkpoint.tensors if t.name in ("lm_head.weight", EMBEDDINGS))
    assert not same_bytes(a, b)
    change(folder / "model.safetensors")
    with pytest.raises(ModelChangedError):
        Stored(checkpoint, detect({}, checkpoint.tensors)).bytes_of(a)
    with pytest.raises(ModelChangedError):
        same_bytes(a, b)


def test_a_header_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, llama(1))
    real = heads.header_length

    def header_length(head: bytes, name: str, size: int | None) -> int:
        rewritten(folder / name)
        return real(head, name, size)

    monkeypatch.setattr(heads, "header_length", header_length)
    with pytest.raises(ModelChangedError):
        read_checkpoint(folder)


def test_a_range_that_the_disk_cannot_read_fails_one_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, llama(1))
    checkpoint = read_checkpoint(folder)
    bad = next(t for t in checkpoint.tensors if t.name == "lm_head.weight")
    real = sources._filled

    def filled(file: io.FileIO, buffer: memoryview, offset: int) -> bool:
        if bad.start <= offset < bad.end:
            raise OSError(5, "Input/output error")
        return real(file, buffer, offset)

    monkeypatch.setattr(sources, "_filled", filled)
    events = scanned(checkpoint)
    assert scores_of(events).keys() == {x.name for x in layers_in(checkpoint)} - {"lm_head"}


def test_the_config_that_decodes_belongs_to_the_fingerprint(tmp_path: Path) -> None:
    """The same stored bytes are other values under another entry; of a plain model they are not."""
    tensors, config = fp8_model()
    seen = set()
    for entry in (config, config | {"dtype": "float16"}, quantised.config("fp8")):
        folder = save(tmp_path / "m", tensors, config=entry)
        os.utime(folder / "model.safetensors", ns=(1, 1))
        seen.add(read_checkpoint(folder).fingerprint)
    assert len(seen) == 3
    plain = set()
    folder = save(tmp_path / "p", llama(1))
    for dtype in ("float16", "float32"):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"dtype": dtype}))
        plain.add(read_checkpoint(folder).fingerprint)
    assert len(plain) == 1


def test_reading_and_files_beside_it_are_no_change(tmp_path: Path) -> None:
    folder = save(tmp_path, llama(1))
    checkpoint = read_checkpoint(folder)
    (folder / "model.safetensors").read_bytes()
    (folder / "notes.txt").write_text("beside it")
    (folder / "link").symlink_to("model.safetensors")
    assert len(scores_of(scanned(checkpoint))) == len(layers_in(checkpoint))
