"""Folders of records become one set of results: what may stand side by side, and what is refused."""

import dataclasses
import re

import pytest
import synthetic

from jaxcompare.config import InputError
from jaxcompare.records import save_records
from jaxcompare.report.html import build_page
from jaxcompare.report.results import gather
from jaxcompare.report.run_tables import machines

SIZES = {1000: 0.5, 10_000: 0.6, 100_000: 0.65}
VIT = {1000: 0.3, 10_000: 0.5, 100_000: 0.75}


def test_folders_are_merged_in_any_order(tmp_path):
    records = synthetic.sweep(SIZES, VIT)
    for name, seeds in (("a", (0, 1)), ("b", (2, 3, 4))):
        save_records(tmp_path / name / "runs.jsonl", [r for r in records if r.config.training.seed in seeds])
    save_records(tmp_path / "copy" / "runs.jsonl", records[:3])
    save_records(tmp_path / "full" / "runs.jsonl", synthetic.comparison())
    folders = [tmp_path / name for name in ("a", "b", "copy", "full")]
    merged = gather(folders).summary
    assert merged == gather(folders[::-1]).summary
    assert merged["data_efficiency"]["seeds"] == [0, 1, 2, 3, 4]
    assert set(merged["full_comparison"]["models"]) == {"cnn", "vit"}


def changed(records, epoch_images=None, **data):
    """The same of other subsets, or with another budget."""
    return [
        dataclasses.replace(
            r,
            config=dataclasses.replace(
                r.config, data=dataclasses.replace(r.config.data, **data), epoch_images=epoch_images
            ),
        )
        for r in records
    ]


def test_what_more_images_bring_is_said_of_equal_epochs_and_of_equal_steps(tmp_path):
    first = synthetic.sweep({1000: 0.4, 10_000: 0.6}, {1000: 0.3, 10_000: 0.45})
    steps = changed(synthetic.sweep({1000: 0.5, 10_000: 0.6}, {1000: 0.47, 10_000: 0.45}), epoch_images=10_000)
    for name, records in (("first", first), ("steps", steps)):
        save_records(tmp_path / name / "runs.jsonl", records)
    table = gather([tmp_path / name for name in ("first", "steps")]).tables["data_efficiency"][-1]
    assert table.notes[0] == (
        "From 1,000 to 10,000 images, in points. "
        "Equal epochs: CNN +20.0 (+18.9 to +21.1), ViT +15.0 (+13.9 to +16.1). "
        "Equal steps: CNN +10.0 (+8.9 to +11.1), ViT -2.0 (-3.1 to -0.9)."
    )


def test_sweeps_of_other_subsets_and_budgets_stand_beside_the_first(tmp_path):
    first = synthetic.sweep(SIZES, VIT)
    drawn = changed(synthetic.sweep({1000: 0.52, 10_000: 0.62}, {1000: 0.3, 10_000: 0.5}, 3), subsets="independent")
    steps = changed(synthetic.sweep({1000: 0.4}, {1000: 0.45}), epoch_images=10_000)
    for name, records in (("first", first), ("drawn", drawn), ("steps", steps)):
        save_records(tmp_path / name / "runs.jsonl", records)
    results = gather([tmp_path / name for name in ("first", "drawn", "steps")])
    assert results.efficiency.sweep.sizes == list(SIZES)
    table = results.tables["data_efficiency"][-1]
    assert [row[:5] for row in table.rows] == [
        ("1,000", "nested", "equal epochs", "2", "5"),
        ("1,000", "independent", "equal epochs", "2", "3"),
        ("1,000", "nested", "equal steps", "20", "5"),
        ("10,000", "nested", "equal epochs", "2", "5"),
        ("10,000", "independent", "equal epochs", "2", "3"),
    ]
    assert not any("Equal steps" in note for note in table.notes)
    assert [row[-1].split(" ")[0] for row in table.rows] == ["+20.00", "+22.00", "-5.00", "+10.00", "+12.00"]
    assert [sweep["subsets"] for sweep in results.summary["data_efficiency_variants"]] == ["independent", "nested"]
    commands = re.findall("<pre>python experiments/data_efficiency.py(.*?)</pre>", build_page(results, []))
    assert [command.partition("--out ")[2] for command in commands] == [
        "",
        *(f"runs/data_efficiency_{i}" for i in (2, 3)),
    ]
    assert len(results.runs) == len([*first, *drawn, *steps])
    assert [table.notes[0]] == machines(results.sweeps[1].runs)
    alone = gather([tmp_path / "drawn"])
    assert alone.summary["data_efficiency_variants"] == []
    assert not [table for table in alone.tables["data_efficiency"] if "Subsets" in table.header]
    # The first folder's is reported.
    assert gather([tmp_path / "steps", tmp_path / "first"]).sweep.sizes == [1000]


def test_sweeps_of_another_recipe_are_refused(tmp_path):
    for name, records in (
        ("first", synthetic.sweep(SIZES, VIT)),
        ("other", changed(synthetic.sweep(SIZES, VIT), subsets="independent", image_size=16)),
    ):
        save_records(tmp_path / name / "runs.jsonl", records)
    with pytest.raises(InputError, match="image_size is 32 in one, 16 in another"):
        gather([tmp_path / "first", tmp_path / "other"])


@pytest.mark.parametrize("models", [("cnn", "cnn"), ("cnn", "both"), ("both", "vit")])
def test_a_sweep_of_one_model_stands_beside_another(models, tmp_path):
    for name, kept in zip(("nested", "independent"), models, strict=True):
        records = changed(synthetic.sweep(SIZES, VIT), subsets=name)
        records = [r for r in records if kept in ("both", r.config.model)]
        save_records(tmp_path / name / "runs.jsonl", records)
    table = gather([tmp_path / "nested", tmp_path / "independent"]).tables["data_efficiency"][-1]
    both = "both" in models
    assert table.header[5:] == (("CNN", "ViT", "CNN - ViT, points") if both else ("CNN",))
    assert sum(row.count("-") for row in table.rows) == (6 if both else 0)
