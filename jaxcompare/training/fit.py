"""One run, from config to record."""

import dataclasses
import time
from collections.abc import Callable
from datetime import UTC, datetime

import jax
import numpy as np

from jaxcompare.config import RunConfig
from jaxcompare.data.batch import Batch
from jaxcompare.data.datasets import Dataset, training_subset
from jaxcompare.data.host import build_loaders
from jaxcompare.measure.environment import describe_environment, git_commit
from jaxcompare.measure.timing import CompileCounter, compile_ahead
from jaxcompare.models import build_model
from jaxcompare.records import History, RunRecord, after_epoch
from jaxcompare.training.optimiser import build_optimiser
from jaxcompare.training.step import Params, build_eval_step, build_train_step, init_state

CPU_SLICE_SIZE = 16
"""Examples per slice of a batch on CPUs, few enough for their activations to stay in cache."""


def fit(
    config: RunConfig,
    dataset: Dataset,
    *,
    on_epoch: Callable[[RunRecord], None] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> tuple[RunRecord, Params]:
    """Train one model by the recipe: one call of a compiled train step per batch.

    The programs are compiled ahead of time, so that no epoch's time holds any compilation; a compilation during the
    run is an error.

    Args:
        config: what to run.
        dataset: both splits, as loaded; `config.data.train_size` is drawn here.
        on_epoch: called after each epoch with the record so far.
        on_step: called after each train step is dispatched with the number of steps dispatched in this epoch.

    Returns:
        The record, and the parameters after the last epoch. If the loss is no longer finite the run stops after that
        epoch and the record's status is "diverged".
    """
    training = config.training
    dataset = training_subset(dataset, config.data.train_size, training.seed)
    model = build_model(
        config.model, num_classes=len(dataset.class_names), dropout_generator=training.dropout_generator
    )
    tx = build_optimiser(training)

    shape = (training.batch_size, *dataset.train.images.shape[1:])
    batch = Batch(np.zeros(shape, np.float32), np.zeros(shape[0], np.int32), np.ones(shape[0], np.float32))
    seed = np.uint32(training.seed)
    init, init_times = compile_ahead(lambda seed: init_state(model, tx, jax.random.key(seed), batch.images[:1]), seed)
    state = init(seed)
    slice_size = CPU_SLICE_SIZE if jax.default_backend() == "cpu" else None
    train_step, train_times = compile_ahead(build_train_step(model, tx, slice_size), state, batch, donate_argnums=0)
    eval_step, eval_times = compile_ahead(build_eval_step(model, slice_size), state.params, batch)

    times = {"init": init_times, "train_step": train_times, "eval_step": eval_times}
    record = RunRecord(
        config=config,
        status="running",
        params=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        dataset_title=dataset.title,
        data_fingerprint=dataset.fingerprint,
        train_images=len(dataset.train),
        test_images=len(dataset.test),
        num_classes=len(dataset.class_names),
        history=History(),
        compile_times={name: dataclasses.asdict(phases) for name, phases in times.items()},
        execution={
            "engine": "step",
            "input": "host",
            "dtype": "float32",
            "slice_size": slice_size or training.batch_size,
            "conv_lowering": getattr(model, "lowering", None),
        },
        environment=describe_environment("jax"),
        git_commit=git_commit(),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )

    train_loader, test_loader = build_loaders(dataset, training, config.data.workers)
    with train_loader, CompileCounter() as compiles:
        for epoch in range(training.epochs):
            jax.block_until_ready(state)
            start = time.perf_counter()
            metrics = []
            for done, batch in enumerate(train_loader.epoch(epoch), 1):
                state, batch_metrics = train_step(state, batch)
                metrics.append(batch_metrics)
                if on_step:
                    on_step(done)
            jax.block_until_ready(state)
            trained = time.perf_counter()
            # One transfer per epoch: reading a metric within the epoch would stop the device.
            metrics = jax.device_get(metrics)
            correct = [eval_step(state.params, batch) for batch in test_loader.epoch(0)]
            test_accuracy = float(sum(jax.device_get(correct))) / len(dataset.test)
            evaluated = time.perf_counter()

            if compiles.count:
                raise RuntimeError(f"{compiles.count} program(s) compiled during epoch {epoch + 1}; expected none")

            record = after_epoch(
                record,
                train_loss=float(np.mean([m.loss for m in metrics], dtype=np.float64)),
                train_accuracy=float(sum(m.correct for m in metrics)) / len(dataset.train),
                test_accuracy=test_accuracy,
                epoch_time_s=trained - start,
                evaluation_time_s=evaluated - trained,
            )
            if on_epoch:
                on_epoch(record)
            if record.status == "diverged":
                break
    return record, state.params
