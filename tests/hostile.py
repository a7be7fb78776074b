"""Damaged and malicious input for the fuzz suites, and what has to hold whatever it is.

A reader may refuse what it is given by one sentence that this project wrote; it may not fail in any other
way, write outside the folder that it was given, start a program, or look for the network.
"""

import os
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

REPOSITORY = Path(__file__).parents[1]
# (examples of each reader): a few in every run, many in `make test-all`
EXAMPLES = [50, pytest.param(1500, marks=pytest.mark.exhaustive)]


def fuzz(values: st.SearchStrategy, examples: int, check, record_property) -> None:
    """Call ``check`` with ``examples`` values; the few of every run are the same each time."""
    tried = 0

    @settings(
        max_examples=examples,
        derandomize=examples <= EXAMPLES[0],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(values)
    def one(value):
        nonlocal tried
        tried += 1
        check(value)

    one()
    record_property("cases", tried)


def refusal(read, *kinds: type[Exception]) -> Exception | None:
    """What ``read()`` raised, held to be one sentence of this project of one of ``kinds``, or None."""
    try:
        read()
    except kinds as error:
        said, where = str(error), traceback.extract_tb(error.__traceback__)[-1].filename
        assert type(error) in kinds, f"another library's {type(error).__name__}: {said}"
        assert Path(where).is_relative_to(REPOSITORY), f"raised in {where}: {said}"
        assert len(said) > 10 and said.isprintable(), f"no sentence: {said!r}"
        return error
    return None


# what nobody may do while reading --------------------------------------------------------------------------

HAS_PROC = Path("/proc/self/fd").is_dir()
WRITES = {"os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime"}
MOVES = {"os.rename": 0, "os.link": 0, "os.symlink": 1}  # event -> the first argument that is written to
NEVER = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"}
_watching: list[tuple[Path, list[str]]] = []  # the allowed folder and what was done outside it


def _base(event: str, arguments: tuple) -> Path:
    """What a relative path is relative to: this folder, or the one that is open as the last argument."""
    opened = arguments[-1] if event in ("os.mkdir", "os.remove", "os.rmdir") else -1
    return Path(os.readlink(f"/proc/self/fd/{opened}")) if opened >= 0 and HAS_PROC else Path()


def _hook(event: str, arguments: tuple) -> None:
    if not _watching:
        return
    folder, seen = _watching[-1]
    paths = []
    if event == "open" and isinstance(arguments[2], int):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            paths = arguments[:1]
    elif event in WRITES:
        paths = arguments[:1]
    elif event in MOVES:
        paths = arguments[MOVES[event] : 2]
    elif event in NEVER:
        seen.append(f"{event} {arguments}")
    for path in paths:
        if isinstance(path, (str, bytes, os.PathLike)):
            path = Path(os.path.realpath(_base(event, arguments) / os.fsdecode(path)))
            if path != Path(os.devnull) and not path.is_relative_to(folder):
                seen.append(f"{event} {path}")


sys.addaudithook(_hook)  # cannot be taken off again, but does nothing outside `confined`


@contextmanager
def confined(folder: Path):
    """Fails where the block writes outside ``folder``, starts a program or connects to anything."""
    seen: list[str] = []
    _watching.append((folder.resolve(), seen))
    try:
        yield
    finally:
        _watching.pop()
    assert not seen, seen


# strategies -------------------------------------------------------------------------------------------------

NUMBERS = [bytes(1), b"\xff", bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80" * 8, b"\0\0\0\x01"]
MARKS = [b"\n", b",", b'"', b"\r\n", b"/", b"../", b"-1", b"1e999", b"NaN", b"{", b"}", "٣é".encode()]
PIECES = [*NUMBERS, *MARKS, b"[" * 3000, b"9" * 5000]
# (what to do, where, of whole and of near the beginning, how many bytes, with what)
_CHANGES = st.tuples(
    st.sampled_from(["set", "set", "insert", "cut", "repeat", "end"]),
    st.integers(0, 2**20),
    st.booleans(),
    st.integers(1, 64),
    st.one_of(st.sampled_from(PIECES), st.binary(min_size=1, max_size=8)),
)


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    """``content`` with some pieces overwritten, inserted, cut out or repeated, or without its end."""
    return st.lists(_CHANGES, min_size=1, max_size=5).map(lambda changes: _changed(content, changes))


def _changed(content: bytes, changes) -> bytes:
    data = bytearray(content)
    for what, place, early, count, piece in changes:
        at = place % (min(len(data), 200 if early else len(data)) + 1)
        if what == "set":
            data[at : at + len(piece)] = piece
        elif what == "insert":
            data[at:at] = piece
        elif what == "cut":
            del data[at : at + count]
        elif what == "repeat":
            data[at:at] = data[at : at + count]
        else:
            del data[at:]
    return bytes(data)


def bytes_like(content: bytes) -> st.SearchStrategy[bytes]:
    """Mostly ``mutated``, and anything at all."""
    return st.one_of(mutated(content), mutated(content), mutated(content), st.binary(max_size=300))


def json_values(leaves: int = 8) -> st.SearchStrategy:
    """Anything that JSON can say, and what Python's reader takes besides (NaN, huge numbers)."""
    scalars = st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=12)
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=leaves,
    )


def json_like(value) -> st.SearchStrategy:
    """``value`` (nested dicts and lists) with one to three of its parts replaced, left out or added."""
    places = list(_places(value))
    change = st.tuples(st.sampled_from(places), st.sampled_from(["put", "put", "drop", "add"]), json_values())
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: _replaced(value, changes))


def _places(value, here: tuple = ()):
    yield here
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from _places(part, (*here, key))


def _replaced(value, changes):
    import copy

    value = copy.deepcopy(value)
    for place, what, new in changes:
        if not place:
            value = new if what == "put" and len(changes) == 1 else value
            continue
        try:
            parent = value
            for key in place[:-1]:
                parent = parent[key]
            if what == "drop":
                del parent[place[-1]]
            elif what == "add" and isinstance(parent, list):
                parent.append(new)
            elif what == "add":
                parent["added"] = new
            else:
                parent[place[-1]] = new
        except (KeyError, IndexError, TypeError):  # an earlier change took that place away
            pass
    return value


EVIL_NAMES = ["/etc/geomreg", "../../outside", "a/../../outside", "C:\\outside", "..\\outside"]
EVIL_NAMES += ["\\\\host\\x", "./x", "a//b", "a\x00b", "a\nb", "é" * 200, "x" * 5000, "", ".", "..", "~/x"]
names = st.one_of(st.sampled_from(EVIL_NAMES), st.text(max_size=20))
