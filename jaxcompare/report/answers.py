"""The verdict and the recipe's five questions, answered as far as records go; the words are in words.jinja."""

import dataclasses

import pandas as pd

from jaxcompare.analysis.data_efficiency import Efficiency
from jaxcompare.analysis.outcome import MODELS, Outcome, find_outcome
from jaxcompare.report.crossover_words import describe_crossover, describe_extrapolation
from jaxcompare.report.words import say


@dataclasses.dataclass(frozen=True)
class Answer:
    """A question of the recipe, what the data answer, and the numbers that the answer rests on."""

    question: str
    answer: str
    evidence: str


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


def answer_questions(runs: pd.DataFrame, efficiency: Efficiency | None) -> list[Answer]:
    """The recipe's five questions."""
    answers, outcome = [], find_outcome(runs)
    swept = efficiency if efficiency and efficiency.difference else None
    if outcome:
        evidence = say("runs_of", outcome.first, outcome.seeds)
        answers.append(Answer("Which won with all the training images?", say("accuracy", outcome), evidence))
    if swept:
        sweep = swept.sweep
        evidence = say("runs_of", sweep.first, len(sweep.seeds))
        if not outcome:
            answers.append(Answer("Which won with the most data?", say("at_size", swept, -1), evidence))
        least = f"Which won with the least data, {sweep.sizes[0]:,} images?"
        answers.append(Answer(least, say("at_size", swept, 0), evidence))
        caught = describe_crossover(swept) or "One size was trained on: it cannot be said."
        evidence = say("by_size", swept, describe_extrapolation(swept))
        answers.append(Answer("At what size did the ViT catch up?", caught, evidence))
        outcome = outcome or Outcome(sweep.runs[sweep.runs.train_images == sweep.sizes[-1]])
    if outcome:
        answers.append(Answer("Why?", say("why", outcome), say("why_evidence", outcome)))
        answers.append(Answer("What to take away?", say("take_away", outcome), say("reach_of_evidence")))
    return answers
