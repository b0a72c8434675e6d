"""What a row runs on: a device, or several processes with one each, that act as one."""

from __future__ import annotations

import importlib.util
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.proof.plan import check_shared
from spectrum_tui.core.proof.rows import Conditions
from spectrum_tui.core.scanning.devices import available_devices, is_cuda, pick_devices
from spectrum_tui.proving.loading import INSTALL

T = TypeVar("T")


class Machine:
    """The device of this process, and sums over all processes of the row.

    With several processes, accelerate joins them; each takes its share of every batch, and the
    gradients are added up, so that a row is the same training on one device or many.
    """

    def __init__(self, conditions: Conditions) -> None:
        self._accelerator: Any = None
        self.index, self.count = 0, conditions.processes
        device = pick_devices(conditions.device, available_devices())[0]
        if self.count > 1:
            from accelerate import Accelerator

            self._accelerator = Accelerator(cpu=not is_cuda(device))
            self.index, device = self._accelerator.process_index, self._accelerator.device
        self.device = torch.device(device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    def share(self, batch: Sequence[T]) -> list[T]:
        """Return the part of a batch that is this process's."""
        return list(batch[self.index :: self.count])

    def total(self, value: float) -> float:
        """Return the sum of a number over all processes."""
        if self._accelerator is None:
            return value
        double = torch.float64 if self.device.type != "mps" else torch.float32
        own = torch.tensor([value], dtype=double, device=self.device)
        return float(self._accelerator.reduce(own, "sum").item())

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by the sum over all processes."""
        if self._accelerator is None:
            return
        for parameter in parameters:
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self._accelerator.reduce(own, "sum")

    @property
    def name(self) -> str:
        """What the row ran on, in words."""
        one = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else ""
        return (
            f"{self.count} × {one or self.device.type}"
            if self.count > 1
            else one or str(self.device)
        )

    def dtype(self, wanted: str) -> torch.dtype:
        """Return the type of the weights: for `auto` bfloat16 on a GPU that computes with it,
        float32 elsewhere."""
        if wanted != "auto":
            chosen: torch.dtype = getattr(torch, wanted)
            return chosen
        is_able = self.device.type == "cuda" and torch.cuda.is_bf16_supported(False)
        return torch.bfloat16 if is_able else torch.float32


def start_others(conditions: Conditions, job: str, lost: Callable[[int], None]) -> None:
    """Start the other processes of a row, which get the same job, and name this one the first;
    `lost` gets the exit code where one of them ends before this does. Raises InputError."""
    count = conditions.processes
    if count < 2 or "RANK" in os.environ:
        return
    if importlib.util.find_spec("accelerate") is None:
        raise InputError("Several processes need the package accelerate.", INSTALL, field="gpus")
    check_shared(conditions)
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    os.environ.update(shared | {"MASTER_PORT": _free_port(), "RANK": "0", "LOCAL_RANK": "0"})
    for index in range(1, count):
        environment = {**os.environ, "RANK": str(index), "LOCAL_RANK": str(index)}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "spectrum_tui.proving"],
            stdin=subprocess.PIPE,
            env=environment,
            encoding="utf-8",
        )
        assert process.stdin is not None
        process.stdin.write(f"{job}\n")
        process.stdin.flush()  # it stays open: that it closes is how they learn of our end
        threading.Thread(target=_watch, args=(process, lost), daemon=True).start()


def _watch(process: subprocess.Popen[str], lost: Callable[[int], None]) -> None:
    code = process.wait()
    if code:
        lost(code)


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def make_repeatable(seed: int) -> None:
    """Have the same seed give the same row: bit for bit on a CPU, and on a GPU where its kernels
    can be."""
    # Not use_deterministic_algorithms: it imports the compiler, which takes 2 s.
    torch.set_deterministic_debug_mode("warn")
    # Nothing here reads memory before it is written; to fill it takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    random.seed(seed)
