"""What every test can rely on: one thread, and a GPU where a test asks for one."""

import os
import shutil
import signal
import tempfile
from types import SimpleNamespace

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: results as on a reader's machine
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a shell, and then in every child
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOM = 2 * 10**9  # bytes; the suite uses a quarter of it at once, and a full disk fails all that follow


def pytest_sessionstart():
    folder = tempfile.gettempdir()
    if (free := shutil.disk_usage(folder).free) < ROOM:
        need = f"The tests need {ROOM / 1e9:.0f} GB of free disk in {folder}, and it has {free / 1e9:.1f}"
        pytest.exit(f"{need}. Make room, or name another folder in TMPDIR.", returncode=1)


def pytest_collection_modifyitems(items):
    if not any(item.get_closest_marker("gpu") for item in items):
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def trained(monkeypatch):
    """Training replaced by the validation accuracy that ``accuracy_of(config)`` says; ``runs`` lists it."""
    from made_up_records import record_of

    from experiments import sweeps
    from geomreg_mini import data

    runs = []

    def fake(config, *, data, device, progress):
        assert device == "cpu"
        runs.append(config)
        return record_of(config, fake.accuracy_of(config))

    fake.accuracy_of = lambda config: 0.5
    fake.runs = runs
    monkeypatch.setattr(sweeps, "fit", fake)
    monkeypatch.setattr(data, "load", lambda name, **options: SimpleNamespace(fingerprint="0"))
    return fake


@pytest.fixture(autouse=True)
def disk(monkeypatch):
    """The disk as data scripts see it: room for every data set until a test sets ``free``, in bytes."""
    usage = SimpleNamespace(free=10**15)
    monkeypatch.setattr("data_scripts.clip_cache.shutil.disk_usage", lambda path: usage)
    return usage
