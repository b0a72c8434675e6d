"""Which files are on a disk of this machine, and which come over a network, by their mount.

Of some mounts every byte is fetched from far away when it is first read, on demand, as of those of
hf-mount, which are of FUSE or of NFS from a server on this machine. A cluster's own file systems
answer in a millisecond and are read as a disk is.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from spectrum_tui.core.errors import OutOfReachError, reason_of
from spectrum_tui.core.platforms import mount_of

_EVERYWHERE = ("",)
_HERE = ("127.0.0.1:", "localhost:", "[::1]:")
_OTHERS = ("cifs", "smb3", "9p", "virtiofs", "ceph", "lustre", "gpfs", "beegfs", "afs")
_OVER_A_NETWORK = {
    "fuse": _EVERYWHERE,
    "nfs": _HERE,
    "nfs4": _HERE,
    **dict.fromkeys(_OTHERS, ()),
}
"""{type of file system over a network: what the source of a mount that is read on demand begins
with}."""


def _numbers(*names: str) -> frozenset[int]:
    """Return the numbers of those of these errors that the system knows."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


_GONE = _numbers("ENOTCONN", "ESTALE", "ENODEV", "ENXIO", "ESHUTDOWN")
_PASSING_ERRORS = _numbers(
    *("EAGAIN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET"),
    *("ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "EREMOTEIO"),
)


def are_on_demand(devices: Iterable[int]) -> bool:
    """Return whether files on any of these devices are fetched from far away when they are read."""
    return any(map(_is_on_demand, set(devices)))


def _is_on_demand(device: int) -> bool:
    kind, source = _mount(device)
    return source.lower().startswith(_OVER_A_NETWORK.get(kind, ()))


def _mount(device: int) -> tuple[str, str]:
    """Return the type of a mount without what FUSE adds to it, `fuse.sshfs`, and its source;
    `fuseblk` is for file systems on disks, as NTFS."""
    kind, source = mount_of(device)
    return "fuse" if kind.startswith("fuse.") else kind, source


def out_of_reach(path: Path, exc: OSError, device: int = -1) -> OutOfReachError | None:
    """Return the error for a file whose mount or disk is away; None where it is the file's own.

    A read error of a disk is of the file: of a mount over a network, by the `device` that the file
    was on, it is what hf-mount and others say when the network is gone.
    """
    of_the_network = exc.errno == errno.EIO and _mount(device)[0] in _OVER_A_NETWORK
    passes = exc.errno in _PASSING_ERRORS or of_the_network
    if not passes and exc.errno not in _GONE:
        return None
    return OutOfReachError(
        f"{path.name} is out of reach ({reason_of(exc)}).",
        "Check its mount and the network.",
        field="model",
        passes=passes,
    )
