"""Confine a process that runs a stranger's notebook; `README.md` lists the attacks that this stops.

With bubblewrap (Linux) the process sees a small private file system: Python, the parts of the course that a
notebook uses, and the data folder, all read-only, and private temporary folders of limited size. It has no
network and sees no other process. Everywhere else it is a plain process with limits that it sets itself.
"""

from __future__ import annotations

import os
import secrets
import shutil
import site
import sys
from contextlib import suppress
from pathlib import Path

MEMORY = 4 * 2**30  # bytes of one process, in addition to the imports
PROCESSES = 256  # and threads, not counting those of your account
FILE = 2**28  # bytes of one file
SPACE = 2**29  # bytes of /tmp, and of /dev/shm
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/alternatives",
          "/etc/fonts", "/etc/ld.so.cache", "/etc/localtime")  # fmt: skip
INSTALLERS = ("pip", "conda", "mamba", "micromamba", "uv", "apt-get", "apt")  # they do nothing in a notebook
SOLUTIONS = "cells tagged solution"  # nor do these, since the course's own answers are nobody's
ENDLESS = "a cell without end"  # interrupted after half of the time that was left
INSIDE = Path("/tmp/course")  # the course's place in bubblewrap


def unprivileged() -> int | None:
    """Return a user number for the notebook if this process runs as root, whom no process limit binds.

    systemd gives these numbers to temporary services, so they do not belong to users.
    """
    return 61184 + secrets.randbelow(4336) if getattr(os, "geteuid", int)() == 0 and os.name != "nt" else None


def bubblewrap(parts: dict[str, Path], data: list[Path], hidden: Path) -> list[str]:
    """Return the command that runs another command in bubblewrap, or [] if it is not installed.

    Args:
        parts: place below the course's folder -> file or folder that the notebook may read there.
        data: folders that it may read at their usual place.
        hidden: the folder of the handed-in notebooks, which looks empty even inside one of those folders.
    """
    if sys.platform != "linux" or not shutil.which("bwrap"):
        return []
    readable = [Path(p).resolve() for p in (sys.base_prefix, sys.prefix)] + [Path(sys.prefix)]
    # Not ~/.local around it, where other programs keep keys.
    readable += [Path(site.getusersitepackages())] if site.ENABLE_USER_SITE else []
    binds = {place: place for place in [*map(Path, SYSTEM), *dict.fromkeys([*readable, *data])]}
    binds |= {INSIDE / name: path for name, path in parts.items()}

    command = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    command += [
        "--unshare-cgroup-try",
        "--die-with-parent",
        "--new-session",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ]
    if unprivileged():
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for place in ("/dev/shm", "/tmp"):
        command += ["--size", str(SPACE), "--perms", "1777", "--tmpfs", place]
    made = {Path("/"), Path("/tmp")}
    for place in (*binds, INSIDE / "notebooks" / "_"):
        # Bubblewrap would make these for root alone, and the notebook does not run as root.
        for folder in reversed(place.parents):
            if folder not in made and not any(p in binds and p.exists() for p in (folder, *folder.parents)):
                command += ["--perms", "1777" if INSIDE in (folder, folder.parent) else "0755"]
                command += ["--dir", str(folder)]
            made.add(folder)
        if place in binds:
            command += ["--ro-bind-try", str(binds[place]), str(place)]
    if any(hidden.is_relative_to(place) for place in binds):
        command += ["--perms", "0555", "--tmpfs", str(hidden), "--remount-ro", str(hidden)]
    return [*command, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(INSIDE / "notebooks"), "--"]


def lay_out(parts: dict[str, Path], folder: Path) -> None:
    """Put the course's parts below `folder` for a process without bubblewrap, as links if possible."""
    (folder / "notebooks").mkdir()
    for name, path in parts.items():
        try:
            (folder / name).symlink_to(path)
        except OSError:  # Windows without developer mode
            (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / name)


def limit(seconds: int, user: int | None, processes: bool) -> None:
    """Bound this process and its children as far as the system can, for good.

    Args:
        seconds: processor time of a process.
        user: the user number to continue under if this process runs as root.
        processes: whether to bound the number of processes; without bubblewrap the account's others count.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, end this process first
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    try:
        import resource
    except ImportError:  # Windows
        return
    bounds = {"RLIMIT_CPU": seconds, "RLIMIT_FSIZE": FILE, "RLIMIT_CORE": 0, "RLIMIT_NOFILE": 1024}
    with suppress(OSError):
        # The address space, because no other limit counts shared memory. The libraries use some of it.
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bounds["RLIMIT_AS"] = pages * resource.getpagesize() + MEMORY
    if processes:
        bounds["RLIMIT_NPROC"] = PROCESSES
    for name, value in bounds.items():
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))
