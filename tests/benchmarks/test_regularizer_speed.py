"""Measured, not asserted (`make bench`): the regularizer beside the Gram product that it cannot avoid."""

import pytest
import torch

from geomreg_mini import GeometryRegularizer

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def leaf(batch, width, device):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, width, generator=generator).to(device).requires_grad_()


def synchronized(step, device):
    def run():
        step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("modalities", [2, 3])
def test_gram_product_and_its_backward(benchmark, modalities, device):
    torch.set_num_threads(1)
    benchmark.group = f"{modalities} modalities, B=1024, D=512, {device}"
    embeddings = [leaf(1024, 512, device) for _ in range(modalities)]

    def step():
        sum((z @ z.T).sum() for z in embeddings).backward()

    benchmark(synchronized(step, device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("modalities", [2, 3])
def test_regularizer_and_its_backward(benchmark, modalities, device):
    torch.set_num_threads(1)
    benchmark.group = f"{modalities} modalities, B=1024, D=512, {device}"
    embeddings = {f"modality {m}": leaf(1024, 512, device) for m in range(modalities)}
    regularizer = GeometryRegularizer(dispersion_weight=0.1, anchoring_weight=0.5)

    def step():
        regularizer(embeddings).total.backward()

    benchmark(synchronized(step, device))
