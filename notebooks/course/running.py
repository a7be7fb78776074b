"""Execute notebooks headless.

Papermill does the executing. This module adds what it leaves open. Every notebook runs in the Python of this
command, and a failing one is named by cell and error while the others continue. A widget callback that failed
counts as a failure too: ipywidgets catches such an exception, so papermill reports success. A stopped run
continues.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.engines import papermill_engines
from papermill.iorw import LocalHandler, papermill_io
from tqdm import tqdm

from data_scripts.fetch import write_atomically

from .books import WIDGET_VIEW, CourseError, has_tag, one_line, parameters_of, read
from .kernels import LostReply, ThisPython, WatchedEngine
from .pages import to_html

CELL_TIMEOUT = {"quick": 600, "full": 7 * 24 * 3600}  # seconds; quick: no cell takes a tenth of this
UNFINISHED = "not finished"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
READ_BY_NOTEBOOKS = ("geomreg_mini", "data_scripts", "experiments", "notebooks", "results")  # in a checkout


@dataclass(frozen=True)
class Outcome:
    """One row of the summary: wall time in seconds; `failed_cell` counts the notebook's code cells from 1."""

    notebook: str
    status: str  # "ok", "failed" or UNFINISHED
    seconds: float = 0.0
    cells: int = 0  # code cells that ran
    failed_cell: str = ""
    error: str = ""
    note: str = ""  # what else happened, for example a second run


SUMMARY = [*(field.name for field in fields(Outcome)), "mode", "sources"]  # columns; the last is a digest


class EndedItself(Exception):
    """A cell called exit() or sys.exit(), so the cells below it did not run."""

    def __str__(self) -> str:
        return "stopped before its last cell by exit() or sys.exit(): remove that call"


class _WholeFiles(LocalHandler):
    """Papermill writes the notebook after each cell: whole or not at all."""

    def write(self, buf: str, path: str) -> None:
        write_atomically(Path(path.removeprefix(WHOLE)), buf.encode())


WHOLE = "whole:"
papermill_io.register(WHOLE, _WholeFiles())
papermill_engines.register("geomreg", WatchedEngine)


class Runner:
    """Executes notebooks; keeps its running kernels, so that an interrupt can stop them."""

    def __init__(self, out: Path, parameters: dict[str, object], timeout: float) -> None:
        self.out = out
        self.parameters = parameters
        self.timeout = timeout
        self._kernels: set[AsyncKernelManager] = set()
        self._stopped = threading.Event()

    def run(self, source: Path) -> Outcome:
        """Execute one notebook into `out` (.ipynb, with widget state, and .html); failures are returned."""
        started, target = time.monotonic(), self.out / source.name
        ran, cell, error, note = 0, "", "", ""

        def count(cell: nbformat.NotebookNode, cell_index: int) -> None:
            nonlocal ran
            if self._stopped.is_set():
                raise CourseError("stopped")
            if not has_tag(cell, "injected-parameters"):
                ran += 1
                bar.update()

        try:
            notebook = read(source)
            parameters_of(notebook, source.name)
            for stale in (target, target.with_suffix(".html")):
                stale.unlink(missing_ok=True)
            total = sum(c.cell_type == "code" and bool(c.source.strip()) for c in notebook.cells)
            # `disable=None`: no bar where there is no terminal; a log gets the lines of run_all instead.
            with tqdm(total=total, desc=source.stem, unit="cell", disable=None) as bar:
                try:
                    self._execute(source, target, count)
                except (LostReply, DeadKernelError) as lost:
                    if self._stopped.is_set():
                        raise
                    note = f"ran again after {_reason(lost)}"
                    ran = 0
                    bar.reset()
                    self._execute(source, target, count)
            cell, error = widget_failure(read(target)) or ("", "")
        except CellTimeoutError:  # an OSError too
            cell, error = ran, f"the cell ran longer than {self.timeout:g} s"
        except (CourseError, OSError) as failure:
            error = one_line(failure)
        except EndedItself as failure:
            cell, error = ran, str(failure)
        except papermill.PapermillExecutionError as failure:
            cell, error = ran, one_line(f"{failure.ename}: {failure.evalue}")
        except (LostReply, DeadKernelError) as lost:
            cell, error = ran, f"{_reason(lost)}, twice: free memory, or look for what stops it"
        except Exception as failure:
            cell, error = ran, one_line(f"{type(failure).__name__}: {failure}")
        try:
            if target.is_file():
                write_atomically(target.with_suffix(".html"), to_html(read(target)).encode())
        except Exception as failure:
            error = error or one_line(f"its page was not written: {failure}")
        seconds = round(time.monotonic() - started, 1)
        status = "failed" if error else "ok"
        return Outcome(source.stem, status, seconds, ran, str(cell), error, note)

    def _execute(self, source: Path, target: Path, on_cell_execute: Callable[..., None]) -> None:
        kernel = AsyncKernelManager(kernel_spec_manager=ThisPython())
        self._kernels.add(kernel)
        try:
            executed = papermill.execute_notebook(
                str(source),
                f"{WHOLE}{target}",
                self.parameters,
                engine_name="geomreg",
                kernel_name="python3",
                language="python",
                progress_bar=False,
                execution_timeout=self.timeout,
                km=kernel,
                resources={"metadata": {"path": str(source.parent)}},  # the kernel's working folder
                on_cell_execute=on_cell_execute,
                on_cell_executed=_refuse_exit,
            )
        finally:
            self._kernels.discard(kernel)
        outputs = (output for cell in executed.cells for output in cell.get("outputs", []))
        if any(output.get("ename") == "SystemExit" for output in outputs):  # papermill calls that a success
            raise EndedItself

    def stop(self) -> None:
        """Kill all running kernels and start no other."""
        self._stopped.set()
        for kernel in tuple(self._kernels):
            if kernel.has_kernel and kernel.provisioner.pid:
                with suppress(OSError):  # already gone
                    if hasattr(os, "killpg"):
                        os.killpg(kernel.provisioner.pid, signal.SIGKILL)
                    else:
                        os.kill(kernel.provisioner.pid, signal.SIGTERM)


def _refuse_exit(cell: nbformat.NotebookNode, cell_index: int, execute_reply: dict[str, dict]) -> None:
    """Raise EndedItself for a cell that called exit(), which ends the kernel a moment later."""
    if any(asked.get("source") == "ask_exit" for asked in execute_reply["content"].get("payload", [])):
        raise EndedItself


def _reason(lost: LostReply | DeadKernelError) -> str:
    return str(lost) if isinstance(lost, LostReply) else "the death of its kernel (out of memory, or killed)"


def widget_failure(notebook: nbformat.NotebookNode) -> tuple[int | str, str] | None:
    """Return (code cell, error) of the first widget callback that failed, or None.

    ipywidgets catches an exception in a callback of `interact` and shows it inside its Output widget: no cell
    has an error output, only the saved widget state has it.
    """
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    errors = {
        model: output
        for model, widget in state.items()
        for output in widget["state"].get("outputs") or []
        if output["output_type"] == "error"
    }
    if not errors:
        return None
    number = 0
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        number += not has_tag(cell, "injected-parameters")
        shown = [o.data[WIDGET_VIEW]["model_id"] for o in cell.outputs if WIDGET_VIEW in o.get("data", {})]
        while shown:  # the view, and whatever it contains
            model = shown.pop()
            if model in errors:
                return number, _widget_error(errors[model])
            children = state.get(model, {}).get("state", {}).get("children", [])
            shown += [child.removeprefix("IPY_MODEL_") for child in children]
    return "", _widget_error(next(iter(errors.values())))


def _widget_error(output: nbformat.NotebookNode) -> str:
    return one_line(f"in a widget callback: {output['ename']}: {output['evalue']}")


def run_all(
    sources: list[Path],
    runner: Runner,
    jobs: int,
    report: Callable[[Path, Outcome], None] = lambda source, outcome: None,
) -> list[Outcome]:
    """Execute notebooks, `jobs` at a time; print and `report` how each ended. In the order of `sources`."""
    outcomes: dict[Path, Outcome] = {}
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(runner.run, source): source for source in sources}
        try:
            for future in as_completed(futures):
                source, done = futures[future], future.result()
                outcomes[source] = done
                report(source, done)
                where = f" (code cell {done.failed_cell})" if done.failed_cell else ""
                message = f"{done.notebook}: {done.status} after {done.seconds:.0f} s"
                tqdm.write(message + (f"{where}: {done.error}" if done.error else ""))
        except BaseException:
            runner.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return [outcomes[source] for source in sources]


# ------------------------------------------------------------ the summary


def run_course(sources: list[Path], runner: Runner, jobs: int) -> list[Outcome]:
    """Execute notebooks and keep the summary in `runner.out` up to date; return the rows of these notebooks.

    Rows of other notebooks stay in the summary while their files are there. If the last run of these
    notebooks into that folder was stopped, this one continues it: a notebook that ended well there is not run
    again, unless it, a module or a record changed since.

    Raises:
        OSError: if the summary cannot be written in the end.
    """
    digests = source_digests(sources, runner.parameters)
    old = read_summary(runner.out)
    rows = {source: Outcome(source.stem, UNFINISHED) for source in sources}
    rows |= finished_before(old, sources, runner.out, digests)
    if finished := sum(row.status == "ok" for row in rows.values()):
        tqdm.write(f"continuing a run that was stopped: {finished} of {len(sources)} notebooks are done")

    def report(source: Path, outcome: Outcome) -> None:
        rows[source] = outcome
        with suppress(OSError):  # a full disk may have room again for the next row
            write()

    def write() -> None:
        extra = {source: {"mode": runner.parameters["MODE"], "sources": digests[source]} for source in rows}
        new = {outcome.notebook: asdict(outcome) | extra[source] for source, outcome in rows.items()}
        write_summary(old | new, runner.out)

    write()
    run_all([s for s in sources if rows[s].status == UNFINISHED], runner, jobs, report)
    write()
    return list(rows.values())


def source_digests(sources: list[Path], parameters: dict[str, object]) -> dict[Path, str]:
    """Return a digest per notebook, which changes with it, its parameters, and the modules and records."""
    common = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    for root in sorted({sources[0].parents[1], Path(__file__).resolve().parents[2]}):
        for folder in READ_BY_NOTEBOOKS:
            for path in sorted((root / folder).rglob("*")):
                if path.suffix in (".py", ".json", ".csv"):
                    common.update(f"{path}\0".encode() + path.read_bytes())
    digests = {}
    for source in sources:
        digest = common.copy()
        digest.update(source.read_bytes())
        digests[source] = digest.hexdigest()[:16]
    return digests


def read_summary(out: Path) -> dict[str, dict[str, str]]:
    """Return the rows of `summary.csv` by notebook, without those whose file is gone; {} if unreadable."""
    try:
        with open(out / "summary.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return {}
    if any(set(row) != set(SUMMARY) or None in row.values() for row in rows):
        return {}  # damaged, or of another version
    return {
        row["notebook"]: row
        for row in rows
        if row["status"] == UNFINISHED or (out / f"{row['notebook']}.ipynb").is_file()
    }


def finished_before(
    old: dict[str, dict[str, str]], sources: list[Path], out: Path, digests: dict[Path, str]
) -> dict[Path, Outcome]:
    """Return the rows of a stopped run of these notebooks that need not be run again; {} if none was."""
    names = {source.stem: source for source in sources}
    if not names.keys() <= old.keys() or all(old[name]["status"] != UNFINISHED for name in names):
        return {}
    try:
        return {
            source: Outcome(
                name, "ok", float(row["seconds"]), int(row["cells"]), note=row["note"] or "kept from before"
            )
            for name, source in names.items()
            if (row := old[name])["status"] == "ok"
            and row["sources"] == digests[source]
            and (out / f"{name}.html").is_file()
        }
    except ValueError:
        return {}  # damaged


def write_summary(rows: dict[str, dict[str, object]], out: Path) -> None:
    """Write `summary.csv` and `summary.md` (with links to the pages) into `out`, each whole or not at all."""
    columns = SUMMARY[:-1]
    table = io.StringIO()
    writer = csv.DictWriter(table, SUMMARY)
    writer.writeheader()
    writer.writerows(rows[name] for name in sorted(rows))
    write_atomically(out / "summary.csv", table.getvalue().encode())
    lines = [f"| {' | '.join(c.replace('_', ' ') for c in columns)} |", "|---" * len(columns) + "|"]
    for name in sorted(rows):
        link = name if rows[name]["status"] == UNFINISHED else f"[{name}]({name}.html)"
        cells = [link, *(str(rows[name][column]).replace("|", r"\|") for column in columns[1:])]
        lines.append(f"| {' | '.join(cells)} |")
    write_atomically(out / "summary.md", ("\n".join(lines) + "\n").encode())
