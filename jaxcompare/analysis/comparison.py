"""Runs beside each other: which may be compared, and whether their times may."""

import math
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
    """Raise InputError unless the complete runs that are compared, the models of one seed and size, are of one commit:
    what another trained may differ by more than its config says."""
    complete = runs[runs.status == "complete"]
    for (size, seed), commits in complete.git_commit.map(str).groupby([complete.train_images, complete.seed]):
        if commits.nunique() > 1:
            both = " and ".join(commits.unique())
            raise InputError(f"{size:,} images, seed {seed}: runs of different commits: {both}; train all at one")


def differing(one: Mapping[str, object], other: Mapping[str, object], *but: str) -> tuple[str, object, object] | None:
    """The first thing that two recipes do not share, see `run_frame.recipe_of`: its name and both values."""
    return next(((name, one[name], other[name]) for name in one if name not in but and one[name] != other[name]), None)


EXECUTION = ["engine", "shared_by", "devices", "processes", "cpu", "cpu_cores", "device", "jax", "git_commit"]
"""Columns of what decides a run's time, beside its recipe."""


def timed_alike(runs: pd.DataFrame, time: str = "epoch_time_s") -> pd.DataFrame:
    """Those runs whose times can stand beside each other: of one machine, engine and commit, as many seeds in a
    program. Of several such sets, the one that has every model at most sizes; of equals, the one whose epochs take
    least time an image.

    Args:
        runs: a row a run.
        time: the column that a run needs a value of.
    """
    timed = runs[runs[time].notna()]
    models = timed.model.nunique()
    sets = [one for _, one in timed.groupby(EXECUTION, sort=False, dropna=False) if _shared_sizes(one, models)]
    return min(sets, key=lambda one: (-_shared_sizes(one, models), _pace(one)), default=timed[:0])


def _shared_sizes(runs: pd.DataFrame, models: int) -> int:
    """Training sizes at which there are runs of so many models."""
    return (runs.groupby("train_images").model.nunique() == models).sum()


def _pace(runs: pd.DataFrame) -> float:
    """Seconds that the models' epochs take together for an image shown, on average over their runs."""
    return (runs.epoch_time_s / runs.shown_images).groupby(runs.model).mean().fillna(math.inf).sum()
