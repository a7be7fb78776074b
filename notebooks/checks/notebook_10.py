"""Checks of notebook 10, CREMA-D."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .judging import first_problem, number, verdict


def shared_clips(answer: object) -> bool:
    """Exercise 1: test clips whose actor and sentence occur together in training."""

    def cases(f: Any) -> Iterator[str]:
        train = ["1001_TIE_SAD_XX"]  # not shared
        train += ["1001_IEO_NEU_XX", "1001_IEO_HAP_LO", "1001_IEO_DIS_XX", "1002_DFA_ANG_XX"]  # shared
        test = ["1001_IEO_SAD_XX", "1001_IEO_ANG_XX", "1002_DFA_HAP_XX"]  # shared
        test[:0] = ["1001_DFA_ANG_XX", "1002_IEO_NEU_XX", "1003_IEO_NEU_XX", "1002_WSI_FEA_XX"]  # not
        value = number(f(train, test))
        if 0 < value < 1:
            yield f"it returned the share {value:.2f}; count the clips."
        if value == 6:
            yield "1002 says WSI in no training clip: the sentence must be the same too."
        if value == 5:
            yield "1001 is in training and DFA is, but 1001 never says DFA there: both in *one* clip."
        if value == 4:
            yield "these are the training clips with a partner in the test split: count the test clips."
        if value == 2:
            yield "two test clips of one actor and sentence count as two."
        if value == 0:
            yield "the emotion and its level may differ: compare the first two parts of a name."
        if value != 3:
            yield f"three of seven test clips have actor and sentence in training, and yours says {value:g}."
        if number(f(train, [])) != 0:
            yield "without test clips it must be 0."

    return verdict(first_problem(answer, cases), "who says it and what is said, and nothing else.")


def chance_recall(answer: object) -> bool:
    """Exercise 2: R@100 of unrelated embeddings on 744 clips."""

    def cases(answer: Any) -> Iterator[str]:
        value = number(answer)
        if abs(value - 1 / 744) < 1e-4:
            yield "that is R@1; a hundred places are open to the partner."
        if abs(value - 100 / 744 * 100) < 0.1:
            yield "that is in percent; give a number between 0 and 1."
        if abs(value - 100 / 7442) < 1e-3:
            yield "the partner is looked for among the test clips only, and of these there are 744."
        if abs(value - 100 / 744) > 2e-3:
            yield "the partner is equally likely to have each of 744 ranks, and 100 of them count."

    return verdict(first_problem(answer, cases), "100 of 744 ranks, about 13.4 %.")


def difference_error(answer: object) -> bool:
    """Exercise 3: standard error, in points, where two models disagree on a tenth of 744."""

    def cases(answer: Any) -> Iterator[str]:
        value, n = number(answer), 744
        if abs(value - math.sqrt(0.1 / n)) < 1e-3:
            yield "that is a share; in points, multiply by 100."
        if abs(value - 100 * 0.1 / n) < 1e-3:
            yield "that is a variance: take the root before you multiply by 100."
        if abs(value - 100 * math.sqrt(0.1)) < 0.1:
            yield "that is for one clip; the mean over 744 has a 744th of the variance."
        if abs(value - 100 * math.sqrt(0.1 * 0.9 / n)) < 0.02:
            yield "that is the error of the *share of disagreement*; here a clip adds +1, -1 or 0."
        if abs(value - math.sqrt(0.1 * n)) < 0.1:
            yield "that is in clips; divide by 744 and multiply by 100."
        if abs(value - 100 * math.sqrt(0.1 / n)) > 0.02:
            yield "a clip adds +1, -1 or 0, mean 0: its variance is the share that is not 0; divide by 744."

    return verdict(first_problem(answer, cases), "1.16 points, about half of that of two independent tests.")
