"""What is trained, and its pure steps where it is placed; how they are called is an engine's."""

import dataclasses
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcompare.config import ModelName, Precision, TrainingConfig
from jaxcompare.data.batch import Batch
from jaxcompare.data.split import Dataset
from jaxcompare.models import build_model
from jaxcompare.models.convolution import ConvLowering
from jaxcompare.sizes import DROPOUT_RATE
from jaxcompare.training.optimiser import build_optimiser
from jaxcompare.training.placement import Placement
from jaxcompare.training.step import Metrics, Params, TrainState, build_eval_step, build_train_step, init_state


@dataclasses.dataclass(frozen=True)
class Learner:
    """A model and its optimiser, for one run or several that differ in their seed."""

    model: nn.Module
    tx: optax.GradientTransformation
    seeds: tuple[int, ...]
    placement: Placement
    precision: Precision
    image_shape: tuple[int, ...]
    """Height, width, channels."""

    def init_one(self, seed: jax.Array) -> TrainState:
        """The state that a run from `seed` starts in."""
        return init_state(self.model, self.tx, jax.random.key(seed), jnp.zeros((1, *self.image_shape), jnp.float32))

    def put_seeds(self) -> jax.Array:
        """The seeds on the devices, for `init_one` over all of them."""
        return self.placement.put_stacked(np.array(self.seeds, np.uint32))

    def build_train_step(self) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
        """One optimiser update of one seed; see `step.build_train_step`."""
        return build_train_step(self.model, self.tx, self.placement.micro_batching)

    def build_eval_step(self) -> Callable[[Params, Batch], jax.Array]:
        """Correct predictions of one seed in a batch; see `step.build_eval_step`."""
        return build_eval_step(self.model, self.placement.micro_batching)

    def count_params(self) -> int:
        """Trainable parameters of one model."""
        shapes = jax.eval_shape(self.init_one, jax.ShapeDtypeStruct((), jnp.uint32))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes.params))


def build_learner(
    name: ModelName,
    training: TrainingConfig,
    precision: Precision,
    dataset: Dataset,
    seeds: Sequence[int],
    placement: Placement,
    *,
    lowering: ConvLowering | None = None,
    dropout_rate: float = DROPOUT_RATE,
) -> Learner:
    """A learner of the data set's classes, from images of its size.

    Args:
        training: its seed gives way to `seeds`.
        lowering: of convolutions; see `models.build_model`.
    """
    vmapped = placement.seeds_at_once(len(seeds)) > 1
    model = build_model(
        name,
        num_classes=len(dataset.class_names),
        dropout_rate=dropout_rate,
        dropout_generator=training.dropout_generator,
        # Vmapped over seeds, a convolution becomes a grouped one: not measured on GPUs.
        lowering=lowering or ("im2col" if vmapped else None),
        dtype=jnp.dtype(jnp.bfloat16) if precision == "bfloat16" else None,
    )
    shape = dataset.train.images.shape[1:]
    return Learner(model, build_optimiser(training), tuple(seeds), placement, precision, shape)
