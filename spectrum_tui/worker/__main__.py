"""The worker: `python -m spectrum_tui.worker`."""

from __future__ import annotations

from spectrum_tui.worker.server import main

if __name__ == "__main__":
    main()
