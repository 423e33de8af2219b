"""The search for each framework's fastest options, with processes that are none."""

import dataclasses

import pytest
from at_once import in_place_of_fresh_process
from test_study import SETUP, made_up_timing

from jaxcompare.cells import Cell
from jaxcompare.config import InputError
from jaxcompare.study import measured, search, turns
from jaxcompare.study.process import CellFailed

STEP = Cell("cnn", "step")
FASTEST = ("channels-last", "foreach"), ("im2col", "slices-16")
"""PyTorch's options and JAX's."""


@pytest.fixture
def asked(monkeypatch):
    """(cell, epochs, cold) of every process: of FASTEST's cells an epoch takes a second, of others more; all that is
    compiled by PyTorch fails."""
    found, caches = [], {}

    def answer(_, cell, setup, cache, cold):
        found.append((cell, setup.training.epochs, cold))
        caches.setdefault(cell, set()).add(cache.name)
        if cell.engine == "compile":
            raise CellFailed("no compiler")
        slower = 0.0 if cell.options in FASTEST else 1 + len(cell.title) / 100
        return dataclasses.replace(made_up_timing(), epoch_time_s=[100.0, 1 + slower])

    monkeypatch.setattr(turns, "fresh_process", in_place_of_fresh_process(answer))
    monkeypatch.setattr(measured, "find_commit", lambda: "abc")
    yield found
    # A cell's cache is its own, and the same in every round.
    assert [len(of_cell) for of_cell in caches.values()] == [1] * len(set().union(*caches.values()))


def run(folder, setup=SETUP):
    found = measured.load_measured(folder, setup, [])
    return search.tune([STEP], setup, found, lambda _: None), found


def test_the_better_half_goes_on_with_twice_the_steps_until_two_are_left(asked, tmp_path):
    finalists, found = run(tmp_path)
    assert [cell.framework for cell in finalists] == ["torch", "torch", "jax", "jax"]
    assert finalists[::2] == [
        Cell("cnn", "eager", "resident", options=FASTEST[0]),
        Cell("cnn", "epoch", options=FASTEST[1]),
    ]
    ours = finalists[2]
    of_jax = [epochs for cell, epochs, _ in asked if cell.framework == "jax"]
    assert of_jax == [2] * 8 + [3] * 4
    # What failed goes no further; a cache may be warm.
    of_torch = [(cell.engine, epochs) for cell, epochs, _ in asked if cell.framework == "torch"]
    later = [("eager", epochs) for epochs, left in ((3, 6), (5, 3)) for _ in range(left)]
    assert of_torch == [("eager", 2)] * 12 + [("compile", 2)] * 6 + later
    assert not any(cold for _, _, cold in asked)
    lines = found.others["search"]
    assert [line["message"] for line in lines if line["cell"]["engine"] == "compile"] == ["no compiler"] * 6
    assert {line["image_time_s"] for line in lines if line["cell"]["engine"] == "compile"} == {None}
    best = [line for line in lines if line["cell"] == measured.as_json(ours)]
    assert [(line["round"], line["image_time_s"]) for line in best] == [(number, 1 / 64) for number in range(2)]


def test_a_search_goes_on_where_it_stopped_and_ends_as_it_would_have(asked, tmp_path, monkeypatch):
    winners, _ = run(tmp_path)
    path, count = tmp_path / "search.jsonl", len(asked)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    asked.clear()
    assert run(tmp_path)[0] == winners
    assert len(asked) == 3 < count
    asked.clear()
    monkeypatch.setattr(measured, "find_commit", lambda: "def")
    assert run(tmp_path)[0] == winners
    assert asked == []
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match="begun at commit abc; this is def"):
        run(tmp_path)
    other = dataclasses.replace(SETUP, dataset=dataclasses.replace(SETUP.dataset, fingerprint="other"))
    with pytest.raises(InputError, match="another search, its data_fingerprint is"):
        run(tmp_path, other)
    seeded = dataclasses.replace(SETUP, training=dataclasses.replace(SETUP.training, seed=7))
    with pytest.raises(InputError, match="holds another search, its seed is 42 there and 7 here"):
        run(tmp_path, seeded)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    with pytest.raises(InputError, match="its malloc is"):
        run(tmp_path)


def test_on_a_gpu_what_was_timed_is_kept_when_the_round_is_cut(asked, tmp_path, monkeypatch):
    answer, setup = turns.fresh_process, dataclasses.replace(SETUP, gpu=True)

    def cut(*arguments, **options):
        if len(asked) == 2:
            raise KeyboardInterrupt
        return answer(*arguments, **options)

    monkeypatch.setattr(turns, "fresh_process", cut)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, setup)
    first = asked[:]
    monkeypatch.setattr(turns, "fresh_process", answer)
    winners, _ = run(tmp_path, setup)
    assert len(winners) == 4
    assert not {(cell, epochs) for cell, epochs, _ in first} & {(cell, epochs) for cell, epochs, _ in asked[2:]}


def test_a_search_in_which_all_fail_has_no_winner(asked, tmp_path, monkeypatch):
    def fail(*_):
        raise CellFailed("killed")

    monkeypatch.setattr(turns, "fresh_process", in_place_of_fresh_process(fail))
    assert run(tmp_path)[0] == []


def test_nothing_is_searched_for_where_nothing_can_run(asked, tmp_path):
    tf32 = dataclasses.replace(STEP, precision="tf32")
    assert search.tune([tf32], SETUP, measured.load_measured(tmp_path, SETUP, []), lambda _: None) == []
    assert asked == []


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_candidates_are_what_the_machine_can_run(model, gpu):
    theirs, ours = search.list_candidates(Cell(model, "step", precision="bfloat16"), gpu=gpu)
    for cells in (theirs, ours):
        assert len(cells) == len(set(cells))
        assert {(cell.model, cell.input, cell.precision) for cell in cells} == {(model, "resident", "bfloat16")}
        assert any(not cell.options for cell in cells)
    assert any("max-autotune" in cell.options for cell in theirs) is gpu
    for options in ([option for cell in cells for option in cell.options] for cells in (theirs, ours)):
        assert any("slices" in option for option in options) is not gpu
    assert {cell.engine for cell in theirs} == {"eager", "compile"}
    assert {cell.engine for cell in ours} == {"step", "chunk", "epoch"}
