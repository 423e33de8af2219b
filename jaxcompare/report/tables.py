"""Records as a summary and as Markdown tables."""

import dataclasses
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from jaxcompare.config import InputError
from jaxcompare.records import RunRecord, write_atomically

AGREEMENT_POINTS = 2
LABELS = {"cnn": "CNN", "vit": "ViT", "jax": "JAX", "torch": "PyTorch eager"}


def check_comparable(records: Sequence[RunRecord]) -> None:
    """Raise InputError, naming what differs, unless the records are one comparison: each model once, one recipe."""
    _check_same([_recipe(record) for record in records])
    names = [record.config.model for record in records]
    if len(set(names)) < len(names):
        raise InputError(f"several runs of one model ({', '.join(names)}); use one --out for each comparison")


def _recipe(record: RunRecord) -> dict[str, object]:
    """Everything but the model and the framework that decides a run's numbers."""
    config = dataclasses.asdict(record.config)
    return {"images": record.data_fingerprint} | config["training"] | config["data"] | {"data_dir": None}


def _check_same(facts: Sequence[Mapping[str, object]]) -> None:
    for other in facts[1:]:
        for name, value in other.items():
            if value != facts[0][name]:
                raise InputError(f"runs of different recipes: {name} is {facts[0][name]} in one, {value} in another")


def summarise(records: Sequence[RunRecord]) -> dict[str, Any]:
    """What a comparison comes to, by model: `summary.json`. Accuracies are fractions; None: nothing was measured."""

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "models": {
            record.config.model: {
                "params": record.params,
                "best_test_accuracy": number(record.best_test_accuracy),
                "final_test_accuracy": number(record.final_test_accuracy),
                "epoch_time_s": number(record.epoch_time_s),
                "compile_time_s": number(record.compile_time_s),
                "epochs": len(record.history.test_accuracy),
                "status": record.status,
            }
            for record in records
        },
        "dataset": records[0].dataset_title if records else None,
        "train_images": records[0].train_images if records else None,
    }


def comparison_table(records: Sequence[RunRecord]) -> str:
    """One row per model: the full comparison."""
    rows = [
        (
            LABELS[r.config.model],
            f"{r.params:,}",
            f"{len(r.history.test_accuracy)} of {r.config.training.epochs}",
            f"{100 * r.best_test_accuracy:.2f} %",
            f"{100 * r.final_test_accuracy:.2f} %",
            f"{r.epoch_time_s:.1f}",
            f"{r.compile_time_s:.1f}",
        )
        for r in records
        if r.history.test_accuracy
    ]
    header = ("Model", "Parameters", "Epochs", "Best test accuracy¹", "Final", "Seconds per epoch²", "Compile, s³")
    first = records[0]
    return markdown(header, rows) + (
        f"\n\nData: {first.dataset_title}, {first.train_images:,} training and {first.test_images:,} test images; "
        f"seed {first.config.training.seed}, one run a model, so no interval. {machine(first.environment)}\n"
        "¹ Of the best epoch, chosen on the test images, as the recipe does: optimistic. "
        "² Mean, training only, evaluation and compilation excluded. "
        "³ Trace, lower and compile of all programs, before the first epoch."
    )


def agreement_table(records: Sequence[RunRecord]) -> str:
    """One row per model: best test accuracy of both frameworks over seeds, and the paired difference of means.

    Raises:
        InputError: runs of different recipes, or of seeds that not every model and framework has completed.
    """
    _check_same([_recipe(record) | {"seed": None} for record in records])
    wanted = sorted({record.config.training.seed for record in records})
    rows = []
    for model in ("cnn", "vit"):
        best = {}
        for framework in ("jax", "torch"):
            runs = {
                r.config.training.seed: 100 * r.best_test_accuracy
                for r in records
                if (r.config.model, r.config.framework, r.status) == (model, framework, "complete")
            }
            if sorted(runs) != wanted:
                raise InputError(f"{framework} {model}: complete runs of seeds {sorted(runs)}, others have {wanted}")
            best[framework] = [runs[seed] for seed in wanted]
        difference = statistics.mean(best["jax"]) - statistics.mean(best["torch"])
        interval = "one seed, no interval"
        if len(wanted) > 1:
            low, high = stats.ttest_rel(best["jax"], best["torch"]).confidence_interval(0.95)
            interval = f"{low:+.2f} to {high:+.2f}"
        each = (f"{statistics.mean(v):.2f} ({', '.join(f'{b:.2f}' for b in v)})" for v in best.values())
        verdict = "yes" if abs(difference) <= AGREEMENT_POINTS else "no"
        rows.append((LABELS[model], *each, f"{difference:+.2f}", interval, verdict))
    first = records[0]
    points = f"{AGREEMENT_POINTS} points"
    header = ("Model", "JAX, %", "PyTorch eager, %", "Difference, points", "95 % interval", f"Within {points}")
    return markdown(header, rows) + (
        f"\n\nMean best test accuracy (and each seed's: {', '.join(map(str, wanted))}). Data: {first.dataset_title}, "
        f"{first.train_images:,} training and {first.test_images:,} test images, {first.config.training.epochs} "
        "epochs. The interval is Student's for the mean of the differences, paired by seed. Best: of the best epoch, "
        "chosen on the test images."
    )


def speed_tables(cells: Sequence[Mapping[str, Any]]) -> str:
    """Training epochs beside PyTorch eager, and input pipelines beside the recipe's: medians, ranges and ratios."""

    def values(key: str, **where: object) -> list[float]:
        """One value per fresh process, the median of what it measured."""
        found = [cell for cell in cells if all(cell.get(name) == value for name, value in where.items())]
        return [statistics.median(cell[key] if isinstance(cell[key], list) else [cell[key]]) for cell in found]

    def spread(numbers: Sequence[float], form: str) -> str:
        low, middle, high = (format(f(numbers), form) for f in (min, statistics.median, max))
        return f"{middle} ({low} to {high})"

    epochs = []
    for model in ("cnn", "vit"):
        jax, torch = (values("epoch_time_s", framework=f, model=model) for f in ("jax", "torch"))
        ratios = [a / b for a, b in zip(jax, torch, strict=True)]
        compiling = spread(values("compile_time_s", framework="jax", model=model), ".1f")
        epochs.append((LABELS[model], spread(jax, ".2f"), spread(torch, ".2f"), spread(ratios, ".2f"), compiling))
    inputs = []
    for workers in (0, 2):
        ours, recipe = (values("images_per_s", pipeline=p, workers=workers) for p in ("jaxcompare", "recipe"))
        ratios = [a / b for a, b in zip(ours, recipe, strict=True)]
        inputs.append((str(workers), spread(ours, ",.0f"), spread(recipe, ",.0f"), spread(ratios, ".1f")))
    first = next(cell for cell in cells if cell["cell"] == "epoch")
    backends = {cell["environment"]["backend"] for cell in cells}
    if len(backends) > 1:
        raise InputError(f"times on {' and '.join(sorted(backends))} are no comparison; measure with JAX_PLATFORMS=cpu")
    repeats = len({cell["repeat"] for cell in cells})
    return "\n\n".join(
        (
            markdown(
                ("Model", "JAX, s/epoch", "PyTorch eager, s/epoch", "JAX / PyTorch", "JAX compile, s (once)"), epochs
            ),
            markdown(("Workers", "Host pipeline, images/s", "Recipe's pipeline, images/s", "Ratio"), inputs),
            f"Median (and range) of {repeats} fresh processes, interleaved; ratios are taken pair by pair. Epochs: "
            f"{first['dataset']}, {first['train_images']:,} images, batches of {first['batch_size']}, the same "
            f"for both frameworks; dropout on; warm-up epoch and evaluation excluded. Input: a second pass; the "
            f"recipe's loader starts its workers anew every pass, as a plain DataLoader does, ours keeps them. "
            f"{machine(first['environment'])}",
        )
    )


def machine(environment: Mapping[str, Any]) -> str:
    """One sentence: what a number was measured on."""
    versions, cpu = environment["versions"], f"{environment['cpu']}, {environment['cpu_cores']} cores"
    device = cpu if environment["backend"] == "cpu" else environment["device"]
    return f"Machine: {device}; jax {versions['jax']}, flax {versions['flax']}, torch {versions['torch']}."


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replace_blocks(document: Path, blocks: Mapping[str, str]) -> None:
    """Rewrite what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a Markdown file.

    Raises:
        InputError: the file has no such pair of marks.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{document}: cannot be read ({error.strerror})") from error
    for name, block in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        if not pattern.search(text):
            raise InputError(f"{document}: no block between <!-- {name} --> and <!-- /{name} -->; add the two marks")
        text = pattern.sub(lambda match, block=block: match[1] + block + "\n" + match[2], text)
    write_atomically(document, text)
