"""A study of what networks learned with planted outcomes, written as the experiment writes it."""

import itertools
import json

import numpy as np
import pandas as pd
import synthetic

from jaxcompare.analysis.representations import COLUMNS

SEEDS = (1, 2, 3)
LAYERS = {
    "cnn": ("block_0", "block_1", "block_2", "hidden", "logits"),
    "vit": ("embedding", "layer_0", "layer_1", "norm", "logits"),
}
KINDS = ("translation", "patch shuffle", "low-pass", "high-pass", "contrast", "occlusion")


def write(folder, *, favour=1, identified=1.0, positions=None):
    """Numbers by which every claim holds (`favour` 1), fails (-1), or is undecided (0)."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)

    def shift(size, seed):
        """Of the claims' numbers: one way for every seed, or this way and that."""
        return size * (favour if favour else (-1) ** seed * seed)

    rows = {name: [] for name in COLUMNS}
    networks = [(m, s, t) for t in (True, False) for m in ("cnn", "vit") for s in SEEDS]
    for measure in ("cka", "neighbours"):
        for (m, s, t), (om, os, ot) in itertools.product(networks, repeat=2):
            for (i, layer), (j, other) in itertools.product(enumerate(LAYERS[m]), enumerate(LAYERS[om])):
                value = 1 - 0.1 * abs(i - j)
                if i != j and m == "vit":
                    value += shift(0.02, s)
                rows["similarity"].append((measure, m, s, t, layer, om, os, ot, other, value))
        for m, (s, os) in itertools.product(("cnn", "vit"), itertools.combinations(SEEDS, 2)):
            rows["identification"].append((measure, m, s, os, identified, 0.2))
    for (m, s, t), layer, head in itertools.product(networks, range(3), range(4)):
        if m == "vit":
            # Of uniform attention's 16: 6 and more, or all about 13.
            spread = (-7, 0, 0, 3)[head] if favour == 1 else 0 if favour else (-7, 0, 0, 3)[head] * (s == 1)
            rows["attention"].append((m, s, t, layer, head, 13 + spread * t + shift(0.5, s) * layer, 0.02))
    for m, s, t in networks:
        for i, layer in enumerate(LAYERS[m][:3]):
            rows["fields"].append((m, s, t, layer, 2 + 2 * i, (4, 10, 22)[i] if m == "cnn" else None))
        for i, layer in enumerate(LAYERS[m]):
            rows["probes"].append((m, s, t, layer, 0.4 + 0.05 * i + 0.1 * t + 0.001 * s, 0.1, 512))
        if not t:
            continue
        for name, fraction in itertools.product(("Grad-CAM" if m == "cnn" else "rollout", "gradient"), (0, 0.5, 1)):
            random = 0.9 - 0.8 * fraction
            lower = shift(0.2, s) * (fraction == 0.5) + 0.001 * s * fraction
            rows["deletion"].append((m, s, name, fraction, random - lower, random, random + 0.05))
        for label, prediction in itertools.product(range(3), repeat=2):
            rows["confusion"].append((m, s, label, prediction, 8 if label == prediction else 1))
        for kind, step in itertools.product(KINDS, range(4)):
            better = (m == "vit") * shift(0.05, s) * (step > 0)
            accuracy = 0.8 - 0.15 * step + better + 0.001 * s * step * (m == "vit")
            rows["robustness"].append((m, s, kind, "pixels", step, None if step == 0 else 2.0**step, accuracy))
    for s, label in itertools.product(SEEDS, range(3)):
        middle = (shift(0.2, s), 0.0, -shift(0.2, s))[label]
        rows["classes"].append((s, label, 10, middle, middle - 0.1, middle + 0.1))
    trained = [(m, s) for m, s, t in networks if t]
    for without, ((m, s), (om, os)) in itertools.product(range(-1, 10), itertools.combinations(trained, 2)):
        kappa = 0.5 + (m == om) * shift(0.2, without + 2) + 0.01 * generator.random()
        rows["agreement"].append((without, m, s, om, os, 0.7, 0.8, 0.6, kappa))
    for name, columns in COLUMNS.items():
        pd.DataFrame(rows[name], columns=list(columns)).to_csv(folder / f"{name}.csv", index=False)
    maps = {f"{m}_maps": generator.random((2, 8, 8)) for m in ("cnn", "vit")}
    near = np.eye(4).reshape(2, 2, 2, 2) if positions is None else positions
    pictures = {
        "outcome": np.array([0, 3]),
        "images": generator.random((2, 8, 8, 3)),
        "labels": np.array([0, 1]),
        "cnn_predictions": np.array([0, 2]),
        "vit_predictions": np.array([0, 0]),
        "filters": generator.random((32, 3, 3, 3)),
        "components": generator.normal(size=(28, 4, 4, 3)),
        "explained": np.full(28, 0.03),
        "explained_untrained": np.full(28, 0.02),
        "positions": near,
    }
    np.savez(folder / "pictures.npz", **pictures, **maps)
    study = {
        "runs": [{"model": m, "seed": s, "train_images": 100, "git_commit": "of runs"} for m, s, t in networks if t],
        "git_commit": "of the study",
        "environment": synthetic.run("cnn", 100, 1, 0.5).environment,
        "dataset": "tiny",
        "data_fingerprint": "0" * 64,
        "class_names": ["cat", "dog", "$x_1$"],
        "images": dict.fromkeys(("similarity", "probes", "attention", "fields", "deletion", "robustness"), 200)
        | {"predictions": 1000},
        "uniform_attention_pixels": 16.0,
    }
    (folder / "study.json").write_text(json.dumps(study))
    return folder
