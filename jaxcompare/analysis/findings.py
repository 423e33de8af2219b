"""What a reader would expect from the literature, answered from a study's own numbers.

Every answer is of one number, or of several, that are above 0 if the claim holds, as means over seeds (of errors: over
parts of the images): confirmed if all are shown to be above 0, contradicted if one is shown to be below, undecided
otherwise.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from jaxcompare.analysis.representations import MEASURES, Representations
from jaxcompare.analysis.statistics import Estimate, estimate

Answer = Literal["confirmed", "contradicted", "undecided"]

LOCAL, GLOBAL = 0.6, 0.9
"""A head is local where its mean attention distance is below this share of uniform attention's, global where above. The
bounds are this project's."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """A number that is above 0 if the claim holds."""

    name: str
    value: Estimate


@dataclasses.dataclass(frozen=True)
class Finding:
    """A claim, who made it, and what this study says to it."""

    name: str
    claim: str
    source: str
    evidence: Sequence[Evidence]
    """Empty: no measure that could answer passed its own test."""
    measures: bool = False
    """Several measures of one thing, not several conditions: where they contradict each other, nothing is decided."""

    @property
    def answer(self) -> Answer:
        """By the signs that the intervals show."""
        signs = [one.value.sign for one in self.evidence]
        if self.measures and {-1, 1} <= set(signs):
            return "undecided"
        if -1 in signs:
            return "contradicted"
        return "confirmed" if signs and all(sign == 1 for sign in signs) else "undecided"


def find(study: Representations) -> list[Finding]:
    """Every finding, in the order of the figures."""
    local, wide, spread = _heads(study)
    return [
        Finding(
            "uniform",
            "the ViT's representations are more uniform across depth than the CNN's",
            "Raghu et al. 2021, Do Vision Transformers See Like Convolutional Neural Networks?",
            [
                Evidence(f"mean similarity of a network's layers, ViT less CNN ({MEASURES[measure]})", one)
                for measure, one in _uniformity(study).items()
            ],
            measures=True,
        ),
        Finding(
            "heads",
            "the ViT's lowest layer has both local and global heads",
            "Dosovitskiy et al. 2021, An Image is Worth 16x16 Words",
            [
                Evidence(
                    f"{LOCAL:g} (our bound) of uniform attention's distance less the most local head's (pixels)", local
                ),
                Evidence(f"the most global head's distance less {GLOBAL:g} of uniform attention's (pixels)", wide),
                Evidence("the distance between these two heads less that before training (pixels)", spread),
            ],
        ),
        Finding(
            "depth",
            "the ViT's attention distance grows with depth",
            "Dosovitskiy et al. 2021",
            [Evidence("mean attention distance, last layer less first (pixels)", _growth(study))],
        ),
        Finding(
            "shuffle",
            "the ViT loses less of its accuracy than the CNN when patches are shuffled",
            "Naseer et al. 2021, Intriguing Properties of Vision Transformers",
            _kept(study, "patch shuffle"),
        ),
        Finding(
            "frequencies",
            "the CNN relies more on high frequencies: without them it loses more of its accuracy than the ViT",
            "Park and Kim 2022, How Do Vision Transformers Work?",
            _kept(study, "low-pass"),
        ),
        Finding(
            "errors",
            "these networks of one architecture agree more in their errors than those of two",
            "Geirhos et al. 2020, Beyond Accuracy",
            [
                Evidence(f"Cohen's kappa between seeds of {name} less across (interval over images)", one)
                for name, one in zip(("the CNN", "the ViT"), _shared_errors(study), strict=True)
            ],
        ),
    ]


def _uniformity(study: Representations) -> dict[str, Estimate]:
    """By trusted measure: mean similarity of different layers of one network, logits apart, ViT less CNN."""
    of = study.frames["similarity"]
    own = of[of.trained & of.other_trained & (of.model == of.other_model) & (of.seed == of.other_seed)]
    own = own[(own.layer != own.other_layer) & (own.layer != "logits") & (own.other_layer != "logits")]
    means = own.groupby(["measure", "seed", "model"]).value.mean().unstack("model")
    return {name: estimate((means.loc[name].vit - means.loc[name].cnn).tolist()) for name in study.trusted}


def _kept(study: Representations, corruption: str) -> list[Evidence]:
    name = f"share of the accuracy above chance that is kept under {corruption}, ViT less CNN"
    return [Evidence(name, study.kept_more[corruption])] if corruption in study.kept_more else []


def _heads(study: Representations) -> tuple[Estimate, Estimate, Estimate]:
    """Of the first layer, by seed. Untrained heads all look as far as attention to all alike: global they are, too."""
    heads, uniform = study.frames["attention"], study.study["uniform_attention_pixels"]
    of = heads[heads.layer == 0].groupby(["trained", "seed"]).pixels
    least, most = of.min(), of.max()
    spread = most - least
    return (
        estimate((LOCAL * uniform - least[True]).tolist()),
        estimate((most[True] - GLOBAL * uniform).tolist()),
        estimate((spread[True] - spread[False]).tolist()),
    )


def _growth(study: Representations) -> Estimate:
    heads = study.frames["attention"]
    layers = heads[heads.trained].groupby(["seed", "layer"]).pixels.mean().unstack("layer")
    return estimate((layers.iloc[:, -1] - layers.iloc[:, 0]).tolist())


def kappas(study: Representations) -> dict[str, pd.Series]:
    """Error consistency over all images by pair of networks: `cnn` and `vit` between seeds of one, `both` across, the
    seeds any."""
    of = study.frames["agreement"]
    of = of[of.without == -1]
    pairs = {name: of[(of.model == name) & (of.other_model == name)].kappa for name in ("cnn", "vit")}
    return pairs | {"both": of[of.model != of.other_model].kappa}


def _shared_errors(study: Representations) -> list[Estimate]:
    """Of the CNN and of the ViT, the mean kappa over pairs of its seeds less that across. Two seeds make one pair,
    which has no interval over seeds: so this speaks of other images, for these networks, by the jackknife.
    """
    of = study.frames["agreement"]
    kinds = of.model.where(of.model == of.other_model, "both")
    means = of.assign(kind=kinds).groupby(["without", "kind"]).kappa.mean().unstack("kind")
    found = []
    for model in ("cnn", "vit"):
        more = means[model] - means["both"]
        found.append(jackknife(more[-1], more.drop(index=-1).to_numpy()))
    return found


def jackknife(whole: float, left_out: np.ndarray) -> Estimate:
    """Mean and interval of the pseudo-values (Tukey 1958) of a number of all data, and of all but each part."""
    return estimate((len(left_out) * whole - (len(left_out) - 1) * left_out).tolist())
