"""The host input pipeline: torchvision transforms in a PyTorch DataLoader, collated to NumPy.

A worker prepares whole batches: images stay decoded as uint8 in memory, and the recipe's transforms run on a batch at
once, each image with its own crop and flip. Every batch's randomness comes from (seed, epoch, batch index) alone, so
the number of workers changes no pixel.
"""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.v2 import functional as F

from jaxcompare.compat import torch as compat
from jaxcompare.config import InputError, TrainingConfig
from jaxcompare.data.batch import CROP_PADDING, Batch
from jaxcompare.data.split import Dataset, Split, Statistics
from jaxcompare.parent import end_with_parent

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux has it."""

PREFETCHED = 2
"""Batches that each worker is ahead, as PyTorch has it."""


def normalise(images: UInt8[torch.Tensor, "n c h w"], statistics: Statistics) -> torch.Tensor:
    """[0, 255] -> [0, 1] -> zero mean, unit deviation, in float32."""
    mean, std = statistics
    # Divided by 255 as ToTensor does; v2's to_dtype multiplies by 1/255, which is an ulp off.
    return F.normalize(images.to(torch.float32).div_(255), list(mean), list(std))


def draw_crops(
    images: int, generator: torch.Generator, flip_probability: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What torchvision's RandomCrop(size, padding=4) and RandomHorizontalFlip(p) draw for each of so many images: top
    and left of its crop in the padded image, 0 to 8 pixels, and whether it is mirrored."""
    top, left = torch.randint(0, 2 * CROP_PADDING + 1, (2, images), generator=generator)
    return top, left, torch.rand(images, generator=generator) < flip_probability


def crop_and_flip(
    images: UInt8[torch.Tensor, "n c h w"], top: torch.Tensor, left: torch.Tensor, flip: torch.Tensor
) -> UInt8[torch.Tensor, "n c h w"]:
    """Pad by 4 with zeros, cut at (top, left) of each image, mirror the images where `flip`."""
    n, _, h, w = images.shape
    # All crops of all images as one strided view (n, 9, 9, h, w, c): taking one of each is a single gather.
    crops = F.pad(images, [CROP_PADDING]).unfold(2, h, 1).unfold(3, w, 1).permute(0, 2, 3, 4, 5, 1)
    cropped = crops[torch.arange(n), top, left].permute(0, 3, 1, 2)
    return torch.where(flip[:, None, None, None], F.horizontal_flip(cropped), cropped)


class _Plan(NamedTuple):
    """One batch to prepare: its place in the run, and the images in it."""

    epoch: int
    index: int
    indices: np.ndarray


class _EpochPlans(Sampler[_Plan]):
    """The batches of one epoch, in order. `epoch` is set by the loader before each pass, in the training process."""

    def __init__(self, images: int, examples: int, batch_size: int, seed: int, shuffle: bool):
        self.images, self.examples, self.batch_size, self.seed, self.shuffle = (
            images,
            examples,
            batch_size,
            seed,
            shuffle,
        )
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.examples // self.batch_size)

    def __iter__(self) -> Iterator[_Plan]:
        order = np.arange(self.images)
        if self.shuffle:
            rng, passes = np.random.default_rng((self.seed, self.epoch)), -(-self.examples // self.images)
            order = np.concatenate([rng.permutation(self.images) for _ in range(passes)])[: self.examples]
        for index in range(len(self)):
            yield _Plan(self.epoch, index, order[index * self.batch_size : (index + 1) * self.batch_size])


class _Batches(TorchDataset):
    """Prepares a part of the batch that a plan, its index, describes, padded where the batch is shorter."""

    def __init__(self, split: Split, part: range, statistics: Statistics, augment: bool, seed: int):
        self.split, self.part, self.statistics = split, part, statistics
        self.augment, self.seed = augment, seed

    def __getitem__(self, index: _Plan) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        plan, part = index, slice(self.part.start, self.part.stop)
        indices = plan.indices[part]
        images = torch.from_numpy(self.split.images[indices]).permute(0, 3, 1, 2)
        if self.augment:
            entropy = np.random.SeedSequence((self.seed, plan.epoch, plan.index)).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(entropy[0] >> 1))
            # Drawn for the whole batch, whatever part of it is made.
            crops = draw_crops(len(plan.indices), generator, self.split.flip_probability)
            images = crop_and_flip(images, *(draws[part] for draws in crops))
        images = normalise(images, self.statistics).permute(0, 2, 3, 1).contiguous()
        labels = torch.from_numpy(self.split.labels[indices])
        mask = torch.ones(len(labels))
        missing = len(self.part) - len(labels)
        if missing:
            images, labels, mask = (
                torch.cat([part, part.new_zeros(missing, *part.shape[1:])]) for part in (images, labels, mask)
            )
        return images, labels, mask


def check_shared_memory(workers: int, batch_bytes: int) -> None:
    """Raise InputError where the batches that workers prepare ahead do not fit into shared memory: they would wait for
    room for ever."""
    if workers and SHARED_MEMORY.is_dir():
        needed, free = workers * (PREFETCHED + 1) * batch_bytes, shutil.disk_usage(SHARED_MEMORY).free
        if needed > free:
            raise InputError(
                f"--workers {workers}: their batches need {needed / 1e6:,.0f} MB of {SHARED_MEMORY}, which has "
                f"{free / 1e6:,.0f} MB free; take fewer, or make it larger (docker run --shm-size)"
            )


class HostLoader:
    """Batches of a split, epoch by epoch, as NumPy: float32 images (NHWC), int32 labels, float32 mask.

    Workers come from a fork server that is started clean, never forked from this process: JAX's threads may hold locks
    that a forked child would wait for for ever. Use as a context manager, which ends them.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        statistics: Statistics,
        *,
        augment: bool = False,
        shuffle: bool = False,
        epoch_images: int | None = None,
        seed: int = 0,
        workers: int = 0,
        beside_jax: bool = False,
        part: range | None = None,
    ):
        """`beside_jax`: PyTorch only prepares batches in this process. `part`: places of each batch to prepare, by
        default all of them.

        Raises:
            InputError: shared memory is too small for the workers' batches.
        """
        part = part or range(batch_size)
        check_shared_memory(workers, 4 * len(part) * math.prod(split.images.shape[1:]))
        self._beside_jax = beside_jax
        self._plans = _EpochPlans(len(split), epoch_images or len(split), batch_size, seed, shuffle)
        self._loader = DataLoader(
            _Batches(split, part, statistics, augment, seed),
            sampler=self._plans,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context="forkserver" if workers else None,
            prefetch_factor=PREFETCHED if workers else None,
            worker_init_fn=end_with_parent if workers else None,
            # An iterator draws a seed that nothing here uses: from torch's own generator, it would move the dropout of
            # a model that trains in this process, as often as the number of workers has it.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Batches per epoch; the last may be short, hence masked."""
        return len(self._plans)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch. The same (seed, epoch) gives the same batches."""
        self._plans.epoch = epoch
        batches = iter(self._loader)
        while True:
            try:
                parts = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if not compat.is_dead_worker(error):
                    raise
                raise InputError(
                    "a loader worker was killed: out of memory, or stopped from outside; take fewer --workers"
                ) from None
            # Workers hand tensors over in shared memory; `.numpy()` is a view of it, not a copy.
            yield Batch(*(part.numpy() for part in parts))

    def __enter__(self) -> "HostLoader":
        if self._loader.num_workers:
            iter(self._loader)  # starts the workers now, so that no epoch's time holds it
        if self._beside_jax:
            # PyTorch's threads, done with a batch, spin on the cores that XLA computes on.
            self._threads = torch.get_num_threads()
            torch.set_num_threads(1)
        return self

    def __exit__(self, *_: object) -> None:
        if self._beside_jax:
            torch.set_num_threads(self._threads)
        compat.end_kept_workers(self._loader)


def build_loaders(
    dataset: Dataset,
    training: TrainingConfig,
    workers: int,
    epoch_images: int | None = None,
    *,
    beside_jax: bool = False,
    part: range | None = None,
) -> tuple[HostLoader, HostLoader]:
    """The recipe's two loaders: shuffled and augmented training batches, and test batches in order.

    `epoch_images`: see `config.RunConfig`; `beside_jax`, `part`: see `HostLoader`.
    """
    train = HostLoader(
        dataset.train,
        training.batch_size,
        dataset.statistics,
        augment=True,
        shuffle=True,
        epoch_images=epoch_images,
        seed=training.seed,
        workers=workers,
        beside_jax=beside_jax,
        part=part,
    )
    return train, HostLoader(dataset.test, training.batch_size, dataset.statistics, part=part)
