"""What a command does if the reader of its output has seen enough, as ``head`` has."""

import os
import sys
from collections.abc import Callable


def until_closed(main: Callable[[], int]) -> int:
    """Return the exit status of a command; 141, without a traceback, if its output is closed meanwhile."""
    try:
        status = main()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The interpreter flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
