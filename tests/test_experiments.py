"""The scripts as a user meets them: help, a run, a repeated run, every mistake."""

import contextlib
import dataclasses
import functools
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import record

import console
import framework_agreement
import full_comparison
import report
import training_runs
from jaxcompare import __main__ as check
from jaxcompare.measure.environment import git_commit
from jaxcompare.records import Prediction, load_records
from jaxcompare.training.checkpoints import Checkpoints

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.name for path in (ROOT / "experiments").glob("*.py") if "__main__" in path.read_text())
MODELS = ("cnn", "vit")
TINY = ["--dataset", "digits", "--image-size", "8", "--train-size", "40", "--batch-size", "32", "--epochs", "1"]


def test_help_answers_before_anything_heavy_is_imported():
    code = (
        "import runpy, sys\n"
        f"folder = sys.path[0] = {str(ROOT / 'experiments')!r}\n"
        f"for script in {SCRIPTS}:\n"
        "    sys.argv = [script, '--help']\n"
        "    try: runpy.run_path(f'{folder}/{script}', run_name='__main__')\n"
        "    except SystemExit as end: assert end.code == 0, script\n"
        "    heavy = {'jax', 'torch', 'flax', 'matplotlib', 'sklearn', 'numpy'} & set(sys.modules)\n"
        "    assert not heavy, (script, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage:") == len(SCRIPTS)


PREDICTION = ("--predict-more-accurate", "vit", "--predict-faster", "cnn", "--predict-gap", "2.5")


def test_a_comparison_end_to_end_and_again(toy, run_script, fail_script, monkeypatch, capsys, tmp_path):
    out = tmp_path / "run[/]a"  # rich's own markup
    answers = iter(["cnn", "1.5", "locality"])  # what the flags leave open
    monkeypatch.setattr("builtins.input", lambda *_: next(answers))
    run_script(full_comparison, *TINY, "--predict", "--predict-more-accurate", "vit", "--out", out)
    printed = capsys.readouterr().out
    shown = ["CNN 128,842", "ViT 801,674", "9 of 64", "5 of 5", "No GPU", "CNN 40 images epoch 1/1", "Predicted"]
    shown.append(f"Written: {out}/runs.jsonl")
    assert [one for one in shown if one not in printed] == []
    records = load_records(out / "runs.jsonl")
    assert [(r.config.model, r.status, r.train_images) for r in records] == [(one, "complete", 40) for one in MODELS]
    predicted = Prediction("vit", "cnn", 1.5, "locality")
    assert {(r.experiment, r.prediction) for r in records} == {("full_comparison", predicted)}
    summary = json.loads((out / "summary.json").read_text())
    for r in records:
        one = summary["models"][r.config.model]
        assert one["best_test_accuracy"]["mean"] == pytest.approx(r.best_test_accuracy, rel=1e-9)
        assert one["params"] == r.params
    assert [one["prediction"] for one in summary["predictions"]] == [dataclasses.asdict(predicted)]
    figures = {path.name: path for path in (out / "figures").iterdir()}
    assert sorted(figures) == [
        f"figure{name}.{kind}" for name in ("1_training", "3_comparison") for kind in ("png", "svg")
    ]

    before = (out / "runs.jsonl").read_text()
    run_script(full_comparison, *TINY, "--out", out)
    assert "not repeated" in capsys.readouterr().out
    # A prediction made when a run is known is none; a folder holds runs of one recipe.
    for job in ((), ("--job", "cnn-40")):
        assert "--predict: " in fail_script(full_comparison, *TINY, *PREDICTION, "--out", out, *job)
    run_script(full_comparison, *TINY, *PREDICTION[:-1], "1.5", "--predict-reasoning", "locality", "--out", out)
    assert "not repeated" in capsys.readouterr().out
    for job in ((), ("--job", "cnn-40")):
        message = fail_script(full_comparison, *TINY, "--lr", "1", "--out", out, *job)
        assert "lr is 0.0003, here it is 1.0" in message
    assert (out / "runs.jsonl").read_text() == before

    # The figures and the summary come back from the records alone.
    run_script(report, out, "--out", tmp_path / "report")
    again = json.loads((tmp_path / "report" / "summary.json").read_text())["full_comparison"]
    assert again["models"] == summary["models"]
    for name in ("figure1_training.svg", "figure3_comparison.svg"):
        assert (tmp_path / "report" / "figures" / name).read_text() == figures[name].read_text()


def test_a_flag_beside_a_preset_wins():
    for words, expected in (
        ("--epochs 7 --preset quick", (7, "digits", "quick")),
        ("--preset=quick --dataset=svhn", (30, "svhn", "quick")),
        ("", (20, "cifar10", "full")),
    ):
        args = console.parse(full_comparison.Args, full_comparison.PRESETS, words.split())
        assert (args.training.epochs, args.data.dataset, args.preset) == expected


# What is given, and what of it the one line names.
MISTAKES = {
    "--dataset imagenet": "--dataset imagenet cifar10",
    "--models mlp": "--models mlp cnn",
    "--models cnn cnn": "--models",
    "--epochs 0": "--epochs 0",
    "--epochs many": "--epochs many",
    "--train-size many": "--train-size many INT",
    "--lr nan": "--lr nan",
    "--preset fast": "--preset fast quick",
    "--no-such-flag": "--no-such-flag",
    "--seeds 0": "--seeds 0",
    "--seed 4294967295 --seeds 2": "--seeds 4294967295",
    "--engine epoch --input host": "--engine --input device",
    "--dataset digits --precision tf32": "--precision tf32 float32",
    "--dataset digits --input host --seeds 2": "--input host --seeds 1",
    "--dataset digits --train-size 5000": "--train-size 5000 1437",
    "--dataset folder --data-dir nowhere": "--data-dir nowhere train/",
    "--dataset digits --out file": "--out file",
    "--dataset digits --out file/below": "--out file/below",
    "--dataset digits --out /proc/nothing": "--out /proc/nothing",
    # Predictions: incomplete, impossible, of one model, unanswered.
    " ".join(PREDICTION[:2]): "--predict-faster --predict",
    " ".join((*PREDICTION[:-1], "-3")): "--predict-gap -3",
    " ".join((*PREDICTION, "--models cnn")): "--predict --models",
    "--predict-faster mlp": "--predict-faster mlp",
    "--predict": "--predict",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing(fail_script, monkeypatch, tmp_path, words):
    def closed(*_):
        raise EOFError

    monkeypatch.setattr("builtins.input", closed)
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("kept")
    error = fail_script(full_comparison, "--out", "out", *words.split())
    assert [part for part in MISTAKES[words].split() if part not in error] == []
    assert not {"{None}|INT", "Argument"} & set(error.split())  # the parser's words
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["kept"]


def test_nan_is_reported_with_its_epoch_and_its_record_kept(toy, fail_script, tmp_path):
    words = (*TINY, "--models", "cnn", "--lr", "1e30", "--epochs", "9", "--out", tmp_path)
    error = fail_script(full_comparison, *words)
    assert "NaN in epoch" in error
    assert [run.status for run in load_records(tmp_path / "runs.jsonl")] == ["diverged"]
    assert json.loads((tmp_path / "summary.json").read_text())["models"]["cnn"]["status"] == "diverged"


def test_a_command_that_is_terminated_leaves_no_temporary_folder(tmp_path):
    program = (
        "import console, dataclasses, guard, tempfile, time\n"
        "def main(args):\n"
        "    with tempfile.TemporaryDirectory(): print('there', flush=True); time.sleep(60)\n"
        "with guard.process(): console.run(dataclasses.make_dataclass('Args', []), main)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": f"{ROOT / 'experiments'}:{ROOT}"}
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout.readline() == "there\n"
        assert list(tmp_path.iterdir())
        command.terminate()
    assert command.returncode == 130
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_keeps_its_finished_epochs(toy, run_script, monkeypatch, capsys, tmp_path):
    def interrupt_in_the_second_epoch(self, done):
        if self._epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(training_runs.ProgressBar, "show_step", interrupt_in_the_second_epoch)
    with pytest.raises(SystemExit) as end:
        run_script(full_comparison, *TINY, "--models", "cnn", "--epochs", "3", "--out", tmp_path)
    assert end.value.code == 130
    assert f"kept in {tmp_path}" in capsys.readouterr().out
    (run,) = load_records(tmp_path / "runs.jsonl")
    assert (run.status, len(run.history.train_loss)) == ("interrupted", 1)


def test_seeds_are_runs_of_their_own_and_only_missing_ones_are_trained(toy, run_script, capsys, tmp_path):
    words = (*TINY, "--models", "cnn", "--subsets", "nested", "--out", tmp_path)
    run_script(full_comparison, *words)
    first = load_records(tmp_path / "runs.jsonl")
    run_script(full_comparison, *words, "--seeds", "3")
    printed = capsys.readouterr().out
    assert "seed 42: complete" in printed
    assert "42, 43, 44" in printed
    records = load_records(tmp_path / "runs.jsonl")
    assert records[:1] == first
    assert [(r.config.training.seed, r.execution["seeds"]) for r in records] == [(42, 1), (43, 2), (44, 2)]
    assert set(json.loads((tmp_path / "summary.json").read_text())["models"]["cnn"]["seeds"]) == {"42", "43", "44"}


def test_check_passes_here_and_names_what_is_missing(monkeypatch, capsys, tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert [check.main(words) for words in (["--help"], ["--no-such-flag"], ["two", "folders"])] == [0, 2, 2]
    assert check.main([str(tmp_path)]) == 0
    assert re.search(rf"^ok   cifar10 +in {tmp_path}/$", capsys.readouterr().out, re.MULTILINE)

    def version(name, real=importlib.metadata.version):
        if name == "optax":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "flax" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert check.main([]) == 1
    printed = capsys.readouterr().out
    assert re.search(r'^FAIL optax .*\n +-> pip install "optax>=.*\n', printed, re.MULTILINE)
    assert re.search(r"^FAIL flax +0\.1, ", printed, re.MULTILINE)


def test_check_asks_the_same_of_a_checkout_that_is_not_installed(monkeypatch, tmp_path):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    installed = sorted(check.check_packages())
    assert len(installed) > 10
    monkeypatch.setattr(importlib.metadata, "requires", requires)
    assert sorted(check.check_packages()) == installed
    # A copy of the package alone, and one in a folder of another project's.
    monkeypatch.setattr(check, "CHECKOUT", tmp_path)
    for write in (lambda path: None, lambda path: path.write_text("[tool.other]")):
        write(tmp_path / "pyproject.toml")
        (finding,) = check.check_packages()
        assert (finding.subject, finding.ok, "\n" in finding.state) == ("jaxcompare", False, False)
        assert "pip install" in finding.fix
        assert check.main([]) == 1


def test_check_sees_a_gpu_that_jax_cannot_use(monkeypatch, tmp_path):
    assert not check.gpu_is_present(tmp_path / "gpus", tmp_path / "nvidia0")
    (tmp_path / "gpus" / "0000:01").mkdir(parents=True)
    assert check.gpu_is_present(tmp_path / "gpus", tmp_path / "nvidia0")
    monkeypatch.setattr(check, "gpu_is_present", lambda: True)
    (finding,) = [f for f in check.check_devices() if f.subject == "GPU"]
    assert "cuda" in finding.fix


def test_the_frameworks_train_the_same_runs_once(run_script, monkeypatch, capsys, tmp_path):
    fitted = []

    def fit(framework, config, dataset, *seeds, on_epoch, **_):
        fitted.append((framework, config.execution.engine, config.execution.input, config.model, config.training.seed))
        changes = {"config": config, "data_fingerprint": dataset.fingerprint, "train_images": 40}
        made = record(config.model, losses=(1.0,), **changes, git_commit=git_commit())
        on_epoch([made] if seeds else made)

    monkeypatch.setattr("jaxcompare.training.fit.fit_seeds", functools.partial(fit, "jax"))
    monkeypatch.setattr("jaxcompare.torch_side.fit.fit", functools.partial(fit, "torch"))
    # In place of a fresh process for each run.
    monkeypatch.setattr("jaxcompare.study.process.in_fresh_process", lambda function, *words: function(*words))
    words = (*TINY, "--seeds", "2", "--out", tmp_path)
    run_script(framework_agreement, *words)
    kinds = [("jax", "chunk", "device"), ("jax", "step", "host"), ("torch", "step", "host")]
    assert sorted(fitted) == sorted((*kind, model, seed) for kind in kinds for model in MODELS for seed in (42, 43))
    saved = load_records(tmp_path / "runs.jsonl")
    assert len(saved) == len({r.identity for r in saved}) == 12
    assert {r.experiment for r in saved} == {"framework_agreement"}
    table = capsys.readouterr().out.split("\n\n")[-1]
    run_script(framework_agreement, *words)
    assert len(fitted) == 12
    assert capsys.readouterr().out.split("\n\n")[-1] == table


def test_an_agreements_run_in_jax_goes_on_from_its_checkpoint(toy, run_script, monkeypatch, tmp_path):
    keep, kept = Checkpoints.keep, []

    def stop(self, epoch, state, records):
        keep(self, epoch, state, records)
        kept.append(epoch)
        self.flush()
        if kept == [1]:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "keep", stop)
    monkeypatch.setattr("jaxcompare.study.process.in_fresh_process", lambda function, *words: function(*words))
    monkeypatch.setattr(framework_agreement, "KINDS", framework_agreement.KINDS[:1])
    words = (framework_agreement, *TINY, "--models", "cnn", "--epochs", "2", "--seeds", "1", "--out", tmp_path)
    with pytest.raises(SystemExit):
        run_script(*words)
    with contextlib.suppress(SystemExit):  # of one kind there is no table
        run_script(*words)
    (run,) = load_records(tmp_path / "runs.jsonl")
    assert (kept, run.status, [one["after_epoch"] for one in run.execution["resumed"]]) == ([1, 2], "complete", [1])
    assert not (tmp_path / "checkpoints").exists()


def test_an_agreements_run_that_diverges_is_said(toy, fail_script, monkeypatch, tmp_path):
    monkeypatch.setattr("jaxcompare.study.process.in_fresh_process", lambda function, *words: function(*words))
    monkeypatch.setattr(framework_agreement, "KINDS", framework_agreement.KINDS[:1])
    words = (framework_agreement, *TINY, "--models", "cnn", "--epochs", "2", "--seeds", "1", "--lr", "1e30")
    assert "try a lower --lr" in fail_script(*words, "--out", tmp_path)
