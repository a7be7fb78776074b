"""The paper's published numbers as data, to put beside our own.

Source: DAGR, arXiv 2601.21670 (CC BY 4.0). The numbers are those of v1 and v2; v3's may differ. Accuracies
and clustering scores are in percent. Where the paper gives a spread (mean +- spread), over how many
seeds was not found in public text.

- ``TABLE_1``: audio-visual classification, accuracy.
- ``ABLATION``: which of the two terms is on, CREMA-D, accuracy.
- ``TABLE_2``: clustering on CUBICC.
- ``GEOMETRY``: geometry on CREMA-D; what ``READ_OFF`` names was read off figures, so it is approximate.
- ``XFI_XRF55``: not from the paper but X-Fi's own accuracies on XRF55, the protocol that the paper follows.
- ``ELSEWHERE``: what other public sources report for the methods of Table 1 on CREMA-D.

Not found in public text, and so not here: the paper's numbers on XRF55, Flickr30K and COCO, and those of its
control objectives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# An entry is a mean, or (mean, spread) where the paper gives one.
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

# terms on top of DGL -> accuracy of (audio, visual, multi); the paper gives the first row without spread,
# Table 1 with
ABLATION: dict[str, tuple[Entry, Entry, Entry]] = {
    "none": (62.17, 70.31, 77.65),
    "dispersion": ((63.26, 0.59), (71.76, 1.00), (77.81, 1.52)),
    "anchoring": ((62.55, 0.73), (72.92, 0.78), (77.98, 1.11)),
    "both": ((62.98, 0.50), (72.10, 0.55), (78.16, 0.38)),
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

# quantity, by its name in geomreg_mini.geometry -> method -> value. recall@100 in percent; the effective rank
# is the mean of audio and visual; the paper's own name for the value is in the comment.
GEOMETRY: dict[str, dict[str, float]] = {
    "cosine_contrast": {"DGL": 0.00045, "DGL + DAGR": 0.01421},  # positive minus negative cosine, Delta mu
    "ks_distance": {"DGL": 0.03279, "DGL + DAGR": 0.09102},
    "recall@100": {"DGL": 14.0, "DGL + DAGR": 20.0},
    "semantic_margin": {"DGL": 0.0005, "DGL + DAGR": 0.007},  # Delta_sem at the end of training
    "effective_rank": {"DGL": 8.2, "DGL + dispersion": 8.0, "DGL + DAGR": 8.4},
    "paired_drift": {"DGL": 0.50, "DGL + dispersion": 0.72, "DGL + DAGR": 0.49},  # cross-modal deviation
}
READ_OFF = ("recall@100", "semantic_margin", "effective_rank", "paired_drift")

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
# sound features, optimizers and epochs differ: this shows how far one name's numbers lie apart, and no more.
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
COLUMNS = ("table", "dataset", "method", "quantity", "modality", "mean", "spread")


def published() -> pd.DataFrame:
    """Every number above, tidy: one row a number.

    Columns: ``table`` ("table_1", "ablation", "table_2", "geometry", "xfi_xrf55"), ``dataset``, ``method``,
    ``quantity`` ("accuracy", "ACC", "recall@100", ...), ``modality`` ("" for a quantity of both), ``mean``
    and ``spread`` (NaN where none is given).
    """
    import pandas as pd

    rows: list[tuple] = []

    def add(table: str, dataset: str, method: str, quantity: str, modality: str, entry: Entry) -> None:
        mean, spread = entry if isinstance(entry, tuple) else (entry, float("nan"))
        rows.append((table, dataset, method, quantity, modality, mean, spread))

    for dataset, methods in TABLE_1.items():
        for method, entries in methods.items():
            for modality, entry in zip(AUDIO_VISUAL, entries, strict=True):
                add("table_1", dataset, method, "accuracy", modality, entry)
    for terms, entries in ABLATION.items():
        for modality, entry in zip(AUDIO_VISUAL, entries, strict=True):
            add("ablation", "CREMA-D", terms, "accuracy", modality, entry)
    for method, views in TABLE_2.items():
        for modality, scores in views.items():
            for quantity, score in zip(("ACC", "NMI", "ARI"), scores, strict=True):
                add("table_2", "CUBICC", method, quantity, modality, score)
    for quantity, values in GEOMETRY.items():
        for method, value in values.items():
            add("geometry", "CREMA-D", method, quantity, "", value)
    for modality, accuracies in XFI_XRF55.items():
        for method, accuracy in zip(("baseline", "X-Fi"), accuracies, strict=True):
            add("xfi_xrf55", "XRF55", method, "accuracy", modality, accuracy)
    return pd.DataFrame(rows, columns=list(COLUMNS))
