"""What an experiment's jobs leave, merged: however often, and nothing that cannot stand together."""

import dataclasses

import pytest
import synthetic
import synthetic_speed

import grid
from jaxcompare.cell_records import load_cells, load_measurements, save_cells
from jaxcompare.cells import Cell
from jaxcompare.config import InputError
from jaxcompare.lines import save_lines
from jaxcompare.records import load_records, save_records
from jaxcompare.study import measured


def test_records_are_merged_once_however_often(tmp_path):
    runs = [synthetic.run(model, 1000, seed, 0.5) for model in ("cnn", "vit") for seed in (1, 2)]
    names = ["cnn-1000", "vit-1000"]
    for name, own in zip(names, (runs[:2], runs[2:]), strict=True):
        save_records(tmp_path / "jobs" / name / "runs.jsonl", own)
        (tmp_path / "jobs" / name / "weights").mkdir()
        (tmp_path / "jobs" / name / "weights" / f"{name}.npz").write_bytes(b"weights")
    earlier = dataclasses.replace(runs[0], status="interrupted")
    save_records(tmp_path / "runs.jsonl", [earlier])
    for _ in range(2):
        assert grid.merge_runs(tmp_path, [*names, "not-begun"]) == runs
        assert load_records(tmp_path / "runs.jsonl") == runs
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == [f"{name}.npz" for name in names]
    # A job that did not get as far as to take it over.
    save_records(tmp_path / "jobs" / names[0] / "runs.jsonl", [earlier, runs[1]])
    assert [run.status for run in grid.merge_runs(tmp_path, names)] == ["complete"] * 4
    assert grid.merge_runs(tmp_path / "empty", names) == []


def test_a_job_does_not_repeat_what_the_plain_command_has_completed(tmp_path):
    runs = [synthetic.run(model, 1000, seed, 0.5, git_commit="abc") for model in ("cnn", "vit") for seed in (1, 2, 3)]
    own = dataclasses.replace(runs[1], params=1)
    into, path = tmp_path / "runs.jsonl", tmp_path / "jobs" / "cnn-1000" / "runs.jsonl"
    save_records(into, [*runs[:2], dataclasses.replace(runs[2], status="interrupted"), *runs[3:]])
    save_records(path, [own])
    program = runs[0].config, [1, 2, 3]
    images, commit = runs[0].data_fingerprint, "holds runs of commit abc, this is"
    grid.take_complete([program], "data_efficiency", images, path, None)
    assert load_records(path) == [own]
    # Seed 3 is left to train, which would not stand beside another commit's.
    with pytest.raises(InputError, match=commit):
        grid.take_complete([program], "data_efficiency", images, path, into)
    assert load_records(path) == [own, runs[0]]
    grid.take_complete([(runs[0].config, [1, 2])], "data_efficiency", images, path, into)
    with pytest.raises(InputError, match=commit):
        grid.take_complete([program], "data_efficiency", "other images", path, into)
    assert load_records(path) == [own, runs[0]]


def test_runs_of_several_commits_are_not_merged(tmp_path):
    one, other = synthetic.run("cnn", 1000, 1, 0.5), synthetic.run("vit", 1000, 1, 0.5)
    for run, commit in ((one, "abc"), (other, "def")):
        save_records(tmp_path / "jobs" / run.config.model / "runs.jsonl", [dataclasses.replace(run, git_commit=commit)])
    with pytest.raises(InputError, match="hold runs of several commits: abc, def; remove those of one"):
        grid.merge_runs(tmp_path, ["cnn", "vit"])
    assert not (tmp_path / "runs.jsonl").exists()


def test_measurements_are_merged_once_however_often(tmp_path):
    parts = [tmp_path / model for model in ("cnn", "vit")]
    for part in parts:
        part.mkdir()
        save_cells(part / "cells.jsonl", [synthetic_speed.timed(Cell(part.name, "step"), 1.0)])
        save_lines(part / "costs.jsonl", [synthetic_speed.costs(part.name) | {"git_commit": None}])
        save_lines(part / "inputs.jsonl", [input_of(part.name)])
    for _ in range(2):
        measured.merge(tmp_path, parts)
        assert [record.cell.model for record in load_cells(tmp_path / "cells.jsonl")] == ["cnn", "vit"]
        found = load_measurements(tmp_path)
        assert [line["model"] for line in found["costs"]] == ["cnn", "vit"]
        assert [line["images_per_s"] for line in found["inputs"]] == [3.0]
        assert (tmp_path / "cells.csv").read_text().count("\n") == 3


def test_measurements_that_cannot_stand_together_are_not_merged(tmp_path):
    cnn, vit = (synthetic_speed.timed(Cell(model, "step"), 1.0) for model in ("cnn", "vit"))
    (tmp_path / "part").mkdir()
    with pytest.raises(InputError, match="none of the jobs has measured a cell"):
        measured.merge(tmp_path, [tmp_path / "part"])
    save_cells(tmp_path / "cells.jsonl", [vit])
    before = (tmp_path / "cells.jsonl").read_text()
    elsewhere = dataclasses.replace(vit, environment=vit.environment | {"cpu": "another"})
    for cells, message in (
        ([cnn], "holds vit JAX step.* of repeat 1, which none of the jobs has measured"),
        ([dataclasses.replace(vit, repeat=1)], "holds vit JAX step.* of repeat 1, which none"),
        ([cnn, dataclasses.replace(vit, git_commit="def")], "the jobs' commit differs"),
        ([cnn, elsewhere], "the jobs' cpu differs"),
    ):
        save_cells(tmp_path / "part" / "cells.jsonl", cells)
        with pytest.raises(InputError, match=message):
            measured.merge(tmp_path, [tmp_path / "part"])
        assert (tmp_path / "cells.jsonl").read_text() == before


def input_of(model):
    environment = synthetic.record().environment
    values = {"images": 9, "images_per_s": float(len(model)), "environment": environment, "git_commit": None}
    return {"pipeline": "recipe", "repeat": 0, "workers": 0} | values
