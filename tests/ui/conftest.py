"""Apps of one process share their parsed styles."""

from tests.styles import styles_are_parsed_once

__all__ = ["styles_are_parsed_once"]
