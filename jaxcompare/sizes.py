"""The recipe's two models in numbers: what both frameworks build by default, and what `measure.cost` counts.

This module imports nothing: a report that says what a layer costs loads no framework.
"""

CHANNELS = (32, 64, 128)
"""The CNN's, block by block."""
HIDDEN = 256
"""Width of the CNN's first linear layer."""

PATCH = 4
"""Side of the ViT's square patches, in pixels."""
WIDTH = 128
"""Of the ViT's tokens."""
HEADS = 4
LAYERS = 4
MLP_RATIO = 4
"""Width of the MLP's hidden layer over that of a token."""
DROPOUT_RATE = 0.1
"""Of the ViT, at all four places of an encoder layer."""
