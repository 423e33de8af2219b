"""The report's commands: they ask for the runs that it holds."""

import dataclasses
import shlex

import pytest
import synthetic
import synthetic_representations

import console
import data_efficiency
import framework_agreement
import full_comparison
import representations
from jaxcompare.config import DataConfig
from jaxcompare.records import save_records
from jaxcompare.report.commands import training_commands
from jaxcompare.report.html import list_commands
from jaxcompare.report.results import gather


def parse(line, script):
    """A line's flags, as its script takes them; --out is the folder of a variant."""
    return console.parse(script.Args, getattr(script, "PRESETS", {}), shlex.split(line)[2:])


def test_a_sweeps_commands_ask_for_its_runs():
    sweep = synthetic.sweep({100: 0.3, 1000: 0.5}, {100: 0.2, 1000: 0.6})
    data = dataclasses.replace(sweep[0].config.data, normalisation="data")
    records = [
        dataclasses.replace(
            r,
            config=dataclasses.replace(
                r.config,
                data=dataclasses.replace(data, train_size=r.train_images),
                training=dataclasses.replace(r.config.training, lr=1e-3),
                epoch_images=1000,
            ),
        )
        for r in sweep
    ]
    # Also where the largest size's own runs are not there.
    (line,) = training_commands(synthetic.runs_of([r for r in records if r.train_images < 1000]))
    args = parse(line, data_efficiency)
    asked = {
        dataclasses.replace(config, execution=args.execution).with_seed(seed)
        for config in data_efficiency.build_configs(args)
        for seed in console.seeds(args.training.seed, args.seeds)
    }
    assert asked == {r.config for r in records}


def test_a_comparisons_commands_ask_for_each_range_of_seeds():
    runs = synthetic.comparison(seeds=3)
    lines = training_commands(synthetic.runs_of([r for r in runs if r.config.training.seed != 1]))
    assert [line.partition("--seed ")[2] for line in lines] == ["0 --seeds 1", "2 --seeds 1"]
    args = parse(lines[1], full_comparison)
    assert (args.training, args.data.resolve(2)) == (runs[-1].config.training, runs[-1].config.data)


def agreement(size, *models):
    """Two seeds of both frameworks, on so many images (None: all)."""
    data = DataConfig("digits", train_size=size, subsets="independent")
    found = []
    for seed in (3, 4):
        for model in models:
            run = synthetic.run(model, size, seed, 0.5, experiment="framework_agreement", train_images=size or 1437)
            for framework in ("jax", "torch"):
                config = dataclasses.replace(run.config, data=data, framework=framework)
                found.append(dataclasses.replace(run, config=config))
    return found


@pytest.mark.parametrize(("size", "models"), [(1000, ("cnn", "vit")), (None, ("cnn", "vit")), (None, ("vit",))])
def test_an_agreements_command_asks_for_its_runs(size, models):
    runs = agreement(size, *models)
    (line,) = training_commands(synthetic.runs_of(runs))
    args = parse(line, framework_agreement)
    assert (args.data.resolve(2), args.models, args.training) == (runs[0].config.data, models, runs[0].config.training)
    assert (args.training.seed, args.seeds) == (3, 2)


def test_each_recipe_has_a_folder_of_its_own(tmp_path):
    folders = {"first": agreement(1000, "cnn", "vit"), "second": agreement(None, "cnn")}
    for name, runs in folders.items():
        save_records(tmp_path / name / "runs.jsonl", runs)
    results = gather([tmp_path / name for name in folders])
    own, other = list_commands(results)
    assert "--train-size 1000" in own
    assert "--out" not in own
    assert "--train-size None --models cnn" in other
    assert other.endswith("--out runs/framework_agreement_2")


def test_what_was_learned_has_the_command_of_its_runs(tmp_path):
    same = {"git_commit": "of runs", "data_fingerprint": "0" * 64, "dataset_title": "tiny"}
    runs = [dataclasses.replace(run, **same) for run in synthetic.comparison(seeds=2)]
    save_records(tmp_path / "runs" / "runs.jsonl", runs)
    results = gather([tmp_path / "runs", synthetic_representations.write(tmp_path / "learned")])
    *_, learned = list_commands(results)
    assert parse(learned, representations).runs == full_comparison.Args().out
