"""The keys that work now, at the foot of every screen: the screen's own, help, and quit."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

PICTURE = "Save the screen as SVG, and as PNG with cairosvg"
MOST_KEYS = 7
"""More than these would not be read, and would not fit 80 columns."""

_Shown = tuple[str, str, str, str, bool, str]
"""Key, how it is written, description, action, whether it is disabled, tooltip."""


def hidden_key(
    key: str, action: str, description: str, tooltip: str, *, priority: bool = False
) -> Binding:
    """Return a binding that the footer leaves out; help and palette tell of it."""
    return Binding(key, action, description, show=False, tooltip=tooltip, priority=priority)


class KeyFooter(Footer):
    """Leaves quit out where it would be one key too many; it works all the same.

    Textual makes every key anew whenever the focus moves, styles each three times, and that was
    a third of a screen's start: here only other keys are made anew, and they are styled once.
    """

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)
        self._shown: list[_Shown] = []

    def compose(self) -> ComposeResult:
        self._shown = self._keys()  # in the first frame as well
        for shown in self._shown:
            key = FooterKey(*shown)
            key.set_reactive(FooterKey.compact, False)
            yield key

    async def on_resize(self) -> None:
        """Show as many keys as fit now."""
        await self.recompose()

    async def recompose(self) -> None:
        """Show the keys that work now, where they are not those that are shown."""
        if self.is_attached and self._keys() != self._shown:
            await super().recompose()

    def _keys(self) -> list[_Shown]:
        """Return the first key of every action, as `FooterKey` takes it."""
        every: dict[str, _Shown] = {}
        for _, binding, enabled, tooltip in self.screen.active_bindings.values():
            if binding.show and binding.action not in every:
                display = self.app.get_key_display(binding)
                every[binding.action] = (
                    binding.key,
                    display,
                    binding.description,
                    binding.action,
                    not enabled,
                    tooltip,
                )
        leave = every.pop("quit", None)
        shown = list(every.values())
        width = self.app.size.width + 1  # the space behind the last one may be cut
        if leave and len(shown) < MOST_KEYS and sum(map(_cells, [*shown, leave])) <= width:
            shown.append(leave)
        return _fitting(shown, width)


def _cells(key: _Shown) -> int:
    """Return how wide a key is with its description, and a cell between and around them."""
    return cell_len(key[1]) + cell_len(key[2]) + 3


def _fitting(keys: list[_Shown], width: int) -> list[_Shown]:
    """Leave out what has no room, from the end, but not help, which tells of the others."""
    kept = list(keys)
    while len(kept) > 1 and sum(map(_cells, kept)) > width:
        last = max(i for i, key in enumerate(kept) if key[3] != "help")
        del kept[last]
    return kept
