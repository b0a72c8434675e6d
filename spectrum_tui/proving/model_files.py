"""Which model a proof trains, exactly: a commit of the hub, or what the files of a folder are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from spectrum_tui.core.checkpoint.headers import Checkpoint, read_checkpoint
from spectrum_tui.core.checkpoint.shards import MAX_JSON, unreadable
from spectrum_tui.core.disk import read_regular
from spectrum_tui.core.errors import CheckpointError
from spectrum_tui.core.files import is_folder
from spectrum_tui.core.hub.cache import find_local
from spectrum_tui.core.hub.remote import read_remote
from spectrum_tui.core.proof.rows import Conditions
from spectrum_tui.core.results.results import Result

_CONFIG = "config.json"
_TOKENIZER = (
    *("tokenizer*", "vocab*", "merges.txt", "*.model", "*.tiktoken", "tekken.json"),
    *("special_tokens_map.json", "added_tokens.json", "chat_template*"),
)
"""Names of the files that tokenizers are made of."""
NO_TOKENIZER = "Put its files beside the weights: tokenizer.json and tokenizer_config.json."


def identified(conditions: Conditions, result: Result) -> tuple[Conditions, str]:
    """Return conditions that hold which model it is: the commit of a hub model, else a digest of
    the folder's files; and what is to be said where they are not those that were scored.

    Raises CheckpointError, also for a folder without a tokenizer, and HubError.
    """
    folder = Path(conditions.model)
    if is_folder(folder):
        checkpoint, others = _of_folder(folder)
        is_same = checkpoint.is_known_as(result.checkpoint)
        # By the name in the scores where they are of the same weights: rows are found by it again.
        weights = result.checkpoint if is_same else checkpoint.fingerprint
        digest = hashlib.sha256(f"{weights} {others}".encode()).hexdigest()
        is_other = bool(result.checkpoint) and not is_same
        return replace(conditions, files=digest), _OTHER_FILES if is_other else ""
    commit = conditions.revision or _commit(conditions.model)
    origin = result.provenance
    is_other = bool(origin.revision) and (
        conditions.model != origin.model
        or (commit != origin.revision and not _has_weights_of(result, origin.model, commit))
    )
    return replace(conditions, revision=commit), _OTHER_MODEL if is_other else ""


_OTHER_FILES = (
    "the files of the model are not those that were scored, but a copy or changed since: of "
    "changed weights, the scores choose by those before"
)
_OTHER_MODEL = "the model is not the one that was scored: the scores choose by other weights"


def _has_weights_of(result: Result, model: str, commit: str) -> bool:
    """Return whether another commit, where it is on this machine, has the weights of the scores."""
    found = find_local(model, commit) if result.checkpoint else None
    return found is not None and read_checkpoint(found[0]).is_known_as(result.checkpoint)


def _of_folder(folder: Path) -> tuple[Checkpoint, str]:
    """Return the weights and a digest of the configuration and tokenizer."""
    try:
        weights = read_checkpoint(folder)
        digest, tokenizer = hashlib.sha256(), False
        for path in _small_files(folder):
            digest.update(f"{path.name}\0".encode())
            digest.update(hashlib.sha256(read_regular(path, MAX_JSON)).digest())
            tokenizer |= path.name != _CONFIG
    except OSError as exc:
        raise unreadable(folder, exc) from None
    if not tokenizer:
        said = f"{folder} has no tokenizer, and only models of text are trained."
        raise CheckpointError(said, NO_TOKENIZER, field="model")
    return weights, digest.hexdigest()


def _small_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        named = path.name == _CONFIG or any(fnmatch(path.name, one) for one in _TOKENIZER)
        if named and not path.is_dir():
            yield path


def _commit(model: str) -> str:
    """Return the commit that the main branch of a hub model is at."""
    found = find_local(model)
    return found[1] if found else read_remote(model).files.commit
