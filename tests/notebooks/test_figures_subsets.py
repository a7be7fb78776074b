"""Tables and figures of notebook 14 show the numbers that they are given."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from figures.subsets import AVERAGES, SUBSETS, dumbbells, recordings, subset_table
from small_data import radio

from experiments.paper import XFI_XRF55
from geomreg_mini import plots

matplotlib.use("Agg")


def test_a_table_has_each_model_by_both_averages_in_percent_and_means_over_seeds():
    rows = []
    for paradigm, arm, seed, value in [
        ("modality_dropout", "regularized", 0, 0.5),
        ("modality_dropout", "baseline", 0, 0.2),
        ("modality_dropout", "baseline", 1, 0.4),
    ]:
        values = {f"test/{q}/{s}": value + k / 10 for k, q in enumerate(AVERAGES) for s in SUBSETS}
        rows.append({"paradigm": paradigm, "arm": arm, "seed": seed, **values})
    table = subset_table(pd.DataFrame(rows))
    assert list(table.columns) == list(XFI_XRF55)
    assert table.index.tolist() == [
        (model, average)
        for model in ("modality dropout", "modality dropout + both terms")
        for average in ("over samples", "over batches")
    ]
    assert np.allclose(table["WiFi"], [30, 40, 50, 60])


def test_a_line_of_a_dumbbell_goes_from_the_one_to_the_other_and_losses_look_different():
    fig = dumbbells({"published": XFI_XRF55}, {"published": ("baseline", "X-Fi")})
    lines = {tuple(line.get_xdata()): line for line in fig.axes[0].lines}
    assert set(lines) == set(XFI_XRF55.values())
    lost = [ends for ends, line in lines.items() if line.get_linestyle() == ":"]
    assert lost == [XFI_XRF55["WiFi"]] and lines[lost[0]].get_color() == plots.VERMILION
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()] == list(XFI_XRF55)


def test_recordings_show_radar_s_largest_frame_and_the_others_over_time():
    data = radio(6)
    fig = recordings(data.train, [0, 4], ["first", "second"])
    images = [ax.images[0].get_array() for ax in fig.axes]
    inputs = {m: x[torch.tensor([0, 4])] for m, x in data.train.inputs.items()}
    shown = [inputs["mmWave"].amax(dim=1), inputs["WiFi"], inputs["RFID"]]
    for image, expected in zip(images, [x[k] for x in shown for k in range(2)], strict=True):
        assert np.array_equal(image, expected.numpy())
    assert [fig.axes[k].get_title(loc="left") or fig.axes[k].get_title() for k in range(2)] == [
        "first",
        "second",
    ]


@pytest.fixture(autouse=True)
def closed():
    yield
    matplotlib.pyplot.close("all")
