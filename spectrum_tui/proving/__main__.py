"""The process of one row: `python -P -m spectrum_tui.proving`."""

from __future__ import annotations

from spectrum_tui.proving.row import main

if __name__ == "__main__":
    main()
