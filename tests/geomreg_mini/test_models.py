"""Encoders, fusion heads, classifier: shapes, formulas by hand, what an absent modality may not do."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_data import clouds
from torch import nn

from geomreg_mini.models import (
    FUSIONS,
    ConvEncoder,
    MLPEncoder,
    MultimodalClassifier,
    ResNet18Encoder,
    SignalEncoder,
    build_model,
)

NAMES = ("a", "b", "c")
B, D, C = 5, 4, 3
needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="needs torchvision (the extra 'benchmarks')"
)


def embeddings(modalities=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(B, D, generator=generator) for m in NAMES[:modalities]}


def fusion(kind, modalities=2):
    torch.manual_seed(1)
    return FUSIONS[kind](NAMES[:modalities], D, C)


DEFINED = [("concat", 2), ("sum", 2), ("concat", 3), ("sum", 3)]
every_fusion = pytest.mark.parametrize(("kind", "modalities"), DEFINED)


# Encoders


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 28, 28), (3, 30, 70)])
def test_conv_encoder_gives_nonnegative_embeddings_of_the_asked_width(shape):
    z = ConvEncoder(shape, embedding_dim=20)(torch.randn(2, *shape))
    assert z.shape == (2, 20)
    assert (z >= 0).all()


def test_conv_encoder_strides_by_four_from_sides_of_64_on():
    assert ConvEncoder((1, 64, 64)).blocks[0][0].stride == (4, 4)
    assert ConvEncoder((1, 28, 28)).blocks[0][0].stride == (2, 2)
    assert ConvEncoder((1, 28, 640)).blocks[0][0].stride == (2, 2)


def test_memory_order_changes_speed_only():
    encoder = ConvEncoder((1, 28, 28), embedding_dim=8).eval()
    x = torch.randn(2, 1, 28, 28)
    contiguous = encoder.to(memory_format=torch.contiguous_format)
    expected = contiguous.last(contiguous.blocks(x.contiguous()))
    torch.testing.assert_close(encoder.to(memory_format=torch.channels_last)(x), expected)


@pytest.mark.parametrize(
    ("encoder", "shape", "width"),
    [
        (lambda: ConvEncoder((1, 28, 28), 6, width=2), (1, 28, 28), 8),
        (lambda: ConvEncoder((1, 3, 28, 28), 6, width=2), (1, 3, 28, 28), 8),
        (lambda: SignalEncoder((3, 64), 6, width=2), (3, 64), 8),
        (lambda: MLPEncoder((5,), 6, hidden=7), (5,), 7),
        pytest.param(lambda: ResNet18Encoder((1, 32, 32)), (1, 32, 32), 256, marks=needs_torchvision),
    ],
)
def test_hidden_features_come_with_the_embeddings_of_the_same_inputs(encoder, shape, width):
    encoder = encoder().eval()
    x, other = torch.randn(2, 4, *shape)
    z, hidden = encoder(x, hidden=True)
    assert torch.equal(z, encoder(x)) and hidden.shape == (4, width)
    encoder(other, hidden=True)  # another call leaves no trace
    assert torch.equal(encoder(x, hidden=True)[1], hidden)
    assert not torch.equal(encoder(other, hidden=True)[1], hidden)


def test_signal_encoder_gives_nonnegative_embeddings_and_is_chosen_for_signals():
    z = SignalEncoder((3, 128), embedding_dim=20)(torch.randn(2, 3, 128))
    assert z.shape == (2, 20) and (z >= 0).all()
    with pytest.raises(ValueError, match="signal encoder takes"):
        SignalEncoder((1, 28, 28))
    kinds = {(7,): MLPEncoder, (3, 128): SignalEncoder, (1, 28, 28): ConvEncoder}
    for shape, kind in kinds.items():
        data = SimpleNamespace(modalities=("a", "b"), shapes={"a": shape, "b": (7,)}, num_classes=3)
        assert isinstance(build_model(data).encoders["a"], kind)


def test_mlp_encoder_shape_and_sign():
    x = torch.randn(50, 7)
    assert MLPEncoder((7,), embedding_dim=5)(x).shape == (50, 5)
    assert (MLPEncoder((7,), embedding_dim=5)(x) < 0).any()
    assert (MLPEncoder((7,), embedding_dim=5, nonnegative=True)(x) >= 0).all()


@pytest.mark.parametrize(
    ("encoder", "shape"), [(ConvEncoder, (7,)), (ConvEncoder, (1, 3, 4, 32, 32)), (MLPEncoder, (1, 8, 8))]
)
def test_an_encoder_refuses_inputs_of_another_kind_by_shape(encoder, shape):
    with pytest.raises(ValueError, match=r"shape=\(.*take"):
        encoder(shape)


@needs_torchvision
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_resnet18_takes_one_to_three_channels(channels):
    encoder = ResNet18Encoder((channels, 32, 32)).eval()
    z = encoder(torch.randn(2, channels, 32, 32))
    assert z.shape == (2, 512)
    assert (z >= 0).all()


@pytest.mark.parametrize("kind", [ConvEncoder, pytest.param(ResNet18Encoder, marks=needs_torchvision)])
def test_an_encoder_of_frames_averages_the_embeddings_of_the_frames(kind):
    encoder = kind((3, 4, 32, 32)).eval()
    clip = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        frames = torch.stack([encoder(clip[:, :, t]) for t in range(4)])
        torch.testing.assert_close(encoder(clip), frames.mean(dim=0))


@pytest.mark.parametrize(
    ("shape", "width", "named"), [((4, 32, 32), 512, "shape"), ((3, 32, 32), 128, "embedding_dim")]
)
def test_resnet18_names_what_it_cannot_do(shape, width, named):
    with pytest.raises(ValueError, match=named):
        ResNet18Encoder(shape, width)


def test_importing_models_does_not_import_torchvision():
    code = "import sys, geomreg_mini.models; print('torchvision' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Fusions


@every_fusion
def test_logits_have_one_column_a_class(kind, modalities):
    assert fusion(kind, modalities)(embeddings(modalities)).shape == (B, C)


@pytest.mark.parametrize(("kind", "modalities"), [("concat", 2), ("concat", 3), ("sum", 2), ("sum", 3)])
def test_unimodal_shares_add_up_to_the_fused_logits(kind, modalities):
    head, z = fusion(kind, modalities), embeddings(modalities)
    torch.testing.assert_close(sum(head.unimodal_logits(z).values()), head(z))


def test_concat_is_one_linear_layer_on_the_concatenation():
    head, z = fusion("concat", 3), embeddings(3)
    torch.testing.assert_close(head(z), head.linear(torch.cat(list(z.values()), dim=1)))


def test_sum_by_hand():
    head, z = fusion("sum"), embeddings()
    expected = sum(z[m] @ head.linears[m].weight.T + head.linears[m].bias for m in z)
    torch.testing.assert_close(head(z), expected)


def test_concat_takes_an_absent_modality_as_zeros():
    head, z = fusion("concat", 3), embeddings(3)
    padded = {**z, "b": torch.zeros(B, D)}
    torch.testing.assert_close(head({"a": z["a"], "c": z["c"]}), head(padded))


# The classifier


@every_fusion
@pytest.mark.parametrize("heads", [False, True])
def test_a_model_shows_embeddings_logits_and_unimodal_logits(kind, modalities, heads):
    data = clouds(modalities)
    model = build_model(data, fusion=kind, embedding_dim=D, heads=heads)
    output = model(data.train.batch(torch.arange(B))["inputs"])
    assert {m: tuple(z.shape) for m, z in output.embeddings.items()} == dict.fromkeys(data.modalities, (B, D))
    assert output.logits.shape == (B, 3)
    expected = data.modalities if heads or kind in ("concat", "sum") else ()
    assert {m: tuple(o.shape) for m, o in output.unimodal_logits.items()} == dict.fromkeys(expected, (B, 3))


def test_a_modality_left_out_of_the_inputs_is_not_encoded():
    data = clouds(3)
    model = build_model(data, embedding_dim=D)
    inputs = data.train.batch(torch.arange(B))["inputs"]
    output = model({"c": inputs["c"], "a": inputs["a"]})
    assert tuple(output.embeddings) == ("a", "c"), "in the model's order"
    torch.testing.assert_close(
        output.logits, model.fusion({"a": output.embeddings["a"], "c": output.embeddings["c"]})
    )


@pytest.mark.parametrize("inputs", [{}, {"a": torch.zeros(2, 6), "smell": torch.zeros(2, 6)}])
def test_inputs_that_the_model_does_not_know_are_named(inputs):
    with pytest.raises(ValueError, match=r"give one or more of \['a', 'b'\]"):
        build_model(clouds())(inputs)


@pytest.mark.parametrize("kind", list(FUSIONS))
def test_the_same_seed_gives_the_same_encoders_with_and_without_heads(kind):
    states = []
    for heads in (False, True):
        torch.manual_seed(3)
        states.append(build_model(clouds(), fusion=kind, heads=heads).state_dict())
    assert set(states[0]) < set(states[1])
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_auto_takes_the_encoder_that_fits_the_shape():
    class Data:
        modalities, num_classes, shapes = ("a", "b"), 3, {"a": (1, 28, 28), "b": (9,)}

    encoders = build_model(Data, embedding_dim=D).encoders
    assert isinstance(encoders["a"], ConvEncoder)
    assert isinstance(encoders["b"], MLPEncoder)


@pytest.mark.parametrize("option", ["fusion", "encoder"])
def test_an_unknown_name_is_answered_with_the_known_ones(option):
    with pytest.raises(ValueError, match=f"{option}='nonsense' is unknown: choose one of"):
        build_model(clouds(), **{option: "nonsense"})


def test_encoders_and_fusion_must_be_of_the_same_modalities():
    with pytest.raises(ValueError, match="make them equal"):
        MultimodalClassifier({"a": nn.Linear(6, D)}, fusion("concat"))
