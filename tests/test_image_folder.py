"""Image folders as people have them: odd layouts, odd names, damage. What cannot be used is one line that says why."""

import errno
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_image_file import QUICK, build, load, loads_or_refuses, refuse, save
from torchvision.datasets import ImageFolder

import full_comparison
from jaxcompare.config import DataConfig, ExecutionConfig, InputError, RunConfig, TrainingConfig
from jaxcompare.data.datasets import load_dataset
from jaxcompare.records import load_records, save_records
from jaxcompare.report.commands import training_commands
from jaxcompare.run_frame import per_run, to_frame
from jaxcompare.training.fit import fit

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.fixture
def root(tmp_path):
    return build(tmp_path / "images")


def damage(root, count):
    for number in range(count):
        (root / "train" / "dog" / f"bad{number:02}.png").write_bytes(b"no image" * number)


def test_all_damaged_files_are_named_at_once(root, fail_script, tmp_path):
    damage(root, 3)
    assert refuse(root) == (
        f"--data-dir {root}: 3 of 11 files cannot be used: train/dog/bad00.png (not a readable image), "
        "train/dog/bad01.png (not a readable image), train/dog/bad02.png (not a readable image); "
        "remove them or replace them, or give --skip-bad-images"
    )
    damage(root, 12)
    out = tmp_path / "out"
    words = ("--dataset", "folder", "--data-dir", root, "--image-size", 8, "--out", out)
    error = fail_script(full_comparison, *words)
    assert "12 of 20 files" in error
    assert "train/dog/bad09.png (not a readable image) and 2 more; remove them" in error
    assert error.endswith(f"(all 12 are in {out}/bad_images.txt)\n")
    lines = (out / "bad_images.txt").read_text().splitlines()
    assert lines[11] == f"{root}/train/dog/bad11.png: not a readable image"
    assert len(lines) == 12
    assert [path.name for path in out.iterdir()] == ["bad_images.txt"]


def test_a_run_goes_on_without_bad_images_and_its_record_names_them(root, toy, tmp_path):
    whole = load(root)
    damage(root, 2)
    data = DataConfig("folder", root, image_size=8, skip_bad_images=True)
    with pytest.warns(UserWarning, match=r"2 of 10 files are left out: train/dog/bad00.png"):
        dataset = load_dataset(data)
    assert dataset.skipped == ("train/dog/bad00.png", "train/dog/bad01.png")
    assert (dataset.fingerprint, dataset.train.labels.tolist()) == (whole.fingerprint, [0, 0, 1, 1])
    config = RunConfig("jax", "cnn", data, TrainingConfig(epochs=1), ExecutionConfig("chunk", "device"))
    record, _ = fit(config, dataset)
    save_records(tmp_path / "runs.jsonl", [record])
    (saved,) = load_records(tmp_path / "runs.jsonl")
    assert saved.execution["skipped_images"] == list(dataset.skipped)
    assert "--skip-bad-images" in training_commands(per_run(to_frame([saved])))[0]
    clean, _ = fit(config, whole)
    assert "skipped_images" not in clean.execution
    (root / "train" / "dog" / "0.png").write_bytes(b"")
    assert load(root, skip_bad_images=True).fingerprint != whole.fingerprint
    (root / "train" / "dog" / "1.png").write_bytes(b"")
    assert "of class 'dog' no image in train/ can be used" in refuse(root, skip_bad_images=True)
    with pytest.raises(InputError, match="goes with --dataset folder only"):
        DataConfig(skip_bad_images=True)


def test_the_operating_systems_reason_is_told(root, monkeypatch):
    opened, scanned, closed = open, os.scandir, set()

    def let(call):
        def wrapped(path, *rest, **more):
            if str(path) in closed:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return call(path, *rest, **more)

        return wrapped

    monkeypatch.setattr("builtins.open", let(opened))
    monkeypatch.setattr(os, "scandir", let(scanned))
    image, folder = root / "train" / "cat" / "0.png", root / "test" / "dog"
    closed.add(str(image))
    for skip in (False, True):
        assert refuse(root, skip_bad_images=skip) == f"{image}: cannot be read (Permission denied); see to that first"
    damage(root, 1)
    assert "see first to what cannot be read; remove or replace the others" in refuse(root)
    for place in (folder, root / "train", root):
        closed.add(str(place))
        assert refuse(root) == f"{place}: cannot be read (Permission denied); see to that first"


@pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir", ".DS_Store"])
def test_litter_is_passed_over(root, name):
    before = load(root).fingerprint
    for place in (root, root / "train", root / "test" / "dog"):
        if "." in name:
            (place / name).write_text("litter")
        else:
            (place / name).mkdir()
    assert load(root).fingerprint == before


@pytest.mark.parametrize("part", ["val", "valid", "validation"])
def test_the_test_split_may_have_other_names(root, part):
    before = load(root).fingerprint
    (root / "test").rename(root / part)
    assert load(root).fingerprint == before
    assert "class 'dog' is in train/ but not in " + part in [shutil.rmtree(root / part / "dog"), refuse(root)][1]


def flatten(root, name="test", images=""):
    """The images of `test/` without class folders; lines of name and class."""
    (root / name / images).mkdir(parents=True, exist_ok=True)
    lines = []
    for path in sorted((root / "test").glob("*/*.png")):
        lines.append((f"{path.parent.name}_{path.name}", path.parent.name))
        path.rename(root / name / images / lines[-1][0])
    for label in ("cat", "dog"):
        (root / "test" / label).rmdir()
    return lines


@pytest.mark.parametrize("heading", ["filename,label\n", "\ufefffilename,label,more\r\n", ""])
@pytest.mark.parametrize("place", ["test/labels.csv", "test.csv"])
def test_a_table_may_have_the_classes(root, place, heading):
    before = load(root).fingerprint
    lines = flatten(root)
    (root / place).write_text(heading + "".join(f"{name},{label}\n" for name, label in reversed(lines)))
    assert load(root).fingerprint == before
    # The training images so too.
    shutil.rmtree(root / "train")
    shutil.copytree(root / "test", root / "train")
    if place == "test.csv":
        shutil.copy(root / place, root / "train.csv")
    assert load(root).train.labels.tolist() == [0, 0, 1, 1]


def test_tiny_imagenet(root):
    """Its classes hold images/ and boxes, its val/ a table, its test/ images without classes."""
    before = load(root).fingerprint
    for label in ("cat", "dog"):
        (root / "train" / label).rename(root / "held")
        (root / "train" / label).mkdir()
        (root / "held").rename(root / "train" / label / "images")
        (root / "train" / label / f"{label}_boxes.txt").write_text("0.png\t0\t0\t62\t62\n")
    lines = flatten(root, "val", "images")
    (root / "val" / "val_annotations.txt").write_text("".join(f"{a}\t{b}\t0\t32\t44\t62\n" for a, b in lines))
    save(root / "test" / "images" / "test_0.png")
    assert load(root).fingerprint == before
    shutil.rmtree(root / "val")
    assert f"{root}/test: images without classes; put them in" in refuse(root)


def table(root, text, part="test"):
    flatten(root)
    (root / f"{part}.csv").write_bytes(text.encode("latin-1"))


GOOD = "cat_0.png,cat\ncat_1.png,cat\ndog_0.png,dog\ndog_1.png,dog\n"
COMPLAINTS = {
    "no table": (lambda root: flatten(root), "test: images without classes; put them in"),
    "two tables": (
        lambda root: [table(root, GOOD), (root / "test" / "b.csv").touch()],
        "test/b.csv and test.csv may both have the classes of test/; keep one",
    ),
    "a file that is not there": (
        lambda root: table(root, GOOD + "x.png,dog\n"),
        "lines without a file in {root}/test/: 1, for one 'x.png'; correct",
    ),
    "a file without a line": (
        lambda root: table(root, GOOD[: GOOD.index("dog_1")]),
        "test.csv: files without a line: 1, for one {root}/test/dog_1.png",
    ),
    "another case in a table": (
        lambda root: table(root, GOOD.replace("cat_1.png", "Cat_1.PNG")),
        "'Cat_1.PNG', where 'cat_1.png' differs from 'Cat_1.PNG' in case only",
    ),
    "no comma": (lambda root: table(root, GOOD.replace(",", ";")), "test.csv, row 1: not filename,label"),
    "two classes": (lambda root: table(root, GOOD + "cat_0.png,dog\n"), "row 5: a second class for 'cat_0.png'"),
    "no text": (lambda root: table(root, "é,cat\n"), "test.csv: not a table in UTF-8"),
    "no lines": (lambda root: table(root, "filename,label\n"), "test.csv: no lines"),
    "a class without training images": (
        lambda root: table(root, GOOD.replace(",dog", ",wolf")),
        "class 'dog' is in train/ but not in test/",
    ),
    "a folder inside a class": (
        lambda root: (root / "train" / "cat" / "old").mkdir(),
        "{root}/train/cat/old: a folder inside a class folder; move its images up to {root}/train/cat/",
    ),
    "a pipe": (lambda root: os.mkfifo(root / "train" / "cat" / "pipe"), "pipe: neither a file nor a folder"),
    "a link to nothing": (
        lambda root: (root / "train" / "cat" / "link.png").symlink_to("nowhere"),
        "cat/link.png: cannot be read (No such file or directory); see to that first",
    ),
    "a link to itself": (
        lambda root: (root / "train" / "loop").symlink_to("loop"),
        "train/loop: cannot be read (Too many levels of symbolic links)",
    ),
    "no splits": (
        lambda root: (
            [(root / "train" / name).rename(root / name) for name in ("cat", "dog")]
            + [shutil.rmtree(root / "train"), shutil.rmtree(root / "test")]
        ),
        "no folder train/; put images in {root}/train/<class>/ (found: cat/, dog/)",
    ),
    "no test split": (
        lambda root: (root / "test").rename(root / "holdout"),
        "no folder test/ (nor val/, valid/, validation/); put images in {root}/test/<class>/ (found: holdout/, train/)",
    ),
    "a split in another case": (
        lambda root: (root / "train").rename(root / "Train"),
        "(found: 'Train' differs from 'train' in case only)",
    ),
    "a class in another case": (
        lambda root: (root / "test" / "dog").rename(root / "test" / "Dog"),
        "class 'dog' is in train/ but not in test/, where 'Dog' differs from 'dog' in case only; give both",
    ),
    "a class composed otherwise": (
        lambda root: [(root / part / "dog").rename(root / part / n) for part, n in (("train", NFC), ("test", NFD))],
        r"where 'cafe\u0301' differs from 'caf\xe9' in Unicode composition only",
    ),
    "a name of two lines": (
        lambda root: save(root / "train" / "cat" / "a\nb.png").write_bytes(b""),
        "cat/a\\nb.png: not a readable image",
    ),
    "a name that is no text": (
        lambda root: (root / "train" / "cat" / os.fsdecode(b"\xff.png")).write_bytes(b""),
        "cat/\\udcff.png: not a readable image",
    ),
}


@pytest.mark.parametrize(("change", "message"), COMPLAINTS.values(), ids=COMPLAINTS)
def test_what_is_found_is_said(root, change, message):
    change(root)
    assert message.replace("{root}", str(root)) in refuse(root)


def test_torchvisions_folders_have_the_same_order(tmp_path):
    """Classes in code points' order; names that differ by case alone are two of them."""
    names = ["10", "9", "B", "a", "b", NFC, NFD, "ä z"]
    data = load(build(tmp_path, classes=names))
    theirs = ImageFolder(str(tmp_path / "train"))
    assert list(data.class_names) == theirs.classes
    assert data.train.labels.tolist() == theirs.targets
    np.testing.assert_array_equal(data.train.images, [np.asarray(image) for image, _ in theirs])


NAMES = st.sampled_from(
    ["train", "test", "val", "cat", "Cat", "dog", "images", "0.png", "a.csv", NFC, NFD, "Thumbs.db"]
)
PLACES = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: Path(*names))


@QUICK
@given(
    edits=st.lists(
        st.tuples(st.sampled_from(["remove", "file", "folder", "move", "table", "link"]), PLACES, PLACES), max_size=5
    ),
    skip=st.booleans(),
)
def test_any_edit_of_a_folder_leaves_a_data_set_or_one_line(tmp_path, edits, skip):
    root = tmp_path / "images"
    shutil.rmtree(root, ignore_errors=True)
    build(root)
    for how, one, other in edits:
        place = root / one
        try:
            match how:
                case "remove":
                    shutil.rmtree(place) if place.is_dir() else place.unlink()
                case "file":
                    save(place.with_suffix(".png"), 5)
                case "folder":
                    place.mkdir(parents=True)
                case "move":
                    place.rename(root / other)
                case "table":
                    place.with_suffix(".csv").write_text("0.png,cat\n1.png,dog\n")
                case "link":
                    place.symlink_to(root / other)
        except (OSError, ValueError):
            continue  # there is nothing to edit so
    loads_or_refuses(root, skip)
