"""No notebook uses a term of the field before a notebook has defined it, in the order of the course.

The glossary of notebook 00 defines most terms. The others have a place here: the notebook and the words that
define them. Lists of aims and references are not read, since they name what is to come.
"""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
READ = [f"{n:02}" for n in range(19)]

# term (a pattern) -> the notebook that defines it, and how its definition begins.
DEFINED = {
    r"DAGR": ("00", "(DAGR, for *dispersive and anchoring geometric regularizer*"),
    r"InfoNCE": ("00", "InfoNCE, a loss of pairs"),
    r"CLIP": ("00", "CLIP, a pretrained model"),
    r"stand-ins?": ("00", "small generated **stand-ins**"),
    r"embeddings?": ("00", "forms an *embedding*, a vector, of each"),
    r"modalit(?:y|ies)": ("00", "two modalities (kinds of input)"),
    r"regularizers?": ("00", "geometric regularizer*, a term added to the loss"),
    r"(?:agreement )?band": ("00", "outside the *agreement band*"),
    r"fusion layer": ("01", "one linear layer (the *fusion layer*)"),
    r"bootstrap": ("01", "95 % bootstrap intervals of the mean paired difference: the differences are drawn"),
    r"excluded|undecided": ("01", "*Supported* means that the interval lies on the claimed side of zero"),
    r"imbalance": ("01", "`imbalance=0.8` sensor `b` shows its factors at a fifth"),
    r"isotropic": ("02", "isotropic, alike in every direction"),
    r"CREMA-D": ("00", "CREMA-D"),
    r"spectrum|spectra": ("00", "*Spectrum*: the variation in each direction"),
    r"neural collapse": ("02", "(*neural collapse*, which training to zero loss tends to produce)"),
    r"debiased": ("02", "CKA comes in a *biased* form, still common, and a *debiased* one"),
    r"median rank": ("02", "the *median rank* is the median of that number over the samples"),
    r"dispersive losses": ("03", "(a published family of such terms"),
    r"confounded": ("03", "*confounded* (two things change at once)"),
    r"diverges?": ("03", "make training *diverge*: its numbers become infinite"),
    r"min-norm": ("05", "The shortest vector between two is the *min-norm point*"),
    r"Pareto": ("05", "Such balances are called *Pareto*"),
    r"spectrograms?": ("05", "spectrogram, which pictures a sound"),
    r"prototypes?": ("07", "*Prototype*: the mean embedding of a class"),
    r"heads?": ("07", "one linear *head* (the fusion layer of notebook 01)"),
    r"surplus": ("07", "*both minus the sum* or the *surplus*"),
    r"additive": ("07", "Stronger would be *additive*: what it gives comes on top"),
    r"manipulation check": ("08", "A *manipulation check* is the cure: before you ask"),
    r"dose": ("08", "A second check is the *dose*, the length of the regularizer's gradient over"),
    r"winner's curse": ("08", "That is the *winner's curse*"),
    r"rank correlation": ("08", "The last is a *rank correlation* (Spearman's): it compares two orders"),
    r"Latin hypercube": ("08", "each value of each knob is tried equally often"),
    r"frozen settings?": ("08", "*Frozen* settings are picked once and not in each seed"),
    r"Bonferroni": ("09", "The simplest repair is **Bonferroni's**: if ten intervals answer one question"),
    r"VICReg|Barlow Twins|KoLeo|UniAlign": ("09", "Their formulas and weights in the paper were not seen"),
    r"SIGReg": ("09", "**SIGReg** (LeJEPA, Balestriero and LeCun 2025) asks for"),
    r"false discovery rate": ("09", "among those found, the *false discovery rate*"),
    r"(?<!normalized )mutual information": ("12", "How much does the one tell of the other?"),
    r"swapped prediction|SwAV": ("12", "It is *SwAV*'s swapped prediction, with"),
    r"Sinkhorn(?:'s)?": ("12", "Step 2 is *Sinkhorn's algorithm*, and three lines of code"),
    r"standardizing head": ("12", "it standardizes each feature of each modality before it compares"),
    r"ridge regression": ("13", "ridge regression (least squares with a penalty on large weights)"),
    r"ViT-[BL]/1[46]": ("13", "are a smaller and a larger image encoder of CLIP"),
    r"GradCache": ("13", "This is known as GradCache"),
    r"X-Fi": ("14", "X-Fi, a published method"),
    r"transformers?": ("14", "a transformer, which reads sets of any size by attention"),
    r"late fusion": ("14", "**Late fusion:** an encoder and a classifier for each signal"),
    r"tokens": ("14", "gives 32 **tokens** (vectors of 512)"),
    r"negatives": ("16", "the wrong names, the *negatives*"),
    r"hubs?|hubness": ("16", "they are **hubs**"),
    r"skewness": ("16", "skewness of these counts, how far the upper tail outweighs the lower"),
    r"cone effect": ("16", "call it the *cone effect*"),
    r"CSLS": ("16", "**CSLS** (Conneau et al. 2018) is"),
    r"Procrustes": ("16", "The *orthogonal Procrustes* problem asks for the best turn"),
    r"mutual k-NN": ("16", "The **mutual k-NN alignment** is the mean share of neighbors in both lists"),
    r"synergistic|synergy": ("17", "redundant R, unique $U_A$ and $U_B$, and synergistic S"),
    r"relative entropy": ("17", "relative entropy, or Kullback-Leibler divergence"),
    r"best reader": ("17", "the best reader, which names the most probable class"),
    r"latents": ("17", "Here the true latents, the factors behind the inputs"),
    r"von Mises-Fisher": ("17", "the von Mises-Fisher distribution. They have one sensor"),
}  # fmt: skip
# Used before, each with words there that say enough to go on; the whole definition follows.
EXPLAINED_EARLIER = {
    ("02", r"CREMA-D"): "CREMA-D, films of spoken emotions (notebook 10)",
    ("03", r"VICReg|Barlow Twins|KoLeo|UniAlign"): "Published losses with a covariance term (VICReg,",
    ("07", r"spectrograms?"): "spectrogram",
    ("13", r"transformers?"): "patches of 16 or 14 pixels read one another by attention",
}


def prose(number):
    """The cells of a notebook as text, white space made single, without aims, references and addresses."""
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    cells = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"\]\([^)]*\)", "]", cell.source.partition("## References")[0])
            text = re.sub(r"(?s)[Yy]ou will be able to.*?(?=\*\*Time|\Z)", "", text)
            cells.append(" ".join(text.split()))
    return cells


PROSE = {number: prose(number) for number in READ}
(TABLE,) = (cell for cell in PROSE["00"] if "| term | meaning |" in cell)
GLOSSARY = set(re.findall(r"\*([^*|]+)\*(?=[^|]* \| )", TABLE))


def uses(text, term):
    return re.search(rf"(?i)(?<![\w`-])(?:{term})(?![\w`])", text)


def defined_before(term, number, words, text_of):
    """Cells, as (notebook, text), that use a term and come before the one with its definition."""
    early = []
    for one in READ:
        for cell in text_of[one]:
            if one == number and words in cell:
                return [e for e in early if EXPLAINED_EARLIER.get((e[0], term), "\0") not in e[1]]
            if uses(cell, term):
                early.append((one, cell))
    raise AssertionError(f"notebook {number} no longer says {words!r}: name the new definition")


@pytest.mark.parametrize("term", DEFINED)
def test_no_term_is_used_before_it_is_defined(term):
    number, words = DEFINED[term]
    assert [(n, cell[:120]) for n, cell in defined_before(term, number, words, PROSE)] == []


def test_an_early_use_is_found():
    text = {number: [] for number in READ} | {"01": ["a dose"], "08": ["the *dose* is", "dose"]}
    assert defined_before("dose", "08", "the *dose* is", text) == [("01", "a dose")]
    assert defined_before("band", "08", "the *dose* is", text) == []


def test_the_glossary_has_the_terms_that_several_notebooks_share():
    shared = "arm record baseline cone control dispersion anchoring regime read-out probe temperature world"
    assert set(shared.split()) < GLOSSARY and len(GLOSSARY) >= 50
