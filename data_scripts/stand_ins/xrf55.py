"""Stand-ins for XRF55: six actions, told apart by radar spot, WiFi ripple and RFID rhythm under noise.

Names, folders, shapes and number types are those of Kaggle's archive; a recording has 4.4 MB.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

PEOPLE = ((1, 3), (2, 5))  # (scene, volunteer)
ACTIONS = (1, 2, 31, 35, 39, 55)
REPETITIONS = (1, 2, 3, 4, 5, 13, 14, 15, 16, 17)  # five to train, two to validate, three to test
BLIND = {"mmWave": 0.1, "WiFi": 0.2, "RFID": 0.3}  # share of recordings with noise alone


def write_xrf55(folder: Path, seed: int = 0) -> None:
    """Write 120 recordings, 530 MB: ``xrf55/SceneK/SceneK/{mmWave,WiFi,RFID}/VV_AA_RR.npy``."""
    rng = np.random.default_rng([seed, 3])
    for scene, volunteer in PEOPLE:
        home = Path(folder) / "xrf55" / f"Scene{scene}" / f"Scene{scene}"
        for modality in BLIND:
            (home / modality).mkdir(parents=True)
        for label, action in enumerate(ACTIONS):
            for repetition in REPETITIONS:
                seen = {m: float(rng.random() >= share) for m, share in BLIND.items()}
                values = {
                    "mmWave": _radar(label, seen["mmWave"], rng),
                    "WiFi": _ripple(label, seen["WiFi"], (270, 1000), 1.0, rng).astype(np.float64),
                    "RFID": _ripple(label, seen["RFID"], (23, 148), 0.3, rng).astype(np.float64),
                }
                name = f"{volunteer:02d}_{action:02d}_{repetition:02d}.npy"
                for modality, array in values.items():
                    np.save(home / modality / name, array)


def _radar(label: int, seen: float, rng: np.random.Generator) -> np.ndarray:
    """Return (17, 256, 128) float32: a spot at the action's range that swings in Doppler over frames."""
    distance = 40 + 35 * label + rng.uniform(-6, 6)
    speed = 64 + 30 * np.sin(np.arange(17) * (1 + label) / 4 + rng.uniform(0, 2 * np.pi))
    rows, columns = np.arange(256, dtype=np.float32), np.arange(128, dtype=np.float32)
    across = np.exp(-(((rows - distance) / 8) ** 2)).astype(np.float32)
    along = 12 * seen * np.exp(-(((columns - speed[:, None]) / 5) ** 2)).astype(np.float32)
    values = rng.standard_normal((17, 256, 128), np.float32)
    return np.abs(values + across[None, :, None] * along[:, None, :], out=values)


def _ripple(
    label: int, seen: float, shape: tuple[int, int], noise: float, rng: np.random.Generator
) -> np.ndarray:
    """Return (channels, times) float32: waves whose number tells the action, with a phase per channel."""
    waves = 4 + 3 * label + rng.uniform(-0.5, 0.5)
    phase = np.linspace(0, np.pi, shape[0], dtype=np.float32) + np.float32(rng.uniform(0, 2 * np.pi))
    time = np.linspace(0, 2 * np.pi * waves, shape[1], dtype=np.float32)
    values = np.float32(noise) * rng.standard_normal(shape, np.float32)
    return values + np.float32(seen) * np.sin(time[None] + phase[:, None])
