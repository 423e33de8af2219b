"""Train a CNN and a ViT under one recipe in JAX, beside the same recipe in PyTorch, and compare them with evidence.

Data flows one way:

    data (images -> batches) -> training (batches -> run record) -> analysis (records -> frames of numbers)
    -> report (figures, tables, words, page)

and imports point one way: pyproject.toml has the layers, `lint-imports` checks them. `compat` holds all that JAX and
PyTorch do not promise.
"""

__version__ = "0.1.0"
