"""The recipe's own input pipeline: PIL images, one torchvision transform chain per image, a plain DataLoader."""

from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from jaxcompare.data.datasets import Split, Statistics
from jaxcompare.data.host import CROP_PADDING


class _PilImages(Dataset):
    """What torchvision's CIFAR10 does on access: make a PIL image of an array, transform it."""

    def __init__(self, split: Split, transform: transforms.Compose):
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.split.images[index])), int(self.split.labels[index])


def build_recipe_loader(split: Split, batch_size: int, statistics: Statistics, *, workers: int) -> DataLoader:
    """The training loader as the recipe writes it: NCHW tensors, reshuffled every epoch, the short batch kept.

    Workers are forked, PyTorch's default: for processes without JAX only.
    """
    transform = transforms.Compose(
        [
            transforms.RandomCrop(split.images.shape[1], padding=CROP_PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(*statistics),
        ]
    )
    return DataLoader(_PilImages(split, transform), batch_size=batch_size, shuffle=True, num_workers=workers)
