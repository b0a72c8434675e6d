"""Files of a recipe on the way to a folder: what they are called, what they replace, written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from spectrum_tui.core.errors import SelectionError
from spectrum_tui.core.files import check_writable, refuse_replacing, write_text
from spectrum_tui.core.recipes.axolotl import fused_types
from spectrum_tui.core.recipes.check import refuse_everything, refuse_missing
from spectrum_tui.core.recipes.choice import Choice, RecipeFile, RecipeKind
from spectrum_tui.core.recipes.spectrum import LIST, named
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.saved.store import files_of, save_scores

Files = tuple[RecipeFile, ...]


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file that saving would write."""

    path: Path
    exists: bool


def planned_files(
    result: Result, folder: Path, files: Sequence[RecipeFile], *, with_scores: bool
) -> list[PlannedFile]:
    """Return the files that saving writes, the recipe's first, and which of them are there
    already."""
    places = files_of(result, folder)
    paths = [places.ending(file.ending) for file in files]
    if with_scores:
        paths += [places.scores, places.sorted_scores]
    return [PlannedFile(path, path.exists()) for path in paths]


def write_files(
    result: Result, folder: Path, files: Sequence[RecipeFile], *, with_scores: bool
) -> Path:
    """Write them, the recipe's first file last, so that it is there only if all went well;
    returns its path. Raises OutputError."""
    check_writable(folder)
    places = files_of(result, folder)
    paths = [places.ending(file.ending) for file in files]
    refuse_replacing(paths, Path(result.source), "the scores that it is made from")
    if with_scores:
        save_scores(result, folder)
    for path, file in reversed(list(zip(paths, files, strict=True))):
        write_text(path, file.text)
    return paths[0]


def drafted(kind: RecipeKind, choice: Choice) -> Files:
    """Return the files of a kind: every way out comes through here.

    Raises SelectionError where a recipe would train nothing or the whole model, and where too much
    of the model has no score.
    """
    choice = kind.ranked(choice)
    if not kind.is_recipe:
        return kind.files(choice)
    refuse_missing(choice.selection.result, allowed=choice.allow_missing)
    files = kind.files(choice)
    if (kind.names_whole or is_list_of_names(files)) and not choice.experts:
        wanted = named(choice.selection, choice.policy)
        refuse_everything(wanted, choice.selection.result.parameters)
    return files


def is_list_of_names(files: Files) -> bool:
    """Return whether what is written is the YAML list that trainers read."""
    return files[0].ending.endswith((".yaml", ".yml")) and f"\n{LIST}\n" in f"\n{files[0].text}"


def is_folder(files: Sequence[RecipeFile]) -> bool:
    """Return whether the files make up a folder: their endings are paths in it."""
    return "/" in files[0].ending


class Drafts:
    """What each kind would write of a choice, or why it must not: made when asked for, and kept.

    Of 60,000 layers a draft takes 1 to 2 s, and a folder is typed letter by letter.
    """

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self._known: dict[tuple[str, bool], Files | SelectionError] = {}

    @cached_property
    def has_experts(self) -> bool:
        """Whether there are single experts to choose (0.2 s for 60 layers of 256)."""
        return bool(fused_types(self.choice.selection.result))

    def with_experts(self, kind: RecipeKind, experts: bool) -> Choice:
        """Return the choice as this kind takes it: in its types, by single experts where it can."""
        return kind.ranked(replace(self.choice, experts=experts and kind.experts))

    def of(self, kind: RecipeKind, *, experts: bool) -> Files:
        """Return the files; raises SelectionError."""
        choice = self.with_experts(kind, experts)
        key = (kind.name, choice.experts)
        if key not in self._known:
            try:
                self._known[key] = drafted(kind, choice)
            except SelectionError as error:
                self._known[key] = error
        draft = self._known[key]
        if isinstance(draft, SelectionError):
            raise draft
        return draft
