"""The speed study's tables show what was computed."""

import dataclasses

import pytest
import synthetic_speed as synthetic
from synthetic_speed import (
    COMPILE,
    EAGER,
    EPOCH,
    RECIPE,
    STEP,
    failed,
    scattered,
    speed,
    study,
    sweep,
    timed,
    under_malloc,
)

from jaxcompare.cells import Cell
from jaxcompare.config import InputError
from jaxcompare.report.speed_tables import (
    allocator_table,
    contrast_table,
    detail_tables,
    speed_table,
    speed_tables,
    verdict_lines,
)
from jaxcompare.report.tables import Table
from jaxcompare.study.measured import as_json

PAID = "What compiling costs"
PHASES = "Where a step's time"


def table_of(study, title):
    """By how its title begins; without rows if it is not there."""
    tables = [*speed_tables(study), *detail_tables(study), allocator_table(study)]
    return next((table for table in tables if table.title.startswith(title)), Table((), [], []))


def rows_of(table):
    """By model and execution."""
    return {row[:2]: row[2:] for row in table.rows}


# Answers.


def test_the_speed_table_takes_medians_and_ratios():
    table = speed_table(speed(study()))
    rows = rows_of(table)
    step = ("391 (383 to 398)", "0.50 (0.50 to 0.50)", "0.67 (0.67 to 0.67)", "5.5", "1.1")
    eager = ("781 (766 to 797)", "1", "1.33 (1.33 to 1.33)", "-", "-")
    compiled = ("586 (574 to 598)", "0.75 (0.75 to 0.75)", "1", "6.0", "1.5")
    assert rows["CNN", STEP.title] == step
    assert rows["CNN", EAGER.title] == eager
    assert rows["CNN", COMPILE.title] == compiled
    assert len(speed_table(speed([*study({EAGER: 1.0}), *sweep(sizes=(32, 512))])).rows) == 1
    alone = speed_table(speed(study(repeats=1))).markdown()
    assert "95 % intervals" in table.markdown()
    assert "95 % intervals" not in alone
    assert "in one repeat" in " ".join(verdict_lines(speed(study(repeats=1))))


def test_precisions_stand_side_by_side():
    bfloat16 = [dataclasses.replace(cell, precision="bfloat16") for cell in (EAGER, STEP)]
    records = [*study(), *study(dict(zip(bfloat16, (60.0, 20.0), strict=True)))]
    assert rows_of(speed_table(speed(records)))["CNN in bfloat16", STEP.title][:2] == (
        "156 (153 to 159)",
        "0.33 (0.33 to 0.33)",
    )


def test_controls_that_train_something_else_stand_apart():
    bare, bare_step = (dataclasses.replace(cell, control="no-dropout") for cell in (EAGER, STEP))
    made = speed(study({EAGER: 100.0, bare: 80.0, bare_step: 60.0}))
    assert [row[1] for row in speed_table(made).rows] == [EAGER.title]
    controls = rows_of(table_of(made, "Controls"))
    assert [controls["CNN", cell.title][1] for cell in (bare, bare_step)] == ["1", "0.75 (0.75 to 0.75)"]


def test_a_cell_without_a_time_is_a_row_that_says_why():
    lost = synthetic.GRAPHS
    records = [*study(), *(failed(lost, "it needs a GPU", repeat) for repeat in range(3))]
    table = speed_table(speed(records))
    assert rows_of(table)["CNN", lost.title] == ("-",) * 5
    assert "it needs a GPU" in table.notes[0]
    assert table_of(speed(records), PAID).rows == table_of(speed(study()), PAID).rows
    # One repeat that failed takes the cell's others with it.
    partly = [*study(), timed(lost, 9.0, 0), timed(lost, 9.0, 1), failed(lost, "killed", 2)]
    assert rows_of(speed_table(speed(partly)))["CNN", lost.title] == ("-",) * 5


def test_without_pytorch_eager_there_are_times_and_no_ratios():
    made = speed([r for r in study() if r.cell not in (EAGER, COMPILE)])
    assert rows_of(speed_table(made))["CNN", STEP.title][:3] == ("391 (383 to 398)", "-", "-")
    assert [table.title for table in speed_tables(made)] == ["Speed: every execution beside PyTorch eager"]


def test_what_the_notes_say_follows_the_records():
    def notes(records):
        return " ".join(speed_table(speed(records)).notes)

    quiet = notes(study())
    assert "the fastest of 2 turns" in quiet
    assert "logits 1e-06, gradients 1e-05 and losses 1e-05" in quiet
    assert "pads" not in quiet
    assert "Other work" not in quiet
    more = [dataclasses.replace(r, epoch_time_s=r.epoch_time_s * 4) if r.cell == EPOCH else r for r in study()]
    assert "the fastest of 2 to 8 turns" in notes(more)
    padded = {"computed_batch_size": 144, "devices": 6}
    wide = [dataclasses.replace(r, manifest=r.manifest | padded) for r in study({STEP: 1.0})]
    assert notes([*study({EAGER: 1.0}), *wide]).count("batches of 128 to 144 for 6 devices") == 1
    *records, last = study({EAGER: 100.0, STEP: 50.0})
    disturbed = dataclasses.replace(last, others_share=0.34)
    assert "34 % of the cores" in notes([*records, disturbed])
    (verdict,) = verdict_lines(speed([*records, disturbed]))
    assert "34 %" in verdict
    assert "%" not in verdict_lines(speed([*records, last]))[0]


def test_no_note_of_a_table_is_long():
    made = speed(synthetic.both_models(), synthetic.both_models(), under_malloc(synthetic.both_models()))
    for table in [*speed_tables(made), *detail_tables(made), allocator_table(made)]:
        assert all(len(note.split()) <= 60 for note in table.notes), table.title


def test_contrasts_have_one_layout():
    made = speed(study(), study({RECIPE: 800.0, EAGER: 100.0, Cell("cnn", "traced"): 200.0, Cell("cnn", "jit"): 40.0}))
    table = contrast_table(made, "title", "stages", "stage", "whole", "beside")
    assert table.header == ("Model", "What", "Time of", "Over that of", "Ratio", "Earlier study", "Share")
    traced, jit = Cell("cnn", "traced").title, Cell("cnn", "jit").title
    ratio = "0.25 (0.25 to 0.25)"
    found = "0.50 (0.50 to 0.50)"
    assert ("CNN", "library", EAGER.title, traced, ratio, found, "-50 % (-50 to -50)") in table.rows
    assert (
        "CNN",
        "micro-batches and cores",
        jit,
        STEP.title,
        "1.60 (1.60 to 1.60)",
        "-",
        "17 % (17 to 17)",
    ) in table.rows
    assert ("CNN", "all", RECIPE.title, EPOCH.title, "16.0 (16.0 to 16.0)", "-", "100 %") in table.rows
    level = speed(scattered({EAGER: (100, 100, 100), Cell("cnn", "eager", options=("channels-last",)): (90, 100, 110)}))
    (control,) = contrast_table(level, "title", "other_ratios", "change").rows
    assert "undecided" in control[-1]
    both = contrast_table(speed(synthetic.both_models()), "title", "other_ratios", "interaction")
    assert [row[0] for row in both.rows] == ["both"] * 5
    assert ("both", "ViT over CNN", STEP.title, STEP.title, "3.00 (3.00 to 3.00)") in both.rows


def test_the_break_even_table_says_never_and_undecided():
    step = rows_of(table_of(speed(study(repeats=1)), PAID))["CNN", STEP.title]
    assert step == (COMPILE.title.replace("torch.compile", "PyTorch eager"), "6.0", "50.00", "116", "12")
    never = table_of(speed(scattered({EAGER: (1.0,), STEP: (2.0,)})), PAID)
    assert never.rows[0][-2:] == ("never",) * 2
    some = table_of(speed(scattered({EAGER: (100, 100), STEP: (50, 200)})), PAID)
    assert some.rows[0][-2] == "never (116 to never, undecided)"
    # Every repeat crosses, but not by more than chance.
    level = table_of(speed(scattered({EAGER: (100, 100, 100), STEP: (99, 80, 60)})), PAID)
    assert level.rows[0][-2] == "290 (145 to 5,800, undecided)"


def test_repetition_is_counted_and_what_is_not_confirmed_named():
    first = scattered({EAGER: (99, 100, 101), STEP: (49.5, 50, 50.5), EPOCH: (60, 40, 20), COMPILE: (74, 75, 76)})
    again = study({EAGER: 100.0, STEP: 60.0, EPOCH: 30.0, COMPILE: 70.0})
    table = table_of(speed(first, again), "Measured again")
    assert table.rows[0][:5] == ("CNN", "6", "4", "0", "1.27")
    assert table.rows[0][5].startswith(f"{STEP.title} over {EPOCH.title}: 1.25 (")
    assert f"{EAGER.title} over {STEP.title}: 2.00 (" in table.notes[1]
    assert len(table_of(speed(first, first), "Measured again").notes) == 1
    assert table_of(speed(first), "Measured again").rows == []


def test_the_allocators_settings_stand_side_by_side():
    slower = [
        timed(cell, ms, i, page_faults=[9_000] * 2) for cell, ms in ((EAGER, 200.0), (STEP, 60.0)) for i in range(5)
    ]
    table = table_of(speed(under_malloc(study()), (), slower), "What the allocator")
    assert table.rows == [
        ("CNN", EAGER.title, "1", "1", "-", "7", "9,000"),
        ("CNN", STEP.title, "0.50 (0.50 to 0.50)", "0.30 (0.30 to 0.30)", "0.60 (0.60 to 0.60)", "7", "9,000"),
    ]
    assert "X=1" in table.notes[0]
    assert table_of(speed(study()), "What the allocator").rows == []


# Details.


def test_compilation_is_taken_apart():
    rows = rows_of(table_of(speed(study()), "From the import"))
    assert rows["CNN", STEP.title] == ("2.00", "1.00", "1.00", "0.50", "4.00", "0.50", "9.1 (9.0 to 9.1)", "4.6")
    assert rows["CNN", COMPILE.title] == ("2.00", "1.00", "-", "-", "-", "6.00", "9.0", "4.5")
    assert rows["CNN", EAGER.title] == ("2.00", "1.00", "-", "-", "-", "0.20", "3.2", "-")


def test_phases_stand_in_their_order():
    table = table_of(speed(study(), phases=[synthetic.phases(cell) for cell in (EAGER, STEP)]), PHASES)
    assert table.rows[1] == ("CNN", "JAX step", "128", *(f"{value}.00" for value in range(1, 9)))
    titles = ("Input", "Copy", "Forward", "Backward", "Update", "Step", "Dispatch", "Evaluation")
    assert table.header[3:] == tuple(f"{name}, ms" for name in titles)


def test_batch_sizes_and_what_a_sweep_does_not_reach():
    (row,) = table_of(speed(sweep()), "Batch sizes").rows
    assert row[:5] == ("CNN", "JAX step", "13.20 (412)", "22.80 (178)", "61.20 (120)")
    assert row[-2:] == ("100 (100 to 100)", "0")
    assert table_of(speed(sweep(fixed_ms=1.0)), "Batch sizes").rows[0][-2] == "below the smallest measured (32)"
    assert table_of(speed(sweep(image_ms=0.001)), "Batch sizes").rows[0][-2] == "above the largest measured (512)"
    assert table_of(speed(study()), "Batch sizes").rows == []
    lost = [failed(Cell("cnn", "step", batch_size=512), "out of memory", repeat) for repeat in range(3)]
    records = [*study(), *[r for r in sweep(sizes=(32, 512)) if r.cell.batch_size == 32], *lost]
    table = table_of(speed(records), "Batch sizes")
    assert table.rows == [("CNN", "JAX step", "13.20 (412)", "50.00 (391)", "-", "-", "-", "-", "-")]
    assert "out of memory" in table.notes[0]
    # Nothing else of the sweep: the table is there to say so.
    assert table_of(speed([*study(), *lost]), "Batch sizes").rows[0][-5] == "-"
    assert "out of memory" not in speed_table(speed(records)).markdown()


def test_costs_that_are_far_apart_are_pointed_at():
    table = table_of(
        speed(study(), costs=[synthetic.costs(xla=0.9), synthetic.costs("vit", xla=1.02)]), "What a training image"
    )
    assert table.rows[0] == ("CNN", "Forward, MFLOP", "20.000", "18.000", "-10.0")
    assert ("ViT", "Training, MFLOP", "60.000", "61.200", "+2.0") in table.rows
    assert ("CNN", "Training, MB", "4.000", "3.600", "-10.0") in table.rows
    assert ("CNN", "Intensity, FLOP per byte", "15.000", "15.000", "+0.0") in table.rows
    assert "300 GFLOP/s, a large copy 20 GB/s" in table.notes[1]
    assert "ridge point 15.0" in table.notes[1]


def test_what_an_execution_takes_of_the_machine():
    rows = rows_of(table_of(speed(study()), "What each execution takes"))
    # 63.3 MFLOP in 50.0 ms / 128 is 162 GFLOP/s; JAX's ceiling is 300, PyTorch's half of that.
    assert rows["CNN", STEP.title] == ("54 (53 to 55)", "-", "100", "1,000", "7", "-")
    assert rows["CNN", EAGER.title] == ("27 (26 to 28)", "-", "-", "1,000", "7", "-")
    assert rows["CNN", RECIPE.title][-1] == "25"


def test_input_pipelines_have_medians_and_paired_ratios():
    records = synthetic.inputs()
    assert table_of(speed(study(), inputs=records), "Input pipelines").rows[1] == (
        "2",
        "8,000 (4,000 to 12,000)",
        "2,000 (1,000 to 3,000)",
        "4.0",
    )
    with pytest.raises(InputError, match="a measurement is missing"):
        table_of(speed(study(), inputs=records[:-1]), "Input pipelines")


def test_the_search_is_a_table_of_every_candidate():
    def line(cell, number, image_time_s, message=""):
        return {"cell": as_json(cell), "round": number, "image_time_s": image_time_s, "message": message}

    eager, fused = (dataclasses.replace(EAGER, options=options) for options in ((), ("fused",)))
    lines = [line(eager, 0, 3e-4), line(COMPILE, 0, None, "no compiler"), line(fused, 0, 4e-4), line(STEP, 0, 1e-4)]
    lines += [line(eager, 1, 5e-4), line(fused, 1, 2e-4) | {"others_share": 0.25}]
    table = table_of(speed(study(), search=lines), "The search")
    assert [row[1:] for row in table.rows] == [
        ("PyTorch eager, prepared input, fused AdamW", "2", "200", "-"),
        ("PyTorch eager, prepared input", "2", "500", "-"),
        ("torch.compile, prepared input", "1", "-", "no compiler"),
        ("JAX step, resident input", "1", "100", "-"),
    ]
    assert "Other work took up to 25 % of" in " ".join(table.notes)
