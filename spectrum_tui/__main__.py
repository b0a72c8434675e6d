"""`python -m spectrum_tui` is the command `spectrum-tui`."""

from spectrum_tui.cli import run

if __name__ == "__main__":
    run()
