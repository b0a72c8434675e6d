"""Downloads are whole, cancellable, and their progress is true."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from tests.fake_hub import FakeHub
from tests.unit.hub.scripts import ALL_SHARDS, error, run, shard_name

FILES = """
import dataclasses
answer = dataclasses.asdict(read_remote({repo!r}).files)
"""


def fetch_known(described: dict[str, Any]) -> str:
    """A script that downloads files which were described before, with short waits."""
    return f"""
from spectrum_tui.core.hub import transfer
transfer.DOWNLOAD_WAITS = (0.05, 0.05, 0.05)
answer = fetch("", files=HubFiles(**{described!r}))
"""


def test_a_download_is_whole_and_its_progress_true(
    fake: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    script = """
answer = fetch("org/sharded")
answer["local"] = find_local("org/sharded")
answer["cached"] = cached_models()
remote = read_remote("org/sharded")
answer["bytes"] = [remote.files.nbytes, remote.files.cached_bytes()]
answer["again"] = fetch("org/sharded")["steps"][-1]
"""
    fake.delay = 0.01
    answer = run(fake.url, tmp_path, script)
    folder, source = Path(answer["folder"]), repos["org/sharded"]
    assert sorted(p.name for p in folder.iterdir()) == sorted([*ALL_SHARDS, "config.json"])
    for path in folder.iterdir():
        assert path.is_symlink()
        assert path.read_bytes() == (source / path.name).read_bytes()
    total = sum((source / path.name).stat().st_size for path in folder.iterdir())
    steps = answer["steps"]
    assert [done for done, *_ in steps] == sorted(done for done, *_ in steps)
    assert {each for _, each, *_ in steps} == {total}
    assert steps[-1][0] == total
    assert any(0 < done < total for done, *_ in steps)
    assert all(0 <= speed < 1e10 for _, _, speed, _ in steps) and steps[-1][2] > 0
    assert answer["local"] == [str(folder), fake.commit("org/sharded")]
    assert answer["cached"] == ["org/sharded"]
    assert answer["bytes"] == [total, total]
    assert answer["again"][:2] == [total, total]
    # Two headers of 100 kB are read before, none after: then they come from the cache.
    assert [len(fake.fetched(shard_name(n))) for n in (1, 2, 3)] == [2, 2, 2]


def test_a_cancelled_download_goes_on_later_where_it_stopped(
    fake: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    fake.delay = 0.03
    stopped = run(fake.url, tmp_path, "answer = fetch('org/single', cancel_at=300_000)")
    assert stopped["cancelled"]
    done, total, *_ = stopped["steps"][-1]
    assert 300_000 <= done < total
    (begun,) = tmp_path.rglob("*.incomplete")
    kept = begun.stat().st_size
    assert 0 < kept < total
    blob = begun.name.split(".")[0]
    os.link(begun, begun.with_name(f"{blob}.1234abcd.incomplete"))  # as a client that was killed
    assert not list(tmp_path.rglob("model.safetensors"))
    fake.forget()
    finished = run(fake.url, tmp_path, "answer = fetch('org/single')")
    assert finished["steps"][0][0] >= kept and finished["steps"][-1][:2] == [total, total]
    path = Path(finished["folder"]) / "model.safetensors"
    assert path.read_bytes() == (repos["org/single"] / "model.safetensors").read_bytes()
    assert not list(tmp_path.rglob("*.incomplete"))
    asked = [one.range for one in fake.fetched("model.safetensors")]
    assert f"bytes={kept}-{path.stat().st_size - 1}" in asked and "" not in asked


def test_a_beginning_that_is_not_the_files_is_fetched_anew(
    fake: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    fake.delay = 0.03
    run(fake.url, tmp_path, "answer = fetch('org/single', cancel_at=300_000)")
    (begun,) = tmp_path.rglob("*.incomplete")
    begun.write_bytes(bytes(begun.stat().st_size))
    fake.forget()
    finished = run(fake.url, tmp_path, "answer = fetch('org/single')")
    path = Path(finished["folder"]) / "model.safetensors"
    assert path.read_bytes() == (repos["org/single"] / "model.safetensors").read_bytes()
    assert not list(tmp_path.rglob("*.incomplete"))


def test_a_stalled_download_is_cancelled_all_the_same(fake: FakeHub, tmp_path: Path) -> None:
    described = run(fake.url, tmp_path, FILES.format(repo="org/single"))
    fake.stalled = "/model.safetensors"
    script = f"""
import os
answer = fetch("", cancel_at=0, files=HubFiles(**{described!r}))
print(json.dumps(answer), flush=True)
os._exit(0)  # as a worker does: the client's thread still waits
"""
    assert run(fake.url, tmp_path, script)["cancelled"]
    assert fake.fetched("model.safetensors")


def test_a_download_survives_failures_and_cuts(
    fake: FakeHub, repos: dict[str, Path], tmp_path: Path
) -> None:
    described = run(fake.url, tmp_path, FILES.format(repo="org/sharded"))
    shards = f"GET /org/sharded/resolve/{described['commit']}/model-0000"
    fake.failures |= {shards: [503, 500]}
    fake.cuts |= {shard_name(1): 700_000, shard_name(3): 50_000}
    answer = run(fake.url, tmp_path, fetch_known(described))
    total = sum(
        (repos["org/sharded"] / p.name).stat().st_size for p in Path(answer["folder"]).iterdir()
    )
    assert answer["steps"][-1][:2] == [total, total]
    assert len(read_checkpoint(Path(answer["folder"])).tensors) == 6
    assert not any(fake.failures.values()) and not fake.cuts


def test_a_download_without_room_or_without_all_files(fake: FakeHub, tmp_path: Path) -> None:
    script = """
import shutil, huggingface_hub
files = read_remote("org/private").files
usage = shutil.disk_usage
shutil.disk_usage = lambda path: usage("/")._replace(free=1000)
answer = [fetch("", files=files)]
shutil.disk_usage = usage
def full(*args, **options):
    raise OSError(28, "No space left on device")
usual = huggingface_hub.hf_hub_download
huggingface_hub.hf_hub_download = full
answer.append(fetch("", files=files))
huggingface_hub.hf_hub_download = usual
HubFiles.missing = lambda files: ["model.safetensors"]
answer.append(fetch("", files=files))
"""
    no_room, full, partial = run(fake.url, tmp_path, script)
    place = tmp_path / "hub"
    assert no_room.pop("steps") == []
    assert no_room == error(
        f"The download needs 12.8 kB, and the disk of the model cache {place} has 1.00 kB free.",
        "Free some space, or set HF_HOME to a folder on a larger disk.",
        kind="OutputError",
    )
    assert full["message"] == f"The disk of the model cache {place} is full."
    assert full["hint"] == no_room["hint"]
    assert partial["message"] == "1 of 2 files did not arrive, first model.safetensors."


def test_a_download_that_the_hub_refuses(fake: FakeHub, tmp_path: Path) -> None:
    fake.failures |= {"HEAD /org/single": [403]}
    script = """
import dataclasses
files = read_remote("org/single").files
gated = dataclasses.replace(files, repo_id="org/gated", commit=COMMIT)
answer = [fetch("", files=files)["message"], fetch("", files=gated)["message"]]
from huggingface_hub import constants
constants.HF_HUB_OFFLINE = True
answer.append(fetch("", files=files)["hint"])
"""
    commit = f"COMMIT = {fake.commit('org/gated')!r}"
    refused, gated, offline = run(fake.url, tmp_path, commit + script)
    assert refused == "Your Hugging Face token may not read org/single."
    assert gated == "org/gated is gated: its licence must be accepted first."
    assert offline == "Unset HF_HUB_OFFLINE, or give a local folder."


def test_from_an_id_to_a_local_model(fake: FakeHub, tmp_path: Path) -> None:
    script = """
from spectrum_tui.core.model.inspection import fetch as get, inspect_model
found = inspect_model("org/sharded")
local = get(found, progress=lambda *step: None)
again = inspect_model("org/sharded")
answer = [(i.summary.origin, i.summary.revision, i.summary.folder) for i in (found, local, again)]
"""
    found, local, again = run(fake.url, tmp_path, script)
    commit = fake.commit("org/sharded")
    assert found == ["hub", commit, ""]
    folder = tmp_path / "hub" / "models--org--sharded" / "snapshots" / commit
    assert local == ["cache", commit, str(folder)]
    assert again == local  # by the name that was asked for, and so without the hub


def test_an_audit_needs_no_weights(fake: FakeHub, tmp_path: Path) -> None:
    script = """
from spectrum_tui.core.audit.model_names import model_names
from spectrum_tui.core.settings import Settings
answer = model_names(Settings(model="org/sharded")).names
"""
    import_module("transformers.modeling_utils")  # 8 s that the child need not take
    names = run(fake.url, tmp_path, script)
    assert "model.layers.0.mlp.down_proj.weight" in names
    assert not list((tmp_path / "hub").rglob("*.safetensors"))
