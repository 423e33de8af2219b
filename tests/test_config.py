"""Values that no run can have are refused by the name of their flag."""

import math

import pytest

from jaxcompare.config import DataConfig, ExecutionConfig, InputError, TrainingConfig

BAD = [
    (TrainingConfig, {"epochs": 0, "batch_size": -1, "seed": 2**32, "lr": math.nan, "weight_decay": math.inf}),
    (TrainingConfig, {"dropout_generator": "dice"}),
    (DataConfig, {"dataset": "imagenet", "subsets": "some", "normalisation": "none", "train_size": 0, "workers": -1}),
    (DataConfig, {"image_size": 30}),
    (DataConfig, {"image_size": 4}),
    (
        ExecutionConfig,
        {"engine": "fast", "input": "disk", "precision": "int8", "chunk_size": 0, "seeds_per_call": 0, "devices": 0},
    ),
]


@pytest.mark.parametrize(("config", "name", "value"), [(kind, *one) for kind, bad in BAD for one in bad.items()])
def test_bad_values_are_named_with_their_flag(config, name, value):
    with pytest.raises(InputError, match=rf"--{name.replace('_', '-')}: .*{value}"):
        config(**{name: value})
