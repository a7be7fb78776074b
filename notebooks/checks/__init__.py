"""Automatic checks of the exercises: each says in one sentence what is wrong, or that the answer is right.

A check tries an answer on cases with a known result and returns a bool. It never raises on a wrong answer, so
that a notebook with open exercises still runs to its end. There is one file per notebook, the folder
`midterm` has the exam, and `judging` has what they share.
"""

from . import midterm as midterm
from .judging import predicted
from .notebook_01 import mean_cosine, term_effects, two_dials
from .notebook_02 import coverage, effective_rank, patients, twin
from .notebook_03 import corner_gain, miscounted, resting, stable_dispersion
from .notebook_04 import agreeing, drift_parts, lead_at_equal_drift, radius_for, unshiftable
from .notebook_05 import masked_dispersion, mixing, promise, squared_band, turning_point
from .notebook_06 import collapse_with_dispersion, effects, sampling_error, searched, spread_and_agreed
from .notebook_07 import broken_shares, dgl_loss, shortest_mixture
from .notebook_08 import frames_by_flips, three_ways
from .notebook_09 import blind_controls, many_intervals, same_length
from .notebook_10 import chance_recall, difference_error, shared_clips
from .notebook_11 import paired_clips, spread_of_two
from .notebook_12 import best_naming, photograph_error, three_rules
from .notebook_13 import best_rank, gradient_in_parts
from .notebook_14 import subset_shares, unused_children
from .notebook_15 import best_of_ten, judge, seeds_for
from .notebook_16 import broken_claims, calibrated_knn, masked_info_nce
from .notebook_17 import late_fusion_loses, parts_to_order, simplex_in_parts
from .notebook_18 import active_band, each_once, false_alarms

__all__ = [
    "active_band",
    "agreeing",
    "best_naming",
    "best_of_ten",
    "best_rank",
    "blind_controls",
    "broken_claims",
    "broken_shares",
    "calibrated_knn",
    "chance_recall",
    "collapse_with_dispersion",
    "corner_gain",
    "coverage",
    "dgl_loss",
    "difference_error",
    "drift_parts",
    "each_once",
    "effective_rank",
    "effects",
    "false_alarms",
    "frames_by_flips",
    "gradient_in_parts",
    "judge",
    "late_fusion_loses",
    "lead_at_equal_drift",
    "many_intervals",
    "masked_dispersion",
    "masked_info_nce",
    "mean_cosine",
    "miscounted",
    "mixing",
    "paired_clips",
    "parts_to_order",
    "patients",
    "photograph_error",
    "predicted",
    "promise",
    "radius_for",
    "resting",
    "same_length",
    "sampling_error",
    "searched",
    "seeds_for",
    "shared_clips",
    "shortest_mixture",
    "simplex_in_parts",
    "spread_and_agreed",
    "spread_of_two",
    "squared_band",
    "stable_dispersion",
    "subset_shares",
    "term_effects",
    "three_rules",
    "three_ways",
    "turning_point",
    "twin",
    "two_dials",
    "unshiftable",
    "unused_children",
]
