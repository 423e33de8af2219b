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
        "figure14_robustness": {"areas": study.areas_between},
        "figure15_maps": {"advantages": advantages(study)},
        "figure16_first_layers": _first_layers(study),
        "figure17_disagreement": _disagreement(study),
    }


def _similarity(study: Representations) -> dict[str, Any]:
    def nearest(**how: Any) -> float:
        return float(study.block("cka", "cnn", "vit", **how).max(axis=1).mean())

    return {
        "identified": study.identified,
        "trusted": study.trusted,
        "across": nearest(),
        "untrained": nearest(trained=False),
        "seeds": {model: float(np.diag(study.block("cka", model, model)).mean()) for model in ("cnn", "vit")},
    }


def _reach(study: Representations) -> dict[str, Any]:
    heads, fields = study.frames["attention"], study.frames["fields"]
    trained = heads[heads.trained]
    first = trained[trained.layer == 0].groupby("head").pixels.mean()
    last = trained[trained.layer == trained.layer.max()].pixels.mean()
    widths = fields[fields.trained].groupby(["model", "layer"], sort=False).width.mean()
    ends = {model: tuple(widths[model].iloc[[0, -1]]) for model in ("cnn", "vit") if model in widths}
    uniform = study.study["uniform_attention_pixels"]
    return {"least": first.min(), "most": first.max(), "last": float(last), "uniform": uniform, "widths": ends}


def _probes(study: Representations) -> dict[str, Any]:
    probes = study.frames["probes"]
    means = probes.groupby(["model", "trained", "layer"], sort=False).accuracy.mean()
    trained = means.xs(True, level="trained")
    best = {model: (trained[model].idxmax(), trained[model].max()) for model in ("cnn", "vit")}
    gains: dict[str, Estimate] = {}
    for model, (layer, _) in best.items():
        of = probes[(probes.model == model) & (probes.layer == layer)]
        by_seed = of.pivot(index="seed", columns="trained", values="accuracy")
        gains[model] = estimate((by_seed[True] - by_seed[False]).tolist())
    chance = 1 / len(study.study["class_names"])
    return {"best": best, "gains": gains, "control": probes.control.max(), "chance": chance}


def advantages(study: Representations) -> dict[tuple[str, str], Estimate]:
    """By model and map: area under the deletion curve of another image's map less that under the map's, over seeds."""
    found: dict[tuple[str, str], list[float]] = {}
    for (model, name, _), rows in study.frames["deletion"].groupby(["model", "map", "seed"], sort=False):
        area = float(np.trapezoid(rows.by_other - rows.by_map, rows.fraction))
        found.setdefault((str(model), str(name)), []).append(area)
    return {key: estimate(values) for key, values in found.items()}


def _first_layers(study: Representations) -> dict[str, Any]:
    positions = study.pictures["positions"].astype(float)
    rows, columns = positions.shape[:2]
    at = np.indices((rows, columns)).reshape(2, -1)
    steps = np.abs(at[:, :, None] - at[:, None]).sum(axis=0)
    flat = positions.reshape(rows * columns, -1)
    explained = study.pictures["explained"].astype(float)
    return {
        "components": len(explained),
        "explained": explained.sum(),
        "near": flat[steps == 1].mean(),
        "far": flat[steps > 1].mean(),
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
