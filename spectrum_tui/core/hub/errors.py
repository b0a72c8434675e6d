"""What the model hub's many exceptions mean, in one line each and with what to do about it.

The hub's client reports one cause in several classes, often hidden behind "not in the cache"
with the real one as `__cause__`, and its texts may quote request headers. So errors are told
apart by class name and status along the chain of causes, and their own text is never shown:
a token cannot leak from here. Names rather than classes, because the client's HTTP library is
`httpx` or `httpx2` by version and importing either costs 0.3 s.
"""

from __future__ import annotations

import errno
import math
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

from spectrum_tui.core import numbers
from spectrum_tui.core.errors import HubError, OutputError, SpectrumError
from spectrum_tui.core.hub.client_faults import client_fault
from spectrum_tui.core.hub.names import cache_root, endpoint, host, in_quotes, not_an_id
from spectrum_tui.core.text import safe

_FILE_IN_URL = re.compile(r"/resolve/[^/]+/(.+)$")
_NOT_A_HUB = "FileMetadataError", "JSONDecodeError", "DecodingError", "TooManyRedirects"
_RESET = re.compile(r"\br\s*=\s*0\s*;\s*t\s*=\s*(\d{1,9})(?!\d)")
_A_DAY = 86_400.0
PASSING = (408, 500, 502, 503, 504, *range(520, 525))
"""Statuses after which the same request may succeed; 520 to 524 are a CDN's whose origin is
away."""

_OUT_OF_REACH = {"OfflineModeIsEnabled", "TransportError", "TimeoutError"}
_CUT = "ReadError", "WriteError", "RemoteProtocolError", "CutShortError"
_BAD_TOKEN = "LocalProtocolError", "UnicodeEncodeError"
"""What the HTTP library raises for a token that cannot stand in a header."""

_REASONS = (
    (("name or service", "name resolution", "nodename", "getaddrinfo"), "no such host"),
    (("refused",), "connection refused"),
    (("certificate",), "its certificate is not trusted"),
    (("ssl",), "no secure connection"),
    (("unreachable",), "network unreachable"),
)


def translate(
    exc: BaseException, repo_id: str, revision: str = "", lacks: str = ""
) -> SpectrumError:
    """Return the error to show for `exc`, raised by the hub's client while it fetched `repo_id`.

    `lacks` is what the model lacks that is in the cache.
    """
    error = _translated(exc, repo_id, revision)
    if lacks and any(_OUT_OF_REACH.intersection(_names(link)) for link in chain(exc)):
        message = f"{error.message} The local cache lacks {lacks}."
        if "is not in the local cache" in error.message:
            message = f"{repo_id} lacks {lacks} in the local cache, and offline mode is on."
        return HubError(message, error.hint, field=error.field)
    return error


def _translated(exc: BaseException, repo_id: str, revision: str) -> SpectrumError:
    links = list(chain(exc))
    for link in links:
        if isinstance(link, SpectrumError):
            return link
    if fault := client_fault(links):
        return fault
    for rule in (_by_class, _by_status, _by_network, _by_system):
        for link in links:
            error = rule(link, repo_id, revision)
            if error is not None:
                return error
    if "LocalEntryNotFoundError" in _names(exc):
        message = f"{repo_id} is not in the local cache."
        return HubError(message, "Check the connection and try again.", field="model")
    message = f"{repo_id} could not be read from {host()} ({type(exc).__name__})."
    return HubError(message, "Try again, or give a local folder.", field="model")


def is_transient(exc: BaseException) -> bool:
    """Return whether the same request may well succeed in a second, for which a person waits: after
    a server error or a cut connection, but not of a host that is not reached at all."""
    names = [_names(link) for link in chain(exc)]
    if any(_status(link) in PASSING for link in chain(exc)):
        return True
    passing = {*_CUT, "ReadTimeout", "WriteTimeout"}
    return any(passing & each for each in names) or _is_short_file(exc)


def may_pass_later(exc: BaseException) -> bool:
    """Return whether the same request may well succeed later, for which a scan waits: after all of
    that, and as soon as a network is there again that is away."""
    names = _names(exc)
    if "LocalProtocolError" in names or "UnsupportedProtocol" in names:
        return False
    if isinstance(exc, RuntimeError) and "closed" in str(exc):
        return True  # the client, by the hub's library after an error elsewhere: there is a new one
    return bool(_status(exc) in PASSING or names & {"TransportError", "TimeoutError"})


def is_refused(exc: BaseException) -> bool:
    """Return whether a server gives this to nobody who asks so: a signature that is over."""
    return any(refuses(_status(link)) for link in chain(exc))


def refuses(status: int) -> bool:
    """Return whether a status may mean that a signed address is over: of S3 and GCS it is 400
    (ExpiredToken), of others 403."""
    return 400 <= status < 500 and status not in (408, 416, 429)


def chain(exc: BaseException) -> Iterator[BaseException]:
    """`exc` and what it came from, each once."""
    seen: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _names(exc: BaseException) -> set[str]:
    return {cls.__name__ for cls in type(exc).__mro__}


def _status(exc: BaseException) -> int:
    status = getattr(getattr(exc, "response", None), "status_code", 0)
    return status if isinstance(status, int) else 0


def is_cut(exc: BaseException) -> bool:
    """Return whether a connection broke off in the middle of an answer."""
    return bool(_names(exc).intersection(_CUT))


def _is_short_file(exc: BaseException) -> bool:
    """Return the client's plain OSError for a file that came with another size than announced."""
    return isinstance(exc, OSError) and "Consistency check failed" in str(exc)


def _by_class(exc: BaseException, repo_id: str, revision: str) -> SpectrumError | None:
    names = _names(exc)
    for name, describe in _CLASSES:
        if name in names:
            return describe(exc, repo_id, revision)
    return None


def _gated(exc: BaseException, repo_id: str, revision: str) -> SpectrumError:
    message = f"{repo_id} is gated: its licence must be accepted first."
    hint = f"Accept it at {endpoint()}/{repo_id}, then run `hf auth login`."
    return HubError(message, hint, field="model")


def _disabled(exc: BaseException, repo_id: str, revision: str) -> SpectrumError:
    message = f"{repo_id} was disabled by the hub."
    return HubError(message, f"See {endpoint()}/{repo_id}.", field="model")


def _not_found(exc: BaseException, repo_id: str, revision: str) -> SpectrumError:
    message = f"There is no model {repo_id} on {host()}, or it is private."
    hint = "Check the name; for a private model run `hf auth login` first."
    return HubError(message, hint, field="model")


def _no_revision(exc: BaseException, repo_id: str, revision: str) -> SpectrumError:
    message = f"{repo_id} has no revision {in_quotes(revision or 'main')}."
    hint = f"Give a branch, tag or commit listed at {endpoint()}/{repo_id}/commits/main."
    return HubError(message, hint, field="revision")


def _no_file(exc: BaseException, repo_id: str, revision: str) -> SpectrumError:
    message = f"{repo_id} lacks {_missing_file(exc)}."
    return HubError(message, "Try another revision of the model.", field="model")


def _bad_id(exc: BaseException, repo_id: str, revision: str) -> SpectrumError:
    return not_an_id(repo_id)


_CLASSES = (
    ("GatedRepoError", _gated),  # a subclass of RepositoryNotFoundError, so before it
    ("DisabledRepoError", _disabled),
    ("RepositoryNotFoundError", _not_found),
    ("RevisionNotFoundError", _no_revision),
    ("RemoteEntryNotFoundError", _no_file),
    ("HFValidationError", _bad_id),
)


def _missing_file(exc: BaseException) -> str:
    path = urlsplit(str(getattr(getattr(exc, "request", None), "url", ""))).path
    match = _FILE_IN_URL.search(unquote(path))
    return f"the file {match[1]}" if match else "a file of the model"


def _by_status(exc: BaseException, repo_id: str, revision: str) -> SpectrumError | None:
    status = _status(exc)
    if status == 401:
        return _bad_token()
    if status == 403 and (elsewhere := _other_host(exc)):
        message = f"{elsewhere}, to which {host()} redirects, refuses {repo_id} (HTTP 403)."
        return HubError(message, "Try again in a few minutes.", field="model")
    if status == 403:
        message = f"Your Hugging Face token may not read {repo_id}."
        hint = "Use a token with read access to it: `hf auth login`."
        return HubError(message, hint, field="model")
    if status >= 400:
        message = f"{host()} reports an error of its own (HTTP {status})."
        return HubError(message, "Try again in a few minutes.", field="model")
    return None


def _other_host(exc: BaseException) -> str:
    """Return the name of the host that an answer came from, where it is not the hub's."""
    url = getattr(getattr(exc, "response", None), "url", "")
    name = urlsplit(str(url)).hostname or ""
    return "" if name == urlsplit(endpoint()).hostname else safe(name)


def _bad_token() -> HubError:
    message = "Your Hugging Face token is invalid or has expired."
    return HubError(message, "Run `hf auth login`, or correct HF_TOKEN.", field="model")


class RateLimitedError(HubError):
    """A server takes no more requests for `seconds`, infinity where it named no time.

    `where` is its host, "" for the hub; `status` is what it answered.
    """

    def __init__(self, seconds: float, where: str = "", status: int = 429) -> None:
        self.seconds = seconds
        kind = "429, rate limit" if status == 429 else f"HTTP {status}"
        self.who, self.kind = safe(where) or host(), kind
        raises = "" if where or status != 429 else "; `hf auth login` raises the limit"
        super().__init__(
            f"{self.who} refuses further requests for now ({kind}).",
            f"Try again {_after(seconds)}{raises}.",
            field="model",
        )


def _after(seconds: float) -> str:
    if seconds == math.inf:
        return "in a few minutes"
    if seconds < _A_DAY:
        return f"in {numbers.duration(seconds)}"
    return f"later: it asks to wait {numbers.counted(math.ceil(seconds / _A_DAY), 'day')}"


class CutShortError(ConnectionError):
    """An answer of which less came from `host` than it announced."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host


def named_wait(headers: Mapping[str, str]) -> float:
    """Seconds that a 429 or a 503 asks to wait, infinity where it names none.

    `Retry-After` is in seconds or an HTTP date (RFC 9110, 10.2.3); the hub's own is
    `RateLimit: "api";r=0;t=55`.
    """
    named = headers.get("retry-after", "").strip()
    limit = _RESET.search(headers.get("ratelimit", ""))
    if limit or (named.isascii() and named.isdigit() and len(named) < 10):
        return float(limit[1] if limit else named)
    try:
        return max(parsedate_to_datetime(named).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError, TypeError):  # TypeError: Python 3.11 on some texts
        return math.inf


def _by_system(exc: BaseException, repo_id: str, revision: str) -> SpectrumError | None:
    if not isinstance(exc, OSError) or _status(exc):
        return None
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full()
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        message = f"The model cache {cache_root()} cannot be written ({exc.strerror})."
        hint = "Correct its permissions, or set HF_HOME to another folder."
        return OutputError(message, hint, field="model")
    return None


def disk_full(needed: int = 0, free: int = 0) -> OutputError:
    """Return the error for a cache disk without room, with the figures where they are known."""
    message = f"The disk of the model cache {cache_root()} is full."
    if needed:
        message = (
            f"The download needs {numbers.size(needed)}, and the disk of the model cache "
            f"{cache_root()} has {numbers.size(free)} free."
        )
    hint = "Free some space, or set HF_HOME to a folder on a larger disk."
    return OutputError(message, hint, field="model")


def _by_network(exc: BaseException, repo_id: str, revision: str) -> SpectrumError | None:
    names = _names(exc)
    retry = "Check the connection and try again; finished files are kept."
    if "OfflineModeIsEnabled" in names:
        message = f"{repo_id} is not in the local cache, and offline mode is on (HF_HUB_OFFLINE)."
        hint = "Unset HF_HUB_OFFLINE, or give a local folder."
    elif names.intersection(_BAD_TOKEN):
        return _bad_token()
    elif names.intersection(_NOT_A_HUB):
        return not_a_hub()
    elif names.intersection(("TimeoutException", "TimeoutError")):
        message, hint = f"{host()} did not answer in time.", retry
    elif names.intersection(_CUT) or _is_short_file(exc):
        message, hint = f"The connection to {host()} broke off.", retry
    elif names.intersection(("TransportError", "InvalidURL", "ConnectionError")):
        message = f"Cannot reach {host()}{network_reason(exc)}."
        hint = "Check the connection, the proxy and HF_ENDPOINT."
    else:
        return None
    return HubError(message, hint, field="model")


def not_a_hub() -> HubError:
    """Return the error for answers that no hub gives: a login page, a mirror that lacks
    something."""
    message = f"{host()} does not answer like a model hub."
    hint = "Check HF_ENDPOINT, and for a proxy or login page in between; then try again."
    return HubError(message, hint, field="model")


def not_the_file(name: str = "A file") -> HubError:
    """Return the error for a file whose id or contents are others than the hub announced."""
    message = f"{name} from {host()} is not the file that was announced."
    hint = "It is not used; try again, or check HF_ENDPOINT and any proxy in between."
    return HubError(message, hint, field="model")


def network_reason(exc: BaseException) -> str:
    """Return why a connection failed, in fixed words: the exception's text may quote headers."""
    text = str(exc).lower()
    for marks, reason in _REASONS:
        if any(mark in text for mark in marks):
            return f" ({reason})"
    return ""
