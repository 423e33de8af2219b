"""The measurement itself: its grid, its mistakes, and one real cell of each framework."""

import dataclasses
import math
import os
import sys
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
import torch

import console
import training_speed
from jaxcompare.cells import Cell
from jaxcompare.config import DataConfig, InputError, RunConfig, TrainingConfig
from jaxcompare.data import host
from jaxcompare.data.datasets import load_dataset, training_subset
from jaxcompare.measure.ceiling import measure_matmul_ceiling
from jaxcompare.measure.cost import layer_costs
from jaxcompare.measure.parity import Deviation, load_reference, measure_deviation, save_reference
from jaxcompare.models import build_model, layers
from jaxcompare.training import engines, gate, optimiser
from jaxcompare.training import phases as jax_phases
from jaxcompare.training.engines import build_engine
from jaxcompare.twin import phases as twin_phases
from jaxcompare.twin import speed
from jaxcompare.twin.gate import compute_reference

ARGS = training_speed.Args(
    data=DataConfig("digits", train_size=40, subsets="independent"),
    training=TrainingConfig(epochs=2, batch_size=32, lr=1e-3),
)


@pytest.mark.parametrize("gpu", [False, True])
def test_the_grid_has_every_engine_once_and_its_baselines(gpu):
    cells = training_speed.build_grid(ARGS, gpu)
    assert len(cells) == len(set(cells)) == 2 * (11 if gpu else 9)
    assert [cell.seeds for cell in cells if cell.seeds > 1] == [8 if gpu else 4] * 2
    assert all(Cell("torch", model, "eager", "memory") in cells for model in ("cnn", "vit"))
    assert any(cell.engine == "cudagraphs" for cell in cells) is gpu


def test_a_cell_of_each_framework_is_measured_in_a_fresh_process():
    dataset = load_dataset(ARGS.data)
    for cell in (
        Cell("jax", "cnn", "epoch", "device", seeds=2),
        Cell("jax", "cnn", "op", "host"),
        Cell("torch", "cnn", "eager", "memory"),
    ):
        record = training_speed.measure_cell(cell, 1, ARGS, dataset, {"logits": 0.0})
        assert (record.cell, record.repeat, record.train_images, record.batch_size) == (cell, 1, 40, 32)
        assert (len(record.warm_up_time_s), len(record.epoch_time_s)) == (1, 1)
        assert 0 < record.image_time_s < 1
        assert 1e9 < record.ceiling_flops_per_s < 1e14
        assert record.execution["peak_bytes"]["process"] > 1e8
        assert (record.compile_time_s is None) == (cell.engine in ("op", "eager"))
        assert record.one_time_s >= (record.compile_time_s or 0)
        assert record.environment["backend"] == "cpu"
        assert not record.message


def dies(*_):
    os._exit(1)


def runs_out_of_memory(*_):
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 9 GB")


@pytest.mark.parametrize(
    ("failure", "message"), [(dies, "its process was killed"), (runs_out_of_memory, "RuntimeError: RESOURCE_EXHAUSTED")]
)
def test_a_cell_that_fails_is_a_record_that_says_so(failure, message, monkeypatch):
    monkeypatch.setattr(training_speed, "measure_torch", failure)
    dataset = load_dataset(ARGS.data)
    record = training_speed.measure_cell(Cell("torch", "cnn", "eager", "memory"), 0, ARGS, dataset, {})
    assert record.message.startswith(message)
    assert record.epoch_time_s == []


# The parity gate: each side passes it, and a planted fault does not.


@pytest.fixture(scope="module", params=["cnn", "vit"])
def reference(request, tmp_path_factory):
    dataset = load_dataset(ARGS.data)
    path = tmp_path_factory.mktemp("gate") / "reference.npz"
    computed = compute_reference(request.param, training_subset(dataset, ARGS.data, 42), ARGS.training)
    save_reference(path, computed)
    return request.param, dataset, load_reference(path)


def jax_side(reference, seeds=1):
    model, dataset, found = reference
    cell = training_speed.gate_of(Cell("jax", model, "chunk", "host", seeds=seeds))
    config = RunConfig("jax", model, ARGS.data, ARGS.training, training_speed.build_execution(cell))
    return measure_deviation(found.outcome["jax"], gate.run_side(build_engine(config, dataset, range(seeds)), found))


def torch_side(reference, engine="eager"):
    model, _, found = reference
    outcome = speed.run_gate(Cell("torch", model, engine, "memory"), found, ARGS.training)
    return measure_deviation(found.outcome["torch"], outcome)


@pytest.mark.parametrize("seeds", [1, 2])
def test_jax_passes_the_gate(reference, seeds):
    assert jax_side(reference, seeds).exceeds("float32") == []


def test_jax_without_jit_passes_the_gate(reference):
    model, _, found = reference
    config = RunConfig("jax", model, ARGS.data, ARGS.training)
    outcome = gate.run_op_by_op(config, found)
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


def test_a_gate_that_does_not_open_leaves_its_cells_without_a_time(monkeypatch, capsys):
    real = training_speed.in_fresh_process

    def answer(function, *arguments):
        if function is training_speed.pass_gate:
            far = arguments[0].framework == "torch"
            return {"logits": 0.5 if far else 0.0, "gradients": 0.0, "losses": 0.0}
        return None if function is training_speed.make_reference else real(function, *arguments)

    monkeypatch.setattr(training_speed, "in_fresh_process", answer)
    cells = [Cell("torch", "cnn", "eager", "memory"), Cell("jax", "cnn", "chunk", "host")]
    gates = training_speed.open_gates(cells, ARGS, load_dataset(ARGS.data))
    assert gates[training_speed.gate_of(cells[0])][1] == "parity gate: logits off by 5.0e-01, 1e-05 allowed"
    assert gates[training_speed.gate_of(cells[1])][1] == ""
    assert "is not timed" in capsys.readouterr().out


def test_nan_passes_no_gate():
    assert Deviation(math.nan, 0.0, 0.0).exceeds("bfloat16")


def test_a_missing_compiler_is_why_a_cell_has_no_time(monkeypatch, tmp_path):
    for name in ("CXX", "CC"):
        monkeypatch.setenv(name, "/bin/false")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    cell = Cell("torch", "cnn", "compile", "memory")
    ((parity, message),) = training_speed.open_gates([cell], ARGS, load_dataset(ARGS.data)).values()
    assert parity == {}
    assert "C++ compiler" in message


def test_every_timed_process_compiles_anew(tiny_dataset, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(speed, "_measure_ceiling", lambda *_: 1.0)
    found = []

    def compile(function, **_):
        def called(*args):
            folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
            found.append((folder, list(folder.iterdir())))
            return function(*args)

        return called

    monkeypatch.setattr(torch, "compile", compile)
    speed.time_epochs(Cell("torch", "cnn", "compile", "memory"), tiny_dataset, TrainingConfig(epochs=2))
    folders = {folder for folder, _ in found}
    assert len(folders) == 1
    assert folders != {tmp_path}
    assert found[0][1] == []
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)


# Phases: a planted sleep is found where it was planted.

PLANTED_MS = 40.0


def slowed(function):
    def slow(*args, **kwargs):
        time.sleep(PLANTED_MS / 1e3)
        return function(*args, **kwargs)

    return slow


def phases_of(framework):
    dataset = load_dataset(ARGS.data)
    if framework == "torch":
        subset = training_subset(dataset, ARGS.data, 42)
        return twin_phases.measure_phases(Cell("torch", "cnn", "eager", "memory"), subset, ARGS.training)
    config = RunConfig("jax", "cnn", ARGS.data, ARGS.training)
    with build_engine(config, dataset, [42]) as engine:
        return jax_phases.measure_phases(engine, dataset)


@pytest.mark.parametrize(
    ("framework", "phase"),
    [
        ("jax", "input"),
        ("jax", "copy"),
        ("jax", "update"),
        ("torch", "input"),
        ("torch", "forward"),
        ("torch", "update"),
    ],
)
def test_a_planted_sleep_is_found_in_its_phase(framework, phase, monkeypatch):
    if phase == "input":
        real = host._Batches.__getitem__
        monkeypatch.setattr(host._Batches, "__getitem__", slowed(real))
    elif phase == "copy":
        monkeypatch.setattr(engines.Engine, "put", slowed(engines.Engine.put))
    elif framework == "jax":
        # Inside the compiled step, where the optimiser's update is.
        real = optimiser.scale_by_adam

        def sleepy():
            tx = real()

            def update(updates, state, params=None):
                jax.debug.callback(lambda: time.sleep(PLANTED_MS / 1e3), ordered=False)
                return tx.update(updates, state, params)

            return optax.GradientTransformation(tx.init, update)

        monkeypatch.setattr(optimiser, "scale_by_adam", sleepy)
    elif phase == "forward":
        monkeypatch.setattr(speed, "cross_entropy", slowed(speed.cross_entropy))
    else:
        monkeypatch.setattr(torch.optim.AdamW, "step", slowed(torch.optim.AdamW.step))
    found = dataclasses.asdict(phases_of(framework))
    others = [name for name in ("input", "copy", "forward", "backward", "update") if name != phase]
    assert found[f"{phase}_ms"] > 0.8 * PLANTED_MS, found
    assert all(found[f"{name}_ms"] < 0.8 * PLANTED_MS for name in others), found


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


@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_flops_by_formula_are_xlas_but_for_padding(model):
    """XLA leaves out multiplications by a convolution's zero padding, and counts what the formulas leave out."""
    built = build_model(model, num_classes=10, dropout_generator="hash", lowering="direct", dtype=None)
    images = jax.ShapeDtypeStruct((8, 32, 32, 3), np.float32)

    def forward(params, images):
        return built.apply(params, images, train=False)[0]

    params = jax.eval_shape(lambda: built.init(jax.random.key(0), np.zeros(images.shape, np.float32), train=False))
    found = jax.jit(forward).lower(params, images).compile().cost_analysis()["flops"] / 8
    costs = {cost.layer: cost.flops_per_image for cost in layer_costs(model)}
    convolutions = {f"3x3 convolution {i + 1}": 32 >> i for i in range(3) if model == "cnn"}
    # Of a row's 3 taps at each of its pixels, the first pixel's left and the last one's right are padding.
    padding = sum(costs[name] * (1 - ((3 * side - 2) / (3 * side)) ** 2) for name, side in convolutions.items())
    assert padding == pytest.approx(2_350_336 if model == "cnn" else 0)
    assert found == pytest.approx(sum(costs.values()) - padding, rel=0.02)
