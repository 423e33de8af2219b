"""What the measurements say, in sentences: the verdict and the recipe's five questions.

Every sentence follows from a number and its interval; none is written for an outcome. Where the interval of a
difference holds 0 the answer is that it is undecided, and where there is one seed, that there is no interval.
"""

import dataclasses
import math
from collections.abc import Sequence

from jaxcompare.analysis.comparison import by_model, executed_alike, mean
from jaxcompare.analysis.data_efficiency import METRICS, Efficiency, Estimate, estimate
from jaxcompare.analysis.statistics import Crossover
from jaxcompare.config import ModelName
from jaxcompare.records import RunRecord

NAMES: dict[ModelName, str] = {"cnn": "CNN", "vit": "ViT"}


@dataclasses.dataclass(frozen=True)
class Answer:
    """A question of the recipe, what the data answer, and the numbers that the answer rests on."""

    question: str
    answer: str
    evidence: str


def verdict(comparison: Sequence[RunRecord], efficiency: Efficiency | None) -> list[str]:
    """At most three sentences: accuracy with most data, cost, data efficiency. One per kind of evidence that exists."""
    sentences = []
    pair = _pair(comparison)
    if pair:
        difference = _difference(pair)
        sentences.append(
            f"With {comparison[0].train_images:,} training images and {_epochs(comparison)} epochs, "
            f"{_leads(difference, _accuracies(pair))}."
        )
        sentences.append(_cost(pair))
    if efficiency and efficiency.difference:
        sentences.append(_over_sizes(efficiency))
    return sentences


def answer_questions(comparison: Sequence[RunRecord], efficiency: Efficiency | None) -> list[Answer]:
    """The recipe's five questions, as far as the records answer them."""
    answers = []
    pair = _pair(comparison)
    if pair:
        answers.append(_with_all_data(comparison, pair))
    elif efficiency and efficiency.difference:
        answers.append(_at_size(efficiency, -1, "Which won with the most data?"))
    if efficiency and efficiency.difference:
        smallest = efficiency.sweep.sizes[0]
        answers.append(_at_size(efficiency, 0, f"Which won with the least data, {smallest:,} images?"))
        answers.append(_catching_up(efficiency))
    if pair or (efficiency and efficiency.difference):
        answers.append(_why(comparison, efficiency))
        answers.append(_take_away(pair, efficiency))
    return answers


def _pair(comparison: Sequence[RunRecord]) -> dict[ModelName, list[RunRecord]] | None:
    """The runs of both models that have an epoch, or None."""
    pair = by_model([r for r in comparison if r.history.test_accuracy])
    return pair if set(pair) == set(NAMES) else None


def _difference(pair: dict[ModelName, list[RunRecord]]) -> Estimate:
    """CNN minus ViT in best test accuracy, paired by seed."""
    seeds = {model: {r.config.training.seed: r.best_test_accuracy for r in runs} for model, runs in pair.items()}
    return estimate([seeds["cnn"][seed] - seeds["vit"][seed] for seed in sorted(seeds["cnn"])])


def _accuracies(pair: dict[ModelName, list[RunRecord]]) -> tuple[float, float]:
    cnn, vit = (mean(r.best_test_accuracy for r in pair[model]) for model in NAMES)
    return cnn, vit


def _epochs(records: Sequence[RunRecord]) -> str:
    done = {len(r.history.test_accuracy) for r in records}
    return " to ".join(str(n) for n in sorted({min(done), max(done)}))


def points(difference: Estimate) -> str:
    """A difference of accuracies in percentage points, with its interval."""
    if difference.interval is None:
        return f"{100 * difference.mean:+.2f} points; one seed, so no interval"
    low, high = 100 * difference.interval.low, 100 * difference.interval.high
    return f"{100 * difference.mean:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}"


def leader(difference: Estimate) -> ModelName | None:
    """Which model is ahead: shown by the interval or, of one seed, by its sign; None: undecided."""
    sign = difference.sign if difference.interval else (difference.mean > 0) - (difference.mean < 0)
    return {1: "cnn", -1: "vit"}.get(sign or 0)  # type: ignore[return-value]


def _leads(difference: Estimate, accuracies: tuple[float, float]) -> str:
    """Who leads by how much."""
    ahead = leader(difference)
    cnn, vit = (f"{100 * value:.2f} %" for value in accuracies)
    if ahead is None:
        return f"it is undecided which is more accurate: CNN {cnn}, ViT {vit} (CNN - ViT: {points(difference)})"
    first, second = (cnn, vit) if ahead == "cnn" else (vit, cnn)
    other = NAMES["vit" if ahead == "cnn" else "cnn"]
    is_ahead = "is more accurate" if difference.interval else "came out ahead"
    return f"the {NAMES[ahead]} {is_ahead}: {first} against the {other}'s {second} (CNN - ViT: {points(difference)})"


def _faster(pair: dict[ModelName, list[RunRecord]]) -> tuple[ModelName, float] | None:
    """The model with less time per epoch, and how many times as long the other takes; None if not comparable."""
    if not executed_alike([r for runs in pair.values() for r in runs]):
        return None
    cnn, vit = (mean(r.epoch_time_s for r in pair[model]) for model in NAMES)
    return ("cnn", vit / cnn) if cnn <= vit else ("vit", cnn / vit)


def _cost(pair: dict[ModelName, list[RunRecord]]) -> str:
    cnn, vit = pair["cnn"][0], pair["vit"][0]
    size = (
        f"The CNN has {cnn.params:,} parameters, the ViT {vit.params:,} ({vit.params / cnn.params:.2f} times as many)"
    )
    faster = _faster(pair)
    if faster is None:
        return f"{size}; their times per epoch were not measured alike and are not compared."
    seconds = [mean(r.epoch_time_s for r in pair[model]) for model in NAMES]
    other = "ViT" if faster[0] == "cnn" else "CNN"
    return (
        f"{size}, and an epoch takes {seconds[0]:.1f} s for the CNN, {seconds[1]:.1f} s for the ViT: "
        f"the {other} takes {faster[1]:.1f} times as long."
    )


def _size(efficiency: Efficiency, place: int) -> str:
    size, accuracy = efficiency.sweep.sizes[place], efficiency.accuracy
    means = accuracy["cnn"][place].mean, accuracy["vit"][place].mean
    return f"With {size:,} training images {_leads(efficiency.difference[place], means)}"


def _over_sizes(efficiency: Efficiency) -> str:
    sizes = efficiency.sweep.sizes
    if efficiency.crossover is None:
        return f"{_size(efficiency, 0)}; only this size was trained on."
    leads = [leader(difference) for difference in efficiency.difference]
    said = []
    for ahead, words in (("cnn", "the CNN is ahead"), ("vit", "the ViT is ahead"), (None, "it is undecided")):
        where = [f"{size:,}" for size, lead in zip(sizes, leads, strict=True) if lead == ahead]
        if where:
            said.append(f"{words} at {' and '.join(where)} images")
    first, last = efficiency.difference[0], efficiency.difference[-1]
    text = f"{', '.join(said)} ({points(first)} at the smallest, {points(last)} at the largest)"
    return f"Over training sizes {text}; {describe_crossover(efficiency.crossover, sizes)}."


def describe_crossover(crossover: Crossover, sizes: Sequence[int]) -> str:
    """Where the ViT catches up, with the bounds that the data set, or that it does not in the range measured."""
    smallest, largest, interval = f"{sizes[0]:,}", f"{sizes[-1]:,}", crossover.interval
    turns = " and ".join(f"{size:,.0f}" for size in crossover.reversals)
    if math.isinf(crossover.size) and turns:
        text = f"the CNN overtakes the ViT at about {turns} images, up to {largest} for good"
    elif math.isinf(crossover.size):
        text = f"the ViT does not catch up in the range measured, {smallest} to {largest} images"
    elif crossover.size == 0:
        text = f"the ViT is level or ahead at every size from {smallest} images on"
    else:
        text = f"the ViT catches up at about {crossover.size:,.0f} images"
        text += f", where the CNN had overtaken it at about {turns}" if turns else ""
    if interval is None:
        return f"{text} (one seed, so no interval)"
    if math.isinf(interval.low):
        return f"{text} (95 %: a crossover, if there is one, lies beyond {largest})"
    low = f"{interval.low:,.0f}" if interval.low else f"below {smallest}"
    high = f"beyond {largest}" if math.isinf(interval.high) else f"{interval.high:,.0f}" if interval.high else low
    return f"{text} (95 % interval of the crossover: {low} to {high})" if low != high else f"{text} (95 %: {low})"


def _with_all_data(comparison: Sequence[RunRecord], pair: dict[ModelName, list[RunRecord]]) -> Answer:
    difference, images = _difference(pair), comparison[0].train_images
    finals = [f"{NAMES[model]} {100 * mean(r.final_test_accuracy for r in pair[model]):.2f} %" for model in NAMES]
    return Answer(
        "Which won with all the training images?",
        sentence(_leads(difference, _accuracies(pair))),
        f"{images:,} images, {_epochs(comparison)} epochs, {_seeds(len(pair['cnn']))}; best epoch, chosen on the test "
        f"images. After the last epoch: {', '.join(finals)}.",
    )


def _at_size(efficiency: Efficiency, place: int, question: str) -> Answer:
    sweep = efficiency.sweep
    return Answer(
        question,
        f"{_size(efficiency, place)}.",
        f"{sweep.first.config.training.epochs} epochs, {_seeds(len(sweep.seeds))}, paired by seed; best epoch, chosen "
        "on the test images.",
    )


def _catching_up(efficiency: Efficiency) -> Answer:
    sizes, question = efficiency.sweep.sizes, "At what size did the ViT catch up?"
    if efficiency.crossover is None:
        return Answer(question, "One size was trained on: it cannot be said.", "Two sizes at least are needed.")
    each = [f"{size:,}: {points(d)}" for size, d in zip(sizes, efficiency.difference, strict=True)]
    evidence = f"CNN - ViT by training images: {'; '.join(each)}. {_change(efficiency)}"
    extrapolated = efficiency.extrapolated
    if extrapolated and math.isfinite(extrapolated.size):
        evidence += f" The fitted power laws would meet at about {extrapolated.size:,.0f} images: an extrapolation."
    elif extrapolated:
        evidence += " The fitted power laws do not meet within 1,000 times the largest size: an extrapolation."
    return Answer(question, sentence(describe_crossover(efficiency.crossover, sizes)), evidence)


def _change(efficiency: Efficiency) -> str:
    """Whether the lead changes between the smallest and the largest size."""
    sweep = efficiency.sweep
    cnn, vit = (sweep.values(model, METRICS[efficiency.metric]) for model in NAMES)
    differences = cnn - vit
    change = estimate((differences[:, -1] - differences[:, 0]).tolist())
    shown = {1: "in the CNN's favour", -1: "in the ViT's favour", 0: "in no direction that is shown", None: "unproved"}
    return f"From the smallest to the largest size it changes by {points(change)}: {shown[change.sign]}."


def _why(comparison: Sequence[RunRecord], efficiency: Efficiency | None) -> Answer:
    """Whether what separates the models is there on the training images already, or arises after."""
    pair = _pair(comparison)
    if pair is None:
        assert efficiency is not None
        pair = {model: efficiency.sweep.of(model, efficiency.sweep.sizes[-1]) for model in NAMES}
    question, ahead = "Why?", leader(_difference(pair))
    trained, tested = (
        {model: 100 * mean(getattr(r.history, name)[-1] for r in runs) for model, runs in pair.items()}
        for name in ("train_accuracy", "test_accuracy")
    )
    evidence = "After the last epoch: " + ", ".join(
        f"{NAMES[m]} {trained[m]:.1f} % on its training images (augmented, dropout on), {tested[m]:.1f} % in the test"
        for m in NAMES
    )
    if ahead is None:
        return Answer(question, "No difference is shown that would need a reason.", f"{evidence}.")
    behind: ModelName = "vit" if ahead == "cnn" else "cnn"
    in_training, in_test = trained[ahead] - trained[behind], tested[ahead] - tested[behind]
    if in_training >= in_test / 2:
        answer = (
            f"The {NAMES[behind]} fits the training images less well too: {in_training:+.1f} points there, "
            f"{in_test:+.1f} in the test. It learns more slowly from these updates, rather than overfits."
        )
    else:
        answer = (
            f"The {NAMES[behind]} generalises less from what it fits: on the training images the difference is "
            f"{in_training:+.1f} points, on the test images {in_test:+.1f}."
        )
    return Answer(
        question,
        f"{answer} What the architectures build in (a convolution sees 9 neighbouring positions everywhere alike, a "
        "token attends to all) is the usual reason; these runs measure the outcome, not the cause.",
        f"{evidence}.",
    )


def _take_away(pair: dict[ModelName, list[RunRecord]] | None, efficiency: Efficiency | None) -> Answer:
    faster = _faster(pair) if pair else None
    if pair:
        difference, images = _difference(pair), next(iter(pair.values()))[0].train_images
    else:
        assert efficiency is not None
        difference, images = efficiency.difference[-1], efficiency.sweep.sizes[-1]
    ahead, margin = leader(difference), f"by {abs(100 * difference.mean):.1f} points with {images:,} images"
    more_accurate = "is more accurate" if difference.interval else "came out ahead in accuracy (one seed)"
    speed = f"takes less time per epoch (the other {faster[1]:.1f} times as long)" if faster else ""
    if ahead is None:
        answer = "Accuracy does not decide between them" + (f"; the {NAMES[faster[0]]} {speed}" if faster else "")
    elif faster is None:
        answer = f"The {NAMES[ahead]} {more_accurate}, {margin}"
    elif faster[0] == ahead:
        answer = f"The {NAMES[ahead]} {more_accurate}, {margin}, and {speed}"
    else:
        answer = f"It is a trade: the {NAMES[ahead]} {more_accurate}, {margin}, the {NAMES[faster[0]]} {speed}"
    evidence = (
        "For this recipe, this data set and this machine; nothing here speaks of larger models, longer training, "
    )
    evidence += "pretraining or stronger augmentation."
    if efficiency and efficiency.crossover:
        evidence = f"{sentence(describe_crossover(efficiency.crossover, efficiency.sweep.sizes))} {evidence}"
    return Answer("What to take away?", f"{answer}.", evidence)


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."
