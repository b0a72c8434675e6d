"""What can be a model id on the hub."""

from __future__ import annotations

import pytest

from spectrum_tui.core.errors import HubError
from spectrum_tui.core.hub.names import validate

IDS = ("gpt2", "Qwen/Qwen3-0.6B", "a/b_c.d", "x" * 96)
NO_IDS = (
    "", " ", "a/b/c", "./model", "../x", "/data/model", "~/model", "a b", "a--b", "a..b", "a/b.git",
    "org/", "/org", "-a/b", "a/b-", "café/x", "C:\\models\\x", "x" * 97, "a/b\n", "a[/b][red]",
    "a/\x1b[2J",
)  # fmt: skip


@pytest.mark.parametrize("model", IDS)
def test_an_id_is_accepted(model: str) -> None:
    validate(model)


@pytest.mark.parametrize("model", NO_IDS)
def test_what_is_no_id_is_said_to_be_none(model: str) -> None:
    with pytest.raises(HubError) as caught:
        validate(model)
    error = caught.value
    assert error.field == "model"
    assert error.message.endswith("is neither a folder nor a model id like org/name.")
    assert error.hint
    assert error.message.isprintable() and len(error.message) < 150


def test_the_hubs_own_rule_is_the_same_or_wider() -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    for model in IDS:
        validate_repo_id(model)
    for model in NO_IDS:
        with pytest.raises(HFValidationError):
            validate_repo_id(model)


def test_an_address_is_answered_with_the_id_in_it() -> None:
    with pytest.raises(HubError) as caught:
        validate("https://huggingface.co/Qwen/Qwen3-0.6B/tree/main?x=1")
    assert caught.value.hint == "Give the id alone: Qwen/Qwen3-0.6B."


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("gcs://bucket/model", "gs://BUCKET/FOLDER"),
        ("s3:/bucket/model", "s3://BUCKET/FOLDER"),
        ("abfss://c@account.dfs.core.windows.net/m", "az://CONTAINER/FOLDER"),
        ("hf://org/name", "Give the id alone: org/name."),
        ("hf://org/name/tree/main", "begins with https://, s3://, gs:// or az://"),
        ("ftp://host/model", "begins with https://, s3://, gs:// or az://"),
        ("C:/models/x", "Give a folder that exists"),
    ],
)
def test_an_address_that_cannot_be_read_is_answered_with_one_that_can(
    typed: str, hint: str
) -> None:
    with pytest.raises(HubError) as caught:
        validate(typed)
    assert hint in caught.value.hint


def test_a_folder_below_the_hubs_address_is_not_taken_for_an_id() -> None:
    with pytest.raises(HubError) as caught:
        validate("https://huggingface.co/web/org/model")
    assert caught.value.hint.startswith("Below ") and "id alone" not in caught.value.hint
