"""An app that shows the results screen alone, for tests of it."""

from __future__ import annotations

from pathlib import Path

from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Footer, Static
from textual.widgets._footer import FooterKey

from spectrum_tui.app.screens.result_state import ResultState
from spectrum_tui.app.screens.results import ResultsScreen
from spectrum_tui.app.widgets.yaml_preview import YamlPreview
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.settings import Settings


class Host(App[None]):
    """Shows the screen and counts frames."""

    def __init__(
        self,
        result: Result,
        percent: int = 50,
        output_dir: Path | str = ".",
        settings: Settings | None = None,
    ) -> None:
        super().__init__()
        plain = Settings(top_percent=percent, output_dir=str(output_dir))
        self.results = ResultsScreen(ResultState(result, settings or plain))
        self.frames = 0

    def on_mount(self) -> None:
        self.push_screen(self.results)

    def post_display_hook(self) -> None:
        self.frames += 1

    def text(self, selector: str) -> str:
        return str(self.results.query_one(selector, Static).content)

    @property
    def totals(self) -> str:
        return self.results.header.totals.left

    @property
    def notes(self) -> str:
        return self.text("#notes")

    @property
    def preview_text(self) -> str:
        return self.preview.view.text()

    @property
    def preview(self) -> YamlPreview:
        """What shows the YAML, once it was looked at."""
        preview = self.results.views.preview
        assert preview is not None
        return preview

    def footer(self) -> dict[str, str]:
        keys = self.screen.query_one(Footer).query(FooterKey)
        return {key.key_display: key.description for key in keys}


async def settled(pilot: Pilot[None]) -> None:
    """Past the preview's debounce, workers done, everything drawn."""
    await pilot.pause(0.15)
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()
