"""What the environment says of a store: its endpoint, its options, and credentials where the tools
of its provider find them, but obstore does not look.

No value of these is shown or logged.
"""

from __future__ import annotations

import configparser
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from spectrum_tui.core.disk import read_regular

ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""Where the address of a store of one's own stands, by scheme."""

CREDENTIALS = {
    "s3": (
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (`aws configure export-credentials "
        "--format env` prints them); a public bucket: AWS_SKIP_SIGNATURE=1."
    ),
    "gs": (
        "Run `gcloud auth application-default login` or set GOOGLE_APPLICATION_CREDENTIALS; "
        "a public bucket: GOOGLE_SKIP_SIGNATURE=1."
    ),
    "az": (
        "Set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or AZURE_USE_AZURE_CLI=true "
        "after `az login`; a public container: AZURE_SKIP_SIGNATURE=1."
    ),
}

PREFIXES = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
FLAGS = ("allow_http", "allow_invalid_certificates")
GIVEN = (*FLAGS, "proxy_url", "proxy_ca_certificate", "proxy_excludes", "connect_timeout")
"""Options of the client that stand in the environment, behind the provider's prefix."""

_CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
_IN_A_CONNECTION = {
    "account_name": "AccountName",
    "account_key": "AccountKey",
    "sas_key": "SharedAccessSignature",
    "endpoint": "BlobEndpoint",
}
_AZURE: dict[str, tuple[tuple[str, ...], str]] = {
    "account_name": (("AZURE_STORAGE_ACCOUNT_NAME",), "AZURE_STORAGE_ACCOUNT"),
    "account_key": (
        ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY"),
        "AZURE_STORAGE_KEY",
    ),
    "sas_key": (("AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN"), ""),
    "endpoint": (ENDPOINTS["az"], ""),
}
"""Of each option: the variables that obstore reads, and the one that the `az` command reads."""

_MOST = 2**20
"""Bytes of a file of the `aws` command."""

_FROM_ELSEWHERE = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
"""With any of these the files of the `aws` command are not asked for keys."""


def scheme_of(url: str) -> str:
    """Return "s3", "gs" or "az"."""
    return url.partition(":")[0].lower()


def is_anonymous(url: str) -> bool:
    """Return whether the user has said that a bucket is public."""
    return _is_set(f"{PREFIXES[scheme_of(url)]}_SKIP_SIGNATURE")


def endpoint_of(url: str) -> str:
    """Return the address of the user's own store; "" without one."""
    names = ENDPOINTS[scheme_of(url)]
    given = next((value for name in names if (value := os.environ.get(name))), "")
    return given or (_of_azure().get("endpoint", "") if scheme_of(url) == "az" else "")


def host_of(url: str) -> str:
    """Return where a store is, for sentences: its own endpoint's host, or the bucket."""
    with contextlib.suppress(ValueError):
        return urlsplit(endpoint_of(url) or url).hostname or ""
    return ""


def client_options(url: str) -> dict[str, Any]:
    """Return what the user has set for the client: options that are given replace all of it."""
    found: dict[str, Any] = {}
    for name in GIVEN:
        value = os.environ.get(f"{PREFIXES[scheme_of(url)]}_{name.upper()}")
        if value is not None:
            found[name] = _is_true(value) if name in FLAGS else value
    # A store without encryption that the user has set himself, and not forbidden.
    if endpoint_of(url).lower().startswith("http://") and "AWS_ALLOW_HTTP" not in os.environ:
        found["allow_http"] = True
    return found


def store_options(url: str) -> dict[str, str]:
    """Return what stands in other places than those that obstore reads."""
    return {"s3": _of_aws, "az": _of_azure, "gs": dict}[scheme_of(url)]()


def _of_azure() -> dict[str, str]:
    parts = _connection(os.environ.get(_CONNECTION, ""))
    found: dict[str, str] = {}
    for option, (known, other) in _AZURE.items():
        value = os.environ.get(other) or parts.get(_IN_A_CONNECTION[option])
        if value and not any(map(os.environ.get, known)):
            found[option] = value
    return found


def _connection(text: str) -> Mapping[str, str]:
    """Return the parts of a connection string, "AccountName=a;AccountKey=b"; a key may end in
    "="."""
    parts = (part.partition("=") for part in text.split(";"))
    return {name.strip(): value.strip() for name, _, value in parts}


def _of_aws() -> dict[str, str]:
    """Return the region and the keys that `aws configure` has written."""
    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    found: dict[str, str] = {}
    if not any(map(os.environ.get, ("AWS_REGION", "AWS_DEFAULT_REGION"))):
        section = profile if profile == "default" else f"profile {profile}"
        found |= _section("AWS_CONFIG_FILE", "config", section, ("region",))
    if not any(map(os.environ.get, _FROM_ELSEWHERE)):
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        keys = _section("AWS_SHARED_CREDENTIALS_FILE", "credentials", profile, names)
        if set(names[:2]) <= keys.keys():
            found |= keys
    return found


def _section(variable: str, name: str, section: str, options: tuple[str, ...]) -> dict[str, str]:
    """Return these options of a section of a file of the `aws` command; {} where it is none."""
    parser = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error, OSError, RuntimeError, UnicodeDecodeError):
        given = os.environ.get(variable)
        path = Path(given).expanduser() if given else Path.home() / ".aws" / name
        parser.read_string(read_regular(path, _MOST).decode())
        return {one: value for one in options if (value := parser.get(section, one, fallback=""))}
    return {}


def _is_set(variable: str) -> bool:
    return _is_true(os.environ.get(variable, ""))


def _is_true(value: str) -> bool:
    return value.lower() in ("1", "true", "yes", "on")
