"""What this project wrote itself and finds damaged: records, configs, checkpoints; and notebooks handed in.

A checkpoint is the strictest of them: a run that accepts a damaged one would end in another record.
"""

import asyncio
import io
import json
import zipfile
from types import SimpleNamespace

import nbformat
import pytest
import torch
from geomreg_course import books, graded, grading, sandbox
from hostile import EXAMPLES, bytes_like, confined, fuzz, json_like, mutated, refusal
from hypothesis import strategies as st
from small_course import code, master, notebook, write_course
from small_data import clouds
from test_records import record

from geomreg_mini import GeometryRegularizer
from geomreg_mini.records import Record
from geomreg_mini.training import TrainConfig, fit

examples = pytest.mark.parametrize("examples", EXAMPLES)
SMALL = TrainConfig(
    dataset="toy",
    epochs=3,
    batch_size=16,
    embedding_dim=4,
    encoder="mlp",
    encoder_options={"hidden": 4},
    paradigm="agm",
    regularizer=GeometryRegularizer(radius=0.3),
)


# records and configs ----------------------------------------------------------------------------------------


@examples
def test_records(examples, tmp_path, record_property):
    whole = record()
    path = whole.save(tmp_path / "r.json")
    content = path.read_bytes()

    def check(given):
        path.write_bytes(given)
        with confined(tmp_path):
            found = []
            refusal(lambda: found.append(Record.load(path)), ValueError)
            for one in found:  # what is accepted can be worked with
                assert one.history["value"].dropna().map(float).abs().max() < 1e300 or one.history.empty
                one.save(tmp_path / "copy")
                (tmp_path / "copy").unlink()

    values = json_like(json.loads(content)).map(lambda value: json.dumps(value).encode())
    fuzz(bytes_like(content) | values, examples, check, record_property)


@examples
def test_configs(examples, record_property):
    values = {**SMALL.to_dict(), "dataset_options": {"noise": 0.5, "seed": [1, 2]}}

    def check(given):
        configs = []
        refusal(lambda: configs.append(TrainConfig.from_dict(given)), ValueError)
        for config in configs:
            assert TrainConfig.from_dict(config.to_dict()) == config and config.key

    fuzz(json_like(values).filter(lambda value: isinstance(value, dict)), examples, check, record_property)


# checkpoints ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A data set, the record of a whole run, and the bytes of its checkpoint after two of three epochs."""

    class Stop(Exception):
        pass

    def interrupt(epoch, model):
        if epoch == 2:
            raise Stop

    path, data = tmp_path_factory.mktemp("run") / "run.pt", clouds(size=32)
    with pytest.raises(Stop):
        trained(path, data, on_epoch=interrupt)
    return data, trained(None, data), path.read_bytes()


def trained(path, data, **options) -> Record:
    return fit(SMALL, data=data, checkpoint=path, device="cpu", progress=False, **options)


@examples
def test_checkpoints(examples, stopped, tmp_path, record_property):
    data, whole, content = stopped
    path = tmp_path / "run.pt"

    def check(given):
        path.write_bytes(given)
        with confined(tmp_path):
            records = []
            said = refusal(lambda: records.append(trained(path, data)), ValueError)
        if said is None:
            assert records == [whole]
        else:
            assert str(path) in str(said) and path.read_bytes() == given

    fuzz(bytes_like(content), examples, check, record_property)


def test_every_bit_of_the_weights_in_a_checkpoint_counts(stopped, tmp_path):
    data, _, content = stopped
    path = tmp_path / "run.pt"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
        place = content.index(archive.read(largest)) + largest.file_size // 2
    flipped = bytearray(content)
    flipped[place] ^= 1  # the last bit of one number, of which torch.load says nothing
    path.write_bytes(flipped)
    torch.load(path, weights_only=True)
    with pytest.raises(ValueError, match="run.pt cannot be read .*checksum.*: move it away to start again"):
        trained(path, data)


def test_a_checkpoint_that_lacks_anything_is_refused(stopped, tmp_path):
    data, _, content = stopped
    path = tmp_path / "run.pt"
    state = torch.load(io.BytesIO(content), weights_only=True)
    for name in state:
        torch.save({key: value for key, value in state.items() if key != name}, path)
        with pytest.raises(ValueError, match="cannot be read .*: move it away to start again"):
            trained(path, data)


# notebooks handed in ----------------------------------------------------------------------------------------


@pytest.fixture
def course(tmp_path, monkeypatch):
    folder = write_course(tmp_path / "course")
    monkeypatch.setattr(books, "notebooks_folder", lambda: folder)
    return tmp_path


ANSWER = "def twice(x):\n    return 2 * x\n\n\npassed = checks.double(twice)"


@examples
def test_notebooks_handed_in_are_read(examples, course, monkeypatch, record_property):
    """Their code does not run here; what becomes of it does in `test_notebooks_handed_in_are_run`."""

    class Shell:
        instance = classmethod(lambda cls: cls())

    async def run(shell, source):
        assert isinstance(source, str)
        return SimpleNamespace(error_before_exec=None, error_in_exec=None)

    monkeypatch.setattr(graded, "Shell", Shell)
    monkeypatch.setattr(graded, "run", run)
    Shell.user_ns = {}
    path = course / "01_tiny.ipynb"
    monkeypatch.setattr(sandbox, "bubblewrap", lambda *given: [])
    grader = grading.Grader(course, timeout=1)
    job = {"name": path.stem, "known": json.loads(grader.job), "timeout": 60}
    job["checks"] = str(course / "course" / "notebooks")

    def check(given):
        lines = []
        with confined(course):
            asyncio.run(graded.grade(job, given, lambda **line: lines.append(json.loads(json.dumps(line)))))
            rows = grader.judged(grading.HandIn(path), lines, "crashed")
        assert rows and all(value.isprintable() for row in rows for value in vars(row).values())
        assert all(not value.startswith(("=", "+", "-", "@")) for row in rows for value in vars(row).values())

    values = []
    for book in (notebook(ANSWER, code("1 / 0", "solution")), master()):
        whole = nbformat.writes(book)
        values.append(bytes_like(whole.encode()))
        values.append(json_like(json.loads(whole)).map(lambda value: json.dumps(value).encode()))
    fuzz(st.one_of(values), examples, check, record_property)


CELLS = st.one_of(
    mutated(ANSWER.encode()).map(lambda content: content.decode("latin-1")),
    st.sampled_from(
        [
            "raise SystemExit",
            "import os; os.kill(os.getpid(), 9)",
            "import os; os.closerange(0, 100)",
            "\ud800 = 1",
            "%%bash\nkill -9 $PPID",
            "get_ipython().ask_exit()",
            "import sys; sys.stdout = None; sys.modules.clear()",
            "import gc, json\nfor x in gc.get_objects():\n    type(x) is dict and x.clear()",
            "import sys\njob = sys._getframe(9)",
        ]
    ),
    st.text(max_size=40),
)


@pytest.mark.parametrize("examples", [3, pytest.param(100, marks=pytest.mark.exhaustive)])
def test_notebooks_handed_in_are_run(examples, course, record_property):
    path, out = course / "in" / "01_tiny.ipynb", course / "grades.csv"
    path.parent.mkdir()
    grader = grading.Grader(path.parent, timeout=60)

    def check(cells):
        made = json.loads(nbformat.writes(notebook("%matplotlib inline")))
        like = made["cells"][-1]
        made["cells"] += [{**like, "id": f"x{i}", "source": cell} for i, cell in enumerate(cells)]
        path.write_text(json.dumps(made))
        before = sorted(course.rglob("*"))
        rows = grader.rows(grading.HandIn(path))
        assert {row.status for row in rows} <= {"checked", "missing", "open", "timeout", "crashed", "broken"}
        assert sorted(course.rglob("*")) == before and not out.exists() and not grading.RUNNING

    fuzz(st.lists(CELLS, min_size=1, max_size=3), examples, check, record_property)
