"""The recipes of `notebooks/recipes.md`, and a tiny model and data for them; torch alone is needed.

torchrun --nproc-per-node 2 tests/recipe_page.py HEADING FILE

runs one of them in two processes, each with its part of every batch, and writes the weights.
"""

import os
import re
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

PAGE = Path(__file__).parents[1] / "notebooks" / "recipes.md"
SECTIONS = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
RECIPES = {text.partition("\n")[0]: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for text in SECTIONS}


def run(heading: str, names: dict[str, object]) -> dict[str, object]:
    """Run the code of a recipe, to which `names` are known, and return all names of it."""
    (code,) = RECIPES[heading]
    exec(compile(code, str(PAGE), "exec"), names)
    return names


class Pair(nn.Module):
    """Two encoders, each on inputs (B, 6), and a head on both embeddings (B, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.audio, self.image, self.head = (nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(8, 3))
        self.double()  # a weight's change is then exact enough to be compared with its gradient

    def forward(self, audio: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        za, zv = self.audio(audio), self.image(image)
        return za, zv, self.head(torch.cat([za, zv], dim=1))


def pair_and_batches(count: int, size: int = 16) -> tuple[Pair, list[tuple[Tensor, Tensor, Tensor]]]:
    """Return a model and `count` batches of `size` samples, the same at each call."""
    torch.manual_seed(0)
    model = Pair()
    draw = [(torch.randn(size, 6), torch.randn(size, 6), torch.randint(3, (size,))) for _ in range(count)]
    return model, [(audio.double(), image.double(), label) for audio, image, label in draw]


def weights(model: nn.Module) -> Tensor:
    """Return a copy of all weights as one vector, also if several processes keep a part of them each."""
    whole = (p.full_tensor() if hasattr(p, "full_tensor") else p for p in model.parameters())
    return torch.cat([p.detach().clone().flatten() for p in whole])


def main(heading: str, file: str) -> None:
    model, batches = pair_and_batches(3)
    rank = int(os.environ["RANK"])
    names = {"model": model, "loader": [[x.tensor_split(2)[rank] for x in batch] for batch in batches]}
    leave = torch.distributed.destroy_process_group

    def save_and_leave() -> None:
        found = weights(names["model"])
        if rank == 0:
            torch.save(found, file)
        leave()

    torch.distributed.destroy_process_group = save_and_leave  # a recipe ends with this call
    run(heading, names)
    sys.stdout.flush()
    os._exit(0)  # at Python's end, gloo's threads may abort a process that is done (PyTorch 179291)


if __name__ == "__main__":
    main(*sys.argv[1:])
