"""Whatever becomes of a file of records, or of a config's values: a documented error, or what was written."""

import contextlib
import dataclasses
import json
import string
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_records import cell, short

from jaxcompare.cell_records import load_cells, save_cells
from jaxcompare.config import DataConfig, ExecutionConfig, InputError, TrainingConfig
from jaxcompare.lines import TruncatedLine
from jaxcompare.records import load_records, run_values, save_records

FILES = {
    "runs": (save_records, load_records, lambda: [short(), short("vit")]),
    "cells": (save_cells, load_cells, lambda: [cell(), cell(repeat=1)]),
}
often = settings(max_examples=60, deadline=None, derandomize=True, database=None)
slices = st.binary(max_size=8) | st.sampled_from(
    [b"\n", b"}", b"{", b'"', b"null", b"1e999", b"NaN", b"[]", b"\xef\xbb\xbf"]
)


def load(kind: str, path: Path):
    """The records as text, or the error's; nothing else may come of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncatedLine)
        try:
            return [repr(record) for record in FILES[kind][1](path)], ""
        except InputError as error:
            return [], str(error)


@pytest.fixture(params=FILES, scope="module")
def written(request, tmp_path_factory):
    """A kind of file, its path, its content and its records."""
    path = tmp_path_factory.mktemp("damaged") / f"{request.param}.jsonl"
    save, _, make = FILES[request.param]
    save(path, make())
    return request.param, path, path.read_bytes(), load(request.param, path)[0]


@often
@given(content=st.binary(max_size=200))
def test_any_bytes(written, content):
    kind, path, _, _ = written
    path.write_bytes(content)
    records, error = load(kind, path)
    assert records == []
    assert "\n" not in error


@often
@given(place=st.floats(0, 1), removed=st.integers(0, 40), added=slices)
def test_any_edit(written, place, removed, added):
    kind, path, content, records = written
    start = round(place * len(content))
    path.write_bytes(content[:start] + added + content[start + removed :])
    found, error = load(kind, path)
    assert set(found) <= set(records)
    assert "\n" not in error
    assert not error or str(path) in error


PARTS = {"data": DataConfig, "training": TrainingConfig, "execution": ExecutionConfig}
numbers = st.integers() | st.floats()


@often
@given(data=st.data(), value=st.none() | numbers | st.text(string.ascii_letters, max_size=5) | st.booleans())
def test_any_value_of_a_config_in_a_record(tmp_path_factory, data, value):
    path, line = tmp_path_factory.getbasetemp() / "one.jsonl", run_values(short())
    part = data.draw(st.sampled_from(sorted(PARTS)))
    name = data.draw(st.sampled_from(sorted(line["config"][part])))
    line["config"][part][name] = value
    path.write_text(json.dumps(line) + "\n")  # without a checksum, as older ones
    try:
        (record,) = load_records(path)
    except InputError as error:
        said = str(error)
    else:
        said = "line 1: not a run record" if getattr(getattr(record.config, part), name) == value else "another value"
    assert "line 1: not a run record" in said
    assert "\n" not in said


@often
@given(data=st.data(), value=numbers)
def test_any_number_of_a_config(data, value):
    kind = data.draw(st.sampled_from(list(PARTS.values())))
    name = data.draw(
        st.sampled_from(
            [field.name for field in dataclasses.fields(kind) if "int" in str(field.type) or field.type is float]
        )
    )
    with contextlib.suppress(InputError):
        assert getattr(kind(**{name: value}), name) == value
