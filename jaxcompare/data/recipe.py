"""The recipe's own input pipeline: PIL images, one torchvision transform chain per image, a plain DataLoader."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, RandomSampler
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from jaxcompare.config import TrainingConfig
from jaxcompare.data.batch import CROP_PADDING, Batch
from jaxcompare.data.split import Dataset, Split

WORKERS = 2
"""The recipe's."""


class _PilImages(TorchDataset):
    """What torchvision's CIFAR10 does on access: make a PIL image of an array, transform it."""

    def __init__(self, split: Split, transform: transforms.Compose):
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.split.images[index])), int(self.split.labels[index])


class RecipeStream:
    """The recipe's training loader: NCHW tensors and int64 labels, in a new order every pass.

    Several passes are one epoch of it. The recipe's epochs have 391 batches, in which starting the workers and waiting
    for the first batch are next to nothing; of a short pass they would be most.
    """

    def __init__(self, dataset: Dataset, batch_size: int, *, passes: int, workers: int, beside_jax: bool = False):
        """`beside_jax`: JAX runs in this process, where a forked worker may hang for ever: take a fork server's."""
        split = dataset.train
        transform = transforms.Compose(
            [
                transforms.RandomCrop(split.images.shape[1], padding=CROP_PADDING),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(*dataset.statistics),
            ]
        )
        images = _PilImages(split, transform)
        # Forked as PyTorch does by default on Linux; named, since a spawned process passes on its own way.
        context = "forkserver" if beside_jax else "fork"
        self._loader = DataLoader(
            images,
            batch_size=batch_size,
            sampler=RandomSampler(images, num_samples=passes * len(split)),
            num_workers=workers,
            multiprocessing_context=context if workers else None,
        )
        self._per_pass = len(self._loader) // passes
        self._batches: Iterator[list[torch.Tensor]] | None = None

    def epoch(self, epoch: int) -> Iterator[list[torch.Tensor]]:
        """The next pass, whatever its number: batches of [images, labels]. The first starts the workers."""
        del epoch
        if self._batches is None:
            self._batches = iter(self._loader)
        return itertools.islice(self._batches, self._per_pass)

    def close(self) -> None:
        """End the workers."""
        if hasattr(self._batches, "_shutdown_workers"):
            self._batches._shutdown_workers()  # type: ignore[union-attr]


class RecipeLoader:
    """The same for JAX: NHWC batches as NumPy, the short one padded and masked. A `data.batch.Loader`."""

    def __init__(self, dataset: Dataset, training: TrainingConfig):
        self._stream = RecipeStream(
            dataset, training.batch_size, passes=training.epochs, workers=WORKERS, beside_jax=True
        )
        self._size = training.batch_size

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The next pass, whatever its number."""
        for images, labels in self._stream.epoch(epoch):
            yield _to_batch(images, labels, self._size)

    def __enter__(self) -> "RecipeLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _to_batch(images: torch.Tensor, labels: torch.Tensor, size: int) -> Batch:
    batch = Batch(
        np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1)),
        labels.numpy().astype(np.int32),
        np.ones(len(labels), np.float32),
    )
    missing = size - len(labels)
    if not missing:
        return batch
    return Batch(*(np.pad(part, [(0, missing)] + [(0, 0)] * (part.ndim - 1)) for part in batch))
