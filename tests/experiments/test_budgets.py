"""Equal budgets, and optima at the end of a grid said: over all studies in which validation picks."""

from pathlib import Path

import pytest
from made_up_records import committed, folder_of, frame_of

from experiments import ablations, cousins, paradigm_table, regimes, unlabeled, verdict
from experiments.study import Arm, Cell, Study
from geomreg_mini import GeometryRegularizer

PAGE = (Path(__file__).parents[2] / "results" / "README.md").read_text()
SWEPT = {m.STUDY.name: m for m in (regimes, paradigm_table, ablations, unlabeled)}
FROZEN_STUDIES = {"verdict": verdict.STUDY} | cousins.STUDIES
# Arms that may pick from another number of runs than their rivals, and where their protocol says so.
SAID = {
    "regimes": {"control": "may choose among eight runs"},
    "paradigm_table": {"first": "two *first* runs try the two settings", "baseline": "all four of its runs",
                       "regularized": "from its two"},
    "ablations": {"hinge": "has two settings to pick from", "covariance": "has two settings to pick from"},
    "unlabeled": {"none, slow": "none at the same rate", "untuned": "a third of that rate with none"},
}  # fmt: skip


def budgets(cell):
    return {name: len(arm.settings) + len(arm.shares) for name, arm in cell.arms.items()}


@pytest.mark.parametrize("name", FROZEN_STUDIES)
def test_every_arm_of_a_study_with_development_seeds_has_the_same_budget(name):
    for cell in FROZEN_STUDIES[name].cells:
        assert len(set(budgets(cell).values())) == 1 and min(budgets(cell).values()) > 2


@pytest.mark.parametrize("name", SWEPT)
def test_an_unequal_budget_is_said_in_the_protocol(name):
    text, said = " ".join(SWEPT[name].__doc__.split()), SAID[name]
    seen = set()
    for cell in SWEPT[name].STUDY.cells:
        known = budgets(cell)
        equal = {count for arm, count in known.items() if arm not in said}
        assert len(equal) <= 1, known
        seen |= {arm for arm in known if arm in said}
    assert seen == set(said) and all(words in text for words in said.values())


@pytest.mark.parametrize("name", SWEPT)
def test_an_optimum_at_an_end_of_its_grid_is_said_next_to_the_table(name):
    assert SWEPT[name].STUDY.edges(committed(name)) in " ".join(PAGE.split())


@pytest.mark.parametrize("name", ["emoji", "watch"])
def test_learning_rates_that_were_widened_are_interior(name):
    """The protocol of these data widens the rates of all arms until no arm picks an end."""
    study = cousins.STUDIES[name]
    for cell in study.cells:
        for arm, setting in study.frozen(folder_of(study), cell).items():
            rates = sorted(fields["learning_rate"] for fields in cell.arms[arm].settings.values())
            picked = cell.arms[arm].settings[setting]["learning_rate"]
            assert rates[0] < picked < rates[-1], (cell.columns, arm)


# What ``edges`` says, by known picks


def two_arms(seeds=range(4)):
    rates = {f"{r}": {"learning_rate": r} for r in (0.1, 0.2, 0.3)}
    bands = {f"{r}": {"regularizer": GeometryRegularizer(1.0, 1.0, radius=r)} for r in (0.2, 0.4)}
    arms = {"none": Arm(rates), "band": Arm(bands, start="none"), "more": Arm({}, shares=(("none", "0.1"),))}
    return Study(
        "made up", "{arm}-{setting}", (Cell({"paradigm": "joint"}, {"dataset": "toy"}, arms, seeds),), "none"
    )


@pytest.mark.parametrize(
    ("picked", "said"),
    [
        (
            {"none": "0.3", "band": "0.2"},
            "band: radius lowest in 4 of 4; none: learning rate highest in 4 of 4",
        ),
        ({"none": "0.2", "band": "0.4"}, "band: radius highest in 4 of 4"),
    ],
)
def test_edges_are_counted_over_seeds(picked, said):
    study = two_arms()
    frame = frame_of(study, lambda *_: {}, picked)
    assert study.edges(frame) == f"Picked at an end of the values on offer: {said}."


def test_a_pick_at_an_end_in_fewer_than_half_of_the_cases_is_no_edge():
    study = two_arms()
    frame = frame_of(study, lambda *_: {}, {"none": "0.2"})
    frame.loc[(frame["arm"] == "none") & (frame["seed"] == 0), "selected"] = False
    frame.loc[(frame["arm"] == "none") & (frame["seed"] == 0) & (frame["setting"] == "0.3"), "selected"] = (
        True
    )
    frame = frame[frame["arm"] != "band"]
    assert study.edges(frame).endswith(": none.")
