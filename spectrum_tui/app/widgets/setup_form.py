"""The fields of the first screen, and what is typed in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, Select

from spectrum_tui.app.widgets.field import Field
from spectrum_tui.app.widgets.model_suggester import ModelSuggester
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.model.folders import Folder
from spectrum_tui.core.option import Option
from spectrum_tui.core.scanning.devices import pick_devices
from spectrum_tui.core.settings import DEFAULTS, OPTIONS, Settings

FIELDS = ("model", "revision", "batch_size", "device", "top_percent", "output_dir")
"""The settings with a field, in this order."""
OF_THE_MODEL = tuple(name for name in FIELDS if OPTIONS[name].changes == "model")
"""The fields that say what is read; the others say how it is scanned."""
CHECKED = tuple(name for name in FIELDS if OPTIONS[name].check)
"""The fields whose values can be wrong by themselves."""
KEPT = tuple(name for name in FIELDS if OPTIONS[name].kept)
"""The fields that the user's defaults can hold."""
NO_FIELD = "--{} has no field here: start without it, or with another value."


class SetupForm(Vertical):
    """Six fields; each checks its value, and shows beside it what is wrong."""

    def __init__(self, settings: Settings) -> None:
        """Fill the fields from `settings`, which also give what no field is for."""
        super().__init__(id="form")
        self._settings = settings
        self._devices: Sequence[str] = ()
        self.suggester = ModelSuggester(self._say_folders)

    @dataclass
    class FoldersFound(Message):
        """Folders that go on from what is typed in the model field."""

        typed: str
        folders: tuple[Folder, ...]

    def _say_folders(self, typed: str, folders: tuple[Folder, ...]) -> None:
        self.post_message(self.FoldersFound(typed, folders))

    def compose(self) -> ComposeResult:
        for name in FIELDS:
            option = OPTIONS[name]
            control = self._device_select() if name == "device" else self._input(name, option)
            stacked = name == "model"
            yield Field(name, option.label, control, option.note, stacked=stacked)

    def _input(self, name: str, option: Option) -> Input:
        return Input(
            option.text(getattr(self._settings, name)),
            placeholder=option.placeholder,
            id=name,
            compact=True,
            suggester=self.suggester if name == "model" else None,
        )

    def _device_select(self) -> Select[str]:
        names = list(dict.fromkeys(["auto", self._settings.device]))
        options = [(name, name) for name in names]
        return Select(
            options, value=self._settings.device, allow_blank=False, id="device", compact=True
        )

    def on_mount(self) -> None:
        self.border_title = "Model and settings"

    def set_devices(self, devices: Sequence[str]) -> None:
        self._devices = devices
        select = self._select()
        chosen = str(select.value)
        names = list(dict.fromkeys(["auto", *devices, chosen]))
        select.set_options([(name, name) for name in names])
        select.value = chosen
        self._check_device()

    @on(Input.Changed)
    def value_changed(self, event: Input.Changed) -> None:
        """Look again at a value that was wrong. An error of what is only known by using it is
        cleared: it is of what stood there."""
        name = event.input.id or ""
        if not self.field(name).error:
            return
        if name in CHECKED:
            self.read()
        else:
            self.field(name).show_help()

    @on(Input.Blurred)
    def value_left(self, event: Input.Blurred) -> None:
        if event.input.id in CHECKED:
            self.read()

    @on(Select.Changed, "#device")
    def device_changed(self) -> None:
        self._check_device()

    def field(self, name: str) -> Field:
        return self.query_one(f"#field-{name}", Field)

    def input(self, name: str) -> Input:
        return self.query_one(f"#{name}", Input)

    def _select(self) -> Select[str]:
        select: Select[str] = self.query_one("#device", Select)
        return select

    def typed(self) -> tuple[str, str]:
        """(model, revision) as they stand there."""
        # Spaces around a model are left on: a folder may be called so.
        model = self.input("model").value
        return model if model.strip() else "", self.input("revision").value.strip()

    def read(self) -> Settings | None:
        """Return the settings if every value is usable; errors go beside their fields."""
        model, revision = self.typed()
        checked = {name: self.parse(name) for name in CHECKED}
        if None in checked.values() or not self._check_device():
            return None
        return replace(
            self._settings,
            model=model,
            revision=revision,
            device=str(self._select().value),
            output_dir=self.output_dir(),
            **checked,
        )

    def to_open_with(self, settings: Settings) -> Settings | None:
        """Return these settings with what the fields say for files that are opened, to which a
        device or batch size is of no use; None where that is unusable."""
        percent = self.parse("top_percent")
        if percent is None:
            return None
        revision, folder = self.typed()[1], self.output_dir()
        return replace(settings, revision=revision, top_percent=percent, output_dir=folder)

    def kept(self) -> dict[str, Any]:
        """Return the values that the user's defaults can hold, if every one is usable."""
        settings = self.read()
        return {} if settings is None else {name: getattr(settings, name) for name in KEPT}

    def with_option(self, name: str, hint: str) -> str:
        """Return a hint that also says where a setting comes from that has no field."""
        given = name in OPTIONS and getattr(self._settings, name) != getattr(DEFAULTS, name)
        if name in FIELDS or not given:
            return hint
        ended = hint if hint.endswith((".", "!", "?", ":")) else f"{hint}."
        return f"{ended} {NO_FIELD.format(name.replace('_', '-'))}"

    @work(exclusive=True, group="folders")
    async def list_models(self) -> None:
        """List the models in the folder that is typed, which is none itself."""
        typed = self.typed()[0]
        found = await self.suggester.inside(f"{typed.rstrip('/')}/") if typed else ()
        if models := tuple(one for one in found if one.holds_model):
            self.post_message(self.FoldersFound(typed, models))

    def output_dir(self) -> str:
        return self.input("output_dir").value.strip() or "."

    def parse(self, name: str) -> Any:
        """Return the value in a field, None where it is unusable, which is said beside it."""
        try:
            value = OPTIONS[name].value(self.input(name).value)
        except InputError as exc:
            self.field(name).show_error(exc.message, exc.hint)
            return None
        self.field(name).show_help()
        return value

    def _check_device(self) -> bool:
        device = str(self._select().value)
        field = self.field("device")
        try:
            if self._devices:
                pick_devices(device, self._devices)
        except InputError as exc:
            field.show_error(exc.message, exc.hint)
            return False
        field.show_help()
        return True
