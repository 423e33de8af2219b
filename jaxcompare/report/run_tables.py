"""Tables of training runs: the full comparison, data efficiency, the frameworks' agreement, predictions."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pandas as pd

from jaxcompare.analysis.agreement import Arm, agreements, origins
from jaxcompare.analysis.comparison import timed_alike
from jaxcompare.analysis.data_efficiency import Efficiency, Sweep, compare_gains
from jaxcompare.analysis.outcome import MODELS, Metric, by_model, counted, find_outcome
from jaxcompare.analysis.predictions import Score
from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.analysis.statistics import Equivalence, Estimate
from jaxcompare.analysis.targets import epochs_to_accuracy
from jaxcompare.config import ModelName
from jaxcompare.report.crossover_words import describe_crossover
from jaxcompare.report.speed_tables import verdict_lines
from jaxcompare.report.tables import Columns, Table, make_table
from jaxcompare.report.text import (
    FRAMEWORKS,
    LABELS,
    and_text,
    device_text,
    epochs_text,
    number,
    per_cent,
    percent_text,
    reached_text,
    seconds_text,
    versions_text,
)
from jaxcompare.report.words import say
from jaxcompare.run_frame import per_run

METRIC_TITLES: dict[Metric, str] = {
    "best": "Test accuracy in per cent, best epoch, chosen on the test images",
    "final": "Test accuracy in per cent, last epoch",
}


def summary_table(runs: pd.DataFrame, speed: SpeedStudy | None) -> Table:
    """Size, accuracy and time of each model of a full comparison, and a speed study's verdict below."""
    rows, runs = by_model(runs), counted(runs)
    columns = {
        "Model": ("model", LABELS.__getitem__),
        "Parameters": ("params", "{:,}".format),
        "Best test accuracy": ("best", percent_text),
        "Last epoch": ("final", percent_text),
        "Seconds per epoch": ("epoch_time_s", seconds_text),
        "Timed on": ("environment", device_text),
    }
    notes = [say("summary", runs, timed_alike(runs), _difference(runs))]
    if speed and (lines := verdict_lines(speed)):
        notes += [say("summary_speed", speed.frame.iloc[0], speed.repeats), " ".join(lines)]
    return make_table("", rows, columns, *notes)


def _difference(runs: pd.DataFrame) -> Estimate | None:
    """Of both models' best accuracies, where they have seeds in common."""
    outcome = find_outcome(runs)
    return outcome.difference() if outcome else None


def comparison_table(runs: pd.DataFrame) -> Table:
    """One row per model: the full comparison."""
    rows, runs = by_model(runs), counted(runs)
    rows["compile"] = list(zip(rows.compile_time_s, rows.compiled, strict=True))
    rows["came"] = list(zip(rows.done, rows.epochs, strict=True))
    columns = {
        "Model": ("model", LABELS.__getitem__),
        "Parameters": ("params", "{:,}".format),
        "Epochs": ("came", lambda came: "{} of {}".format(*came)),
        "Best test accuracy¹": ("best", percent_text),
        "Last epoch": ("final", percent_text),
        "Seconds per epoch²": ("epoch_time_s", seconds_text),
        "Compile, s³": ("compile", lambda one: f"{one[0]:.1f} ({one[1]})" if one[1] else "-"),
    }
    notes = say("compared", runs, _difference(runs)), say("compared_columns", runs, timed_alike(runs))
    return make_table("The full comparison", rows, columns, *notes, *machines(runs))


def accuracy_time_table(frame: pd.DataFrame) -> Table:
    """Epochs and seconds of training until a test accuracy is first reached."""
    found, seconds = epochs_to_accuracy(frame), by_model(per_run(frame)).set_index("model").epoch_time_s
    columns: Columns = {"Test accuracy": ("target", per_cent)}
    for model in found:
        columns[f"{LABELS[model]}, epochs"] = (model, reached_text)
        if (epoch_s := seconds[model]) > 0:
            columns[f"{LABELS[model]}, s"] = (model, lambda one, epoch_s=epoch_s: f"{one.epochs * epoch_s:,.1f}")
    rows, note = found.reset_index(names="target"), say("time_to_accuracy", len(columns) > 1 + len(seconds))
    return make_table("Time to accuracy", rows, columns, note, absent="not reached")


def efficiency_table(efficiency: Efficiency, *notes: str) -> Table:
    """A row per size: mean and 95 % interval of each model in per cent, and their difference in points."""
    columns: Columns = {"Training images": ("size", "{:,}".format)}
    columns |= {LABELS[model]: (model, number(".2f", 100)) for model in efficiency.sweep.models}
    if efficiency.difference:
        columns |= {"CNN - ViT, points": ("difference", number("+.2f", 100))}
    rows, title = efficiency.estimates.reset_index(names="size"), METRIC_TITLES[efficiency.metric]
    return make_table(title, rows, columns, *notes)


LAWS: Columns = {
    "Model": ("model", LABELS.__getitem__),
    "a": ("law.a", number(".2f")),
    "b (95 % interval)": ("law.exponent", number(".3f")),
    "Largest residual": ("law.max_residual", lambda residual: f"{100 * residual:.1f} %"),
    "Forecast error, %": ("law.forecast", number("+.1f", 100)),
}


def efficiency_tables(sweep: Sweep) -> list[Table]:
    """Accuracies by size and their differences, of the best epoch and of the last, and where the lead changes."""
    laws = sweep.analyses["best"].power_law
    rows = [SimpleNamespace(model=model, law=law) for model, law in laws.items()]
    method = sweep.analyses["best"].estimates[sweep.models[0]].iloc[0].interval
    longer = sweep.runs[sweep.runs.first_of_epochs.notna()]
    note = say("sweep", sweep.first, sweep.seeds, method.method if method else "", longer)
    about = note, *machines(sweep.runs), say("left_out", sweep.left_out.to_dict("records"))
    best, final = sweep.analyses.values()
    leads, leads_last = map(describe_crossover, (best, final))
    title = "Power law of the test error, a · images^(-b)"
    tables = [
        efficiency_table(best, leads, *about),
        efficiency_table(final, leads_last if leads_last != leads else ""),
        make_table(title, rows, LAWS, say("law")),
    ]
    return [table for table in tables if table.rows]


def variants_table(sweeps: Sequence[Sweep]) -> Table:
    """Sweeps side by side, at the sizes of all but the first: a row a size and sweep. Of one sweep it is empty."""
    sizes = {size for sweep in sweeps[1:] for size in sweep.sizes}
    best = [sweep.analyses["best"] for sweep in sweeps]
    rows = [
        {
            "size": size,
            "config": (config := one.sweep.first.config),
            "budget": budget_text(one.sweep),
            "epochs": config.training.epochs * (config.epoch_images or size) / size,
            "seeds": len(one.sweep.seeds),
            **one.estimates.loc[size],
        }
        for size in sorted(sizes)
        for one in best
        if size in one.sweep.sizes
    ]
    columns: Columns = {
        "Training images": ("size", "{:,}".format),
        "Subsets": ("config", lambda config: config.data.subsets),
        "Budget": ("budget", str),
        "Epochs": ("epochs", "{:g}".format),
        "Seeds": ("seeds", str),
    }
    frame = pd.DataFrame(rows)
    columns |= {LABELS[model]: (model, number(".2f", 100)) for model in MODELS if model in frame}
    columns |= {"CNN - ViT, points": ("difference", number("+.2f", 100))} if "difference" in frame else {}
    gained, others = compare_gains(sweeps), [one.runs.assign(budget=budget_text(one)) for one in sweeps[1:]]
    lost = " ".join(dict.fromkeys(say("left_out", one.left_out.to_dict("records")) for one in sweeps[1:]))
    notes = [say("gains", gained) if gained else "", *(machines(pd.concat(others)) if others else ()), lost]
    return make_table(f"Other subsets and budgets. {METRIC_TITLES['best']}", frame, columns, *notes)


def budget_text(sweep: Sweep) -> str:
    """What every size of a sweep has as much of."""
    return "equal steps" if sweep.first.config.epoch_images else "equal epochs"


def _arms(arms: tuple[Arm, Arm]) -> str:
    return " / ".join(f"{FRAMEWORKS[arm.framework]}, {arm.input} input" for arm in arms)


def _interval(found: Equivalence) -> str:
    if found.interval is None:
        return "one seed, no interval"
    return f"{found.interval.low:+.3f} to {found.interval.high:+.3f}"


AGREEMENT: Columns = {
    "Model": ("model", LABELS.__getitem__),
    "Training images": ("train_images", "{:,}".format),
    "Trained for": ("config", epochs_text),
    "A / B": ("arms", _arms),
    "A, %": ("first", "{:.2f}".format),
    "B, %": ("second", "{:.2f}".format),
    "A - B, points": ("found", lambda found: f"{found.mean:+.2f}"),
    "90 % interval": ("found", _interval),
    "Equivalent": ("found", lambda found: found.verdict),
    "Margin, points": ("margin", "{:g}".format),
    "Seeds": ("seeds", str),
    "Seeds needed": ("needed", "{:,}".format),
}


def agreement_table(runs: pd.DataFrame) -> Table:
    """Mean best accuracies of two kinds of runs, and whether they are shown to be equivalent within a margin; see
    `agreements`, for errors too."""
    rows = agreements(runs)
    columns = {
        title: column for title, column in AGREEMENT.items() if title != "Seeds needed" or rows.needed.notna().any()
    }
    notes = say("agreement", runs.iloc[0], "Seeds needed" in columns), say("origins", origins(runs))
    return make_table("JAX beside PyTorch, and device beside host input", rows, columns, *notes)


def score_table(score: Score) -> Table:
    """A prediction: question, what was predicted, what was measured."""
    predicted = score.prediction
    rows = [
        ("More accurate", *map(_name, (predicted.more_accurate, score.measured_more_accurate))),
        ("Faster per epoch", *map(_name, (predicted.faster, score.measured_faster))),
        ("Gap, points", *map(_points, (predicted.gap_points, score.measured_gap_points))),
    ]
    return Table(
        ("Question", "Predicted", "Measured"),
        rows,
        [f"The reason given: “{predicted.reasoning}”"] if predicted.reasoning else [],
    )


def _name(model: ModelName | None) -> str:
    return LABELS[model] if model else "-"


def _points(gap: float | None) -> str:
    return "-" if gap is None else f"{gap:.2f}"


def machines(runs: pd.DataFrame) -> list[str]:
    """On which machines, at which commits and with which versions runs were made; of several machines or commits, which
    runs on each."""
    runs = runs.assign(
        subsets=[f"{config.data.subsets} subsets" for config in runs.config],
        machine=runs.environment.map(device_text),
        versions=[versions_text(one, "jax", "flax", "torch") for one in runs.environment],
        git_commit=runs.git_commit.fillna(""),
    )
    made = [of for _, of in runs.groupby(["machine", "versions", "git_commit"], sort=False)]
    if len(made) == 1:
        return [say("machine", *runs.iloc[0][["environment", "git_commit"]])]
    parts = [_which(of, runs, [column for column in WHICH if column in runs]) for of in made]
    longest = max(parts, key=len)
    if len(longest) > 1:  # what is left is said in fewer words
        made.append(made.pop(parts.index(longest)))
        parts.remove(longest)
        parts.append(["all others"])
    places = [(and_text(which), of.iloc[0]) for which, of in zip(parts, made, strict=True)]
    return [say("machines", places), say("versions", runs.versions.unique().tolist())]


WHICH: dict[str, Callable[[list[Any]], str]] = {
    "budget": and_text,
    "subsets": and_text,
    "train_images": lambda sizes: and_text([f"{size:,}" for size in sizes]) + " images",
    "model": lambda models: and_text([LABELS[model] for model in models]),
    "seed": lambda seeds: f"seed{'s' if seeds[1:] else ''} {', '.join(map(str, seeds))}",
}
"""By column: how some of the runs are told from the others."""


def _which(some: pd.DataFrame, runs: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Which of the runs some of them are, exactly, in parts; one that is empty: all."""
    if not columns:
        return [""]
    first, *rest = columns
    values: dict[tuple[str, ...], list[Any]] = {}
    for value, own in some.groupby(first):
        values.setdefault(tuple(_which(own, runs[runs[first] == value], rest)), []).append(value)
    if len(values) == 1 and len(next(iter(values.values()))) == runs[first].nunique():
        return [*next(iter(values))]
    return [", ".join(filter(None, (WHICH[first](of), part))) for parts, of in values.items() for part in parts]
