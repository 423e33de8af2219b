"""What a user expects of the full comparison: asked for before training, scored after it."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, cast, get_args

import tyro

import console
from jaxcompare.config import InputError, ModelName
from jaxcompare.records import Prediction

if TYPE_CHECKING:
    from rich.console import Console

    from jaxcompare.records import RunRecord


@dataclasses.dataclass(frozen=True)
class PredictionArgs:
    """The recipe's four questions, answered before training."""

    predict: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Ask for the answers not given below, train, then score the prediction."""
    predict_more_accurate: ModelName | None = None
    """The model that will reach the better best test accuracy."""
    predict_faster: ModelName | None = None
    """The model that will take less time per epoch."""
    predict_gap: float | None = None
    """Distance of the two best test accuracies, in percentage points."""
    predict_reasoning: str | None = None
    """Why, in your words. May be left out."""


def predict(args: PredictionArgs, models: Sequence[ModelName]) -> Prediction | None:
    """The prediction that the flags hold, what is missing asked for on the terminal if --predict; None if neither.

    Raises:
        InputError: an answer is missing or impossible.
    """
    accurate, faster, gap, why = (
        args.predict_more_accurate,
        args.predict_faster,
        args.predict_gap,
        args.predict_reasoning,
    )
    if not args.predict and (accurate, faster, gap, why) == (None,) * 4:
        return None
    if set(models) != set(get_args(ModelName)):
        raise InputError("--predict: is about both models; leave out --models")
    if args.predict:
        accurate, faster, gap, why = ask(accurate, faster, gap, why)
    if accurate is None or faster is None or gap is None:
        raise InputError(
            "--predict-more-accurate, --predict-faster, --predict-gap: give all three, or --predict to be asked"
        )
    if not 0 <= gap <= 100:
        raise InputError(f"--predict-gap: must be between 0 and 100 points, not {gap}")
    return Prediction(accurate, faster, gap, why or "")


def ask(
    accurate: ModelName | None, faster: ModelName | None, gap: float | None, why: str | None
) -> tuple[ModelName, ModelName, float, str]:
    """Ask on the terminal for what is None."""
    from rich.prompt import FloatPrompt, Prompt

    names = list(get_args(ModelName))
    print("Before training: what do you expect?")
    try:
        if accurate is None:
            accurate = cast(ModelName, Prompt.ask("Which will be more accurate?", choices=names))
        if faster is None:
            faster = cast(ModelName, Prompt.ask("Which will train faster, per epoch?", choices=names))
        if gap is None:
            gap = FloatPrompt.ask("By how many points of accuracy will they differ?")
        if why is None:
            why = Prompt.ask("Why?", default="", show_default=False)
    except EOFError as error:
        raise InputError(
            "--predict: no answer; type one, or give --predict-more-accurate, --predict-faster and --predict-gap"
        ) from error
    return accurate, faster, gap, why


def show_score(screen: "Console", records: Sequence["RunRecord"], prediction: Prediction) -> None:
    """How the prediction did."""
    from jaxcompare.analysis.predictions import score_predictions
    from jaxcompare.report.run_tables import score_table
    from jaxcompare.run_frame import per_run, to_frame

    for score in score_predictions(per_run(to_frame(records))):
        if score.prediction == prediction:
            screen.print("Your prediction")
            console.show_table(screen, score_table(score))
