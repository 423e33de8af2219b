"""The page, the summary and the commands show the speed study."""

import dataclasses
import json
import re
from html import unescape

import html5lib
import pytest
import synthetic_speed as synthetic
from synthetic_speed import (
    COMMAND,
    EAGER,
    LAST,
    MILLISECONDS,
    RECIPE,
    STEP,
    failed,
    speed,
    study,
    sweep,
    timed,
    under_malloc,
)

import report
from jaxcompare.cell_records import save_cells
from jaxcompare.config import InputError
from jaxcompare.lines import save_lines
from jaxcompare.report.html import build_page
from jaxcompare.report.pictures import DESIGNS, draw_pictures
from jaxcompare.report.results import PAGE_ONLY, Results, gather
from jaxcompare.report.speed_tables import contrast_table, verdict_lines

# The page, the summary, the commands.


def results(repeats=3):
    records = [r for r in synthetic.both_models() if r.repeat < repeats]
    sizes = [r for r in [*sweep(repeats=repeats), *sweep("eager", repeats=repeats)] if r.cell.batch_size != 128]
    lost = [failed(synthetic.GRAPHS, "<b>no GPU</b>", repeat) for repeat in range(repeats)]
    phases = [synthetic.phases(cell) for cell in (EAGER, STEP)]
    # The one that failed comes first: it has no environment.
    cells = [*lost, *records, *sizes]
    return Results(speed=speed(cells, phases=phases, inputs=synthetic.inputs(), costs=[synthetic.costs()]))


def test_the_page_shows_the_study_and_is_valid():
    made = results()
    page = build_page(made, draw_pictures(made))
    html5lib.HTMLParser(strict=True).parse(page)
    text = unescape(page)
    designs = [design for design in DESIGNS if design.of_speed]
    assert page.count("<svg") == len(designs) == 5
    assert "<image" not in page
    assert "<b>no GPU" not in page
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    titles = [table.title for tables in made.tables.values() for table in tables]
    for table in (table for tables in made.tables.values() for table in tables):
        assert table.title in text
        assert all(note in text for note in table.notes)
    assert {design.table for design in designs} <= set(titles)
    alone = results(repeats=1)
    html5lib.HTMLParser(strict=True).parse(build_page(alone, draw_pictures(alone)))


def test_the_readme_gets_the_answers_and_the_page_the_rest(tmp_path, capsys):
    tables = results().tables
    assert {name: len(found) for name, found in tables.items()} == {"training_speed": 3, "training_speed_details": 7}
    assert set(tables) - set(PAGE_ONLY) == {"training_speed"}
    save_cells(tmp_path / "speed" / "cells.jsonl", [timed(RECIPE, 800.0)])
    save_lines(tmp_path / "speed" / "costs.jsonl", [synthetic.costs()])
    readme = tmp_path / "README.md"
    readme.write_text("<!-- training_speed -->\n<!-- /training_speed -->\n")
    report.main(report.Args((tmp_path / "speed",), tmp_path / "out", (readme,)))
    assert "Speed: every execution beside PyTorch eager" in readme.read_text()
    assert "What a training image costs" not in readme.read_text()
    assert "What a training image costs" in capsys.readouterr().out
    assert (tmp_path / "out" / "figures" / "figure5_matrix.png").exists()


def test_a_second_folder_of_the_same_cells_is_a_repetition(tmp_path):
    later = [dataclasses.replace(r, started_at="2026-01-03T03:04:05+00:00") for r in study()]
    studies = {"one": study(), "two": later, "three": under_malloc(later), "four": under_malloc(study())}
    for name, records in studies.items():
        save_cells(tmp_path / name / "cells.jsonl", records)
    save_lines(tmp_path / "one" / "costs.jsonl", [synthetic.costs()])
    one, two, three, four = (tmp_path / name for name in studies)
    made = gather([one, three, two])
    assert list(made.speed.again.started_at) == [r.started_at for r in later]
    assert set(made.speed.other_malloc.malloc) == {"X=1"}
    assert len(made.speed.costs) == 1
    assert json.loads(json.dumps(made.summary))["training_speed"]["repeated"]["ratios"] == 78
    with pytest.raises(InputError, match="four: one folder of speed measurements too many"):
        gather([one, two, three, four])
    with pytest.raises(InputError, match="one: holds measurements of the first folder's, which confirm nothing"):
        gather([one, one])


def test_the_page_has_each_command_once():
    second = f"{COMMAND} --engines eager step --batch-sizes 32 512"
    sizes = [dataclasses.replace(r, command=second) for r in sweep() if r.cell.batch_size != 128]
    page = build_page(Results(speed=speed([*study(), *sizes], study())), [])
    for command in (COMMAND, second, f"{COMMAND} --out runs/training_speed_again"):
        folder = "" if "--out" in command else " --out runs/training_speed"
        assert page.count(f"<pre>{command}{folder}</pre>") == 1
    assert "<td>2026-01-02</td>" in page


def test_the_verdict_is_of_both_models_or_of_none():
    assert [line[:3] for line in Results(speed=speed(synthetic.both_models())).verdict] == ["CNN", "ViT"]
    assert Results(speed=speed([failed(EAGER, "no")])).verdict == []
    fast = {dataclasses.replace(cell, precision="bfloat16"): ms for cell, ms in MILLISECONDS.items()}
    assert [line[:15] for line in verdict_lines(speed(study(fast)))] == ["CNN in bfloat16"]
    assert LAST.title in str(contrast_table(speed(study({LAST: 1.0, STEP: 2.0})), "", "other_ratios", "best").rows)


@pytest.mark.parametrize(
    ("name", "good", "field"),
    [
        ("inputs", synthetic.inputs()[0], "images_per_s"),
        ("phases", synthetic.phases(EAGER), "step_ms"),
        ("costs", synthetic.costs(), "xla_training_flops"),
    ],
)
def test_a_line_beside_the_cells_is_read_strictly(name, good, field, tmp_path):
    save_cells(tmp_path / "cells.jsonl", study({EAGER: 1.0}))
    save_lines(tmp_path / f"{name}.jsonl", [{}])
    with pytest.raises(InputError, match=rf"{name}.jsonl, line 1: not a measurement \(\w+: Field required"):
        gather([tmp_path])
    save_lines(tmp_path / f"{name}.jsonl", [good, good | {field: -5.0}])
    with pytest.raises(InputError, match=rf"{name}.jsonl, line 2: .*{field} holds -5.0"):
        gather([tmp_path])
