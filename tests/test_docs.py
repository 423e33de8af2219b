"""The README and docs/: short, true to the source, with links that lead somewhere and blocks that can be filled."""

import ast
import csv
import dataclasses
import io
import json
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import mutations
import pytest
import synthetic
import synthetic_speed
from test_data_efficiency import results_folder

import report
from jaxcompare.analysis.representations import COLUMNS
from jaxcompare.cell_frame import to_csv, to_frame
from jaxcompare.cell_records import CellRecord
from jaxcompare.jax_side.costs import Costs
from jaxcompare.measure.clock import Phases
from jaxcompare.measurements import SearchLine
from jaxcompare.records import RunRecord
from jaxcompare.report.results import Results
from jaxcompare.report.run_tables import summary_table
from jaxcompare.run_frame import per_run
from jaxcompare.run_frame import to_frame as frame_of_runs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of_code(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_readme_is_read_in_two_minutes():
    assert len(README.split()) <= 900
    quick, tests = blocks_of_code("bash")
    assert quick.endswith("python experiments/full_comparison.py --preset quick\n")
    assert tests.endswith('install -q -e ".[test]" && .venv/bin/python -m pytest -q\n')


def test_the_page_of_what_they_learned_can_be_handed_to_a_class():
    text = (ROOT / "docs" / "representations.md").read_text()
    assert len(re.sub(r"<!--.*?-->|!\[.*?\]\(.*?\)|```.*?```", "", text, flags=re.DOTALL).split()) <= 600


def test_the_train_step_is_the_sources():
    source = (ROOT / "jaxcompare" / "training" / "step.py").read_text()
    functions = blocks_of_code("python")[0].rstrip().split("\n\n\n")
    assert [ast.parse(function).body[0].name for function in functions] == ["compute_grads", "train_step"]
    for function in functions:
        assert f"\n{textwrap.indent(function, '    ')}\n" in source


@pytest.mark.slow
def test_the_library_is_used_as_the_readme_has_it():
    shown = blocks_of_code("python")[1]
    code = shown.replace("epochs=3", "epochs=1").replace('"digits"', '"digits", image_size=8')  # seconds
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\[0\.\d+\] \d+\.\d+ \d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document):
    for link in re.findall(r"\]\(([^)\s]*)\)", document.read_text()):
        path, _, anchor = link.partition("#")
        if path.startswith("https://"):
            continue
        target = document.parent / path if path else document
        assert target.exists(), link
        titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else []
        anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
        assert not anchor or anchor in anchors, link


def test_the_map_names_every_module():
    named = set(re.findall(r"\w+\.py", (ROOT / "docs" / "design.md").read_text()))
    modules = {path.name for folder in ("jaxcompare", "experiments") for path in (ROOT / folder).rglob("*.py")}
    assert sorted(modules - named - {"__init__.py"}) == []


def test_every_fault_that_is_to_be_planted_has_its_place():
    assert [fault.name for fault in mutations.MUTATIONS if mutations.count_places(fault) != 1] == []


def fields_of(cls, lead=""):
    """Every field of a dataclass, those of dataclasses in it by their path."""
    hints = get_type_hints(cls)
    for name, kind in ((field.name, hints[field.name]) for field in dataclasses.fields(cls)):
        inner = next((one for one in (kind, *get_args(kind)) if dataclasses.is_dataclass(one)), None)
        yield from fields_of(inner, f"{lead}{name}.") if inner else (f"{lead}{name}",)


CSV = next(csv.reader(io.StringIO(to_csv(to_frame([synthetic_speed.timed(synthetic_speed.STEP, 1.0)])))))


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("runs.jsonl", [*fields_of(RunRecord), "config", "history", "prediction"]),
        ("cells.jsonl", fields_of(CellRecord)),
        ("cells.csv", CSV),
        ("phases.jsonl", fields_of(Phases)),
        ("costs.jsonl", fields_of(Costs)),
        ("search.jsonl", SearchLine.__annotations__),
        ("Runs as a frame", [*frame_of_runs([]), *per_run(frame_of_runs([]))]),
        ("Representations", {f"{name}.csv" for name in COLUMNS}.union(*COLUMNS.values())),
    ],
)
def test_every_field_of_a_record_is_described(file, fields):
    (section,) = re.findall(rf"^## {file}\n(.*?)(?=^## )", (ROOT / "docs" / "records.md").read_text(), re.M | re.S)
    described = {name for row in re.findall(r"^\| (`[^|]*) \|", section, re.M) for name in re.findall(r"`(.*?)`", row)}
    assert set(fields) - described == set()


def test_every_setting_in_the_committed_records_is_described():
    text = (ROOT / "docs" / "records.md").read_text()
    lines = [line for path in ROOT.glob("results/*/*s.jsonl") for line in path.read_text().splitlines()]
    assert lines
    for record in map(json.loads, lines):
        names = list(record.get("environment", ()))
        names += [f"{kind}.{name}" for kind in ("manifest", "execution") for name in record.get(kind, ())]
        # PyTorch's execution is its engine, which the text has.
        names = [name for name in names if name not in ("execution.engine", "execution.input")]
        assert [name for name in names if f"`{name}`" not in text] == []


def test_no_file_is_filled_unless_all_can_be(fail_script, tmp_path):
    folder, out = results_folder(tmp_path, synthetic.comparison()), tmp_path / "out"
    good, other = (tmp_path / name for name in ("good.md", "other.md"))
    text = "before\n<!-- summary -->\nold\n<!-- /summary -->\nafter\n"
    good.write_text(text)
    other.write_text("<!-- data_efficiency -->\n<!-- /data_efficiency -->\n")
    error = fail_script(report, folder, "--out", out, "--fill", good, other)
    assert f"{other}: nothing fills <!-- data_efficiency -->" in error
    assert not out.exists()
    assert good.read_text() == text
    other.write_text("<!-- answers -->\n<!-- /answers -->\n")
    report.main(report.Args((folder,), out, (good, other)))
    assert good.read_text() == text.replace(
        "old", summary_table(synthetic.runs_of(synthetic.comparison()), None).markdown()
    )
    assert other.read_text().startswith("<!-- answers -->\n- **Which won")


def test_the_summary_has_what_was_measured():
    def table(runs):
        made = summary_table(synthetic.runs_of(runs), None)
        return [dict(zip(made.header, row, strict=True)) for row in made.rows]

    runs = synthetic.comparison()
    cnn, vit = table(runs)
    assert list(cnn.values()) == ["CNN", "620,362", "75.00 %", "74.00 %", "10.0", "2 cores of CPU"]
    assert list(vit.values()) == ["ViT", "809,354", "65.00 %", "64.00 %", "50.0", "2 cores of CPU"]
    cells = {synthetic_speed.EAGER: 100.0, synthetic_speed.STEP: 50.0}
    speed, once = (synthetic_speed.speed(synthetic_speed.study(cells, repeats)) for repeats in (3, 1))
    for study, said in ((speed, "0.50 (0.50 to 0.50), faster."), (once, "0.50, faster in one repeat.")):
        assert summary_table(synthetic.runs_of(runs), study).notes[-1].endswith(said)
    elsewhere = [runs[0], dataclasses.replace(runs[1], environment=runs[1].environment | {"cpu": "another"})]
    assert [row["Seconds per epoch"] for row in table(elsewhere)] == ["-"] * 2
    assert "summary" not in Results(speed=speed).tables


def test_no_experiment_is_left_out_of_what_the_package_may_not_import():
    (contract,) = (
        found
        for found in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        if found["name"] == "The package does not know its experiments"
    )
    assert contract["forbidden_modules"] == sorted(path.stem for path in (ROOT / "experiments").glob("*.py"))
