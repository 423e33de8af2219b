"""The numbers that the sentences below each figure of a study are made of."""

from typing import Any

import numpy as np

from jaxcompare.analysis.findings import find, kappas
from jaxcompare.analysis.representations import Representations
from jaxcompare.analysis.statistics import Estimate, estimate


def readings(study: Representations) -> dict[str, dict[str, Any]]:
    """By figure: the values that its macro in `representations.jinja` takes."""
    return {
        "figure11_similarity": _similarity(study),
        "figure12_reach": _reach(study),
        "figure13_probes": _probes(study),
        "figure14_robustness": {"areas": study.kept_more},
        "figure15_maps": {"advantages": advantages(study, "by_other"), "random": advantages(study, "at_random")},
        "figure16_first_layers": _first_layers(study),
        "figure17_disagreement": _disagreement(study),
    }


def _similarity(study: Representations) -> dict[str, Any]:
    def likest(axis: int, **how: Any) -> float:
        return float(study.block("cka", "cnn", "vit", **how).max(axis=axis).mean())

    def same(model: str, **how: Any) -> float:
        return float(np.diag(study.block("cka", model, model, **how)).mean())

    found = study.frames["identification"]
    return {
        "identified": study.identified,
        "trusted": study.trusted,
        "chance": found.groupby("model").chance.first().to_dict(),
        "across": {"cnn": (likest(1), likest(1, trained=False)), "vit": (likest(0), likest(0, trained=False))},
        "seeds": {model: (same(model), same(model, trained=False)) for model in ("cnn", "vit")},
    }


def _reach(study: Representations) -> dict[str, Any]:
    heads, fields = study.frames["attention"], study.frames["fields"]
    trained = heads[heads.trained]
    first = trained[trained.layer == 0].groupby("seed").pixels
    last = trained[trained.layer == trained.layer.max()].pixels.mean()
    widths = fields.groupby(["model", "layer", "trained"], sort=False).width.mean().unstack("trained")
    ends = {
        model: (*widths.loc[model][True].iloc[[0, -1]], widths.loc[model][False].iloc[-1])
        for model in ("cnn", "vit")
        if model in widths.index and widths.loc[model].notna().all(axis=None)
    }
    uniform = study.study["uniform_attention_pixels"]
    return {
        "least": first.min().mean(),
        "most": first.max().mean(),
        "last": float(last),
        "uniform": uniform,
        "widths": ends,
    }


def _probes(study: Representations) -> dict[str, Any]:
    probes = study.frames["probes"]
    means = probes.groupby(["model", "trained", "layer"], sort=False).accuracy.mean()
    trained = means.xs(True, level="trained")
    best = {model: (trained[model].idxmax(), trained[model].max()) for model in ("cnn", "vit")}
    gains: dict[str, Estimate] = {}
    for model, (layer, _) in best.items():
        of = probes[(probes.model == model) & (probes.layer == layer)]
        best_untrained = means.xs((model, False), level=("model", "trained")).idxmax()
        before = probes[(probes.model == model) & ~probes.trained & (probes.layer == best_untrained)]
        paired = of[of.trained].set_index("seed").accuracy - before.set_index("seed").accuracy
        gains[model] = estimate(paired.tolist())
    chance = 1 / len(study.study["class_names"])
    return {"best": best, "gains": gains, "control": probes.control.max(), "chance": chance}


def advantages(study: Representations, than: str) -> dict[tuple[str, str], Estimate]:
    """By model and map: area under another deletion curve, a column of the frame, less that under the map's, over
    seeds."""
    found: dict[tuple[str, str], list[float]] = {}
    for (model, name, _), rows in study.frames["deletion"].groupby(["model", "map", "seed"], sort=False):
        area = float(np.trapezoid(rows[than] - rows.by_map, rows.fraction))
        found.setdefault((str(model), str(name)), []).append(area)
    return {key: estimate(values) for key, values in found.items()}


def _first_layers(study: Representations) -> dict[str, Any]:
    positions = study.pictures["positions"].astype(float)
    rows, columns = positions.shape[:2]
    at = np.indices((rows, columns)).reshape(2, -1)
    steps = np.abs(at[:, :, None] - at[:, None]).sum(axis=0)
    flat = positions.reshape(rows * columns, -1)
    pictures = study.pictures
    return {
        "components": len(pictures["explained"]),
        "of": pictures["components"][0].size,
        "explained": pictures["explained"].astype(float).sum(),
        "before": pictures["explained_untrained"].astype(float).sum(),
        "near": flat[steps == 1].mean(),
        "far": flat[steps > 1].mean(),
        "edges": positions[np.arange(rows), 0, np.arange(rows), -1].mean(),
    }


def _disagreement(study: Representations) -> dict[str, Any]:
    classes, names = study.frames["classes"], study.study["class_names"]

    def shown(side: int) -> list[str]:
        """Classes of which every seed's interval is on this side of 0."""
        lies = classes.low > 0 if side > 0 else classes.high < 0
        return [names[int(label)] for label, all_lie in lies.groupby(classes.label).all().items() if all_lie]

    (errors,) = (finding for finding in find(study) if finding.name == "errors")
    means = {name: float(values.mean()) for name, values in kappas(study).items()}
    return {"kappa": means, "answer": errors.answer, "cnn_better": shown(1), "vit_better": shown(-1)}
