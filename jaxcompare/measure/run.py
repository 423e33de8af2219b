"""The record of a run before its first epoch."""

from datetime import UTC, datetime
from typing import Any

from jaxcompare.config import RunConfig
from jaxcompare.data.split import Dataset
from jaxcompare.measure.environment import describe_environment, git_commit
from jaxcompare.records import History, RunRecord


def begin_record(config: RunConfig, dataset: Dataset, execution: dict[str, Any], **values: Any) -> RunRecord:
    """What is known beforehand, and the machine; `values`: the fields that the framework's side has."""
    return RunRecord(
        config=config,
        status="running",
        dataset_title=dataset.title,
        data_fingerprint=dataset.fingerprint,
        train_images=config.data.train_size or len(dataset.train),
        test_images=len(dataset.test),
        num_classes=len(dataset.class_names),
        history=History(),
        execution=execution | dataset.facts,
        environment=describe_environment(config.framework),
        git_commit=git_commit(),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **values,
    )
