"""The parity gate: each side passes it, and a planted fault does not."""

import dataclasses
import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxcompare.cells import Cell
from jaxcompare.compat import torch as compat
from jaxcompare.config import DataConfig, TrainingConfig
from jaxcompare.data.datasets import load_dataset
from jaxcompare.data.split import Split, training_subset
from jaxcompare.jax_side import epochs as jax_epochs
from jaxcompare.jax_side import side as jax_side
from jaxcompare.measure.parity import Deviation, load_reference
from jaxcompare.models import convolution, layers
from jaxcompare.side import Setup
from jaxcompare.study import gates, worker
from jaxcompare.torch_side import cell_step, resident
from jaxcompare.torch_side import epochs as torch_epochs
from jaxcompare.torch_side import models as torch_models
from jaxcompare.training.placement import Placement
from jaxcompare.training.programs import Programs

DATA = DataConfig("digits", train_size=40, subsets="independent", image_size=8)
SETUP = Setup(training_subset(load_dataset(DATA), DATA, 42), TrainingConfig(epochs=2, batch_size=32, lr=1e-3), Path())


@pytest.fixture(scope="module", params=["cnn", "vit"])
def reference(request, shallow, tmp_path_factory):
    """A model, and where the reference of it is. Sides pass the gate in this process, whose JAX has begun."""
    path = tmp_path_factory.mktemp("gate") / "reference.npz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_sleep_when_idle", lambda: None)
        patch.setattr(jax_side, "configure_jax", lambda **_: None)
        worker.make_reference(request.param, SETUP, path)
        # Of batches of the recipe's size, not the cells': here of all images there are.
        assert load_reference(path).labels.shape[1] == 40
        yield request.param, path


of_the_cnn, of_the_vit = (pytest.mark.parametrize("reference", [name], indirect=True) for name in ("cnn", "vit"))


def the_rest_slow(name, values, *fast):
    """Both models under each value of an argument, of which a few pairs are enough for every day."""
    return pytest.mark.parametrize(
        ("reference", name),
        [
            pytest.param(model, value, marks=() if (model, value) in fast else pytest.mark.slow)
            for model in ("cnn", "vit")
            for value in values
        ],
        indirect=["reference"],
    )


def pass_gate(reference, engine, **of_the_cell):
    model, path = reference
    return Deviation(**worker.pass_gate(gates.gate_of(Cell(model, engine, **of_the_cell)), SETUP, path))


@the_rest_slow("seeds", [1, 2], ("cnn", 1))
def test_jax_passes_the_gate_of_its_own_precision_alone(reference, seeds):
    """What was not rounded passes no coarse gate."""
    deviation = pass_gate(reference, "step" if seeds == 1 else "epoch", seeds=seeds)
    assert deviation.exceeds(reference[0], "float32") == []
    for precision in ("tf32", "bfloat16"):
        (message,) = deviation.exceeds(reference[0], precision)
        assert message.endswith(f"only, as in float32: nothing was rounded to {precision}")


@of_the_cnn
def test_seeds_at_once_pass_the_gate_as_on_a_gpu(reference, monkeypatch):
    monkeypatch.setattr(Placement, "seeds_at_once", lambda self, seeds: seeds)
    assert pass_gate(reference, "epoch", seeds=3, options=("im2col",)).exceeds(reference[0], "float32") == []


@the_rest_slow("engine", ["op", "traced", "jit"], ("cnn", "traced"), ("vit", "jit"))
def test_plain_jax_passes_the_gate(engine, reference):
    assert pass_gate(reference, engine).exceeds(reference[0], "float32") == []


@pytest.mark.parametrize(
    ("place", "options"),
    [
        (None, ()),
        ("resident", ()),
        ("resident", ("channels-last", "foreach")),
        (None, ("fused", "sdpa")),
        (None, ("dropout-bits",)),
        (None, ("replicas",)),
        ("resident", ("replicas", "slices-4")),
    ],
)
def test_pytorch_passes_the_gate(reference, place, options, monkeypatch):
    monkeypatch.setattr(cell_step, "cpu_cores", lambda: 2)
    deviation = pass_gate(reference, "eager", input=place, options=options)
    assert deviation.exceeds(reference[0], "float32") == []
    assert 0 < deviation.logits < 1e-5  # float32 is not the float64 that it is held against


@of_the_vit
def test_the_gate_refuses_a_wrong_epsilon(reference, monkeypatch):
    real = cell_step.build_model

    def with_another_epsilon(*args, **kwargs):
        model = real(*args, **kwargs)
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = 1e-6
        return model

    monkeypatch.setattr(cell_step, "build_model", with_another_epsilon)
    assert pass_gate(reference, "eager").exceeds(reference[0], "float32")


@of_the_cnn
def test_the_gate_refuses_padding_after_normalising(reference, monkeypatch):
    """Which makes the mean of zeros."""
    mean = round(255 * SETUP.dataset.statistics[0][0])
    monkeypatch.setattr(resident, "pad", functools.partial(resident.pad, value=mean))
    assert pass_gate(reference, "eager", input="resident").exceeds(reference[0], "float32")
    assert pass_gate(reference, "eager").exceeds(reference[0], "float32") == []


@of_the_cnn
def test_the_gate_refuses_another_decay_of_fused_adamw(reference, monkeypatch):
    real = cell_step.build_optimiser

    def with_another_decay(model, training, **implementation):
        return real(model, dataclasses.replace(training, weight_decay=5.0 * bool(implementation)), **implementation)

    monkeypatch.setattr(cell_step, "build_optimiser", with_another_decay)
    assert pass_gate(reference, "eager", options=("fused",)).exceeds(reference[0], "float32")


@of_the_vit
def test_the_gate_refuses_another_scale_of_attention(reference, monkeypatch):
    real = torch_models.scaled_dot_product_attention
    monkeypatch.setattr(torch_models, "scaled_dot_product_attention", functools.partial(real, scale=1.0))
    assert pass_gate(reference, "eager", options=("sdpa",)).exceeds(reference[0], "float32")


@pytest.mark.parametrize("options", [("slices-16",), ("im2col", "slices-2")])
@of_the_cnn
def test_jax_passes_the_gate_with_options(reference, options):
    assert pass_gate(reference, "step", options=options).exceeds(reference[0], "float32") == []


def rounded(function):
    """A function of two arrays whose inputs, and the gradient of whose result, are rounded to TF32's 10 bits."""

    def round_to_tf32(*arrays):
        return [jax.lax.reduce_precision(array, 8, 10) for array in arrays]

    @jax.custom_vjp
    def call(a, b):
        return function(*round_to_tf32(a, b))

    def backward(inputs, gradient):
        return jax.vjp(function, *round_to_tf32(*inputs))[1](*round_to_tf32(gradient))

    call.defvjp(lambda a, b: (call(a, b), (a, b)), backward)
    return call


@of_the_cnn
def test_the_gate_refuses_coarser_products(reference, monkeypatch):
    """As TF32's are: the inputs of every product rounded to 10 bits."""
    monkeypatch.setattr(layers, "matmul", rounded(layers.matmul))
    assert pass_gate(reference, "step").exceeds(reference[0], "float32")


@of_the_cnn
def test_the_gate_sees_what_an_engine_compiles(reference, monkeypatch):
    """An engine whose programs round their input, however right the model is that they are made of."""
    real = Programs.compile

    def rounds(self, name, function, *args, **options):
        def rounded(state, batch):
            return function(state, batch._replace(images=jax.lax.reduce_precision(batch.images, 8, 10)))

        return real(self, name, rounded, *args, **options)

    monkeypatch.setattr(Programs, "compile", rounds)
    assert pass_gate(reference, "step").exceeds(reference[0], "float32")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_coarser_precisions_pass_their_own_gates_and_no_fault_does(model, shallow, tmp_path, monkeypatch):
    """Of noise: flat digits have ties in every max-pool. A CPU has no TF32: what that rounds is rounded here."""
    rng = np.random.default_rng(0)
    noise = Split(rng.integers(0, 256, (128, 16, 16, 3), np.uint8), rng.integers(0, 10, 128).astype(np.int32))
    setup = dataclasses.replace(SETUP, dataset=dataclasses.replace(SETUP.dataset, train=noise))
    path = tmp_path / "reference.npz"
    monkeypatch.setattr(worker, "_sleep_when_idle", lambda: None)
    monkeypatch.setattr(jax_side, "configure_jax", lambda **_: None)
    worker.make_reference(model, setup, path)

    def pass_gate(engine, precision, options=(), setup=setup):
        cell = gates.gate_of(Cell(model, engine, precision=precision, options=options))
        return Deviation(**worker.pass_gate(cell, setup, path))

    faster = dataclasses.replace(setup, training=dataclasses.replace(setup.training, lr=1e-2))
    for engine in ("step", "eager"):
        rounded_more = pass_gate(engine, "bfloat16")
        assert rounded_more.exceeds(model, "bfloat16") == []
        assert rounded_more.exceeds(model, "tf32")
        assert pass_gate(engine, "bfloat16", setup=faster).exceeds(model, "bfloat16")
    einsum = jnp.einsum
    monkeypatch.setattr(layers, "matmul", rounded(jnp.matmul))
    monkeypatch.setattr(convolution, "direct", rounded(convolution.direct))
    monkeypatch.setattr(jnp, "einsum", lambda axes, *factors: rounded(functools.partial(einsum, axes))(*factors))
    assert pass_gate("step", "float32", ("direct",) if model == "cnn" else ()).exceeds(model, "tf32") == []


@pytest.fixture
def set_tf32():
    """Set PyTorch's two switches; afterwards they are as before."""
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]

    def set_both(*values):
        for place, value in zip(places, values, strict=True):
            place.allow_tf32 = value

    yield set_both
    set_both(*before)


@pytest.mark.parametrize("tf32", [False, True])
def test_manifests_say_whether_products_are_rounded(tf32, set_tf32):
    cell = Cell("cnn", "step", precision="tf32" if tf32 else "float32")
    assert jax_epochs.build_manifest(cell, SETUP)["tf32"] is tf32
    set_tf32(tf32, tf32)
    assert torch_epochs._build_manifest(dataclasses.replace(cell, engine="eager"), torch.device("cuda"))["tf32"] is tf32


def test_setting_up_a_float32_cell_turns_rounding_off(set_tf32):
    set_tf32(True, True)
    cell_step.start(Cell("cnn", "eager"))
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, False)


def test_nan_passes_no_gate():
    assert Deviation(math.nan, 0.0, 0.0).exceeds("cnn", "bfloat16")


def test_a_gate_that_does_not_open_leaves_its_cells_without_a_time(monkeypatch):
    def answer(function, *arguments):
        if function is worker.pass_gate:
            far = arguments[0].framework == "torch"
            return {"logits": 0.5 if far else 0.0, "gradients": 0.0, "losses": 0.0}
        return None

    monkeypatch.setattr(gates, "in_fresh_process", answer)
    lines = []
    opened = gates.open_gates([Cell("cnn", "eager", "recipe"), Cell("cnn", "chunk", "host")], SETUP, lines.append)
    assert opened == {
        Cell("cnn", "eager"): (
            {"logits": 0.5, "gradients": 0.0, "losses": 0.0},
            "parity gate: logits off by 5.0e-01, 1e-05 allowed",
        ),
        Cell("cnn", "step"): ({"logits": 0.0, "gradients": 0.0, "losses": 0.0}, ""),
    }
    assert lines == [
        "parity gates: 2 sides against PyTorch in float64, 2 at a time",
        "[1/2] parity gate: cnn PyTorch eager, prepared input: not timed: parity gate: logits off by 5.0e-01, 1e-05 "
        "allowed",
        "[2/2] parity gate: cnn JAX step, resident input: passed",
    ]


@pytest.mark.slow
@of_the_cnn
def test_a_missing_compiler_is_why_a_cell_has_no_time(reference, monkeypatch, tmp_path):
    """In a process of its own, which asks for the compiler once."""
    for name in ("CXX", "CC"):
        monkeypatch.setenv(name, "/bin/false")
    monkeypatch.setenv(compat.TORCH_CACHE, str(tmp_path))
    parity, message = gates._pass_gate(Cell("cnn", "compile"), SETUP, reference[1])
    assert parity == {}
    assert "C++ compiler" in message
