"""The command `geomreg-course`: list the notebooks, run them headless, and refresh their stored outputs.

Papermill does the executing. What is added here is what it leaves open: every notebook runs in the Python
that runs this command, two run side by side, a failing one is named by cell and error while the others go on,
and a widget callback that failed counts as a failure too (ipywidgets catches such an exception, so that
papermill reports success).
"""

from __future__ import annotations

import argparse
import ast
import base64
import csv
import html
import os
import re
import signal
import sys
import tempfile
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
from nbconvert import HTMLExporter
from tqdm import tqdm

CELL_TIMEOUT = {"quick": 600, "full": 7 * 24 * 3600}  # seconds; quick: no cell takes a tenth of this
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MACHINE_PATH = r"/(?:root|home|tmp|Users|private/var)/|[A-Z]:\\+Users\\"


class CourseError(Exception):
    """Something the user can put right; its text is one sentence that says how."""


# ------------------------------------------------------------ the notebooks


def notebooks_folder() -> Path:
    """The folder `notebooks` beside the package (a checkout), else the one in the current folder."""
    candidates = [Path(__file__).resolve().parents[1] / "notebooks", Path.cwd() / "notebooks"]
    for folder in candidates:
        if any(folder.glob("*.ipynb")):
            return folder
    looked = " or ".join(dict.fromkeys(map(str, candidates)))
    raise CourseError(f"no notebooks found in {looked}: run this command in a checkout of the project")


def select(numbers: list[str]) -> list[Path]:
    """Paths of the notebooks with these numbers (`5` and `05` are the same), or of all of them for `[]`.

    Raises CourseError naming a number that does not exist and those that do.
    """
    known = {path.name[:2]: path for path in sorted(notebooks_folder().glob("[0-9][0-9]_*.ipynb"))}
    for number in numbers:
        if number.zfill(2) not in known:
            raise CourseError(f"there is no notebook {number!r}: choose from {', '.join(known)}")
    return list(known.values()) if not numbers else [known[n] for n in sorted({n.zfill(2) for n in numbers})]


def parameters_of(notebook: nbformat.NotebookNode, name: str) -> dict[str, object]:
    """The literals assigned in the one cell tagged `parameters`.

    Without that tag papermill would inject MODE at the top, where the notebook then overwrites it: the run
    would be green and in the wrong mode. So CourseError is raised, naming the notebook, unless there is
    exactly one such cell and it assigns MODE and SEED.
    """
    cells = [
        c for c in notebook.cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])
    ]
    if len(cells) != 1:
        raise CourseError(f"{name}: found {len(cells)} cells tagged 'parameters': tag exactly one code cell")
    values = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(cells[0].source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for parameter in ("MODE", "SEED"):
        if parameter not in values:
            raise CourseError(
                f"{name}: the cell tagged 'parameters' does not assign {parameter}: add it there"
            )
    return values


def describe(path: Path) -> tuple[str, str, str, str]:
    """(number, title, data, minutes) of a notebook, from its first heading and its metadata `course`."""
    notebook = nbformat.read(path, as_version=4)
    headings = (
        re.search(r"^# +(?:\d\d\W+)?(.+)$", c.source, re.MULTILINE)
        for c in notebook.cells
        if c.cell_type == "markdown"
    )
    title = next((h.group(1).strip() for h in headings if h), path.stem[3:].replace("_", " "))
    course = notebook.metadata.get("course", {})
    return path.name[:2], title, str(course.get("data", "-")), str(course.get("minutes", "-"))


# ------------------------------------------------------------ executing one


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
            return outcome(error=f"{source.name} is not a readable notebook: {_one_line(error)}")

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
                failure = ran, _one_line(f"{error.ename}: {error.evalue}")
            except CellTimeoutError:
                failure = ran, f"the cell ran longer than {self.timeout:g} s"
            except DeadKernelError:
                failure = ran, "the kernel died (out of memory, or stopped from outside)"
            except Exception as error:
                failure = ran, _one_line(f"{type(error).__name__}: {error}")
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
    return _one_line(f"in a widget callback: {output['ename']}: {output['evalue']}")


def _one_line(text: object, width: int = 200) -> str:
    line = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(text)).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def to_html(notebook: nbformat.NotebookNode) -> str:
    """One self-contained page; figures keep the alt text of their metadata, which nbconvert would drop."""
    for output in (o for cell in notebook.cells for o in cell.get("outputs", [])):
        alt = output.get("metadata", {}).get("image/png", {}).get("alt")
        if alt and "image/png" in output.get("data", {}):
            png = base64.b64encode(base64.b64decode(output.data.pop("image/png"))).decode()
            output.data["text/html"] = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{png}">'
    return HTMLExporter(template_name="lab").from_notebook_node(notebook)[0]


# ------------------------------------------------------------ executing many


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


def table(columns: list[str], rows: list[tuple]) -> str:
    """Plain aligned text."""
    cells = [columns, *[[str(value) for value in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def writable(folder: Path) -> Path:
    """`folder`, made if need be; CourseError where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder.resolve()
    except OSError as error:
        raise CourseError(
            f"cannot write to {folder} ({error.strerror}): give another folder with --out"
        ) from None


# ------------------------------------------------------------ stored outputs


def committed_form(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy of an executed notebook as it is committed, without what differs between runs and machines.

    Papermill's records, execution times and the widget state go (web viewers reject notebooks with part of
    it), and so do widget views, which show nothing without that state.
    """
    clean = nbformat.from_dict(notebook)
    kept = {key: clean.metadata[key] for key in ("course",) if key in clean.metadata}
    clean.metadata = nbformat.from_dict(
        {
            **kept,
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in clean.cells:
        for key in ("papermill", "execution", "ExecuteTime"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]  # papermill adds empty lists
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET_VIEW not in output.get("data", {})]
    return clean


def unfit_to_commit(notebook: nbformat.NotebookNode) -> list[str]:
    """One sentence for each output that must not be committed: a path of this machine, or text on stderr."""
    here = {str(Path.home()), tempfile.gettempdir(), sys.prefix, str(Path.cwd())} - {os.sep}
    machine_path = re.compile(rf"(?<![\w.~])(?:{'|'.join([MACHINE_PATH, *map(re.escape, here)])})[^\s'\"<>]*")
    problems = []
    code_cells = (cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip())
    for number, cell in enumerate(code_cells, start=1):
        for output in cell.outputs:
            texts = [output.get("text", ""), *map(str, output.get("traceback", []))]
            texts += [str(v) for kind, v in output.get("data", {}).items() if not kind.startswith("image/")]
            for text in texts:
                if found := machine_path.search(text):
                    problems.append(f"code cell {number} prints the path {found.group()} of this machine")
            if output.get("name") == "stderr":
                problems.append(f"code cell {number} writes to stderr: {_one_line(output.text, 80)}")
    return problems


def refresh(sources: list[Path], jobs: int) -> int:
    """Execute notebooks with their own (quick) parameters and store the outputs; 1 where one was refused."""
    for source in sources:
        mode = parameters_of(nbformat.read(source, as_version=4), source.name)["MODE"]
        if mode != "quick":
            raise CourseError(
                f"{source.name}: the parameters cell says MODE = {mode!r}: commit it with 'quick'"
            )
    refused = 0
    with tempfile.TemporaryDirectory() as scratch:
        # No parameters: papermill then injects no cell, and the cell counts are those of a reader's own run.
        runner = Runner(Path(scratch), {}, CELL_TIMEOUT["quick"])
        for source, outcome in zip(sources, run_all(sources, runner, jobs), strict=True):
            problems = [outcome.error] if outcome.error else []
            if not problems:
                clean = committed_form(nbformat.read(Path(scratch) / source.name, as_version=4))
                problems = unfit_to_commit(clean)
            if problems:
                refused += 1
                print(f"{source.name} left as it was: {'; '.join(problems)}", file=sys.stderr)
                continue
            part = source.with_name(source.name + ".part")
            nbformat.write(clean, part)
            part.replace(source)
    return 1 if refused else 0


# ------------------------------------------------------------ the command line


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="geomreg-course", description="The notebooks of this course, headless."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="number, title, data and minutes of each notebook")
    run = commands.add_parser(
        "run", help="execute notebooks and write them, as .ipynb and .html, into a folder"
    )
    run.add_argument(
        "--mode", choices=["quick", "full"], default="quick", help="full: the real protocol, for hours"
    )
    run.add_argument("--out", type=Path, default=Path("build/course"), help="default: build/course")
    run.add_argument(
        "--timeout", type=_positive, help="seconds a single cell may take (default: 600 in quick mode)"
    )
    store = commands.add_parser(
        "refresh", help="execute in quick mode and store the outputs in the notebooks"
    )
    for command in (run, store):
        command.add_argument("numbers", nargs="*", metavar="NN", help="numbers of notebooks (default: all)")
        command.add_argument("--jobs", type=_positive, default=2, help="notebooks at a time (default: 2)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit status 0: done; 1: a notebook failed or was refused; 2: the command cannot be carried out."""
    options = _parser().parse_args(argv)
    try:
        if options.command == "list":
            print(table(["", "title", "data", "minutes"], [describe(path) for path in select([])]))
            return 0
        sources = select(options.numbers)
        if options.command == "refresh":
            return refresh(sources, options.jobs)
        out = writable(options.out)
        runner = Runner(out, {"MODE": options.mode}, options.timeout or CELL_TIMEOUT[options.mode])
        outcomes = run_all(sources, runner, options.jobs)
        write_summary(outcomes, out)
    except CourseError as error:
        print(f"geomreg-course: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("geomreg-course: interrupted", file=sys.stderr)
        return 130
    columns = [field.name.replace("_", " ") for field in fields(Outcome)]
    print("\n" + table(columns, [tuple(asdict(outcome).values()) for outcome in outcomes]))
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
