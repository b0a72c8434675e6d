"""What every screen looks like in its states; `pytest --snapshot-update` accepts a new look.

Look at each picture before accepting it: tests/snapshots/__snapshots__/*/*.svg.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_tui.app.screens.add_model import AddModelScreen
from spectrum_tui.app.screens.confirm import ConfirmScreen
from spectrum_tui.app.screens.setup import SetupScreen
from spectrum_tui.app.theme import LIGHT
from spectrum_tui.core.errors import OutputError
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.settings import Settings
from tests import fused, made
from tests.snapshots import made_results, models, probe_scenes, proof_scenes, scenes
from tests.snapshots.conftest import CWD, Look
from tests.snapshots.shown import still

SMALL, LARGE, WIDE, WIDEST = (80, 24), (120, 40), (160, 50), (200, 50)
SHAPED = ("down", *"lll", "space", "minus", "l", "space", "down")
SHAPED += ("greater_than_sign", "right_square_bracket")
"""Keys that pin, ban, give a type its own percentage and leave blocks out."""
Size = tuple[int, int]
at_both_sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])


# -- setup -------------------------------------------------------------------------------------


@at_both_sizes
@pytest.mark.parametrize(
    "state", ["empty", "found", "on_the_hub", "too_large", "downloading", "error"]
)
def test_setup(look: Look, state: str, size: Size) -> None:
    screen, prepare = scenes.setup(state)
    look(screen, size, prepare)


# -- proof -------------------------------------------------------------------------------------


@at_both_sizes
@pytest.mark.parametrize("state", ["running", "stopped", "finished"])
def test_proof(look: Look, state: str, size: Size) -> None:
    look(proof_scenes.proof_screen(state), size)


@at_both_sizes
@pytest.mark.parametrize("state", ["data", "shaped"])
def test_set_up_of_a_proof(
    look: Look, state: str, size: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, prepare = proof_scenes.set_up(monkeypatch, state)
    look(screen, size, prepare)


@pytest.mark.parametrize("size", [(60, 18), WIDEST], ids=["60x18", "200x50"])
def test_a_proof_at_other_sizes(look: Look, size: Size) -> None:
    look(proof_scenes.proof_screen("running"), size)


def test_a_proof_on_a_light_ground(look: Look) -> None:
    look(proof_scenes.proof_screen("finished"), LARGE, theme=LIGHT.name)


@pytest.mark.parametrize("state", ["data", "running"])
def test_probe(look: Look, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen, prepare = probe_scenes.over_results(monkeypatch, state)
    look(screen, SMALL, prepare)


# -- layers ------------------------------------------------------------------------------------


LAYERS = {
    "default": (models.llama, ()),
    "filtered": (models.llama, ("slash", *"proj")),
    "experts": (models.mixture, ("down", "down", "down")),
    "towers": (models.towers, ()),
    "nothing_checked": (models.llama, ("n", "s")),
    "too_large": (models.too_large, ()),
}
"""(the model, the keys that are pressed) by what is shown."""


@at_both_sizes
@pytest.mark.parametrize("state", LAYERS)
def test_layers(look: Look, state: str, size: Size) -> None:
    model, keys = LAYERS[state]
    look(scenes.layers(model()), size, still(*keys))


# -- scan --------------------------------------------------------------------------------------


@at_both_sizes
@pytest.mark.parametrize(
    "state", ["running", "streamed", "waiting", "stopping", "stopped", "died", "failures"]
)
def test_scan(look: Look, state: str, size: Size) -> None:
    screen = scenes.scan_screen(state)
    look(screen, size, scenes.filled(screen))


@at_both_sizes
@pytest.mark.parametrize("key", ["", "w", "a"], ids=["scanning", "list", "adding"])
def test_a_queue(look: Look, key: str, size: Size) -> None:
    screen = scenes.queued()
    keys = (key,) if key == "w" else ()

    def add() -> None:
        if key == "a":
            dialog = AddModelScreen(scenes.SUGGESTIONS, lambda summary: "")
            screen.app.push_screen(dialog)

    look(screen, size, scenes.filled(screen, *keys, before=add))


@at_both_sizes
@pytest.mark.parametrize("keys", ["t", "f"])
def test_lists_of_a_scan(look: Look, keys: str, size: Size) -> None:
    screen = scenes.scan_screen("failures")
    look(screen, size, scenes.filled(screen, keys))


@pytest.mark.parametrize("size", [(60, 18), (200, 50)], ids=["60x18", "200x50"])
def test_the_map_of_a_scan_at_other_sizes(look: Look, size: Size) -> None:
    screen = scenes.scan_screen("failures")
    look(screen, size, scenes.filled(screen, *["down"] * 5, "right"))


# -- results -----------------------------------------------------------------------------------


@at_both_sizes
@pytest.mark.parametrize(
    ("state", "keys"),
    [
        ("table", ("t",)),
        ("heat_map", ()),
        ("shaped", SHAPED),
        ("yaml", ("y",)),
        ("filter", ("slash", *"down")),
        ("embeddings_off", ("e",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_results(look: Look, state: str, keys: tuple[str, ...], size: Size) -> None:
    look(scenes.results(made_results.with_head()), size, still(*keys))


@at_both_sizes
@pytest.mark.parametrize("state", ["partial", "foreign"])
def test_results_of_other_scans(look: Look, state: str, size: Size) -> None:
    result: Result = getattr(made_results, state)()
    look(scenes.results(result), size, still("t", "down", "down", "down"))


@at_both_sizes
@pytest.mark.parametrize(
    ("state", "keys"), [("table", ("t", "v")), ("heat_map", ("v", "v"))], ids=["table", "heat_map"]
)
def test_results_by_another_metric(
    look: Look, state: str, keys: tuple[str, ...], size: Size
) -> None:
    result = made.with_metrics(made_results.with_head())
    look(scenes.results(result), size, still(*keys))


@at_both_sizes
def test_results_with_memory(look: Look, size: Size) -> None:
    look(scenes.results(made_results.with_sizes()), size)


@pytest.mark.parametrize("size", [SMALL, LARGE, WIDEST], ids=["80x24", "120x40", "200x50"])
@pytest.mark.parametrize(
    ("state", "keys"),
    [
        ("card", ("f", *"40", "escape", "m", "tab", "right")),
        ("budget", ("e", *["right_square_bracket"] * 8, "f", *"24", "tab", "down", "enter", "m")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_results_on_a_card(
    look: Look, state: str, keys: tuple[str, ...], size: Size, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, prepare = scenes.inspected(monkeypatch, *keys)
    look(screen, size, prepare)


@at_both_sizes
def test_sizes_are_asked_for(look: Look, size: Size) -> None:
    look(scenes.results(made_results.foreign()), size, still("f"))


def test_leaving_asks(look: Look) -> None:
    look(scenes.results(made_results.with_head()), SMALL, still("t", "tab", "space", "escape"))


def test_a_file_that_is_being_read(look: Look) -> None:
    screen = SetupScreen(Settings(), opening="snr_results_made-llama-8b.json")
    look(screen, SMALL)


def test_results_with_nothing_selected(look: Look) -> None:
    look(scenes.results(made_results.with_head(), percent=2), SMALL)


@pytest.mark.parametrize(
    ("key", "size"), [("t", WIDE), ("m", WIDE), ("m", WIDEST)], ids=["t", "m", "m-200x50"]
)
def test_wide_results(look: Look, key: str, size: Size) -> None:
    look(scenes.results(made_results.with_head()), size, still(key))


@at_both_sizes
def test_results_of_a_deep_model(look: Look, size: Size) -> None:
    result = made.result(layers=94, types=7 + 3 * 16, model=models.MODEL)
    look(scenes.results(result), size, still("down", "right"))


# -- over the screens --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])
def test_save(look: Look, size: Size, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: CWD)
    replaced = tmp_path / "scores" / "snr_results_made-llama-8b_unfrozenparameters_25percent.yaml"
    replaced.parent.mkdir()
    replaced.touch()
    look(scenes.results(made_results.with_head()), size, still("w"))


@at_both_sizes
def test_save_as_axolotl(look: Look, size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: CWD)
    result = replace(fused.result(), provenance=made_results.with_head().provenance)
    look(scenes.results(result), size, still("w", "down", "down", "tab", "tab", "tab", "space"))


def test_save_as_the_reference_without_its_head(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: CWD)
    look(scenes.results(made_results.with_head()), SMALL, still("e", "w", "down"))


def test_save_refused(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("Cannot write scores: No space left on device.", "Free some space.")

    monkeypatch.setattr(Path, "cwd", lambda: CWD)
    monkeypatch.setattr("spectrum_tui.app.screens.save.write_files", full)
    look(scenes.results(made_results.with_head()), SMALL, still("w", "enter"))


@at_both_sizes
def test_spectrum(look: Look, size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
    look(scenes.spectrum_of_a_layer(monkeypatch), size, still("d"))


@at_both_sizes
@pytest.mark.parametrize("keys", [(), ("m",), ("m", "m")], ids=["moves", "map", "ranks"])
def test_comparison(look: Look, keys: tuple[str, ...], size: Size) -> None:
    look(scenes.comparison(), size, still(*keys))


@at_both_sizes
def test_comparison_asks_for_a_file(look: Look, size: Size, tmp_path: Path) -> None:
    folder = tmp_path / "scores" / "model_snr_results"
    folder.mkdir(parents=True)
    (folder / "snr_results_made-llama-8b-tuned.json").write_text("{}")
    look(scenes.results(made_results.with_head()), size, still("o", *"tuned.json", "enter"))


@at_both_sizes
@pytest.mark.parametrize(
    ("state", "keys"),
    [
        ("table", ()),
        ("fits", (*"40",)),
        ("nothing_fits", (*"24", "enter")),
        ("refused", (*"much", "enter")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_memory(look: Look, state: str, keys: tuple[str, ...], size: Size) -> None:
    look(scenes.results(made_results.with_sizes()), size, still("f", *keys))


@at_both_sizes
@pytest.mark.parametrize(
    ("state", "keys"),
    [("default", ()), ("groups", ("N", "N", "tab", "tab")), ("refused", ("n", "n", "end"))],
    ids=["default", "groups", "refused"],
)
def test_tiers(look: Look, state: str, keys: tuple[str, ...], size: Size) -> None:
    result = made.with_parameters(made.result(layers=32, norms=True, model=models.MODEL))
    look(scenes.results(result), size, still("a", *keys))


@at_both_sizes
def test_help(look: Look, size: Size) -> None:
    look(scenes.results(made_results.with_head()), size, still("f1"))


def test_confirm(look: Look) -> None:
    screen = scenes.scan_screen("running")
    detail = "Every finished score is on disk. The next scan of this model continues there."
    question = ConfirmScreen("Leave while scanning?", detail, "Leave", "Keep scanning")
    asked = scenes.filled(screen, before=lambda: screen.app.push_screen(question))
    look(screen, SMALL, asked)


def test_too_small(look: Look) -> None:
    look(scenes.layers(models.llama()), (58, 14))


# -- other colours -----------------------------------------------------------------------------


def test_results_without_colour(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    look(scenes.results(made_results.with_head()), LARGE, still(*SHAPED))


def test_layers_without_colour(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    look(scenes.layers(models.llama()), SMALL)


def test_results_in_light(look: Look) -> None:
    look(scenes.results(made_results.with_head()), LARGE, still(*SHAPED), theme=LIGHT.name)


def test_layers_in_light(look: Look) -> None:
    look(scenes.layers(models.llama()), LARGE, theme=LIGHT.name)


@at_both_sizes
def test_every_expert(look: Look, size: Size) -> None:
    look(scenes.results(made_results.with_experts()), size, still("t", "home", "x"))


# -- audit -------------------------------------------------------------------------------------


@at_both_sizes
@pytest.mark.parametrize("state", ["text", "model", "good", "writing"])
def test_audit(look: Look, state: str, size: Size) -> None:
    screen, prepare = scenes.audit_screen(state)
    look(screen, size, prepare)


# -- library -----------------------------------------------------------------------------------


@at_both_sizes
@pytest.mark.parametrize(
    ("state", "keys"),
    [
        ("marked", ("space", "down", "space")),
        ("search", ("slash", *"qwen", "enter")),
        ("note", ("down", "n")),
        ("remove", ("delete",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_library(look: Look, state: str, keys: tuple[str, ...], size: Size) -> None:
    screen, prepare = scenes.library(*keys)
    look(screen, size, prepare)


def test_empty_library(look: Look) -> None:
    screen, prepare = scenes.library(empty=True)
    look(screen, SMALL, prepare)


def test_library_without_colour(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen, prepare = scenes.library("space", "down", "space")
    look(screen, SMALL, prepare)


def test_library_in_light(look: Look) -> None:
    screen, prepare = scenes.library("space")
    look(screen, LARGE, prepare, theme=LIGHT.name)


@at_both_sizes
def test_film(look: Look, size: Size) -> None:
    look(scenes.film(), size, still("right", "right"))
