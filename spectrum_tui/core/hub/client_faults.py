"""Why no HTTP client could be made: what the environment says of proxies and certificates."""

from __future__ import annotations

import os
from collections.abc import Iterable
from urllib.request import getproxies

from spectrum_tui.core.errors import HubError

_CERTIFICATES = "SSL_CERT_FILE", "SSL_CERT_DIR"


def client_fault(links: Iterable[BaseException]) -> HubError | None:
    """Return the error for a client that could not be made, by the exceptions that came of it; None
    for anything else."""
    for link in links:
        if isinstance(link, ImportError) and "socks" in str(link).lower():
            return HubError(
                "The proxy of the environment speaks SOCKS, for which the package socksio is "
                "missing.",
                "Install it: pip install socksio.",
                field="model",
            )
        if isinstance(link, FileNotFoundError) and link.filename is None:
            for name in _CERTIFICATES:
                if os.environ.get(name) and not os.path.exists(os.environ[name]):  # noqa: PTH110
                    return HubError(
                        f"The certificates that {name} names are not there.",
                        "Correct it in the environment, or leave it out.",
                        field="model",
                    )
    return None


def try_again() -> str:
    """Return what may help where nobody is reached."""
    through = " and the proxy" if {"http", "https", "all"} & getproxies().keys() else ""
    return f"Check the connection{through} and try again."
