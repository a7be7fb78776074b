"""Execute notebooks headless.

Papermill does the executing. What is added here is what it leaves open: every notebook runs in the Python
that runs this command, two run side by side, a failing one is named by cell and error while the others go on,
and a widget callback that failed counts as a failure too (ipywidgets catches such an exception, so that
papermill reports success).
"""

from __future__ import annotations

import csv
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from tqdm import tqdm

from .books import CourseError, parameters_of
from .pages import to_html

CELL_TIMEOUT = {"quick": 600, "full": 7 * 24 * 3600}  # seconds; quick: no cell takes a tenth of this
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Outcome:
    """One row of the summary: wall time in seconds; `failed_cell` counts the notebook's code cells from 1."""

    notebook: str
    status: str  # "ok" or "failed"
    seconds: float
    cells: int  # code cells that ran
    failed_cell: str = ""
    error: str = ""


class _ThisPython(KernelSpecManager):
    """Starts kernels in the running interpreter, whatever kernels the user has registered."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        spec = get_kernel_dict()  # ipykernel's own description of this interpreter
        return KernelSpec(
            argv=[*spec["argv"], "--log-level=ERROR"],  # its warnings would break into the progress bars
            display_name=spec["display_name"],
            language=spec["language"],
            metadata=spec.get("metadata", {}),
            env={"OMP_NUM_THREADS": "1"},  # results that do not depend on the number of cores
        )


class Runner:
    """Executes notebooks; keeps its running kernels, so that an interrupt can stop them."""

    def __init__(self, out: Path, parameters: dict[str, object], timeout: float):
        self.out = out
        self.parameters = parameters
        self.timeout = timeout
        self._kernels: set[AsyncKernelManager] = set()

    def run(self, source: Path) -> Outcome:
        """Execute one notebook into `out` (.ipynb, with widget state, and .html); failures are returned."""
        started, ran = time.monotonic(), 0
        target = self.out / source.name
        for stale in (target, target.with_suffix(".html")):
            stale.unlink(missing_ok=True)

        def outcome(cell: int | str = "", error: str = "") -> Outcome:
            status = "failed" if error else "ok"
            return Outcome(
                source.stem, status, round(time.monotonic() - started, 1), ran, str(cell or ""), error
            )

        def count(cell, cell_index):
            nonlocal ran
            if "injected-parameters" not in cell.metadata.get("tags", []):
                ran += 1
                bar.update()

        try:
            notebook = nbformat.read(source, as_version=4)
            parameters_of(notebook, source.name)
        except CourseError as error:
            return outcome(error=str(error))
        except Exception as error:
            return outcome(error=f"{source.name} is not a readable notebook: {one_line(error)}")

        total = sum(c.cell_type == "code" and bool(c.source.strip()) for c in notebook.cells)
        kernel = AsyncKernelManager(kernel_spec_manager=_ThisPython())
        self._kernels.add(kernel)
        # `disable=None`: no bar where there is no terminal; a log gets the lines of run_all instead.
        with tqdm(total=total, desc=source.stem, unit="cell", disable=None) as bar:
            try:
                papermill.execute_notebook(
                    str(source),
                    str(target),
                    self.parameters,
                    kernel_name="python3",
                    language="python",
                    progress_bar=False,
                    execution_timeout=self.timeout,
                    km=kernel,
                    resources={"metadata": {"path": str(source.parent)}},  # the kernel's working folder
                    on_cell_execute=count,
                )
                failure = widget_failure(nbformat.read(target, as_version=4)) or ("", "")
            except papermill.PapermillExecutionError as error:
                failure = ran, one_line(f"{error.ename}: {error.evalue}")
            except CellTimeoutError:
                failure = ran, f"the cell ran longer than {self.timeout:g} s"
            except DeadKernelError:
                failure = ran, "the kernel died (out of memory, or stopped from outside)"
            except Exception as error:
                failure = ran, one_line(f"{type(error).__name__}: {error}")
            finally:
                self.stop(kernel)
        if target.exists():
            target.with_suffix(".html").write_text(
                to_html(nbformat.read(target, as_version=4)), encoding="utf-8"
            )
        return outcome(*failure)

    def stop(self, *kernels: AsyncKernelManager) -> None:
        """Kill these kernels, or all that are running."""
        for kernel in kernels or tuple(self._kernels):
            if kernel.has_kernel and kernel.provisioner.pid:
                try:
                    os.killpg(kernel.provisioner.pid, signal.SIGKILL)
                except OSError:
                    pass  # already gone
            self._kernels.discard(kernel)


def widget_failure(notebook: nbformat.NotebookNode) -> tuple[int | str, str] | None:
    """(code cell, error) of the first widget callback that failed, or None.

    An exception in a callback of `interact` is caught by ipywidgets and shown inside its Output widget: no
    cell has an error output, and only the saved widget state tells.
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
        number += "injected-parameters" not in cell.metadata.get("tags", [])
        shown = [o.data[WIDGET_VIEW]["model_id"] for o in cell.outputs if WIDGET_VIEW in o.get("data", {})]
        while shown:  # the view, and whatever it contains
            model = shown.pop()
            if model in errors:
                return number, _widget_error(errors[model])
            children = state.get(model, {}).get("state", {}).get("children", [])
            shown += [child.removeprefix("IPY_MODEL_") for child in children]
    return "", _widget_error(next(iter(errors.values())))


def _widget_error(output) -> str:
    return one_line(f"in a widget callback: {output['ename']}: {output['evalue']}")


def one_line(text: object, width: int = 200) -> str:
    line = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(text)).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def run_all(sources: list[Path], runner: Runner, jobs: int) -> list[Outcome]:
    """Execute notebooks, `jobs` at a time, saying how each ended; the result is in the order of `sources`."""
    outcomes: dict[Path, Outcome] = {}
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(runner.run, source): source for source in sources}
        try:
            for future in as_completed(futures):
                outcomes[futures[future]] = done = future.result()
                where = f" (code cell {done.failed_cell})" if done.failed_cell else ""
                message = f"{done.notebook}: {done.status} after {done.seconds:.0f} s"
                tqdm.write(message + (f"{where}: {done.error}" if done.error else ""))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.stop()
            raise
    return [outcomes[source] for source in sources]


def write_summary(outcomes: list[Outcome], out: Path) -> None:
    """Write `summary.csv` and `summary.md` (with links to the pages) into `out`."""
    columns = [field.name for field in fields(Outcome)]
    with open(out / "summary.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(asdict(outcome) for outcome in outcomes)
    rows = [
        f"| [{o.notebook}]({o.notebook}.html) | {o.status} | {o.seconds} | {o.cells} | {o.failed_cell} "
        f"| {o.error.replace('|', chr(92) + '|')} |"
        for o in outcomes
    ]
    header = f"| {' | '.join(c.replace('_', ' ') for c in columns)} |\n|{'---|' * len(columns)}"
    (out / "summary.md").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
