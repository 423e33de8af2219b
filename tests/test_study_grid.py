"""Which cells a study measures."""

import dataclasses

import pytest

from jaxcompare.cells import Cell
from jaxcompare.config import InputError
from jaxcompare.study import gates
from jaxcompare.study.grid import Axes, build_grid, check_padding, with_controls

# The grid.


@pytest.mark.parametrize("gpu", [False, True])
def test_the_default_matrix_has_every_engine_and_its_baselines(gpu):
    cells = build_grid(Axes(("cnn", "vit")), gpu=gpu)
    assert len(cells) == len(set(cells)) == (17 + 16 if gpu else 10 + 9)
    more = build_grid(Axes(("cnn", "vit"), seeds=(1, 4)), gpu=gpu)
    direct = [Cell("cnn", "epoch", seeds=4, options=("direct",))] if gpu else []
    four = [Cell("cnn", "epoch", seeds=4), *direct, Cell("vit", "epoch", seeds=4)]
    assert [cell for cell in more if cell not in cells] == four
    for model in ("cnn", "vit"):
        assert {Cell(model, "eager"), Cell(model, "eager", "recipe"), Cell(model, "epoch")} < set(cells)
    assert any("reduce-overhead" in cell.options for cell in cells) is gpu
    assert not any(cell.refusal(gpu) for cell in cells)
    assert {cell.engine for cell in cells} == {"eager", "compile", "traced", "jit", "step", "epoch"}
    in_host_memory = {"host", "arrays"} if gpu else set()
    assert {cell.input for cell in cells} == {"recipe", "prepared", "resident"} | in_host_memory


def test_axes_that_are_given_are_combined():
    axes = Axes(("vit",), ("eager", "epoch"), ("arrays", "resident"), ("float32", "bfloat16"), (64, 128), (1, 2))
    cells = [cell for cell in build_grid(axes, gpu=False) if not cell.options]
    assert len(set(cells)) == len(cells) == 2**5
    refused = {(cell.engine, cell.input, cell.seeds) for cell in cells if cell.refusal(False)}
    assert refused == {
        ("epoch", "arrays", 1),
        ("epoch", "arrays", 2),
        ("eager", "arrays", 2),
        ("eager", "resident", 2),
    }
    sweep = build_grid(Axes(("cnn",), batch_sizes=(128, 16, 512)), gpu=False)
    assert {(cell.engine, cell.input) for cell in sweep if cell.batch_size == 16} == {
        ("eager", "resident"),
        ("step", "resident"),
    }
    assert [cell for cell in sweep if cell.batch_size == 128] == build_grid(Axes(("cnn",)), gpu=False)
    assert {cell.input for cell in build_grid(Axes(("cnn",), engines=("step",)), gpu=False)} == {"resident"}
    assert {cell.engine for cell in build_grid(Axes(("cnn",), inputs=("host",)), gpu=False)} == {
        "eager",
        "compile",
        "traced",
        "jit",
        "step",
        "epoch",
    }


def test_a_size_that_jax_would_pad_is_refused():
    check_padding([Cell("cnn", "step"), Cell("cnn", "step", batch_size=32)], 512)
    check_padding([Cell("cnn", "step")], 50_000)  # 391 batches, the last of 80: 0.1 % more
    with pytest.raises(
        InputError, match=r"--train-size 500: JAX pads its last batch of 116 to 128, .* multiple of 128"
    ):
        check_padding([Cell("cnn", "step")], 500)
    with pytest.raises(InputError, match="multiple of 1024"):
        check_padding([Cell("cnn", "eager", batch_size=1024)], 512)


def test_controls_come_beside_the_matrix():
    sizes, controls = (128, 32), ("no-dropout", "long-epochs")
    plain = build_grid(Axes(("cnn", "vit"), batch_sizes=sizes), gpu=False)
    cells = build_grid(Axes(("cnn", "vit"), batch_sizes=sizes, controls=controls), gpu=False)
    found = [cell for cell in cells if cell.control]
    assert [cell for cell in cells if not cell.control] == [cell for cell in plain if not cell.control]
    # What computes the same may be PyTorch's fastest: it is measured unasked.
    assert [(cell.model, cell.engine, cell.options) for cell in plain if cell.options] == [
        ("cnn", "eager", ("channels-last", "fused", "replicas")),
        ("cnn", "step", ("im2col",)),
        ("vit", "eager", ("dropout-bits", "fused", "replicas")),
    ]
    assert len(set(found)) == len(found)
    assert {(cell.model, cell.engine, cell.control, len(cell.options)) for cell in found} == {
        *(("vit", engine, "no-dropout", 0) for engine in ("eager", "compile", "traced", "jit", "step")),
        ("vit", "eager", "no-dropout", 3),
        *(("cnn", engine, "long-epochs", 0) for engine in ("step", "epoch")),
    }
    assert not any(cell.same_step for cell in found)
    assert {(cell.batch_size, cell.on_device, cell.seeds) for cell in found} == {(128, True, 1)}
    with pytest.raises(InputError, match=r"--controls long-epochs: is of the cnn's step, epoch on the device"):
        build_grid(Axes(("vit",), controls=("long-epochs",)), gpu=False)
    # The strongest opponent is measured wherever PyTorch eager is.
    for gpu, options in ((False, ", fused AdamW, replicas"), (True, ", fused AdamW")):
        (opponent,) = (cell for cell in build_grid(Axes(("cnn",), engines=("eager",)), gpu=gpu) if cell.options)
        assert opponent.title == f"PyTorch eager, resident input, channels last{options}"
    assert {cell.options for cell in found if cell.options} == {("sdpa", "fused", "replicas")}
    # Below float32 this package's convolutions are products as it is.
    narrow = build_grid(Axes(("cnn",), precisions=("bfloat16",)), gpu=False)
    assert not any("im2col" in cell.options for cell in narrow)
    # Dropout is off in every gate; the layout is not the same.
    assert {gates.gate_of(cell).control for cell in found} == {None}
    assert gates.gate_of(opponent) == dataclasses.replace(opponent, batch_size=128)


def test_what_a_search_found_stands_in_place_of_the_opponents():
    found = [Cell(model, "chunk", options=("slices-4",)) for model in ("cnn", "vit")]
    cells = build_grid(Axes(("cnn", "vit"), controls=("no-dropout",)), gpu=False, tuned=found)
    changed = [cell for cell in cells if cell.options]
    bare = dataclasses.replace(found[1], control="no-dropout")
    # Which takes the fused attention that the dropout of 16 bits rules out.
    torch = Cell("vit", "eager", options=("dropout-bits", "fused", "replicas"))
    fused = dataclasses.replace(torch, options=("sdpa", "fused", "replicas"), control="no-dropout")
    assert with_controls([torch], Axes(("vit",), controls=("no-dropout",))) == [torch, fused]
    assert changed == [Cell("cnn", "step", options=("im2col",)), *found, bare]
    assert [cell.model for cell in cells] == sorted(cell.model for cell in cells)
    assert [cell for cell in build_grid(Axes(("cnn",)), gpu=False, tuned=found) if cell.model == "vit"] == []
    plain = build_grid(Axes(("vit",)), gpu=False, tuned=[Cell("vit", "epoch")])
    assert len(plain) == len(set(plain))
