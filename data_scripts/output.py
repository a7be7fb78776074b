"""What is printed if the output lacks a character, ends early or is full."""

import errno
import io
import os
import sys
from collections.abc import Callable


def say(text: str) -> None:
    r"""Print ``text``; characters that the output's encoding lacks become escapes such as ``\u2192``."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # a replaced output may have none
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def until_closed(main: Callable[[], int]) -> int:
    """Return the exit status of a command, without a traceback if its output fails meanwhile.

    It is 141 if a reader has seen enough, as ``head`` has, and closes the output, and 1 if the disk is full.
    Characters that the output's encoding lacks become escapes, as for ``say``.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = main()
        if sys.stdout is not None:  # closed from the beginning, as for a daemon
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        status = 141
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename:  # of a file, whose writer says more
            raise
        print(f"{error.strerror}: free space and run the command again.", file=sys.stderr)
        status = 1
    # The interpreter flushes once more when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
