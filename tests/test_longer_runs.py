"""A sweep that takes all images' runs from a comparison of more epochs."""

import dataclasses

import pytest
import synthetic
from rich.console import Console

import data_efficiency
import full_comparison
import longer_runs
from jaxcompare.config import DataConfig, InputError
from jaxcompare.measure.environment import git_commit
from jaxcompare.records import load_records, save_records
from jaxcompare.report.run_tables import efficiency_tables
from jaxcompare.training import fit as fit_module

RECIPE = ["--models", "cnn", "--image-size", "8", "--batch-size", "16", "--seeds", "2"]
SWEEP = [*RECIPE, "--sizes", "70", "--epochs", "2"]


def test_the_first_epochs_of_a_longer_run_are_a_shorter_one(
    toy, run_script, capsys, monkeypatch, tiny_dataset, tmp_path
):
    monkeypatch.setattr("jaxcompare.data.datasets.load_dataset", lambda _: tiny_dataset)
    full, whole, reused = (tmp_path / name for name in ("full", "whole", "reused"))
    run_script(full_comparison, *RECIPE, "--epochs", "3", "--out", full)
    run_script(data_efficiency, *SWEEP, "--out", whole)
    monkeypatch.setattr(fit_module, "fit_seeds", None)  # nothing is trained
    capsys.readouterr()
    run_script(data_efficiency, *SWEEP, "--reuse", full, "--out", reused)
    printed = capsys.readouterr().out
    assert f"Taken from {full}: 2 of 2 runs" in printed
    assert "CNN 70 images, seed 42, 43: complete in" in printed
    trained, taken = (load_records(out / "runs.jsonl") for out in (whole, reused))
    assert [r.identity for r in taken] == [r.identity for r in trained]
    for one, other in zip(taken, trained, strict=True):
        for name in ("train_loss", "train_accuracy", "test_accuracy"):
            assert getattr(one.history, name) == getattr(other.history, name)
        assert len(one.history.epoch_time_s) == 2
        assert (one.status, one.execution["first_of_epochs"]) == ("complete", 3)
        assert "weights" in other.execution
        assert "weights" not in one.execution
    # What is there is not replaced.
    run_script(data_efficiency, *SWEEP, "--reuse", full, "--out", whole)
    assert load_records(whole / "runs.jsonl") == trained


@pytest.fixture
def take(tmp_path, tiny_dataset):
    """What is taken, of the seeds of a run of one epoch on all 70 images, from folders that hold these runs."""

    def take(*longer, seeds=(5,)):
        config = synthetic.run("cnn", None, 0, 0.5, train_images=70).config
        data = DataConfig("digits", train_size=70, subsets="nested")
        config = dataclasses.replace(config, data=data, training=dataclasses.replace(config.training, epochs=1))
        folders = [tmp_path / f"{number}" for number in range(len(longer))]
        for folder, run in zip(folders, longer, strict=True):
            save_records(folder / "runs.jsonl", [run])
        dataset = dataclasses.replace(tiny_dataset, fingerprint=longer_run().data_fingerprint)
        path, programs = tmp_path / "runs.jsonl", [(config, list(seeds))]
        longer_runs.take(Console(soft_wrap=True), folders, path, "data_efficiency", programs, dataset)
        return load_records(path) if path.exists() else []

    return take


def longer_run(**changes):
    """Of seed 5, two epochs on all images, by this commit."""
    fields = {"experiment": "full_comparison", "train_images": 70, "git_commit": git_commit()}
    return synthetic.run("cnn", None, 5, 0.5, **fields | changes)


def test_a_longer_run_is_taken_as_it_was_then(take):
    resumed = [{"after_epoch": epoch} for epoch in (0, 1)]
    (taken,) = take(longer_run(status="interrupted", message="by the user", execution={"resumed": resumed}))
    assert (taken.config.training.seed, taken.config.data.train_size, taken.experiment) == (5, 70, "data_efficiency")
    assert (taken.status, taken.message, taken.history.test_accuracy) == ("complete", "", [0.5])
    assert taken.execution == {"resumed": resumed[:1], "first_of_epochs": 2}


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("data", {"train_size": 60}),
        ("data", {"normalisation": "data"}),
        ("training", {"lr": 1e-3}),
        ("training", {"epochs": 1}),
        ("training", {"seed": 6}),
        ("execution", {"precision": "bfloat16"}),
        (None, {"data_fingerprint": "of other images"}),
    ],
)
def test_another_run_is_not_taken(take, part, change):
    longer = longer_run()
    if part:
        changed = dataclasses.replace(getattr(longer.config, part), **change)
        longer = dataclasses.replace(longer, config=dataclasses.replace(longer.config, **{part: changed}))
        if size := longer.config.data.train_size:
            longer = dataclasses.replace(longer, train_images=size)
        series = dataclasses.asdict(longer.history).items()
        cut = {name: values[: longer.config.training.epochs] for name, values in series}
        longer = dataclasses.replace(longer, history=dataclasses.replace(longer.history, **cut))
    else:
        longer = dataclasses.replace(longer, **change)
    assert take(longer) == []


def test_a_run_is_taken_once_from_the_first_folder_that_has_it(take, capsys):
    (taken,) = take(longer_run(), longer_run(started_at="later"), seeds=(4, 5, 6))
    assert taken.started_at == longer_run().started_at
    printed = capsys.readouterr().out
    assert printed.count("/0: 1 of 3 runs") == printed.count("/1: 0 of 3 runs") == 1


def test_what_another_commit_trained_stands_alone(take, tmp_path):
    with pytest.raises(InputError, match="--reuse: runs of commit other cannot stand beside 1 to be trained by"):
        take(longer_run(git_commit="other"), seeds=(5, 6))
    assert not (tmp_path / "runs.jsonl").exists()
    assert len(take(longer_run(git_commit="other"))) == 1


def test_a_program_that_was_stopped_goes_on(take, monkeypatch, tmp_path):
    monkeypatch.setattr(longer_runs.training_runs, "checkpoints_of", lambda *_: tmp_path)
    assert take(longer_run()) == []


def test_the_page_says_which_runs_are_beginnings():
    runs = synthetic.sweep({100: 0.3, 1000: 0.5}, {100: 0.2, 1000: 0.6})
    of_longer = [
        dataclasses.replace(run, execution={"first_of_epochs": 20}) if run.train_images == 1000 else run for run in runs
    ]
    said, silent = (efficiency_tables(synthetic.sweep_of(of))[0].markdown() for of in (of_longer, runs))
    assert "Of 1,000 images: the beginnings of runs of 20 epochs." in said
    assert "beginnings" not in silent


def test_mistakes_are_one_line_and_leave_nothing(fail_script, tmp_path):
    out = tmp_path / "out"
    error = fail_script(data_efficiency, *SWEEP, "--reuse", tmp_path / "none", "--out", out)
    assert f"--reuse: {tmp_path / 'none'} holds no runs.jsonl; give a folder" in error
    (tmp_path / "runs.jsonl").touch()
    several = ("--coordinator", "127.0.0.1:1", "--processes", "2", "--process", "0")
    error = fail_script(data_efficiency, *SWEEP, "--reuse", tmp_path, *several, "--out", out)
    assert "--reuse: goes with a run of one process" in error
    assert not out.exists()
