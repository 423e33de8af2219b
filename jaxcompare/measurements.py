"""What a speed study measures beside its cells: a line of inputs.jsonl, phases.jsonl, costs.jsonl and
search.jsonl."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from jaxcompare.fields import STRICT, Classes, Count, FromZero, Positive, WholeFromZero


class InputLine(TypedDict):
    """An input pipeline by itself."""

    workers: WholeFromZero
    pipeline: str
    images: Count
    images_per_s: Positive


class PhasesLine(TypedDict):
    """A cell's step, phase by phase, in milliseconds; see `measure.clock.Phases`. JAX's backward and update are
    differences, which may be negative."""

    cell: dict[str, Any]
    input_ms: FromZero
    copy_ms: FromZero
    forward_ms: FromZero
    backward_ms: float
    update_ms: float
    step_ms: FromZero
    dispatch_ms: FromZero
    evaluation_ms: FromZero


class CostsLine(TypedDict):
    """A model's operations and bytes for an image, by formula and by XLA's count."""

    model: str
    image_size: Count
    num_classes: Classes
    batch_size: Count
    formula_forward_flops: Positive
    formula_training_flops: Positive
    formula_training_bytes: Positive
    xla_forward_flops: Positive
    xla_training_flops: Positive
    xla_training_bytes: Positive


class SearchLine(TypedDict):
    """A candidate of a search in one of its rounds, see `study.search`."""

    cell: dict[str, Any]
    round: WholeFromZero
    """The round, from 0 on: of 2 to the power of it epochs, or more."""
    data_fingerprint: str
    train_images: Count
    image_time_s: Positive | None
    """Seconds per training image in the quickest turn; None: it failed."""
    message: str
    """Why."""
    seed: NotRequired[WholeFromZero]
    malloc: NotRequired[str]
    """The allocator's settings; empty: glibc's default."""
    others_share: NotRequired[FromZero | None]
    """Of the cores, what other work took while it was timed, at most."""


LINES: dict[str, Any] = {"inputs": InputLine, "phases": PhasesLine, "costs": CostsLine, "search": SearchLine}
"""By file. What else a line holds (commit, environment) is kept as it is."""
for _line in LINES.values():
    _line.__pydantic_config__ = STRICT | {"extra": "allow"}
