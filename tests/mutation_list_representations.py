"""The faults that `mutations.py` plants in the measures of what the networks learned."""

from mutation_list import Mutation, of

PACKAGE, TESTS = "jaxcompare/representations", "tests/test_representations"

MUTATIONS: list[Mutation] = [
    *of(
        f"{PACKAGE}/forward.py",
        f"{TESTS}_similarity.py -k 'planted or every_layer'",
        ("forward: layers sorted by name", "return {name: found[name] for name in names}", "return found"),
        ("forward: the filling stays", "np.concatenate(parts)[:count]", "np.concatenate(parts)"),
        ("forward: patches pooled with the class token", "activation[:, 1:].reshape", "activation[:, :-1].reshape"),
    ),
    *of(
        f"{PACKAGE}/similarity.py",
        f"{TESTS}_similarity.py -k 'formula or same_up or constant or neighbours or ties'",
        ("CKA: the biased estimator's diagonal", "off_diagonal = 1 - jnp.eye(n, dtype=x.dtype)", "off_diagonal = 1.0"),
        ("CKA: rows centred by n", "(rows[:, None] + rows[None, :]) / (n - 2)", "(rows[:, None] + rows[None, :]) / n"),
        ("CKA: constant features are rounding", "<= CONSTANT * size, 0, x)", "< 0 * size, 0, x)"),
        ("CKA: not normalised", "np.divide(hsic, scale,", "np.divide(hsic, scale**0.5,"),
        ("neighbours: an example is its own", "similarity[own, start + own] = -np.inf", "pass"),
        ("neighbours: blocks' own by the wrong rows", "[own, start + own]", "[own, own]"),
        ("neighbours: features not centred", "    x = x - x.mean(axis=0)\n", ""),
        (
            "identification: ties count",
            "own > others.max(axis=1), own > others",
            "own >= others.max(axis=1), own > others",
        ),
    ),
    *of(
        f"{PACKAGE}/attention.py",
        f"{TESTS}_attention.py -k 'known or rollout'",
        ("attention: the class token's share stays", "reach / jnp.where(attending, mass, 1)", "reach"),
        ("attention: distances in patches", "places = patch * np.stack", "places = np.stack"),
        ("attention: divided by nothing", "jnp.where(attending, mass, 1)", "mass"),
        ("rollout: no residual", "jnp.eye(probabilities.shape[-1])[None, None]) / 2", "0) / 1"),
        ("rollout: layers in the other order", "(mixed[:, layer], total,", "(total, mixed[:, layer],"),
        ("rollout: of a patch, not the class token", "[:, 0, 1:]\n", "[:, 1, 1:]\n"),
    ),
    *of(
        "jaxcompare/models/vit.py",
        f"{TESTS}_attention.py -k 'distribution'",
        ("attention: before the softmax", "ATTENTION, probabilities)", "ATTENTION, scores)"),
    ),
    *of(
        f"{PACKAGE}/receptive_field.py",
        f"{TESTS}_receptive_field.py -k 'theoretical_fields or weighted_mean'",
        ("field: a pool as wide as a convolution", "Field(3 * stride - 2, stride", "Field(3 * stride - 1, stride"),
        (
            "field: gradients cancel over images",
            "return jnp.abs(jax.grad(unit)(images))",
            "return (jax.grad(unit)(images))",
        ),
        ("field: another unit", "x.shape[1] // 2, x.shape[2] // 2]", "x.shape[1] // 2, x.shape[2] // 2 - 1]"),
        (
            "field: distances squared",
            "np.hypot(rows[:, None], columns[None]))",
            "np.hypot(rows[:, None], columns[None]) ** 2)",
        ),
    ),
    *of(
        f"{PACKAGE}/saliency.py",
        f"{TESTS}_saliency.py -k 'formula'",
        ("Grad-CAM: no ReLU", "jax.nn.relu(jnp.sum(weights * x, axis=-1))", "jnp.sum(weights * x, axis=-1)"),
        ("Grad-CAM: weights not averaged", ".mean(axis=(1, 2), keepdims=True)", ""),
    ),
    *of(
        f"{PACKAGE}/saliency.py",
        f"{TESTS}_saliency.py -k 'one_pixel or nothing'",
        ("deletion: the smallest first", "(random, -maps.reshape", "(random, maps.reshape"),
        (
            "deletion: equals in reading order",
            "np.lexsort((random, -",
            "np.lexsort((np.tile(np.arange(height * width), (count, 1)), -",
        ),
        ("deletion: the sign", "(self.at_random - self.by_map,", "(self.by_map - self.at_random,"),
    ),
    *of(
        f"{PACKAGE}/probes.py",
        f"{TESTS}_probes.py",
        (
            "probes: nothing is shuffled",
            "np.random.default_rng(seed).permutation(train_labels)",
            "train_labels",
        ),
        ("probes: not standardised", "(x[:, varying] - mean[varying]) / deviation[varying]", "x[:, varying]"),
        ("probes: one penalty", "np.argmin(errors, axis=0)", "0 * np.argmin(errors, axis=0)"),
        ("probes: leverage left out", "/ (1 - leverage)[:, None]", "/ 1"),
        ("probes: constant features are rounding", "deviation > CONSTANT * np.abs(", "deviation >= 0 * np.abs("),
    ),
    *of(
        f"{PACKAGE}/disagreement.py",
        f"{TESTS}_disagreement.py",
        ("disagreement: kappa is agreement", "(observed - expected) / (1 - expected)", "observed"),
        ("disagreement: confusions transposed", "labels * classes + predictions", "predictions * classes + labels"),
        ("disagreement: Wald without its adjustment", "(alone + 1) / (images + 2)", "alone / images"),
        ("disagreement: unpaired", "(p + q - (p - q) ** 2)", "(p + q + (p - q) ** 2)"),
    ),
    *of(
        f"{PACKAGE}/corruptions.py",
        f"{TESTS}_corruptions.py",
        ("corruptions: always up", "directions == direction", "direction == 1 + 0 * directions"),
        ("corruptions: high-pass without the mean", " | (frequency == 0)", ""),
        ("corruptions: low is high", "frequency <= cycles", "frequency >= cycles"),
        ("corruptions: a new seed each time", "np.random.default_rng(seed))", "np.random.default_rng())"),
        (
            "corruptions: one order for all images",
            "np.tile(np.arange(cells**2), (n, 1)), axis=1)",
            "np.tile(np.arange(cells**2), (n, 1)), axis=0)",
        ),
        ("corruptions: areas by strengths", "dx=1 / (len(self.strengths) - 1)", "dx=1 / len(self.strengths)"),
    ),
    *of(
        f"{PACKAGE}/first_layers.py",
        f"{TESTS}_first_layers.py",
        ("first layers: filters scaled together", "axis=(1, 2, 3), keepdims=True)", "keepdims=True)"),
        ("first layers: components with the mean", "kernel - kernel.mean(axis=1, keepdims=True)", "kernel"),
        ("first layers: deviations for variances", "strengths**2, directions[:count]", "strengths, directions[:count]"),
        ("first layers: the class token is a patch", "[0, 1:]", "[0, :-1]"),
    ),
    *of(
        "jaxcompare/analysis/representations.py",
        f"{TESTS}_findings.py -k 'not page'",
        (
            "study: one model's layers are enough",
            "if min(shares.values()) >=",
            "if max(shares.values(), default=1) >= 0 *",
        ),
        ("study: not of a network's own accuracy", "accuracy / accuracy[0] if", "accuracy if"),
        ("study: CNN less ViT", "(rows.vit - rows.cnn)", "(rows.cnn - rows.vit)"),
        ("study: any columns are read", "tuple(frames[name]) != columns or ", ""),
    ),
    *of(
        "jaxcompare/analysis/findings.py",
        f"{TESTS}_findings.py -k 'answered or confirm'",
        ("findings: one number confirms", "signs and all(sign == 1", "signs and any(sign != 0"),
        ("findings: nothing is contradicted", "if -1 in signs", "if -2 in signs"),
        ("findings: uniform where the CNN is", "means.loc[name].vit - means.loc[name].cnn", "-means.loc[name].vit"),
        (
            "findings: depth upside down",
            "layers.iloc[:, -1] - layers.iloc[:, 0]",
            "layers.iloc[:, 0] - layers.iloc[:, -1]",
        ),
        ("findings: across less within", 'means[model] - means["both"]', 'means["both"] - means[model]'),
    ),
    *of(
        "jaxcompare/report/templates/representations.jinja",
        f"{TESTS}_findings.py -k 'turn'",
        ("sentences: the CNN's are the ViT's", "(vit if area.sign == 1 else cnn", "(cnn if area.sign == 1 else vit"),
        ("sentences: unfaithful maps are faithful", "(better if value.sign == 1", "(better if value.sign"),
    ),
    *of(
        f"{PACKAGE}/networks.py",
        f"{TESTS}_study.py -k 'mistakes or own'",
        ("study: one seed is enough", "if len(both) < 2", "if len(both) < 1"),
        ("study: other images", "dataset.fingerprint[:8]", "record.data_fingerprint[:8]"),
        (
            "study: seeds in any order",
            "r.config.model, r.config.training.seed",
            "r.config.model, -r.config.training.seed",
        ),
    ),
    *of(
        f"{PACKAGE}/look_frames.py",
        f"{TESTS}_study.py -k 'whole or blank'",
        (
            "study: outcomes exchanged",
            "3 - 2 * right[cnn.name] - right[vit.name]",
            "3 - right[cnn.name] - 2 * right[vit.name]",
        ),
        ("study: dead units end it", "except ValueError:", "except KeyError:"),
    ),
    *of(
        f"{PACKAGE}/corruptions.py",
        f"{TESTS}_study.py -k 'whole'",
        ("corruptions: strengths beyond the image", "round(s * side / SIDE)", "round(s)"),
    ),
]
