"""Which files are on a disk of this machine, and which come over a network, by their mount.

Of some mounts every byte is fetched from far away when it is first read, on demand, as of those of
hf-mount, which are of FUSE or of NFS from a server on this machine. A cluster's own file systems
answer in a millisecond and are read as a disk is.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from spectrum_tui.core.errors import OutOfReachError, reason_of
from spectrum_tui.core.platforms import Mount, mount_at, mount_of

T = TypeVar("T")

WAITS = (0.3, 0.6, 1.2, 2.4)
"""Seconds between the attempts of a look at files that are out of reach."""

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

_ON_DISKS = ("ext2", "ext3", "ext4", "xfs", "f2fs", "btrfs", "zfs", "tmpfs")
_TRUE_TIMES = frozenset((*_ON_DISKS, "ceph", "lustre", "gpfs", "beegfs"))
"""Types of file systems that note when a file was changed, and let nobody say another time."""

_PASSED_ON = frozenset(("nfs", "nfs4", "overlay"))
"""Types that show files of another one, which may be an image: there whoever made it has chosen the
times of its files, in whole seconds."""

_SECOND = 10**9


def _numbers(*names: str) -> frozenset[int]:
    """Return the numbers of those of these errors that the system knows."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


_GONE = _numbers("ENOTCONN", "ESTALE", "ENODEV", "ENXIO", "ESHUTDOWN")
_PASSING_ERRORS = _numbers(
    *("EAGAIN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET"),
    *("ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "EREMOTEIO"),
)


def patiently(work: Callable[[], T]) -> T:
    """Return what `work` does, tried again for some seconds while a mount or disk is away: somebody
    waits for it."""
    for seconds in WAITS:
        try:
            return work()
        except OutOfReachError as exc:
            if not exc.passes:
                raise
        time.sleep(seconds)
    return work()


def lie_on_demand(paths: Iterable[Path]) -> bool:
    """Return whether any of these files is fetched from far away when it is read; one that cannot
    be looked at is told by its path."""
    devices, unseen = set[int](), list[Path]()
    for path in paths:
        try:
            devices.add(path.stat().st_dev)
        except OSError:
            unseen.append(path)
    found = (*map(mount_of, devices), *map(mount_at, unseen))
    return any(map(_is_on_demand, found))


def have_true_times(changes: Iterable[tuple[int, int]]) -> bool:
    """Return whether the time of change of files tells any change, by the device and that time (ns)
    of each: no image, whose files all have the time that whoever made it chose, and no mount that
    makes times up. 33,000 samples on NFS, at 3 ms each and 8 at once, would take 12 s at each look.
    """
    fine: dict[int, bool] = {}
    for device, nanoseconds in changes:
        fine[device] = fine.get(device, True) and nanoseconds % _SECOND != 0
    return all(_has_true_times(mount_of(device), fine=fine[device]) for device in fine)


def _has_true_times(mount: Mount, *, fine: bool) -> bool:
    is_image = "rw" not in mount.options.split(",") or mount.source.startswith("/dev/loop")
    if is_image or _is_on_demand(mount):
        return False
    return mount.kind in _TRUE_TIMES or (fine and mount.kind in _PASSED_ON)


def _is_on_demand(mount: Mount) -> bool:
    return mount.source.lower().startswith(_OVER_A_NETWORK.get(_kind(mount), ()))


def _kind(mount: Mount) -> str:
    """Return the type of a mount without what FUSE adds to it, `fuse.sshfs`; `fuseblk` is for file
    systems on disks, as NTFS."""
    return "fuse" if mount.kind.startswith("fuse.") else mount.kind


def out_of_reach(path: Path, exc: OSError, device: int = -1) -> OutOfReachError | None:
    """Return the error for a file whose mount or disk is away; None where it is the file's own.

    A read error of a disk is of the file: of a mount over a network, by the `device` that the file
    was on, or by its path where that is not known, it is what hf-mount and others say when the
    network is gone.
    """
    of_the_network = exc.errno == errno.EIO and _is_over_a_network(path, device)
    passes = exc.errno in _PASSING_ERRORS or of_the_network
    if not passes and exc.errno not in _GONE:
        return None
    return OutOfReachError(
        f"{path.name} is out of reach ({reason_of(exc)}).",
        "Check its mount and the network.",
        field="model",
        passes=passes,
    )


def _is_over_a_network(path: Path, device: int) -> bool:
    return _kind(mount_at(path) if device < 0 else mount_of(device)) in _OVER_A_NETWORK
