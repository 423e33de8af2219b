"""A run from config to record: what is counted, compiled, kept, and stopped."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from toy import build_toy

from jaxcompare.config import DataConfig, ExecutionConfig, RunConfig, TrainingConfig
from jaxcompare.data.batch import Batch
from jaxcompare.data.host import HostLoader, build_loaders
from jaxcompare.data.split import Split
from jaxcompare.measure.timing import CompileGuard, compile_ahead
from jaxcompare.torch_side import convert, models
from jaxcompare.torch_side import fit as torch_fit
from jaxcompare.training import learner as learner_module
from jaxcompare.training.engines import build_engine
from jaxcompare.training.fit import fit
from jaxcompare.training.optimiser import build_optimiser
from jaxcompare.training.step import (
    MicroBatching,
    build_train_step,
    init_state,
    sum_over_micro_batches,
)

pytestmark = pytest.mark.usefixtures("shallow")

SMALL = TrainingConfig(epochs=2, batch_size=32, seed=1)
DATA = DataConfig("digits", image_size=8)
MODELS = ("cnn", "vit")


def config(framework="jax", model="cnn", **training):
    return RunConfig(framework, model, DATA, dataclasses.replace(SMALL, **training))


HOST = ExecutionConfig("step", "host")
EXECUTIONS = {
    # What each engine compiles for three batches of 32 from 70 images: the chunk engine's last call is shorter.
    HOST: {"init", "train_step", "evaluate"},
    ExecutionConfig("chunk", "host", chunk_size=2): {"init", "train_2_steps", "train_step", "evaluate"},
    ExecutionConfig("step", "device"): {"init", "plan", "train_step", "evaluate"},
    ExecutionConfig("chunk", "device", chunk_size=2): {"init", "plan", "train_2_steps", "train_step", "evaluate"},
    ExecutionConfig("epoch", "device"): {"init", "train_epoch", "evaluate"},
}


@pytest.mark.parametrize("execution", EXECUTIONS, ids=lambda e: f"{e.engine}-{e.input}")
def test_a_run_compiles_each_program_once(execution, tiny_dataset, toy):
    run = dataclasses.replace(config(), execution=execution)
    with CompileGuard() as guard:
        record, _ = fit(run, tiny_dataset)
    assert set(record.compile_times) == EXECUTIONS[execution]
    guard.check(len(EXECUTIONS[execution]))
    assert len(guard.programs) == len(EXECUTIONS[execution])
    assert all(t.keys() == {"trace_s", "lower_s", "compile_s", "from_cache"} for t in record.compile_times.values())
    assert record.execution["planned_bytes"].keys() == record.compile_times.keys()
    assert record.execution["peak_bytes"]["process"] > 1e8


def test_every_engine_learns_the_same(tiny_dataset, toy):
    """Same keys, same numbers: whole runs, the short batch, dropout and augmentation included."""
    losses = {}
    for execution in EXECUTIONS:
        record, _ = fit(dataclasses.replace(config(), execution=execution), tiny_dataset)
        losses.setdefault(execution.input, []).append(record.history.train_loss)
    for of_input in losses.values():
        for other in of_input[1:]:
            np.testing.assert_allclose(other, of_input[0], rtol=1e-4)
    assert losses["host"][0] != losses["device"][0]  # draws of their own


# Dropout is on in training and off in evaluation.


def labelled(dataset, labels):
    return dataclasses.replace(dataset, test=Split(dataset.test.images, np.asarray(labels, np.int32)))


def all_at_once(dataset):
    """The test images as the pipeline has them."""
    with HostLoader(dataset.test, len(dataset.test), dataset.statistics) as loader:
        (batch,) = loader.epoch(0)
    return batch


@pytest.mark.parametrize("execution", [HOST, ExecutionConfig("epoch", "device")], ids=["host", "device"])
def test_a_model_is_evaluated_without_dropout(execution, tiny_dataset, monkeypatch):
    """The labels are what it predicts without: with 90 % of every activation dropped, it would miss most."""
    model, images = build_toy(num_classes=3, dropout_rate=0.9), all_at_once(tiny_dataset).images
    monkeypatch.setattr(learner_module, "build_model", lambda *_, **__: model)
    params = model.init(jax.random.key(1), images, train=False)["params"]

    def predict(**options):
        return np.asarray(model.apply({"params": params}, images, **options)[0])

    params["head"]["bias"] -= predict(train=False).mean(0)  # so that every class is predicted
    labels = predict(train=False).argmax(1)
    dropped = predict(train=True, rngs={"dropout": jax.random.key(0)}).argmax(1)
    assert (dropped != labels).sum() > 5
    run = dataclasses.replace(config(), execution=execution)
    engine, evaluate = build_engine(run, labelled(tiny_dataset, labels), [1])
    placement = engine.learner.placement
    of_one_seed = placement.put_stacked(jax.tree.map(lambda leaf: leaf[None], params))
    assert evaluate(of_one_seed).tolist() == [len(labels)]


def test_pytorchs_vit_is_evaluated_without_dropout_and_trained_with_it(tiny_dataset, monkeypatch):
    torch.manual_seed(0)
    model = models.build_model("vit", num_classes=3, image_size=8)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.9
    images, _ = torch_fit.to_tensors(all_at_once(tiny_dataset))
    with torch.no_grad():
        model.eval().head.bias -= model(images).mean(0)  # so that every class is predicted
        labels = model(images).argmax(1).numpy()
        dropped = model.train()(images).argmax(1).numpy()
    assert (dropped != labels).sum() > 5
    _, loader = build_loaders(labelled(tiny_dataset, labels), SMALL, workers=0)
    assert torch_fit.evaluate(model, loader) == len(labels)

    trained = []
    real = torch_fit.train_step
    monkeypatch.setattr(
        torch_fit, "train_step", lambda model, *rest: trained.append(model.training) or real(model, *rest)
    )
    torch_fit.fit(config("torch", "vit"), tiny_dataset)
    assert trained == [True] * 6  # in the second epoch too, after an evaluation


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_the_number_of_workers_changes_no_number(framework, tiny_dataset, toy):
    """Dropout included, whose draws in PyTorch are those of its own generator."""
    histories = []
    for workers in (0, 2):
        run = dataclasses.replace(config(framework, "vit"), data=dataclasses.replace(DATA, workers=workers))
        record, _ = (fit if framework == "jax" else torch_fit.fit)(run, tiny_dataset)
        histories.append(record.history)
    for field in ("train_loss", "train_accuracy", "test_accuracy"):
        assert getattr(histories[0], field) == getattr(histories[1], field)


def test_a_compilation_during_the_run_names_the_shape(tiny_dataset, toy):
    def compile_something(done):
        if done == 2:
            jax.jit(lambda x: x + 1)(np.zeros((3, 7), np.float32))

    with pytest.raises(RuntimeError, match=r"during epoch 1, 0 expected.*lambda.*float32\[3,7\]"):
        fit(config(), tiny_dataset, on_step=compile_something)


def test_another_shape_is_refused_not_recompiled():
    compiled, _ = compile_ahead(lambda x: x * 2, np.zeros(3, np.float32))
    with pytest.raises(TypeError, match=r"float32\[3\] and called with float32\[4\]"):
        compiled(np.zeros(4, np.float32))


@pytest.mark.parametrize("model", ["toy", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cnn", "vit"))])
def test_the_same_config_gives_the_same_numbers(model, small, tiny_dataset):
    histories = [fit(config(model=model), tiny_dataset)[0].history for _ in range(2)]
    for field in ("train_loss", "train_accuracy", "test_accuracy"):
        assert getattr(histories[0], field) == getattr(histories[1], field)
    other = fit(config(model=model, seed=2), tiny_dataset)[0].history
    assert other.train_loss != histories[0].train_loss


@pytest.mark.parametrize("run", [fit, torch_fit.fit])
@pytest.mark.parametrize("model", ["cnn", pytest.param("vit", marks=pytest.mark.slow)])
def test_records_are_complete_and_learn(run, model, tiny_dataset):
    seen = []
    framework = "torch" if run is torch_fit.fit else "jax"
    record, _ = run(config(framework, model, epochs=4, lr=1e-3), tiny_dataset, on_epoch=seen.append)
    assert [r.status for r in seen] == ["running"] * 3 + ["complete"]
    assert record == seen[-1]
    for field in dataclasses.fields(record.history):
        assert len(getattr(record.history, field.name)) == 4, field.name
    assert record.history.train_loss[-1] < record.history.train_loss[0]
    assert record.best_test_accuracy == max(record.history.test_accuracy) > 1 / 3
    assert (record.train_images, record.test_images, record.num_classes) == (70, 21, 3)
    assert record.environment["backend"] == "cpu"
    assert record.environment["versions"]["jax"]


def test_the_two_loops_agree_from_the_same_weights(tiny_dataset, monkeypatch):
    """Loss definition, short batch, train and test accuracy of a whole run: JAX's loop against PyTorch's."""
    torch.manual_seed(0)
    torch_model = models.build_model("cnn", num_classes=3, image_size=8)
    params = convert.to_flax("cnn", torch_model.state_dict())

    def with_pytorchs(model, tx, key, images):
        state = init_state(model, tx, key, images)
        return state._replace(params=jax.tree.map(jnp.asarray, params))

    monkeypatch.setattr(learner_module, "init_state", with_pytorchs)
    monkeypatch.setattr(torch_fit, "build_model", lambda *_, **__: torch_model)
    ours, _ = fit(config(epochs=3), tiny_dataset)
    theirs, _ = torch_fit.fit(config("torch", epochs=3), tiny_dataset)
    np.testing.assert_allclose(ours.history.train_loss, theirs.history.train_loss, atol=1e-4)
    assert ours.history.train_accuracy == pytest.approx(theirs.history.train_accuracy, abs=1.5 / 70)
    assert ours.history.test_accuracy == pytest.approx(theirs.history.test_accuracy, abs=1.5 / 21)


@pytest.mark.parametrize("run", [fit, torch_fit.fit])
def test_a_nan_loss_stops_the_run_and_keeps_its_record(run, tiny_dataset, toy):
    seen = []
    framework = "torch" if run is torch_fit.fit else "jax"
    with np.errstate(all="ignore"):
        record, _ = run(config(framework, epochs=30, lr=1e30), tiny_dataset, on_epoch=seen.append)
    assert record.status == "diverged"
    assert seen[-1] is record
    assert math.isnan(record.history.train_loss[-1])
    epoch = len(record.history.train_loss)
    assert epoch < 30
    assert record.message == f"the training loss is NaN in epoch {epoch}; try a lower --lr"


@pytest.mark.parametrize(("examples", "size"), [(10, None), (10, 10), (10, 16), (10, 5), (10, 4), (7, 1)])
def test_micro_batches_cover_a_batch_once(examples, size):
    mask = np.ones(examples, np.float32)
    batch = Batch(np.ones((examples, 2, 2, 1), np.float32), np.arange(examples, dtype=np.int32), mask)
    total = jax.jit(
        lambda b: sum_over_micro_batches(lambda i, part: (part.labels * part.mask).sum(), b, MicroBatching(size))
    )(batch)
    assert total == examples * (examples - 1) / 2


def test_a_micro_batch_is_told_its_place():
    batch = Batch(jnp.ones((20, 2, 2, 1)), jnp.arange(20, dtype=jnp.int32), jnp.ones(20))

    def by_place(first, part):
        return jnp.zeros(24).at[first].add((part.labels * part.mask).sum())

    alone = sum_over_micro_batches(by_place, batch, MicroBatching(8))
    assert alone[jnp.array([0, 8, 16])].tolist() == [28, 92, 70]
    halves = jax.tree.map(lambda x: x.reshape(2, 10, *x.shape[1:]), batch)
    shared = jax.vmap(lambda half: sum_over_micro_batches(by_place, half, MicroBatching(8, "axis")), axis_name="axis")(
        halves
    )
    assert shared[0][jnp.array([0, 8, 10, 18])].tolist() == [28, 17, 108, 37]


def test_micro_batches_draw_different_dropout_masks():
    # Two equal halves under equal masks would have one half's mean loss.
    half = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    batch = Batch(np.concatenate([half, half]), np.zeros(8, np.int32), np.ones(8, np.float32))
    model, tx = build_toy(), build_optimiser(SMALL)
    state = jax.jit(lambda key: init_state(model, tx, key, batch.images))(jax.random.key(0))
    one = Batch(half, np.zeros(4, np.int32), np.ones(4, np.float32))
    _, both = jax.jit(build_train_step(model, tx, MicroBatching(4)))(state, batch)
    _, single = jax.jit(build_train_step(model, tx, MicroBatching(4)))(state, one)
    assert abs(float(both.loss - single.loss)) > 1e-3
