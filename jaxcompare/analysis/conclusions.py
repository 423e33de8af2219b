"""What the measurements say, in sentences: the verdict and the recipe's five questions.

Every sentence follows from a number and its interval; none is written for an outcome. Where the interval of a
difference holds 0 the answer is that it is undecided, and where there is one seed, that there is no interval. Runs that
did not come to their end decide nothing.
"""

import dataclasses
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
from jaxcompare.analysis.crossover_text import describe_crossover, describe_extrapolation, sentence
from jaxcompare.analysis.data_efficiency import Efficiency
from jaxcompare.analysis.statistics import Estimate, estimate
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
        lead = f"With {first.train_images:,} training images of {first.dataset_title}"
        # Of one seed, what stands in place of the interval says so.
        how = [_epochs(first), *([_seeds(len(pair["cnn"]))] if len(pair["cnn"]) > 1 else [])]
        sentences += [f"{lead} and {' of '.join(how[::-1])}, {_leads(pair)}.", _cost(pair)]
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


def _leads(pair: Pair) -> str:
    """Who leads by how much, in the recipe's metric; and whether the last epoch says otherwise."""
    best, final = difference(pair), difference(pair, "final")
    means = {metric: [mean(map(METRICS[metric], pair[model])) for model in LABELS] for metric in METRICS}
    text = f"{_ahead(best, *means['best'])} in the {BEST}"
    cnn, vit = (f"{100 * value:.2f} %" for value in means["final"])
    last = f"after the last epoch CNN {cnn}, ViT {vit}"
    if leader(final) == leader(best):
        return f"{text}; {last}"
    decided = (
        f"it is undecided ({points(final)})" if leader(final) is None else f"{_ahead_words(final)} ({points(final)})"
    )
    if None in (leader(best), leader(final)):
        return f"{text}; {last}: {decided}"
    return f"{text}; but {last}: {decided}; who is ahead depends on the epoch taken"


def _ahead(difference: Estimate, cnn: float, vit: float, *, shown: bool = True) -> str:
    """Who a difference shows ahead, with both accuracies."""
    ahead = leader(difference) if shown else None
    if ahead is None:
        return (
            f"it is undecided which is more accurate: CNN {100 * cnn:.2f} %, ViT {100 * vit:.2f} % (CNN - ViT: "
            f"{points(difference)})"
        )
    first, second = (cnn, vit) if ahead == "cnn" else (vit, cnn)
    other = LABELS["vit" if ahead == "cnn" else "cnn"]
    return (
        f"{_ahead_words(difference)}: {100 * first:.2f} % against the {other}'s {100 * second:.2f} % (CNN - ViT: "
        f"{points(difference)})"
    )


def _ahead_words(difference: Estimate) -> str:
    """Of a difference that has a leader: it is shown, or of one seed came out so."""
    ahead = leader(difference)
    assert ahead
    return f"the {LABELS[ahead]} {'is more accurate' if difference.interval else 'came out ahead'}"


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
    epoch = f"an epoch of {cnn.config.epoch_images or cnn.train_images:,} images"
    return (
        f"{size}, and on {device} {epoch} takes {seconds[0]} s for the CNN, {seconds[1]} s for the ViT: the {other} "
        f"takes {quicker[1]:.1f} times as long."
    )


def _size(efficiency: Efficiency, place: int) -> str:
    size, accuracy = efficiency.sweep.sizes[place], efficiency.accuracy
    means = accuracy["cnn"][place].mean, accuracy["vit"][place].mean
    difference = efficiency.difference[place]
    # Beside other sizes a lead is one that is shown for all of them together.
    shown = efficiency.crossover is None or difference.interval is None or efficiency.crossover.leads[place] is not None
    return f"With {size:,} training images {_ahead(difference, *means, shown=shown)}"


def _over_sizes(efficiency: Efficiency) -> str:
    sweep, first = efficiency.sweep, efficiency.sweep.first
    how = f"{first.dataset_title}, {_epochs(first)}, {_seeds(len(sweep.seeds))}, {BEST}"
    if efficiency.crossover is None:
        return f"{_size(efficiency, 0)}; only this size was trained on ({how})."
    means = sorted(100 * difference.mean for difference in efficiency.difference)
    text = describe_crossover(efficiency)
    return (
        f"Over training sizes ({how}; CNN - ViT {means[0]:+.2f} to {means[-1]:+.2f} points) {text[0].lower()}{text[1:]}"
    )


def _with_all_data(pair: Pair) -> Answer:
    first = pair["cnn"][0]
    return Answer(
        "Which won with all the training images?",
        sentence(_leads(pair)),
        f"{first.train_images:,} images of {first.dataset_title}, {_epochs(first)}, {_seeds(len(pair['cnn']))}.",
    )


def _at_size(efficiency: Efficiency, place: int, question: str) -> Answer:
    sweep = efficiency.sweep
    return Answer(
        question,
        f"{_size(efficiency, place)}.",
        f"{sweep.first.dataset_title}, {_epochs(sweep.first)}, {_seeds(len(sweep.seeds))}, paired by seed; {BEST}.",
    )


def _catching_up(efficiency: Efficiency) -> Answer:
    sizes, question = efficiency.sweep.sizes, "At what size did the ViT catch up?"
    if efficiency.crossover is None:
        return Answer(question, "One size was trained on: it cannot be said.", "Two sizes at least are needed.")
    each = [f"{size:,}: {points(d)}" for size, d in zip(sizes, efficiency.difference, strict=True)]
    said = [
        f"CNN - ViT by training images: {'; '.join(each)}.",
        _change(efficiency),
        describe_extrapolation(efficiency),
    ]
    return Answer(question, describe_crossover(efficiency), " ".join(filter(None, said)))


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
        so = "so more than generalisation separates them"
        if ahead == "cnn":
            so = "but its dropout lowers that figure: whether more than generalisation separates them is not decided"
        answer = f"The {behind} is behind on the training images too, {so}."
    elif in_training_ahead is None:
        answer = f"The {behind} is behind in the test; on the training images no difference is shown."
    elif ahead == "cnn":
        answer = f"The {behind} fits its training images better and does worse in the test: it generalises less."
    else:
        answer = (
            f"The {behind} is ahead on the training images, where dropout lowers the ViT's figure alone, and behind in "
            "the test: whether it generalises less is not decided."
        )
    return Answer(
        "Why?",
        f"{answer} What the architectures build in (a convolution sees 9 neighbouring positions, everywhere alike; a "
        "token attends to all) is the usual reason; these runs measure the outcome, not the cause.",
        evidence,
    )


def _take_away(pair: Pair, efficiency: Efficiency | None) -> Answer:
    best, quicker, images = difference(pair), faster(pair), pair["cnn"][0].train_images
    ahead, margin = leader(best), f"by {abs(100 * best.mean):.2f} points with {images:,} images in the best epoch"
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
        evidence = f"{describe_crossover(efficiency)} {evidence}"
    return Answer("What to take away?", f"{answer}.", evidence)


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def _epochs(record: RunRecord) -> str:
    images = record.config.epoch_images
    return f"{record.config.training.epochs} epochs" + (f" of {images:,} images" if images else "")
