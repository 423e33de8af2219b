"""The recipe's own input pipeline: PIL images, one torchvision transform chain per image, a plain DataLoader."""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from jaxcompare.data.batch import Batch
from jaxcompare.data.datasets import Split, Statistics
from jaxcompare.data.host import CROP_PADDING

WORKERS = 2
"""The recipe's."""


class _PilImages(Dataset):
    """What torchvision's CIFAR10 does on access: make a PIL image of an array, transform it."""

    def __init__(self, split: Split, transform: transforms.Compose):
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.split.images[index])), int(self.split.labels[index])


def build_recipe_loader(
    split: Split, batch_size: int, statistics: Statistics, *, workers: int, beside_jax: bool = False
) -> DataLoader:
    """The training loader as the recipe writes it: NCHW tensors, reshuffled every epoch, the short batch kept.

    Its workers are forked anew every epoch, as PyTorch does by default on Linux. `beside_jax`: in a process where JAX
    runs a fork may hang for ever; workers come from a fork server and stay, since starting one takes seconds.
    """
    # Named, since a spawned process would pass on its own way of starting others: seconds for every worker.
    context = "forkserver" if beside_jax else "fork"
    transform = transforms.Compose(
        [
            transforms.RandomCrop(split.images.shape[1], padding=CROP_PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(*statistics),
        ]
    )
    return DataLoader(
        _PilImages(split, transform),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=beside_jax and workers > 0,
        multiprocessing_context=context if workers else None,
    )


class RecipeLoader:
    """The same for JAX: NHWC batches as NumPy, the short one padded and masked. As `data.host.HostLoader` is used."""

    def __init__(self, split: Split, batch_size: int, statistics: Statistics):
        self._loader = build_recipe_loader(split, batch_size, statistics, workers=WORKERS, beside_jax=True)
        self._size = batch_size

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """One pass in a new order, whatever its number."""
        del epoch
        for images, labels in self._loader:
            yield _to_batch(images, labels, self._size)

    def __enter__(self) -> "RecipeLoader":
        iter(self._loader)  # starts the workers now, so that no epoch's time holds it
        return self

    def __exit__(self, *_: object) -> None:
        iterator = getattr(self._loader, "_iterator", None)
        if iterator is not None:
            iterator._shutdown_workers()


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
