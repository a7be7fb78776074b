"""What `make bench` measures with: two things in turn, round by round, so that what else runs slows both.

A ratio is the median over rounds of one time over the other, with quartiles. On a CPU a time is that of this
process on its one thread, without that of other programs; with a GPU it is the clock's. Everything goes to a
JSON file and a figure in the folder that ``--bench-out`` names, what was skipped too, with the reason; what
the file has of other measurements on the same machine stays, so that they can be made in parts.
"""

import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for bench_report.py, which a run without tests uses too

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def pytest_addoption(parser):
    parser.addoption("--bench-out", default="build/bench", help="folder of the JSON file and the figure")
    parser.addoption("--course-summary", default="build/course/summary.csv", help="of a run of the course")


def pytest_configure(config):
    config.measured, config.skipped, config.ran = [], [], set()


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture
def measured(request):
    """Call it with what was measured, as a JSON object of its own."""

    def add(group, what, **values):
        values = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in values.items()}
        row = {"test": request.node.name, "group": group, "what": what, **values}
        request.config.measured.append(row)

    return add


@pytest.fixture
def in_turn(benchmark, measured, request):
    """``in_turn(step, other, group=, what=, against=, ...)`` times both in turn for about ``seconds``."""

    def measure(step, other, *, group, what, against, device="cpu", seconds=2.0, rounds=None, **where):
        torch.set_num_threads(1)
        clock = time.perf_counter if device == "cuda" else time.process_time

        def timed(call, times):
            start = clock()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(clock() - start)

        def both():
            timed(other, others)
            timed(step, own)

        own, others = [], []
        both()  # warms up
        if rounds is None:
            if own[0] + others[0] < seconds:
                both()
            rounds = int(min(200, max(3, seconds / (own[-1] + others[-1]))))
        own.clear(), others.clear()
        benchmark.group = f"{group}, {device}"
        benchmark.pedantic(lambda: timed(step, own), setup=lambda: timed(other, others), rounds=rounds)
        own, others = (torch.tensor(times, dtype=torch.float64) for times in (own, others))
        low, ratio, high = (own / others).quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist()
        measured(
            group,
            what,
            against=against,
            device=device,
            **where,
            seconds=own.median().item(),
            against_seconds=others.median().item(),
            ratio=ratio,
            ratio_low=low,
            ratio_high=high,
            rounds=rounds,
        )
        return request.config.measured[-1]

    return measure


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    item.config.ran.add(item.name)
    if report.skipped:
        reason = report.longrepr[2].removeprefix("Skipped: ")
        item.config.skipped.append({"test": item.name, "reason": reason})


def pytest_sessionfinish(session):
    import bench_report

    config = session.config
    if config.ran:
        folder = config.option.bench_out
        print("\n\n" + bench_report.write(config.measured, config.skipped, config.ran, folder))
