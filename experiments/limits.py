"""Where a gain should end: a picture that knows nothing, and labels in plenty. On digits.

    python -m experiments.limits --jobs 2     # resumable
    python -m experiments.limits --summary    # its tables

``verdict`` asks whether the published method raises a k-NN probe of the neglected modality, the image, under
joint training. This protocol, fixed before its first number, asks whether such a gain is repair. Hypothesis
H6: it shrinks to nothing if the image knows nothing, and if labels are plenty.

*Situations.* The regime of ``verdict`` for joint training (image noise 0.8, all 2,000 labels of the training
speakers) is the start of two walks: more image noise with all labels, and fewer labels with noise 0.8.
Trainings with fewer labels have more epochs, so that all take about as many steps.

*Arms.* None and the published method, each with the setting that ``verdict`` has frozen for it, in all
situations. Only the start is tuned. Away from it the contest of the two arms is not fair; the study compares
situations.

*Seeds.* ``SEEDS``, which no other study has, ten for each of the six test speakers. A seed that diverges in
any situation is left out of all. Intervals are those of ``verdict``: over seeds, and for new speakers.

*Claims.* ``CLAIMS``: with the most noise, and with all labels, the gain lies within one point of zero. And it
is at least one point larger with noise 0.8 than with the most, and with 300 labels than with all. Each is
*supported*, *excluded* or *undecided* by the 95 % interval, not corrected for the number of claims.

*Manipulation check.* Without a regularizer, the image's k-NN probe falls towards chance, 10 %, along the
first walk, and fused accuracy falls along the second.
"""

from __future__ import annotations

import sys
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from .cousins import converged, gains, judged, wide_change
from .paper_settings import pareto, watched
from .study import Arm, Cell, Study, change, markdown
from .verdict import COMMON, NOISE, in_words

if TYPE_CHECKING:
    import pandas as pd

SEEDS = tuple(range(500, 560))
NOISES = (1.6, 3.2, 6.4)
EPOCHS = {None: 8, 800: 20, 300: 54}  # labels -> epochs
FROZEN = {"learning_rate": 0.8, "weight_decay": 0.001}  # of both arms; a test holds them to the registration
ARMS = {"none": Arm({"frozen": FROZEN}),
        "published": Arm({"frozen": FROZEN | {"regularizer": pareto(0.1, 0.25)}})}  # fmt: skip
PLACES = {"fused": "accuracy/fused", "image alone": "accuracy/image", "image, k-NN": "knn_probe/image"}


def situation(noise: float = NOISE["joint"], labels: int | None = None) -> str:
    """Return the name of a situation."""
    return f"noise {noise:g} with {labels or 'all'} labels"


def _cell(noise: float = NOISE["joint"], labels: int | None = None) -> Cell:
    options = COMMON["dataset_options"] | {"image_noise": noise, "labels": labels}
    steps = {"epochs": EPOCHS[labels], "evaluate_every": EPOCHS[labels]}
    config = COMMON | {"paradigm": "joint", "dataset_options": options} | steps
    return Cell({"situation": situation(noise, labels)}, config, ARMS, SEEDS)


STUDY = Study(
    name="limits",
    path="{situation}/seed{seed}/{arm}.json",
    cells=(_cell(), *(_cell(noise=noise) for noise in NOISES), *(_cell(labels=n) for n in (800, 300))),
    against="none",
    keep_diverged=True,
    together=len(ARMS),
)


class Claim(NamedTuple):
    """The gain in one situation, or by how much it is larger than in another, is from ``low`` to ``high``."""

    outcome: str
    where: str
    than: str = ""
    low: float = 1.0
    high: float = inf

    def words(self) -> str:
        """Return the claim in words."""
        span = f"at least {self.low:g}" if self.high == inf else f"{self.low:g} to {self.high:g}"
        return f"{self.outcome}, {self.where}{self.than and f' minus {self.than}'}: {span}"


ENDS = situation(NOISES[-1]), situation()  # of the two walks
CLAIMS = tuple(
    [Claim(outcome, end, low=-1.0, high=1.0) for end in ENDS for outcome in PLACES]
    + [Claim("image, k-NN", situation(), ENDS[0]), Claim("image, k-NN", situation(labels=300), ENDS[1])]
)


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the gains of the published method as text, a row per situation; k-NN and fused are of none."""
    import pandas as pd

    found = {
        name: gains("speakers", frame, f"test/{place}", {"published": "none"}, by=("situation",))
        for name, place in PLACES.items()
    }
    rows, means = {}, frame.groupby(["situation", "arm"]).mean(numeric_only=True)
    for number, key in enumerate(found["fused"]["situation"]):
        own = {name: of.iloc[number] for name, of in found.items()}
        ours = means.loc[key, "published"]
        rows[key] = {
            "none, fused": f"{100 * own['fused']['baseline']:.1f}",
            "none, k-NN": f"{100 * own['image, k-NN']['baseline']:.1f}",
            **{name: f"{change(row)}; {wide_change(row).split(' ', 1)[1]}" for name, row in own.items()},
            "would see": f"{100 * own['image, k-NN']['detectable']:.1f}",
            "dose": watched(ours)["dose"],
            "inside": f"{100 * (1 - ours['test/band_violation/mean']):.0f} %",
        }
    return pd.DataFrame(rows).T


def answers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the claims as text: gain, both intervals with the detectable gain, and verdicts."""
    import pandas as pd

    rows = {}
    for claim in CLAIMS:
        gained = _as_arms(frame, f"test/{PLACES[claim.outcome]}")
        row = gains("speakers", gained, "gain", {claim.where: claim.than}, by=()).iloc[0]
        rows[claim.words()] = in_words(judged(row, claim.low, claim.high))
    return pd.DataFrame(rows).T


def _as_arms(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the gain of each situation and seed, with situations as arms, and an arm "" that gains 0."""
    import pandas as pd

    runs = frame.pivot(index=["situation", "seed"], columns="arm", values=metric)
    gained = (runs["published"] - runs["none"]).rename("gain").rename_axis(["arm", "seed"]).reset_index()
    nothing = gained.drop_duplicates("seed").assign(arm="", gain=0.0)
    return pd.concat([gained, nothing]).assign(selected=True)


def summary(frame: pd.DataFrame) -> str:
    """Return both tables in Markdown."""
    frame = converged(frame)
    seeds = f"digits, joint training, {frame['seed'].nunique()} seeds"
    return f"{markdown(table(frame), seeds)}\n\n{markdown(answers(frame), 'claim H6, in points')}"


if __name__ == "__main__":
    sys.exit(STUDY.main(summary))
