"""Scores of stored matrices against a float64 SVD by numpy, whichever way they were computed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spectrum_tui.core.checkpoint.headers import Tensor, read_checkpoint
from spectrum_tui.core.errors import CheckpointError, ModelChangedError
from spectrum_tui.core.naming.parameters import Window, plain_source
from spectrum_tui.core.scoring import svd
from spectrum_tui.core.scoring.snr import UnscorableError, relative_error_bound, spectrum_score
from spectrum_tui.core.scoring.svd import (
    StoredMatrix,
    cost,
    gram_singular_values,
    qr_singular_values,
    singular_values,
)
from spectrum_tui.core.stored_types import BFLOAT16, Array
from tests import oracle
from tests.checkpoints import equal, matrix

SHAPES = [(1, 1), (1, 9), (9, 1), (2, 2), (7, 3), (64, 64), (300, 1000), (1000, 300)]
DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]


@pytest.fixture
def qr_calls(monkeypatch: pytest.MonkeyPatch) -> list[StoredMatrix]:
    """Every matrix that was computed the slow way."""
    calls: list[StoredMatrix] = []

    def spy(stored: StoredMatrix, device: str) -> oracle.Array:
        calls.append(stored)
        return qr_singular_values(stored, device)

    monkeypatch.setattr(svd, "qr_singular_values", spy)
    return calls


def stored(folder: Path, tensor: torch.Tensor) -> Tensor:
    """The tensor as it lies in a checkpoint, between two others."""
    save_file(
        {"a": torch.full((5,), 7.0), "w.weight": tensor.contiguous(), "z": torch.full((3,), 9.0)},
        folder / "model.safetensors",
    )
    return next(t for t in read_checkpoint(folder).tensors if t.name == "w.weight")


def of_rows(tensor: torch.Tensor) -> tuple[int, int]:
    rows = tensor.shape[0] if tensor.ndim > 1 else 1
    return rows, tensor.numel() // rows


def values_of(tensor: Tensor) -> Window:
    """All of a stored tensor, as the matrix of its first dimension by the rest."""
    width = tensor.numel // (tensor.shape[0] if len(tensor.shape) > 1 else 1)
    return Window(plain_source(tensor), 0, width)


def in_file(folder: Path, tensor: torch.Tensor) -> StoredMatrix:
    return StoredMatrix(values_of(stored(folder, tensor)), *of_rows(tensor))


def program(folder: Path, tensor: torch.Tensor) -> float:
    shape = of_rows(tensor)
    spectrum = singular_values(values_of(stored(folder, tensor)), *shape, "cpu")
    return spectrum_score(spectrum.values, *shape).snr


def with_spectrum(rows: int, columns: int, values: oracle.Array) -> torch.Tensor:
    """A float64 matrix with these singular values."""
    rng = np.random.default_rng(rows * 1000 + columns)
    left = np.linalg.qr(rng.standard_normal((rows, len(values))))[0]
    right = np.linalg.qr(rng.standard_normal((columns, len(values))))[0]
    return torch.from_numpy(left * values @ right.T)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape_and_type(shape: tuple[int, int], dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = matrix(f"layer {shape}", *shape, dtype=dtype)
    assert oracle.close(program(tmp_path, tensor), oracle.snr(oracle.as_matrix(tensor)))


@pytest.mark.parametrize("chunk", [1, 100, 4096, 10**9])
@pytest.mark.parametrize("shape", [(130, 40), (40, 130), (61, 61)], ids=str)
def test_the_size_of_the_pieces_does_not_matter(
    shape: tuple[int, int], chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = matrix("pieces", *shape)
    monkeypatch.setattr(svd, "CHUNK_ELEMENTS", chunk)
    weight = in_file(tmp_path, tensor)
    true = oracle.singular_values(tensor.numpy())
    np.testing.assert_allclose(gram_singular_values(weight, "cpu")[0], true, rtol=1e-9)
    np.testing.assert_allclose(qr_singular_values(weight, "cpu"), true, rtol=1e-11)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_magnitude(scale: float, dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = (matrix("scaled", 48, 96, dtype=torch.float64) * scale).to(dtype)
    assert oracle.close(program(tmp_path, tensor), oracle.snr(oracle.as_matrix(tensor)))


@pytest.mark.parametrize(
    "scale", [1e-200, 1e-162, 1e-158, 1e-155, 1e-150, 1e-140, 1e149, 1e151, 1e153, 1e170, 1e300]
)
def test_magnitudes_whose_squares_under_or_overflow(scale: float, tmp_path: Path) -> None:
    tensor = matrix("scaled", 48, 96, dtype=torch.float64) * scale
    assert oracle.close(program(tmp_path, tensor), oracle.snr(oracle.as_matrix(tensor)))


def test_the_whole_range_of_half_precision(tmp_path: Path) -> None:
    """Subnormal numbers and the largest ones, side by side."""
    rng = np.random.default_rng(5)
    values = 10.0 ** rng.uniform(-7, 4.8, (50, 80)) * rng.choice([-1, 1], (50, 80))
    tensor = torch.from_numpy(values).to(torch.float16)
    assert bool(torch.isfinite(tensor).all())
    assert oracle.close(program(tmp_path, tensor), oracle.snr(oracle.as_matrix(tensor)))


def test_values_of_mixed_magnitudes(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    tensor = torch.from_numpy(10.0 ** rng.uniform(-30, 30, (40, 60))).to(torch.float32)
    assert oracle.close(program(tmp_path, tensor), oracle.snr(oracle.as_matrix(tensor)))


@pytest.mark.parametrize("shape", [(60, 60), (50, 200), (200, 50)], ids=str)
@pytest.mark.parametrize("rank", [1, 2, 20])
def test_rank_deficient(shape: tuple[int, int], rank: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(rank)
    # Small whole numbers: the product is exact in float32, and so is its rank.
    left = rng.integers(-3, 4, (shape[0], rank)).astype(np.float32)
    right = rng.integers(-3, 4, (rank, shape[1])).astype(np.float32)
    tensor = torch.from_numpy(left @ right)
    assert oracle.close(program(tmp_path, tensor), oracle.snr(tensor.numpy()))


def test_more_than_half_of_the_values_zero_is_all_signal(tmp_path: Path) -> None:
    tensor = torch.diag(torch.tensor([4.0, 3.0, *([0.0] * 14)]))
    assert program(tmp_path, tensor) == math.inf


@pytest.mark.parametrize("n", [1, 2, 5, 64])
def test_identity(n: int, tmp_path: Path) -> None:
    assert program(tmp_path, torch.eye(n)) == pytest.approx(n, rel=1e-12)
    assert program(tmp_path, torch.eye(n) * 4.0) == pytest.approx(n, rel=1e-12)


@pytest.mark.parametrize("smallest", [1e-2, 1e-4, 1e-6, 1e-9, 1e-13])
@pytest.mark.parametrize("shape", [(64, 64), (64, 300), (300, 64)], ids=str)
def test_graded_spectra(shape: tuple[int, int], smallest: float, tmp_path: Path) -> None:
    tensor = with_spectrum(*shape, np.geomspace(1.0, smallest, 64))
    assert oracle.close(program(tmp_path, tensor), oracle.snr(tensor.numpy()))


@pytest.mark.parametrize("shape", [(8, 3, 5, 5), (16, 4, 3), (2, 3, 4, 5, 6)], ids=str)
def test_convolutions_are_scored_as_out_channels_by_the_rest(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    tensor = matrix("conv", *shape)
    wanted = oracle.snr(tensor.reshape(shape[0], -1).numpy())
    assert oracle.close(program(tmp_path, tensor), wanted)


def test_one_dimension(tmp_path: Path) -> None:
    assert program(tmp_path, torch.tensor([1.0, -2.0, 0.5])) == pytest.approx(1.0, rel=1e-15)


def test_an_ordinary_matrix_takes_the_fast_way(
    tmp_path: Path, qr_calls: list[StoredMatrix]
) -> None:
    for shape in ((64, 64), (128, 512), (512, 128)):
        program(tmp_path, matrix("ordinary", *shape, dtype=torch.bfloat16))
    assert qr_calls == []


@pytest.mark.parametrize(
    "values",
    [
        np.geomspace(1.0, 1e-12, 64),  # the noise part is made of what squaring loses
        np.concatenate((np.linspace(2, 1, 4), np.linspace(2e-9, 1e-9, 60))),
        np.concatenate((np.linspace(2, 1, 60), np.zeros(4))),
    ],
    ids=["graded", "low rank and dust", "rank-deficient"],
)
def test_the_slow_way_is_taken_where_squaring_loses_too_much(
    values: oracle.Array, tmp_path: Path, qr_calls: list[StoredMatrix]
) -> None:
    tensor = with_spectrum(64, 96, values)
    got = program(tmp_path, tensor)
    assert len(qr_calls) == 1
    assert oracle.close(got, oracle.snr(tensor.numpy()))
    # And it was needed, or at least not provably needless: the fast way has no such bound.
    weight = in_file(tmp_path, tensor)
    fast, errors = gram_singular_values(weight, "cpu")
    assert relative_error_bound(fast, errors, 64, 96) > svd.TOLERANCE[svd.EXACT]


def test_the_fast_way_alone_would_be_wrong(tmp_path: Path) -> None:
    values = np.concatenate((np.linspace(2, 1, 4), np.geomspace(1e-8, 1e-10, 60)))
    tensor = with_spectrum(64, 96, values)
    fast, _ = gram_singular_values(in_file(tmp_path, tensor), "cpu")
    wanted = oracle.snr(tensor.numpy())
    assert not oracle.close(spectrum_score(fast, 64, 96).snr, wanted)
    assert oracle.close(program(tmp_path, tensor), wanted)


def spectra_to_bound() -> list[oracle.Array]:
    rng = np.random.default_rng(8)
    made = [np.geomspace(1.0, 10.0**-e, 40) for e in (1, 2, 3, 4, 6, 8, 12)]
    made += [np.sort(rng.uniform(0, 1, 40))[::-1].copy() for _ in range(5)]
    made += [np.sort(rng.pareto(1.0, 40))[::-1].copy() for _ in range(5)]
    return made


@pytest.mark.parametrize("shape", [(40, 40), (40, 700), (700, 40)], ids=str)
def test_the_bound_bounds_the_true_error(shape: tuple[int, int], tmp_path: Path) -> None:
    finite = 0
    for values in spectra_to_bound():
        tensor = with_spectrum(*shape, values)
        weight = in_file(tmp_path, tensor)
        fast, errors = gram_singular_values(weight, "cpu")
        true = oracle.singular_values(tensor.numpy())
        own = 50 * np.finfo(np.float64).eps * true[0]  # of the oracle itself
        assert (np.abs(fast - true) <= errors + own).all()
        bound = relative_error_bound(fast, errors, *shape)
        if math.isfinite(bound):
            finite += 1
            got = spectrum_score(fast, *shape).snr
            wanted = oracle.snr_of_values(true, *shape)
            assert abs(got - wanted) <= (bound + 1e-12) * wanted
    assert finite >= 8  # the bound is not simply infinite


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (9, 1), (1, 9)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numbers_that_are_not_finite(
    bad: float, shape: tuple[int, int], dtype: torch.dtype, tmp_path: Path
) -> None:
    tensor = matrix("bad", *shape, dtype=dtype)
    tensor.view(-1)[-1] = bad
    with pytest.raises(UnscorableError, match="NaN or Inf"):
        program(tmp_path, tensor)


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (1, 1)], ids=str)
def test_all_zero(shape: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(UnscorableError, match="zero"):
        program(tmp_path, torch.zeros(shape))


def test_the_smallest_number_that_is_not_zero(tmp_path: Path) -> None:
    tensor = torch.zeros(4, 4, dtype=torch.bfloat16)
    tensor[0, 0] = 9.2e-41
    assert float(tensor[0, 0]) > 0
    assert program(tmp_path, tensor) == math.inf


def test_a_tall_matrix_is_never_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read_rows = Window.read_rows

    def spy(self: Window, start: int, stop: int) -> Array:
        block = read_rows(self, start, stop)
        reads.append(block.nbytes)
        return block

    monkeypatch.setattr(Window, "read_rows", spy)
    monkeypatch.setattr(svd, "CHUNK_ELEMENTS", 1024)
    monkeypatch.setattr(svd, "STRIP_ELEMENTS", 4096)
    tensor = matrix("tall", 3000, 30)
    program(tmp_path, tensor)
    assert max(reads) <= 4096 * 4
    assert sum(reads) == tensor.numel() * 4  # each byte once
    assert len(reads) > 16


def test_a_wide_matrix_is_widened_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(svd, "CHUNK_ELEMENTS", 4096)
    tensor = matrix("wide", 30, 3000, dtype=torch.bfloat16)
    weight = in_file(tmp_path, tensor)
    pieces = list(weight.blocks())
    assert max(p.size for p in pieces) <= 4096
    assert all(p.dtype == BFLOAT16 and p.shape[1] == 30 for p in pieces)
    assert equal(np.concatenate(pieces).T, tensor)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(30, 3000), (1, 20_000), (7, 4099)], ids=str)
def test_a_wide_matrix_is_held_in_strips_of_the_same_pieces(
    shape: tuple[int, int],
    dtype: torch.dtype,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(svd, "CHUNK_ELEMENTS", 1024)
    tensor = matrix("strips", *shape, dtype=dtype)
    weight = in_file(tmp_path, tensor)
    whole = list(weight.blocks())
    score = gram_singular_values(weight, "cpu")[0]
    held: list[int] = []
    real = Window.read_columns

    def spy(self: Window, rows: int, start: int, stop: int) -> Array:
        block = real(self, rows, start, stop)
        held.append(block.size)
        return block

    monkeypatch.setattr(Window, "read_columns", spy)
    monkeypatch.setattr(svd, "STRIP_ELEMENTS", 5000)
    pieces = list(weight.blocks())
    assert len(pieces) == len(whole)
    assert all(np.array_equal(a, b) for a, b in zip(pieces, whole, strict=True))
    assert max(held) <= 5000
    assert sum(held) == tensor.numel()
    np.testing.assert_allclose(gram_singular_values(weight, "cpu")[0], score, rtol=1e-12)


def test_one_row_is_read_once(tmp_path: Path, qr_calls: list[StoredMatrix]) -> None:
    """Its score is 1 however long it is: no better way is taken for its only value."""
    values = values_of(stored(tmp_path, matrix("row", 1, 5000)))
    assert relative_error_bound(np.array([3.0]), np.array([0.1]), 1, 2**40) == 0.0
    assert spectrum_score(singular_values(values, 1, 5000, "cpu").values, 1, 5000).snr == 1.0
    assert not qr_calls


def test_strips_of_a_half_are_its_columns(tmp_path: Path) -> None:
    """Gate and up that alternate, or lie beside each other, as windows have them."""
    tensor = stored(tmp_path, matrix("halves", 6, 40))
    for kept in ((0, 40, 2), (1, 40, 2), (0, 20, 1), (20, 40, 1), ()):
        window = Window(plain_source(tensor), 1, 40, kept)
        whole = window.read_rows(0, 4)
        for start, stop in ((0, 1), (3, 11), (19, 20), (0, whole.shape[1])):
            assert equal(window.read_columns(4, start, stop), whole[:, start:stop])


def test_a_file_cut_short_since_its_header_was_read(tmp_path: Path) -> None:
    tensor = stored(tmp_path, matrix("cut", 64, 64))
    path = Path(tensor.file)
    path.write_bytes(path.read_bytes()[: tensor.start + 100])
    unknown = replace(tensor, state=None)
    with pytest.raises(CheckpointError, match=r"ends in the middle of w\.weight"):
        singular_values(values_of(unknown), 64, 64, "cpu")
    with pytest.raises(ModelChangedError):
        singular_values(values_of(tensor), 64, 64, "cpu")
    path.with_name("config.json").touch()  # an empty folder were a mount that is gone
    path.unlink()
    with pytest.raises(CheckpointError, match="is not on this machine"):
        singular_values(values_of(unknown), 64, 64, "cpu")
    with pytest.raises(ModelChangedError):
        singular_values(values_of(tensor), 64, 64, "cpu")


def test_cost_grows_with_the_work() -> None:
    assert cost(1, 4096) == cost(4096, 1) == 0.0
    assert cost(100, 200) == cost(200, 100) > 0
    assert cost(512, 512) < cost(512, 1024) < cost(1024, 1024) < cost(4096, 4096)
