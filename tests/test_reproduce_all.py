"""Everything in order: a step that fails, a plan with times, a limit of time."""

import contextlib
import dataclasses
import importlib
import sys
from pathlib import Path

import pytest

import console
import data_efficiency
import estimate
import reproduce_all


@pytest.mark.parametrize(("status", "ends"), [(0, None), (1, 2), (130, 130)])
def test_reproduce_all_stops_at_a_step_that_fails(status, ends, run_script, monkeypatch, tmp_path):
    (tmp_path / "first.py").write_text(f"raise SystemExit({status})")
    (tmp_path / "second.py").write_text("import pathlib, sys; pathlib.Path(sys.argv[1]).touch()")
    monkeypatch.setattr(reproduce_all, "__file__", str(tmp_path / "reproduce_all.py"))
    monkeypatch.setattr(reproduce_all, "build_steps", lambda _: [["first.py"], ["second.py", str(tmp_path / "ran")]])
    with pytest.raises(SystemExit) if ends else contextlib.nullcontext() as end:
        run_script(reproduce_all, "--out", tmp_path / "out")
    assert (end and end.value.code, (tmp_path / "ran").exists()) == (ends, not ends)


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


def test_reproduce_all_stops_in_time_and_says_what_is_left(run_script, capsys, monkeypatch, tmp_path):
    """A step is asked to end, waited for, and named with those behind it."""
    asleep = "import signal, sys, time, pathlib\nsignal.signal(signal.SIGTERM, lambda *_: (saved(), sys.exit(130)))\n"
    saved = f"def saved(): time.sleep(0.2); pathlib.Path({str(tmp_path / 'saved')!r}).touch()\n"
    (tmp_path / "quick.py").write_text("")
    (tmp_path / "long.py").write_text(saved + asleep + "time.sleep(99)")
    monkeypatch.setattr(reproduce_all, "__file__", str(tmp_path / "reproduce_all.py"))
    monkeypatch.setattr(reproduce_all, "build_steps", lambda _: [["quick.py"], ["long.py", "--a"], ["report.py"]])
    monkeypatch.setattr(reproduce_all.guard, "GRACE_S", 58)
    with pytest.raises(SystemExit) as end:
        run_script(reproduce_all, "--out", tmp_path / "out", "--minutes", 1)
    assert end.value.code == reproduce_all.UNFINISHED
    assert (tmp_path / "saved").exists()
    printed = capsys.readouterr().out
    assert printed.endswith("stopped after 1 minutes; the same command goes on. Left:\n  long.py --a\n  report.py\n")


@pytest.mark.parametrize("minutes", ["0.5", "nan"])
def test_reproduce_all_needs_a_minute(minutes, fail_script, tmp_path):
    assert "--minutes: must be at least 1" in fail_script(reproduce_all, "--minutes", minutes, "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_a_plan_has_about_how_long_each_step_takes(preset, run_script, capsys, monkeypatch, fake_clock, tiny_dataset):
    """Of processes that take 5 s to start, and 1 s an image in training and 0.1 s in evaluation."""

    def train_twice(function, framework, model, few):
        assert function is estimate.train_twice
        fake_clock.on_host(5 + len(few.train))
        return 1.0, 0.1

    monkeypatch.setattr("jaxcompare.study.process.in_fresh_process", train_twice)
    monkeypatch.setattr("jaxcompare.data.datasets.load_dataset", lambda _: tiny_dataset)
    monkeypatch.setattr("jaxcompare.study.study.find_gpu", lambda: False)
    run_script(reproduce_all, "--preset", preset, "--dry-run")
    lines = capsys.readouterr().out.splitlines()
    minutes = {line.split()[2]: int(line.split()[0].replace(",", "")) for line in reversed(lines)}
    # Both models: 5 s, and each epoch's 70 training and 21 test images.
    epochs = {"quick": 30, "full": 20}[preset]
    seeds = {"quick": 1, "full": 5}[preset]
    assert minutes["full_comparison.py"] == round(2 * (5 + epochs * seeds * (70 + 2.1)) / 60)
    sizes, epochs, seeds = {"quick": ((100, 400, 1400), 8, 3), "full": ((1000, 5000, 10_000, 25_000, 50_000), 10, 5)}[
        preset
    ]
    assert minutes["data_efficiency.py"] == round(2 * sum(5 + epochs * seeds * (size + 2.1) for size in sizes) / 60)
    images, epochs, seeds = {"quick": (500, 2, 2), "full": (5000, 10, 5)}[preset]
    assert minutes["framework_agreement.py"] == round(6 * seeds * (5 + epochs * (images + 2.1)) / 60)
    if preset == "quick":  # eager, compile, step and an opponent of both models; 3 epochs of 128 images
        assert minutes["training_speed.py"] == round(8 * (5 + 3 * 128) / 60)
    assert minutes["report.py"] == 1


def test_what_is_reused_takes_no_time(tiny_dataset):
    args = data_efficiency.Args(models=("cnn",), sizes=(35, 70))
    swept = [
        list(estimate._swept(one, tiny_dataset)) for one in (args, dataclasses.replace(args, reuse=(Path("full"),)))
    ]
    assert [[work.images for work in works] for works in swept] == [[1750, 3500], [1750]]


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_a_calibration_times_an_image(framework, monkeypatch, toy, tiny_dataset):
    monkeypatch.setattr("jaxcompare.measure.runtime.configure_jax", lambda: None)  # of this process it is already
    train_s, test_s = estimate.train_twice(framework, "cnn", tiny_dataset)
    assert 0 < train_s < 1
    assert 0 < test_s < 1
