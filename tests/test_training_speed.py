"""The speed study as a user runs it: what it writes and shows, and every mistake."""

import json
from pathlib import Path

import jax
import pytest
from at_once import in_place_of_fresh_process
from jax.experimental.compilation_cache import compilation_cache
from toy import build_toy

import training_speed
from jaxcompare.cell_records import load_cells
from jaxcompare.compat import torch as compat
from jaxcompare.jax_side import costs
from jaxcompare.jax_side import side as jax_side
from jaxcompare.measure import ceiling, clock, runtime
from jaxcompare.measure.environment import cpu_cores
from jaxcompare.study import gates, process, study, turns, worker
from jaxcompare.study.process import CellFailed
from jaxcompare.torch_side import cell_step

# The command.


@pytest.fixture(params=["here", pytest.param("real", marks=pytest.mark.slow)])
def processes(request, monkeypatch):
    """Real ones; or what each would do done here, but for the gates, by PyTorch's CNN and a toy in JAX."""
    if request.param == "real":
        monkeypatch.setattr(study, "WORKERS", (2,))
        yield
        return

    def call(function, *arguments):
        if function is worker.pass_gate:
            return dict.fromkeys(("logits", "gradients", "losses"), 0.0)
        result, failure = process._outcome(function, arguments)
        if failure:
            raise CellFailed(failure)
        return result

    def configure(cache, **_):
        read_from(cache if isinstance(cache, Path) else before)

    def read_from(cache):
        jax.config.update("jax_compilation_cache_dir", str(cache))
        compilation_cache.reset_cache()

    request.getfixturevalue("toy")
    before = jax.config.values["jax_compilation_cache_dir"]
    for place, name, stub in (
        (gates, "in_fresh_process", call),
        (study, "in_fresh_process", call),
        (turns, "fresh_process", in_place_of_fresh_process(call)),
        (study, "WORKERS", (0,)),
        (jax_side, "configure_jax", configure),
        # What a process of its own may change, and this one may not.
        (process, "end_with_parent", lambda: None),
        (worker, "_sleep_when_idle", lambda: None),
        (compat, "keep_torch_programs", lambda folder: None),
        (runtime, "configure_jax", lambda **_: None),
        (cell_step, "cpu_cores", cpu_cores),
        # What takes long.
        (costs, "build_model", build_toy),
        (clock, "TURN_S", 0.0),
        (clock, "ceiling_sizes", lambda _: (64, 2**10)),
        (ceiling, "ceiling_sizes", lambda _: (64, 2**10)),
    ):
        monkeypatch.setattr(place, name, stub)
    yield
    read_from(before)


def test_the_command_measures_and_shows(processes, unset_malloc, run_script, capsys, tmp_path):
    """A cell of each framework; the other two kinds say why they are not measured."""
    words = "--dataset digits --train-size 64 --image-size 8 --batch-sizes 32 --models cnn --epochs 3 --repeats 1"
    words += f" --engines eager jit step --inputs resident --trace {tmp_path}/trace --out {tmp_path}/out"
    run_script(training_speed, *words.split())
    eager, plain, step, on_cores = load_cells(tmp_path / "out" / "cells.jsonl")
    assert eager.command == (
        "python experiments/training_speed.py --models cnn --engines eager jit step --inputs resident --batch-sizes 32 "
        "--epochs 3 --repeats 1 --dataset digits --train-size 64 --image-size 8"
    )
    assert plain.message == "plain JAX makes no batches; give it prepared input"
    assert on_cores.cell.options == ("channels-last", "fused", "replicas")
    for record in (eager, step, on_cores):
        assert record.message == ""
        assert max(record.parity.values()) < 5e-3
        assert min(record.image_time_s, record.ceiling_flops_per_s, record.copy_bytes_per_s) > 0
        assert record.memory["process"] > 1e8
    assert step.memory["plan"] > 1e4
    assert step.warm_compile_time_s > 0
    assert step.startup_s > step.import_time_s + step.build_time_s + step.compile_time_s
    recipe, _ = map(json.loads, (tmp_path / "out" / "inputs.jsonl").read_text().splitlines())
    assert recipe["images_per_s"] > 0
    out = capsys.readouterr().out
    assert "JAX plain jit, resident input, batches of 32: not measured (plain JAX makes no batches" in out
    assert list((tmp_path / "out" / "figures").glob("*.png"))
    assert (tmp_path / "trace" / "cnn-step-resident-float32-32-1" / "train_step.hlo.txt").exists()
    assert (tmp_path / "trace" / "cnn-eager-resident-float32-32-1-channels-last-fused-replicas" / "trace.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--repeats", "0"), "--repeats: must be at least 1"),
        (("--epochs", "1"), "--epochs: must be more than 1"),
        (("--seeds", "0"), "--seeds: must be at least 1"),
        (("--batch-sizes", "0"), "--batch-sizes: must be at least 1"),
        (("--batch-sizes", "32", "32"), "--batch-sizes: give one or more values, each once"),
        (("--models", "cnn", "cnn"), "--models: give each model once"),
        (("--engines", "fast"), "fast"),
        (("--inputs", "disk"), "disk"),
        (("--dataset", "digits", "--train-size", "5000"), "--train-size: 5000 is more than"),
        (("--dataset", "digits", "--train-size", "200"), "--train-size 200: JAX pads"),
        (("--precisions", "half"), "half"),
        (("--preset", "fast"), "--preset"),
        (("--workers", "2"), "--workers: every input"),
        (("--tune", "--engines", "eager"), "--tune: searches for cells of the default matrix"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_measured(words, message, unset_malloc, fail_script, tmp_path):
    unset_malloc.setattr(study, "find_gpu", lambda: False)
    assert message in fail_script(training_speed, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
