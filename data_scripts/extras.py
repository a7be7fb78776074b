"""One sentence for a package that only an extra of pyproject.toml brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import inside this block what the extra ``name`` brings.

    Raises:
        ModuleNotFoundError: if the package is missing; says which and how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is not installed; run: pip install 'geomreg-mini[{name}]'", name=error.name
        ) from None
