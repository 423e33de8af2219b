"""Records of runs that never were, with the outcomes that a test asks for."""

import dataclasses
from pathlib import Path

from jaxcompare.analysis.data_efficiency import build_sweep
from jaxcompare.config import DataConfig, ExecutionConfig, RunConfig, TrainingConfig
from jaxcompare.records import History, RunRecord
from jaxcompare.run_frame import per_run, to_frame

PARAMS = {"cnn": 620_362, "vit": 809_354}


def record(model="cnn", status="complete", losses=(2.0, 1.5), **kwargs) -> RunRecord:
    """A run of two epochs; more losses, or other fields."""
    n = len(losses)
    fields = {
        "config": RunConfig("jax", model, DataConfig("digits", Path("/secret/place")), TrainingConfig()),
        "params": 620_362,
        "dataset_title": "digits",
        "data_fingerprint": "abc",
        "train_images": 100,
        "test_images": 10,
        "num_classes": 10,
        "history": History(list(losses), [0.3] * n, [0.4, 0.5][:n], [2.0, 4.0][:n], [0.1] * n, [0.0] * n, [0.0] * n),
        "compile_times": {"train_step": {"trace_s": 1.0, "lower_s": 0.5, "compile_s": 2.0, "from_cache": False}},
        "execution": {"engine": "step"},
        "environment": {
            "versions": {"jax": "0.10.2", "flax": "0.12", "torch": "2.15"},
            "cpu": "CPU",
            "cpu_cores": 2,
            "backend": "cpu",
            "device": "cpu",
        },
        "git_commit": None,
        "started_at": "2026-01-01T00:00:00+00:00",
    }
    return RunRecord(status=status, **fields | kwargs)


def on_another(record) -> RunRecord:
    """The same on another machine."""
    return dataclasses.replace(record, environment=record.environment | {"cpu": "another"})


def runs_of(records):
    """A row a run."""
    return per_run(to_frame(records))


def sweep_of(records):
    """The largest complete one."""
    return build_sweep(runs_of(records))


def run(
    model, size, seed, accuracy, *, experiment="data_efficiency", train_accuracy=0.5, time_s=1.0, **changes
) -> RunRecord:
    """A complete run of two epochs, the better one first: `accuracy`, then a hundredth less."""
    history = History(
        [2.0, 1.0], [0.2, train_accuracy], [accuracy, accuracy - 0.01], [time_s] * 2, [0.1] * 2, [0.0] * 2, [0.0] * 2
    )
    data = DataConfig("digits", train_size=size, subsets="nested")
    base = record(model)
    config = dataclasses.replace(
        base.config,
        data=data,
        training=TrainingConfig(epochs=2, seed=seed),
        execution=ExecutionConfig("chunk", "device"),
    )
    fields = {"experiment": experiment, "params": PARAMS[model], "train_images": size, "history": history}
    return dataclasses.replace(base, config=config, **fields | changes)


def sweep(cnn, vit, seeds=5, spread=0.004, **changes) -> list[RunRecord]:
    """Runs of both models over sizes: `cnn` and `vit` give the mean accuracy by size; seeds differ by `spread`."""
    records = []
    for model, means in (("cnn", cnn), ("vit", vit)):
        for i, (size, mean) in enumerate(means.items()):
            for seed in range(seeds):
                # Of opposite signs in the two models and in turn over the sizes, so that no difference cancels it.
                offset = ((seed + i) % seeds - (seeds - 1) / 2) * spread * (1 if model == "cnn" else -1)
                time_s = size / 1000 * (1 if model == "cnn" else 5)
                records.append(run(model, size, seed, mean + offset, time_s=time_s, **changes))
    return records


def comparison(cnn=0.75, vit=0.65, seeds=1, cnn_time_s=10.0, vit_time_s=50.0, **changes) -> list[RunRecord]:
    """A full comparison of 1,000 images."""
    return [
        run(model, 1000, seed, accuracy + 0.002 * seed, experiment="full_comparison", time_s=time_s, **changes)
        for model, accuracy, time_s in (("cnn", cnn, cnn_time_s), ("vit", vit, vit_time_s))
        for seed in range(seeds)
    ]


def with_accuracy(base, accuracy, framework="jax", seed=0, place="host"):
    config = dataclasses.replace(base.config, framework=framework, execution=ExecutionConfig("step", place))
    history = History([1.0], [0.5], [accuracy], [1.0], [1.0], [0.0], [0.0])
    return dataclasses.replace(base, config=config.with_seed(seed), history=history)


def agreeing(torch=(0.59, 0.60)) -> list[RunRecord]:
    """Two seeds of every arm of an agreement."""
    arms = (("jax", "host", (0.60, 0.62)), ("torch", "host", torch), ("jax", "device", (0.61, 0.61)))
    return [
        with_accuracy(record(model), accuracy, framework, seed, place)
        for framework, place, accuracies in arms
        for model in ("cnn", "vit")
        for seed, accuracy in enumerate(accuracies)
    ]
