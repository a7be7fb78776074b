"""The words of a figure of gains say what its markers and frames show."""

import pandas as pd
from figures.gains import MOST, in_words


def table(*rows, column="gain"):
    return pd.DataFrame(rows, columns=["label", column, "low", "high"])


def test_names_what_excludes_zero_and_gives_the_range_of_the_rest():
    rows = table(
        ("up", 2.0, 0.5, 3), ("down_here", -1.0, -2, -0.1), ("one", 0.3, -1, 2), ("two", -0.4, -1, 1)
    )
    assert in_words(rows) == (
        "Above zero: up +2.0. Below zero: down here -1.0. "
        "The other 2 include zero, with means from -0.4 to +0.3."
    )


def test_a_bound_at_zero_does_not_exclude_it():
    assert in_words(table(("a", 1.0, 0.0, 2.0), ("b", -1.0, -2.0, 0.0))) == (
        "All 2 include zero, with means from -1.0 to +1.0."
    )


def test_a_row_may_have_several_names_and_another_unit():
    rows = table(("x", 0.021, 0.01, 0.03), column="mean").assign(paradigm="dgl")
    assert in_words(rows, "label", "paradigm", scale=100) == "Above zero: x dgl +2.1."


def test_many_rows_are_counted():
    rows = table(*((f"r{k}", float(k), 0.5, 99) for k in range(1, MOST + 2)))
    assert in_words(rows) == f"Above zero: {MOST + 1}, from +1.0 to +{MOST + 1}.0."
