"""Jobs that the fault suites kill, starve and repeat, each in a process that starts within milliseconds.

``python nursery.py`` imports what takes long, then forks a process for each line that it reads, so that a
test can afford to kill a hundred of them. A job works in one folder and leaves the same files there, but for
the time that it took, whatever happened to those before it.
"""

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
TOY = {"train_size": 96, "validation_size": 48, "test_size": 48}


def training(folder: Path) -> None:
    """A training with a checkpoint, and its record."""
    from geomreg_mini import GeometryRegularizer
    from geomreg_mini.training import TrainConfig, fit

    regularizer = GeometryRegularizer(radius=0.3)
    config = TrainConfig(
        dataset="toy",
        dataset_options=dict(TOY),
        paradigm="agm",
        regularizer=regularizer,
        embedding_dim=6,
        encoder_options={"hidden": 8},
        epochs=12,
        batch_size=16,
        evaluate_every=2,
        optimizer="adam",
    )
    record = fit(config, checkpoint=folder / "run.pt", device="cpu", progress=False)
    record.save(folder / "record.json")
    (folder / "run.pt").unlink(missing_ok=True)  # two at once


def sweep(folder: Path) -> None:
    """The command of a benchmark with four runs."""
    from experiments import benchmarks
    from experiments.recipes import RECIPES, Recipe
    from geomreg_mini.training import TrainConfig

    config = TrainConfig("toy", dict(TOY), epochs=3, batch_size=16, embedding_dim=6, paper_protocol=True)
    RECIPES["toy"] = Recipe(config, lambda config: [], ("joint", "dgl"), {})
    sys.exit(benchmarks.main(["toy", "--out", str(folder), "--seeds", "0", "--device", "cpu"]))


def preparation(folder: Path) -> None:
    """Clips that are decoded into a cache; they are those of ``GEOMREG_MIRROR``."""
    from data_scripts import crema_d

    crema_d.prepare(
        folder, os.environ["GEOMREG_MIRROR"], published=False, frame_size=32, workers=2, progress=False
    )


def download(folder: Path) -> None:
    """Files that come from the address in ``ADDRESS``, one after the other, in parts where one was there."""
    from data_scripts.fetch import download_part

    for name, size, digest in json.loads(os.environ["FILES"]):
        if not (folder / name).is_file():
            address = f"{os.environ['ADDRESS']}/{name}"
            download_part(address, folder / name, size=size, checksum=digest)


def endless(folder: str) -> None:
    """A sweep of which each of two processes notes its number and goes on for ever."""
    from experiments.sweeps import work_through

    work_through(wait, [(folder,), (folder,)], total=2, jobs=2)


def endless_study(folder: str) -> None:
    """The command of a study in which each of two seeds has a short run and one that never ends."""
    from experiments.study import Arm, Cell, Study

    fields = {"dataset": "toy", "dataset_options": dict(TOY), "batch_size": 16, "embedding_dim": 6}
    arms = {"arm": Arm({"short": {"epochs": 1}, "endless": {"epochs": 10**9}})}
    study = Study("endless", "seed{seed}/{setting}.json", (Cell({}, fields, arms, (0, 1)),), against="arm")
    sys.exit(study.main(arguments=["--out", folder]))


def wait(folder: str) -> int:
    (Path(folder) / str(os.getpid())).touch()
    while True:
        time.sleep(1)


def notebook(folder: Path) -> None:
    """The outputs of a notebook stored in it."""
    import geomreg_course as course
    from geomreg_course import books
    from small_course import write_course

    books.notebooks_folder = lambda: folder / "notebooks"
    if not (folder / "notebooks" / "01_tiny.ipynb").exists():
        shutil.rmtree(folder / "notebooks", ignore_errors=True)
        write_course(folder)
    sys.exit(course.main(["refresh"]))


JOBS = {job.__name__: job for job in (training, sweep, preparation, download, notebook)}


def serve() -> None:
    """Answer each line {"job", "folder", ...} with a process id, then with its exit status.

    ``copies`` of it run at once, of which the largest status counts; ``bytes`` is the size that files cannot
    exceed; {"command"} is run by this process itself.
    """
    import torch

    import geomreg_mini.data.toy  # noqa: F401

    torch.optim.SGD([torch.zeros(1)])  # which imports a thousand modules the first time

    if "GEOMREG_MIRROR" in os.environ:
        import av  # noqa: F401
        import soundfile  # noqa: F401
        import soxr  # noqa: F401
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "command" in asked:
            print(subprocess.run(asked["command"], stdout=subprocess.DEVNULL).returncode, flush=True)
            continue
        pids = []
        for _ in range(asked.pop("copies", 1)):
            pids.append(os.fork())
            if not pids[-1]:
                os._exit(_job(**asked))
        print(pids[-1], flush=True)
        print(max((os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids), key=abs), flush=True)


def _job(job: str, folder: str, bytes: int | None = None) -> int:
    from data_scripts.fetch import DataError

    os.dup2(2, 1)  # what a job prints is no answer
    if bytes is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, bytes))
    try:
        JOBS[job](Path(folder))
    except SystemExit as end:
        return end.code
    except (DataError, OSError, ValueError) as error:  # what commands say in one line
        print(error, file=sys.stderr)
        return 1
    except BaseException:
        import traceback

        traceback.print_exc()
        return 99
    finally:
        sys.stderr.flush()
    return 0


class Nursery:
    """A server of jobs; ``before`` is put before its command. What jobs print goes to the file ``said``."""

    def __init__(self, said: Path, before=(), **environment: str):
        paths = [str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
        self.said = open(said, "a+b")  # jobs at once add to it
        self.process = subprocess.Popen(
            [*before, sys.executable, __file__],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n", Path(said).read_text()

    def ask(self, **asked) -> int:
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def command(self, *words) -> None:
        assert self.ask(command=list(map(str, words))) == 0, words

    def start(self, job: str, folder: Path, **limits) -> int:
        """The id of the process that does it; ``end`` waits for it."""
        self.said.seek(0)
        self.said.truncate()
        return self.ask(job=job, folder=str(folder), **limits)

    def end(self) -> int:
        return int(self.process.stdout.readline())

    def finish(self, job: str, folder: Path, **limits) -> tuple[int, str]:
        """Exit status, and what was printed."""
        self.start(job, folder, **limits)
        status = self.end()
        return status, Path(self.said.name).read_text()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()
        self.said.close()

    def kill_often(self, job: str, home: Path, kills: int, seed: int = 0) -> tuple[list[Path], int]:
        """Folders in which ``job`` came to its end although it was killed ``kills`` times in all.

        First comes the one where nothing was killed. A job that is through before its kill counts as none,
        and the next one begins anew, so that kills fall on all of its length.
        """
        moments, counted, folders = random.Random(seed), 0, [home / "whole", home / "0"]
        for folder in folders:
            folder.mkdir(parents=True)
        began = time.monotonic()
        status, said = self.finish(job, folders[0])
        assert status == 0, said
        length = time.monotonic() - began
        while counted < kills:
            began, anew = time.monotonic(), not any(folders[-1].iterdir())
            pid = self.start(job, folders[-1])
            ended, _, _ = select.select([self.process.stdout], [], [], moments.uniform(0, length))
            if ended and anew:
                length = min(length, time.monotonic() - began)  # the first one may have been slow
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            status = self.end()
            assert status in (0, -signal.SIGKILL), Path(self.said.name).read_text()
            counted += status != 0
            if status == 0 and counted < kills:
                folders.append(home / str(len(folders) - 1))
                folders[-1].mkdir()
        status, said = self.finish(job, folders[-1])
        assert status == 0, said
        return folders, counted


def content(folder: Path) -> dict[str, object]:
    """Visible files of a folder: bytes, and JSON without the time that a run took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not any(part.startswith(".") for part in Path(name).parts):
            found[name] = path.read_bytes()
            if name.endswith(".json") and "wall_time" in (values := json.loads(found[name])):
                del values["wall_time"]
                found[name] = values
    return found


if __name__ == "__main__":
    serve()
