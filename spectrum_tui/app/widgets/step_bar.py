"""The top line of every screen: where the user is on the way from a model to a recipe."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from spectrum_tui.app.widgets.cells import printable
from spectrum_tui.core.requests import ModelSummary

STEPS = ("Model", "Layers", "Scan", "Results")
MIN_WIDTH, MIN_HEIGHT = 60, 18
"""Below this the screens hide everything but this bar, which then asks for more room."""


def model_label(summary: ModelSummary) -> str:
    """Return what to call a model on a screen; the demonstration model is labelled as such."""
    return "demo model" if summary.origin == "demo" else printable(summary.name or summary.model)


class StepBar(Widget):
    """` spectrum  1 Model › 2 Layers › 3 Scan › 4 Results      <detail>`; steps count from 1."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    StepBar { height: 1; width: 100%; background: $boost; color: $text-muted; text-wrap: nowrap; }
    """

    step = reactive(1)
    detail = reactive("")

    def __init__(self, step: int, detail: str = "") -> None:
        super().__init__()
        self.set_reactive(StepBar.step, step)
        self.set_reactive(StepBar.detail, detail)

    def render(self) -> Content:
        """Return the steps with the current one as a bold block, and the detail at the right
        edge."""
        width, height = self.app.size
        if width < MIN_WIDTH or height < MIN_HEIGHT:
            return self._too_small()
        steps, wanted = self._steps(), cell_len(self.detail.rpartition("/")[2])
        if steps.cell_length + wanted + 2 > self.size.width:
            steps = self._steps(brief=True)
        room = self.size.width - steps.cell_length - 2
        if room < 4 or not self.detail:
            return steps
        detail = _cropped(self.detail, room)
        gap = " " * (room + 1 - cell_len(detail))
        return Content.assemble(steps, gap, (detail, "$foreground"), " ")

    def _steps(self, *, brief: bool = False) -> Content:
        """Return the steps, or the numbers of those that are not the current one."""
        parts: list[Content | str | tuple[str, str]] = [(" spectrum ", "bold $primary")]
        for number, name in enumerate(STEPS, 1):
            current = number == self.step
            # A block with spaces around it, so that the step reads as current without colour too.
            style = "bold $background on $primary" if current else "$foreground 70%"
            text = f" {number} " if brief and not current else f" {number} {name} "
            parts.append((text, style))
            if number < len(STEPS):
                parts.append(("›", "$foreground 45%"))
        return Content.assemble(*parts)

    def _too_small(self) -> Content:
        width, height = self.app.size
        needed = f"{MIN_WIDTH}×{MIN_HEIGHT}"
        if width < 54:  # the longer sentence
            return Content.styled(f"Please enlarge the terminal to {needed}.", "bold $warning")
        return Content.assemble(
            ("Please enlarge the terminal: ", "bold $warning"),
            (f"{width}×{height} now, {needed} needed.", "$foreground"),
        )


def _cropped(text: str, room: int) -> str:
    """Return the end of the text, which tells more of a path than its start; the name without its
    owner where that is enough."""
    if cell_len(text) > room:
        text = text.rpartition("/")[2]
    if cell_len(text) <= room:
        return text
    while text and cell_len(text) > room - 1:
        text = text[1:]
    return set_cell_size("…" + text, room)
