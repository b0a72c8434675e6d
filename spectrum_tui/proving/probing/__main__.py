"""The process of a probe: `python -P -m spectrum_tui.proving.probing`."""

from __future__ import annotations

from spectrum_tui.proving.probing.child import main

if __name__ == "__main__":
    main()
