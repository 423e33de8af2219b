"""The recipe's two models in PyTorch, with its own layers, initialisation and names. Images are NCHW."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention

from jaxcompare.config import ModelName
from jaxcompare.sizes import CHANNELS, DROPOUT_RATE, HEADS, HIDDEN, LAYERS, MLP_RATIO, PATCH, WIDTH


class CNN(nn.Module):
    """620,362 parameters at the recipe's sizes."""

    def __init__(self, num_classes: int = 10, image_size: int = 32):
        super().__init__()
        blocks = []
        for d_in, d_out in pairwise((3, *CHANNELS)):
            blocks += [nn.Conv2d(d_in, d_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2)]
        self.features = nn.Sequential(*blocks)
        flat = CHANNELS[-1] * (image_size // 2 ** len(CHANNELS)) ** 2
        head = nn.Linear(HIDDEN, num_classes)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(flat, HIDDEN), nn.ReLU(), head)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images))


class BitDropout(nn.Dropout):
    """Dropout that draws 16 bits a value, four at a time: on CPUs PyTorch's generator takes twice as long for its
    numbers between 0 and 1. The rate is rounded to 2⁻¹⁶."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.p:
            return input
        count = input.numel()
        draws = torch.empty(-(-count // 4), dtype=torch.int64, device=input.device).random_(-(2**63), None)
        bits = draws.view(torch.int16)[:count].view(input.shape)
        scale = torch.tensor(1 / (1 - self.p), dtype=input.dtype, device=input.device)
        return input * ((bits >= round(self.p * 2**16) - 2**15) * scale)


class DotProductAttention(nn.MultiheadAttention):
    """Self-attention with the same parameters, by `scaled_dot_product_attention` between two Linear alone."""

    def forward(self, query: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor, None]:
        n, length, width = query.shape
        of_all = linear(query, self.in_proj_weight, self.in_proj_bias)
        found = self.attend(*of_all.view(n, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4))
        return self.out_proj(found.transpose(1, 2).reshape(n, length, width)), None

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Of shapes (images, heads, tokens, features)."""
        return scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)


class BitDropoutAttention(DotProductAttention):
    """The same by two products and a softmax, with BitDropout."""

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
        return BitDropout(self.dropout).train(self.training)(weights) @ v


class ViT(nn.Module):
    """809,354 parameters at the defaults."""

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int = 32,
        patch: int = PATCH,
        width: int = WIDTH,
        heads: int = HEADS,
        layers: int = LAYERS,
        *,
        sdpa: bool = False,
        bits: bool = False,
    ):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, patch, stride=patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, (image_size // patch) ** 2 + 1, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, MLP_RATIO * width, DROPOUT_RATE, activation="gelu", batch_first=True, norm_first=True
        )
        if sdpa or bits:
            attention = BitDropoutAttention if bits else DotProductAttention
            layer.self_attn = attention(width, heads, layer.self_attn.dropout, batch_first=True)
        if bits:
            layer.dropout, layer.dropout1, layer.dropout2 = (BitDropout(layer.dropout.p) for _ in range(3))
        # A pre-norm encoder cannot use nested tensors, and would warn that it does not.
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.pos_embed
        return self.head(self.norm(self.transformer(tokens))[:, 0])


def build_model(name: ModelName, *, num_classes: int = 10, image_size: int = 32, **ways: bool) -> nn.Module:
    """As `jaxcompare.models.build_model`, initialised from torch's global generator.

    Args:
        ways: the ViT's `sdpa` (attention is DotProductAttention) and `bits` (dropout is BitDropout); no others.
    """
    return CNN(num_classes, image_size) if name == "cnn" else ViT(num_classes, image_size, **ways)
