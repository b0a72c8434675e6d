"""What a scan asks of GPUs, by what torch would answer: there is none here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from spectrum_tui.core.scanning import devices, gpus
from spectrum_tui.core.scanning.devices import (
    choose_devices,
    choose_precision,
    default_batch_size,
    load_solvers,
    why_unusable,
)

NO_KERNEL = RuntimeError(
    "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors"
)


@pytest.mark.parametrize(
    ("capability", "precision"),
    [
        ((6, 0), "exact"), ((7, 0), "exact"), ((8, 0), "exact"), ((9, 0), "exact"),
        ((10, 0), "exact"), ((6, 1), "fast"), ((7, 5), "fast"), ((8, 6), "fast"),
        ((8, 9), "fast"), ((10, 3), "fast"), ((11, 0), "fast"), ((12, 0), "fast"),
        ((12, 1), "fast"),
    ],
)  # fmt: skip
def test_precision_goes_by_the_rate_of_float64(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision("auto", "cuda:1") == precision
    assert choose_precision("exact", "cuda:1") == "exact"
    assert choose_precision("auto", "cpu") == "exact"


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("gfx908", "exact"), ("gfx90a:sramecc+:xnack-", "exact"), ("gfx942", "exact"),
        ("gfx950", "exact"), ("gfx906", "fast"), ("gfx1100", "fast"), ("gfx1201", "fast"),
    ],
)  # fmt: skip
def test_of_amd_those_for_computing_are_exact(
    name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ROCm says 9.0 of gfx90a and 11.0 of gfx1100: what it calls a capability tells nothing."""
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    properties = SimpleNamespace(gcnArchName=name)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert choose_precision("auto", "cuda:0") == precision


@pytest.mark.parametrize(
    ("columns", "cores", "at_once"),
    [(0, 64, 8), (1024, 64, 8), (1024, 2, 4), (1024, 6, 6), (2048, 64, 4), (2048, 2, 4),
     (2049, 64, 2), (16384, 64, 2)],
)  # fmt: skip
def test_fewer_large_matrices_are_in_work_on_a_gpu(
    columns: int, cores: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "cores", lambda: cores)
    assert default_batch_size("cuda:0", columns) == at_once
    assert default_batch_size("cpu", columns) == cores


def unusable(monkeypatch: pytest.MonkeyPatch, faults: dict[str, Exception]) -> None:
    """Two GPUs, of which some raise whatever is computed."""

    def try_out(device: str) -> None:
        if device in faults:
            raise faults[device]

    monkeypatch.setattr(devices, "available_devices", lambda: ("cpu", "cuda:0", "cuda:1"))
    monkeypatch.setattr(gpus, "try_out", try_out)


def test_a_gpu_that_torch_has_no_kernels_for_leaves_the_scan_to_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unusable(monkeypatch, {"cuda:0": NO_KERNEL})
    chosen, (note,) = choose_devices("cuda:0")
    assert chosen == ("cpu",)
    assert note == (
        "cuda:0 cannot compute here (CUDA error: no kernel image is available for execution on "
        "the device): the scan runs on the CPU."
    )
    load_solvers("cuda:0")  # says nothing


def test_of_two_gpus_the_one_that_computes_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    unusable(monkeypatch, {"cuda:0": OSError("libcusolver.so: undefined symbol: x")})
    chosen, (note,) = choose_devices("auto")
    assert chosen == ("cuda:1",)
    assert note.endswith("the scan goes on without it.")
    unusable(monkeypatch, {})
    assert choose_devices("cuda") == (("cuda:0", "cuda:1"), ())


def test_a_full_gpu_is_no_unusable_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its matrices wait for memory, or go to the CPU."""
    unusable(monkeypatch, {"cuda:0": torch.OutOfMemoryError("CUDA out of memory.")})
    assert why_unusable("cuda:0") == why_unusable("cpu") == ""


def test_a_device_is_tried_out_in_both_types(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    real = torch.linalg.eigvalsh

    def spy(matrix: torch.Tensor) -> torch.Tensor:
        seen.append(matrix.dtype)
        found: torch.Tensor = real(matrix)
        return found

    monkeypatch.setattr(torch.linalg, "eigvalsh", spy)
    gpus.try_out("cpu")
    assert seen == [torch.float64, torch.float32]


@pytest.mark.parametrize(
    ("exc", "fault"),
    [
        (RuntimeError("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR\nmore"),
         "cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate`"),
         "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate`"),
        (RuntimeError("lazy wrapper should be called at most once"),
         "lazy wrapper should be called at most once"),
        (RuntimeError("The size of tensor a (3) must match"), ""),
        (OSError(5, "Input/output error", "/models/cublas/model.safetensors"), ""),
        (ValueError("cublas"), ""),
        (ImportError("DLL load failed while importing _C"), "DLL load failed while importing _C"),
    ],
)  # fmt: skip
def test_what_a_fault_of_a_library_looks_like(exc: Exception, fault: str) -> None:
    assert gpus.library_fault(exc) == fault


def test_each_thread_has_a_stream_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    within: list[tuple[object, ...]] = []

    class Within:
        def __init__(self, *what: object) -> None:
            self.what = what

        def __enter__(self) -> None:
            within.append(self.what)

        def __exit__(self, *exc: object) -> None:
            within.remove(self.what)

    class Device(Within):
        pass

    class Stream:
        def __init__(self, device: str) -> None:
            self.device = device

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Stream) and self is other

        __hash__ = object.__hash__

    monkeypatch.setattr(torch.cuda, "device", Device)
    monkeypatch.setattr(torch.cuda, "stream", Within)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    with devices.current("cuda:1"), devices.current("cuda:1"):
        first, one, second, other = (what for (what,) in within)
        assert first == second == "cuda:1"
        assert isinstance(one, Stream)
        assert isinstance(other, Stream)
        assert one is not other
        assert one.device == "cuda:1"
    assert within == []
    with devices.current("cpu"):
        assert within == []
