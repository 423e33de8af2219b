"""The train step without this package's engines: what it computes, and how often Python traces it."""

import contextlib
import dataclasses
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import Toy, build_toy

from jaxcompare.cell_records import CellRecord
from jaxcompare.cells import RECIPE_STEPS, Cell
from jaxcompare.config import DataConfig, TrainingConfig
from jaxcompare.data.datasets import load_dataset
from jaxcompare.data.split import training_subset
from jaxcompare.jax_side import cell_engine, epochs
from jaxcompare.jax_side import side as jax_side
from jaxcompare.measure import ceiling, clock
from jaxcompare.side import Setup
from jaxcompare.sizes import DROPOUT_RATE
from jaxcompare.study import worker
from jaxcompare.study.gates import gate_of
from jaxcompare.study.study import describe_cell
from jaxcompare.training import learner
from jaxcompare.training.step import build_train_step, init_state

DATA = DataConfig("digits", train_size=32, image_size=8, subsets="independent")
TRAINING = TrainingConfig(epochs=2, batch_size=16, lr=1e-3)
ENGINES = ("op", "traced", "jit")

# That the models themselves come to the same by every engine is the gate's to show.
pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture(scope="module")
def setup():
    dataset = training_subset(load_dataset(DATA), DATA, 42)
    with tempfile.TemporaryDirectory() as batches:
        found = Setup(dataset, TRAINING, Path(batches))
        worker.prepare_batches([16], found)
        yield found


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(clock, "TURN_S", 0.0)
    monkeypatch.setattr(epochs, "measure_ceilings", lambda *_: ceiling.Ceilings(1.0, 1.0))


def cell_of(engine, **changes):
    return Cell("vit", engine, batch_size=16, **changes)


@contextlib.contextmanager
def open_cell(cell, setup):
    """What trains its epochs; each gives the state and the metrics."""
    with cell_engine.build_engine(cell, setup) as engine:
        train = epochs.train_from_start(engine)
        yield lambda epoch: train(epoch)[0]


@pytest.mark.slow
def test_plain_engines_train_alike_and_as_jit_of_the_whole_batch_does(setup):
    """Over four steps, whose losses follow from the updates before them; dropout on."""
    batches, whole = (
        setup.batches_of(cell_of("jit")),
        cell_engine.build_cells_learner(cell_of("jit"), setup),
    )
    network, tx = whole.model, whole.tx
    state = init_state(network, tx, jax.random.key(42), jnp.zeros((1, 8, 8, 3)))
    step, losses = jax.jit(build_train_step(network, tx)), []
    for batch in [*batches, *batches]:
        state, of_step = step(state, batch)
        losses.append(float(of_step.loss))
    for engine in ENGINES:
        with open_cell(cell_of(engine), setup) as train:
            found = [float(of_step.loss) for epoch in range(2) for of_step in train(epoch)[1]]
        np.testing.assert_allclose(found, losses, rtol=1e-5)


@pytest.mark.slow
def test_python_traces_a_step_every_time_or_once(setup, monkeypatch):
    calls, real = [], Toy.__call__

    def counted(self, *args, **kwargs):
        calls.append(kwargs["train"])
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Toy, "__call__", counted)
    traced = {}
    for engine in ENGINES:
        with open_cell(cell_of(engine), setup) as train:
            ahead = sum(calls)
            train(0)
            train(1)
        traced[engine] = ahead, sum(calls) - ahead
        calls.clear()
    assert traced == {"op": (0, 4), "traced": (1, 0), "jit": (1, 0)}


@pytest.mark.parametrize("engine", ENGINES)
def test_plain_engines_train_with_the_recipes_dropout(engine, setup, monkeypatch):
    """Another rate gives other losses, so it is used; without dropout there is none. Convolutions are XLA's own."""
    asked = []
    monkeypatch.setattr(
        learner, "build_model", lambda *args, **kwargs: asked.append(kwargs) or build_toy(*args, **kwargs)
    )
    losses = []
    for control, rate in ((None, DROPOUT_RATE), (None, 0.9), ("no-dropout", 0.9)):
        monkeypatch.setattr(cell_engine, "DROPOUT_RATE", rate)
        with open_cell(cell_of(engine, control=control), setup) as train:
            losses.append(float(train(0)[1][0].loss))
    assert [kwargs["dropout_rate"] for kwargs in asked] == [0.1, 0.9, 0.0]
    assert {kwargs["lowering"] for kwargs in asked} == {"direct"}
    assert len({round(loss, 4) for loss in losses}) == 3


def test_plain_jit_is_one_program_on_one_device_compiled_ahead(setup, quick):
    cell = cell_of("jit")
    timing = epochs.time_cell(cell, setup, lambda: None)
    assert set(timing.compile_times) == {"init", "train_step"}
    assert timing.programs == 2
    assert timing.first_step_time_s == []
    assert "computed_batch_size" not in timing.manifest
    engine = cell_engine.build_engine(cell, setup)
    with engine:
        train = epochs.train_from_start(engine)
        (state, _), _ = train(0)
        train(1)
        assert timing.memory["plan"] > sum(leaf.nbytes for leaf in jax.tree.leaves((state.params, state.opt_state)))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))  # donated
        assert "ENTRY" in engine.programs.compiled["train_step"].as_text()


def test_operations_are_compiled_in_the_first_epoch_and_counted(setup, quick):
    jax.clear_caches()  # other tests' operations are compiled already
    for engine in ("op", "traced"):
        cell = cell_of(engine)
        timing = epochs.time_cell(cell, setup, lambda: None)
        assert len(timing.first_step_time_s) == 2
        assert timing.compile_times == {}
        if engine == "op":
            assert timing.programs > 20


def test_an_epoch_of_the_recipes_length_has_as_many_steps(setup):
    """Timed once after one of warm-up; its time is one of all images that it shows."""
    cell = cell_of("epoch", control="long-epochs")

    def record_of(cell):
        return CellRecord(**describe_cell(cell, 1, setup, {gate_of(cell): ({}, "")}), epoch_time_s=[3.0, 2.0, 4.0])

    run, record = cell_engine.describe_run(cell, setup), record_of(cell)
    assert (run.epoch_images, run.training.epochs) == (RECIPE_STEPS * 16, 2)
    assert (record.train_images, record.epoch_images, record.steps) == (32, RECIPE_STEPS * 16, RECIPE_STEPS)
    assert record.image_time_s == pytest.approx(2 / (RECIPE_STEPS * 16))
    usual = record_of(dataclasses.replace(cell, control=None))
    assert (usual.epoch_images, usual.steps) == (32, 2)


@pytest.mark.parametrize("engine", [*ENGINES, "step"])
def test_only_this_packages_engines_make_a_device_of_each_core(engine, monkeypatch):
    asked = {}
    monkeypatch.setattr(jax_side, "configure_jax", lambda **kwargs: asked.update(kwargs))
    jax_side.start(cell_of(engine), Path("cache"))
    assert asked["split_cores"] is (engine == "step")
    # Operations by themselves are read from the usual cache, in every process.
    assert asked["cache"] == (True if engine in ("op", "traced") else Path("cache"))
