"""Engines execute one train step in several ways; the numbers are the same, alone or among other seeds."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcompare.config import DataConfig, ExecutionConfig, RunConfig, TrainingConfig
from jaxcompare.data import host
from jaxcompare.data.batch import Batch
from jaxcompare.data.device import Crops, plan_epoch
from jaxcompare.data.split import Dataset, Split
from jaxcompare.models import build_model
from jaxcompare.models.layers import add_parameter, keep_mask, matmul
from jaxcompare.models.vit import ViT
from jaxcompare.training import device_engine, placement
from jaxcompare.training import learner as learner_module
from jaxcompare.training.device_engine import DeviceEngine
from jaxcompare.training.engines import build_engine
from jaxcompare.training.fit import fit, fit_seeds
from jaxcompare.training.optimiser import build_optimiser
from jaxcompare.training.step import Metrics, MicroBatching, build_loss, init_state

pytestmark = pytest.mark.usefixtures("shallow", "small")

ONE, BOTH = jax.devices()[:1], jax.devices()[:2]
STEP, CHUNK, EPOCH = (ExecutionConfig(engine, "device", chunk_size=3) for engine in ("step", "chunk", "epoch"))


def config(model="toy", execution=STEP, **training):
    training = TrainingConfig(**{"batch_size": 8, "seed": 5} | training)
    return RunConfig("jax", model, DataConfig(image_size=8), training, execution)


def losses(config, dataset, seeds=(5,), devices=BOTH):
    """(seeds, 10) losses of two epochs of five steps, and the predictions that are then correct."""
    engine, evaluate = build_engine(config, dataset, seeds, devices)
    with engine:
        state = engine.init()
        parts = []
        for epoch in range(2):
            given = state
            state, metrics, _ = engine.train_epoch(state, epoch, lambda done: None)
            assert all(leaf.is_deleted() for leaf in jax.tree.leaves((given.params, given.opt_state)))  # donated
            parts += [np.asarray(call.loss) for call in metrics]
        return np.concatenate(parts, axis=1), evaluate(state.params)


SLOW = pytest.mark.slow
OTHERS = [(CHUNK, ONE), (EPOCH, ONE), (EPOCH, BOTH)]


@pytest.mark.parametrize(
    ("model", "others"),
    [("toy", OTHERS), *(pytest.param(model, OTHERS[-1:], marks=SLOW) for model in ("cnn", "vit"))],
)
def test_chunk_and_epoch_are_step(model, others, small_dataset):
    """Dropout and augmentation on, the short batch included, on one device and on two that share each batch."""
    with jax.enable_x64(True):
        reference, correct = losses(config(model, STEP), small_dataset, devices=ONE)
        assert reference.shape == (1, 10)
        assert reference.dtype == np.float64
        for execution, devices in others:
            other, other_correct = losses(config(model, execution), small_dataset, (5,), devices)
            np.testing.assert_allclose(other, reference, rtol=1e-9)
            np.testing.assert_array_equal(other_correct, correct)
    assert len(np.unique(reference)) == 10


@pytest.mark.parametrize("model", ["toy", pytest.param("cnn", marks=SLOW)])
def test_a_seed_among_others_is_that_seed_alone(model, small_dataset):
    """One after another, two at a time, and three on devices that do not divide them."""
    with jax.enable_x64(True):
        alone = [losses(config(model, EPOCH), small_dataset, [seed])[0][0] for seed in (5, 7)]
        for seeds, at_once in (([5, 6, 7, 8], 2), ([7, 6, 5], None)):
            execution = dataclasses.replace(EPOCH, seeds_per_call=at_once)
            together, _ = losses(config(model, execution), small_dataset, seeds)
            for seed, run in zip((5, 7), alone, strict=True):
                np.testing.assert_allclose(together[seeds.index(seed)], run, rtol=1e-9)
            assert len({tuple(run) for run in together}) == len(seeds)


def show_batches(monkeypatch):
    """Engines whose step learns nothing: its metrics are the images and labels that it was given."""

    def build_train_step(*_):
        return lambda state, batch: (state, Metrics(batch.images[..., 0], batch.labels * batch.mask))

    monkeypatch.setattr(learner_module, "build_train_step", build_train_step)


@pytest.mark.parametrize(("execution", "at_once"), [(STEP, None), (EPOCH, None), (EPOCH, 3)])
def test_seeds_in_one_program_draw_everything_for_themselves(execution, at_once, monkeypatch):
    """Order, crops and flips, dropout, initialisation: what two seeds shared would make every interval too narrow."""
    # One pixel's place tells an image's crop and flip, its label which image it is.
    source = np.zeros((64, 32, 32, 3), np.uint8)
    source[:, 15, 10] = 255
    marked = Split(source, np.arange(64, dtype=np.int32))
    dataset = Dataset("marked", tuple(map(str, range(64))), marked, marked, ((0.0,) * 3, (1.0,) * 3), "fingerprint")
    show_batches(monkeypatch)
    run, seeds = config("toy", dataclasses.replace(execution, seeds_per_call=at_once)), [5, 6, 7]
    orders, draws = [], []
    monkeypatch.setitem(placement.CPU_MICRO_BATCH_SIZES, "toy", 1)  # so that no batch is padded
    engine, _ = build_engine(run, dataset, seeds, jax.local_devices()[:1])
    with engine:
        state = engine.init()
        kernels = [np.asarray(leaf) for leaf in jax.tree.leaves(state.params)]
        keys = [np.asarray(jax.random.key_data(key)) for key in (state.dropout_key, state.data_key)]
        for epoch in (0, 1):
            state, metrics, _ = engine.train_epoch(state, epoch, lambda done: None)
            orders += np.concatenate([call.correct for call in metrics], axis=1).reshape(3, 64).astype(int).tolist()
            shown = np.concatenate([call.loss for call in metrics], axis=1).reshape(3, 64, -1)
            draws += list(shown.argmax(-1))
    assert all(sorted(order) == list(range(64)) for order in orders)
    assert len({tuple(order) for order in orders}) == len(draws) == 6
    for i, one in enumerate(draws):
        # By place in the epoch and by image: of 162 equally likely crops and flips.
        assert all((one == other).mean() < 0.15 for other in draws[:i])
        of_image = [draws[j][np.argsort(orders[j])] for j in range(i + 1)]
        assert all((of_image[i] == other).mean() < 0.15 for other in of_image[:i])
    assert len({tuple(key) for of_role in keys for key in of_role}) == 6
    for leaf in kernels:
        assert all((leaf[i] != leaf[j]).mean() > 0.9 for i, j in ((0, 1), (0, 2), (1, 2)))


def test_each_seeds_record_is_its_own(small_dataset):
    run = config("toy", EPOCH, epochs=2)
    subset = dataclasses.replace(run, data=DataConfig(train_size=20, subsets="nested", image_size=8))
    records, params = fit_seeds(subset, small_dataset, [5, 6])
    assert [(r.config.training.seed, r.train_images, r.status) for r in records] == [
        (5, 20, "complete"),
        (6, 20, "complete"),
    ]
    for i, record in enumerate(records):
        alone, alone_params = fit(subset.with_seed(5 + i), small_dataset)
        np.testing.assert_allclose(record.history.train_loss, alone.history.train_loss, rtol=1e-4)
        assert record.config == alone.config
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-3), params, alone_params)
    assert records[0].execution["seeds"] == 2


def test_one_diverging_seed_ends_alone(small_dataset, monkeypatch):
    real = DeviceEngine.train_epoch

    def train_epoch(self, state, epoch, on_step):
        state, metrics, waited = real(self, state, epoch, on_step)
        if epoch == 1:
            metrics = [call._replace(loss=call.loss.at[0].set(jnp.nan)) for call in metrics]
        return state, metrics, waited

    jnp.zeros((2, 5)).at[0].set(jnp.nan)  # compiled before the run, whose guard would see it
    monkeypatch.setattr(DeviceEngine, "train_epoch", train_epoch)
    monkeypatch.setattr("jaxcompare.measure.timing.CompileGuard.check", lambda *_, **__: None)
    (first, second), _ = fit_seeds(config("toy", EPOCH, epochs=3), small_dataset, [5, 6])
    assert (first.status, len(first.history.train_loss)) == ("diverged", 2)
    assert (second.status, len(second.history.train_loss)) == ("complete", 3)


def test_device_input_under_fixed_augmentation_is_host_input(small_dataset, monkeypatch):
    """The same order, crops and flips on both sides: the same losses, whole epochs long."""
    orders = [np.random.default_rng((5, epoch)).permutation(37).astype(np.int32) for epoch in range(2)]

    def fixed_plan(key, epoch, subset, batch_size, flip_probability, examples):
        assert len(subset) == examples == 37
        plan = plan_epoch(key, epoch, subset, batch_size, flip_probability, examples)
        return plan._replace(order=jnp.asarray(np.stack(orders))[epoch])

    monkeypatch.setattr(device_engine, "plan_epoch", fixed_plan)
    monkeypatch.setattr(
        "jaxcompare.data.device.draw_crops", lambda key, count, flip: Crops(*fixed_crops(jnp.asarray, count))
    )
    monkeypatch.setattr(host, "draw_crops", lambda count, generator, flip: fixed_crops(torch_array, count))
    on_host = dataclasses.replace(STEP, input="host")
    ours, theirs = (losses(config("toy", execution), small_dataset)[0] for execution in (STEP, on_host))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def torch_array(values):
    import torch

    return torch.from_numpy(values)


def fixed_crops(array, count):
    """Place i of a batch is cut at (i, i + 4) and mirrored if i is odd, whoever does it."""
    places = np.arange(count)
    return array(places % 9), array((places + 4) % 9), array(places % 2 == 1)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_bfloat16_stays_near_float32(model, small_dataset):
    """The bound: a logit is off by at most 3 % of the largest, and ten losses by 0.05 nats."""
    images = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype(np.float32)
    wide, narrow = (build_model(model, dtype=dtype) for dtype in (None, jnp.dtype(jnp.bfloat16)))
    key, options = jax.random.key(0), {"train": False}
    shapes = jax.eval_shape(functools.partial(narrow.init, **options), key, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    params = jax.jit(functools.partial(wide.init, **options))(key, images)
    (expected, _), (logits, activations) = (
        jax.jit(functools.partial(side.apply, **options))(params, images) for side in (wide, narrow)
    )
    assert logits.dtype == jnp.bfloat16
    assert all(activation.dtype == jnp.bfloat16 for activation in activations.values())
    difference = np.abs(np.asarray(logits, np.float32) - expected).max()
    assert 0 < difference < 0.03 * np.abs(expected).max()
    runs = [
        losses(config(model, dataclasses.replace(EPOCH, precision=precision)), small_dataset)[0]
        for precision in ("float32", "bfloat16")
    ]
    assert runs[1].dtype == np.float32
    assert 0 < np.abs(runs[0] - runs[1]).max() < 0.05


@pytest.mark.parametrize(("rows", "d_in", "d_out"), [(64, 12, 5), (64, 5, 12), (3, 12, 5), (64, 8, 8)])
def test_matmul_has_the_gradients_of_a_product(rows, d_in, d_out):
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernel = jnp.asarray(generator.normal(size=(rows, d_in))), jnp.asarray(generator.normal(size=(d_in, d_out)))
        for argument in (0, 1):
            ours, theirs = (
                jax.jit(jax.grad(lambda x, k, f=function: jnp.sum(jnp.sin(f(x, k))), argument))(x, kernel)
                for function in (matmul, jnp.matmul)
            )
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_dropout_masks_are_uncorrelated_across_layers_places_steps_seeds_and_neighbours(monkeypatch):
    """Of the ViT as it trains: seeds, steps, micro-batches, layers and the four places."""
    import jaxcompare.models.layers as layers

    seen = []

    def note(*args):
        mask = keep_mask(*args)
        jax.debug.callback(lambda m: seen.append(np.ravel(m)[:16_384]), mask, ordered=True)
        return mask

    monkeypatch.setattr(layers, "keep_mask", note)
    images = np.zeros((8, 32, 32, 3), np.float32)
    batch = Batch(images, np.zeros(8, np.int32), np.ones(8, np.float32))
    model, tx = ViT(10, 4, 128, 4, 2, 0.1, "hash", None), build_optimiser(TrainingConfig())
    init, loss = jax.jit(lambda key: init_state(model, tx, key, images)), jax.jit(build_loss(model, MicroBatching(4)))
    for seed in (0, 1):
        state = init(jax.random.key(seed))
        for step in (0, 1):
            loss(state._replace(step=jnp.int32(step)), batch)
    jax.effects_barrier()
    masks = np.stack(seen) - 0.9
    assert masks.shape == (2 * 2 * 2 * 2 * 4, 16_384)  # seeds, steps, micro-batches, layers, places
    size = masks.shape[1]
    off_diagonal = (masks @ masks.T / size / 0.09)[~np.eye(len(masks), dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(size)
    assert abs(off_diagonal.std() * np.sqrt(size) - 1) < 0.15  # as independent masks spread, no more and no less
    for lag in (1, 2, 3, 4, 8, 16, 64, 65, 128, 512):
        assert np.abs((masks[:, :-lag] * masks[:, lag:]).mean(1)).max() / 0.09 < 5 / np.sqrt(size - lag)


def test_bfloat16_sums_gradients_of_biases_in_float32():
    """8,192 rows of 0.3: a sum kept in bfloat16 would be a hundredth off."""
    x = jnp.full((8192, 4), 0.3, jnp.bfloat16)
    gradient = jax.grad(lambda bias: jnp.sum(add_parameter(x, bias) * x))(jnp.zeros(4))
    assert gradient.dtype == jnp.float32
    np.testing.assert_allclose(gradient, 8192 * float(jnp.bfloat16(0.3)), rtol=1e-5)
