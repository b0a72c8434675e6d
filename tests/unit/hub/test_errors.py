"""Everything that can go wrong on the way to the hub is said in one line, with a hint."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from huggingface_hub import constants

from spectrum_tui.core.hub.errors import is_transient, network_reason, translate
from spectrum_tui.core.hub.names import endpoint
from spectrum_tui.core.hub.outage import lost
from tests.fake_hub import FakeHub
from tests.unit.hub.scripts import error, run, shard_name


def test_what_the_hub_refuses(fake: FakeHub, tmp_path: Path) -> None:
    host = fake.url.removeprefix("http://")
    names = ("org/missing", "org/private", "org/gated", "a/b/c")
    script = f"answer = [told(name) for name in {names}] + [told('org/single', 'v9')]"
    check = "Check the name; for a private model run `hf auth login` first."
    assert run(fake.url, tmp_path, script, token="") == [
        error(f"There is no model org/missing on {host}, or it is private.", check),
        error(f"There is no model org/private on {host}, or it is private.", check),
        error(
            "org/gated is gated: its licence must be accepted first.",
            f"Accept it at {fake.url}/org/gated, then run `hf auth login`.",
        ),
        error(
            "'a/b/c' is neither a folder nor a model id like org/name.",
            "Give a folder that exists, or an id as on huggingface.co: Qwen/Qwen3-0.6B.",
        ),
        error(
            "org/single has no revision 'v9'.",
            f"Give a branch, tag or commit listed at {fake.url}/org/single/commits/main.",
            "revision",
        ),
    ]


def test_with_a_token_the_private_is_found_and_the_gated_still_not(
    fake: FakeHub, tmp_path: Path
) -> None:
    script = "answer = [told('org/private'), told('org/gated')['message'], told('org/missing')]"
    private, gated, missing = run(fake.url, tmp_path, script)
    assert private == fake.commit("org/private")
    assert gated == "org/gated is gated: its licence must be accepted first."
    assert missing["message"].startswith("There is no model org/missing on ")


def test_a_token_that_is_wrong(fake: FakeHub, tmp_path: Path) -> None:
    expected = error(
        "Your Hugging Face token is invalid or has expired.",
        "Run `hf auth login`, or correct HF_TOKEN.",
    )
    script = """
import os
answer = []
for bad in ("hf_badsecret", "hf_bad\\tsecret\\x01", "hf_bad\u00e9secret"):
    os.environ["HF_TOKEN"] = bad
    answer.append(told("org/single"))
"""
    assert run(fake.url, tmp_path, script) == [expected] * 3


def test_what_the_hub_cannot_do_now(fake: FakeHub, tmp_path: Path) -> None:
    host = fake.url.removeprefix("http://")
    fake.failures |= {"org/single": [429], "org/many": [503] * 9, "org/bin": [403]}
    fake.retry_after = "7000"
    script = "answer = [told(f'org/{name}') for name in ('single', 'many', 'bin')]"
    assert run(fake.url, tmp_path, script) == [
        error(
            f"{host} refuses further requests for now (429, rate limit).",
            "Try again in 1 h 56 min; `hf auth login` raises the limit.",
        ),
        error(f"{host} reports an error of its own (HTTP 503).", "Try again in a few minutes."),
        error(
            "Your Hugging Face token may not read org/bin.",
            "Use a token with read access to it: `hf auth login`.",
        ),
    ]


def test_repositories_without_usable_weights(fake: FakeHub, tmp_path: Path) -> None:
    names = (
        "bin", "gguf", "adapter", "nothing", "pointer", "garbage", "lacking", "outside", "badindex",
    )  # fmt: skip
    answer = run(fake.url, tmp_path, f"answer = [told(f'org/{{name}}') for name in {names}]")
    assert {(each["kind"], each["field"]) for each in answer} == {("CheckpointError", "model")}
    assert all(each["hint"] for each in answer)
    assert [each["message"] for each in answer] == [
        "org/bin holds only PyTorch .bin weights.",
        "org/gguf holds only GGUF weights, which are quantised and named differently.",
        "org/adapter holds a LoRA/PEFT adapter, not a model.",
        "org/nothing holds no weights (*.safetensors).",
        "model.safetensors is a Git LFS pointer, not the weights.",
        "model.safetensors is not a safetensors file (its header does not fit).",
        f"model.safetensors.index.json: 1 of 2 shards is missing, first {shard_name(1)}.",
        "model.safetensors.index.json points outside the model folder "
        "('../../private/model.safetensors').",
        "model.safetensors.index.json is not a valid shard index: it has no weight_map of tensors "
        "to files.",
    ]
    damaged = "The model is damaged on the hub itself: use another revision or repository."
    assert [each["hint"] == damaged for each in answer[4:7]] == [True] * 3


def test_offline(fake: FakeHub, tmp_path: Path) -> None:
    script = "answer = told('org/single')"
    assert run(fake.url, tmp_path, script, HF_HUB_OFFLINE="1") == error(
        "org/single is not in the local cache, and offline mode is on (HF_HUB_OFFLINE).",
        "Unset HF_HUB_OFFLINE, or give a local folder.",
    )
    assert not fake.requests


def test_a_cache_that_lacks_something_is_said_to(fake: FakeHub, tmp_path: Path) -> None:
    run(fake.url, tmp_path, "answer = fetch('org/sharded')")
    run(fake.url, tmp_path, "answer = fetch('org/single')")
    for name in (shard_name(2), shard_name(3), "model.safetensors"):
        for path in (tmp_path / "hub").rglob(name):
            path.unlink()
    script = "answer = [told('org/sharded'), told('org/single')['message']]"
    sharded, single = run(fake.url, tmp_path, script, HF_HUB_OFFLINE="1")
    lacks = f"2 of 3 shards, first {shard_name(2)}"
    assert sharded == error(
        f"org/sharded lacks {lacks} in the local cache, and offline mode is on.",
        "Unset HF_HUB_OFFLINE, or give a local folder.",
    )
    assert single.startswith("org/single lacks its weights (*.safetensors) in the local cache,")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        answer = run(f"http://{host}", tmp_path, "answer = told('org/sharded')")
    assert answer["message"] == (
        f"Cannot reach {host} (connection refused). The local cache lacks {lacks}."
    )


def test_nobody_at_the_endpoint(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: refused, and nobody else takes it
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        answer = run(f"http://user:hunter2@{host}", tmp_path, "answer = told('org/single')")
    assert answer == error(
        f"Cannot reach {host} (connection refused).",
        "Check the connection, the proxy and HF_ENDPOINT.",
    )
    answer = run("no address", tmp_path, "answer = told('org/single')")
    assert answer["message"] == "Cannot reach HF_ENDPOINT."


def test_something_else_at_the_endpoint(fake: FakeHub, tmp_path: Path) -> None:
    script = """
from huggingface_hub import HfApi, hf_api
answer = []
for sha in ("../../etc", None):
    info = hf_api.ModelInfo(id="org/single", sha=sha, siblings=[])
    HfApi.model_info = lambda *args, **options: info
    answer.append(told("org/single")["message"])
"""
    message = f"{fake.url.removeprefix('http://')} does not answer like a model hub."
    assert run(fake.url, tmp_path, script) == [message, message]


class TimeoutException(Exception):  # noqa: N818 - the HTTP library's name
    """Named as the HTTP library's base class of those."""


class LocalEntryNotFoundError(FileNotFoundError):
    """Named as the client's error that hides the real one."""


@pytest.mark.parametrize(
    ("cause", "message", "transient"),
    [
        (type("ReadTimeout", (TimeoutException,), {})(), "did not answer in time.", True),
        (type("ConnectTimeout", (TimeoutException,), {})(), "did not answer in time.", False),
        (type("ReadError", (Exception,), {})("hf_secret"), "broke off.", True),
        (OSError(28, "No space left on device"), "is full.", False),
        (PermissionError(13, "Permission denied"), "cannot be written (Permission denied).", False),
        (json.JSONDecodeError("hf_secret", "", 0), "does not answer like a model hub.", False),
        (RuntimeError("hf_secret"), "org/x is not in the local cache.", False),
    ],
)
def test_the_real_cause_is_found_behind_not_in_the_cache(
    cause: Exception, message: str, transient: bool
) -> None:
    outer = LocalEntryNotFoundError("not in the cache, hf_secret")
    outer.__cause__ = cause
    told = translate(outer, "org/x")
    assert told.message.endswith(message)
    assert told.field == "model" and told.hint
    assert "secret" not in str(told)
    assert is_transient(outer) is transient


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (ImportError("Using SOCKS proxy, but the 'socksio' package is not installed."), "socksio"),
        (FileNotFoundError(2, "No such file or directory"), "that SSL_CERT_FILE names are not"),
    ],
)
def test_what_keeps_the_client_from_being_made_is_said(
    cause: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    assert said in translate(cause, "org/x").message
    assert said in lost(cause).message
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "SSL_CERT_FILE" not in lost(FileNotFoundError(2, "")).message


def test_who_asks_through_a_proxy_is_told_to_look_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:1")
    assert lost(OSError()).hint == "Check the connection and the proxy and try again."
    for name in ("http", "https", "all"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)
    assert lost(OSError()).hint == "Check the connection and try again."


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("http://[::1]:8080/hf/", "http://[::1]:8080"),
        ("https://user:hunter2@example.org", "https://example.org"),
        ("https://example.org:port", "HF_ENDPOINT"),
        ("example.org", "HF_ENDPOINT"),
    ],
)
def test_the_endpoint_is_shown_without_its_password(
    typed: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", typed)
    assert endpoint() == shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "its certificate is not"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "no secure connection"),
        ("[Errno 101] Network is unreachable", "network unreachable"),
        ("nothing that is known", ""),
    ],
)
def test_why_nobody_is_reached(text: str, said: str) -> None:
    assert network_reason(OSError(text)).removeprefix(" (").startswith(said)
