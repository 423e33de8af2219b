"""The scripts as a user meets them: help, a run, a repeated run, every mistake."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import console
import full_comparison
import report
import reproduce_all
from jaxcompare import __main__ as check
from jaxcompare.records import Prediction, load_records

ROOT = Path(__file__).parents[1]
SHARED = ("console.py", "training_runs.py")
SCRIPTS = sorted(path.name for path in (ROOT / "experiments").glob("*.py") if path.name not in SHARED)
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


def test_a_comparison_end_to_end_and_again(run_script, capsys, tmp_path):
    out = tmp_path / "out"
    run_script(full_comparison, *TINY, "--out", out)
    printed = capsys.readouterr().out
    for expected in (
        "CNN 128,842",
        "ViT 801,674",
        "9 of 64",
        "5 of 5",
        "No GPU",
        "Summary",
        "CNN 40 images epoch 1/1",
    ):
        assert expected in printed
    records = load_records(out / "runs.jsonl")
    assert [(r.config.model, r.status, r.train_images) for r in records] == [
        ("cnn", "complete", 40),
        ("vit", "complete", 40),
    ]
    summary = json.loads((out / "summary.json").read_text())["models"]
    for r in records:
        assert summary[r.config.model]["best_test_accuracy"] == pytest.approx(r.best_test_accuracy, rel=1e-9)
        assert summary[r.config.model]["params"] == r.params
    assert sorted(path.name for path in (out / "figures").iterdir()) == [
        f"{name}.{kind}" for name in ("figure1_training", "figure3_comparison") for kind in ("png", "svg")
    ]

    before = (out / "runs.jsonl").read_text()
    run_script(full_comparison, *TINY, "--out", out)
    assert "not repeated" in capsys.readouterr().out
    assert (out / "runs.jsonl").read_text() == before

    # The figures and the summary come back from the records alone.
    run_script(report, out, "--out", tmp_path / "report")
    assert json.loads((tmp_path / "report" / "summary.json").read_text())["full_comparison"]["models"] == summary
    for name in ("figure1_training.svg", "figure3_comparison.svg"):
        assert (tmp_path / "report" / "figures" / name).read_text() == (out / "figures" / name).read_text()


def test_the_report_needs_no_device(tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": ""}
    script, folder = ROOT / "experiments" / "report.py", ROOT / "results" / "full_comparison"
    words = [sys.executable, script, folder, "--out", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").exists()


PREDICTION = ("--predict-more-accurate", "vit", "--predict-faster", "cnn", "--predict-gap", "2.5")


def test_a_prediction_is_saved_with_the_runs_it_was_made_for_and_scored(
    toy, run_script, fail_script, monkeypatch, capsys, tmp_path
):
    answers = iter(["cnn", "1.5", "locality"])
    monkeypatch.setattr("builtins.input", lambda *_: next(answers))
    run_script(full_comparison, *TINY, "--predict", "--predict-more-accurate", "vit", "--out", tmp_path)
    printed = capsys.readouterr().out
    assert "By how many points" in printed
    assert "Predicted" in printed
    records = load_records(tmp_path / "runs.jsonl")
    assert {r.prediction for r in records} == {Prediction("vit", "cnn", 1.5, "locality")}
    (scored,) = json.loads((tmp_path / "summary.json").read_text())["predictions"]
    assert scored["prediction"]["gap_points"] == 1.5
    # A prediction made when a run is known is none.
    assert "holds complete runs" in fail_script(full_comparison, *TINY, *PREDICTION, "--out", tmp_path)
    assert load_records(tmp_path / "runs.jsonl") == records


def test_a_folder_holds_runs_of_one_recipe(toy, run_script, fail_script, tmp_path):
    run_script(full_comparison, *TINY, "--models", "cnn", "--out", tmp_path)
    before = (tmp_path / "runs.jsonl").read_text()
    error = fail_script(full_comparison, *TINY, "--models", "cnn", "--lr", "1", "--out", tmp_path)
    assert "lr is 0.0003, here it is 1.0; give another --out" in error
    assert (tmp_path / "runs.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (PREDICTION[:2], ("--predict-faster", "--predict")),
        ((*PREDICTION[:-1], "-3"), ("--predict-gap", "between 0 and 100")),
        ((*PREDICTION, "--models", "cnn"), ("--predict", "--models")),
        (("--predict-faster", "mlp"), ("--predict-faster", "mlp")),
        (("--predict",), ("--predict", "no answer")),
    ],
)
def test_incomplete_predictions_are_refused_before_anything_trains(fail_script, monkeypatch, tmp_path, words, expected):
    def closed(*_):
        raise EOFError

    monkeypatch.setattr("builtins.input", closed)
    error = fail_script(full_comparison, *TINY, *words, "--out", tmp_path / "out")
    assert all(part in error for part in expected), error
    assert not (tmp_path / "out").exists()


def test_a_flag_beside_a_preset_wins(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--epochs", "7", "--preset", "quick"])
    args = console._parse(full_comparison.Args, full_comparison.PRESETS)
    assert (args.training.epochs, args.data.dataset, args.preset) == (7, "digits", "quick")
    monkeypatch.setattr(sys, "argv", ["x", "--preset=quick", "--dataset=svhn"])
    args = console._parse(full_comparison.Args, full_comparison.PRESETS)
    assert (args.training.epochs, args.data.dataset) == (30, "svhn")
    monkeypatch.setattr(sys, "argv", ["x"])
    assert console._parse(full_comparison.Args, full_comparison.PRESETS) == full_comparison.Args()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--dataset", "imagenet"), ("imagenet", "--dataset", "cifar10")),
        (("--models", "mlp"), ("mlp", "--models", "cnn")),
        (("--models", "cnn", "cnn"), ("--models", "each model once")),
        (("--epochs", "0"), ("--epochs", "at least 1")),
        (("--epochs", "many"), ("--epochs", "many")),
        (("--batch-size", "-4"), ("--batch-size", "at least 1")),
        (("--train-size", "0"), ("--train-size", "at least 1")),
        (("--lr", "nan"), ("--lr", "nan")),
        (("--image-size", "30"), ("--image-size", "multiple of 4")),
        (("--preset", "fast"), ("--preset", "fast", "quick")),
        (("--no-such-flag",), ("--no-such-flag",)),
        (("--seeds", "0"), ("--seeds", "at least 1")),
        (("--seed", "4294967295", "--seeds", "2"), ("--seeds", "4294967295")),
        (("--engine", "fast"), ("--engine", "fast", "epoch")),
        (("--engine", "epoch", "--input", "host"), ("--engine epoch", "--input device")),
        (("--chunk-size", "0"), ("--chunk-size", "at least 1")),
        (("--dataset", "digits", "--precision", "tf32"), ("--precision tf32", "float32")),
        (("--dataset", "digits", "--input", "host", "--seeds", "2"), ("--input host", "--seeds 1")),
        (("--dataset", "digits", "--train-size", "5000"), ("--train-size", "1437")),
        (("--dataset", "folder", "--data-dir", "nowhere"), ("--data-dir nowhere", "train/")),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(fail_script, monkeypatch, tmp_path, words, expected):
    monkeypatch.chdir(tmp_path)
    error = fail_script(full_comparison, *words, "--out", "out")
    assert all(part in error for part in expected), error
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_out_that_is_a_file_or_cannot_be_made(fail_script, tmp_path):
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nothing")):
        assert f"--out {out}" in fail_script(full_comparison, *TINY, "--out", out)
    assert (tmp_path / "file").read_text() == "kept"


def test_nan_is_reported_with_its_epoch_and_its_record_kept(toy, fail_script, tmp_path):
    words = (*TINY, "--models", "cnn", "--lr", "1e30", "--epochs", "9", "--out", tmp_path)
    error = fail_script(full_comparison, *words)
    assert "NaN in epoch" in error
    (record,) = load_records(tmp_path / "runs.jsonl")
    assert record.status == "diverged"
    assert json.loads((tmp_path / "summary.json").read_text())["models"]["cnn"]["status"] == "diverged"


def test_a_command_that_is_terminated_leaves_no_temporary_folder(tmp_path):
    program = (
        "import console, dataclasses, tempfile, time\n"
        "def main(args):\n"
        "    with tempfile.TemporaryDirectory():\n"
        "        print('there', flush=True)\n"
        "        time.sleep(60)\n"
        "console.run(dataclasses.make_dataclass('Args', []), main)"
    )
    paths = os.pathsep.join(["experiments", "."])
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": paths}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout.readline() == "there\n"
        assert list(tmp_path.iterdir())
        command.terminate()
    assert command.returncode == 130
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_keeps_its_finished_epochs(toy, run_script, monkeypatch, capsys, tmp_path):
    from jaxcompare.training import fit as fit_module

    def interrupt_in_the_second_epoch(config, dataset, seeds, *, on_epoch, on_step):
        def stop(done):
            if seen:
                raise KeyboardInterrupt
            on_step(done)

        def note(records):
            seen.append(records)
            on_epoch(records)

        seen = []
        return real(config, dataset, seeds, on_epoch=note, on_step=stop)

    real = fit_module.fit_seeds
    monkeypatch.setattr(fit_module, "fit_seeds", interrupt_in_the_second_epoch)
    with pytest.raises(SystemExit) as end:
        run_script(full_comparison, *TINY, "--models", "cnn", "--epochs", "3", "--out", tmp_path)
    assert end.value.code == 130
    assert "the history so far is kept" in capsys.readouterr().out
    (record,) = load_records(tmp_path / "runs.jsonl")
    assert (record.status, len(record.history.train_loss)) == ("interrupted", 1)


def test_seeds_are_runs_of_their_own_and_only_missing_ones_are_trained(toy, run_script, capsys, tmp_path):
    words = (*TINY, "--models", "cnn", "--subsets", "nested", "--out", tmp_path)
    run_script(full_comparison, *words)
    first = load_records(tmp_path / "runs.jsonl")
    run_script(full_comparison, *words, "--seeds", "3")
    printed = capsys.readouterr().out
    assert "CNN 40 images, seed 42: complete" in printed
    assert "42, 43, 44" in printed
    records = load_records(tmp_path / "runs.jsonl")
    assert [r.config.training.seed for r in records] == [42, 43, 44]
    assert records[:1] == first
    assert [r.execution["seeds"] for r in records] == [1, 2, 2]
    assert set(json.loads((tmp_path / "summary.json").read_text())["models"]["cnn"]["seeds"]) == {"42", "43", "44"}


def test_check_passes_here_and_names_what_is_missing(monkeypatch, capsys, tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert check.main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"cifar10          in {tmp_path}/" in printed
    assert "The recipe can run." in printed

    real = check.importlib.metadata.version

    def version(name):
        if name == "optax":
            raise check.importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "flax" else real(name)

    monkeypatch.setattr(check.importlib.metadata, "version", version)
    assert check.main([]) == 1
    printed = capsys.readouterr().out
    assert 'FAIL optax            not installed\n                      -> pip install "optax>=' in printed
    assert "FAIL flax             0.1, but >=" in printed


def test_check_asks_the_same_of_a_checkout_that_is_not_installed(monkeypatch, capsys, tmp_path):
    installed = sorted(check.check_packages())
    assert len(installed) > 10

    def requires(name):
        raise check.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(check.importlib.metadata, "requires", requires)
    assert sorted(check.check_packages()) == installed
    # A copy of the package alone, and one in a folder of another project's.
    for text in (None, "[tool.other]"):
        if text:
            (tmp_path / "pyproject.toml").write_text(text)
        monkeypatch.setattr(check, "CHECKOUT", tmp_path)
        (finding,) = check.check_packages()
        assert (finding.subject, finding.ok, "\n" in finding.state) == ("jaxcompare", False, False)
        assert "pip install" in finding.fix
        assert check.main([]) == 1
    assert "The recipe cannot run" in capsys.readouterr().out


def test_check_sees_a_gpu_that_jax_cannot_use(monkeypatch):
    monkeypatch.setattr(check, "gpu_is_present", lambda: True)
    (finding,) = [f for f in check.check_devices() if f.subject == "GPU"]
    assert "cannot use it" in finding.state
    assert "cuda" in finding.fix


def test_gpu_detection(tmp_path):
    assert not check.gpu_is_present(tmp_path / "gpus", tmp_path / "nvidia0")
    (tmp_path / "gpus" / "0000:01").mkdir(parents=True)
    assert check.gpu_is_present(tmp_path / "gpus", tmp_path / "nvidia0")


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_every_step_of_reproduce_all_is_a_command_its_script_takes(preset, monkeypatch, tmp_path):
    *experiments, (name, *words) = reproduce_all.build_steps(reproduce_all.Args(preset, out=tmp_path))
    taken = []
    for script, *flags in experiments:
        module = importlib.import_module(script.removesuffix(".py"))
        monkeypatch.setattr(sys, "argv", [script, *flags])
        console.run(module.Args, taken.append, getattr(module, "PRESETS", None))
    assert (name, words[:-2]) == ("report.py", [str(args.out) for args in taken])
    assert len(set(words)) == len(words)
