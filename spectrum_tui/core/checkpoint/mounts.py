"""Which files are on a disk of this machine, and which come over a network, by their mount.

Of some mounts every byte is fetched from far away when it is first read, as of those of hf-mount,
which are of FUSE or of NFS from a server on this machine. A cluster's own file systems answer in a
millisecond and are read as a disk is.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from spectrum_tui.core.errors import OutOfReachError, reason_of
from spectrum_tui.core.platforms import mount_of

_OVER_A_NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "lustre", "gpfs", "beegfs", "afs")
)
_HERE = ("127.0.0.1:", "localhost:", "[::1]:")


def _numbers(*names: str) -> frozenset[int]:
    """Return the numbers of those of these errors that the system knows."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


_GONE = _numbers("ENOTCONN", "ESTALE", "ENODEV", "ENXIO", "ESHUTDOWN")
_PASSING = _numbers(
    *("EAGAIN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET"),
    *("ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "EREMOTEIO"),
)


def are_fetched(devices: Iterable[int]) -> bool:
    """Return whether files on any of these devices are fetched from far away when they are read."""
    return any(map(_is_fetched, set(devices)))


def _is_fetched(device: int) -> bool:
    kind, source = mount_of(device)
    return _is_fuse(kind) or (kind.startswith("nfs") and source.lower().startswith(_HERE))


def _is_fuse(kind: str) -> bool:
    """`fuseblk` is for file systems on disks, as NTFS."""
    return kind == "fuse" or kind.startswith("fuse.")


def out_of_reach(path: Path, exc: OSError, device: int = -1) -> OutOfReachError | None:
    """Return the error for a file whose mount or disk is away; None where it is the file's own.

    A read error of a disk is of the file: of a mount over a network, by the `device` that the file
    was on, it is what hf-mount and others say when the network is gone.
    """
    passes = exc.errno in _PASSING or (exc.errno == errno.EIO and _over_a_network(device))
    if not passes and exc.errno not in _GONE:
        return None
    error = OutOfReachError(
        f"{path.name} is out of reach ({reason_of(exc)}).",
        "Check its mount and the network.",
        field="model",
    )
    error.passes = passes
    return error


def _over_a_network(device: int) -> bool:
    kind, _ = mount_of(device)
    return _is_fuse(kind) or kind in _OVER_A_NETWORK
