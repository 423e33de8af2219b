"""Records survive a round trip, replace their own earlier state, and are refused when they are not whole."""

import contextlib
import dataclasses
import json
import math
import re
from types import SimpleNamespace

import pytest
from synthetic import record

import training_runs
from jaxcompare.analysis.comparison import check_comparable, check_one_recipe
from jaxcompare.analysis.data_efficiency import build_sweep
from jaxcompare.cell_records import load_cells, save_cells
from jaxcompare.config import UNWRITTEN, InputError, TrainingConfig
from jaxcompare.lines import TruncatedLine, save_lines, write_atomically
from jaxcompare.records import History, Prediction, after_epoch, complete_runs, load_records, save_records


def short(model="cnn", **kwargs):
    """A run of two epochs, whole by its own config."""
    config = dataclasses.replace(record(model).config, training=TrainingConfig(epochs=2))
    return record(model, **{"config": config} | kwargs)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "runs.jsonl"


def test_round_trip_without_the_place_of_the_data(path):
    predicted = short("vit", prediction=Prediction("vit", "cnn", 3.5, "because"), experiment="full_comparison")
    save_records(path, [short(), predicted])
    loaded, _ = load_records(path)
    assert load_records(path) == [short(), predicted]  # the data's place is no part of a config's identity
    assert [word for word in ("secret", *UNWRITTEN) if word in path.read_text()] == []
    assert (loaded.best_test_accuracy, loaded.epoch_time_s, loaded.compile_time_s) == (0.5, 3.0, 3.5)


def test_a_run_replaces_its_own_earlier_state_only(path):
    for one in (
        short(status="running", losses=(2.0,)),
        short("vit"),
        short(),
        short(data_fingerprint="other images"),
        short(experiment="full_comparison"),
    ):
        save_records(path, [one])
    assert [(r.config.model, r.status) for r in load_records(path)] == [("vit", "complete")] + [("cnn", "complete")] * 3


def test_a_complete_run_is_found_for_its_own_experiment_only(path):
    one = short(experiment="full_comparison")
    assert complete_runs(path) == {}
    save_records(path, [dataclasses.replace(one, status="interrupted")])
    assert complete_runs(path) == {}
    save_records(path, [one])
    assert complete_runs(path) == {("full_comparison", one.config, "abc"): one}


def test_an_epoch_leaves_a_run_running_complete_or_diverged():
    fields = dict.fromkeys(dataclasses.asdict(History()), 0.5)
    for before, loss, status in (
        ([], 1.0, "running"),
        ([2.0], 1.0, "complete"),
        ([], math.nan, "diverged"),
        ([2.0], math.inf, "diverged"),
    ):
        after = after_epoch(short(status="running", losses=before), **fields | {"train_loss": loss})
        assert (after.status, repr(after.history.train_loss)) == (status, repr([*before, loss]))


def test_a_run_is_warm_if_all_of_its_programs_came_from_the_cache():
    for cached, compiled in (([], "not"), ([0, 0], "cold"), ([1, 0], "partly warm"), ([1, 1], "warm")):
        assert short(compile_times={i: {"from_cache": bool(one)} for i, one in enumerate(cached)}).compiled == compiled


# Values, and the fields that cannot have them.
IMPOSSIBLE = [
    ("run", -1, "history.train_loss.1 history.evaluation_time_s.0 history.input_wait_s.0 history.test_accuracy.1"),
    ("run", -1, "history.train_accuracy.0 compile_times.train_step.lower_s"),
    ("run", 0, "history.epoch_time_s.0 params train_images test_images"),
    ("run", 1, "num_classes surprise"),
    ("run", 7.61, "history.test_accuracy.1 history.train_accuracy.1"),
    ("run", None, "history.test_accuracy.0 history.epoch_time_s.0"),
    ("run", "x", "experiment status config.model history.train_loss.0 params"),
    ("run", 2, "schema"),
    ("cell", -1, "warm_up_time_s.0 first_step_time_s.0 input_wait_s.0 page_faults.1 parity.losses memory.process"),
    ("cell", -1, "programs"),
    ("cell", 0, "epoch_time_s.0 train_images epochs epoch_images cell.seeds cell.batch_size ceiling_flops_per_s"),
    ("cell", 1, "num_classes"),
    ("cell", None, "parity.logits"),
    ("cell", math.nan, "parity.logits"),
    ("cell", math.inf, "parity.gradients copy_bytes_per_s"),
]
# Where what is said is more than "FIELD holds VALUE".
PREDICTION = {"faster": "cnn", "more_accurate": "cnn", "gap_points": 1.0}
SAID = [
    ("run", "prediction", PREDICTION | {"faster": "x"}, "prediction.faster holds 'x'"),
    ("run", "prediction", PREDICTION | {"gap_points": 300.0}, "prediction.gap_points holds 300.0"),
    ("run", "prediction", {"faster": "cnn"}, "prediction.more_accurate: Field required"),
    ("run", "params", ..., "params: Field required"),
    ("run", "config.training.batch_size", ..., "config.training.batch_size is missing"),
    ("run", "environment", {}, "environment lacks"),
    ("run", "history.train_loss", [1.0], "different lengths"),
    ("run", "history.train_loss.1", None, "history.train_loss holds null"),
    ("run", "config.training.epochs", 3, "history has 2 epochs of 3"),
    ("run", "config.training.epochs", 1, "history has 2 epochs of 1"),
    ("run", "history", dataclasses.asdict(History()), "history has 0 epochs of 2"),
    ("run", "config.data.train_size", 99, "train_images is 100, config.data.train_size 99"),
    ("cell", "compile_times", {"step": {"trace_s": -1}}, "compile_times.step.trace_s holds -1"),
    ("cell", "warm_compile_times", {"step": {"step_s": -1}}, "warm_compile_times.step.step_s holds -1"),
    ("cell", "epoch_images", 5120, "epoch_images is 5120, 1536 are shown"),
]


def cell(**fields):
    import synthetic_speed

    return dataclasses.replace(synthetic_speed.timed(synthetic_speed.RECIPE, 800.0), **fields)


@pytest.mark.parametrize(
    ("kind", "field", "value", "message"),
    [(kind, one, value, f"{one} holds {value!r}") for kind, value, fields in IMPOSSIBLE for one in fields.split()]
    + SAID,
)
def test_what_a_run_or_a_cell_cannot_have_is_refused_with_its_line_and_field(path, kind, field, value, message):
    save, load, good = {
        "run": (save_records, load_records, [short()]),
        "cell": (save_cells, load_cells, [cell()]),
    }[kind]
    save(path, good)
    line = path.read_text()
    here = whole = json.loads(line)
    *places, last = (int(key) if key.isdigit() else key for key in field.split("."))
    for place in places:
        here = here[place]
    if value is ...:
        del here[last]
    else:
        here[last] = value
    path.write_text(line + json.dumps(whole) + "\n")
    with pytest.raises(InputError, match=rf"runs.jsonl, line 2: not a {kind} .*{re.escape(message)}") as refused:
        load(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "run",
    [
        short(status="diverged", losses=(2.0, math.nan)),
        short(status="running", losses=(2.0,)),
        short(status="interrupted", losses=()),
        short(
            history=History(
                [0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1e-9, 1.0], [0.0, 0.0], [math.nan, 0.0], [math.nan, 0.0]
            )
        ),
        short(status="running", losses=(2.0,), config=record().config),
    ],
)
def test_numbers_at_the_end_of_their_range_are_read(run, path):
    save_records(path, [run])
    assert repr(load_records(path)[0].history) == repr(run.history)


def test_a_cell_that_was_not_timed_needs_no_numbers(path):
    empty = {"epoch_time_s": [], "warm_up_time_s": [], "parity": {}, "ceiling_flops_per_s": 0.0}
    save_cells(path, [cell(message="out of memory", **empty)])
    assert load_cells(path)[0].message == "out of memory"


@pytest.mark.parametrize(
    ("save", "load", "made"), [(save_records, load_records, short), (save_cells, load_cells, cell)]
)
def test_a_record_that_is_there_twice_is_refused(path, save, load, made):
    save(path, [made()])
    path.write_text("\n" + 2 * path.read_text())
    with pytest.raises(InputError, match=r"runs.jsonl, line 3: the .* of line 2 again; remove one"):
        load(path)


def test_blank_lines_and_a_byte_order_mark_are_passed_over(path):
    save_records(path, [short(), short("vit")])
    path.write_text("\ufeff" + path.read_text().replace("\n", "\n \n"))
    assert load_records(path) == [short(), short("vit")]


@pytest.mark.parametrize("garbage", ["nonsense", "[" * 100_000 + "]" * 100_000, "9" * 10_000, "null", '"\\ud800"'])
def test_garbage_is_named_by_its_line(path, garbage):
    save_records(path, [short()])
    path.write_text(path.read_text() + garbage + "\n")
    with pytest.raises(InputError, match=r"runs.jsonl, line 2: not a run") as refused:
        load_records(path)
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_damaged_line_are_input_errors(path):
    with pytest.raises(InputError, match=r"runs\.jsonl: cannot be read"):
        load_records(path)
    save_records(path, [short(), short("vit")])
    path.write_text(path.read_text().replace('"schema"', "", 1))
    with pytest.raises(InputError, match="line 1: not a run record"):
        load_records(path)


def test_a_last_line_that_was_cut_off_is_passed_over_with_a_warning_and_kept(path):
    save_records(path, [short(), short("vit")])
    text = path.read_text()
    path.write_text(text[:-1])  # the line's end alone is missing: nothing is lost
    assert load_records(path) == [short(), short("vit")]
    path.write_text(text[:-30])
    with pytest.warns(TruncatedLine, match=r"runs.jsonl, line 2: cut off"):
        assert load_records(path) == [short()]
    save_lines(path, [])
    assert path.with_name("runs.jsonl.truncated").read_text() == text.splitlines()[1][:-29] + "\n"


def test_a_failed_write_leaves_the_old_file_and_no_other(path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    write_atomically(path, "old\n")
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(path, "new\n")
    assert path.read_text() == "old\n"
    assert list(path.parent.iterdir()) == [path]


# Across records: what cannot stand side by side.

ONE, OTHER = "1" * 40, "2" * 40


@pytest.mark.parametrize(
    ("name", "value"),
    [("git_commit", OTHER), ("train_images", 60_000), ("test_images", 60_000), ("num_classes", 60_000)],
)
def test_runs_of_other_commits_and_on_other_numbers_of_images_are_no_comparison(name, value):
    import synthetic

    runs = synthetic.comparison(seeds=2, git_commit=ONE)
    sweep = synthetic.sweep({100: 0.5, 200: 0.6}, {100: 0.4, 200: 0.5}, seeds=2, git_commit=ONE)
    for check, good in ((check_comparable, runs), (build_sweep, sweep))[: 1 if name == "train_images" else 2]:
        check(synthetic.runs_of(good))
        mixed = synthetic.runs_of([*good[:-1], dataclasses.replace(good[-1], **{name: value})])
        with pytest.raises(InputError, match=f"{name.removeprefix('git_')}.*{value}"):
            check(mixed)
        # What is not compared with each other, here the other seeds, may be of another commit.
        pairs = [dataclasses.replace(r, git_commit=OTHER) if r.config.training.seed else r for r in good]
        check(synthetic.runs_of(pairs))
        # Runs of two experiments, and of the two frameworks' agreement, may be of several commits and sizes.
        several = name in ("git_commit", "train_images")
        with contextlib.nullcontext() if several else pytest.raises(InputError, match=name):
            check_one_recipe(mixed, "train_size")


def test_nothing_is_trained_beside_complete_runs_of_another_commit(path, monkeypatch):
    from rich.console import Console

    cnn, vit = (short(model, experiment="full_comparison", git_commit=ONE) for model in ("cnn", "vit"))
    save_records(path, [cnn, dataclasses.replace(vit, status="interrupted")])
    fitted, images = [], SimpleNamespace(fingerprint="abc", train=range(100))
    monkeypatch.setattr("jaxcompare.training.fit.fit_seeds", lambda *_, **__: fitted.append("trained"))

    def train(run, commit):
        monkeypatch.setattr("jaxcompare.measure.environment.git_commit", lambda: commit)
        keep = training_runs.Keep()
        return training_runs.train(Console(quiet=True), "full_comparison", run.config, [42], images, path, keep)

    assert train(cnn, OTHER) == [cnn]  # nothing is missing
    with pytest.raises(InputError, match=f"--out: .*runs.jsonl .*{ONE}.*{OTHER}"):
        train(vit, OTHER)
    assert not fitted
    with pytest.raises(KeyError):
        train(vit, ONE)  # the stub leaves no record
    assert fitted == ["trained"]
