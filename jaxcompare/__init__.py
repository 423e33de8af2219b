"""Train a CNN and a ViT under one recipe in JAX, beside the same recipe in PyTorch, and compare them with evidence.

Data flows one way:

    data (images -> batches) -> training (batches -> run record) -> analysis (records -> numbers, sentences)
    -> report (figures, tables, page)

and imports point one way, which `lint-imports` checks (pyproject.toml): compat, config, ranges, sizes <- records
<- cells <- models, data <- measure <- training, twin <- study <- experiments; measure <- analysis <- report
<- experiments; models, data, analysis <- representations <- experiments. `compat` holds all that JAX and PyTorch do not
promise.
"""

__version__ = "0.1.0"
