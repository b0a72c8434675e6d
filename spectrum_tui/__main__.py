"""`python -m spectrum_tui` is the command `spectrum-tui`."""

import sys

from spectrum_tui.cli import main

if __name__ == "__main__":
    sys.exit(main())
