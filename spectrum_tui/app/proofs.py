"""An app that proves: at most one proof runs, started from the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on

from spectrum_tui.app import messages as ask
from spectrum_tui.app.loading import ResultLoaded, ResultTaken, post_taken
from spectrum_tui.app.opening import OpeningApp

if TYPE_CHECKING:
    from spectrum_tui.app.proof_run import ProofRun

INTERRUPTED = 130


class ProvingApp(OpeningApp):
    """Owns the proof that runs."""

    proof: ProofRun | None = None
    """The last one that was started."""

    @property
    def proves(self) -> bool:
        """Whether rows of a proof run."""
        return self.proof is not None and self.proof.live

    def end_proof(self) -> None:
        """End the row that runs: its process would train on for nobody."""
        if self.proof is not None:
            self.proof.stop()

    @on(ask.ProveRequested)
    def _set_up(self, message: ask.ProveRequested) -> None:
        from spectrum_tui.app.screens.proof_setup import ProofSetupScreen

        if self.proves:
            self.notify("Stop the one that runs first.", title="A proof runs", severity="warning")
            return
        self.push_screen(ProofSetupScreen(message.state))

    @on(ask.ProofStarted)
    def _start_proof(self, message: ask.ProofStarted) -> None:
        from spectrum_tui.app.screens.proof import ProofScreen
        from spectrum_tui.app.screens.proof_setup import ProofSetupScreen

        if not isinstance(self.screen, ProofSetupScreen) or self.proves:
            return  # left meanwhile
        self.proof = message.run
        self.proof.begin()
        self.switch_screen(ProofScreen(self.proof, message.state))

    @on(ask.TakeRequested)
    def _take_over(self, message: ask.TakeRequested) -> None:
        self.read_beside(post_taken, message.proof, message.method, self.settings)

    @on(ResultTaken)
    def _show_taken(self, message: ResultTaken) -> None:
        """Open the scores with what was taken over."""
        self.settings, self._kind = message.settings, message.kind or self._kind
        self.post_message(ResultLoaded(message.path, message.result, {}))

    # -- leaving -------------------------------------------------------------------------------

    async def action_quit(self) -> None:
        """Leave; ask once while a proof runs."""
        from spectrum_tui.app.screens.confirm import ConfirmScreen

        if not self.proves:
            await super().action_quit()
        elif not any(isinstance(screen, ConfirmScreen) for screen in self.screen_stack):
            question = ConfirmScreen(
                "Leave while rows train?",
                "Every finished row is kept; the same proof goes on from there.",
                "Leave",
                "Keep training",
            )
            self.push_screen(question, self._leave_proof)

    def _leave_proof(self, leave: bool | None) -> None:
        if leave:
            self.exit(return_code=INTERRUPTED)
