"""The four tasks of the mid-term in which students read clouds, predict, and choose."""

from __future__ import annotations

import math

import numpy as np

from .task import Task, chosen, computed

DIAGNOSES = ("healthy", "cone", "few directions", "gap", "rotation", "shuffled")
PAIRS = "PQRST"
LETTERS = "ABCDEF"


def turned(z: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return rows (N, 2K) turned by K angles, each in the plane of two neighboring coordinates."""
    x, y, cos, sin = z[:, ::2], z[:, 1::2], np.cos(angles), np.sin(angles)
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=2).reshape(z.shape)


def pair_with(draw: np.random.RandomState, diagnosis: str, n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Return a pair of clouds (n, 8) that has this diagnosis and no other."""
    narrow = draw.permutation(8) < 6
    widths = np.where(narrow, 0.03, 1.0) if diagnosis == "few directions" else np.ones(8)
    shared = draw.normal(size=(n, 8))
    a, b = ((shared + 0.4 * draw.normal(size=(n, 8))) * widths for _ in "ab")
    aside = draw.normal(size=8)
    aside /= np.linalg.norm(aside)
    if diagnosis == "cone":
        a, b = (z + draw.uniform(8, 12) * aside for z in (a, b))
    elif diagnosis == "gap":
        far = draw.uniform(1.8, 2.4)
        a, b = a + far * aside, b - far * aside
    elif diagnosis == "rotation":
        b = turned(b, draw.uniform(1.3, 1.8, 4) * draw.choice([-1, 1], 4))
    elif diagnosis == "shuffled":
        b = np.roll(b, int(draw.randint(1, n)), axis=0)
    return a.astype(np.float16), b.astype(np.float16)


def clouds(draw: np.random.RandomState) -> Task:
    """Five pairs of clouds, each with one of six diagnoses."""
    key = dict(zip(PAIRS, map(str, draw.permutation(DIAGNOSES)), strict=False))
    given = {
        f"{letter}_{m}": z
        for letter, diagnosis in key.items()
        for m, z in zip("ab", pair_with(draw, diagnosis), strict=True)
    }
    text = """\
`given["P_a"]` and `given["P_b"]` are a pair of clouds, (120, 8) each, and so on for Q, R, S and T.
Measure them with any tool, such as `geomreg_mini.geometry`. Each pair has one diagnosis:

- *healthy*: spread out, and partners find each other;
- *cone*: collapsed into a narrow cone, although the effective rank does not say so;
- *few directions*: spread around the origin, but in a few directions alone;
- *gap*: most of the drift is one shift between the modalities;
- *rotation*: the same cloud twice, but turned;
- *shuffled*: partners have nothing to do with each other.

One diagnosis of the six is left over."""
    return Task(
        "clouds", "Five pairs of clouds", 18, text,
        "clouds = {\n" + "".join(f'    "{p}": ...,\n' for p in PAIRS) + "}  # a diagnosis each, as text",
        [(4, chosen(letter, key[letter], DIAGNOSES)) for letter in PAIRS], given,
    )  # fmt: skip


def readings(draw: np.random.RandomState) -> Task:
    """Three numbers of one pair of clouds."""
    a, b = pair_with(draw, "gap", 200)
    share = round(float(draw.uniform(0.2, 0.6)), 2)
    units = [z.astype(float) / np.linalg.norm(z.astype(float), axis=1, keepdims=True) for z in (a, b)]
    difference = units[0] - units[1]
    distance = np.linalg.norm(difference, axis=1)
    narrow, wide = (round(float(np.quantile(distance, q)), 2) for q in (0.25, 0.6))
    term = {r: (np.maximum(0, distance - r) ** 2).mean() for r in (narrow, wide)}
    key = {
        "remains": 1 - (difference.mean(0) ** 2).sum() / (distance**2).mean(),
        "radius": float(np.quantile(distance, 1 - share)),
        "falls": 1 - term[wide] / term[narrow],
    }
    text = f"""\
`given["a"]` and `given["b"]` are a pair of clouds, (200, 8) each. The questions are about their rows
scaled to length 1.

- `remains`: which share of the paired drift, the mean squared distance of partners, remains after the best
  shift of one modality by a constant vector?
- `radius`: which radius leaves a share of {share} of the pairs outside the band?
- `falls`: by which share does the anchoring term, with power 2, fall if its radius grows from {narrow}
  to {wide}?

Give three numbers, with an error of at most 1 %."""
    return Task(
        "readings", "A drift, taken apart", 10, text,
        'readings = {"remains": ..., "radius": ..., "falls": ...}  # numbers',
        [(4, computed(name, float(right))) for name, right in key.items()], {"a": a, "b": b},
    )  # fmt: skip


def forecast(draw: np.random.RandomState) -> Task:
    """Five numbers that need no computer."""
    m, angle = int(draw.randint(3, 9)), int(draw.choice([40, 50, 70, 80, 100, 110]))
    n, more = int(draw.randint(12, 40)), int(draw.randint(20, 200))
    temperature = float(draw.choice([0.5, 1.0, 2.0, 4.0]))
    p, q, *_ = map(int, draw.permutation([1, 2, 3, 4, 5]))
    radius = round(float(draw.uniform(0.2, 0.6)), 1)
    distance = round(radius + float(draw.choice([0.2, 0.3, 0.5])), 1)
    key = {
        "crowd": math.log(((m - 1) + m * math.exp(-4 / temperature)) / (2 * m - 1)),
        "drift": 2 - 2 * math.cos(math.radians(angle)),
        "rank": n - 1,
        "pull": 2 * (distance - radius),
        "weight": q**2 / (p**2 + q**2),
    }
    text = f"""Predict, with paper and a pocket calculator. Give numbers with an error of at most 1 %.

- `crowd`: {2 * m} samples sit in two opposite points of the sphere, {m} in each. What is their dispersion,
  the logarithm of the mean of $\\exp(-d^2 / {temperature:g})$ over pairs $i \\neq j$?
- `drift`: two modalities lie on the same circle around the origin, and every partner is {angle} degrees
  further on. How large is the paired drift, the mean squared distance of partners, on the unit circle?
- `rank`: which effective rank can {n} embeddings in {n + more} dimensions have at most, after centering?
- `pull`: one pair has the distance {distance}. Which slope does $\\max(0, d - {radius})^2$ have in $d$ there?
- `weight`: two gradients are orthogonal and have lengths {p} and {q}. Which weight $w$ makes
  $w\\,g_1 + (1 - w)\\,g_2$ shortest, if $g_1$ is the one of length {p}?"""
    return Task(
        "forecast", "Five predictions", 10, text,
        "forecast = {\n" + "".join(f'    "{name}": ...,\n' for name in key) + "}  # numbers",
        [(2, computed(name, right)) for name, right in key.items()],
    )  # fmt: skip


def reaches(draw: np.random.RandomState) -> Task:
    """The gradient that reaches an encoder under three paradigms."""
    options: list[tuple[int, int]] = []
    while len(set(options)) < len(LETTERS):
        fused, own = (draw.permutation([-3, -2, -1, 1, 2, 3])[:2] for _ in range(2))
        if fused[0] * own[1] == fused[1] * own[0]:
            continue  # parallel, so that options could be equal in direction
        alpha = int(draw.choice([3, 4, 5]))
        right = {"joint": fused, "uniform sum": fused + own, "DGL": alpha * own}
        vectors = [*right.values(), own, alpha * own + fused, alpha * fused]
        order = draw.permutation(len(vectors)).tolist()
        options = [(int(vectors[k][0]), int(vectors[k][1])) for k in order]
    key = {name: LETTERS[order.index(k)] for k, name in enumerate(right)}
    listed = "\n".join(f"- {letter}: {vector}" for letter, vector in zip(LETTERS, options, strict=True))
    text = f"""\
An encoder has two parameters. On one batch the fused loss sends it the gradient ({fused[0]}, {fused[1]}).
The loss of its own head, or of its share of the head, sends ({own[0]}, {own[1]}). What reaches the encoder
under joint training, under the uniform sum, and under DGL with the factor {alpha}?

{listed}"""
    return Task(
        "reaches", "Who learns from what?", 6, text,
        'reaches = {"joint": ..., "uniform sum": ..., "DGL": ...}  # a letter each, as text',
        [(2, chosen(name, letter, LETTERS)) for name, letter in key.items()],
    )  # fmt: skip
