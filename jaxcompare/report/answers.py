"""The verdict and the recipe's questions, answered as far as records go; the words are in words.jinja."""

import pandas as pd

from jaxcompare.analysis.data_efficiency import Efficiency
from jaxcompare.analysis.outcome import MODELS, Outcome, find_outcome
from jaxcompare.report.crossover_words import describe_crossover
from jaxcompare.report.words import say


def verdict(runs: pd.DataFrame, efficiency: Efficiency | None) -> list[str]:
    """Accuracy with most data, cost, data efficiency: a line per kind of evidence that exists."""
    lines, outcome = [], find_outcome(runs)
    if outcome:
        lines += [say("accuracy", outcome), say("cost", outcome)]
    elif len(runs):
        lines.append(unfinished(runs))
    if efficiency and efficiency.difference:
        lines.append(describe_crossover(efficiency) or say("at_size", efficiency, 0))
    return lines


def unfinished(runs: pd.DataFrame) -> str:
    """Which runs of a full comparison do not count, and which there are none of; empty if all is there."""
    lost, absent = runs[runs.status != "complete"], [model for model in MODELS if model not in set(runs.model)]
    return say("unfinished", lost, absent) if len(lost) or absent else ""


def answer_questions(runs: pd.DataFrame, efficiency: Efficiency | None) -> dict[str, str]:
    """The recipe's questions, with their answers."""
    answers, outcome = {}, find_outcome(runs)
    if outcome:
        answers["Which won with all the training images?"] = say("accuracy", outcome)
    if efficiency and efficiency.difference:
        answers["Which won with the least data?"] = say("at_size", efficiency, 0)
        caught = describe_crossover(efficiency) or "One size was trained on: it cannot be said."
        answers["At what size did the ViT catch up?"] = caught
        sweep = efficiency.sweep
        outcome = outcome or Outcome(sweep.runs[sweep.runs.train_images == sweep.sizes[-1]])
    if outcome:
        answers["Why?"] = say("why", outcome)
        answers["What to take away?"] = say("take_away", outcome)
    return answers
