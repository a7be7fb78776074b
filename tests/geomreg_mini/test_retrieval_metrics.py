"""Ranks and recall with several captions an image: brute force with ties, known answers, one pass."""

import itertools

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from geomreg_mini import pairs
from geomreg_mini.benchmarks.retrieval_metrics import caption_ranks, fold_recalls, recalls
from geomreg_mini.geometry import retrieval_ranks


def made(images=40, captions=5, width=6, seed=0, noise=1.0):
    """Images, captions near them, owners in a mixed order; some images have one caption more."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(images, width, generator=generator)
    counts = captions + (torch.arange(images) % 3 == 0).long()
    owner = torch.arange(images).repeat_interleave(counts)
    owner = owner[torch.randperm(len(owner), generator=generator)]
    v = u[owner] + noise * torch.randn(len(owner), width, generator=generator)
    return u, v, owner


def mean_best_rank(scores, right):
    """The best rank among the ``right`` places, averaged over every order of ties; 1 is the largest score."""
    ranks = []
    for order in itertools.permutations(range(len(scores))):
        ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], order[i]))
        ranks.append(1 + min(ranked.index(i) for i in right))
    return sum(ranks) / len(ranks)


@pytest.mark.parametrize("seed", range(4))
def test_without_ties_ranks_are_those_of_sorting(seed):
    u, v, owner = made(seed=seed)
    cosines = F.normalize(u.double(), dim=1) @ F.normalize(v.double(), dim=1).T
    of_images, of_captions = caption_ranks(u, v, owner)
    for i, row in enumerate(cosines):
        place = (owner[row.argsort(descending=True)] == i).nonzero()[0].item()
        assert of_images[i] == place + 1
    for j, column in enumerate(cosines.T):
        assert of_captions[j] == (column.argsort(descending=True) == owner[j]).nonzero().item() + 1


@pytest.mark.parametrize("seed", range(12))
def test_ties_count_as_the_mean_over_their_orders(seed):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    u = corners[torch.randint(3, (4,), generator=generator)]
    owner = torch.tensor([0, 1, 2, 3, 0, 0, 2])[torch.randperm(7, generator=generator)]
    v = 3 * corners[torch.randint(3, (7,), generator=generator)]
    cosines = (F.normalize(u.double(), dim=1) @ F.normalize(v.double(), dim=1).T).mul(1e6).round().tolist()
    of_images, of_captions = caption_ranks(u, v, owner)
    for i, row in enumerate(cosines):
        own = (owner == i).nonzero().flatten().tolist()
        assert of_images[i].item() == pytest.approx(mean_best_rank(row, own))
    for j in range(7):
        column = [row[j] for row in cosines]
        assert of_captions[j].item() == pytest.approx(mean_best_rank(column, [owner[j].item()]))


def test_one_caption_an_image_gives_the_ranks_of_pairs_both_ways():
    u, v, _ = made(captions=1)
    u, v = u.round(), v[: len(u)].round()  # with ties
    of_images, of_captions = caption_ranks(u, v, torch.arange(len(u)))
    assert torch.equal(of_images, retrieval_ranks(u, v))
    assert torch.equal(of_captions, retrieval_ranks(v, u))


def test_collapsed_embeddings_are_in_the_middle_and_found_by_nobody():
    owner = torch.arange(100).repeat_interleave(5)
    found = recalls(torch.ones(100, 8), torch.ones(500, 8), owner)
    assert set(found.values()) == {0.0}
    of_images, of_captions = caption_ranks(torch.ones(100, 8), torch.ones(500, 8), owner)
    assert (of_captions == 50.5).all()
    assert of_images.unique().item() == pytest.approx(1 + 495 / 6)


def test_half_collapsed_embeddings_are_found_where_few_enough_are_tied():
    clusters = torch.eye(25)[torch.arange(100) // 4]  # four images each in one place, with their captions
    owner = torch.arange(100).repeat_interleave(5)
    found = recalls(clusters, clusters[owner], owner)
    assert found["R@1/caption-image"] == 0 and found["R@5/caption-image"] == 1  # rank 2.5 of 4
    assert found["R@1/image-caption"] == 0 and found["R@5/image-caption"] == 1  # rank 1 + 15 / 6


def test_perfect_embeddings_are_all_found_at_the_first_place():
    u, v, owner = made(noise=0.0)
    assert set(recalls(u, 7 * v, owner).values()) == {1.0}


def test_one_good_caption_is_enough_to_find_with_an_image_and_not_to_find_it():
    u = torch.eye(20)
    owner = torch.arange(20).repeat_interleave(5)
    v = u[owner].clone()
    wrong = torch.arange(100) % 5 > 0
    v[wrong] = -v[wrong]  # four of five captions point away from their image
    found = recalls(u, v, owner)
    assert found["R@1/image-caption"] == 1.0
    assert found["R@10/caption-image"] == pytest.approx(0.2)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_finding_images_is_scikit_learns_top_k_accuracy(k):
    from sklearn.metrics import top_k_accuracy_score

    u, v, owner = made()
    cosines = F.normalize(v.double(), dim=1) @ F.normalize(u.double(), dim=1).T
    wanted = top_k_accuracy_score(owner.numpy(), cosines.numpy(), k=k, labels=range(len(u)))
    assert recalls(u, v, owner)[f"R@{k}/caption-image"] == pytest.approx(wanted)


def test_recall_is_the_share_of_ranks_and_its_mean_is_over_both_directions():
    u, v, owner = made()
    of_images, of_captions = caption_ranks(u, v, owner)
    found = recalls(u, v, owner)
    mean = found.pop("mean_recall/both")
    assert found == {
        f"R@{k}/{direction}": (ranks <= k).double().mean().item()
        for direction, ranks in (("image-caption", of_images), ("caption-image", of_captions))
        for k in (1, 5, 10)
    }
    assert mean == pytest.approx(sum(found.values()) / 6)


def test_folds_are_consecutive_equal_parts_searched_by_themselves():
    u, v, owner = made(images=43)
    found = fold_recalls(u, v, owner, 5)
    for name, value in found.items():
        parts = []
        for first in range(0, 40, 8):
            inside = [j for j in range(len(v)) if first <= owner[j] < first + 8]
            part = recalls(u[first : first + 8], v[inside], owner[inside] - first)
            parts.append(part[name.removeprefix("fold_")])
        assert value == pytest.approx(sum(parts) / 5)
    assert found["fold_R@5/caption-image"] > recalls(u, v, owner)["R@5/caption-image"]


class Products(TorchDispatchMode):
    """Notes how large each matrix product's result is."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket == torch.ops.aten.mm:
            self.sizes.append(result.numel())
        return result


def test_cosines_are_formed_once_for_both_directions_in_blocks_that_change_nothing(monkeypatch):
    u, v, owner = made()
    whole = caption_ranks(u, v, owner)
    monkeypatch.setattr(pairs, "BLOCK_ELEMENTS", 1000)
    with Products() as products:
        in_blocks = caption_ranks(u, v, owner)
    assert all(torch.equal(a, b) for a, b in zip(whole, in_blocks, strict=True))
    assert len(products.sizes) > 8 and max(products.sizes) <= 1000
    assert sum(products.sizes) == len(u) * len(v)


def test_wrong_arguments_are_named():
    u, v, owner = made()
    for arguments, said in [
        ((u, v[:, :4], owner), "width 6 and captions 4"),
        ((u, v, owner[:-1]), "owner has shape"),
        ((u, v, owner.clamp(max=38)), "0 to 39 and each at least once"),
        ((u, v, owner + 1), "0 to 39"),
        ((u * float("nan"), v, owner), "images has NaN"),
    ]:
        with pytest.raises(ValueError, match=said):
            caption_ranks(*arguments)
    with pytest.raises(ValueError, match="folds is 41 and there are 40 images"):
        fold_recalls(u, v, owner, 41)
