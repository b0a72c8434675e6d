"""`spectrum-tui config`: the user's defaults, and where each value comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from spectrum_tui.cli.options import Parser
from spectrum_tui.core.config import CONFIG_VARIABLE, KEPT, KEYS, Config, read_config
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.settings import DEFAULTS, OPTIONS
from spectrum_tui.stdio.streams import PROGRAM, put_json, put_lines, say

BUILT_IN = "built in"


def run(arguments: Sequence[str]) -> int:
    """Print the defaults on stdout; raises SpectrumError for a file that cannot be used."""
    options = make_parser().parse_args(arguments)
    config = read_config()
    _check_the_way(config)
    if options.json:
        put_json(_as_data(config))
    else:
        put_lines(_lines(config))
    if config.unknown:
        names = counted(len(config.unknown), "name is", "names are")
        say(f"note: {names} not used: {', '.join(config.unknown)}")
    _check_for_the_app(config)
    return 0


def _check_the_way(config: Config) -> None:
    """Raise InputError for a way to train that there is not."""
    if way := config.values.get("way"):
        from spectrum_tui.cli.choosing import way_of  # later: it needs numpy
        from spectrum_tui.core.recipes.choice import Tiers

        way_of(replace(DEFAULTS, way=way), Tiers())


def _check_for_the_app(config: Config) -> None:
    """Raise InputError for a theme or keys with which the app would not start."""
    theme = config.values.get("theme", "")
    if not (theme or config.keys):
        return
    from spectrum_tui.app.base import BaseApp  # later: most have neither, and Textual takes 0.3 s

    try:
        app = BaseApp()
        app.set_theme(theme)
        app.set_keys(config.keys)
    except InputError as exc:
        raise config.blamed(exc, replace(DEFAULTS, theme=theme)) from None


def make_parser() -> Parser:
    """Return the options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} config",
        description="Show the defaults of every command and of the app, and where each comes from. "
        f"They stand in config.toml, which {CONFIG_VARIABLE} moves.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _values(config: Config) -> Iterator[tuple[str, Any, bool]]:
    """Yield (name, value as it is typed, whether the file says it)."""
    for key, name in KEPT.items():
        said = name in config.values
        value = config.values[name] if said else OPTIONS[name].default
        yield key, OPTIONS[name].text(value), said


def _lines(config: Config) -> Iterator[str]:
    rows = [(key, text or "-", said) for key, text, said in _values(config)]
    for screen, keys in config.keys.items():
        rows += [(f"{KEYS}.{screen}.{action}", typed, True) for action, typed in keys.items()]
    names = max(len(name) for name, _, _ in rows)
    texts = max(len(text) for _, text, _ in rows)
    yield str(config.path)
    for name, text, said in rows:
        yield f"{name.ljust(names)}  {text.ljust(texts)}  {config.path.name if said else BUILT_IN}"


def _as_data(config: Config) -> dict[str, Any]:
    return {
        "path": str(config.path),
        "values": {
            key: {"value": text, "from": str(config.path) if said else BUILT_IN}
            for key, text, said in _values(config)
        },
        KEYS: {screen: dict(keys) for screen, keys in config.keys.items()},
        "unknown": list(config.unknown),
    }
