"""The verdict and the recipe's five questions, answered as far as records go; the words are in words.jinja."""

import dataclasses
from collections.abc import Sequence

from jaxcompare.analysis.data_efficiency import Efficiency
from jaxcompare.analysis.outcome import Outcome, change_over_sizes, find_outcome, leader_at, unfinished
from jaxcompare.records import RunRecord
from jaxcompare.report.crossover_text import describe_crossover, describe_extrapolation
from jaxcompare.report.text import device_text
from jaxcompare.report.words import say

LIMITS = (
    "For this recipe, this data set and this machine; nothing here speaks of larger models, longer training, "
    "pretraining or stronger augmentation."
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """A question of the recipe, what the data answer, and the numbers that the answer rests on."""

    question: str
    answer: str
    evidence: str


def verdict(comparison: Sequence[RunRecord], efficiency: Efficiency | None) -> list[str]:
    """Accuracy with most data, cost, data efficiency: a line per kind of evidence that exists."""
    lines, outcome = [], find_outcome(comparison)
    if outcome:
        machine = device_text(outcome.first.environment)
        seconds = outcome.mean(lambda record: record.epoch_time_s)
        lines += [say("accuracy", outcome=outcome), say("cost", outcome=outcome, seconds=seconds, machine=machine)]
    elif comparison:
        lines.append(say("unfinished", runs=unfinished(comparison)))
    if efficiency and efficiency.difference:
        lines.append(describe_crossover(efficiency) if efficiency.crossover else _at_size(efficiency, 0))
    return lines


def answer_questions(comparison: Sequence[RunRecord], efficiency: Efficiency | None) -> list[Answer]:
    """The recipe's five questions."""
    answers, outcome = [], find_outcome(comparison)
    swept = efficiency if efficiency and efficiency.difference else None
    if outcome:
        won = say("accuracy", outcome=outcome)
        evidence = say("runs_of", first=outcome.first, seeds=outcome.seeds, images=outcome.first.train_images)
        answers.append(Answer("Which won with all the training images?", won, evidence))
    elif swept:
        answers.append(_won(swept, -1, "Which won with the most data?"))
    if swept:
        answers.append(_won(swept, 0, f"Which won with the least data, {swept.sweep.sizes[0]:,} images?"))
        answers.append(_catching_up(swept))
        outcome = outcome or Outcome({model: swept.sweep.of(model, swept.sweep.sizes[-1]) for model in ("cnn", "vit")})
    if outcome:
        answers.append(Answer("Why?", say("why", outcome=outcome), say("why_evidence", outcome=outcome)))
        sizes = f"{describe_crossover(swept)} " if swept and swept.crossover else ""
        answers.append(Answer("What to take away?", say("take_away", outcome=outcome), sizes + LIMITS))
    return answers


def _at_size(efficiency: Efficiency, place: int) -> str:
    return say(
        "at_size",
        size=efficiency.sweep.sizes[place],
        lead=leader_at(efficiency, place),
        difference=efficiency.difference[place],
        accuracy={model: of_sizes[place].mean for model, of_sizes in efficiency.accuracy.items()},
    )


def _won(efficiency: Efficiency, place: int, question: str) -> Answer:
    sweep = efficiency.sweep
    evidence = say("runs_of", first=sweep.first, seeds=len(sweep.seeds), images=0)
    return Answer(question, _at_size(efficiency, place), evidence)


def _catching_up(efficiency: Efficiency) -> Answer:
    question = "At what size did the ViT catch up?"
    if efficiency.crossover is None:
        return Answer(question, "One size was trained on: it cannot be said.", "Two sizes at least are needed.")
    evidence = say(
        "by_size",
        differences=list(zip(efficiency.sweep.sizes, efficiency.difference, strict=True)),
        change=change_over_sizes(efficiency),
        extrapolation=describe_extrapolation(efficiency),
    )
    return Answer(question, describe_crossover(efficiency), evidence)
