"""Reading saved scores and recipes off the event loop, and sizes for scores without them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message
from textual.screen import Screen

from spectrum_tui.core.errors import InputError, ResultsError, SpectrumError, to_dict
from spectrum_tui.core.files import is_file, is_folder, output_folder

if TYPE_CHECKING:
    from spectrum_tui.app.proof_run import ProofView
    from spectrum_tui.core.audit.audit import Audit
    from spectrum_tui.core.comparison.compare import Comparison
    from spectrum_tui.core.comparison.film import Film
    from spectrum_tui.core.proof.proof import Proof
    from spectrum_tui.core.requests import ModelNames, Sized
    from spectrum_tui.core.results.policy import Policy
    from spectrum_tui.core.results.results import Result
    from spectrum_tui.core.settings import Settings

Post = Callable[[Message], object]


@dataclass
class ResultLoaded(Message):
    """Saved scores were read, or could not be (`error` as in `errors.to_dict`)."""

    path: Path
    result: Result | None
    error: dict[str, str]


@dataclass
class ResultSized(Message):
    """The same scores with the sizes of a model."""

    path: Path
    result: Result


@dataclass
class ResultTaken(Message):
    """The scores of a proof were read; `settings` choose what a method of it selects, for this
    `kind` of recipe."""

    path: Path
    result: Result
    settings: Settings
    kind: str


@dataclass
class ScreenLoaded(Message):
    """All is read that a screen shows, which `screen` makes with the settings of the app; None
    where it could not be (`error` as in `errors.to_dict`)."""

    screen: Callable[[Settings], Screen[None]] | None
    error: dict[str, str]


@dataclass
class RecipeLoaded(Message):
    """A recipe was read and audited, or could not be (`error` as in `errors.to_dict`)."""

    path: Path
    text: str
    audit: Audit | None
    error: dict[str, str]


def post_result(path: Path, post: Post) -> None:
    """Read a file of scores, post a `ResultLoaded` whatever happens, and record the file. Of the
    folder of a training run, all of its files make a film; a proof, or its folder, opens as one."""
    # numpy's 0.1 s is paid here, on a thread, and not before the first frame.
    from spectrum_tui.core.proof.store import PROOF
    from spectrum_tui.core.saved.library import record

    if path.name == PROOF or is_file(path / PROOF):
        post_proof(path, post)
        return
    if is_folder(path):
        post_film(path, post)
        return
    try:
        result = _read(path)
    except SpectrumError as exc:
        post(ResultLoaded(path, None, to_dict(exc)))
        return
    post(ResultLoaded(path, result, {}))
    record(result, path)


def post_proof(path: Path, post: Post) -> None:
    """Read a proof, in a file or in its folder, and post a `ScreenLoaded`, whatever happens."""
    from spectrum_tui.core.proof.store import read_proof

    try:
        proof = read_proof(path)
        folder = (path if is_folder(path) else path.parent).absolute()
        post(ScreenLoaded(partial(_proof_screen, proof, folder), {}))
    except SpectrumError as exc:
        post(ScreenLoaded(None, to_dict(exc)))


def _proof_screen(proof: Proof, folder: Path, settings: Settings) -> Screen[None]:
    from spectrum_tui.app.proof_run import saved_view
    from spectrum_tui.app.screens.proof import ProofScreen, Saved

    return ProofScreen(Saved(saved_view(proof, folder)))


def post_taken(view: ProofView, method: str, settings: Settings, post: Post) -> None:
    """Read the scores of a proof and post a `ResultTaken` with what a method of it selects, or a
    `ResultLoaded` that says why not."""
    from spectrum_tui.core.proof.methods import parse_method
    from spectrum_tui.core.proof.taking import taken
    from spectrum_tui.core.results.policy import settings_with
    from spectrum_tui.core.results.selection import Selection

    path = _scores_of(view)
    try:
        result = _read(path)
        found = taken(parse_method(method), Selection(result), embeddings=view.embeddings)
    except SpectrumError as exc:
        post(ResultLoaded(path, None, to_dict(exc)))
        return
    chosen = replace(settings_with(settings, found.policy), metric=found.metric)
    post(ResultTaken(path, result, chosen, found.kind))


def _scores_of(view: ProofView) -> Path:
    """Return the file of the scores of a proof: where it was, or beside the folder of the proof,
    if both were moved."""
    path = output_folder(view.scores)
    beside = view.folder.parent / path.name
    return beside if not is_file(path) and is_file(beside) else path


def _read(path: Path) -> Result:
    """Return the scores in a file; raises SpectrumError alone, whatever stands in it."""
    from spectrum_tui.core.saved.store import load_result

    try:
        return load_result(path)
    except SpectrumError:
        raise
    except Exception as exc:
        raise ResultsError(
            f"Cannot read {path}: {type(exc).__name__}.", "Is it a score file?"
        ) from exc


def post_comparison(a: Path, b: Path, settings: Settings, post: Post) -> None:
    """Compare two files of scores, post a `ScreenLoaded` whatever happens, and record both."""
    from spectrum_tui.core.saved.library import record

    try:
        results = _read(a), _read(b)
        post(ScreenLoaded(partial(_compare_screen, *_compared(*results, settings)), {}))
    except SpectrumError as exc:
        post(ScreenLoaded(None, to_dict(exc)))
        return
    for result, path in zip(results, (a, b), strict=True):
        record(result, path)


def _compare_screen(comparison: Comparison, policy: Policy, settings: Settings) -> Screen[None]:
    from spectrum_tui.app.screens.compare import CompareScreen

    return CompareScreen(comparison, policy, settings.output_dir)


def _compared(a: Result, b: Result, settings: Settings) -> tuple[Comparison, Policy]:
    """Return the comparison, all of it worked out, and the policy that the settings ask for; raises
    SpectrumError for one that either of the two does not allow."""
    from spectrum_tui.core.comparison.compare import compare
    from spectrum_tui.core.memory.budget import filled
    from spectrum_tui.core.recipes.choice import Tiers
    from spectrum_tui.core.results.policy import policy_of

    comparison = compare(a, b, settings.metric)
    comparison.work_out()
    policy = filled(policy_of(settings), comparison.selections[0], Tiers())
    for selection in comparison.selections:
        selection.shape(policy)
    return comparison, policy


def post_film(path: Path, post: Post) -> None:
    """Read the score files of a training run, by its folder or one of its files, and post a
    `ScreenLoaded`, whatever happens. A file that is of no run is posted as by `post_result`."""
    from spectrum_tui.core.comparison.film import load_film
    from spectrum_tui.core.saved.steps import is_of_a_run, step_of

    folder = path
    if not is_folder(path):
        if not is_of_a_run(path):
            post_result(path, post)
            return
        folder = path.parent
    try:
        film = load_film(folder)
        post(ScreenLoaded(partial(_film_screen, film, step_of(path)), {}))
    except SpectrumError as exc:
        post(ScreenLoaded(None, to_dict(exc)))


def _film_screen(film: Film, step: int | None, settings: Settings) -> Screen[None]:
    """Return the film, at a step where one is given."""
    from spectrum_tui.app.screens.film import FilmScreen
    from spectrum_tui.core.memory.budget import filled
    from spectrum_tui.core.recipes.choice import Tiers
    from spectrum_tui.core.results.policy import Policy, policy_of

    selection = film.frames[0].comparison.selections[0]
    refused = ""
    try:
        policy = filled(policy_of(settings), selection, Tiers())
        selection.shape(policy)
    except SpectrumError as exc:
        policy, refused = Policy(percent=settings.top_percent), str(exc)
    return FilmScreen(
        film.frames, policy, refused=refused, settings=settings, step=step, notes=film.notes
    )


def post_sized(answer: Sized, post: Post) -> None:
    """Post a `ResultSized` of what the worker found, if it found any sizes."""
    from spectrum_tui.core.saved.details import from_details_text

    path = Path(answer.scores)
    if answer.details:
        with contextlib.suppress(ValueError):
            post(ResultSized(path, from_details_text(answer.details, path)))


def post_recipe(path: Path, post: Post) -> None:
    """Read a recipe, audit its text, and post a `RecipeLoaded`, whatever happens."""
    from spectrum_tui.core.audit.entries import open_recipe

    try:
        text = open_recipe(path)
        post(RecipeLoaded(path, text, audited(text, None), {}))
    except SpectrumError as exc:
        post(RecipeLoaded(path, "", None, to_dict(exc)))


def audited(text: str, names: ModelNames | None) -> Audit:
    """Return the audit of a text; raises SpectrumError alone, whatever stands in it."""
    from spectrum_tui.core.audit.audit import audit

    try:
        return audit(text, names)
    except SpectrumError:
        raise
    except Exception as exc:
        raise InputError(
            f"The recipe cannot be checked: {type(exc).__name__}.", "Is it a list of names?"
        ) from exc
