"""The measurement itself: its grid, its mistakes, and one real cell of each framework."""

import dataclasses
import sys

import numpy as np
import pytest

import console
import training_speed
from jaxcompare.cells import Cell
from jaxcompare.config import DataConfig, InputError, TrainingConfig
from jaxcompare.data.datasets import load_dataset
from jaxcompare.measure.ceiling import measure_matmul_ceiling
from jaxcompare.twin import speed

ARGS = training_speed.Args(
    data=DataConfig("digits", train_size=40, subsets="independent"),
    training=TrainingConfig(epochs=2, batch_size=32, lr=1e-3),
)


@pytest.mark.parametrize("gpu", [False, True])
def test_the_grid_has_every_engine_once_and_its_baselines(gpu):
    cells = training_speed.build_grid(ARGS, gpu)
    assert len(cells) == len(set(cells)) == 2 * (10 if gpu else 7)
    assert [cell.seeds for cell in cells if cell.seeds > 1] == [8 if gpu else 4] * 2
    assert all(Cell("torch", model, "eager", "memory") in cells for model in ("cnn", "vit"))
    assert any(cell.engine == "cudagraphs" for cell in cells) is gpu


def test_a_cell_of_each_framework_is_measured_in_a_fresh_process():
    dataset = load_dataset(ARGS.data)
    for cell in (Cell("jax", "cnn", "epoch", "device", seeds=2), Cell("torch", "cnn", "eager", "memory")):
        record = training_speed.in_fresh_process(training_speed.measure_cell, cell, 1, ARGS, dataset)
        assert (record.cell, record.repeat, record.train_images, record.batch_size) == (cell, 1, 40, 32)
        assert (len(record.warm_up_time_s), len(record.epoch_time_s)) == (1, 1)
        assert 0 < record.image_time_s < 1
        assert 1e9 < record.ceiling_flops_per_s < 1e14
        assert record.execution["peak_bytes"]["process"] > 1e8
        assert (record.compile_time_s is None) == (cell.framework == "torch")
        assert record.environment["backend"] == "cpu"


def test_the_twins_timed_loop_trains(tiny_dataset, monkeypatch):
    """As many optimiser steps as batches and epochs, from the loss of the whole batch."""
    losses = []
    real = speed.cross_entropy
    monkeypatch.setattr(speed, "cross_entropy", lambda *a: losses.append(real(*a)) or losses[-1])
    monkeypatch.setattr(speed, "_measure_ceiling", lambda *_: 1.0)
    training = TrainingConfig(epochs=4, batch_size=32, lr=1e-3)
    timing = speed.time_epochs(Cell("torch", "cnn", "eager", "memory"), tiny_dataset, training)
    assert (len(timing.epoch_time_s), len(losses)) == (4, 12)
    assert float(losses[-1].detach()) < float(losses[0].detach())


@pytest.mark.parametrize(("engine", "precision"), [("cudagraphs", "float32"), ("eager", "tf32")])
def test_a_cell_that_needs_a_gpu_says_so(engine, precision, tiny_dataset):
    with pytest.raises(InputError, match="needs a GPU that PyTorch can use"):
        speed.time_epochs(Cell("torch", "cnn", engine, "memory", precision), tiny_dataset, TrainingConfig())


def test_the_ceiling_is_the_operations_over_the_median_time(monkeypatch):
    ticks = iter(np.cumsum([0.0] + [1.0, 2.0] * 8))
    monkeypatch.setattr("jaxcompare.measure.ceiling.time.perf_counter", lambda: next(ticks))
    assert measure_matmul_ceiling("float32") == 2 * 2048**3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--repeats", "0"), "--repeats: must be at least 1"),
        (("--epochs", "1"), "--epochs: must be more than 1"),
        (("--seeds", "1"), "--seeds: several"),
        (("--models", "cnn", "cnn"), "--models: give each model once"),
        (("--dataset", "digits", "--train-size", "5000"), "--train-size: 5000 is more than"),
        (("--precision", "half"), "half"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_measured(words, message, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["training_speed.py", *words, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        console.run(training_speed.Args, training_speed.main)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_frameworks_on_different_devices_are_refused(monkeypatch, tmp_path):
    real = training_speed.in_fresh_process
    answers = {training_speed.find_backend: "cpu", training_speed.find_torch_backend: "cuda"}
    monkeypatch.setattr(training_speed, "in_fresh_process", lambda f, *a: answers[f] if f in answers else real(f, *a))
    with pytest.raises(InputError, match="JAX runs on cpu, PyTorch on cuda: no comparison"):
        training_speed.main(dataclasses.replace(ARGS, out=tmp_path))
