"""Whoever reads files that lie elsewhere: what has come, and what ends the waits of all threads."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from spectrum_tui.core.checkpoint.headers import Tensor
from spectrum_tui.core.checkpoint.sources import Pieces
from spectrum_tui.core.errors import HubError, SpectrumError
from spectrum_tui.core.hub.location import RemoteFile, changed_there
from spectrum_tui.core.hub.outage import Outage


class NoRangesError(HubError):
    """A server that answers a range with the whole file."""


@dataclass
class Traffic:
    """What has come over the network: bytes, and requests for ranges."""

    nbytes: int = 0
    requests: int = 0


class Reader(ABC):
    """The values of remote files, `files` by the names in `Tensor.file`; used by many threads.

    `check` is called ten times a second while the network is waited for (`outage.reason`), and
    ends the wait by raising. Raises HubError where it is of no use to go on, and
    ModelChangedError for a file that is not the one that was inspected.
    """

    def __init__(
        self,
        files: Mapping[str, RemoteFile],
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._files = dict(files)
        self.files = frozenset(files)
        self.outage = Outage(check=check)
        self.traffic = Traffic()
        self._counting = threading.Lock()

    def read_into(self, tensor: Tensor, pieces: Pieces) -> None:
        """Fill each buffer from its offset in the tensor's file, a request for each."""
        for buffer, offset in pieces:
            self.fetch(tensor.file, offset, buffer)

    def fetch(self, file: str, start: int, buffer: memoryview) -> None:
        """Fill the buffer from byte `start` of a file; a range that breaks off goes on where it
        did."""
        known = self._files[file]
        with self._ends_all():
            if start + len(buffer) > known.size:
                raise changed_there(known)
            self._fetch(file, start, buffer)

    @abstractmethod
    def _fetch(self, name: str, start: int, buffer: memoryview) -> None:
        """Fill the buffer from byte `start` of a file, of which there are as many; what has failed
        is asked for again."""

    def gives_ranges(self) -> bool:
        """Return whether the server gives ranges of files."""
        return True

    def close(self) -> None:  # noqa: B027 - most leave nothing open
        """End what is under way for reads that nobody waits for."""

    @contextlib.contextmanager
    def _ends_all(self) -> Iterator[None]:
        """Let an error end the waits of all threads, but one that has another way."""
        try:
            yield
        except NoRangesError:
            raise
        except SpectrumError as exc:
            self.outage.fail(exc)
            raise

    def file(self, name: str) -> RemoteFile:
        """Return what is known of a file, by its name in `Tensor.file`."""
        return self._files[name]

    @property
    def where(self) -> str:
        """Return where it reads: the commit of a repository on the hub, or the address of a folder;
        empty without files."""
        return next((file.where for file in self._files.values()), "")

    @property
    def unmarked(self) -> bool:
        """Whether the server says of a file neither what it is nor when it was changed."""
        return any(file.is_unmarked for file in self._files.values())

    def came(self, count: int) -> None:
        """Count bytes from the network."""
        with self._counting:
            self.traffic.nbytes += count

    def asked(self) -> None:
        """Count a request for a range."""
        with self._counting:
            self.traffic.requests += 1
