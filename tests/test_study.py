"""The study: its grid, the order of its processes, what it does about failures, and how it goes on."""

import contextlib
import csv
import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import in_processes
import jax
import pytest
import synthetic_speed as synthetic
from jax.experimental.compilation_cache import compilation_cache
from toy import build_toy

import training_speed
from jaxcompare.cell_records import Timing, load_cells
from jaxcompare.cells import Cell
from jaxcompare.compat import torch as compat
from jaxcompare.config import DataConfig, InputError, TrainingConfig
from jaxcompare.data.datasets import load_dataset
from jaxcompare.data.split import training_subset
from jaxcompare.jax_side import costs
from jaxcompare.jax_side import side as jax_side
from jaxcompare.measure import ceiling, clock, runtime
from jaxcompare.measure.environment import cpu_cores
from jaxcompare.measure.malloc import KEEP, PREFIXES, keep_freed_memory, malloc_settings, single_arena
from jaxcompare.side import Setup
from jaxcompare.study import gates, measured, process, study, worker
from jaxcompare.study.grid import Axes, build_grid, check_padding
from jaxcompare.study.process import CellFailed, in_fresh_process
from jaxcompare.torch_side import cell_step

DATA = DataConfig("digits", train_size=64, subsets="independent")
SETUP = Setup(training_subset(load_dataset(DATA), DATA, 42), TrainingConfig(epochs=2), Path("no batches"))
CELLS = [Cell("cnn", "eager"), Cell("cnn", "compile"), Cell("cnn", "step"), Cell("cnn", "epoch", "host")]


# The grid.


@pytest.mark.parametrize("gpu", [False, True])
def test_the_default_matrix_has_every_engine_and_its_baselines(gpu):
    cells = build_grid(Axes(("cnn", "vit")), gpu=gpu)
    assert len(cells) == len(set(cells)) == (17 + 14 if gpu else 10 + 9)
    more = build_grid(Axes(("cnn", "vit"), seeds=(1, 4)), gpu=gpu)
    assert [cell for cell in more if cell not in cells] == [Cell(model, "epoch", seeds=4) for model in ("cnn", "vit")]
    for model in ("cnn", "vit"):
        assert {Cell(model, "eager"), Cell(model, "eager", "recipe"), Cell(model, "epoch")} < set(cells)
    assert any(cell.engine == "cudagraphs" for cell in cells) is gpu
    assert not any(cell.refusal(gpu) for cell in cells)
    assert {cell.engine for cell in cells} == {"eager", "compile", "op", "traced", "jit", "step", "epoch"} | (
        {"cudagraphs"} if gpu else set()
    )
    assert {cell.input for cell in cells} == {"recipe", "arrays", "prepared", "resident"} | ({"host"} if gpu else set())


def test_axes_that_are_given_are_combined():
    axes = Axes(("vit",), ("eager", "epoch"), ("arrays", "resident"), ("float32", "bfloat16"), (64, 128), (1, 2))
    cells = build_grid(axes, gpu=False)
    assert len(set(cells)) == len(cells) == 2**5
    refused = {(cell.engine, cell.input, cell.seeds) for cell in cells if cell.refusal(False)}
    assert refused == {
        ("epoch", "arrays", 1),
        ("epoch", "arrays", 2),
        ("eager", "arrays", 2),
        ("eager", "resident", 1),
        ("eager", "resident", 2),
    }
    sweep = build_grid(Axes(("cnn",), batch_sizes=(128, 16, 512)), gpu=False)
    assert {(cell.engine, cell.input) for cell in sweep if cell.batch_size == 16} == {
        ("eager", "prepared"),
        ("step", "resident"),
    }
    assert [cell for cell in sweep if cell.batch_size == 128] == build_grid(Axes(("cnn",)), gpu=False)
    assert {cell.input for cell in build_grid(Axes(("cnn",), engines=("step",)), gpu=False)} == {"resident"}
    assert {cell.engine for cell in build_grid(Axes(("cnn",), inputs=("host",)), gpu=False)} == {
        "eager",
        "compile",
        "op",
        "traced",
        "jit",
        "step",
        "epoch",
    }


def test_a_size_that_jax_would_pad_is_refused():
    check_padding([Cell("cnn", "step"), Cell("cnn", "step", batch_size=32)], 512)
    check_padding([Cell("cnn", "step")], 50_000)  # 391 batches, the last of 80: 0.1 % more
    with pytest.raises(
        InputError, match=r"--train-size 500: JAX pads its last batch of 116 to 128, .* multiple of 128"
    ):
        check_padding([Cell("cnn", "step")], 500)
    with pytest.raises(InputError, match="multiple of 1024"):
        check_padding([Cell("cnn", "eager", batch_size=1024)], 512)


# Fresh processes.


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("dies", "its process was killed: out of memory, or stopped from outside"),
        ("runs_out_of_memory", "RuntimeError: RESOURCE_EXHAUSTED: Out of memory"),
        ("fills_the_disk", f"no space left in {tempfile.gettempdir()}; free some, or set TMPDIR to another folder"),
        ("cannot_be_sent", "Unsendable: neither here nor there"),
    ],
)
def test_a_process_that_fails_is_one_line(failure, message):
    with pytest.raises(CellFailed) as failed:
        in_fresh_process(getattr(in_processes, failure))
    assert str(failed.value) == message


@pytest.fixture
def unset_malloc(monkeypatch):
    """An environment without a setting of the allocator; what a test adds goes again."""
    for name in [*KEEP, *(name for name in os.environ if name.startswith(PREFIXES))]:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is what is set")
def test_a_fresh_process_keeps_freed_memory(unset_malloc):
    """Pages that are cleared again in every step are a cost by chance."""
    large, small, settings = in_fresh_process(in_processes.faults_of_blocks_taken_again)
    assert settings == ""
    assert min(large, small) > 10_000
    keep_freed_memory()
    large, small, settings = in_fresh_process(in_processes.faults_of_blocks_taken_again)
    assert settings == "MALLOC_MMAP_MAX_=0, MALLOC_TOP_PAD_=67108864, MALLOC_TRIM_THRESHOLD_=17179869184"
    assert max(large, small) < 1_000


def test_what_the_user_sets_of_the_allocator_stays_and_is_said(unset_malloc):
    unset_malloc.setenv("MALLOC_TOP_PAD_", "4096")
    unset_malloc.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    keep_freed_memory()
    assert malloc_settings().startswith("GLIBC_TUNABLES=glibc.malloc.arena_max=1, MALLOC_MMAP_MAX_=0, ")
    assert "MALLOC_TOP_PAD_=4096" in malloc_settings()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is what is set")
def test_plain_jit_keeps_its_large_blocks(unset_malloc):
    """XLA asks for them from a thread."""
    keep_freed_memory()
    found = {
        engine: study._in_cells_process(in_processes.faults_of_a_thread, Cell("vit", engine))
        for engine in ("jit", "step")
    }
    assert found["jit"] < 1_000
    assert found["step"] > 10_000
    assert "MALLOC_ARENA_MAX" not in os.environ


def test_the_allocators_settings_are_the_users_where_there_are_any(unset_malloc):
    with single_arena():
        assert malloc_settings() == ""  # as glibc has it by default
    keep_freed_memory()
    unset_malloc.setenv("MALLOC_ARENA_MAX", "2")
    with single_arena():
        assert os.environ["MALLOC_ARENA_MAX"] == "2"
    assert os.environ["MALLOC_ARENA_MAX"] == "2"


def test_any_exception_is_a_cells_failure():
    with pytest.raises(CellFailed, match="KeyError: 'key'"):
        in_fresh_process(in_processes.is_a_bug)


def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    """However that one ends: kill -9 leaves it no time to say so."""
    script = (
        "from jaxcompare.study.process import in_fresh_process; import in_processes, sys\n"
        "if __name__ == '__main__': in_fresh_process(in_processes.sleeps, sys.argv[1])"
    )
    (tmp_path / "parent.py").write_text(script)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "pid")]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}) as parent:
        child = int(_sooner_or_later(lambda: (tmp_path / "pid").read_text()))
        parent.kill()
    try:
        _sooner_or_later(lambda: _gone(child))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # A zombie has ended, and waits for whoever has taken it over to say that it knows.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _sooner_or_later(look, seconds=600):
    """What `look` finds, once it finds something. The limit only ends a test that fails, on a busy machine too."""
    for _ in range(10 * seconds):
        with contextlib.suppress(OSError):
            if found := look():
                return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


# The order of things, with processes that are none.


class Calls(list):
    """(function's name, first argument) of every process that would have been started, answered at once: by function's
    name, what it returns, raises, or makes of the first argument."""

    def __init__(self):
        super().__init__()
        self.answers = {
            "make_reference": None,
            "prepare_batches": None,
            "pass_gate": {"logits": 0.0, "gradients": 0.0, "losses": 0.0},
            "time_epochs": lambda cell: CellFailed("no compiler") if cell.engine == "compile" else made_up_timing(),
            "compile_warm": {"train_step": {"trace_s": 1.0, "lower_s": 1.0, "compile_s": 1.0}},
            "measure_phases": {k: v for k, v in synthetic.phases(synthetic.EAGER).items() if k.endswith("_ms")},
            "count_costs": synthetic.costs,
            "measure_inputs": [
                {"pipeline": name, "images": 9, "images_per_s": 1.0} for name in ("recipe", "jaxcompare")
            ],
        }

    def answer(self, function, *arguments):
        self.append((function.__name__, arguments[0]))
        found = self.answers[function.__name__]
        if callable(found):
            found = found(arguments[0])
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def calls(monkeypatch):
    made = Calls()
    for module in (gates, study):
        monkeypatch.setattr(module, "in_fresh_process", made.answer)
    for module in (measured, study):
        monkeypatch.setattr(module, "find_commit", lambda: "abc")
    return made


def made_up_timing():
    """A second an epoch."""
    made_up = synthetic.timed(synthetic.EAGER, 1.0)
    found = Timing(**{field.name: getattr(made_up, field.name) for field in dataclasses.fields(Timing)})
    return dataclasses.replace(found, epoch_time_s=[1.0], warm_up_time_s=[2.0], compile_times={})


def run(tmp_path, cells=CELLS, repeats=2):
    lines = []
    found = measured.load_measured(tmp_path, SETUP, cells)
    study.run_study(cells, repeats, SETUP, found, lines.append)
    return found, lines


def test_repeats_go_round_and_what_fails_is_a_row(calls, tmp_path):
    found, lines = run(tmp_path)
    assert load_cells(tmp_path / "cells.jsonl") == found.cells
    assert [record.repeat for record in found.cells] == [0] * 4 + [1] * 4
    assert [record.cell for record in found.cells[:4]] == CELLS
    # Later rounds have every cell too, each in another order.
    assert {record.cell for record in found.cells[4:]} == set(CELLS)
    assert [record.cell for record in found.cells[4:]] != CELLS
    # The compiler is asked once, and a cell that cannot be not at all.
    timed = [cell.engine for name, cell in calls if name == "time_epochs"]
    assert (timed[:3], sorted(timed[3:])) == (["eager", "compile", "step"], ["eager", "step"])
    messages = {cell: {r.message for r in found.cells if r.cell == cell} for cell in CELLS}
    assert messages[CELLS[1]] == {"no compiler"}
    assert messages[CELLS[3]] == {CELLS[3].refusal(False)}
    assert [cell for name, cell in calls if name == "compile_warm"] == [Cell("cnn", "step")]
    # Gates come before any clock.
    names = [name for name, _ in calls]
    assert names.index("time_epochs") > max(i for i, name in enumerate(names) if name == "pass_gate")
    assert [len(found.others[name]) for name in ("inputs", "phases", "costs")] == [8, 2, 1]
    assert lines.count("  not measured: no compiler") == 1
    assert any("about 1 min left" in line for line in lines)


def test_a_cell_whose_gate_is_refused_is_not_timed(calls, tmp_path):
    opened = calls.answers["pass_gate"]
    calls.answers["pass_gate"] = lambda gate: opened | {"logits": 0.5 * (gate.engine == "step")}
    found, _ = run(tmp_path, [Cell("cnn", "eager"), Cell("cnn", "chunk"), Cell("cnn", "op")], repeats=1)
    assert [record.message for record in found.cells] == [
        "",
        "parity gate: logits off by 5.0e-01, 1e-05 allowed",
        "",
    ]
    assert [cell.engine for name, cell in calls if name == "time_epochs"] == ["eager", "op"]
    # Nothing beside the cells is measured where none can be.
    calls.clear()
    with pytest.raises(InputError, match=r"no cell can be measured; the first: parity gate: logits off by 5\.0e-01"):
        run(tmp_path / "none", [Cell("cnn", "chunk"), CELLS[3], Cell("cnn", "cudagraphs")])
    # What needs a GPU is refused before a gate is tried.
    assert [cell for name, cell in calls if name == "pass_gate"] == [Cell("cnn", "step")]
    assert {name for name, _ in calls} == {"make_reference", "pass_gate"}
    assert not list((tmp_path / "none").glob("*"))


def test_details_can_be_left_out(calls, tmp_path):
    found = measured.load_measured(tmp_path, SETUP, CELLS)
    study.run_study(CELLS, 1, SETUP, found, lambda _: None, details=False)
    assert {name: len(lines) for name, lines in found.others.items()} == {"inputs": 0, "phases": 0, "costs": 1}
    assert training_speed.command_of(dataclasses.replace(training_speed.Args(), details=False)).endswith(
        " --no-details"
    )


def test_controls_come_beside_the_matrix():
    sizes, controls = (128, 32), ("no-dropout", "channels-last", "long-epochs")
    plain = build_grid(Axes(("cnn", "vit"), batch_sizes=sizes), gpu=False)
    cells = build_grid(Axes(("cnn", "vit"), batch_sizes=sizes, controls=controls), gpu=False)
    found = [cell for cell in cells if cell.control]
    assert [cell for cell in cells if not cell.control] == [cell for cell in plain if not cell.control]
    # What computes the same may be PyTorch's fastest: it is measured unasked.
    assert [(cell.model, cell.engine, cell.control) for cell in plain if cell.control] == [
        ("cnn", "eager", "channels-last")
    ]
    assert len(set(found)) == len(found)
    assert {(cell.model, cell.engine, cell.control) for cell in found} == {
        *(("vit", engine, "no-dropout") for engine in ("eager", "compile", "traced", "jit", "step")),
        *(("cnn", engine, "channels-last") for engine in ("eager", "compile")),
        *(("cnn", engine, "long-epochs") for engine in ("step", "epoch")),
    }
    assert {cell.control for cell in found if cell.same_step} == {"channels-last"}
    assert {(cell.batch_size, cell.on_device, cell.seeds) for cell in found} == {(128, True, 1)}
    some = build_grid(Axes(("cnn",), engines=("eager", "step"), controls=("channels-last",)), gpu=False)
    assert [cell.title for cell in some if cell.control] == ["PyTorch eager, prepared input, channels last"]
    with pytest.raises(InputError, match=r"--controls long-epochs: is of the cnn's step, epoch on the device"):
        build_grid(Axes(("vit",), controls=("long-epochs",)), gpu=False)
    # The strongest opponent is measured wherever PyTorch eager is.
    (opponent,) = (cell for cell in build_grid(Axes(("cnn",), engines=("eager",)), gpu=False) if cell.control)
    assert opponent.control == "channels-last"
    # Dropout is off in every gate; the layout is not the same.
    assert {gates.gate_of(cell).control for cell in found} == {None, "channels-last"}


def test_the_table_for_data_frames_has_a_row_a_process(calls, tmp_path):
    run(tmp_path)
    rows = list(csv.DictReader((tmp_path / "cells.csv").read_text().splitlines()))
    assert [(row["engine"], row["repeat"], row["step_time_s"], row["message"][:11]) for row in rows[:2]] == [
        ("eager", "0", "1.0", ""),
        ("compile", "0", "", "no compiler"),
    ]
    assert rows[2]["framework"] == "jax"
    assert rows[2]["warm_compile_s"] == "3.0"


def test_batches_that_cannot_be_prepared_end_the_command(calls, tmp_path):
    calls.answers["prepare_batches"] = CellFailed("OSError: no space left on device")
    with pytest.raises(InputError, match=r"cannot be prepared in no batches: OSError: no space left on device"):
        run(tmp_path, [Cell("cnn", "eager")], repeats=1)
    with pytest.raises(InputError, match="cannot be prepared"):
        study.save_traces([Cell("cnn", "eager")], SETUP, tmp_path, print)
    assert not list(tmp_path.iterdir())


def test_a_failed_warm_compilation_leaves_the_cold_one(calls, tmp_path):
    calls.answers["compile_warm"] = CellFailed("compiled anew")
    found, lines = run(tmp_path, [Cell("cnn", "step")], repeats=1)
    assert (found.cells[0].message, found.cells[0].warm_compile_times) == ("", {})
    assert found.cells[0].epoch_time_s == [1.0]
    assert "  no warm compilation: compiled anew" in lines


def test_a_measurement_goes_on_where_it_stopped(calls, tmp_path, monkeypatch):
    real, count = study.measure_cell, 0

    def stops(*args):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(study, "measure_cell", stops)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    kept = load_cells(tmp_path / "cells.jsonl")
    assert len(kept) == 2
    found, _ = run(tmp_path)
    assert found.cells[:2] == kept
    assert {(record.cell, record.repeat) for record in found.cells} == {(c, r) for r in range(2) for c in CELLS}
    calls.clear()
    run(tmp_path)
    assert calls == []
    # Cells measured later would not stand beside these.
    with pytest.raises(InputError, match="holds cnn PyTorch eager, prepared input, which this call does not measure"):
        run(tmp_path, [Cell("cnn", "step")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": TrainingConfig(epochs=3)}, "--epochs is 2 there and 3 here"),
        ({"training": TrainingConfig(epochs=2, seed=7)}, "--seed is 42 there and 7 here"),
        (
            {"dataset": dataclasses.replace(SETUP.dataset, fingerprint="other")},
            "what is in the images \\(--dataset, --image-size\\) is",
        ),
        ({}, "--malloc is default there and MALLOC_MMAP_MAX_=0, MALLOC_TOP_PAD_=67108864"),
    ],
)
def test_another_measurement_in_the_folder_is_refused(calls, tmp_path, change, message, unset_malloc):
    run(tmp_path)
    before = (tmp_path / "cells.jsonl").read_text()
    if not change:
        keep_freed_memory()
    with pytest.raises(InputError, match=message):
        measured.load_measured(tmp_path, dataclasses.replace(SETUP, **change), CELLS)
    assert (tmp_path / "cells.jsonl").read_text() == before


def test_a_measurement_of_another_commit_can_be_read_and_not_gone_on_with(calls, tmp_path, monkeypatch):
    run(tmp_path)
    for module in (measured, study):
        monkeypatch.setattr(module, "find_commit", lambda: "def")
    run(tmp_path)
    with pytest.raises(InputError, match="begun at commit abc; this is def"):
        run(tmp_path, repeats=3)


def test_frameworks_on_different_devices_are_refused(monkeypatch):
    monkeypatch.setattr(study, "in_fresh_process", lambda _, name: {"jax": "cpu", "torch": "cuda"}[name])
    with pytest.raises(InputError, match="JAX runs on cpu, PyTorch on cuda: no comparison"):
        study.find_gpu()
    monkeypatch.setattr(study, "in_fresh_process", lambda _, name: {"jax": "gpu", "torch": "cuda"}[name])
    assert study.find_gpu()


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
        (clock, "TIMED_S", 0.0),
        (clock, "ceiling_sizes", lambda _: (64, 2**10)),
        (ceiling, "ceiling_sizes", lambda _: (64, 2**10)),
    ):
        monkeypatch.setattr(place, name, stub)
    yield
    read_from(before)


def test_the_command_measures_and_shows(processes, unset_malloc, run_script, capsys, tmp_path):
    """A cell of each framework; the other two kinds say why they are not measured."""
    words = "--dataset digits --train-size 64 --image-size 8 --batch-sizes 32 --models cnn --epochs 4 --repeats 1"
    words += f" --engines eager cudagraphs step --trace {tmp_path}/trace --out {tmp_path}/out"
    run_script(training_speed, *words.split())
    eager, graphs, step, last = load_cells(tmp_path / "out" / "cells.jsonl")
    assert eager.command == (
        "python experiments/training_speed.py --models cnn --engines eager cudagraphs step --batch-sizes 32 --epochs 4 "
        "--repeats 1 --dataset digits --train-size 64 --image-size 8"
    )
    assert graphs.message == "CUDA graphs need a GPU that PyTorch can use"
    assert last.cell.control == "channels-last"
    for record in (eager, step, last):
        assert record.message == ""
        assert max(record.parity.values()) < 5e-3
        assert min(record.image_time_s, record.ceiling_flops_per_s, record.copy_bytes_per_s) > 0
        assert record.memory["process"] > 1e8
    assert step.memory["plan"] > 1e4
    assert step.warm_compile_time_s > 0
    recipe, _ = map(json.loads, (tmp_path / "out" / "inputs.jsonl").read_text().splitlines())
    assert recipe["images_per_s"] > 0
    out = capsys.readouterr().out
    assert "torch.compile with CUDA graphs, prepared input, batches of 32: not measured (CUDA graphs need a GPU" in out
    assert list((tmp_path / "out" / "figures").glob("*.png"))
    assert (tmp_path / "trace" / "cnn-step-resident-float32-32-1" / "train_step.hlo.txt").exists()
    assert (tmp_path / "trace" / "cnn-eager-prepared-float32-32-1-channels-last" / "trace.json").exists()


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
    ],
)
def test_mistakes_are_one_line_before_anything_is_measured(words, message, unset_malloc, fail_script, tmp_path):
    unset_malloc.setattr(study, "find_gpu", lambda: False)
    assert message in fail_script(training_speed, *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("jaxcompare.torch_side.side, jaxcompare.torch_side.phases", "jax"),
        ("jaxcompare.jax_side.side, jaxcompare.training.engines", "torch"),
    ],
)
def test_what_a_cell_trains_with_imports_one_framework(modules, absent):
    program = f"import sys, {modules}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
