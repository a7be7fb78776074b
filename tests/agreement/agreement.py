"""How far is each paradigm and control from the authors' code? A table, measured on one model.

    python tests/agreement/agreement.py FOLDER            # print the table
    python tests/agreement/agreement.py FOLDER --write    # and write results/agreement

FOLDER holds a clone of each repository in ``checkouts.COMMITS``, under its own name and at that commit.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import comparisons as c
from checkouts import COMMITS, Checkout, address

PAGE = Path(__file__).parents[2] / "results" / "agreement" / "README.md"
NUMBERS = PAGE.with_name("agreement.json")
ROUNDING = 1e-12  # relative; smaller differences come from the order of additions alone

GDL, PMR, AGM = "ICCV2025-GDL", "Modal-Imbalance-PMR", "AGM_ICCV2023"
MLA = "Multimodal-Learning-with-Alternating-Unimodal-Adaptation"
OGM, RELEARN, BB = "OGM-GE_CVPR2022", "Diagnosing_Relearning_ECCV2024", "BalanceBenchmark"
BLENDING = "balancemm/trainer/GBlending_trainer.py: GBlendingTrainer"
LEJEPA = "lejepa/univariate/epps_pulley.py: EppsPulley; lejepa/multivariate/slicing.py: SlicingUnivariateTest"
SCORES = "code/ours.py: purity_score, reinit_score, reinit"

# Paradigm or control, variant, repository, its file and names, our function, and the cause of a difference
Row = tuple[str, str, str, str, Callable[[Checkout], c.Differences], str]
ROWS: list[Row] = [
    ("joint", "", "MMPareto_ICML2024", "code/one_joint_loss.py: train_epoch",
     partial(c.sums, name="joint"), ""),
    ("uniform_sum", "", "MMPareto_ICML2024", "code/uniform_baseline.py: train_epoch",
     partial(c.sums, name="uniform_sum"), ""),
    ("unimodal", "", AGM, "run/CREMAD_main.py: train; model/CREMAD_net.py: AClassify, VClassify", c.unimodal,
     "AGM's repository trains single modalities as a baseline."),
    ("g_blending", "step", BB, f"{BLENDING}.training_step", c.blended_step,
     "This is BalanceBenchmark's code. The authors' own (facebookresearch/VMZ) is a Caffe2 graph that takes "
     "the weights from the command line; it was not run."),
    ("g_blending", "weights, every loss falls", BB, f"{BLENDING}.super_epoch_origin",
     partial(c.blending_weights, visual=0.8), ""),
    ("g_blending", "weights, one validation loss rises", BB, f"{BLENDING}.super_epoch_origin",
     partial(c.blending_weights, visual=1.2),
     "They take the absolute gain, which rewards a head whose validation loss rises. We floor it at 0.01."),
    ("ogm", "concat", OGM, "main.py: train_epoch", partial(c.modulation, fusion="concat"), ""),
    ("ogm", "sum", OGM, "main.py: train_epoch", partial(c.modulation, fusion="sum"), ""),
    ("ogm_ge", "same random numbers", OGM, "main.py: train_epoch", partial(c.modulation, ge=True),
     "They add 1e-8 to the standard deviation of the noise. We cannot, because a gradient may be scaled."),
    ("ogm_ge", "with their 1e-8 set to 0", OGM, "main.py: train_epoch",
     partial(c.modulation, ge=True, epsilon=0.0), ""),
    ("pmr", "first epoch", PMR, "main_Prototype_grad.py: calculate_prototype, train_epoch", c.pmr, ""),
    ("pmr", "prototypes of epoch 2", PMR, "main_Prototype_grad.py: calculate_prototype",
     partial(c.renewal, epoch=0),
     "Their main passes epoch 0 to the second renewal too, which therefore forgets the first."),
    ("pmr", "prototypes of epoch 3", PMR, "main_Prototype_grad.py: calculate_prototype",
     partial(c.renewal, epoch=1), "From the same earlier prototypes."),
    ("agm", "encoders without bias and normalization", AGM,
     "run/CREMAD_main.py: train; model/CREMAD_net.py: GradMod", partial(c.agm, plain=True), ""),
    ("agm", "with batch normalization", AGM, "run/CREMAD_main.py: train; model/CREMAD_net.py: GradMod",
     partial(c.agm, plain=False),
     "They embed in evaluation mode again for the padded passes, and let gradients through. We use the "
     "training batch's embeddings, and constants for zero inputs."),
    ("mmpareto", "all gradients in conflict", "MMPareto_ICML2024",
     "code/MMPareto.py: train_epoch; code/min_norm_solvers.py: MinNormSolver",
     partial(c.sums, name="mmpareto"), ""),
    ("mla", "project=False", MLA, "main.py: train_epoch; utils/utils.py: GSPlugin", c.mla,
     "As released, nothing is projected: the code looks for a parameter under a name that it does not have."),
    ("mla", "default, one batch", MLA, "main.py: train_epoch; utils/utils.py: GSPlugin",
     partial(c.mla, project=True, steps=1), "Our default projects the head's gradient, as the paper does."),
    ("mla", "projection made to run, mean features along axes", MLA, "utils/utils.py: GSPlugin.before_update",
     partial(c.projected, axes=True), "On axes their matrix has the scalar's value wherever it counts."),
    ("mla", "projection made to run, any features", MLA, "utils/utils.py: GSPlugin.before_update",
     partial(c.projected, axes=False),
     "They divide by all D x D products of the matrix lambda + P r^T r, we by the scalar of least squares."),
    ("mla", "prediction", MLA, "main.py: calculate_gating_weights", c.prediction,
     "They take the softmax over the batch, which gives one weight for all samples. We weigh each sample."),
    ("diagnose_relearn", "joint step", RELEARN, "code/ours.py: train_epoch", c.joint_step, ""),
    ("diagnose_relearn", "weights after re-learning, ten starts of k-means", RELEARN, SCORES,
     partial(c.relearned, starts=10), ""),
    ("diagnose_relearn", "weights after re-learning, one start", RELEARN, SCORES,
     partial(c.relearned, starts=1),
     "They leave the number of starts to scikit-learn, which takes one from version 1.4 on. We take ten."),
    ("dgl", "concat", GDL, "main_dgl.py: train_epoch", partial(c.dgl, fusion="concat"), ""),
    ("dgl", "sum", GDL, "main_dgl.py: train_epoch", partial(c.dgl, fusion="sum"), ""),
    ("swav", "codes and loss", "swav", "main_swav.py: train, distributed_sinkhorn", c.swav,
     "At one epsilon (0.025) and one temperature (0.1)."),
    ("contrastive", "learned scale", "open_clip", "src/open_clip/loss.py: ClipLoss", c.learned_scale, ""),
    ("AlwaysOnAlignment", "", "align_uniform", "align_uniform/__init__.py: align_loss", c.alignment,
     "The paper that names this control (DAGR) has no released code; Wang and Isola's has the same formula."),
    ("VICReg", "on_sphere=False", "vicreg", "main_vicreg.py: VICReg, FullGatherLayer",
     partial(c.vicreg, sphere=False), ""),
    ("VICReg", "default", "vicreg", "main_vicreg.py: VICReg, FullGatherLayer", partial(c.vicreg, sphere=True),
     "The release does not normalize. It got points on the sphere of radius sqrt(D), as our default does."),
    ("BarlowTwins", "", "barlowtwins", "main.py: BarlowTwins", c.barlow, ""),
    ("SymmetricInfoNCE", "temperature 0.07", "open_clip", "src/open_clip/loss.py: ClipLoss", c.clip, ""),
    ("KoLeo", "", "dinov2", "dinov2/loss/koleo_loss.py: KoLeoLoss", c.koleo,
     "They add 1e-8 to each component before the norm, and 1e-8 after it. We add only the second."),
    ("KoLeo", "with the 1e-8 before the norm set to 0", "dinov2", "dinov2/loss/koleo_loss.py: KoLeoLoss",
     partial(c.koleo, epsilon=0.0), ""),
    ("AlignUniform", "", "align_uniform", "align_uniform/__init__.py: align_loss, uniform_loss",
     c.align_uniform, ""),
    ("SIGReg", "invariance=0", "lejepa", LEJEPA, c.sigreg,
     "They take the weights of the integral in float32. Their agreement of views is text in `MINIMAL.md`."),
    ("SIGReg", "invariance=0, with their weights in float64", "lejepa", LEJEPA,
     partial(c.sigreg, exact=True), ""),
]  # fmt: skip

NOT_COMPARED = {
    "UnitSphere": "It has no loss, so nothing can differ.",
    "UniAlignStyle": "No released code was found. The docstring names our choices.",
    "modality_dropout": "Its loss is the cross-entropy of one subset. X-Fi's loop does not run the encoders "
    "of dropped modalities, so its steps differ by design.",
    "GeometryRegularizer": "The paper (DAGR) has no released code.",
}


def described(row: Row) -> dict:
    """Return what a row's record says beside its numbers."""
    name, variant, repository, code, _, cause = row
    found = {"name": name, "variant": variant, "repository": repository, "commit": COMMITS[repository][1]}
    return found | {"code": code, "cause": cause}


def measured(row: Row, folder: Path) -> dict:
    """Return a row's record; ``value`` and ``gradient`` are relative differences or None."""
    with c.conditions():
        value, gradient = row[4](Checkout(folder, row[2]))
    return described(row) | {"value": value, "gradient": gradient}


def is_rounding(record: dict) -> bool:
    """Return whether all differences of a record come from the order of additions."""
    return all(x is None or x < ROUNDING for x in (record["value"], record["gradient"]))


def number(value: float | None) -> str:
    """Return a relative difference with one or two digits."""
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.0e}" if value < 1e-3 else f"{value:.2g}"


def table(records: list[dict]) -> str:
    """Return the records as Markdown, and then the names without a comparison."""
    lines = ["| ours | released code | loss or value | gradient | cause of the difference |"]
    lines.append("|---|---|---|---|---|")
    for x in records:
        ours = f"`{x['name']}`" + (f", {x['variant']}" if x["variant"] else "")
        code = f"[{x['repository']} @{x['commit'][:7]}]({address(x['repository'])}), `{x['code']}`"
        equal = not (x["value"] or x["gradient"])
        small = "Equal." if equal else "Rounding." if is_rounding(x) else ""
        cause = " ".join(filter(None, [small, x["cause"]]))
        lines.append(f"| {ours} | {code} | {number(x['value'])} | {number(x['gradient'])} | {cause} |")
    lines += [f"| `{name}` | not compared | - | - | {reason} |" for name, reason in NOT_COMPARED.items()]
    return "\n".join(lines) + "\n"


def write(records: list[dict]) -> None:
    """Write the numbers as JSON, and the table between the two marks of the page."""
    software = {"python": platform.python_version()}
    software |= {name: version(name) for name in ("torch", "numpy", "scikit-learn")}
    NUMBERS.write_text(json.dumps({"software": software, "rows": records}, indent=1) + "\n")
    marked = f"<!-- agreement -->\n{table(records)}<!-- /agreement -->"
    pattern = r"<!-- agreement -->\n.*?<!-- /agreement -->"
    PAGE.write_text(re.sub(pattern, lambda _: marked, PAGE.read_text(), flags=re.DOTALL))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status: 1 if a checkout is missing or at another commit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder with the clones")
    parser.add_argument("--write", action="store_true", help="also write results/agreement")
    options = parser.parse_args(arguments)
    try:
        records = [measured(row, options.folder) for row in ROWS]
    except ValueError as error:
        print(f"agreement: {error}", file=sys.stderr)
        return 1
    if options.write:
        write(records)
    print(table(records), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
