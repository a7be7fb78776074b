"""Retrieval of one modality by another, trained by contrast; for images and captions with open_clip's CLIP.

CLIP: Radford et al., ICML 2021, arXiv 2103.00020. The contrast is over the whole batch, for any number of
GPUs and of parts in which it is embedded.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from data_scripts.extras import extra
from data_scripts.weights import load_clip

from ..controls import symmetric_cross_entropy
from ..data import MultimodalDataset, Split
from ..geometry import geometry_report
from ..inputs import check_choice, check_whole, full_precision
from ..models import Embedded, Encoded, MultimodalModel, build_model, encode, fixed_sample
from ..paradigms import Paradigm
from ..paradigms.base import Backward, Batch, Geometry, Losses
from ..tasks import Metrics, Splits, Task
from .retrieval_metrics import fold_recalls, recalls

if TYPE_CHECKING:
    from ..config import TrainConfig

# name in open_clip -> width of its embeddings, pixels of its images
MODELS = {"ViT-B-16": (512, 224), "ViT-L-14": (768, 224), "ViT-L-14-336": (768, 336)}
CONTEXT = 77  # of CLIP's tokenizer
PATCHES = 4  # of the tiny one's images, per side
TINY_VISION = {"width": 64, "layers": 2, "head_width": 16}
# the tokenizer's 49,408 numbers share 557 words, so that few weights are trained and stored
TINY_TEXT = {"width": 64, "layers": 2, "heads": 4, "context_length": CONTEXT, "vocab_size": 557}
LARGEST_SCALE = 100.0  # of the logits, as in CLIP
FIRST_SCALE = 1 / 0.07  # before training, as in CLIP
LARGEST_SPLIT = 5000  # pairs; a larger split, that for training, is measured on so many


class CaptionEncoder(nn.Module):
    """open_clip's text tower, for tokens (B, L) of any length up to its context.

    The tower's own ``forward`` needs padding to 77, of which a caption fills a fifth. Attention looks
    backwards and the embedding is that of the end token, so the missing padding changes nothing.
    """

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, tokens: Tensor) -> Tensor:
        tower, length = self.tower, tokens.shape[1]
        x = tower.token_embedding(tokens % tower.vocab_size) + tower.positional_embedding[:length]
        x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
        end = tokens.argmax(dim=1)  # the end token has the largest number
        return x[torch.arange(len(x), device=x.device), end] @ tower.text_projection


class MicroBatched(nn.Module):
    """An encoder for batches that do not fit: the whole batch's embeddings, one part's activations.

    The forward pass embeds parts in turn and drops their activations. The backward pass embeds each part once
    more and differentiates it by the gradient of its embeddings, which depends on the whole batch. This is
    GradCache (arXiv 2101.06983), by PyTorch's own checkpoints. It is exact and costs one more forward pass.

    Args:
        encoder: maps (B, ...) to (B, D), each sample independently.
        micro_batch: samples per part.
    """

    def __init__(self, encoder: nn.Module, micro_batch: int) -> None:
        super().__init__()
        check_whole(1, micro_batch=micro_batch)
        self.encoder, self.micro_batch = encoder, micro_batch

    def forward(self, x: Tensor) -> Tensor:
        parts = x.split(self.micro_batch)
        if len(parts) == 1 or not torch.is_grad_enabled():
            return torch.cat([self.encoder(part) for part in parts])
        return torch.cat([checkpoint(self.encoder, part, use_reentrant=False) for part in parts])


class PairModel(MultimodalModel):
    """The encoders of two modalities and the scale of their embeddings' cosines.

    Args:
        encoders: modality -> module that maps its input to (B, D).
        logit_scale: the logarithm of the scale, ().
    """

    def __init__(self, encoders: Mapping[str, nn.Module], logit_scale: nn.Parameter) -> None:
        super().__init__(encoders)
        self.logit_scale = logit_scale
        self.initial = copy.deepcopy(self.state_dict())

    def untrained(self) -> PairModel:
        """Return an equal model in its state before training."""
        before = copy.deepcopy(self, {id(self.initial): self.initial})  # which both share
        before.load_state_dict(self.initial)
        return before

    def forward(self, inputs: Mapping[str, Tensor]) -> Embedded:
        """Return the projected embeddings, not normalized."""
        return Embedded(self.encode(inputs))


def build_clip(
    name: str,
    image_size: int,
    embedding_dim: int,
    *,
    pretrained: str | None = None,
    weights: str | None = None,
    checkpointing: bool = False,
    micro_batch: int | None = None,
) -> PairModel:
    """Return a CLIP by its name in ``MODELS``, or "tiny", which trains on stand-ins within seconds.

    Args:
        name, image_size, embedding_dim: must fit each other; "tiny" takes any.
        pretrained: open_clip's tag of weights, such as "openai"; None for random ones. OpenAI's weights need
            another GELU than others, and the tag decides it.
        weights: a file of these weights, read instead of a download; see ``data_scripts.weights``. Modules,
            OpenAI's own numbers and a tag in its name show its GELU; the file is refused if ``pretrained``
            has the other. A plain state dict shows none, so a warning says which one it gets.
        checkpointing: whether to keep only the inputs of each block for the backward pass.
        micro_batch: samples embedded at a time in training; see ``MicroBatched``.
    """
    with extra("benchmarks"):
        import open_clip

    if name == "tiny":
        if pretrained is not None or weights is not None:
            raise ValueError(f"pretrained={pretrained!r}, weights={weights!r}: 'tiny' has none; omit both.")
        vision = {**TINY_VISION, "image_size": image_size, "patch_size": image_size // PATCHES}
        towers = open_clip.CustomTextCLIP(embedding_dim, vision, TINY_TEXT)
    else:
        towers = _published(name, image_size, embedding_dim, pretrained, weights)
    towers.set_grad_checkpointing(checkpointing)
    encoders = {"image": towers.visual, "caption": CaptionEncoder(towers.text)}
    if micro_batch is not None:
        encoders = {m: MicroBatched(encoder, micro_batch) for m, encoder in encoders.items()}
    return PairModel(encoders, towers.logit_scale)


def _published(
    name: str, image_size: int, embedding_dim: int, pretrained: str | None, weights: str | None
) -> nn.Module:
    import open_clip

    check_choice(("tiny", *MODELS), encoder=name)
    width, side = MODELS[name]
    if image_size != side:
        raise ValueError(f"{name} takes images of {side} pixels, not {image_size}: set image_size={side}.")
    if embedding_dim != width:
        raise ValueError(f"embedding_dim={embedding_dim}: {name} gives {width}; set embedding_dim={width}.")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained not in tags and not (pretrained is weights is None):
        raise ValueError(
            f"pretrained={pretrained!r} is not a tag of {name}: choose one of {', '.join(tags)}, also for a "
            "file of `weights`."
        )
    quick = open_clip.get_pretrained_cfg(name, pretrained).get("quick_gelu", False) if pretrained else False
    options = {"force_custom_text": True, "force_quick_gelu": quick}
    if weights is not None:
        return load_clip(open_clip.create_model(name, **options), name, pretrained, quick, weights)
    try:
        return open_clip.create_model(name, pretrained, **options)
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"pretrained={pretrained!r}: the weights of {name} cannot be loaded ({type(error).__name__}); "
            "check the connection, or give a file of them with `weights` (--weights)."
        ) from error


class Contrastive(Paradigm):
    """Symmetric InfoNCE: find a sample's own partner in the other modality among all of the batch.

    As in CLIP, the learned scale of the cosines is at most 100. Its logarithm is clamped after each step, so
    that its gradient does not vanish there.
    """

    def losses(self, output: Embedded, label: Tensor) -> Losses:
        pair = [output.embeddings[m] for m in self.model.modalities]
        with full_precision(pair[0]):
            u, v = (F.normalize(z if z.dtype == torch.float64 else z.float(), dim=1) for z in pair)
            contrastive = symmetric_cross_entropy(self.model.logit_scale.exp() * u @ v.T)
        return {"contrastive": contrastive}

    def updates(self, batch: Batch, geometry: Geometry | None, backward: Backward) -> Iterator[Losses]:
        yield from super().updates(batch, geometry, backward)
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=math.log(LARGEST_SCALE))


class Retrieval(Task):
    """Retrieval by a ``PairModel``, selected by the mean of R@1, R@5 and R@10 in both directions.

    For images with captions, ``TrainConfig.encoder`` and ``encoder_options`` go to ``build_clip``. Any other
    two modalities have the encoders of a classifier, see ``build_model``, and each sample one partner. Equal
    inputs of other samples count as ties, such as the name of an emoji that several artists drew.
    """

    paradigms = {"contrastive": Contrastive}
    selection = "mean_recall/both"

    def build(self, config: TrainConfig, data: MultimodalDataset) -> nn.Module:
        if config.depth == "logits":
            raise ValueError("depth='logits': retrieval has no unimodal logits; use 'embedding'.")
        if "caption" in data.modalities:
            side = data.shapes["image"][-1]
            return build_clip(config.encoder, side, config.embedding_dim, **config.encoder_options)
        if len(data.modalities) != 2:
            raise ValueError(f"{data.name} has the modalities {data.modalities}: retrieval takes two.")
        options = {"encoder": config.encoder, "encoder_options": config.encoder_options}
        plain = build_model(data, embedding_dim=config.embedding_dim, **options)
        return PairModel(plain.encoders, nn.Parameter(torch.tensor(math.log(FIRST_SCALE))))

    def measure(self, paradigm: Paradigm, split: Split, encoded: Encoded) -> Metrics:
        """Return recall on at most 5,000 samples, over every caption and over the split's folds, if any."""
        z, count = encoded.embeddings, len(encoded.labels)
        split = split if count == len(split) else split.subset(torch.arange(count))
        if count > LARGEST_SPLIT:
            index = fixed_sample(split, LARGEST_SPLIT)
            split, z = split.subset(index), {m: of[index.to(of.device)] for m, of in z.items()}
        return _measured(paradigm.model, split, z)

    def measure_test(self, paradigm: Paradigm, data: MultimodalDataset, encoded: Splits) -> Metrics:
        """Return ``zero_shot_...``: recall and geometry of the model before training."""
        untrained = paradigm.model.untrained()
        before = encode(untrained, data.test)
        report = geometry_report(before.embeddings)
        del report["num_samples"]
        report |= _measured(untrained, data.test, before.embeddings)
        return {f"zero_shot_{name}": value for name, value in report.items()}


def _measured(model: PairModel, split: Split, embeddings: Mapping[str, Tensor]) -> Metrics:
    """Return recall for a split's embeddings {modality: (N, D)}; of images, among all captions."""
    if "caption" not in embeddings:
        queries, targets = (embeddings[m] for m in model.modalities)
        return recalls(queries, targets, torch.arange(len(queries)), names=model.modalities)
    images = embeddings["image"]
    every = split.all_captions()
    captions = encode(model, every, modalities=("caption",)).embeddings["caption"]
    found = recalls(images, captions, every.factors["image"])
    if split.folds:
        found |= fold_recalls(images, captions, every.factors["image"], split.folds)
    return found
