"""What the measurements say, in sentences: the verdict and the recipe's five questions.

Every sentence follows from a number and its interval; none is written for an outcome. Where the interval of a
difference holds 0 the answer is that it is undecided, and where there is one seed, that there is no interval. Runs that
did not come to their end decide nothing.
"""

import dataclasses
import math
from collections.abc import Sequence

from jaxcompare.analysis.comparison import (
    LABELS,
    METRICS,
    Pair,
    difference,
    faster,
    leader,
    mean,
    pair_up,
    seconds_text,
)
from jaxcompare.analysis.data_efficiency import Efficiency
from jaxcompare.analysis.statistics import Crossover, Estimate, estimate
from jaxcompare.records import RunRecord

BEST = "best epoch, chosen on the test images"


@dataclasses.dataclass(frozen=True)
class Answer:
    """A question of the recipe, what the data answer, and the numbers that the answer rests on."""

    question: str
    answer: str
    evidence: str


def verdict(comparison: Sequence[RunRecord], efficiency: Efficiency | None) -> list[str]:
    """At most three sentences: accuracy with most data, cost, data efficiency. One per kind of evidence that exists."""
    sentences, pair = [], pair_up(comparison)
    if pair:
        first = pair["cnn"][0]
        lead = f"With {first.train_images:,} training images and {first.config.training.epochs} epochs"
        sentences += [f"{lead}, {_leads(pair)}.", _cost(pair)]
    elif comparison:
        sentences.append(f"The full comparison does not compare: {'; '.join(name_unfinished(comparison))}.")
    if efficiency and efficiency.difference:
        sentences.append(_over_sizes(efficiency))
    return sentences


def name_unfinished(comparison: Sequence[RunRecord]) -> list[str]:
    """The runs of a full comparison that do not count, each in words."""
    models = {record.config.model for record in comparison}
    absent = [f"no run of the {LABELS[model]}" for model in LABELS if model not in models]
    return absent + [
        f"{LABELS[r.config.model]}, seed {r.config.training.seed}: {r.status} after {len(r.history.test_accuracy)} of "
        f"{r.config.training.epochs} epochs"
        for r in comparison
        if r.status != "complete"
    ]


def answer_questions(comparison: Sequence[RunRecord], efficiency: Efficiency | None) -> list[Answer]:
    """The recipe's five questions, as far as the records answer them."""
    answers, pair = [], pair_up(comparison)
    swept = efficiency if efficiency and efficiency.difference else None
    if pair:
        answers.append(_with_all_data(pair))
    elif swept:
        answers.append(_at_size(swept, -1, "Which won with the most data?"))
    if swept:
        answers.append(_at_size(swept, 0, f"Which won with the least data, {swept.sweep.sizes[0]:,} images?"))
        answers.append(_catching_up(swept))
    most: Pair | None = pair
    if not pair and swept:
        most = {model: swept.sweep.of(model, swept.sweep.sizes[-1]) for model in LABELS}
    if most:
        answers += [_why(most), _take_away(most, swept)]
    return answers


def points(difference: Estimate) -> str:
    """A difference of accuracies in percentage points, with its interval."""
    if difference.interval is None:
        return f"{100 * difference.mean:+.2f} points; one seed, so no interval"
    low, high = 100 * difference.interval.low, 100 * difference.interval.high
    return f"{100 * difference.mean:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}"


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def _leads(pair: Pair) -> str:
    """Who leads by how much, in the recipe's metric; and whether the last epoch says otherwise."""
    best, final = difference(pair), difference(pair, "final")
    means = {metric: [mean(map(METRICS[metric], pair[model])) for model in LABELS] for metric in METRICS}
    text = f"{_ahead(best, *means['best'])} in the {BEST}"
    cnn, vit = (f"{100 * value:.2f} %" for value in means["final"])
    last = f"after the last epoch CNN {cnn}, ViT {vit}"
    if leader(final) == leader(best):
        return f"{text}; {last}"
    return f"{text}; but {last} ({points(final)}): who is ahead depends on the epoch taken"


def _ahead(difference: Estimate, cnn: float, vit: float) -> str:
    """Who a difference shows ahead, with both accuracies."""
    ahead = leader(difference)
    if ahead is None:
        return (
            f"it is undecided which is more accurate: CNN {100 * cnn:.2f} %, ViT {100 * vit:.2f} % (CNN - ViT: "
            f"{points(difference)})"
        )
    first, second = (cnn, vit) if ahead == "cnn" else (vit, cnn)
    other = LABELS["vit" if ahead == "cnn" else "cnn"]
    is_ahead = "is more accurate" if difference.interval else "came out ahead"
    return (
        f"the {LABELS[ahead]} {is_ahead}: {100 * first:.2f} % against the {other}'s {100 * second:.2f} % (CNN - ViT: "
        f"{points(difference)})"
    )


def _cost(pair: Pair) -> str:
    cnn, vit = pair["cnn"][0], pair["vit"][0]
    size = (
        f"The CNN has {cnn.params:,} parameters, the ViT {vit.params:,} ({vit.params / cnn.params:.2f} times as many)"
    )
    quicker = faster(pair)
    if quicker is None:
        return f"{size}; their times per epoch were not measured alike, or are the same, and decide nothing."
    seconds = [seconds_text(mean(r.epoch_time_s for r in pair[model])) for model in LABELS]
    other, environment = "ViT" if quicker[0] == "cnn" else "CNN", cnn.environment
    on_cpu = environment["backend"] == "cpu"
    device = f"{environment['cpu_cores']} cores of {environment['cpu']}" if on_cpu else environment["device"]
    return (
        f"{size}, and on {device} an epoch takes {seconds[0]} s for the CNN, {seconds[1]} s for the ViT: the {other} "
        f"takes {quicker[1]:.1f} times as long."
    )


def _size(efficiency: Efficiency, place: int) -> str:
    size, accuracy = efficiency.sweep.sizes[place], efficiency.accuracy
    means = accuracy["cnn"][place].mean, accuracy["vit"][place].mean
    return f"With {size:,} training images {_ahead(efficiency.difference[place], *means)}"


def _over_sizes(efficiency: Efficiency) -> str:
    sizes = efficiency.sweep.sizes
    if efficiency.crossover is None:
        return f"{_size(efficiency, 0)}; only this size was trained on."
    leads = [leader(difference) for difference in efficiency.difference]
    said = []
    for ahead, words in (("cnn", "the CNN is ahead"), ("vit", "the ViT is ahead"), (None, "it is undecided")):
        where = [f"{size:,}" for size, lead in zip(sizes, leads, strict=True) if lead == ahead]
        if where:
            said.append(f"{words} at {' and '.join([', '.join(where[:-1]), where[-1]] if where[1:] else where)} images")
    first, last = efficiency.difference[0], efficiency.difference[-1]
    text = f"{', '.join(said)} ({points(first)} at the smallest, {points(last)} at the largest)"
    return f"Over training sizes {text}; {describe_crossover(efficiency.crossover, sizes)}."


def describe_crossover(crossover: Crossover, sizes: Sequence[int]) -> str:
    """Where the ViT catches up, with the bounds that the data set, or that it does not in the range measured."""
    smallest, largest, interval = f"{sizes[0]:,}", f"{sizes[-1]:,}", crossover.interval
    if interval and interval.low == 0 and math.isinf(interval.high):
        return f"no crossover is shown, and none is ruled out, from {smallest} to {largest} images"
    if math.isinf(crossover.size):
        text = f"the ViT has not caught up at {largest} images, the most measured"
        if crossover.reversals:
            text = f"the CNN, not ahead at first, is ahead at {largest} images, the most measured"
        if interval is None:
            return f"{text} (one seed, so no interval)"
        bound = f"lies beyond {largest}" if math.isinf(interval.low) else f"lies above {_round(interval.low)}"
        return f"{text} (95 %: a crossover, if there is one, {bound})"
    if crossover.size == 0:
        text = f"the ViT is level or ahead at every size from {smallest} images on"
        if interval is None:
            return f"{text} (one seed, so no interval)"
        bound = f"below {smallest}" if interval.high == 0 else f"below {_round(interval.high)}"
        return f"{text} (95 %: a crossover, if there is one, lies {bound})"
    text = f"the ViT catches up at about {_round(crossover.size)} images"
    if interval is None:
        return f"{text} (one seed, so no interval)"
    low = _round(interval.low) if interval.low else f"below {smallest}"
    high = f"beyond {largest}" if math.isinf(interval.high) else _round(interval.high)
    return f"{text} (95 % interval of the crossover: {low} to {high})"


def _round(size: float) -> str:
    """Two significant digits: a crossover is not known better."""
    return f"{float(f'{size:.2g}'):,.0f}"


def _with_all_data(pair: Pair) -> Answer:
    first = pair["cnn"][0]
    return Answer(
        "Which won with all the training images?",
        sentence(_leads(pair)),
        f"{first.train_images:,} images, {first.config.training.epochs} epochs, {_seeds(len(pair['cnn']))}.",
    )


def _at_size(efficiency: Efficiency, place: int, question: str) -> Answer:
    sweep = efficiency.sweep
    epochs = sweep.first.config.training.epochs
    return Answer(
        question,
        f"{_size(efficiency, place)}.",
        f"{epochs} epochs, {_seeds(len(sweep.seeds))}, paired by seed; {BEST}.",
    )


def _catching_up(efficiency: Efficiency) -> Answer:
    sizes, question = efficiency.sweep.sizes, "At what size did the ViT catch up?"
    if efficiency.crossover is None:
        return Answer(question, "One size was trained on: it cannot be said.", "Two sizes at least are needed.")
    each = [f"{size:,}: {points(d)}" for size, d in zip(sizes, efficiency.difference, strict=True)]
    evidence = f"CNN - ViT by training images: {'; '.join(each)}. {_change(efficiency)}{_extrapolation(efficiency)}"
    return Answer(question, sentence(describe_crossover(efficiency.crossover, sizes)), evidence)


def _extrapolation(efficiency: Efficiency) -> str:
    """What the power laws foretell, only where no crossover was measured and their interval bounds one."""
    crossover = efficiency.extrapolated
    if crossover is None or efficiency.crossover is None or math.isfinite(efficiency.crossover.size):
        return ""
    if crossover.interval is None or (crossover.interval.low == 0 and math.isinf(crossover.interval.high)):
        return " Extrapolated, the fitted power laws bound no crossover."
    low, high = crossover.interval.low, crossover.interval.high
    end = "without an upper bound" if math.isinf(high) else f"at most {_round(high)}"
    if math.isinf(low):
        return " Extrapolated, the fitted power laws do not meet within 1,000 times the largest size."
    start = f"at least {_round(low)}, {end}" if low else end
    where = f"at about {_round(crossover.size)} images" if math.isfinite(crossover.size) else "not within reach"
    return f" Extrapolated, not measured: the fitted power laws meet {where} (95 %: {start}), if they go on so."


def _change(efficiency: Efficiency) -> str:
    """Whether the lead changes between the smallest and the largest size."""
    sweep = efficiency.sweep
    cnn, vit = (sweep.values(model, METRICS[efficiency.metric]) for model in LABELS)
    differences = cnn - vit
    change = estimate((differences[:, -1] - differences[:, 0]).tolist())
    shown = {1: "in the CNN's favour", -1: "in the ViT's favour", 0: "in no direction that is shown", None: "unproved"}
    return f"From the smallest to the largest size it changes by {points(change)}: {shown[change.sign]}."


def _why(pair: Pair) -> Answer:
    """Whether what separates the models after the last epoch is there on the training images already."""
    trained = {model: [r.history.train_accuracy[-1] for r in runs] for model, runs in pair.items()}
    in_test = difference(pair, "final")
    in_training = estimate([cnn - vit for cnn, vit in zip(trained["cnn"], trained["vit"], strict=True)])
    evidence = (
        "CNN - ViT after the last epoch. On the training images as they were seen in training (augmented; the ViT with "
        f"dropout, which lowers its figure): {points(in_training)}. On the test images: {points(in_test)}."
    )
    ahead, in_training_ahead = leader(in_test), leader(in_training)
    if ahead is None:
        return Answer("Why?", "After the last epoch no difference is shown that would need a reason.", evidence)
    behind = LABELS["vit" if ahead == "cnn" else "cnn"]
    if in_training_ahead == ahead:
        answer = f"The {behind} is behind on the training images too, so more than generalisation separates them."
    elif in_training_ahead is None:
        answer = f"The {behind} is shown to be behind in the test only, not on the training images."
    else:
        answer = f"The {behind} fits its training images better and does worse in the test: it generalises less."
    return Answer(
        "Why?",
        f"{answer} What the architectures build in (a convolution sees 9 neighbouring positions, everywhere alike; a "
        "token attends to all) is the usual reason; these runs measure the outcome, not the cause.",
        evidence,
    )


def _take_away(pair: Pair, efficiency: Efficiency | None) -> Answer:
    best, quicker, images = difference(pair), faster(pair), pair["cnn"][0].train_images
    ahead, margin = leader(best), f"by {abs(100 * best.mean):.2f} points with {images:,} images"
    more_accurate = "is more accurate" if best.interval else "came out ahead in accuracy (one seed)"
    speed = f"takes less time per epoch (the other {quicker[1]:.1f} times as long)" if quicker else ""
    if ahead is None:
        answer = "Accuracy does not decide between them" + (f"; the {LABELS[quicker[0]]} {speed}" if quicker else "")
    elif quicker is None:
        answer = f"The {LABELS[ahead]} {more_accurate}, {margin}"
    elif quicker[0] == ahead:
        answer = f"The {LABELS[ahead]} {more_accurate}, {margin}, and {speed}"
    else:
        answer = f"It is a trade: the {LABELS[ahead]} {more_accurate}, {margin}, the {LABELS[quicker[0]]} {speed}"
    evidence = (
        "For this recipe, this data set and this machine; nothing here speaks of larger models, longer training, "
        "pretraining or stronger augmentation."
    )
    if efficiency and efficiency.crossover:
        evidence = f"{sentence(describe_crossover(efficiency.crossover, efficiency.sweep.sizes))} {evidence}"
    return Answer("What to take away?", f"{answer}.", evidence)


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"
