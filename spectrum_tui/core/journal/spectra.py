"""The singular values of every scored matrix on disk, so that another metric needs no scan.

An append-only file beside the journal, whose entries hold each spectrum's offset. A spectrum is
written before its entry, so a torn tail is never referred to. It is not synced: a system that
dies may lose the last ones, and then their checksum says so. Float64, so that a metric computed
later has the bits that a scan gives: at most 4 bytes per thousand of the model's own (0.74 GB
for 45,000 experts of 7168 x 2048, which are 1.3 TB).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from spectrum_tui.core.disk import GrowingFile, KeptFile
from spectrum_tui.core.files import cannot_keep
from spectrum_tui.core.results.results import FloatArray

_HEAD = struct.Struct("<4sIQQI")
"""Magic, number of values, rows, columns, checksum."""
_MAGIC = b"spc1"
NOWHERE = -1
"""The offset of a spectrum that was not kept."""


@dataclass(frozen=True, slots=True)
class KeptSpectrum:
    """Singular values, descending, of a rows x columns matrix."""

    values: FloatArray
    rows: int
    columns: int


def spectra_path(journal: Path) -> Path:
    """Return where the spectra lie that a journal's entries refer to."""
    return journal.with_suffix(".spectra")


class SpectraWriter:
    """Appends spectra to a file. Raises OutputError on a full disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = GrowingFile(path)
        except OSError as exc:
            raise cannot_keep(path, exc) from None

    def append(self, name: str, spectrum: KeptSpectrum) -> int:
        """Write the spectrum of the matrix `name`; returns its offset, for `SpectraReader.read`."""
        try:
            return self._file.append(_record(name, spectrum))
        except OSError as exc:
            raise cannot_keep(self.path, exc) from None

    def close(self) -> None:
        """No more spectra."""
        self._file.close()


class SpectraReader:
    """Reads single spectra of a file, which need not exist.

    By reading rather than mapping it: whoever empties the cache may cut the file short, and a map
    of it would end the process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: KeptFile | None = None

    def __enter__(self) -> Self:
        try:
            self._file = KeptFile(self._path)
        except OSError:
            self._file = None
        return self

    def __exit__(self, *error: object) -> None:
        if self._file:
            self._file.close()

    def read(self, name: str, offset: int) -> KeptSpectrum | None:
        """Return the spectrum of the matrix `name` at an offset; None where it is not, or not
        whole."""
        if self._file is None or offset < 0:
            return None
        try:
            head = self._file.read(offset, _HEAD.size)
            magic, count, rows, columns, checksum = _HEAD.unpack(head)
            if magic != _MAGIC or count != min(rows, columns):
                return None
            body = self._file.read(offset + _HEAD.size, 8 * count)
        except (OSError, ValueError, struct.error, OverflowError):
            return None
        if len(body) < 8 * count or _checksum(name, rows, columns, body) != checksum:
            return None
        return KeptSpectrum(np.frombuffer(body, "<f8").astype(np.float64), rows, columns)


def _record(name: str, spectrum: KeptSpectrum) -> bytes:
    body = np.ascontiguousarray(spectrum.values, "<f8").tobytes()
    checksum = _checksum(name, spectrum.rows, spectrum.columns, body)
    size = len(spectrum.values)
    return _HEAD.pack(_MAGIC, size, spectrum.rows, spectrum.columns, checksum) + body


def _checksum(name: str, rows: int, columns: int, body: bytes) -> int:
    """Return a checksum with the name in it: where the file was lost and begun anew, another
    matrix may lie at an offset."""
    key = f"{name}\0{rows}\0{columns}".encode("utf-8", "surrogatepass")
    return zlib.crc32(body, zlib.crc32(key))
