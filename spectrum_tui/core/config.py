"""The user's defaults: a `config.toml` that commands and the app read, and the app writes."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum_tui.core import disk
from spectrum_tui.core.errors import InputError, OutputError, reason_of
from spectrum_tui.core.files import APP_NAME, write_text
from spectrum_tui.core.settings import OPTIONS, Settings
from spectrum_tui.core.text import has_controls

CONFIG_VARIABLE = "SPECTRUM_TUI_CONFIG"
"""The environment variable that names another file."""
KEYS = "keys"
"""The table of the keys, with a table for each screen in it."""
KEPT = {option.flag.lstrip("-"): name for name, option in OPTIONS.items() if option.kept}
"""{name in the file: setting}, in the order of --help."""

_MOST = 2**20
_MEND = f"Mend it, or set {CONFIG_VARIABLE} to another file."
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_LINE = re.compile(
    r"""(?P<offered># ?)?(?P<start>\s*["']?(?P<key>[\w-]+)["']?\s*=\s*)"""
    r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^#"'\s]+)(?P<end>\s*(?:\#.*)?)""",
    re.ASCII,
)
"""`name = value # comment`, with a # in front of it where the template offers it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the file says: `values` by setting, `keys` as {screen: {action: keys}}; `unknown` are
    names in it that this version does not use."""

    path: Path
    values: Mapping[str, Any]
    keys: Mapping[str, Mapping[str, str]]
    unknown: tuple[str, ...]

    def blamed(self, error: InputError, settings: Settings) -> InputError:
        """Return an error of the app that names the file, where it says what is wrong."""
        said = self.values.get(error.field)
        if error.field != KEYS and (said is None or said != getattr(settings, error.field)):
            return error
        return InputError(f"In {self.path}: {error.message}", error.hint, field=error.field)


def config_path() -> Path:
    """Return the file, whether there is one or not."""
    override = os.environ.get(CONFIG_VARIABLE)
    if override:
        return Path(override)
    from platformdirs import user_config_path

    return user_config_path(APP_NAME, appauthor=False) / "config.toml"


def read_config() -> Config:
    """Return the user's defaults, none without a file; raises InputError for a file that cannot be
    read or says what cannot be."""
    path = config_path()
    return _config(path, _parsed(path, _text(path)))


def keep(values: Mapping[str, Any]) -> Path:
    """Write these settings into the file, which keeps its comments and whatever else is in it;
    returns the file.

    Raises InputError for a file that is not understood, or a value that it cannot hold, and
    OutputError for one that cannot be written.
    """
    path = config_path()
    before = _text(path)
    data = _parsed(path, before)
    _config(path, data)
    text = before if before.strip() else _template()
    for key, name in KEPT.items():
        if name in values:
            literal = _literal(name, values[name])
            text = _with(text, key, literal)
            data |= _parsed(path, f"{key} = {literal}")
    if _parsed(path, text) != data:
        raise InputError(f"{path} is written in a way that is not changed safely.", _MEND)
    try:
        write_text(path, text)
    except OutputError as exc:
        raise OutputError(exc.message, f"Nothing is kept. Set {CONFIG_VARIABLE}.") from None
    return path


# -- reading -------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    try:
        return disk.read_regular(path, _MOST).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except PermissionError as exc:
        # A folder that is closed to this user, as another user's home is: no defaults of theirs.
        if disk.is_closed(path.parent):
            return ""
        raise _unusable(path, reason_of(exc)) from None
    except OSError as exc:
        raise _unusable(path, reason_of(exc)) from None
    except UnicodeDecodeError:
        raise _unusable(path, "it is not text in UTF-8") from None
    except ValueError:  # a NUL in the name of the file
        raise _unusable(path, "it is no path") from None


def _parsed(path: Path, text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    import tomllib  # later: most have no file, and --help reads none

    try:
        return tomllib.loads(text)
    except ValueError as exc:
        raise _unusable(path, str(exc)) from None
    except RecursionError:
        raise _unusable(path, "it is nested too deeply") from None


def _config(path: Path, data: Mapping[str, Any]) -> Config:
    values = {name: _value(path, key, data[key]) for key, name in KEPT.items() if key in data}
    unknown = tuple(key for key in data if key != KEYS and key not in KEPT)
    keys = _keys(path, data.get(KEYS, {}))
    return Config(path=path, values=values, keys=keys, unknown=unknown)


def _value(path: Path, key: str, given: Any) -> Any:
    """Return the value of a setting, as a command line would give it."""
    option = OPTIONS[KEPT[key]]
    text = given
    if option.check and isinstance(given, int | float) and not isinstance(given, bool):
        # The options say themselves what is wrong with nan, inf and 1e20.
        largest = sys.float_info.max
        text = str(given) if isinstance(given, float) else f"{max(-largest, min(given, largest)):g}"
        text = f"{given:g}" if abs(given) < 1e6 else text
    if not isinstance(text, str) or has_controls(text):
        what = "a text or a number" if option.check else "a text"
        raise InputError(f"In {path}, {key} is not {what}.", _MEND)
    try:
        return option.value(text)
    except InputError as exc:
        raise InputError(f"In {path}, {key}: {exc.message}", exc.hint, field=exc.field) from None


def _keys(path: Path, screens: Any) -> dict[str, dict[str, str]]:
    for screen, keys in screens.items() if isinstance(screens, dict) else [("", None)]:
        texts = keys.values() if isinstance(keys, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            where = f"{KEYS}.{screen}" if screen else KEYS
            raise InputError(
                f"In {path}, {where} is no table of keys.",
                f'Write [{KEYS}.results] and below it lines such as save = "w,ctrl+s".',
            )
    return dict(screens)


def _unusable(path: Path, reason: str) -> InputError:
    return InputError(f"{path} cannot be used: {reason}.", _MEND)


# -- writing -------------------------------------------------------------------------------------


def _literal(name: str, value: Any) -> str:
    """Return a value in TOML, whose texts are JSON's where no control characters are in them."""
    option = OPTIONS[name]
    text = option.text(value)
    if has_controls(text):
        raise InputError("A name with invisible characters cannot be kept.", "Choose another.")
    if option.check and _NUMBER.fullmatch(text):
        return str(text)
    return json.dumps(text, ensure_ascii=False)


def _with(text: str, key: str, literal: str) -> str:
    """Return the text with this value: in place of the old one, of the comment that offers it, or
    before the first table."""
    lines = text.split("\n")
    end = next((i for i, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    found = [(i, _LINE.fullmatch(line)) for i, line in enumerate(lines[:end])]
    own = [(i, line) for i, line in found if line and line["key"] == key]
    if own:
        i, line = min(own, key=lambda one: bool(one[1]["offered"]))
        lines[i] = f"{line['start']}{literal}{line['end']}"
        return "\n".join(lines)
    while end > 0 and not lines[end - 1].strip(" \t\r"):
        end -= 1
    returns = "\r" if end and lines[end - 1].endswith("\r") else ""
    lines.insert(end, f"{key} = {literal}{returns}")
    return "\n".join(lines) if end < len(lines) - 1 else "\n".join([*lines, ""])


def _template() -> str:
    """Return a file that sets nothing and offers everything."""
    return "\n".join([*_offers(), ""])


def _offers() -> Iterator[str]:
    yield "# Defaults of spectrum-tui; what is typed on the command line goes before them."
    yield "# `spectrum-tui config` shows what holds. A line counts without the # in front of it."
    for key, name in KEPT.items():
        yield ""
        yield f"# {OPTIONS[name].help}"
        yield f"# {key} = {_literal(name, OPTIONS[name].default)}"
    yield ""
    yield "# Keys of a screen: what ? calls them, in small letters, with - between the words."
    yield f"# [{KEYS}.results]"
    yield '# save = "w,ctrl+s"'
