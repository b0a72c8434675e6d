"""What the hub and its models are called: ids, the address that the user chose, the cache."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from spectrum_tui.core.errors import HubError
from spectrum_tui.core.text import safe

_ID = re.compile(r"(?:\b[\w.-]{1,96}\b/)?\b[\w.-]{1,96}\b", re.ASCII)
_ADDRESS = re.compile(r"https?://")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)
_BUCKETS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
}
"""{how an address in a bucket may begin elsewhere: how it does here}."""
_PAGE = re.compile(
    r"https?://[^/\s]+/([^/\s]+/[^/\s?#]+)"
    r"(?:/(?:(?:tree|blob|resolve|raw|commits?|discussions)\b.*)?)?(?:[?#].*)?"
)
"""The address of a page of a model on the hub, with its id."""


def is_model_id(model: str) -> bool:
    """Return whether the hub would accept `model` as an id: `name` or `org/name`."""
    return (
        len(model) <= 96
        and _ID.fullmatch(model) is not None
        and "--" not in model
        and ".." not in model
        and not model.endswith(".git")
    )


def validate(model: str) -> None:
    """Raise HubError for a `model` that cannot be an id on the hub."""
    if not is_model_id(model):
        raise not_an_id(model)


def not_an_id(model: str) -> HubError:
    """Return the error for a `model` that the hub would not accept as an id."""
    hint = "Give a folder that exists, or an id as on huggingface.co: Qwen/Qwen3-0.6B."
    page = _PAGE.fullmatch(model.strip())
    if page and is_model_id(page[1]):
        hint = f"Give the id alone: {page[1]}."
    elif _ADDRESS.match(model.strip()):
        hint = f"Below {endpoint()} are the models of the hub: give an id, or another server."
    elif address := _SCHEME.fullmatch(model.strip()):
        hint = _address_hint(address[1].lower(), address[2])
    message = f"{in_quotes(model)} is neither a folder nor a model id like org/name."
    return HubError(message, hint, field="model")


def _address_hint(scheme: str, rest: str) -> str:
    """Return what to give instead of an address that cannot be read."""
    if scheme in ("hf", "http", "https") and is_model_id(rest):
        return f"Give the id alone: {rest}."
    if scheme in _BUCKETS:
        folder = "CONTAINER/FOLDER" if _BUCKETS[scheme] == "az" else "BUCKET/FOLDER"
        return f"An address in such a store is {_BUCKETS[scheme]}://{folder}."
    return "An address begins with https://, s3://, gs:// or az://."


def in_quotes(text: str) -> str:
    """`text` in quotes, safe to print: at most 80 characters, no control characters."""
    clean = safe(text)
    return f"'{clean}'" if len(clean) <= 80 else f"'{clean[:79]}…'"


def endpoint() -> str:
    """Return the hub's address without the credentials that HF_ENDPOINT may hold."""
    from huggingface_hub import constants

    try:
        parts = urlsplit(constants.ENDPOINT)
        _ = parts.port
        host = parts.netloc.rpartition("@")[2]
    except ValueError:  # a port that is no number
        return "HF_ENDPOINT"
    return f"{parts.scheme}://{host}" if parts.scheme and host else "HF_ENDPOINT"


def hush_client() -> None:
    """Silence the client's warnings, which quote addresses and would land on a screen, and the log
    of hf_xet below HF_HOME, which would have 5 kB of each range, 2 GB of a model of 690 GB."""
    import huggingface_hub.utils  # sets the level itself when it is first imported

    os.environ.setdefault("RUST_LOG", "warn")  # read when hf_xet is imported

    logging.getLogger(huggingface_hub.__name__).setLevel(logging.ERROR)


def host() -> str:
    """Return the hub's name and port, for sentences."""
    return endpoint().split("://")[-1]


def cache_root() -> Path:
    """Return the hub's own cache folder, where every tool of the ecosystem looks."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)
