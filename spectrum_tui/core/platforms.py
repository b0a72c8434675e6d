"""Where Linux, macOS and Windows differ: each call that one of them lacks, and what replaces it.

A call is looked for by its own name, never by that of the system, so that a test can take all of
them away at once.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import platform
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

END_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGHUP", "SIGINT", "SIGBREAK")
    if hasattr(signal, name)
)
"""The signals that ask a process to end; SIGBREAK is what closing its window sends on Windows."""
HUNG_UP = 128 + getattr(signal, "SIGHUP", 1)
"""The exit code of a process whose terminal is gone."""

_LOCKED_BYTE = 2**30
"""Windows lets nobody read what is locked: the lock is far behind the text that others read."""


# -- files --------------------------------------------------------------------------------------


def open_flags(*names: str) -> int:
    """Return those flags of `os.open` that the system has, as one number."""
    return sum(getattr(os, name, 0) for name in names)


def user_id() -> int:
    """Return the number of the user that files belong to; 0 on Windows, which gives it to all."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


def set_mode(handle: int, mode: int) -> None:
    """Set the permissions of an open file, where it has any."""
    if hasattr(os, "fchmod"):
        os.fchmod(handle, mode)


def drop_from_memory(handle: int) -> None:
    """Let the system forget what it holds of a file that is on the disk, where it does (Linux)."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def no_reading_ahead(handle: int) -> None:
    """Have the system read no more of a file than is asked for, where it lets itself be told."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)


class Mount(NamedTuple):
    """The type of a mount, its source and the options of its file system, ("fuse", "hf-mount",
    "ro,user_id=0"); "" for all where the system does not say."""

    kind: str = ""
    source: str = ""
    options: str = ""


def mount_of(device: int) -> Mount:
    """Return the mount with this device number; nothing of it is known but on Linux, nor of a part
    of a file system."""
    try:
        number = f"{os.major(device)}:{os.minor(device)}"
    except (AttributeError, OverflowError):
        return Mount()
    return next((mount for one, _, mount in _mounts() if one == number), Mount())


def mount_at(path: Path) -> Mount:
    """Return the mount that a path lies in, by its name alone: of what cannot be looked at."""
    place = os.path.realpath(path)
    found = [
        (len(root), i, mount)
        for i, (_, root, mount) in enumerate(_mounts())
        if f"{place}/".startswith(f"{root.rstrip('/')}/")
    ]
    return max(found)[-1] if found else Mount()


def _mounts() -> Iterator[tuple[str, str, Mount]]:
    """Yield the number, the place and what else is known of each mount, later ones over earlier."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in table.splitlines():
        mount, _, system = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) > 4:
            place = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
            yield fields[2], place, Mount(*system.split(" ")[:3])


def wait_for_writer(handle: int) -> None:
    """Have reads of a pipe wait for data, which was not waited for when it was opened."""
    if hasattr(os, "set_blocking"):
        os.set_blocking(handle, True)


def lock(handle: int) -> bool:
    """Take the lock of an open file, unless another has it; closing the file gives it up, and so
    does the end of the process. Raises OSError where there are no locks."""
    try:
        import fcntl
    except ImportError:
        return _lock_a_byte(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_a_byte(handle: int) -> bool:
    try:
        msvcrt: Any = importlib.import_module("msvcrt")
    except ImportError:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)) from None
    os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    except PermissionError:
        return False
    return True


def has_drive(path: str) -> bool:
    """Return whether a path leads away from the folder that it is joined to on Windows: `C:x`."""
    return bool(PureWindowsPath(path).drive)


# -- processes ----------------------------------------------------------------------------------


def own_group() -> dict[str, Any]:
    """Return arguments of `subprocess.Popen` for a process that a Ctrl-C in the terminal does not
    reach, with what it starts. Windows cannot lower its priority later, and opens a window."""
    if hasattr(os, "killpg"):
        return {"start_new_session": True}
    names = ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW", "BELOW_NORMAL_PRIORITY_CLASS")
    return {"creationflags": sum(getattr(subprocess, name, 0) for name in names)}


def end_group(process: subprocess.Popen[str], *, now: bool) -> None:
    """Ask a process that was started with `own_group` to end, and what it started with it; `now`
    does not ask. Without groups the process alone is ended, as its children see by their pipes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL if now else signal.SIGTERM)
        elif now:
            process.kill()
        else:
            process.terminate()


def lower_priority() -> None:
    """Let every other process go before this one; costs it 10 % at most."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)


def cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """Return the processor, as the system calls it; its kind alone where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def thread_seconds() -> float:
    """Return the seconds that this thread has computed, without those that it waited for a core; of
    Windows, which counts them in steps of 1/64 s, those of a clock."""
    return time.perf_counter() if sys.platform == "win32" else time.thread_time()


def may_have_gpu() -> bool:
    """Return whether torch could find a GPU here: False only where no driver of one is seen, by
    its device on Linux (NVIDIA, AMD, and either under WSL), by its library on Windows."""
    if sys.platform == "linux":
        return any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/nvmap")))
    if sys.platform == "win32":
        root = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32")
        return any((root / name).exists() for name in ("nvcuda.dll", "amdhip64.dll"))
    return True


def has_nvidia_gpu() -> bool:
    """Return whether the driver of such a GPU is loaded, as far as Linux tells without torch."""
    return Path("/proc/driver/nvidia/version").exists()


# -- memory -------------------------------------------------------------------------------------


def resident_bytes(pid: int | None) -> int:
    """Return the memory of a process in bytes, 0 where the system does not tell (not Linux)."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def peak_bytes() -> int:
    """Return the most memory that this process has had since `forget_peak`, 0 where the system
    does not tell (not Linux)."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, ValueError, StopIteration):
        return 0


def forget_peak() -> None:
    """Let `peak_bytes` begin anew, where the system lets it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def known_free() -> int | None:
    """Return the free bytes of the CPU's memory, None where the system does not say (macOS)."""
    limits = (
        _available(Path("/proc/meminfo")),
        _cgroup_left(Path("/sys/fs/cgroup")),
        _free_on_windows(),
    )
    return min((left for left in limits if left is not None), default=None)


def half_of_memory() -> int:
    """Return half of the machine's memory in bytes; 4 GiB where its size is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30


def _available(meminfo: Path) -> int | None:
    """MemAvailable of Linux, in bytes."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, ValueError, StopIteration):
        return None


def _cgroup_left(folder: Path) -> int | None:
    """Return what a container's limit leaves (cgroup v2), where there is one; file cache is
    free."""
    try:
        limit = int((folder / "memory.max").read_text())  # the word "max" where there is none
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stat.get("inactive_file", "0")))
    except (OSError, ValueError):
        return None


def _free_on_windows() -> int | None:
    """`ullAvailPhys` of GlobalMemoryStatusEx: the fourth field of a MEMORYSTATUSEX, which begins
    with two of 32 bits, its own size first, and has seven of 64 bits."""
    import ctypes

    windll: Any = getattr(ctypes, "windll", None)
    if windll is None:
        return None
    fields = (ctypes.c_uint64 * 8)()
    ctypes.cast(fields, ctypes.POINTER(ctypes.c_uint32))[0] = ctypes.sizeof(fields)
    known = windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(fields))
    return int(fields[2]) if known else None


# -- terminals ----------------------------------------------------------------------------------


def terminal_settings() -> dict[int, list[Any]]:
    """Return the settings of every terminal among stdin, stdout and stderr, by file number; none
    on Windows, where the console's are its own."""
    found: dict[int, list[Any]] = {}
    with contextlib.suppress(ImportError):
        import termios

        for number in (0, 1, 2):
            with contextlib.suppress(termios.error, OSError):
                found[number] = termios.tcgetattr(number)
    return found


def would_wait(number: int) -> bool:
    """Return whether a write would wait, as for a terminal that nobody reads; False where the
    system does not say (Windows, for what is no socket)."""
    try:
        return not select.select([], [number], [], 0)[1]
    except (OSError, ValueError):
        return False


def restore_terminals(before: dict[int, list[Any]]) -> None:
    """Give every terminal the settings that `terminal_settings` found."""
    for number, settings in before.items():
        import termios

        with contextlib.suppress(termios.error, OSError):
            # TCSANOW: to wait until everything is written could take for ever.
            termios.tcsetattr(number, termios.TCSANOW, settings)
