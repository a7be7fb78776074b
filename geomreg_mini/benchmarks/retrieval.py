"""Images found by captions and captions by images, with CLIP as open_clip has it, fine-tuned by contrast.

CLIP: Radford et al., ICML 2021, arXiv 2103.00020. A batch is contrasted as a whole, on however many GPUs and
in however many parts it is embedded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..controls import symmetric_cross_entropy
from ..geometry import geometry_report
from ..models import Embedded, encode, fixed_sample
from ..paradigms import Paradigm
from ..tasks import Task
from .retrieval_metrics import fold_recalls, recalls

# name in open_clip -> width of its embeddings, pixels of its images
MODELS = {"ViT-B-16": (512, 224), "ViT-L-14": (768, 224), "ViT-L-14-336": (768, 336)}
TINY = {"width": 64, "layers": 2, "heads": 4, "patches": 4}  # patches a side
VOCABULARY, CONTEXT = 49408, 77  # of CLIP's tokenizer
LARGEST_SCALE = 100.0  # of the logits, as CLIP has it
LARGEST_SPLIT = 5000  # images; of a larger one, the training split, so many are measured


class CaptionEncoder(nn.Module):
    """open_clip's text tower, for tokens (B, L) of any length up to its context.

    Its own ``forward`` wants them padded to 77, of which a caption fills a fifth. Attention looks backwards
    and the embedding is that of the end token, so what is left out changes nothing.
    """

    def __init__(self, tower: nn.Module):
        super().__init__()
        self.tower = tower

    def forward(self, tokens: Tensor) -> Tensor:
        tower, length = self.tower, tokens.shape[1]
        x = tower.token_embedding(tokens) + tower.positional_embedding[:length]
        x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
        end = tokens.argmax(dim=1)  # the end token has the largest number
        return x[torch.arange(len(x), device=x.device), end] @ tower.text_projection


class MicroBatched(nn.Module):
    """An encoder for batches that do not fit: the whole batch's embeddings, one part's activations.

    Forward, parts are embedded in turn and their activations dropped; backward, each part is embedded once
    more and differentiated by the gradient of its embeddings, which knows the whole batch. That is GradCache
    (arXiv 2101.06983), by PyTorch's own checkpoints, and exact; what it costs is one more forward pass.

    Args:
        encoder: maps (B, ...) to (B, D), each sample for itself.
        micro_batch: samples a part.
    """

    def __init__(self, encoder: nn.Module, micro_batch: int):
        super().__init__()
        if isinstance(micro_batch, bool) or not isinstance(micro_batch, int) or micro_batch < 1:
            raise ValueError(f"micro_batch={micro_batch!r}: give a whole number of samples from 1.")
        self.encoder, self.micro_batch = encoder, micro_batch

    def forward(self, x: Tensor) -> Tensor:
        parts = x.split(self.micro_batch)
        if len(parts) == 1 or not torch.is_grad_enabled():
            return torch.cat([self.encoder(part) for part in parts])
        return torch.cat([checkpoint(self.encoder, part, use_reentrant=False) for part in parts])


class ImageCaptionModel(nn.Module):
    """CLIP's two towers as the encoders of "image" and "caption", and the scale of their cosines.

    Args:
        towers: open_clip's model with ``visual``, ``text`` and ``logit_scale``.
        micro_batch: see ``MicroBatched``; None for whole batches.
        untrained: gives an equal model as it was before training.
    """

    modalities = ("image", "caption")

    def __init__(self, towers: nn.Module, micro_batch: int | None, untrained: Callable):
        super().__init__()
        encoders = {"image": towers.visual, "caption": CaptionEncoder(towers.text)}
        if micro_batch is not None:
            encoders = {m: MicroBatched(encoder, micro_batch) for m, encoder in encoders.items()}
        self.encoders = nn.ModuleDict(encoders)
        self.logit_scale = towers.logit_scale  # the logarithm of it
        self.untrained = untrained

    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings {modality: (B, D)} of the modalities in ``inputs``."""
        return {m: self.encoders[m](inputs[m]) for m in self.modalities if m in inputs}

    def forward(self, inputs: Mapping[str, Tensor]) -> Embedded:
        """Return the projected embeddings, not normalized."""
        return Embedded(self.encode(inputs))


def build_clip(
    name: str,
    image_size: int,
    embedding_dim: int,
    *,
    pretrained: str | None = None,
    checkpointing: bool = False,
    micro_batch: int | None = None,
) -> ImageCaptionModel:
    """A CLIP by its name in ``MODELS``, or "tiny", which trains on stand-ins within seconds.

    Args:
        name, image_size, embedding_dim: must fit each other; "tiny" is of any.
        pretrained: weights that open_clip knows for it, such as "openai", or a file of them; None for random
            ones.
        checkpointing: whether to keep only the inputs of each block for the backward pass.
        micro_batch: samples embedded at a time in training; see ``MicroBatched``.
    """
    import open_clip

    state = torch.get_rng_state()

    def untrained() -> ImageCaptionModel:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)  # random weights are those of then
            return build_clip(name, image_size, embedding_dim, pretrained=pretrained)

    if name == "tiny":
        if pretrained is not None:
            raise ValueError(f"pretrained={pretrained!r}: there are no weights for 'tiny'; leave it out.")
        shape = {"width": TINY["width"], "layers": TINY["layers"]}
        towers = open_clip.CustomTextCLIP(
            embedding_dim,
            {
                **shape,
                "image_size": image_size,
                "patch_size": image_size // TINY["patches"],
                "head_width": TINY["width"] // TINY["heads"],
            },
            {**shape, "heads": TINY["heads"], "context_length": CONTEXT, "vocab_size": VOCABULARY},
        )
    else:
        towers = _published(name, image_size, embedding_dim, pretrained)
    towers.set_grad_checkpointing(checkpointing)
    return ImageCaptionModel(towers, micro_batch, untrained)


def _published(name: str, image_size: int, embedding_dim: int, pretrained: str | None) -> nn.Module:
    import open_clip

    if name not in MODELS:
        raise ValueError(f"encoder={name!r} is unknown: choose one of tiny, {', '.join(MODELS)}.")
    width, side = MODELS[name]
    if image_size != side:
        raise ValueError(
            f"{name} takes images of {side} pixels, and these have {image_size}: load the data set with "
            f"image_size={side}."
        )
    if embedding_dim != width:
        raise ValueError(f"embedding_dim={embedding_dim}: {name} gives {width}; set embedding_dim={width}.")
    # OpenAI's weights, by tag or as a file, are for a GELU that other weights do not have.
    known = open_clip.get_pretrained_cfg(name, pretrained) if pretrained is not None else {}
    quick = pretrained is not None and known.get("quick_gelu", not known)
    try:
        return open_clip.create_model(name, pretrained, force_custom_text=True, force_quick_gelu=quick)
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"pretrained={pretrained!r}: the weights of {name} cannot be loaded ({type(error).__name__}); "
            "check the connection, or give the path of a file that has them."
        ) from error


class Contrastive(Paradigm):
    """Symmetric InfoNCE: among all captions of the batch the image's own, and the other way round.

    The learned scale of the cosines is kept at 100 or below, as in CLIP, by clamping its logarithm after each
    step, so that its gradient does not vanish there.
    """

    def losses(self, output: Embedded, label: Tensor) -> dict[str, Tensor]:
        image, caption = output.embeddings["image"], output.embeddings["caption"]
        with torch.autocast(image.device.type, enabled=False):
            u, v = (
                F.normalize(z if z.dtype == torch.float64 else z.float(), dim=1) for z in (image, caption)
            )
            contrastive = symmetric_cross_entropy(self.model.logit_scale.exp() * u @ v.T)
        return {"contrastive": contrastive}

    def updates(self, batch, geometry, backward):
        yield from super().updates(batch, geometry, backward)
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=math.log(LARGEST_SCALE))


class Retrieval(Task):
    """An ``ImageCaptionModel``, selected by the mean of R@1, R@5 and R@10 in both directions.

    ``TrainConfig.encoder`` and ``encoder_options`` go to ``build_clip``.
    """

    paradigms = {"contrastive": Contrastive}
    selection = "mean_recall/both"

    def build(self, config, data):
        if config.depth == "logits":
            raise ValueError("depth='logits': retrieval has no unimodal logits; use 'embedding'.")
        side = data.shapes["image"][-1]
        return build_clip(config.encoder, side, config.embedding_dim, **config.encoder_options)

    def measure(self, paradigm, split, encoded):
        """Recall over every caption, on at most 5,000 images, and where the split has folds over those."""
        images = encoded.embeddings["image"]
        split = split if len(images) == len(split) else split.subset(torch.arange(len(images)))
        if len(images) > LARGEST_SPLIT:
            index = fixed_sample(split, LARGEST_SPLIT)
            split, images = split.subset(index), images[index.to(images.device)]
        return _measured(paradigm.model, split, images)

    def measure_test(self, paradigm, data, encoded):
        """``zero_shot_...``: recall and geometry of the model as it was before training."""
        untrained = paradigm.model.untrained().to(next(paradigm.model.parameters()).device)
        before = encode(untrained, data.test)
        report = geometry_report(before.embeddings)
        del report["num_samples"]
        report |= _measured(untrained, data.test, before.embeddings["image"])
        return {f"zero_shot_{name}": value for name, value in report.items()}


def _measured(model: ImageCaptionModel, split, images: Tensor) -> dict[str, float]:
    """Recall for embeddings (N, D) of a split's images among those of all its captions."""
    every = split.all_captions()
    captions = encode(model, every, modalities=("caption",)).embeddings["caption"]
    found = recalls(images, captions, every.factors["image"])
    if split.folds:
        found |= fold_recalls(images, captions, every.factors["image"], split.folds)
    return found
