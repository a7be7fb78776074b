"""An unlucky reader: killed at any moment, a full disk, a folder that cannot be written, two at once, NaN.

Whatever happened, the next try ends with the files of a run to which nothing happened.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import nbformat
import pytest
import torch
from local_server import Quiet, serving
from nursery import TOY, Nursery, content
from small_data import clouds, dataset
from test_training import REGULARIZED, SMALL, as_json, run

from data_scripts.fetch import atomic_file, write_atomically
from experiments.benchmarks import Deadline
from experiments.study import Arm, Cell, Study
from experiments.sweeps import load_or_train
from geomreg_mini import training
from geomreg_mini.data import Split
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.training import Stopped

REPOSITORY = Path(__file__).parents[1]
MOUNTING = ("--map-root-user", "--mount")
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX processes")
KILLS = [2, pytest.param(30, marks=pytest.mark.exhaustive)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A mirror with twelve clips in the form of CREMA-D."""
    pytest.importorskip("av")
    pytest.importorskip("soundfile")
    pytest.importorskip("soxr")
    from data_scripts import stand_ins

    folder = tmp_path_factory.mktemp("source")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stand_ins, "SPEAKERS", 1)
        patch.setattr(stand_ins, "SENTENCES", ("IEO", "TIE"))
        stand_ins.write_crema_d(folder)
    return folder


class Slow(Quiet):
    """Files in pieces, so that a download can be hit in the middle; ``Range`` is understood."""

    files = {f"{i}.zip": bytes([i]) * 400_000 for i in range(3)}

    def do_GET(self):
        body = self.files[self.path.strip("/")]
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        try:
            for at in range(start, len(body), 40_000):
                self.wfile.write(body[at : at + 40_000])
                time.sleep(0.01)
        except OSError:  # the other side was killed
            pass


@pytest.fixture(scope="module")
def environment(source):
    """What the jobs need: clips, and a host that serves files."""
    files = [(name, len(body), hashlib.sha256(body).hexdigest()) for name, body in Slow.files.items()]
    with pytest.MonkeyPatch.context() as patch, serving(Slow, patch) as server:
        yield {"GEOMREG_MIRROR": str(source), "ADDRESS": server.address, "FILES": json.dumps(files)}


@pytest.fixture(scope="module")
def nursery(environment, tmp_path_factory):
    """A nursery; where it may mount, with a small disk of its own at ``nursery.disk``."""
    home = tmp_path_factory.mktemp("nursery")
    nursery = Nursery(home / "said", ["unshare", *MOUNTING] if can_mount() else [], **environment)
    nursery.disk = home / "disk" if can_mount() else None
    if can_mount():
        nursery.disk.mkdir()
        nursery.command("mount", "-t", "tmpfs", "none", nursery.disk)
    yield nursery
    nursery.close()


@cache
def can_mount() -> bool:
    command = ["unshare", *MOUNTING, "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, capture_output=True).returncode


@pytest.fixture(scope="module")
def whole(nursery, tmp_path_factory):
    """What each job leaves where nothing happens to it: a function of its name."""
    done = {}

    def of(job: str) -> dict:
        if job not in done:
            folder = tmp_path_factory.mktemp(job)
            status, said = nursery.finish(job, folder)
            assert status == 0, said
            done[job] = content(folder)
        return done[job]

    return of


# kills ------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("job", ["training", "sweep", "preparation", "download"])
@pytest.mark.parametrize("kills", KILLS)
def test_whatever_is_killed_ends_with_the_same_files(nursery, tmp_path, job, kills, record_property):
    (first, *others), counted = nursery.kill_often(job, tmp_path, kills)
    for folder in others:
        assert content(folder) == content(first)
        strays = [path for path in folder.rglob(".*") if path.is_file()]
        assert len(strays) <= counted, "at most one unfinished file a kill"
    assert content(first) and counted == kills
    record_property("cases", counted)


@posix
@pytest.mark.exhaustive
def test_a_notebook_whose_outputs_are_stored_is_the_old_or_the_new_one(nursery, tmp_path, record_property):
    _, counted = nursery.kill_often("notebook", tmp_path, 10)
    for path in tmp_path.rglob("01_tiny.ipynb"):
        stored = nbformat.read(path, as_version=4)
        nbformat.validate(stored)
        assert "ran" in stored.metadata["course"]
    wait_for(lambda: not any(working_in(tmp_path)))  # kernels end with what started them
    record_property("cases", counted)


def working_in(folder: Path) -> Iterator[Path]:
    """Processes whose working folder is below ``folder``, where there is a /proc."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if Path(os.readlink(process / "cwd")).is_relative_to(folder):
                yield process


def started(job: str, folder: Path) -> subprocess.Popen:
    """A process of its own session that calls a function of ``nursery``."""
    code = f"import nursery; nursery.{job}({str(folder)!r})"
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")])
    options = {"start_new_session": True, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, **options)


def of_session(leader: int) -> list[int]:
    """Processes of a session that are still running."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("early", [True, False])
def test_ctrl_c_ends_a_study_with_one_line_and_no_process(tmp_path, early):
    """Early: while the workers import torch; else while they train."""
    study, said = started("endless_study", tmp_path), None
    try:
        if early:
            wait_for(lambda: len(of_session(study.pid)) > 2)
        else:
            wait_for(lambda: len(list(tmp_path.rglob("short.json"))) == 2, seconds=300)
        while said is None:  # a press while the workers are being started is lost
            time.sleep(0.3)
            os.killpg(study.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                said = study.communicate(timeout=20)[1]
        wait_for(lambda: not of_session(study.pid))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(study.pid, signal.SIGKILL)
    written = len(list(tmp_path.rglob("*.json")))
    line = f"stopped; {written} of 4 records are written; run the same command to continue"
    assert study.returncode == 130 and said.splitlines()[-1] == line
    assert "Traceback" not in said and "Error" not in said
    assert early or written == 2


@posix
def test_processes_of_a_sweep_end_with_the_one_that_was_killed(tmp_path):
    sweep = started("endless", tmp_path)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    sweep.kill()
    sweep.wait()
    wait_for(lambda: not any(map(alive, workers)))


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # one that waits to be collected by its parent is over
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return Path("/proc").is_dir() is False


# full disks and read-only folders ---------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("job", ["training", "sweep", "preparation", "download"])
@pytest.mark.parametrize("room", [4000, 9000])
def test_a_disk_that_is_full_is_said_in_one_sentence_and_costs_nothing_when_there_is_room(
    nursery, whole, tmp_path, job, room
):
    status, said = nursery.finish(job, tmp_path, bytes=room)
    assert status == 1 and one_sentence(said) and str(tmp_path) in said
    assert not any(name.endswith(".json") for name in content(tmp_path))
    status, said = nursery.finish(job, tmp_path)
    assert status == 0 and content(tmp_path) == whole(job), said


def one_sentence(said: str) -> bool:
    """Whether it ends with one, below the bar of a training."""
    return "Traceback" not in said and re.search(r"cannot be written|Could not write", said.splitlines()[-1])


@posix
@pytest.mark.parametrize("job", ["training", "sweep", "preparation", "download"])
@pytest.mark.parametrize("fault", ["size=16k", "size=60k", "ro"])
def test_on_a_real_disk_that_is_full_or_read_only(nursery, whole, tmp_path, job, fault):
    if nursery.disk is None:
        pytest.skip("needs `unshare` with the right to mount")
    folder, disk = nursery.disk / f"{job}-{fault}", nursery
    disk.command("mkdir", folder)
    disk.command("mount", "-o", f"remount,{fault}", disk.disk)
    status, said = disk.finish(job, folder)
    disk.command("mount", "-o", "remount,rw,size=64m", disk.disk)
    assert status == 1 and one_sentence(said) and str(folder) in said
    assert ("ead-only" in said) if fault == "ro" else ("No space left" in said)
    status, said = disk.finish(job, folder)
    disk.command("cp", "-r", folder, tmp_path / "copy")
    assert status == 0 and content(tmp_path / "copy") == whole(job), said
    disk.command("rm", "-r", folder)


# two at once ------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("job", ["training", "sweep", "preparation"])
def test_two_at_once_in_one_folder_leave_what_one_leaves(nursery, whole, tmp_path, job):
    status, said = nursery.finish(job, tmp_path, copies=2)
    assert status == 0, said
    assert content(tmp_path) == whole(job)
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def test_a_checkpoint_that_another_run_removes_at_the_last_moment_is_none(tmp_path, monkeypatch):
    expected = run()
    monkeypatch.setattr(training.Path, "exists", lambda path: True)
    assert run(checkpoint=tmp_path / "gone.pt") == expected


# clocks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [-3 * 365 * 86400, -7200, 7200, 3 * 365 * 86400])
def test_a_clock_that_is_set_during_a_run_changes_nothing(tmp_path, monkeypatch, jump):
    clock, expected, deadline = time.time, run(), Deadline(hours=1)
    asked = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: clock() + (next(asked) % 2) * jump)
    with pytest.raises(Stopped):
        run(checkpoint=tmp_path / "run.pt", stop=lambda: not deadline())
    record = run(checkpoint=tmp_path / "run.pt")
    assert record == expected and 0 < record.wall_time < 600
    assert not deadline() and Deadline(hours=-1)()


@pytest.mark.parametrize("write", ["results", "data"])
@pytest.mark.parametrize(
    ("age", "stays"), [(-400 * 86400, True), (0, True), (7200, True), (2 * 86400, False)]
)
def test_what_a_killed_writer_left_goes_after_a_day_by_the_clock_of_the_disk(
    tmp_path, monkeypatch, write, age, stays
):
    """An age below zero: the clock was set back since."""
    path, stray = tmp_path / "r[1].json", tmp_path / ".r[1].json.x7"
    stray.write_text("half")
    other = tmp_path / ".r1.json.x7"  # of another file
    other.write_text("half")
    for file in (stray, other):
        os.utime(file, (time.time() - age,) * 2)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # of the machine, which is not asked
    if write == "results":
        write_atomically(path, b"whole")
    else:
        with atomic_file(path) as handle:
            handle.write(b"whole")
    assert path.read_bytes() == b"whole" and other.exists() and stray.exists() == stays


# NaN --------------------------------------------------------------------------------------------------------


def spoiled(part: str, modality: str, samples: list[int], value: float = float("nan")):
    """The small data set with one value of each of these samples replaced."""
    data = clouds(size=64)
    split = getattr(data, part)
    inputs = {m: x.clone() for m, x in split.inputs.items()}
    inputs[modality][samples, -1] = value
    parts = {name: getattr(data, name) for name in ("train", "validation", "test")}
    parts[part] = Split(inputs, split.labels)
    return dataset(data.shapes, data.num_classes, **parts)


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_samples_that_are_not_finite_stop_a_run_and_are_named_whatever_is_trained(tmp_path, paradigm):
    config = replace(REGULARIZED, paradigm=paradigm, fusion="shared")
    with pytest.raises(ValueError, match="^The inputs hold NaN or infinity: 'b' of train sample 41; mend"):
        run(config, spoiled("train", "b", [41]), checkpoint=tmp_path / "run.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_diverges_says_so_in_one_sentence(tmp_path, capsys):
    fields = {"dataset": "toy", "dataset_options": dict(TOY), "batch_size": 16, "learning_rate": 1e30}
    cell = Cell({}, fields, {"none": Arm({"one": {}})}, (0,))
    study = Study("sweep", "{setting}.json", (cell,), against="none")
    assert study.main(arguments=["--out", str(tmp_path), "--jobs", "1"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"sweep: the loss 'fused' is .*: lower the learning rate .*", said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["validation", "test"])
def test_samples_of_other_splits_are_named_too(part):
    samples = [3, 5, 8, 13, 21, 34]
    data = spoiled(part, "a", samples, float("-inf"))
    with pytest.raises(ValueError, match=f"'a' of {part} sample 3, 5, 8, 13, 21; mend or leave out"):
        run(data=data)


def test_a_run_that_met_such_a_sample_goes_on_from_its_last_good_epoch_when_it_is_mended(tmp_path):
    """The data are spoiled where they are read, as by a disk: the fingerprint stays."""
    path, mended = tmp_path / "run.pt", clouds(size=64)
    broken = replace(mended, train=spoiled("train", "a", [7]).train)

    def spoil(epoch, model):
        if epoch == 2:
            mended.train.inputs["a"][7, 0] = float("nan")

    value = mended.train.inputs["a"][7, 0].item()
    with pytest.raises(ValueError, match="'a' of train sample 7;"):
        run(data=mended, checkpoint=path, on_epoch=spoil)
    assert torch.load(path, weights_only=True)["progress"][0] == 2
    good = path.read_bytes()
    with pytest.raises(ValueError, match="'a' of train sample 7;"):
        run(data=broken, checkpoint=path)
    assert path.read_bytes() == good
    mended.train.inputs["a"][7, 0] = value
    assert as_json(run(data=mended, checkpoint=path)) == as_json(run(data=clouds(size=64)))


def test_what_goes_with_a_record_is_written_before_it_and_not_beside_another_run_s(tmp_path):
    there = []
    for _ in range(2):
        load_or_train(
            tmp_path / "r.json", SMALL, clouds(), first=lambda: there.append(any(tmp_path.iterdir()))
        )
    assert there == [False]
