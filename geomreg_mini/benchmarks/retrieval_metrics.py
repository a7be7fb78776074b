"""Retrieval of captions by images and images by captions: exact ranks with ties, and the recall of papers.

An image has several captions. In a search with an image, its best-ranked caption counts; in a search with a
caption, its one image.
"""

import torch
from torch import Tensor

from ..geometry import matrix
from ..pairs import TIE, cosine_blocks

KS = (1, 5, 10)


def caption_ranks(images: Tensor, captions: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """Return ranks by cosine (1 is best) of each image's best caption, and of each caption's image.

    If others are as close as the right one, the rank is the mean over all orders of the ties. Half of them
    come first, or f / (t + 1) of f captions tied with t of the image's own. So collapsed embeddings have the
    middle ranks; without counting ties, each of them would be a hit.

    The matrix of cosines is computed once, in blocks of rows, for both directions.

    Args:
        images: (N, D) embeddings.
        captions: (M, D) embeddings.
        owner: (M,) the row in ``images`` of each caption; each row has at least one.

    Returns:
        float64 (N,) in 1 .. M and (M,) in 1 .. N.
    """
    u, v = matrix(images, "images", normalize=True), matrix(captions, "captions", normalize=True)
    if u.shape[1] != v.shape[1]:
        raise ValueError(f"images has width {u.shape[1]} and captions {v.shape[1]}; pass equal widths.")
    owner = torch.as_tensor(owner, device=u.device)
    if owner.shape != v.shape[:1] or owner.unique().tolist() != list(range(len(u))):
        raise ValueError(
            f"owner has shape {tuple(owner.shape)}; pass the row in images, 0 to {len(u) - 1} and each at "
            f"least once, for each of {len(v)} captions."
        )
    own = (u[owner] * v).sum(dim=1)
    best = own.new_full((len(u),), -2.0).scatter_reduce_(0, owner, own, "amax")
    tied_own = torch.zeros_like(best).index_add_(0, owner, (own >= best[owner] - TIE).double())
    higher, as_high = torch.zeros_like(own), torch.zeros_like(own)  # images, of each caption
    of_images = []
    for start, cosines in cosine_blocks(u, v):
        rows = slice(start, start + len(cosines))
        at = best[rows, None]
        above, tied = (cosines > at + TIE).sum(dim=1), (cosines >= at - TIE).sum(dim=1)
        mine = tied_own[rows]
        of_images.append(1 + above + (tied - above - mine) / (mine + 1))
        higher += (cosines > own + TIE).sum(dim=0)
        as_high += (cosines >= own - TIE).sum(dim=0)  # the right one among them
    return torch.cat(of_images), 1 + higher + (as_high - higher - 1) / 2


def recalls(
    images: Tensor, captions: Tensor, owner: Tensor, names: tuple[str, str] = ("image", "caption")
) -> dict[str, float]:
    """Return R@1, R@5 and R@10: the share, 0 .. 1, of queries with ``caption_ranks`` at most k.

    Keys are "R@1/image-caption" (query first) and so on, by ``names``, and "mean_recall/both", the mean of
    them all.
    """
    of_images, of_captions = caption_ranks(images, captions, owner)
    found = {
        f"R@{k}/{direction}": (ranks <= k).double().mean().item()
        for direction, ranks in (("-".join(names), of_images), ("-".join(names[::-1]), of_captions))
        for k in KS
    }
    return found | {"mean_recall/both": sum(found.values()) / len(found)}


def fold_recalls(images: Tensor, captions: Tensor, owner: Tensor, folds: int) -> dict[str, float]:
    """Return the mean ``recalls`` of ``folds`` equal parts, in the order of the images: "fold_R@1/...".

    Five folds of COCO's 5,000 test images are the "1K" of papers; a remainder is left out.
    """
    size = len(images) // folds
    if size < 1:
        raise ValueError(f"folds is {folds} and there are {len(images)} images; pass fewer folds.")
    owner = torch.as_tensor(owner, device=images.device)
    parts = []
    for fold in range(folds):
        inside = (owner >= fold * size) & (owner < (fold + 1) * size)
        rows = images[fold * size : (fold + 1) * size]
        parts.append(recalls(rows, captions[inside], owner[inside] - fold * size))
    return {f"fold_{name}": sum(part[name] for part in parts) / folds for name in parts[0]}
