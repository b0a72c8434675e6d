"""Keys that the user's config.toml changes: what each binding is called there, and which may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.keys import Keys, key_to_character
from textual.screen import Screen

from spectrum_tui.core.errors import InputError

APP = "app"
"""The name of the keys that work on every screen."""
MOVING = "moving in a list"
_MODIFIERS = {"ctrl", "shift", "alt", "super", "hyper", "meta"}
_KNOWN = {str(key.value).rpartition("+")[2] for key in Keys}


class NamedKeys:
    """Gives each binding of a screen the id `screen.what-it-does`, by the module of the screen and
    the description of the binding.

    No node of Textual's, which would take the styles of a screen from its first base that is one.
    """

    BINDINGS: ClassVar[list[BindingType]]

    def __init_subclass__(cls, **arguments: Any) -> None:
        scope = APP if issubclass(cls, App) else cls.__module__.rpartition(".")[2]
        if "BINDINGS" in vars(cls):
            cls.BINDINGS = [_named(binding, scope) for binding in cls.BINDINGS]
        super().__init_subclass__(**arguments)


def _named(binding: BindingType, scope: str) -> Binding:
    if not isinstance(binding, Binding):
        binding = Binding(*binding)
    words = re.findall(r"[a-z0-9]+", binding.description.lower())
    return replace(binding, id=binding.id or f"{scope}.{'-'.join(words)}")


def keymap_of(wanted: Mapping[str, Mapping[str, str]], app: type[App[Any]]) -> dict[str, str]:
    """Return Textual's keymap of {screen: {action: keys}}; raises InputError for a screen or action
    that there is not, for what is no key, and for a key that something else has."""
    keymap: dict[str, str] = {}
    every = {APP: _of([app])}
    for screen, changes in wanted.items():
        if screen not in every:
            every[screen] = bindings_of(screen)
        for action, keys in changes.items():
            name = f"{screen}.{action}"
            keymap[name] = ",".join(_checked(keys, name, every[screen]))
    if any(name.startswith(f"{APP}.") for name in keymap):
        every |= {screen: bindings_of(screen) for screen in _modules()}
    for screen, bindings in every.items():
        _check_conflicts(screen, bindings, every[APP], keymap)
    return keymap


def bindings_of(screen: str) -> list[Binding]:
    """Return the bindings of the screens in a module, one for each key; raises InputError."""
    return _of(_screens(screen))


def _of(classes: Iterable[type[DOMNode]]) -> list[Binding]:
    """Return the bindings of these classes, one for each key."""
    return [one for cls in classes for one in Binding.make_bindings(vars(cls).get("BINDINGS", ()))]


def _modules() -> list[str]:
    from spectrum_tui.app import screens

    return [module.name for module in iter_modules(screens.__path__)]


def _screens(name: str) -> Iterator[type[Screen[Any]]]:
    """Yield the screens in the module of that name, whose keys have names; raises InputError."""
    if name not in _modules():
        raise InputError(
            f"There is no screen {name!r} to change the keys of.",
            "Write [keys.app], [keys.results] or another screen.",
            field="keys",
        )
    module = import_module(f"spectrum_tui.app.screens.{name}")
    for cls in vars(module).values():
        is_screen = isinstance(cls, type) and issubclass(cls, NamedKeys) and issubclass(cls, Screen)
        if is_screen and cls.__module__ == module.__name__:
            yield cls


def _checked(keys: str, name: str, bindings: list[Binding]) -> list[str]:
    """Return the keys as Textual calls them; raises InputError."""
    named = [binding for binding in bindings if binding.id == name]
    if not named:
        known = dict.fromkeys(str(b.id).partition(".")[2] for b in bindings if b.description)
        raise InputError(
            f"No key is called {name!r}.",
            f"There are {', '.join(known)}." if known else "",
            field="keys",
        )
    typed = [key.strip() for key in keys.split(",")]
    found = list(Binding.make_bindings([Binding(",".join(typed), "")])) if all(typed) else []
    for key in (binding.key for binding in found):
        *modifiers, base = key.split("+")
        if not set(modifiers) <= _MODIFIERS or not (base in _KNOWN or key_to_character(base)):
            found = []
        elif named[0].priority and _is_text(key):
            raise InputError(
                f"{name} cannot be on {key!r}, which is typed in fields.",
                "Give a key with ctrl, or a function key.",
                field="keys",
            )
    if not found:
        raise InputError(
            f"{keys!r} is no key for {name}.",
            "Write keys such as w, ctrl+s, f2, space, minus; several with a comma between them.",
            field="keys",
        )
    return [binding.key for binding in found]


def _is_text(key: str) -> bool:
    character = key_to_character(key)
    return character is not None and character.isprintable()


def _check_conflicts(
    screen: str, bindings: list[Binding], of_app: list[Binding], keymap: Mapping[str, str]
) -> None:
    """Raise InputError for a key that is given twice, where one of them is the user's wish."""
    from spectrum_tui.app.widgets.line_view import LineView  # later: most change no key

    usual = {(str(b.id), b.key) for b in bindings}
    taken = {binding.key: MOVING for binding in _of([LineView])}
    taken |= {b.key: str(b.id) for b in [*of_app, *bindings] if b.id not in keymap}
    here = {str(b.id) for b in [*of_app, *bindings]} & keymap.keys()
    for name in sorted(here):
        for key in keymap[name].split(","):
            other = taken.setdefault(key, name)
            if other != name and (name, key) not in usual:
                raise InputError(
                    f"{name} and {other} cannot both be on {key!r}.",
                    f"Choose another key for {name}.",
                    field="keys",
                )
