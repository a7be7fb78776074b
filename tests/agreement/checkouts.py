"""Released code of others, read from a folder with git repositories and run without an import.

A training script of a paper cannot be imported: it wants data, a GPU and packages. One function or class of
it can be found in its syntax tree and run with what it needs. None of this code is stored here.
"""

from __future__ import annotations

import ast
import csv
import io
import itertools
import math
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

# folder -> GitHub owner, and the commit that was read and measured
COMMITS = {
    "OGM-GE_CVPR2022": ("GeWu-Lab", "343dc1d95c9bda88f105c0da8d24f185e0e98b54"),
    "MMPareto_ICML2024": ("GeWu-Lab", "a339db39cc25b157df376b50bb894917dc6c01d6"),
    "ICCV2025-GDL": ("shicaiwei123", "b72a55f0fe1bd7fde6354fda9613e2a88a2d695e"),
    "AGM_ICCV2023": ("lihong2303", "5a65542c70b1c7c15c5df291e77fa9cf2bbb9549"),
    "Modal-Imbalance-PMR": ("fanyunfeng-bit", "3615e48983555089b0e693380087617c3797a641"),
    "Multimodal-Learning-with-Alternating-Unimodal-Adaptation": (
        "Cecile-hi",
        "ab6c184579f9ff390e9c9b8216c9900c2a43545b",
    ),
    "Diagnosing_Relearning_ECCV2024": ("GeWu-Lab", "025085ea82ed784c6ab6e5fb1b08bfe498dd0fc7"),
    "BalanceBenchmark": ("GeWu-Lab", "4c1482fca5aaa8d4278af8e26020daa039e3ccf3"),
    "vicreg": ("facebookresearch", "4e12602fd495af83efd1631fbe82523e6db092e0"),
    "barlowtwins": ("facebookresearch", "8e8d284ca0bc02f88b92328e53f9b901e86b4a3c"),
    "align_uniform": ("SsnL", "e256d476ddbe04873dc15a8f893d4443d1f81671"),
    "open_clip": ("mlfoundations", "89fb801f1e6087880e951fc8354b8a2077b79c6d"),
    "dinov2": ("facebookresearch", "b8931f7bf91576930313be2c6d6af376033b35f0"),
    "lejepa": ("rbalestr-lab", "eddffdd857a19726342ef6526e01021fb3c32cae"),
    "swav": ("facebookresearch", "06b1b7cbaf6ba2a792300d79c7299db98b93b7f9"),
}


def address(name: str) -> str:
    """Return the page of a repository at its recorded commit."""
    owner, commit = COMMITS[name]
    return f"https://github.com/{owner}/{name}/tree/{commit}"


def nothing(*_: object, **__: object) -> None:
    """Take the place of what only prints or draws."""


def unchanged(first: Any, *_: object, **__: object) -> Any:
    """Take the place of what only wraps, such as a progress bar."""
    return first


# What the functions find as the globals of their file. Their messages, bars and CSV files go nowhere.
GLOBALS = {
    "torch": torch, "nn": nn, "F": F, "dist": dist, "np": np, "math": math, "re": re, "csv": csv,
    "tqdm": unchanged, "print": nothing, "open": lambda *_, **__: io.StringIO(),
}  # fmt: skip


@dataclass(frozen=True)
class Checkout:
    """One repository in ``folder``, at its recorded commit; only committed text is read.

    Raises:
        ValueError: if the repository is missing or at another commit.
    """

    folder: Path
    name: str

    def __post_init__(self) -> None:
        owner, commit = COMMITS[self.name]
        place = self.folder / self.name
        try:
            found = self._git("rev-parse", "HEAD").strip()
        except (OSError, subprocess.CalledProcessError) as error:
            raise ValueError(
                f"{place} is not a git repository: clone https://github.com/{owner}/{self.name} there."
            ) from error
        if found != commit:
            raise ValueError(f"{place} is at commit {found[:7]}: check out {commit}, the one measured.")

    def _git(self, *words: str) -> str:
        command = ["git", "-C", str(self.folder / self.name), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout

    def define(
        self, path: str, *names: str, replaced: Mapping[float, float] | None = None, **given: object
    ) -> SimpleNamespace:
        """Run the top-level functions and classes ``names`` of a file, with ``given`` as further globals.

        ``replaced`` gives other values to numbers in the text, to show that such a number is the cause of a
        difference.

        Raises:
            ValueError: if the file does not define one of them.
        """
        body = [
            node
            for node in ast.parse(self._git("show", f"HEAD:{path}")).body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in names
        ]
        if missing := set(names) - {node.name for node in body}:
            raise ValueError(f"{self.name}/{path} does not define {', '.join(sorted(missing))}.")
        for node in itertools.chain.from_iterable(map(ast.walk, body)):
            if isinstance(node, ast.Constant) and isinstance(node.value, float):
                node.value = (replaced or {}).get(node.value, node.value)
        # Annotations name types of packages that are not here; this leaves them as text.
        code = compile(ast.Module(body, []), f"{self.name}/{path}", "exec", annotations.compiler_flag)
        namespace = GLOBALS | given
        exec(code, namespace)
        return SimpleNamespace(**{name: namespace[name] for name in names})


def without_init(kind: type, **attributes: object) -> Any:
    """Return a module of a class whose constructor builds more than is compared."""
    made = kind.__new__(kind)
    if isinstance(made, nn.Module):
        nn.Module.__init__(made)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


class Recorder:
    """Gradient descent that keeps each gradient it gets: ``seen`` is name -> gradient, per step.

    One of ``torch.optim`` would import the compiler, which takes longer than all comparisons.
    """

    def __init__(self, model: nn.Module, rate: float = 0.1) -> None:
        self.named, self.seen = dict(model.named_parameters()), []
        self.param_groups = [{"params": [*self.named.values()], "lr": rate}]

    def zero_grad(self) -> None:
        for p in self.named.values():
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        self.seen.append({n: p.grad.clone() for n, p in self.named.items() if p.grad is not None})
        (group,) = self.param_groups
        for p in group["params"]:
            if p.grad is not None:
                p -= group["lr"] * p.grad


def difference(ours: Iterable[torch.Tensor], theirs: Iterable[torch.Tensor]) -> float:
    """Return the norm of all differences over the norm of ``theirs``; 0 if both are zero."""
    a, b = (torch.cat([x.detach().double().flatten() for x in side]) for side in (ours, theirs))
    gap = (a - b).norm().item()
    return gap / b.norm().item() if gap else 0.0
