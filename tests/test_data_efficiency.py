"""The sweep as a user runs it: what it writes, that it goes on where it stopped, and every mistake."""

import dataclasses
import json

import pytest
import synthetic

import data_efficiency
import report
from jaxcompare.data.datasets import load_dataset
from jaxcompare.records import SCHEMA, load_records, save_records
from jaxcompare.training import fit as fit_module
from jaxcompare.training.fit import fit

TINY = [
    "--dataset",
    "digits",
    "--image-size",
    "8",
    "--sizes",
    "40",
    "20",
    "--batch-size",
    "16",
    "--epochs",
    "2",
    "--models",
    "cnn",
]

pytestmark = pytest.mark.usefixtures("toy")


def without_times(summary):
    """A summary but for what a clock measured."""
    return {name: value for name, value in summary.items() if name != "training_time_s"}


@pytest.mark.slow
def test_a_sweep_that_dies_goes_on_and_comes_to_the_same(run_script, monkeypatch, capsys, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_script(data_efficiency, *TINY, "--seeds", "2", "--out", whole)
    assert "CNN 20 images epoch 2/2" in capsys.readouterr().out
    records = load_records(whole / "runs.jsonl")
    assert [(r.train_images, r.config.training.seed, r.status) for r in records] == [
        (size, seed, "complete") for size in (20, 40) for seed in (42, 43)
    ]
    assert {r.config.data.subsets for r in records} == {"nested"}
    assert sorted(path.name for path in (whole / "figures").iterdir()) == [
        "figure2_data_efficiency.png",
        "figure2_data_efficiency.svg",
    ]

    # Killed in the second epoch of the second program: nothing of this process runs any more.
    class Killed(BaseException):
        pass

    real, calls = fit_module.fit_seeds, []

    def dies(config, dataset, seeds, *, on_epoch, **more):
        calls.append(config.data.train_size)

        def note(so_far):
            on_epoch(so_far)
            if len(calls) == 2:
                raise Killed

        return real(config, dataset, seeds, on_epoch=note, **more)

    monkeypatch.setattr(fit_module, "fit_seeds", dies)
    with pytest.raises(Killed):
        run_script(data_efficiency, *TINY, "--seeds", "2", "--out", broken)
    assert [r.status for r in load_records(broken / "runs.jsonl")] == ["complete"] * 2 + ["running"] * 2
    run_script(data_efficiency, *TINY, "--seeds", "2", "--out", broken)
    assert calls == [20, 40, 40]
    assert "CNN 20 images, seed 42, 43: complete in" in capsys.readouterr().out
    summaries = [json.loads((out / "summary.json").read_text()) for out in (whole, broken)]
    assert without_times(summaries[0]) == without_times(summaries[1])


def test_equal_steps_for_every_size(run_script, tmp_path):
    run_script(data_efficiency, *TINY, "--seeds", "1", "--budget", "steps", "--out", tmp_path)
    records = load_records(tmp_path / "runs.jsonl")
    assert [r.config.epoch_images for r in records] == [40, 40]
    assert [r.config.data.subsets for r in records] == ["independent"] * 2
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["best"]["accuracy"]["cnn"]["20"]["interval"] is None
    assert summary["epoch_images"] == 40
    # With as many images as are trained on, an epoch is an ordinary one.
    whole, _ = fit(dataclasses.replace(records[1].config, epoch_images=None), load_dataset(records[1].config.data))
    assert whole.history.train_loss == pytest.approx(records[1].history.train_loss, abs=1e-6)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--sizes", "100", "2000"), ("--sizes: 2000", "1437")),
        (("--sizes", "0", "20"), ("--sizes", "at least 1")),
        (("--sizes", "20", "20"), ("--sizes", "each size once")),
        (("--train-size", "20"), ("--train-size", "--sizes")),
        (("--seeds", "0"), ("--seeds", "at least 1")),
        (("--subsets", "some"), ("--subsets", "nested")),
        (("--budget", "money"), ("--budget", "steps")),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(fail_script, monkeypatch, tmp_path, words, expected):
    monkeypatch.chdir(tmp_path)
    error = fail_script(data_efficiency, *TINY[:2], *words, "--out", "out")
    assert all(part in error for part in expected), error
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def results_folder(tmp_path, records, name="results"):
    save_records(tmp_path / name / "runs.jsonl", records)
    return tmp_path / name


SWEEP = synthetic.sweep({100: 0.3, 1000: 0.5}, {100: 0.2, 1000: 0.6})


def test_the_report_is_made_from_records_and_says_what_was_cut_off(run_script, fail_script, capsys, tmp_path):
    folder, out = results_folder(tmp_path, SWEEP), tmp_path / "report"
    run_script(report, folder, "--out", out)
    whole = json.loads((out / "summary.json").read_text())
    assert "The CNN is ahead at 100 images; the ViT is ahead at 1,000 images" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"report.html", "summary.json", "figures"}

    path = folder / "runs.jsonl"
    cut = path.read_text()[:-40]
    path.write_text(cut)
    error = fail_script(report, folder, "--out", out)
    assert "runs.jsonl, line 20: cut off" in error
    assert path.read_text() == cut
    assert json.loads((out / "summary.json").read_text())["data_efficiency"]["seeds"] == [0, 1, 2, 3]
    assert whole["data_efficiency"]["seeds"] == [0, 1, 2, 3, 4]


def with_lr(config):
    return dataclasses.replace(config, training=dataclasses.replace(config.training, lr=0.5))


def test_a_seed_that_diverges_is_left_out_and_reported_last(fail_script, tmp_path):
    error = fail_script(data_efficiency, *TINY, "--seeds", "1", "--lr", "1e30", "--out", tmp_path)
    assert "no seed is complete" in error or "NaN" in error
    assert {r.status for r in load_records(tmp_path / "runs.jsonl")} == {"diverged"}


def test_a_folder_holds_a_sweep_of_one_recipe(run_script, fail_script, tmp_path):
    run_script(data_efficiency, *TINY, "--seeds", "1", "--out", tmp_path)
    error = fail_script(data_efficiency, *TINY, "--seeds", "2", "--out", tmp_path)
    assert "subsets is independent, here it is nested; give another --out" in error


def test_bad_results_folders_are_one_line(fail_script, tmp_path):
    folder, out = results_folder(tmp_path, SWEEP), tmp_path / "report"
    (tmp_path / "empty").mkdir()
    assert "holds no records" in fail_script(report, tmp_path / "empty", "--out", out)
    assert "no such folder" in fail_script(report, tmp_path / "nowhere", "--out", out)
    # Marks that are missing are found before anything is written.
    (tmp_path / "notes.md").write_text("no marks")
    words = (folder, "--out", out, "--fill", tmp_path / "notes.md")
    assert "notes.md: has no block" in fail_script(report, *words)
    assert not out.exists()

    other = dataclasses.replace(SWEEP[0].config, training=dataclasses.replace(SWEEP[0].config.training, lr=1.0, seed=9))
    comparison = results_folder(
        tmp_path, [dataclasses.replace(r, config=with_lr(r.config)) for r in synthetic.comparison()], "full"
    )
    assert "lr is 0.5 in one, 0.0003 in another" in fail_script(report, folder, comparison, "--out", out)
    elsewhere = [
        dataclasses.replace(r, data_fingerprint="other", dataset_title="others") for r in synthetic.comparison()
    ]
    others = results_folder(tmp_path, elsewhere, "others")
    assert " and others (other); make a report of each" in fail_script(report, folder, others, "--out", out)
    mixed = results_folder(tmp_path, [dataclasses.replace(SWEEP[0], config=other)], "mixed")
    assert "lr is 0.0003 in one, 1.0 in another" in fail_script(report, folder, mixed, "--out", out)
    twice = results_folder(tmp_path, [dataclasses.replace(SWEEP[0], started_at="later")], "twice")
    assert "several runs from seed 0" in fail_script(report, folder, twice, "--out", out)

    path = folder / "runs.jsonl"
    path.write_text(path.read_text().replace(f'"schema": {SCHEMA}', f'"schema": {SCHEMA + 1}'))
    assert "line 1" in (error := fail_script(report, folder, "--out", out))
    assert f"not a run record of schema {SCHEMA} (schema holds {SCHEMA + 1}" in error
    assert not out.exists()


def test_a_line_that_was_cut_off_is_kept_aside_when_records_are_added(tmp_path):
    path = results_folder(tmp_path, SWEEP) / "runs.jsonl"
    last = path.read_text().splitlines()[-1]
    path.write_text(path.read_text()[:-40])
    with pytest.warns(UserWarning, match="line 20: cut off"):
        save_records(path, SWEEP[-1:])
    assert load_records(path) == SWEEP
    assert (path.parent / "runs.jsonl.truncated").read_text() == last[:-39] + "\n"
