"""The samples of a recording: WAV by the standard library, other kinds by soundfile."""

from __future__ import annotations

import importlib.util
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spectrum_tui.core import disk
from spectrum_tui.core.errors import DataError, reason_of
from spectrum_tui.core.text import safe

Samples = npt.NDArray[np.float32]


def samples_of(path: Path, rate: int) -> Samples:
    """Return the samples of a recording, the mean of its channels between -1 and 1; raises
    DataError, also where there are not `rate` of them a second."""
    try:
        data = disk.read_regular(path)
    except OSError as exc:
        raise _unreadable(path, reason_of(exc)) from None
    samples, own = _decoded(path, data)
    if own != rate:
        raise DataError(
            f"{safe(str(path))} has {own:,} samples a second, the model takes {rate:,}.",
            f"Convert it, as `ffmpeg -i in.wav -ar {rate} -ac 1 out.wav` does.",
            field="data",
        )
    return samples


def _decoded(path: Path, data: bytes) -> tuple[Samples, int]:
    try:
        with wave.open(io.BytesIO(data)) as file:
            frames = file.readframes(file.getnframes())
            samples = _of_width(frames, file.getsampwidth())
            channels = samples[: len(samples) // file.getnchannels() * file.getnchannels()]
            return _mono(channels.reshape(-1, file.getnchannels())), int(file.getframerate())
    except (wave.Error, EOFError, ValueError):
        return _by_soundfile(path, data)


def _mono(samples: Samples) -> Samples:
    mean: Samples = samples.mean(1, dtype=np.float32)
    return mean


def _of_width(frames: bytes, width: int) -> Samples:
    """Return samples of so many bytes as numbers: unsigned of 8 bits, signed above that."""
    if width == 1:
        return (np.frombuffer(frames, "u1").astype(np.float32) - np.float32(128)) / np.float32(128)
    if width == 3:
        raw = np.frombuffer(frames, "u1").reshape(-1, 3)
        whole = np.zeros((len(raw), 4), "u1")
        whole[:, 1:] = raw  # as the upper three bytes of four: the sign is where it belongs
        frames, width = whole.tobytes(), 4
    scale = np.float32(2.0 ** (8 * width - 1))
    return np.frombuffer(frames, f"<i{width}").astype(np.float32) / scale


def _by_soundfile(path: Path, data: bytes) -> tuple[Samples, int]:
    if importlib.util.find_spec("soundfile") is None:
        raise _unreadable(
            path, "it is no WAV of whole numbers, and the package soundfile is missing"
        )
    import soundfile

    try:
        found: tuple[Any, int] = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (RuntimeError, ValueError, OSError):
        raise _unreadable(path, "it is no recording, or a damaged one") from None
    return _mono(found[0]), int(found[1])


def _unreadable(path: Path, why: str) -> DataError:
    hint = "Convert it, as `ffmpeg -i in -ac 1 out.wav` does; pip install soundfile reads more."
    return DataError(f"Cannot read {safe(str(path))}: {why}.", hint, field="data")
