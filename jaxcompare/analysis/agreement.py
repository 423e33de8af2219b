"""Whether two ways of training are equivalent in accuracy, within a margin."""

import dataclasses
from itertools import product
from statistics import fmean

import pandas as pd

from jaxcompare.analysis.comparison import check_one_recipe
from jaxcompare.analysis.statistics import find_equivalence, seeds_needed
from jaxcompare.config import Framework, InputError, InputPlace
from jaxcompare.records import short_commit


@dataclasses.dataclass(frozen=True)
class Arm:
    """Runs of one kind in an agreement."""

    framework: Framework
    input: InputPlace


AGREEMENTS = (
    (Arm("jax", "host"), Arm("torch", "host"), 2.0),
    (Arm("jax", "device"), Arm("jax", "host"), 1.5),
)
"""What must be equivalent, and within how many points of accuracy."""


def recipes(runs: pd.DataFrame) -> list[pd.DataFrame]:
    """The runs of each number of images and epochs, fewest first."""
    return [of for _, of in runs.groupby(["train_images", "epochs"])]


def agreements(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a recipe, comparison and model: both sides' mean best accuracies in per cent; whether the mean of
    their paired differences is shown to lie within the margin; `needed`: seeds that would show it, where these do not.

    Raises:
        InputError: runs of recipes that differ by more than images and epochs, several of one seed, or seeds that one
            side lacks.
    """
    check_one_recipe(runs, "input", "train_size", "epochs")
    rows = []
    for recipe, (one, other, margin) in product(recipes(runs), AGREEMENTS):
        for model in recipe.model.unique():
            first, second = (_best_by_seed(recipe, model, arm) for arm in (one, other))
            if not len(first) or list(first.index) != list(second.index):
                seeds = " and ".join(f"{list(side.index)} of {name}" for side, name in ((first, one), (second, other)))
                images, epochs = recipe[["train_images", "epochs"]].iloc[0]
                of = f"{model}, {images:,} images, {epochs} epochs"
                raise InputError(f"{of}: complete seeds are {seeds}; train the missing ones")
            differences = (first - second).tolist()
            found = find_equivalence(differences, margin)
            lacking = found.verdict == "not shown"
            rows.append(
                {
                    "model": model,
                    "train_images": recipe.train_images.iloc[0],
                    "config": recipe.config.iloc[0],
                    "arms": (one, other),
                    "margin": margin,
                    "first": fmean(first),
                    "second": fmean(second),
                    "found": found,
                    "seeds": len(differences),
                    "needed": seeds_needed(differences, margin) if lacking else None,
                }
            )
    return pd.DataFrame(rows).astype({"needed": "Int64"})


def _best_by_seed(runs: pd.DataFrame, model: str, arm: Arm) -> pd.Series:
    """Best test accuracy, in per cent, of each complete run, seeds ascending."""
    of_arm = (runs.model == model) & (runs.framework == arm.framework) & (runs.input == arm.input)
    held = runs[of_arm & (runs.status == "complete")].set_index("seed").best
    if held.index.has_duplicates:
        raise InputError(f"{model}: several runs of {arm} from one seed; keep one")
    return 100 * held.sort_index()


def origins(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Commits, libraries and processors, of which not all runs of a recipe have the same."""
    different: dict[str, list[str]] = {}
    for recipe in recipes(runs):
        for name, values in _origins(recipe).items():
            different[name] = sorted({*different.get(name, []), *values})
    return different


def _origins(runs: pd.DataFrame) -> dict[str, list[str]]:
    versions = pd.DataFrame([environment["versions"] for environment in runs.environment], dtype=object)
    of = {"commits": runs.git_commit.fillna("unknown").map(short_commit), **versions, "processors": runs.cpu}
    different = {name: sorted(set(values.map(str))) for name, values in of.items()}
    return {name: values for name, values in different.items() if len(values) > 1}
