"""The paper's published numbers as data, to compare with our own.

Source: DAGR, arXiv 2601.21670v1 (CC BY 4.0); the numbers of v3 may differ. Twelve of v1's pages were read as
images in the public repository of the authors' lab page (airslab2020/labpages at e5ab6c5, folder
tmp-dagr-pages). ``SOURCES`` says for each table where it stands and whether its values are printed there or
were read off curves, which makes them approximate. Accuracies, clustering scores and recalls are in percent.
Where the paper gives a spread (mean +- spread), it does not say of what and over how many seeds.

Not seen: pages 2, 5, 6, 9 to 16 and 18, among them Eq. (8) and the value of t in Eq. (4); which setting of
Figures 7 and 8 gives Table 1; the retrieval table of v3 (Flickr30K and COCO).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PRINTED, READ_OFF = "printed", "read off figure"

# table of ``published()`` -> how its numbers are known
SOURCES = {
    "table_1": "Table 1, page 7 of v1, printed.",
    "table_2": "Table 2, page 7 of v1, printed.",
    "table_3": "Table 3, page 7 of v1, printed; its R, W and RF are mmWave, WiFi and RFID.",
    "table_4": "Table 4, page 8 of v1, printed.",
    "table_6": "Table 6, page 17 of v1, printed; one NVIDIA H100, and it does not say what is timed.",
    "table_7": "Table 7, page 24 of v1, printed.",
    "figure_2": "Figure 2, page 17 of v1, ends of the curves, read off.",
    "figure_3": "Figure 3, page 19 of v1: two values are printed in its panels, the recalls are read off.",
    "figure_7": "Figure 7, page 21 of v1, printed in the cells of two maps.",
    "figure_8": "Figure 8, page 22 of v1, printed in the cells of two maps.",
    "figure_9": "Figure 9, page 23 of v1, read off its curves.",
    "figure_10": "Figure 10, page 24 of v1, read off its curves.",
    "figure_11": "Figure 11, page 24 of v1, read off its curves.",
    "figure_12": "Figure 12, page 24 of v1, read off its curves.",
    "xfi_xrf55": "X-Fi's own paper, arXiv 2410.10167, printed; not a result of this paper.",
}

# An entry is a mean, or (mean, spread) if the paper gives one.
Entry = float | tuple[float, float]

# dataset -> method -> accuracy of (audio, visual, multi)
TABLE_1: dict[str, dict[str, tuple[Entry, Entry, Entry]]] = {
    "CREMA-D": {
        "G-Blending": (58.78, 58.62, 69.21),
        "OGM-GE": (57.76, 40.09, 68.82),
        "PMR": (55.11, 38.34, 67.44),
        "AGM": (56.37, 43.54, 69.61),
        "MMPareto": (59.43, 61.09, 70.12),
        "D&R": (61.11, 64.57, 74.32),
        "DGL": ((62.17, 0.79), (70.31, 1.11), (77.65, 1.05)),
        "DGL + DAGR": ((62.98, 0.50), (72.10, 0.55), (78.16, 0.38)),
    },
    "Kinetics-Sounds": {
        "G-Blending": (46.35, 51.12, 69.60),
        "OGM-GE": (44.23, 45.81, 66.89),
        "PMR": (43.61, 46.67, 65.70),
        "AGM": (46.12, 47.65, 68.88),
        "MMPareto": (48.40, 52.42, 69.83),
        "D&R": (49.78, 54.88, 69.10),
        "DGL": ((50.63, 0.54), (59.83, 0.63), (75.44, 0.49)),
        "DGL + DAGR": ((50.83, 0.50), (61.71, 0.47), (77.00, 0.44)),
    },
}

# method -> what is clustered -> (ACC, NMI, ARI)
TABLE_2: dict[str, dict[str, tuple[float, float, float]]] = {
    "MVAE": {"image": (26.2, 12.4, 7.5), "caption": (18.1, 2.4, 0.9), "joint": (38.7, 26.8, 18.0)},
    "MMVAE": {"image": (23.1, 12.1, 6.1), "caption": (14.5, 1.3, 0.1), "joint": (15.8, 1.5, 0.2)},
    "MoPoE": {"image": (33.4, 17.6, 11.5), "caption": (43.5, 27.1, 19.9), "joint": (40.8, 30.4, 20.2)},
    "MEME": {"image": (44.8, 43.4, 28.4), "caption": (36.3, 29.5, 18.6), "joint": (19.8, 4.8, 2.1)},
    "MMVAE+": {"image": (27.7, 11.9, 7.1), "caption": (48.7, 36.4, 26.8), "joint": (64.4, 52.6, 44.1)},
    "CMVAE": {"image": (67.7, 58.3, 47.4), "caption": (65.1, 53.3, 42.7), "joint": (73.7, 67.4, 57.2)},
    "MMVM": {"image": (58.9, 56.9, 44.5), "caption": (23.9, 9.4, 5.4), "joint": (66.8, 67.0, 55.5)},
    "MVP": {"image": (64.1, 53.8, 41.8), "caption": (48.5, 34.4, 26.1), "joint": (61.1, 55.6, 44.0)},
    "DCMEM": {"image": (87.5, 79.3, 73.6), "caption": (72.2, 56.0, 48.1), "joint": (86.7, 78.4, 72.2)},
    "DCMEM + DAGR": {"image": (89.3, 79.8, 76.8), "caption": (74.0, 56.5, 48.6), "joint": (90.2, 79.7, 74.6)},
}

# modalities -> accuracy of (X-Fi, X-Fi + DAGR) on XRF55
TABLE_3: dict[str, tuple[Entry, Entry]] = {
    "mmWave": ((82.33, 1.23), (83.57, 0.04)),
    "WiFi": ((64.62, 2.33), (67.36, 1.17)),
    "RFID": ((41.60, 2.04), (42.54, 0.55)),
    "mmWave+WiFi": ((89.92, 0.74), (90.74, 0.18)),
    "mmWave+RFID": ((83.76, 1.70), (85.84, 0.15)),
    "WiFi+RFID": ((67.49, 0.36), (67.95, 0.38)),
    "mmWave+WiFi+RFID": ((90.09, 0.82), (91.01, 0.06)),
}

# terms on top of DGL -> accuracy of (audio, visual, multi) on CREMA-D. Table 1 prints the first row with the
# spreads 0.79, 1.11 and 1.05.
TABLE_4: dict[str, tuple[Entry, Entry, Entry]] = {
    "none": ((62.17, 0.79), (70.31, 0.79), (77.65, 0.79)),
    "dispersion": ((63.26, 0.59), (71.76, 1.00), (77.81, 1.52)),
    "anchoring": ((62.55, 0.73), (72.92, 0.78), (77.98, 1.11)),
    "both": ((62.98, 0.50), (72.10, 0.55), (78.16, 0.38)),
}

# dataset -> batch size -> (seconds of the baseline, seconds with DAGR, overhead in percent); None: failed
TABLE_6: dict[str, dict[int, tuple[float, float, float] | None]] = {
    "XRF55": {
        32: (258.23, 272.38, 5.19),
        64: (255.55, 257.78, 0.87),
        128: (247.12, 248.46, 0.54),
        256: (246.26, 244.23, -0.82),
    },
    "CUBICC": {32: (68.26, 78.85, 15.5), 64: (64.84, 71.66, 10.5), 128: (71.31, 76.44, 7.2), 256: None},
}

# objective on top of DGL -> accuracy of (audio, visual, multi) on CREMA-D
TABLE_7: dict[str, tuple[Entry, Entry, Entry]] = {
    "naive align": ((60.65, 0.86), (72.21, 1.07), (77.98, 1.11)),  # always on, no tolerance
    "VICReg-style": ((59.18, 1.67), (71.35, 1.00), (78.12, 0.94)),
    "Barlow-Twins-style": ((59.09, 0.62), (61.32, 3.41), (71.07, 0.81)),
    "unit sphere only": ((60.65, 1.30), (69.84, 0.22), (75.81, 1.52)),
    "ours": ((62.98, 0.50), (72.10, 0.55), (78.16, 0.38)),
}

# quantity, by its name in geomreg_mini.geometry -> method -> value on CREMA-D. The semantic margin is Eq.
# (45): the mean distance between classes minus the mean distance within. The axis of the effective rank reads
# "audio + visual".
FIGURE_2: dict[str, dict[str, float]] = {
    "semantic_margin": {"DGL": 0.0005, "DGL + dispersion": 0.001, "DGL + DAGR": 0.007},
    "effective_rank": {"DGL": 8.2, "DGL + dispersion": 8.0, "DGL + DAGR": 8.4},
    "paired_drift": {"DGL": 0.50, "DGL + dispersion": 0.72, "DGL + DAGR": 0.49},  # mean squared distance
}
# the first is the mean cosine of matched minus that of mismatched pairs, Delta mu
FIGURE_3: dict[str, dict[str, float]] = {
    "cosine_contrast": {"DGL": 0.00045, "DGL + DAGR": 0.01421},
    "ks_distance": {"DGL": 0.03279, "DGL + DAGR": 0.09102},
    "recall@1": {"DGL": 0.4, "DGL + DAGR": 0.5},
    "recall@5": {"DGL": 1.0, "DGL + DAGR": 1.5},
    "recall@10": {"DGL": 1.4, "DGL + DAGR": 2.3},
    "recall@20": {"DGL": 3.0, "DGL + DAGR": 4.2},
    "recall@50": {"DGL": 6.6, "DGL + DAGR": 10.0},
    "recall@100": {"DGL": 14.3, "DGL + DAGR": 19.6},
}
# the quantities of both figures that are also compared on other data
GEOMETRY = {name: FIGURE_3[name] for name in ("cosine_contrast", "ks_distance", "recall@100")} | FIGURE_2

# dataset -> (lambda_intra, lambda_inter) -> multimodal accuracy with the sum form at tau = 0
FIGURE_7: dict[str, dict[tuple[float, float], float]] = {
    "CREMA-D": {
        (0.12, 0.03): 78.0, (0.14, 0.03): 77.7, (0.16, 0.03): 77.4,
        (0.12, 0.05): 76.7, (0.14, 0.05): 78.3, (0.16, 0.05): 77.6,
        (0.12, 0.07): 77.0, (0.14, 0.07): 75.8, (0.16, 0.07): 76.7,
    },
    "Kinetics-Sounds": {
        (0.04, 0.03): 76.8, (0.08, 0.03): 77.1, (0.12, 0.03): 75.9,
        (0.04, 0.05): 76.0, (0.08, 0.05): 76.4, (0.12, 0.05): 76.6,
        (0.04, 0.08): 77.1, (0.08, 0.08): 76.9, (0.12, 0.08): 76.7,
    },
}  # fmt: skip

# dataset -> (beta, tau) -> multimodal accuracy with the Pareto form, the paper's default
FIGURE_8: dict[str, dict[tuple[float, float], float]] = {
    "CREMA-D": {
        (0.10, 0.0): 78.1, (0.10, 0.25): 78.0, (0.10, 0.5): 77.8,
        (0.15, 0.0): 76.3, (0.15, 0.25): 76.3, (0.15, 0.5): 77.3,
        (0.20, 0.0): 78.4, (0.20, 0.25): 79.3, (0.20, 0.5): 76.7,
    },
    "Kinetics-Sounds": {
        (0.10, 0.0): 76.8, (0.10, 0.25): 76.8, (0.10, 0.5): 76.3,
        (0.15, 0.0): 77.1, (0.15, 0.25): 76.6, (0.15, 0.5): 76.4,
        (0.20, 0.0): 76.2, (0.20, 0.25): 77.8, (0.20, 0.5): 75.7,
    },
}  # fmt: skip

INTRA_INTER, BETA_TAU = "intra{:g}-inter{:g}", "beta{:g}-tau{:g}"  # names of their settings


def axes(cells: Iterable[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the values of both hyperparameters of a map, in ascending order.

    >>> axes(FIGURE_8["CREMA-D"])
    ((0.1, 0.15, 0.2), (0.0, 0.25, 0.5))
    """
    first, second = zip(*cells, strict=True)
    return tuple(sorted(set(first))), tuple(sorted(set(second)))


# figure -> (what is done to one modality, the modality) -> level -> multimodal accuracy of (baseline, with
# DAGR). Levels: probability of absence, signal-to-noise ratio in dB, share of bins, frames or area, share of
# features, standard deviations. ("", ...) is the clean test split.
ROBUSTNESS: dict[str, dict[tuple[str, str], dict[float, tuple[float, float]]]] = {
    "figure_9": {
        ("", "multi"): {0: (75.1, 76.3)},
        ("features_missing", "audio"): {0.5: (73.2, 73.1), 0.8: (71.5, 71.0), 1.0: (69.5, 68.0)},
        ("features_missing", "visual"): {0.5: (68.1, 68.1), 1.0: (61.0, 60.6)},
        ("snr", "audio"): {20: (72.0, 65.0), 10: (39.0, 38.0), 0: (14.0, 14.0)},
        ("spec_augment", "audio"): {0.1: (34.5, 36.5), 0.3: (22.0, 21.5)},
        ("frame_drop", "visual"): {0.5: (75.1, 76.3), 0.75: (60.0, 60.8)},
        ("cutout", "visual"): {0.1: (71.9, 71.5), 0.3: (62.5, 62.4), 0.5: (61.2, 61.0)},
    },
    "figure_10": {
        ("", "mmWave+WiFi+RFID"): {0: (89.6, 91.1)},
        ("feature_dropout", "mmWave"): {0.25: (80.3, 81.8), 0.5: (69.2, 71.1), 0.75: (62.5, 63.4)},
        ("feature_dropout", "RFID"): {0.25: (83.8, 84.3), 0.5: (84.2, 85.7), 0.75: (84.8, 86.9)},
        ("feature_dropout", "WiFi"): {0.25: (81.7, 85.0), 0.5: (79.4, 83.2), 0.75: (79.5, 82.8)},
    },
    "figure_11": {
        ("feature_noise", "mmWave"): {0.25: (65.5, 67.3), 0.5: (59.7, 63.5), 1.0: (55.5, 61.0)},
        ("feature_noise", "RFID"): {0.25: (84.2, 84.8), 0.5: (84.0, 83.7), 1.0: (84.5, 84.0)},
        ("feature_noise", "WiFi"): {0.25: (89.6, 90.9), 0.5: (89.1, 90.6), 1.0: (87.2, 88.7)},
    },
    "figure_12": {
        ("segments_missing", "mmWave"): {1.0: (67.3, 67.6)},
        ("segments_missing", "RFID"): {1.0: (89.4, 90.6)},
        ("segments_missing", "WiFi"): {1.0: (82.5, 85.3)},
    },
}

# modalities -> accuracy of (X-Fi's baseline, X-Fi)
XFI_XRF55: dict[str, tuple[float, float]] = {
    "mmWave": (82.1, 83.9),
    "WiFi": (77.8, 55.7),
    "RFID": (42.2, 42.5),
    "mmWave+WiFi": (86.8, 88.2),
    "mmWave+RFID": (71.4, 86.5),
    "WiFi+RFID": (55.6, 58.1),
    "mmWave+WiFi+RFID": (70.6, 89.8),
}

# method of Table 1, or joint training with a concatenation -> (fused accuracy on CREMA-D, source). Frames,
# sound features, optimizers and epochs differ: this only shows how far the numbers of one method lie apart.
BALANCE = "BalanceBenchmark, arXiv 2502.10816"
ELSEWHERE: dict[str, tuple[tuple[float, str], ...]] = {
    "Joint": (
        (51.7, "OGM-GE's paper, quoted in issue 34 of GeWu-Lab/OGM-GE_CVPR2022"),
        (59.81, "OGM-GE's released weights, quoted in the same issue"),
        (65.50, BALANCE),
        (75.8, "a user's run of LFM's code, issue 12 of njustkmg/NeurIPS24-LFM"),
    ),
    "G-Blending": ((71.59, BALANCE),),
    "OGM-GE": (
        (57.7, "PMR's paper, quoted in issue 2 of fanyunfeng-bit/Modal-Imbalance-PMR"),
        (61.25, "its own paper, quoted in issue 34 of GeWu-Lab/OGM-GE_CVPR2022"),
        (64.41, "its released weights, quoted in the same issue"),
        (67.76, f"{BALANCE}, where it is called OGM"),
    ),
    "PMR": ((67.19, BALANCE),),
    "AGM": ((71.59, BALANCE),),
    "MMPareto": ((79.97, BALANCE),),
    "D&R": ((71.02, f"{BALANCE}, where it is called Relearning"),),
    "DGL": (
        (77.48, "cramed_dgl.sh of shicaiwei123/ICCV2025-GDL, alpha 4"),
        (78.12, "cramed_dgl.sh of shicaiwei123/ICCV2025-GDL, alpha 5"),
    ),
}

AUDIO_VISUAL = ("audio", "visual", "multi")
COLUMNS = ("table", "dataset", "method", "quantity", "modality", "setting", "mean", "spread", "known")


def published() -> pd.DataFrame:
    """Return every number above except ``ELSEWHERE``, tidy: one row per number.

    Columns: ``table`` (a key of ``SOURCES``), ``dataset``, ``method``, ``quantity`` ("accuracy", "ACC",
    "recall@100", "seconds", ...), ``modality`` ("" for a quantity of both, and the disturbed one in a figure
    of robustness), ``setting`` ("" unless the table has several: "beta0.2-tau0.25", "intra0.14-inter0.05",
    "batch 32", "snr_20"), ``mean``, ``spread`` (NaN if none is given), and ``known``, which is
    ``PRINTED`` or ``READ_OFF``.
    """
    import pandas as pd

    order = list(SOURCES)
    rows = []
    for table, dataset, method, quantity, modality, entry, setting, known in _entries():
        mean, spread = entry if isinstance(entry, tuple) else (entry, float("nan"))
        rows.append((table, dataset, method, quantity, modality, setting, mean, spread, known))
    return pd.DataFrame(sorted(rows, key=lambda row: order.index(row[0])), columns=list(COLUMNS))


def _entries() -> Iterator[tuple[str, str, str, str, str, Entry, str, str]]:
    """Yield (table, dataset, method, quantity, modality, entry, setting, known) of every number."""
    blocks = [("table_1", dataset, methods) for dataset, methods in TABLE_1.items()]
    blocks += [("table_4", "CREMA-D", TABLE_4), ("table_7", "CREMA-D", TABLE_7)]
    for table, dataset, methods in blocks:
        for method, entries in methods.items():
            for modality, entry in zip(AUDIO_VISUAL, entries, strict=True):
                yield table, dataset, method, "accuracy", modality, entry, "", PRINTED
    for method, views in TABLE_2.items():
        for modality, scores in views.items():
            for quantity, score in zip(("ACC", "NMI", "ARI"), scores, strict=True):
                yield "table_2", "CUBICC", method, quantity, modality, score, "", PRINTED
    pairs = {"table_3": (("X-Fi", "X-Fi + DAGR"), TABLE_3), "xfi_xrf55": (("baseline", "X-Fi"), XFI_XRF55)}
    for table, (methods, subsets) in pairs.items():
        for modality, entries in subsets.items():
            for method, entry in zip(methods, entries, strict=True):
                yield table, "XRF55", method, "accuracy", modality, entry, "", PRINTED
    timed = (("baseline", "seconds"), ("baseline + DAGR", "seconds"), ("baseline + DAGR", "overhead"))
    for dataset, batches in TABLE_6.items():
        for batch, values in batches.items():
            for (method, quantity), value in zip(timed, values or (), strict=values is not None):
                yield "table_6", dataset, method, quantity, "", value, f"batch {batch}", PRINTED
    for table, quantities in (("figure_2", FIGURE_2), ("figure_3", FIGURE_3)):
        for quantity, values in quantities.items():
            known = PRINTED if quantity in ("cosine_contrast", "ks_distance") else READ_OFF
            for method, value in values.items():
                yield table, "CREMA-D", method, quantity, "", value, "", known
    maps = {"figure_7": (INTRA_INTER, FIGURE_7), "figure_8": (BETA_TAU, FIGURE_8)}
    for table, (name, datasets) in maps.items():
        for dataset, cells in datasets.items():
            for cell, value in cells.items():
                yield table, dataset, "DGL + DAGR", "accuracy", "multi", value, name.format(*cell), PRINTED
    for table, curves in ROBUSTNESS.items():
        dataset, base = ("CREMA-D", "DGL") if table == "figure_9" else ("XRF55", "X-Fi")
        for (kind, modality), levels in curves.items():
            for level, values in levels.items():
                setting = f"{kind}_{level:g}" if kind else ""
                for method, value in zip((base, f"{base} + DAGR"), values, strict=True):
                    yield table, dataset, method, "accuracy", modality, value, setting, READ_OFF
