"""The study: the order of its processes, what it does about failures, and how it goes on."""

import csv
import dataclasses
from pathlib import Path

import pytest
import synthetic_speed as synthetic
from at_once import in_place_of_fresh_process

import training_speed
from jaxcompare.cell_records import Timing, load_cells
from jaxcompare.cells import Cell
from jaxcompare.config import DataConfig, InputError, TrainingConfig
from jaxcompare.data.datasets import load_dataset
from jaxcompare.data.split import training_subset
from jaxcompare.measure.malloc import keep_freed_memory
from jaxcompare.side import Setup
from jaxcompare.study import gates, measured, study, turns, worker
from jaxcompare.study.process import CellFailed

DATA = DataConfig("digits", train_size=64, subsets="independent")
SETUP = Setup(training_subset(load_dataset(DATA), DATA, 42), TrainingConfig(epochs=2), Path("no batches"))
CELLS = [Cell("cnn", "eager", "resident"), Cell("cnn", "compile"), Cell("cnn", "step"), Cell("cnn", "epoch", "host")]


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
        if isinstance(found, BaseException):
            raise found
        return found


@pytest.fixture
def calls(monkeypatch):
    made = Calls()
    for module in (gates, study):
        monkeypatch.setattr(module, "in_fresh_process", made.answer)
    monkeypatch.setattr(turns, "fresh_process", in_place_of_fresh_process(made.answer))
    for module in (measured, study):
        monkeypatch.setattr(module, "find_commit", lambda: "abc")
    return made


def made_up_timing():
    """A second an epoch."""
    made_up = synthetic.timed(synthetic.EAGER, 1.0)
    found = Timing(**{field.name: getattr(made_up, field.name) for field in dataclasses.fields(Timing)})
    return dataclasses.replace(found, epoch_time_s=[1.0], warm_up_time_s=[2.0], compile_times={})


def run(tmp_path, cells=CELLS, repeats=2, setup=SETUP):
    lines = []
    found = measured.load_measured(tmp_path, setup, cells)
    study.run_study(cells, repeats, setup, found, lines.append)
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
    assert lines.count(f"  {CELLS[1].title}: not measured: no compiler") == 1
    assert any("about 1 min left" in line for line in lines)


def test_every_round_after_the_first_has_an_order_of_its_own(calls, tmp_path):
    cells = [Cell("cnn", engine) for engine in ("eager", "jit", "step", "chunk", "epoch")]
    run(tmp_path, cells, repeats=3)
    timed = [cell for name, cell in calls if name == "time_epochs"]
    rounds = [tuple(timed[first : first + 5]) for first in (0, 5, 10)]
    assert rounds[0] == tuple(cells)
    assert len(set(rounds)) == 3
    assert {frozenset(of_round) for of_round in rounds} == {frozenset(cells)}


def test_a_control_takes_its_turns_apart(calls, tmp_path):
    cells = [Cell("vit", "eager"), Cell("vit", "step", control="no-dropout"), Cell("vit", "step")]
    _, lines = run(tmp_path, cells, repeats=1)
    titles = [line.partition("] ")[2] for line in lines]
    assert "vit, batches of 128: 2 executions in turn" in titles
    assert f"vit {cells[1].execution}" in titles


def test_on_a_gpu_a_cell_is_on_disk_before_the_next_begins(calls, tmp_path):
    cells = [Cell("vit", "eager"), Cell("vit", "step")]
    answer, kept = calls.answers["time_epochs"], []

    def note(cell):
        file = tmp_path / "cells.jsonl"
        kept.append(len(load_cells(file)) if file.exists() else 0)
        return answer(cell)

    calls.answers["time_epochs"] = note
    run(tmp_path, cells, repeats=1, setup=dataclasses.replace(SETUP, gpu=True))
    assert kept == [0, 1]


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
        run(tmp_path / "none", [Cell("cnn", "chunk"), CELLS[3], synthetic.GRAPHS])
    # What needs a GPU is refused before a gate is tried.
    assert [cell for name, cell in calls if name == "pass_gate"] == [Cell("cnn", "step")]
    assert {name for name, _ in calls} == {"make_reference", "pass_gate"}
    assert not list((tmp_path / "none").glob("*"))


def test_details_can_be_left_out(calls, tmp_path):
    found = measured.load_measured(tmp_path, SETUP, CELLS)
    study.run_study(CELLS, 1, SETUP, found, lambda _: None, details=False)
    assert {name: len(lines) for name, lines in found.others.items()} == {
        "inputs": 0,
        "phases": 0,
        "costs": 1,
        "search": 0,
    }
    assert "compile_warm" not in dict(calls)
    assert training_speed.command_of(dataclasses.replace(training_speed.Args(), details=False)).endswith(
        " --no-details"
    )


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
    assert "  JAX step, resident input: no warm compilation: compiled anew" in lines


def test_a_measurement_goes_on_where_it_stopped(calls, tmp_path, monkeypatch):
    answer, timed = calls.answers["time_epochs"], []

    def stops(cell):
        timed.append(cell)
        if len(timed) == 5:  # in the second round
            raise KeyboardInterrupt
        return answer(cell)

    calls.answers["time_epochs"] = stops
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    kept = load_cells(tmp_path / "cells.jsonl")
    assert [record.cell for record in kept] == CELLS
    found, _ = run(tmp_path)
    assert found.cells[:4] == kept
    assert {(record.cell, record.repeat) for record in found.cells} == {(c, r) for r in range(2) for c in CELLS}
    calls.clear()
    run(tmp_path)
    assert calls == []
    # What was timed does not wait for what compiling takes with a cache.
    calls.answers["compile_warm"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "other", CELLS[2::-2])
    assert [record.cell for record in load_cells(tmp_path / "other" / "cells.jsonl")] == CELLS[2::-2]
    # Cells measured later would not stand beside these.
    with pytest.raises(InputError, match="holds cnn PyTorch eager, resident input, which this call does not measure"):
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


@pytest.mark.parametrize("cell", CELLS[::2])
def test_importing_a_framework_is_apart_from_what_its_side_times(cell, monkeypatch, fake_clock):
    class Slow:
        def time_epochs(self, *asked, cold, pause):
            fake_clock.on_host(5.0)
            return made_up_timing()

    def import_side(framework):
        assert framework == cell.framework
        fake_clock.on_host(3.0)
        return Slow()

    monkeypatch.setattr(worker, "import_side", import_side)
    timing = worker.time_epochs(cell, SETUP, Path("cache"))
    assert timing == dataclasses.replace(made_up_timing(), import_time_s=3.0)
