"""Models in a bucket: s3://bucket/model, gs://bucket/model, az://account/container/model.

Through obstore (the extra `cloud`), which finds credentials as each provider's own tools do. What
is read must be of the object that was inspected, by its ETag.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import unquote

from spectrum_tui.core.errors import HubError, InputError
from spectrum_tui.core.hub.location import RemoteFile, changed_there
from spectrum_tui.core.hub.outage import lost
from spectrum_tui.core.hub.ranges import RangeReader
from spectrum_tui.core.hub.web import Folder, Part, WebModel, check_address
from spectrum_tui.core.text import safe

SCHEMES = ("s3://", "gs://", "az://")


def is_in_a_bucket(model: str) -> bool:
    """Return whether what was typed, or the address of a file, is in an object store."""
    return model.lower().startswith(SCHEMES)


def read_cloud(url: str) -> WebModel:
    """Describe the model in a bucket, by its headers; raises HubError, CheckpointError, and
    InputError without the package that reads there."""
    check_address(url)
    _obstore()
    return Folder(f"{url.rstrip('/')}/", _part).read()


class CloudReader(RangeReader):
    """The values of files in a bucket."""

    def fetch(self, file: str, start: int, buffer: memoryview) -> None:
        """Fill the buffer from byte `start` of a file; what has failed is asked for again."""
        known, waits = self.file(file), self.outage.waits()
        if start + len(buffer) > known.size:
            raise changed_there(known)
        while True:
            self.outage.hold()
            self.asked()
            try:
                data = _ranged(known, start, start + len(buffer))
            except _obstore().exceptions.GenericError as exc:  # after attempts of its own
                self.outage.wait(exc, waits)
                continue
            buffer[:] = data
            self.came(len(buffer))
            return


def _ranged(file: RemoteFile, start: int, end: int) -> Any:
    """Return the bytes of a range of an object that is still the one that was inspected."""
    obstore = _obstore()
    options = {"range": (start, end)} | ({"if_match": file.tag} if file.tag else {})
    try:
        answer = obstore.get(*_place(file.url), options=options)
        size, data = answer.meta["size"], memoryview(answer.bytes())
    except (obstore.exceptions.PreconditionError, obstore.exceptions.NotFoundError):
        raise changed_there(file) from None
    except obstore.exceptions.GenericError:
        raise
    except obstore.exceptions.BaseError as exc:
        raise _refused(file.url, exc) from None
    if size != file.size or len(data) != end - start:
        raise changed_there(file)
    return data


def _part(url: str, start: int, end: int) -> Part | None:
    obstore = _obstore()
    store, path = _place(url)
    try:
        meta = obstore.head(store, path)
        size, tag = meta["size"], meta["e_tag"] or ""
        options = {"range": (start, min(end, size))} | ({"if_match": tag} if tag else {})
        data = bytes(obstore.get(store, path, options=options).bytes()) if size > start else b""
        return Part(data, size, tag, f"{meta['last_modified']} {meta['version'] or ''}".strip())
    except (obstore.exceptions.NotFoundError, FileNotFoundError):
        return None
    except obstore.exceptions.GenericError as exc:
        raise lost(exc) from None
    except (obstore.exceptions.BaseError, ValueError) as exc:
        raise _refused(url, exc) from None


def _place(url: str) -> tuple[Any, str]:
    """Return the folder that a file is in, as obstore has it, and the file's name there."""
    folder, _, name = url.rpartition("/")
    return _bucket(folder), unquote(name)


@cache
def _bucket(url: str) -> Any:
    obstore = _obstore()
    try:
        return obstore.store.from_url(url)
    except (obstore.exceptions.BaseError, ValueError) as exc:
        raise _refused(url, exc) from None


def _refused(url: str, exc: BaseException) -> HubError:
    """Return the error for an object that is not given; the client's own text may quote
    requests."""
    return HubError(
        f"{safe(url)} cannot be read ({type(exc).__name__}).",
        "Check the address, the region and the credentials of this provider.",
        field="model",
    )


@cache
def _obstore() -> Any:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError:
        raise InputError(
            "Models in a bucket are read by the package obstore, which is not installed.",
            "Install it: pip install 'spectrum-tui[cloud]'.",
            field="model",
        ) from None
    return obstore
