"""Models in a bucket: s3://bucket/model, gs://bucket/model, az://container/model.

Through obstore (the extra `cloud`), which finds credentials as each provider's own tools do. What
is read must be of the object that was inspected, by its ETag.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any
from urllib.parse import unquote

from spectrum_tui.core.errors import HubError, InputError
from spectrum_tui.core.hub.attended import Attempt, StalledError, attended
from spectrum_tui.core.hub.cloud_settings import (
    CREDENTIALS,
    ENDPOINTS,
    client_options,
    host_of,
    is_anonymous,
    scheme_of,
    store_options,
)
from spectrum_tui.core.hub.location import RemoteFile, changed_there
from spectrum_tui.core.hub.outage import lost
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.hub.reader import Reader
from spectrum_tui.core.hub.web import Folder, Part, WebModel, check_address
from spectrum_tui.core.text import safe

SCHEMES = ("s3://", "gs://", "az://")

_METADATA = ("169.254.169.254", "metadata.google.internal")
"""Whom a machine in a cloud asks for credentials, the last place where they are looked for."""

_ANSWERED = re.compile(r"status code: (\d{3})\b")
_ASKED_AGAIN = (408, 425, 429)
_EXPIRED = ("ExpiredToken", "token has expired", "not valid in the specified time frame")
_ALSO = {
    "s3": (
        " A public bucket: AWS_SKIP_SIGNATURE=1; one whose readers pay: "
        "AWS_REQUEST_PAYER=requester."
    ),
    "gs": " A public bucket: GOOGLE_SKIP_SIGNATURE=1.",
    "az": " A public container: AZURE_SKIP_SIGNATURE=1.",
}

CLIENT: dict[str, Any] = {"read_timeout": "20s", "timeout": "600s"}
"""No read takes longer; a request as a whole may, as 4 MiB over a slow line, while bytes come."""

LEAST_CHUNK = 1 << 16
"""Bytes after which whoever waits for them is told of them."""

RETRIES = 2
"""Attempts of the client itself after the first; its ten take minutes where no answer comes."""


def is_in_a_bucket(model: str) -> bool:
    """Return whether what was typed, or the address of a file, is in an object store."""
    return model.lower().startswith(SCHEMES)


def read_cloud(url: str, patience: Patience | None = None) -> WebModel:
    """Describe the model in a bucket, by its headers; raises HubError, CheckpointError, and
    InputError without the package that reads there."""
    check_address(url)
    _obstore()
    asked = patience or Patience()
    return Folder(f"{url.rstrip('/')}/", partial(_part, asked.check)).read()


class StoreError(Exception):
    """A failure of the client: the `host` that it asked, and the `status` of the answer, 0 without
    one."""

    def __init__(self, url: str, exc: Exception) -> None:
        super().__init__(str(exc))
        self.host, self.status = host_of(url), _status(exc)


class CloudReader(Reader):
    """The values of files in a bucket."""

    def _fetch(self, name: str, start: int, buffer: memoryview) -> None:
        known, waits = self.file(name), self.outage.waits()
        ask = partial(_ranged, known, start, start + len(buffer))
        while True:
            self.outage.hold()
            self.asked()
            try:
                data = attended(ask, self.outage.check, host_of(known.url))
            except StalledError as exc:
                self.outage.wait(exc, waits)
                continue
            except _obstore().exceptions.GenericError as exc:  # after attempts of its own
                if (error := _lasting(known.url, exc)) is not None:
                    raise error from None
                self.outage.wait(StoreError(known.url, exc), waits)
                continue
            buffer[:] = data
            self.came(len(buffer))
            self.outage.over()
            return


def _ranged(file: RemoteFile, start: int, end: int, attempt: Attempt) -> Any:
    """Return the bytes of a range of an object that is still the one that was inspected."""
    obstore = _obstore()
    options = {"range": (start, end)} | ({"if_match": file.tag} if file.tag else {})
    try:
        answer = obstore.get(*_place(file.url), options=options)
        size, data = answer.meta["size"], _bytes_of(answer, attempt)
    except (obstore.exceptions.PreconditionError, obstore.exceptions.NotFoundError):
        raise changed_there(file) from None
    except obstore.exceptions.GenericError:
        raise
    except obstore.exceptions.BaseError as exc:
        raise _refused(file.url, exc) from None
    marked = file.is_marked(answer.meta["e_tag"] or "", _modified(answer.meta))
    if size != file.size or len(data) != end - start or not marked:
        raise changed_there(file)
    return data


def _modified(meta: Any) -> str:
    """Return when an object was written, and its version in a bucket that keeps several."""
    return f"{meta['last_modified']} {meta['version'] or ''}".strip()


def _bytes_of(answer: Any, attempt: Attempt) -> bytes:
    data = bytearray()
    for piece in answer.stream(min_chunk_size=LEAST_CHUNK):
        attempt.came(len(piece))
        data += memoryview(piece)
    return bytes(data)


def _part(check: Callable[[], None], url: str, start: int, end: int) -> Part | None:
    try:
        return attended(partial(_asked, url, start, end), check, host_of(url))
    except StalledError as exc:
        raise lost(exc) from None


def _asked(url: str, start: int, end: int, attempt: Attempt) -> Part | None:
    obstore = _obstore()
    store, path = _place(url)
    try:
        meta = obstore.head(store, path)
        size, tag = meta["size"], meta["e_tag"] or ""
        options = {"range": (start, min(end, size))} | ({"if_match": tag} if tag else {})
        data = b""
        if size > start:
            data = _bytes_of(obstore.get(store, path, options=options), attempt)
        return Part(data, size, tag, _modified(meta))
    except (obstore.exceptions.NotFoundError, FileNotFoundError):
        return None
    except obstore.exceptions.GenericError as exc:
        raise _lasting(url, exc) or _unreached(url, exc) from None
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
        return obstore.store.from_url(
            url,
            config=store_options(url) or None,
            client_options=CLIENT | client_options(url),
            retry_config={"max_retries": RETRIES},
        )
    except (obstore.exceptions.BaseError, ValueError) as exc:
        raise _lasting(url, exc) or _unusable(url) from None


def _lasting(url: str, exc: BaseException) -> HubError | None:
    """Return the error for what no other attempt mends; the client has one class for all, so that
    they are told apart by its text, which is never shown."""
    text, scheme, status = str(exc), scheme_of(url), _status(exc)
    if any(host in text for host in _METADATA):
        message, hint = f"No credentials for {safe(url)} were found.", CREDENTIALS[scheme]
    elif "Account must be specified" in text:
        message = f"{safe(url)} does not say which storage account it is in."
        hint = "Set AZURE_STORAGE_ACCOUNT_NAME, and give az://CONTAINER/FOLDER."
    elif "BadScheme" in text:
        message = f"The endpoint for {safe(url)} has no encryption (http://), which is not allowed."
        hint = "Give one that begins with https://, or set AWS_ALLOW_HTTP=true."
    elif "kind: Builder" in text or "RelativeUrlWithoutBase" in text:
        message = f"The endpoint for {safe(url)} is no usable address."
        hint = f"Check {' and '.join(ENDPOINTS[scheme])}."
    elif "incorrectly configured region" in text or "BareRedirect" in text:
        message = f"The bucket of {safe(url)} is in another region."
        hint = "Set AWS_REGION to that of the bucket."
    elif 400 <= status < 500 and status not in _ASKED_AGAIN:
        return _refused(url, exc)
    else:
        return None
    return HubError(message, hint, field="model")


def _status(exc: BaseException) -> int:
    """Return the HTTP status that a store has answered with; 0 where it is not known."""
    found = _ANSWERED.search(str(exc))
    return int(found[1]) if found else 0


def _unreached(url: str, exc: Exception) -> HubError:
    """Return the error for a store that did not answer, or that could not even be asked."""
    text = str(exc)
    asked = "RetryError" in text or "HttpError" in text
    return lost(StoreError(url, exc)) if asked else _unusable(url)


def _unusable(url: str) -> HubError:
    """Return the error for settings that the client takes for none."""
    return HubError(
        f"The credentials or other settings for {safe(url)} are not usable.",
        CREDENTIALS[scheme_of(url)],
        field="model",
    )


def _refused(url: str, exc: BaseException) -> HubError:
    """Return the error for an object that is not given; the client's own text may quote
    requests."""
    text, scheme, status = str(exc), scheme_of(url), _status(exc)
    answer = f" (HTTP {status})"
    if not status:
        message = f"{safe(url)} cannot be read ({type(exc).__name__})."
        hint = "Check the address and the credentials of this provider."
    elif any(sign in text for sign in _EXPIRED):
        message = f"The credentials for {safe(url)} have expired{answer}."
        hint = "Get new ones."
    elif is_anonymous(url):
        message, hint = f"{safe(url)} is not public{answer}.", CREDENTIALS[scheme]
    else:
        message = f"{safe(url)} is not given to these credentials{answer}."
        hint = f"Check the address, and that they are right and not expired.{_ALSO.get(scheme, '')}"
    return HubError(message, hint, field="model")


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
