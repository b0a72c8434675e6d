"""The one family of errors that reaches a user: a message, what to do about it, and where."""

from __future__ import annotations

from typing import ClassVar

from spectrum_tui.core.text import safe, shortened

_LONGEST = 4_500
"""Characters of a message, and of a hint: with both of them a line is still printed whole."""


class SpectrumError(Exception):
    """Something the user can act on; never shown with a traceback.

    `message` is one line that says what is wrong, `hint` one line that says what to do.
    `field` names the input that caused it ("model", "revision", "batch_size", "device",
    "top_percent", "output_dir", "types"), so that a screen can show it beside that input.
    """

    title: ClassVar[str] = "Error"

    def __init__(self, message: str, hint: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.message = _one_line(message)
        self.hint = _one_line(hint)
        self.field = field

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


def _one_line(text: str) -> str:
    """Names from a file may hold control characters, which a terminal would obey, or be endless."""
    return shortened(safe(" ".join(text.split())), _LONGEST)


def reason_of(exc: OSError) -> str:
    """Why the system refused, in its own words."""
    return exc.strerror or type(exc).__name__


class InputError(SpectrumError):
    """A value that cannot be used as it was given (batch size 0, 101 %, no such device)."""

    title = "Cannot use this value"


class CheckpointError(SpectrumError):
    """A folder or file that does not hold readable safetensors weights of a model."""

    title = "Cannot read the model"


class ModelChangedError(SpectrumError):
    """A file of the model has changed since it was inspected, so scores of it would be stored under
    the wrong fingerprint."""

    title = "The model changed"


class NotHereError(CheckpointError):
    """The values of a tensor that is only on the hub are needed."""


class OutOfReachError(CheckpointError):
    """A file that may be as good as before, on a mount or a disk that is gone; `passes` is whether
    waiting for it may help. `part` is what was to be read, file, begin and end, where that alone
    may be at fault."""

    part: tuple[str, int, int] | None = None

    def __init__(
        self, message: str, hint: str = "", *, field: str = "", passes: bool = False
    ) -> None:
        super().__init__(message, hint, field=field)
        self.passes = passes


class HubError(SpectrumError):
    """The model hub refused, did not know the model, or could not be reached."""

    title = "Cannot get the model"


class ResultsError(SpectrumError):
    """A file of saved scores that cannot be read as one."""

    title = "Cannot read the scores"


class DataError(SpectrumError):
    """A file of texts that cannot be read as one, or that holds too few."""

    title = "Cannot read the data"


class RecipeError(SpectrumError):
    """A recipe that cannot be read as one, or that a model cannot be frozen by."""

    title = "Cannot use the recipe"


class AdapterError(SpectrumError):
    """A folder that holds no adapter, one that cannot be merged, or one of another base."""

    title = "Cannot use the adapter"


class SelectionError(SpectrumError):
    """A selection that must not be written: it would train nothing, or not what it says."""

    title = "Nothing to write"


class OutputError(SpectrumError):
    """A file that could not be written (no permission, disk full)."""

    title = "Cannot write"


class ScanError(SpectrumError):
    """The scan as a whole could not go on; what was finished is kept."""

    title = "The scan stopped"


_FAMILY: list[type[SpectrumError]] = [SpectrumError, *SpectrumError.__subclasses__()]
_BY_NAME = {cls.__name__: cls for cls in _FAMILY}


def to_dict(error: SpectrumError) -> dict[str, str]:
    """Return the error as plain strings, to cross from the worker process to the app."""
    kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _BY_NAME)
    return {"kind": kind, "message": error.message, "hint": error.hint, "field": error.field}


def from_dict(data: dict[str, str]) -> SpectrumError:
    """Return the error that `to_dict` described."""
    cls = _BY_NAME.get(data["kind"], SpectrumError)
    return cls(data["message"], data["hint"], field=data["field"])
