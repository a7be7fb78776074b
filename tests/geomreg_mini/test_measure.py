"""The report on any embeddings: numbers with references, a page, a tracker, and the command."""

import math
import os
import re
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from test_geometry import gaussian

from geomreg_mini import geometry, measure
from geomreg_mini.__main__ import main
from geomreg_mini.geometry import geometry_report
from geomreg_mini.measure import GeometryTracker, chart, hubness, neighbor_counts, permuted_gaps
from geomreg_mini.measure import measure as measured

ROOT = Path(__file__).parents[2]
approx = pytest.approx


def pairs_of(n=60, d=8, gap=0.0, seed=0):
    shared = gaussian(n, d, seed)
    return {"audio": shared + 0.3 * gaussian(n, d, seed + 1) + gap, "image": shared - gap}


# Hubness


@pytest.mark.parametrize("block_elements", [2**24, 100])
def test_neighbor_counts_agree_with_a_loop(monkeypatch, block_elements):
    monkeypatch.setattr("geomreg_mini.pairs.BLOCK_ELEMENTS", block_elements)
    z = gaussian(30, 4)
    u = torch.nn.functional.normalize(z)
    counts = np.zeros(30)
    for i in range(30):
        order = [j for j in (u @ u[i]).argsort(descending=True).tolist() if j != i]
        counts[order[:5]] += 1
    assert neighbor_counts(z, 5).tolist() == counts.tolist()
    deviation = counts - counts.mean()
    assert hubness(z, 5) == approx((deviation**3).mean() / (deviation**2).mean() ** 1.5)


def test_one_row_near_to_all_others_is_a_hub_and_equal_rows_share_their_places():
    star = torch.cat([torch.eye(20), torch.ones(1, 20)])  # the last row is nearer to each than they are
    counts = neighbor_counts(star, 1)
    assert counts[-1] == 20 and counts[:-1].tolist() == approx([1 / 20] * 20)
    assert hubness(star, 1) > 4
    assert neighbor_counts(torch.ones(7, 3), 2).tolist() == approx([2.0] * 7)
    assert hubness(torch.ones(7, 3)) == 0 and hubness(torch.zeros(5, 3)) == 0


def test_hubness_of_noise_grows_with_rows_and_dimension_off_the_center_and_hardly_at_it():
    centered = {(n, d): hubness(gaussian(n, d)) for n in (100, 1000) for d in (3, 300)}
    assert all(abs(value) < 0.5 for value in centered.values())
    apart = {key: hubness(gaussian(*key) + 1) for key in centered}
    assert apart[1000, 3] + 1 < apart[1000, 300] and apart[100, 300] + 1 < apart[1000, 300]
    assert hubness(gaussian(1000, 300)) == approx(1 / math.sqrt(10), abs=0.15)


# The gap


def test_permuted_gaps_have_the_size_of_chance_and_a_true_gap_exceeds_them():
    z = pairs_of(n=500)
    gaps = permuted_gaps(z["audio"], z["image"])
    drift = geometry.paired_drift(z["audio"], z["image"])
    assert gaps.square().mean().item() == approx(drift / 500, rel=0.1)  # the mean of swapped differences
    apart = pairs_of(n=500, gap=0.5)
    assert measured(apart).values["gap_p_value/audio-image"] == approx(1 / 501)
    assert measured(apart).values["modality_gap/audio-image"] > permuted_gaps(*apart.values()).max()
    equal = {"audio": z["audio"], "image": z["audio"]}
    assert measured(equal).values["gap_p_value/audio-image"] == 1


def test_the_p_value_is_uniform_without_a_gap():
    values = []
    for seed in range(40):
        swap = torch.rand(50, 1, generator=torch.Generator().manual_seed(seed)) < 0.5
        a, b = gaussian(50, 5, 2 * seed) + 1, gaussian(50, 5, 2 * seed + 1) - 1
        both = {"audio": torch.where(swap, a, b), "image": torch.where(swap, b, a)}
        values.append(measured(both).values["gap_p_value/audio-image"])
    assert 0.35 < np.mean(values) < 0.65 and min(values) < 0.2 and max(values) > 0.8


# The report


def test_values_are_those_of_the_geometry_report_and_each_has_a_reference():
    z, y = pairs_of(), torch.arange(60) % 3
    found = measured(z, y, radius=0.7)
    expected = geometry_report(z, y, 0.7, detailed=True)
    assert {key: found.values[key] for key in expected} == approx(expected)
    extra = {"hubness/audio", "hubness/image", "gap_p_value/audio-image"}
    assert set(found.values) == set(expected) | extra
    assert set(found.values) - set(found.reference) == {"gap_p_value/audio-image"}


def test_references_are_noise_for_one_modality_and_chance_for_pairs_and_classes():
    y = torch.arange(900) % 3
    centers = 4 * gaussian(3, 16, 5)
    z = {"a": centers[y] + gaussian(900, 16, 6), "b": centers[y] + gaussian(900, 16, 7)}
    found = measured(z, y)
    reference = found.reference
    assert reference["effective_rank/a"] == approx(geometry.effective_rank(gaussian(900, 16, 8)), abs=0.1)
    assert reference["uniformity/a"] == approx(-3.513, abs=0.02)
    assert reference["recall@10/a-b"] == approx(10 / 900, abs=0.01)
    assert reference["knn_accuracy/a"] == approx(1 / 3, abs=0.07)
    assert reference["modality_gap/a-b"] == approx(permuted_gaps(z["a"], z["b"]).quantile(0.95).item())
    assert found.values["knn_accuracy/a"] > 0.95 and found.values["effective_rank/a"] < 14


@pytest.mark.parametrize("labels", [None, torch.arange(30) % 3])
def test_the_default_device_and_type_of_torch_change_no_number(labels):
    """A GPU as default device, for which "meta" stands in here, must not get parts of the computation."""
    z = pairs_of(n=30, d=4)

    def numbers():
        tracker = GeometryTracker(rows=20)
        for part in (slice(12), slice(12, 30)):
            tracker.update({m: x[part] for m, x in z.items()}, None if labels is None else labels[part])
        found = measured(z, labels, rows=25)
        return tracker.report(), found.values, found.reference, found.html(), measured(ZERO).values

    expected = numbers()
    with torch.device("meta"):
        assert numbers() == expected
    torch.set_default_dtype(torch.float64)
    try:
        assert numbers() == expected
    finally:
        torch.set_default_dtype(torch.float32)


def test_many_rows_are_sampled_together_with_their_labels():
    y = torch.arange(500) % 4
    z = torch.eye(4, dtype=torch.float64)[y] + 0.01 * gaussian(500, 4)
    found = measured({"a": z, "b": z + 0.001}, y, rows=80)
    assert found.values["num_samples"] == 80 and "N = 80, a random sample of 500 rows." in found.about
    assert (
        found.values["recall@10/a-b"] > 0.9 and found.values["knn_accuracy/a"] == 1
    )  # still paired, labelled
    assert measured({"a": z, "b": z + 0.001}, y, rows=80) == found  # the same sample again


def test_labels_of_text_and_one_modality_and_unequal_widths():
    y = np.array(["cat", "dog"] * 30)
    alone = measured({"audio": gaussian(60, 5)}, y)
    assert "knn_accuracy/audio" in alone.values and not any("-" in key for key in alone.values)
    unequal = measured({"a": gaussian(60, 5), "b": gaussian(60, 7)})
    assert "linear_cka/a-b" in unequal.values and "paired_drift/a-b" not in unequal.values
    assert unequal.html().count("Not measured") == 4 and alone.html().count("Not measured") == 3


def test_the_table_shows_every_number_in_its_column():
    found = measured(pairs_of(), torch.arange(60) % 3)
    lines = str(found).splitlines()
    assert lines[0] == "audio: D = 8, image: D = 8; N = 60." and lines[1].split() == ["value", "reference"]
    row = next(line for line in lines if line.startswith("effective_rank") and "image" in line).split()
    assert float(row[2]) == approx(found.values["effective_rank/image"], rel=1e-3)
    assert float(row[3]) == approx(found.reference["effective_rank/image"], rel=1e-3)
    assert len({len(line) for line in lines[1:] if "gap_p_value" not in line}) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (({},), "embeddings is empty"),
        (([gaussian(5, 2)],), "not a dict"),
        (({"a": gaussian(5, 2), "b": gaussian(4, 2)},), "has {'a': 5, 'b': 4} samples"),
        (({"a": gaussian(1, 2)},), "embeddings.'a'. has shape"),
        (({"a": gaussian(5, 2)}, [1, 2]), "labels has shape"),
        (({"a": gaussian(5, 2) * math.nan},), "embeddings.'a'. has NaN or infinity in 5 of 5 rows"),
    ],
)
def test_faults_are_one_sentence(given, message):
    with pytest.raises(ValueError, match=message):
        measured(*given)
    with pytest.raises(ValueError, match="rows=1"):
        measured({"a": gaussian(5, 2)}, rows=1)
    with pytest.raises(ValueError, match="radius must be"):
        measured({"a": gaussian(5, 2)}, radius=3)


# The page


class Page(HTMLParser):
    """What a page would load, its tags that are open, and its text."""

    def __init__(self, text):
        super().__init__()
        self.outside, self.scripts, self.tags, self.words = [], 0, [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.scripts += tag == "script"
        self.outside += [value for name, value in attributes if name in ("src", "href", "data", "srcset")]
        self.outside += [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        self.words += data


COLLAPSED = {"audio": torch.ones(40, 6), "image": 2 * torch.ones(40, 6)}
ZERO = {"audio": torch.zeros(40, 6), "image": torch.zeros(40, 6)}


@pytest.mark.parametrize(
    "z", [pairs_of(), COLLAPSED, ZERO, pairs_of(n=2, d=1)], ids=["well", "point", "zero", "2"]
)
def test_the_page_has_every_section_and_loads_nothing(z):
    text = measured(z, torch.arange(len(z["audio"])) % 2).html("Mine")
    page = Page(text)
    assert page.outside == [] and page.scripts == 0 and "url(" not in text and "@import" not in text
    assert (
        page.tags.count("section") == 7 and page.tags.count("svg") == 5 and page.words.count("\\nMine") <= 2
    )
    assert "prefers-color-scheme: dark" in text and "viewport" in text and "$" not in text
    coordinates = re.findall(r'points="([^"]*)"', text)
    numbers = [float(x) for points in coordinates for x in re.split("[ ,]", points) if x]
    assert numbers and all(0 <= x <= 460 for x in numbers)
    assert "nan" not in page.words.lower() and "inf" not in re.sub("inf(?=[a-z])", "", page.words.lower())


def test_every_section_of_the_page_says_what_it_means_and_names_n_and_d():
    words = [Page(part).words for part in measured(pairs_of()).html().split("<section>")[1:]]
    assert len(words) == 7
    for section in words:
        meaning = " ".join(section.split())
        assert re.search(r"\bN\b", meaning) and re.search(r"\bD\b", meaning), section
        assert re.search(r"\bnot\b|\btoo\b|can be noise", meaning), section


def test_names_from_outside_are_text_on_the_page():
    name = "<script>alert('a')</script> & b"
    page = Page(measured({name: gaussian(9, 3), "b": gaussian(9, 3, 1)}).html(name))
    assert page.scripts == 0 and page.words.count("alert") > 5


def test_five_modalities_and_their_ten_pairs_have_colors_of_their_own():
    text = measured({f"m{k}": gaussian(12, 3, k) for k in range(5)}).html()
    for figure in re.findall("<svg.*?</svg>", text, re.DOTALL):
        colors = re.findall(r'<polyline class="(c\d+)"', figure)
        assert len(colors) in (5, 10) and len(set(colors)) == len(colors)
        for color in colors:
            assert text.count(f"--{color}: #") == 2  # light and dark
            assert f".{color} {{ stroke: var(--{color}); border-color: var(--{color}); }}" in text


def test_names_may_be_numbers():
    assert "modality_gap" in measured({0: gaussian(20, 3), 1: gaussian(20, 3)}).html()


def test_a_curve_lies_where_its_numbers_are():
    figure = chart(
        [("a", 0, False, [0, 1, 2], [0.0, 0.5, 1.0]), ("b", 1, True, [0, 2], [1, 1])], "x", "y", 0.5
    )
    (line, reference) = re.findall(r'<polyline class="([^"]*)" points="([^"]*)"', figure)
    assert line == ("c0", "50.0,190.0 250.0,100.0 450.0,10.0")
    assert reference == ("c1 reference", "50.0,10.0 450.0,10.0")
    assert '<rect class="band" x="50" y="10" width="100.0"' in figure and ">0.5</text>" in figure
    assert chart([], "x", "y") == "" and chart([("a", 0, False, range(1, 1), [])], "x", "y") == ""


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_rows_of_one_feature_have_a_page_whatever_the_signs_of_the_noise_are(n):
    """In one dimension rows are 1 or -1 on the sphere, so those of the noise may not vary at all."""
    for width in ([1], [1, 1], [1, 2], [2]):
        found = measured({f"m{k}": torch.ones(n, d) for k, d in enumerate(width)})
        assert "participation_ratio" in str(found) and "<svg" in found.html()


# The tracker


def batches_of(z, size):
    n = len(next(iter(z.values())))
    return [{m: x[i : i + size] for m, x in z.items()} for i in range(0, n, size)]


def tracked(z, size=7, labels=None, **options):
    tracker = GeometryTracker(**options)
    for i, batch in enumerate(batches_of(z, size)):
        tracker.update(batch, None if labels is None else labels[i * size : (i + 1) * size])
    return tracker


@pytest.mark.parametrize("labels", [None, torch.arange(60) % 3, np.array(["a", "b", "c"] * 20)])
def test_a_tracker_with_room_for_all_rows_gives_the_report_of_all(labels):
    z = pairs_of()
    tracker = tracked(z, labels=labels, radius=0.5)
    assert tracker.report() == approx(geometry_report(z, labels, 0.5), rel=1e-9, abs=1e-12)
    assert torch.equal(tracker.embeddings["audio"], z["audio"])


def test_a_later_batch_may_have_its_modalities_in_another_order():
    z = pairs_of()
    tracker, (first, second) = GeometryTracker(radius=0.5), batches_of(z, 30)
    tracker.update(first)
    tracker.update(dict(reversed(second.items())))
    assert tracker.report() == approx(geometry_report(z, radius=0.5), rel=1e-9, abs=1e-12)


EXACT = ("mean_cosine", "paired_drift", "modality_gap", "drift_gap_part", "drift_sample_part", "num_samples")


def test_a_tracker_keeps_few_rows_paired_and_means_exact():
    z, y = pairs_of(n=3000, gap=0.2), torch.arange(3000) % 3
    tracker = tracked(z, 100, y, rows=200)
    assert {m: tuple(x.shape) for m, x in tracker.embeddings.items()} == {
        "audio": (200, 8),
        "image": (200, 8),
    }
    place = [(z["audio"] == row).all(dim=1).nonzero().item() for row in tracker.embeddings["audio"]]
    assert torch.equal(z["image"][place], tracker.embeddings["image"])
    assert (y[place].numpy() == tracker.labels).all()
    report, whole = tracker.report(), geometry_report(z, y)
    exact = {key: value for key, value in whole.items() if key.split("/")[0] in EXACT}
    assert {key: report[key] for key in exact} == approx(exact, rel=1e-9)
    assert report["num_samples"] == 3000 and report["effective_rank/audio"] == approx(7.5, abs=0.5)


def test_every_row_has_the_same_chance_to_stay():
    z = {"a": torch.arange(200.0)[:, None]}
    kept = [tracked(z, 20, rows=20, seed=seed).embeddings["a"][:, 0] for seed in range(60)]
    halves = torch.cat(kept) < 100
    assert halves.double().mean().item() == approx(0.5, abs=0.06)  # three deviations of 1,200 draws
    assert not torch.equal(kept[0], kept[1])


def test_a_tracker_draws_from_no_generator_of_the_training():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    tracked(pairs_of(), rows=10).report()
    assert torch.equal(torch.rand(3), expected)


def test_a_tracker_refuses_what_does_not_fit_and_keeps_nothing_of_it():
    tracker = tracked(pairs_of(n=20), labels=torch.arange(20) % 2)
    before = tracker.report()
    good = pairs_of(n=4)
    for batch, labels, message in [
        ({"audio": good["audio"]}, [0, 1, 0, 1], "widths"),
        (good | {"image": gaussian(4, 9)}, [0, 1, 0, 1], "widths"),
        (good, None, "labels in all or none"),
        (good, [0, 1], "labels has shape"),
        (good | {"image": gaussian(3, 8)}, [0, 1, 0], "samples"),
        (good | {"image": gaussian(4, 8) * math.inf}, [0, 1, 0, 1], "NaN or infinity"),
    ]:
        with pytest.raises(ValueError, match=message):
            tracker.update(batch, labels)
        assert tracker.report() == before
    with pytest.raises(ValueError, match="rows=1"):
        GeometryTracker(rows=1)
    with pytest.raises(ValueError, match="embeddings is empty"):
        GeometryTracker().report()


def test_a_tracker_of_one_row_at_a_time_and_of_unequal_widths():
    z = {"a": gaussian(12, 3), "b": gaussian(12, 5)}
    assert tracked(z, 1).report() == approx(geometry_report(z), rel=1e-9, abs=1e-12)


# The command


@pytest.fixture
def file(tmp_path):
    z = {m: x.numpy() for m, x in pairs_of().items()}
    np.savez(tmp_path / "mine.npz", **z, labels=np.arange(60) % 3, y=np.array(["a", "b"] * 30))
    return tmp_path / "mine.npz"


def test_the_command_prints_the_table_and_writes_the_page(file, tmp_path, capsys):
    np.savez(file, **{m: x.numpy() for m, x in pairs_of().items()}, labels=np.arange(60) % 3)
    assert main([str(file), "--html", str(tmp_path / "report.html"), "--radius", "0.5"]) == 0
    z = {m: x.numpy() for m, x in pairs_of().items()}
    expected = measured(z, np.arange(60) % 3, radius=0.5)
    assert capsys.readouterr().out == f"{expected}\n"
    assert (tmp_path / "report.html").read_text() == expected.html("mine.npz")


def test_labels_are_taken_by_name(file, capsys):
    arrays = dict(np.load(file))
    del arrays["labels"]
    np.savez(file, **arrays)
    assert main([str(file), "--labels", "y"]) == 0
    assert "knn_accuracy" in capsys.readouterr().out


def save(path, **arrays):
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({}, [], "has no embeddings; write an array"),
        ({"labels": np.arange(5)}, [], "has no embeddings"),
        ({"a": np.eye(5), "b": np.eye(4)}, [], "its modalities must be paired row by row"),
        ({"a": np.eye(5), "y": np.arange(5)}, [], r"embeddings\['y'\] has shape \(5,\)"),
        ({"a": np.eye(5)}, ["--labels", "y"], "has no array 'y'; it has a"),
        ({"a": np.array([None, "x"])}, [], "holds Python objects"),
        ({"a": np.where(np.eye(5), np.nan, 1)}, [], "has NaN or infinity in 5 of 5 rows"),
        ({"a": np.eye(5), "labels": np.arange(4)}, [], "labels has shape"),
        ({"a": np.eye(5)}, ["--rows", "1"], "rows=1"),
        ({"a": np.eye(5)}, ["--radius", "-1"], "radius must be in"),
        ({"a": np.eye(5)}, ["--html", f"{__file__}/report.html"], "report.html"),
    ],
)
def test_every_fault_of_the_file_is_one_sentence_and_status_two(tmp_path, capsys, arrays, options, message):
    save(tmp_path / "mine.npz", **arrays)
    assert main([str(tmp_path / "mine.npz"), *options]) == 2
    assert re.fullmatch(rf"geomreg_mini: [^\n]*{message}[^\n]*\n", capsys.readouterr().err)


def test_a_file_that_is_missing_or_not_an_npz_is_one_sentence_and_status_two(tmp_path, capsys):
    (tmp_path / "text.npz").write_text("a, b")
    for name, message in [
        ("none.npz", "does not exist"),
        ("text.npz", "is not a readable npz file"),
        ("", "is not"),
    ]:
        assert main([str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err


def test_the_command_runs_as_a_module_and_needs_torch_and_numpy_alone(file, tmp_path):
    hide = (
        "import sys; sys.modules.update(dict.fromkeys(['matplotlib', 'pandas', 'scipy', 'sklearn', 'tqdm']))"
    )
    options = [str(file), "--labels", "y", "--html", str(tmp_path / "r.html")]
    run = "runpy.run_module('geomreg_mini', run_name='__main__')"
    code = f"{hide}; import runpy; sys.argv[1:] = {options!r}; {run}"
    np.savez(file, audio=gaussian(30, 3).numpy(), y=np.arange(30) % 2)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and "effective_rank" in done.stdout
    assert (tmp_path / "r.html").stat().st_size > 5000


@pytest.mark.skipif(os.name != "posix", reason="needs a pipe of Unix")
def test_a_reader_who_closes_the_pipe_gets_the_page_and_no_traceback(file, tmp_path):
    np.savez(file, audio=gaussian(30, 3).numpy())
    page = tmp_path / "r.html"
    words = [sys.executable, "-m", "geomreg_mini", str(file), "--html", str(page)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (141, "") and page.stat().st_size > 5000


NAMES = "import numpy as np; np.savez('ü.npz', **{'aüdio': np.eye(5), 'bild→': np.eye(5)})"


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "bild→"), ("latin-1", r"bild\u2192")])
def test_an_output_without_a_character_shows_its_code_and_python_may_drop_docstrings(
    tmp_path, encoding, shown
):
    subprocess.run([sys.executable, "-c", NAMES], cwd=tmp_path, check=True)
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-OO", "-m", "geomreg_mini", "ü.npz"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"aüdio: D = 5, {shown}: D = 5; N = 5." in done.stdout.decode(encoding)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full, as Linux has")
@pytest.mark.parametrize(
    ("redirected", "status", "message"),
    [("> /dev/full", 1, "No space left on device: free space and run the command again.\n"), (">&-", 0, "")],
)
def test_an_output_that_is_full_or_was_never_open_gets_no_traceback(
    file, tmp_path, redirected, status, message
):
    np.savez(file, audio=gaussian(30, 3).numpy())
    words = f"'{sys.executable}' -m geomreg_mini '{file}' --html '{tmp_path}/r.html' {redirected}"
    done = subprocess.run(words, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (status, message)
    assert (tmp_path / "r.html").stat().st_size > 5000


def test_the_report_is_there_if_the_package_is_imported_from_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in [*ROOT.glob("geomreg_mini/**/*"), *ROOT.glob("data_scripts/**/*.py")]:
            if path.suffix in (".py", ".html"):
                archive.write(path, path.relative_to(ROOT))
    code = (
        "from geomreg_mini import measure; print(measure.__file__, measure.measure({'a': [[1], [2]]}).html())"
    )
    run = f"import sys; sys.path[:0] = [{str(tmp_path / 'all.zip')!r}]; {code}"
    done = subprocess.run([sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True)
    assert "all.zip" in done.stdout and "</html>" in done.stdout, done.stderr


def test_every_quantity_of_the_page_exists():
    values = measured(pairs_of(), torch.arange(60) % 3).values
    for quantities, *_ in measure.SECTIONS.values():
        for quantity in quantities.split():
            assert any(key.startswith(f"{quantity}/") for key in values), quantity
