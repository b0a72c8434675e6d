"""The Hugging Face hub: what is local, what a model holds there, and fetching it.

Importing this loads none of the hub's client; `remote` and `transfer` do when they are used.
"""

from spectrum_tui.core.hub.cache import HubFiles, cached_models, find_local, missing_in_cache
from spectrum_tui.core.hub.names import validate
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.hub.remote import RemoteCheckpoint, read_remote
from spectrum_tui.core.hub.transfer import DownloadStopped, download, free_space

__all__ = [
    "DownloadStopped",
    "HubFiles",
    "Patience",
    "RemoteCheckpoint",
    "cached_models",
    "download",
    "find_local",
    "free_space",
    "missing_in_cache",
    "read_remote",
    "validate",
]
