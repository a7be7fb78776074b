"""Apple's GPUs have no float64: what stays on such a device must not ask for it, in training and after it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_data import clouds, dataset
from test_training import REGULARIZED, run

from geomreg_mini.data import Split
from geomreg_mini.evaluation import knn_probe, linear_probe
from geomreg_mini.geometry import geometry_report
from geomreg_mini.inputs import float64
from geomreg_mini.models import Encoded
from geomreg_mini.paradigms import PARADIGMS


class OnApple(torch.Tensor):
    """A tensor that says it is on an Apple GPU, and fails like one if it becomes float64 there."""

    @classmethod
    def __torch_function__(
        cls, function: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if function == torch.Tensor.device.__get__:
            return torch.device("mps")
        result = super().__torch_function__(function, types, args, kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            if function in (torch.Tensor.cpu, torch.Tensor.as_subclass) and isinstance(result, OnApple):
                return result.as_subclass(torch.Tensor)
            if isinstance(result, OnApple) and result.dtype == torch.float64:
                raise TypeError(f"no float64 on this device, for which {function.__name__} asks")
        return result


def on_apple(split: Split) -> Split:
    return Split({m: x.as_subclass(OnApple) for m, x in split.inputs.items()}, split.labels)


def test_the_stand_in_fails_as_the_device_does_and_the_helper_goes_through_the_cpu():
    x = torch.ones(3).as_subclass(OnApple)
    with pytest.raises(TypeError, match="no float64"):
        (2 * x).double()
    assert type(float64(2 * x)) is torch.Tensor and float64(2 * x).tolist() == [2.0] * 3


@pytest.mark.parametrize("paradigm", PARADIGMS)
@pytest.mark.parametrize("combination", ["sum", "task_pareto"])
def test_training_gives_the_record_of_a_cpu(paradigm, combination):
    data = clouds(size=48)
    config = replace(REGULARIZED, paradigm=paradigm, fusion="shared", combination=combination, epochs=1)
    parts = {name: on_apple(getattr(data, name)) for name in ("train", "validation", "test")}
    there = replace(dataset(data.shapes, data.num_classes, **parts), fingerprint=data.fingerprint)
    # This device takes the general path; a small batch on a CPU does not, and rounds in another order.
    assert run(config, there).metrics == pytest.approx(run(config, data).metrics, rel=1e-3, abs=1e-5)


def test_probes_and_diagnostics_take_embeddings_of_such_a_device():
    z = {m: torch.randn(60, 5, generator=torch.Generator().manual_seed(i)) for i, m in enumerate("ab")}
    labels = torch.arange(60) % 3
    here = Encoded(z, labels)
    there = Encoded({m: x.as_subclass(OnApple) for m, x in z.items()}, labels.as_subclass(OnApple))
    assert knn_probe(there, there) == knn_probe(here, here)
    assert linear_probe(there, there, there) == linear_probe(here, here, here)
    assert geometry_report(there.embeddings, there.labels) == geometry_report(here.embeddings, here.labels)
