"""The parity gate: each side passes it, and a planted fault does not."""

import dataclasses
import math
import sys
from pathlib import Path

import jax
import pytest
import torch

from jaxcompare import compat
from jaxcompare.cells import Cell
from jaxcompare.config import DataConfig, RunConfig, TrainingConfig
from jaxcompare.data.datasets import load_dataset
from jaxcompare.data.split import training_subset
from jaxcompare.measure.parity import Deviation, load_reference, measure_deviation, save_reference
from jaxcompare.models import layers
from jaxcompare.study import gates, worker
from jaxcompare.study.worker import Setup
from jaxcompare.training import gate
from jaxcompare.training.engine import Engine
from jaxcompare.training.engines import build_engine
from jaxcompare.twin import speed
from jaxcompare.twin.reference import compute_reference

DATA = DataConfig("digits", train_size=40, subsets="independent")
SETUP = Setup(training_subset(load_dataset(DATA), DATA, 42), TrainingConfig(epochs=2, batch_size=32, lr=1e-3), Path())


@pytest.fixture(scope="module", params=["cnn", "vit"])
def reference(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("gate") / "reference.npz"
    save_reference(path, compute_reference(request.param, SETUP.dataset, SETUP.training))
    return request.param, load_reference(path)


def jax_side(reference, seeds=1):
    model, found = reference
    config = SETUP.run_config(Cell(model, "step" if seeds == 1 else "epoch", "device", "float32", 32, seeds))
    side = gate.run_side(build_engine(config, SETUP.dataset, range(seeds), compiled=False, dropout=False), found)
    return measure_deviation(found.outcome["jax"], side)


def torch_side(reference, engine="eager"):
    model, found = reference
    outcome = speed.run_gate(Cell(model, engine), found, SETUP.training)
    return measure_deviation(found.outcome["torch"], outcome)


@pytest.mark.parametrize("seeds", [1, 2])
def test_jax_passes_the_gate(reference, seeds):
    assert jax_side(reference, seeds).exceeds("float32") == []


@pytest.mark.parametrize("engine", ["op", "traced", "jit"])
def test_plain_jax_passes_the_gate(engine, reference):
    model, found = reference
    outcome = gate.run_plain(engine, RunConfig("jax", model, DATA, SETUP.training), found)
    assert measure_deviation(found.outcome["jax"], outcome).exceeds("float32") == []


def test_pytorch_passes_the_gate(reference):
    deviation = torch_side(reference)
    assert deviation.exceeds("float32") == []
    assert 0 < deviation.logits < 1e-5  # float32 is not the float64 that it is held against


def test_the_gate_shuts_on_a_wrong_epsilon(reference, monkeypatch):
    if reference[0] == "cnn":
        pytest.skip("the CNN has no LayerNorm")
    real = speed.build_model

    def with_another_epsilon(*args, **kwargs):
        model = real(*args, **kwargs)
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = 1e-6
        return model

    monkeypatch.setattr(speed, "build_model", with_another_epsilon)
    assert torch_side(reference).exceeds("float32")


def test_the_gate_shuts_on_coarser_products(reference, monkeypatch):
    """As TF32's are: the inputs of every product rounded to 10 bits."""
    real = layers.matmul

    def coarse(x, kernel, *rest):
        return real(*(jax.lax.reduce_precision(part, 8, 10) for part in (x, kernel)), *rest)

    for module in (layers, sys.modules["jaxcompare.models.cnn"], sys.modules["jaxcompare.models.vit"]):
        if hasattr(module, "matmul"):
            monkeypatch.setattr(module, "matmul", coarse)
    assert jax_side(reference).exceeds("float32")


def test_the_gate_sees_what_an_engine_compiles(reference, monkeypatch):
    """An engine whose programs round their input, however right the model is that they are made of."""
    real = Engine.compile

    def rounds(self, name, function, *args, **options):
        def rounded(state, batch):
            return function(state, batch._replace(images=jax.lax.reduce_precision(batch.images, 8, 10)))

        return real(self, name, rounded, *args, **options)

    monkeypatch.setattr(Engine, "compile", rounds)
    assert jax_side(reference).exceeds("float32")


def test_what_was_not_rounded_passes_no_coarse_gate(reference):
    deviation = jax_side(reference)
    assert deviation.exceeds("float32") == []
    for precision in ("tf32", "bfloat16"):
        (message,) = deviation.exceeds(precision)
        assert message.endswith(f"only, as in float32: nothing was rounded to {precision}")


def test_bfloat16_passes_its_gate_on_both_sides(reference):
    model, found = reference
    if model == "cnn":
        pytest.skip("flat digits have ties in every max-pool, which rounding breaks in its own way")
    config = SETUP.run_config(Cell(model, "step", "device", "bfloat16", 32))
    engine = build_engine(config, SETUP.dataset, [42], compiled=False, dropout=False)
    assert measure_deviation(found.outcome["jax"], gate.run_side(engine, found)).exceeds("bfloat16") == []
    outcome = speed.run_gate(Cell(model, "eager", precision="bfloat16"), found, SETUP.training)
    assert measure_deviation(found.outcome["torch"], outcome).exceeds("bfloat16") == []


def test_channels_last_passes_the_gate(reference):
    model, found = reference
    outcome = speed.run_gate(Cell(model, "eager", control="channels-last"), found, SETUP.training)
    assert measure_deviation(found.outcome["torch"], outcome).exceeds("float32") == []


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
    assert gate.build_manifest(cell, SETUP.run_config(Cell("cnn", "step")))["tf32"] is tf32
    set_tf32(tf32, tf32)
    assert speed._build_manifest(dataclasses.replace(cell, engine="eager"), torch.device("cuda"))["tf32"] is tf32


def test_setting_up_a_float32_cell_turns_rounding_off(set_tf32):
    set_tf32(True, True)
    speed.set_up(Cell("cnn", "eager"))
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_nan_passes_no_gate():
    assert Deviation(math.nan, 0.0, 0.0).exceeds("bfloat16")


def test_a_gate_that_does_not_open_leaves_its_cells_without_a_time(monkeypatch):
    def answer(function, *arguments):
        if function is worker.pass_gate:
            far = arguments[0].framework == "torch"
            return {"logits": 0.5 if far else 0.0, "gradients": 0.0, "losses": 0.0}
        return None

    monkeypatch.setattr(gates, "in_fresh_process", answer)
    told = []
    opened = gates.open_gates([Cell("cnn", "eager", "recipe"), Cell("cnn", "chunk", "host")], SETUP, told.append)
    assert opened == {
        Cell("cnn", "eager"): (
            {"logits": 0.5, "gradients": 0.0, "losses": 0.0},
            "parity gate: logits off by 5.0e-01, 1e-05 allowed",
        ),
        Cell("cnn", "step"): ({"logits": 0.0, "gradients": 0.0, "losses": 0.0}, ""),
    }
    assert told == [
        "parity gates: 2 sides against PyTorch in float64, two at a time",
        "[1/2] parity gate: cnn PyTorch eager, float32: not timed: parity gate: logits off by 5.0e-01, 1e-05 allowed",
        "[2/2] parity gate: cnn JAX step, float32: passed",
    ]


def test_a_missing_compiler_is_why_a_cell_has_no_time(monkeypatch, tmp_path):
    for name in ("CXX", "CC"):
        monkeypatch.setenv(name, "/bin/false")
    monkeypatch.setenv(compat.TORCH_CACHE, str(tmp_path))
    ((parity, message),) = gates.open_gates([Cell("cnn", "compile")], SETUP, print).values()
    assert parity == {}
    assert "C++ compiler" in message
