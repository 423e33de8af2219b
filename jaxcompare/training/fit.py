"""Runs, from config to record: one seed, or several in one program."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from jaxcompare.config import InputError, RunConfig
from jaxcompare.data.split import Dataset
from jaxcompare.measure.memory import peak_bytes
from jaxcompare.measure.others import watch_others
from jaxcompare.measure.run import begin_record
from jaxcompare.measure.timing import CompileGuard
from jaxcompare.records import RunRecord, after_epoch
from jaxcompare.training.checkpoints import Checkpoint, Checkpoints, without_keys
from jaxcompare.training.engines import build_engine
from jaxcompare.training.programs import explain_memory
from jaxcompare.training.step import Metrics, Params


def fit(
    config: RunConfig,
    dataset: Dataset,
    *,
    on_epoch: Callable[[RunRecord], None] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> tuple[RunRecord, Params]:
    """Train one model by the recipe; see `fit_seeds`. Returns the record and the parameters after the last epoch."""
    relay = (lambda records: on_epoch(records[0])) if on_epoch else None
    (record,), params = fit_seeds(config, dataset, [config.training.seed], on_epoch=relay, on_step=on_step)
    return record, jax.tree.map(lambda stacked: stacked[0], params)


def fit_seeds(
    config: RunConfig,
    dataset: Dataset,
    seeds: Sequence[int],
    *,
    on_epoch: Callable[[list[RunRecord]], None] | None = None,
    on_step: Callable[[int], None] | None = None,
    on_end: Callable[[list[RunRecord], Params], list[RunRecord]] | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[list[RunRecord], Params]:
    """Train an independent run for each of `seeds`, all in one program.

    Programs are compiled ahead of time, so that no epoch's time holds any compilation; a compilation during the run is
    an error. Each run ends as it would alone: one whose loss is no longer finite is "diverged" after that epoch, while
    the others go on.

    Args:
        config: what to run; it holds no "auto", and its seed gives way to `seeds`.
        dataset: both splits, as loaded; `config.data`'s subset is drawn here, for each seed.
        seeds: more than one needs device input.
        on_epoch: called after each epoch with the records so far, and once with those that a checkpoint had.
        on_step: called with the number of steps given to the device in this epoch, as it grows.
        on_end: called once with the last epoch's records and the parameters, before `on_epoch`; returns the records
            with what it adds.
        checkpoints: goes on from the latest of them, and keeps one after each epoch. However often a run goes on, its
            numbers are those of one that was never stopped.

    Returns:
        A record per seed, and the parameters after the last epoch as NumPy arrays with a leading axis of seeds.
    """
    with explain_memory(len(seeds)):
        engine, evaluate = build_engine(config, dataset, seeds)
    with explain_memory(len(seeds)), engine:
        state = engine.init()
        execution, compile_times = engine.facts, engine.programs.describe_times()
        params = engine.learner.count_params()
        record = begin_record(config, dataset, params=params, compile_times=compile_times, execution=execution)
        records, begun = [dataclasses.replace(record, config=config.with_seed(seed)) for seed in seeds], 0
        if checkpoints and (found := checkpoints.latest(state)):
            state = found.state
            if jax.process_index() == 0:  # where they were begun
                _check_same_place(found.records[0], records[0])
            records, begun = _go_on(found, records), found.epoch
            if on_epoch and begun < config.training.epochs:
                on_epoch(list(records))
        if checkpoints:
            engine.fetch(without_keys(state))  # what it takes is compiled now
        jax.block_until_ready(state)
        with CompileGuard() as guard:
            for epoch in range(begun, config.training.epochs):
                if all(record.status != "running" for record in records):
                    break
                others, start = watch_others(), time.perf_counter()
                state, metrics, input_wait_s = engine.train_epoch(state, epoch, on_step or (lambda done: None))
                jax.block_until_ready((state, metrics))
                trained = time.perf_counter()
                others_share, asked = others(), time.perf_counter()
                correct = evaluate(state.params)
                evaluated = time.perf_counter()
                guard.check(during=f"epoch {epoch + 1}")
                # One transfer per epoch: reading a metric within the epoch would stop the device.
                losses, hits = _gather(metrics)
                peak = peak_bytes()
                for i, record in enumerate(records):
                    if record.status != "running":
                        continue
                    records[i] = after_epoch(
                        dataclasses.replace(record, execution=record.execution | {"peak_bytes": peak}),
                        train_loss=float(np.mean(losses[i], dtype=np.float64)),
                        train_accuracy=float(np.sum(hits[i], dtype=np.float64)) / engine.epoch_images,
                        test_accuracy=float(correct[i]) / record.test_images,
                        epoch_time_s=(trained - start) / len(seeds),
                        evaluation_time_s=(evaluated - asked) / len(seeds),
                        input_wait_s=input_wait_s,
                        others_share=math.nan if others_share is None else others_share,
                    )
                if checkpoints:
                    # Copied now: the next epoch gives its buffers away.
                    checkpoints.keep(epoch + 1, engine.fetch(without_keys(state)), records)
                if on_epoch and any(record.status == "running" for record in records):
                    on_epoch(list(records))
        params = engine.fetch(state.params)
    if on_end:
        records = on_end(records, params)
    if on_epoch:
        on_epoch(list(records))
    return records, params


def _check_same_place(there: RunRecord, here: RunRecord) -> None:
    """Raise InputError, naming what differs, where the rest of a run would not be of one program with its beginning."""

    def place(record: RunRecord) -> dict[str, object]:
        computes = ("cpu", "cpu_cores") if here.environment["backend"] == "cpu" else ()
        about = {name: record.environment.get(name) for name in (*computes, "device")}
        about |= {name: record.environment["versions"].get(name) for name in ("jax", "jaxlib")}
        return about | {"commit": record.git_commit}

    before, now = place(there), place(here)
    for name, value in before.items():
        if now[name] != value:
            raise InputError(
                f"--out: a run that was stopped there began with {name} {value}, this is {now[name]}, so its end would "
                "not be the same program's; go on as it began, or give --fresh"
            )


def _go_on(found: Checkpoint, fresh: list[RunRecord]) -> list[RunRecord]:
    """A checkpoint's records, which say from which epoch on another process trained, and what it had compiled."""
    return [
        dataclasses.replace(
            record,
            execution=record.execution
            | {
                "resumed": [
                    *record.execution.get("resumed", []),
                    {
                        "after_epoch": found.epoch,
                        "at": new.started_at,
                        "compile_times": new.compile_times,
                        "devices": new.execution["devices"],
                        "processes": new.execution["processes"],
                    },
                ]
            },
        )
        for record, new in zip(found.records, fresh, strict=True)
    ]


def _gather(metrics: list[Metrics]) -> Metrics:
    """The metrics of an epoch, (seeds, steps), in host memory."""
    calls = jax.device_get(metrics)
    return Metrics(*(np.concatenate(parts, axis=1) for parts in zip(*calls, strict=True)))
