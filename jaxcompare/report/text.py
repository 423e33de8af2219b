"""Numbers, cells and machines as a person reads them."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxcompare.analysis.contrast import ITSELF, Ratio
from jaxcompare.analysis.dispatch import FixedCost
from jaxcompare.analysis.statistics import Estimate, Interval, Spread
from jaxcompare.analysis.targets import Reached
from jaxcompare.cells import ENGINES, Cell
from jaxcompare.config import Framework, ModelName, Precision

LABELS: dict[ModelName, str] = {"cnn": "CNN", "vit": "ViT"}
FRAMEWORKS: dict[Framework, str] = {"jax": "JAX", "torch": "PyTorch"}


def layer_label(name: str) -> str:
    """A layer of a network, counted from 1; "layer_3/class": of the class token alone."""
    layer, _, part = name.partition("/")
    stem, _, index = layer.partition("_")
    return (f"{stem} {int(index) + 1}" if index else layer) + (f", {part} token" if part else "")


def model_label(model: ModelName, precision: Precision) -> str:
    """Model, and the precision where it is not float32."""
    return LABELS[model] + ("" if precision == "float32" else f" in {precision}")


def model_of(cell: Cell) -> str:
    """A cell's model and precision."""
    return model_label(cell.model, cell.precision)


def engine_label(cell: Cell) -> str:
    """Framework and engine, what is changed of it, and the precision where it is not float32."""
    extras = [cell.changes] if cell.changes else []
    extras += [cell.precision] if cell.precision != "float32" else []
    return ", ".join([ENGINES[cell.engine], *extras])


def number(form: str, unit: float = 1.0) -> Callable[[Any], str]:
    """How a number is written in another unit: of a Spread with its range where that is to be seen, of an Estimate with
    its interval where it has one; what is infinite never comes."""

    def one(value: float) -> str:
        return format(unit * value, form) if value < math.inf else "never"

    def text(value: Any) -> str:
        if isinstance(value, Spread):
            low, high = one(value.low), one(value.high)
            written = one(value.middle) + (f" ({low} to {high})" if low != high else "")
            return written if value.decided else undecided(written)
        if isinstance(value, Estimate):
            return one(value.mean) + _ends(value.interval, one)
        return one(value)

    return text


def _ends(interval: Interval | None, one: Callable[[float], str]) -> str:
    return f" ({one(interval.low)} to {one(interval.high)})" if interval else ""


def ratio_text(ratio: Ratio) -> str:
    """With its interval, to three figures or so."""
    if ratio == ITSELF:
        return "1"
    size = abs(ratio.value)
    form = ",.0f" if size >= 100 else ".1f" if size >= 10 else ".2f" if size >= 0.1 else ".3f"
    return number(form)(Estimate(*ratio))


def factor_text(factor: Ratio) -> str:
    """Times as fast, and "undecided" where the interval includes 1."""
    text = ratio_text(factor)
    return undecided(text) if factor.interval is not None and factor.direction == 0 else text


def undecided(text: str) -> str:
    """A number, perhaps with its spread in brackets, and there the word."""
    return f"{text.removesuffix(')')}, undecided)" if text.endswith(")") else f"{text} (undecided)"


def verdict_word(ratio: Ratio) -> str:
    """What a ratio to another's time shows; of one repeat, no more than what it happened to be."""
    word = {1: "slower", -1: "faster", 0: "undecided"}[ratio.direction]
    return word if ratio.interval else f"{word} in one repeat"


def share_text(share: Ratio) -> str:
    """Per cent, with the interval if there is one."""
    # A whole number has no negative zero.
    return f"{round(100 * share.value)} %" + _ends(share.interval, lambda end: str(round(100 * end)))


def half_size_text(fit: FixedCost) -> str:
    """The batch size at which half a step is fixed cost, as far as batch sizes were measured."""
    smallest, largest = fit.batch_sizes[0], fit.batch_sizes[-1]
    if fit.half_size.mean < smallest:
        return f"below the smallest measured ({smallest:,})"
    if fit.half_size.mean > largest:
        return f"above the largest measured ({largest:,})"
    return number(",.0f")(fit.half_size)


def reached_text(found: Reached) -> str:
    """Epochs, and how many of several runs came so far where not all did."""
    share = f" ({found.runs} of {found.of} seeds)" if found.runs < found.of else ""
    return f"{round(found.epochs, 1):g}{share}"


def seconds_text(seconds: float) -> str:
    """A tenth of a second, or two significant digits of less than one."""
    return f"{seconds:.1f}" if seconds >= 1 or not seconds else f"{seconds:.2g}"


def points_text(difference: Estimate) -> str:
    """A difference of accuracies in percentage points, with its interval."""
    text = number("+.2f", 100)
    if difference.interval is None:
        return f"{text(difference.mean)} points; one seed, no interval"
    low, high = map(text, (difference.interval.low, difference.interval.high))
    return f"{text(difference.mean)} points, 95 % interval {low} to {high}"


def percent_text(accuracy: float | Estimate) -> str:
    """Per cent, to a hundredth; of several seeds with the interval."""
    return f"{number('.2f', 100)(accuracy)} %"


def per_cent(fraction: float) -> str:
    """A round number of per cent."""
    return f"{100 * fraction:g} %"


def epochs_text(config: Any) -> str:
    """How many, and of how many images where that is not one pass."""
    images = config.epoch_images
    return f"{config.training.epochs} epochs" + (f" of {images:,} images" if images else "")


def cores_text(environment: Mapping[str, Any]) -> str:
    """The cores of a processor that a process had."""
    count = environment["cpu_cores"]
    return f"{count} {'core' if count == 1 else 'cores'} of {environment['cpu']}"


def device_text(environment: Mapping[str, Any]) -> str:
    """What computed: cores of a processor, or a device by name."""
    return cores_text(environment) if environment["backend"] == "cpu" else environment["device"]


def place_text(environment: Mapping[str, Any]) -> str:
    """The same in few words: of a processor, how many cores."""
    count = environment["cpu_cores"]
    return f"{count} CPU core{'' if count == 1 else 's'}" if environment["backend"] == "cpu" else environment["device"]


def versions_text(environment: Mapping[str, Any], *libraries: str) -> str:
    """Libraries and their versions; all that are named there if none is given."""
    versions = environment["versions"]
    return ", ".join(f"{name} {versions[name]}" for name in libraries or versions)


def capitalised(words: str) -> str:
    """With a capital; the rest stays."""
    return words.strip()[:1].upper() + words.strip()[1:]


def and_text(words: list[str]) -> str:
    """A list in words."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
