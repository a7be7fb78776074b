"""Batches are read ahead, in order, by generators of their own: what is read ahead changes no number."""

import threading
from dataclasses import dataclass

import pytest
import torch
from small_data import clouds

from data_scripts.fetch import DataError
from geomreg_mini import distributed
from geomreg_mini.data import Split, batches, dataset

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Noisy(Split):
    """Samples with noise in training, twice: where a batch is read and where it is prepared."""

    def batch(self, index):
        batch = super().batch(index)
        if self.generator is not None:
            noise = torch.rand(len(index), generator=self.generator)
            batch["inputs"] = {m: x + noise[:, None] for m, x in batch["inputs"].items()}
        return batch

    def prepare(self, inputs):
        noise = 0 if self.generator is None else torch.rand((), generator=self.generator)
        return {m: x + noise for m, x in inputs.items()}


def parts(kind=Noisy, count=12, size=4):
    train = clouds().train
    split = kind(train.inputs, train.labels, train.factors)
    torch.manual_seed(3)
    index = torch.arange(count * size).remainder(len(split)).split(size)
    return [(split.augmented(distributed.own_generator(step)), rows) for step, rows in enumerate(index)]


def test_the_draws_of_a_step_do_not_depend_on_threads_nor_on_what_the_model_draws(monkeypatch):
    seen = []
    for threads, spare in ((1, 0), (1, 5), (2, 0), (7, 3)):
        monkeypatch.setattr(dataset, "READERS", threads)
        found = []
        for batch in batches(parts(), CPU):
            torch.rand(spare)  # of a paradigm, from the common generator
            found.append(batch)
        seen.append(found)
    for found in seen[1:]:
        for one, other in zip(seen[0], found, strict=True):
            assert torch.equal(one["index"], other["index"]) and torch.equal(one["label"], other["label"])
            assert all(torch.equal(x, other["inputs"][m]) for m, x in one["inputs"].items())
    first, second = (batch["inputs"]["a"] for batch in seen[0][:2])
    assert not torch.equal(first - parts()[0][0].inputs["a"][:4], second - parts()[1][0].inputs["a"][4:8])


def test_the_common_generator_is_left_alone():
    given = parts()
    before = torch.get_rng_state()
    for _ in batches(given, CPU):
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_the_next_batch_is_read_while_the_caller_has_the_first():
    asked = threading.Event()

    @dataclass(frozen=True)
    class Waiting(Split):
        def batch(self, index):
            if 4 in index:
                asked.set()
            return super().batch(index)

    given = batches(parts(Waiting), CPU)
    assert 0 in next(given)["index"]
    assert asked.wait(60), "the second batch is made although nobody asked for it"
    given.close()


def test_an_error_of_reading_comes_at_its_place():
    @dataclass(frozen=True)
    class Broken(Split):
        def batch(self, index):
            if 8 in index:
                raise DataError("The file is gone.", "gone")
            return super().batch(index)

    given = batches(parts(Broken), CPU)
    assert 0 in next(given)["index"] and 4 in next(given)["index"]
    with pytest.raises(DataError, match="gone"):
        next(given)


def test_bytes_become_numbers_and_only_the_wanted_modalities_are_prepared():
    inputs = {"a": torch.tensor([[0], [51], [255]], dtype=torch.uint8), "b": torch.ones(3, 2).long()}
    split = Split(inputs, torch.tensor([0, 1, 2]))
    (batch,) = batches([(split, torch.tensor([2, 1]))], CPU)
    assert batch["inputs"]["a"].tolist() == [[1.0], [pytest.approx(0.2)]]
    assert torch.equal(batch["inputs"]["b"], torch.ones(2, 2).long()) and batch["label"].tolist() == [2, 1]
    (batch,) = batches([(split, torch.tensor([0]))], CPU, ("a",))
    assert set(batch["inputs"]) == {"a"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_batches_are_the_same():
    there = list(batches(parts(), torch.device("cuda")))
    for one, other in zip(batches(parts(), CPU), there, strict=True):
        assert other["inputs"]["a"].is_cuda
        torch.testing.assert_close(other["inputs"]["a"].cpu(), one["inputs"]["a"])
