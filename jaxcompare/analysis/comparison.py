"""Runs beside each other: which may be compared, and whether their times may."""

from collections.abc import Mapping

import pandas as pd

from jaxcompare.config import InputError
from jaxcompare.run_frame import recipe_of


def check_comparable(runs: pd.DataFrame) -> None:
    """Raise InputError, naming what differs, unless the runs are one comparison: one recipe, the same seeds for each
    model, each once."""
    check_one_recipe(runs)
    check_one_commit(runs)
    seeds = {model: sorted(of_model) for model, of_model in runs.groupby("model", sort=False).seed}
    for model, of_model in seeds.items():
        if len(set(of_model)) < len(of_model):
            raise InputError(f"several runs of {model} from one seed; use one --out for each comparison")
        if of_model != next(iter(seeds.values())):
            raise InputError(f"runs of different recipes: seeds are {seeds}; train the missing ones")


def check_one_recipe(runs: pd.DataFrame, *but: str) -> None:
    """Raise InputError, naming what differs, unless all runs share everything that decides a run's numbers: all but the
    model, the framework, the seed, and what is named in `but`."""
    names = ("test_images", "num_classes", *(() if "train_size" in but else ("train_images",)))
    recipes = [
        {**recipe_of(run.config, run.data_fingerprint), **{name: getattr(run, name) for name in names}}
        for run in runs.itertuples()
    ]
    found = [differing(recipes[0], recipe, *but) for recipe in recipes[1:]]
    for _, params in runs.groupby("model").params:
        found += [("params", *params.unique()[:2])] if params.nunique() > 1 else []
    for difference in filter(None, found):
        raise InputError("runs of different recipes: {} is {} in one, {} in another".format(*difference))


def check_one_commit(runs: pd.DataFrame) -> None:
    """Raise InputError unless all complete runs are of one commit: what another trained may differ by more than its
    config says."""
    commits = runs.git_commit[runs.status == "complete"].map(str).unique()
    if len(commits) > 1:
        raise InputError(f"runs of different commits: {' and '.join(commits)}; train all at one")


def differing(one: Mapping[str, object], other: Mapping[str, object], *but: str) -> tuple[str, object, object] | None:
    """The first thing that two recipes do not share, see `run_frame.recipe_of`: its name and both values."""
    return next(((name, one[name], other[name]) for name in one if name not in but and one[name] != other[name]), None)


def executed_alike(runs: pd.DataFrame) -> bool:
    """Whether the times of runs can stand beside each other: one engine, one machine, as many seeds in a program."""
    ways = runs[["engine", "shared_by", "devices", "cpu", "cpu_cores", "device", "jax"]]
    return len(ways.drop_duplicates()) == 1
