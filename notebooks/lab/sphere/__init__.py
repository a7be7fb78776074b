"""A live picture of both forces: embeddings on a ring or a sphere that move while you drag and slide.

``sphere.js`` draws, and computes the regularizer's gradient flow in the browser. The same file runs here,
through anywidget, and on pages without a kernel. A viewer without a live front end shows a static figure.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import traitlets
from PIL import Image
from torch.nn import functional as F

from geomreg_mini import plots
from geomreg_mini.geometry import effective_rank
from geomreg_mini.inputs import Array
from geomreg_mini.regularizer import GeometryRegularizer

try:
    from anywidget import AnyWidget as Base
except ImportError:  # a hosted notebook may lack it, and then shows the figure alone
    Base = traitlets.HasTraits

CONTROLS = ["dispersion_weight", "anchoring_weight", "radius", "temperature"]
STATE = "application/vnd.geomreg.sphere+json"  # the model for pages without a kernel
MOST, RINGS = 500, 4  # samples, since each frame compares all pairs of them; rings that fit into one another


class Sphere(Base):
    """Embeddings that follow the gradient of `GeometryRegularizer`: display it, and read what was chosen.

    Args:
        embeddings: modality -> (N, 2), at most four modalities, or (N, 3); 1 to 500 samples, normalized here.
        labels: (N,), classes by color; None draws all samples alike.
        controls: the values that get a slider; without sliders and weights, samples move by hand alone.
        values: first values of `dispersion_weight`, `anchoring_weight`, `radius` and `temperature`; those
            left out are as in `GeometryRegularizer`. Each is a trait: read it, observe it, or set it.

    Raises:
        ValueError: for embeddings, labels, controls or values that cannot be drawn, or, also when it is
            set later, a value that the regularizer refuses.
    """

    _esm, _css = (Path(__file__).with_name(name) for name in ("sphere.js", "sphere.css"))
    modalities = traitlets.List(traitlets.Unicode()).tag(sync=True)
    labels = traitlets.List(traitlets.Int()).tag(sync=True)
    dimensions = traitlets.Int().tag(sync=True)
    points = traitlets.Bytes().tag(sync=True, from_json=lambda value, _: bytes(value))
    first = traitlets.Bytes().tag(**points.metadata)  # where *Reset* puts the points
    curves = traitlets.Dict().tag(sync=True)  # of a training that moves the points; see sphere.js
    controls = traitlets.List(CONTROLS).tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    dispersion_weight = traitlets.Float(GeometryRegularizer.dispersion_weight).tag(sync=True)
    anchoring_weight = traitlets.Float(GeometryRegularizer.anchoring_weight).tag(sync=True)
    radius = traitlets.Float(GeometryRegularizer.radius).tag(sync=True)
    temperature = traitlets.Float(GeometryRegularizer.temperature).tag(sync=True)

    def __init__(
        self,
        embeddings: Mapping[str, torch.Tensor],
        labels: Array | None = None,
        controls: Sequence[str] = CONTROLS,
        **values: float,
    ) -> None:
        shapes = {m: tuple(z.shape) for m, z in embeddings.items()}
        shape = next(iter(shapes.values()), ())
        if len(set(shapes.values())) != 1 or shape[1:] not in [(2,), (3,)] or not 0 < shape[0] <= MOST:
            raise ValueError(
                f"embeddings has the shapes {shapes}: give modality -> (N, 2) or (N, 3), 1 <= N <= {MOST}."
            )
        if shape[1] == 2 and len(shapes) > RINGS:
            raise ValueError(f"embeddings has {len(shapes)} modalities (N, 2): give at most {RINGS}.")
        if other := [name for name in [*controls, *values] if name not in CONTROLS]:
            raise ValueError(f"{', '.join(other)} cannot be drawn: give only {', '.join(CONTROLS)}.")
        GeometryRegularizer(**values)(embeddings)
        classes = np.zeros(shape[0]) if labels is None else np.asarray(labels)
        if classes.shape != shape[:1]:
            raise ValueError(f"labels has the shape {classes.shape}: give one per sample, {shape[0]} in all.")
        points = _unit_bytes(embeddings)
        super().__init__(
            modalities=list(map(str, embeddings)),
            labels=_numbered(classes),
            dimensions=shape[1],
            points=points,
            first=points,
            controls=list(controls),
            **values,
        )

    def show(self, embeddings: Mapping[str, torch.Tensor], labels: Array, curves: Mapping[str, Any]) -> None:
        """Draw embeddings of the same shapes, their classes, and the accuracies of the training so far."""
        self.labels, self.curves, self.points = _numbered(labels), dict(curves), _unit_bytes(embeddings)

    @traitlets.validate(*CONTROLS)
    def _in_range(self, proposal: traitlets.Bunch) -> float:
        GeometryRegularizer(**{proposal["trait"].name: proposal["value"]})
        return proposal["value"]

    @property
    def embeddings(self) -> dict[str, torch.Tensor]:
        """Modality -> (N, D), float32 of length 1: where the samples were when they last rested."""
        shape = len(self.modalities), len(self.labels), self.dimensions
        rows = torch.from_numpy(np.frombuffer(self.points, "<f4").reshape(shape).copy())
        return dict(zip(self.modalities, rows, strict=True))

    @property
    def regularizer(self) -> GeometryRegularizer:
        """The regularizer with the values that are chosen now."""
        return GeometryRegularizer(**{name: getattr(self, name) for name in CONTROLS})

    def words(self) -> str:
        """Return the geometry in one sentence, for readers who do not see the picture."""
        out = self.regularizer(z := self.embeddings)
        ranks = ", ".join(f"{m} {effective_rank(x):.2f}" for m, x in z.items())
        place = "ring" if self.dimensions == 2 else "sphere"
        return (
            f"{len(self.labels)} samples on a {place}, a line for each pair. Total {out.total:.3f}; "
            f"effective rank (1 to {self.dimensions}): {ranks}."
        )

    def state(self) -> dict[str, object]:
        """Return what is drawn as JSON holds it: for pages without a kernel, and `geomreg-course picture`."""
        names = ["modalities", "labels", "dimensions", "controls", *CONTROLS]
        points = base64.b64encode(self.points).decode()
        return {**{name: getattr(self, name) for name in names}, "points": points}

    def figure(self) -> Any:
        """Return the picture as a matplotlib figure."""
        draw = plots.embeddings_on_circle if self.dimensions == 2 else plots.embeddings_on_sphere
        return draw(self.embeddings, self.labels, radius=self.radius)

    _ipython_display_ = None  # that of ipywidgets 7 would leave out the PNG

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict, dict]:
        """Return the widget, the model for a page without a kernel, and a PNG with alt text."""
        fig, raw, png, alt = self.figure(), io.BytesIO(), io.BytesIO(), self.words()
        fig.savefig(raw, format="png", bbox_inches="tight", dpi=70)
        small = Image.open(raw).convert("RGB").quantize(method=Image.Quantize.FASTOCTREE)
        small.save(png, "png", optimize=True)  # a quarter of the size, since notebooks store it
        plots.plt.close(fig)
        live = super()._repr_mimebundle_()[0] if Base is not traitlets.HasTraits else {}
        data = {**live, STATE: self.state(), "text/plain": alt, "image/png": png.getvalue()}
        return data, {"image/png": {"alt": alt}}


def _unit_bytes(embeddings: Mapping[str, torch.Tensor]) -> bytes:
    units = torch.stack([F.normalize(z.detach(), dim=1).cpu().float() for z in embeddings.values()])
    return units.numpy().astype("<f4").tobytes()


def _numbered(labels: Array) -> list[int]:
    return np.unique(np.asarray(labels), return_inverse=True)[1].tolist()
