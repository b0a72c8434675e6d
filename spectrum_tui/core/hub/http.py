"""Requests of the client that follow no redirect by themselves, and where an answer sends on to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from spectrum_tui.core.errors import HubError
from spectrum_tui.core.hub.guard import check_downgrade, is_hub
from spectrum_tui.core.text import safe

MOST_HOPS = 5
"""Addresses that a hub may send on to, one after the other."""

TIMEOUT = 20.0
"""Seconds without a byte after which a connection is given up."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that are this machine, where no encryption is needed."""

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


def range_in(headers: Mapping[str, str]) -> tuple[int, int, int]:
    """Return the first and the last byte of the range that an answer names, and the size of the
    whole file; (-1, -1, -1) where it names none."""
    given = _RANGE.fullmatch(headers.get("content-range", ""))
    return (int(given[1]), int(given[2]), int(given[3])) if given else (-1, -1, -1)


def request(method: str, url: str) -> Any:
    """Return the answer to a request that follows no redirect; the token goes to the hub alone."""
    from huggingface_hub import get_session

    return get_session().request(
        method, url, headers=headers_for(url), timeout=TIMEOUT, follow_redirects=False
    )


def next_address(url: str, response: Any) -> str:
    """Return where an answer of `url` sends on to; raises HubError where that is of no use."""
    try:
        target = urljoin(url, str(response.headers.get("location", "")))
        parts = urlsplit(target)
        usable = bool(parts.hostname) and target.isprintable() and (parts.port or 1) > 0
    except ValueError:  # a port that is none, half an IPv6 address
        usable = False
    if not usable:
        raise HubError(
            f"{safe(urlsplit(url).hostname or 'The server')} sends on to what is no address.",
            "Try again later; check any proxy in between.",
            field="model",
        )
    check_downgrade(url, target)
    return target


def headers_for(url: str) -> dict[str, str]:
    """Return what is sent with a request: who asks, and the token where the hub is asked."""
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = build_hf_headers() if is_hub(url) else build_hf_headers(token=False)
    return {**headers, "Accept-Encoding": "identity"}


def raise_for_status(response: Any) -> None:
    """Raise the client's own error for an answer that is one."""
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    hf_raise_for_status(response)
