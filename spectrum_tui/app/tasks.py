"""What the keys are for: the headings of the help, and the palette, which says it with verbs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.command import DiscoveryHit, Hits
from textual.screen import Screen
from textual.system_commands import SystemCommandsProvider

HERE, AT_CURSOR, EVERYWHERE = "On this screen", "Where the cursor is", "Everywhere"
_WITH_BACK = (
    "results", "scan", "layers", "audit", "compare", "film", "library", "proof", "proof_setup",
)  # fmt: skip
TASKS: dict[str, dict[str, str]] = {
    "Go on": {
        "setup.continue": "Choose the layers of this model",
        "setup.download": "Download the model",
        "setup.no-download": "Scan the model without downloading it",
        "setup.other-model": "Choose another model",
        "setup.library": "Open the library",
        "setup.cancel": "Stop reading or downloading",
        "layers.scan": "Scan the checked types",
        "layers.start-afresh": "Score everything again",
        "layers.no-download": "Scan without a download",
        "layers.download": "Download the model before its scan",
        "scan.results": "Open the results so far",
        "scan.continue": "Go on with the scan",
        "scan.add-model": "Scan another model after this one",
        "scan.queue": "List the queue of models",
        "scan.next-model": "Go on with the next model",
        "scan.library": "Open the library",
        "scan.stop": "Stop the scan",
        "scan.stop-at-once": "Stop the scan at once",
        "queue.drop": "Take this model out of the queue",
        "queue.open": "Open the scores of this model",
        "queue.add-model": "Scan another model after these",
        "queue.close": "",
        "library.open": "Open these scores",
        "library.mark": "Mark these scores to compare",
        "library.compare": "Compare the scores that are marked",
        "library.note": "Write a note to these scores",
        "library.remove": "Forget these scores",
        "proof_setup.start": "Start the proof",
        "proof_setup.earlier-proof": "Open the proof that is there",
        "proof_setup.next-field": "",
        "proof.stop": "Stop the proof",
        "proof.go-on": "Go on with the proof",
        "proof.again": "Run the rows again that failed",
        "proof.take-over": "Take this row's selection over",
        "proof.files": "Say where table and plot are",
        "audit.open-selection": "Open the scores with what this selects",
        "film.play": "Play or stop the run",
        "film.open": "Open the scores of this step",
        "film.step": "",
        "film.step-back": "",
    },
    "Take away": {
        "results.save": "Save the recipe",
        "results.copy": "Copy the YAML",
        "compare.save": "Save what both select",
        "compare.save-a": "Save what A selects",
        "compare.save-b": "Save what B selects",
        "audit.write-corrected": "Write the corrected recipe",
    },
    "Choose what trains": {
        "results.memory": "Fit into memory",
        "results.prove": "Prove this selection",
        "results.measure-on-data": "Measure on data…",
        "results.pin": "Pin this layer",
        "results.ban": "Ban this layer",
        "results.type-more": "Train more of this type",
        "results.type-less": "Train less of this type",
        "results.type-percent": "Type a percentage of this type",
        "results.blocks": "Type the blocks that train",
        "results.more-blocks": "Train more blocks",
        "results.fewer-blocks": "Train fewer blocks",
        "results.rule": "Cut within each type, or over all layers",
        "results.embeddings": "Train or freeze embeddings and head",
        "results.adapters": "Set up adapters in tiers",
        "results.metric": "Rank by another metric",
        "results.undo": "Undo the last change",
        "results.redo": "Redo the change",
        "results.percent": "",
        "results.1-less": "",
        "results.10-more": "",
        "results.10-less": "",
        "compare.percent": "",
        "compare.1-less": "",
        "compare.10-more": "",
        "compare.10-less": "",
    },
    "Look": {
        "results.details": "Look at the singular values",
        "results.compare": "Compare with another scan",
        "results.filter": "Filter layers and types",
        "results.table": "Show the table",
        "results.heat-map": "Show the heat map",
        "results.yaml": "Show the YAML",
        "results.sort": "Sort the table",
        "results.reverse": "Reverse the table",
        "results.next-selected": "Find the next selected layer",
        "results.previous": "Find the previous selected layer",
        "compare.map": "Show where the selections differ",
        "compare.next-list": "",
        "film.slider": "",
        "library.search": "Search the library",
        "library.sort": "Sort the library",
        "library.reverse": "Reverse the library",
        "results.experts": "List every expert of this layer",
        "layers.unscored": "List the tensors without a score",
        "scan.map": "Show the map that fills",
        "scan.lists": "Show the types and the newest scores",
        "scan.failures": "Show failures only, or every score",
        "audit.model": "Give the model of the recipe",
        "setup.choices": "List local models and earlier scores",
        "setup.read-on": "",
        **dict.fromkeys((f"{screen}.back" for screen in _WITH_BACK), "Go back"),
    },
}
"""{heading: {id of a binding: what the palette calls it}}, in the order of both; "" is a key that
the palette leaves out."""

_PLACES = {name: heading for heading, names in TASKS.items() for name in names}
_TITLES = {name: title for names in TASKS.values() for name, title in names.items()}
_TITLES |= {"app.help": "Show every key", "app.quit": "Quit the program"}
_TITLES |= {"app.leave": "", "app.picture": ""}
_ORDER = {name: place for place, name in enumerate(_TITLES)}
HEADINGS = (*TASKS, HERE, AT_CURSOR, EVERYWHERE)


def heading_of(binding: Binding, node: object, screen: object) -> str:
    """Return the heading under which the help tells of a key of this screen or widget."""
    return _PLACES.get(binding.id or "", HERE if node is screen else AT_CURSOR)


def commands_of(
    app: App[Any], screen: Screen[Any], node: Screen[Any] | App[Any]
) -> list[SystemCommand]:
    """Return what the keys do that work on a screen, its own or the app's, for the palette."""
    found: dict[str, tuple[int, SystemCommand]] = {}
    for owner, binding, enabled, _ in screen.active_bindings.values():
        name = binding.id or ""
        title = _TITLES.get(name, binding.description) if name else ""  # "": Textual's own
        if owner is node and enabled and title:
            run = partial(app.run_action, binding.action, node)
            key = app.get_key_display(replace(binding, key_display=None))
            command = SystemCommand(title, _help(key, title, binding.tooltip), run)
            found.setdefault(title, (_ORDER.get(name, len(_ORDER)), command))
    return [command for _, command in sorted(found.values(), key=lambda one: one[0])]


def _help(key: str, title: str, tooltip: str) -> str:
    """Return the key of a command, and what else is to be said of it."""
    same = tooltip.lower() in title.lower() or title.lower() in tooltip.lower()
    return key if same else f"{key} · {tooltip}"


class Commands(SystemCommandsProvider):
    """Textual's own, which sorts what it offers by the alphabet, in our order."""

    async def discover(self) -> Hits:
        """Yield every command before anything is typed."""
        for title, tooltip, run, _ in self.app.get_system_commands(self.screen):
            yield DiscoveryHit(title, run, help=tooltip)
