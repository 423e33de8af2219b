"""Which images a folder holds, and of which class: the layouts that people have."""

import csv
import io
import os
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from jaxcompare.config import InputError
from jaxcompare.data.image_file import shown, unreadable

TEST_NAMES = ("test", "val", "valid", "validation")
"""Of the folder of test images; the first that is there and has labels."""

LITTER = ("thumbs.db", "desktop.ini", "__macosx", "@eadir")
"""What file managers, archives and network drives leave; passed over as hidden files are."""

TINY_IMAGENET = "val_annotations.txt"

Classes = dict[str, list[Path]]


class _Entry(NamedTuple):
    path: Path
    kind: Literal["folder", "file", "other"]
    error: OSError | None = None


def list_images(root: Path) -> tuple[list[str], list[list[tuple[Path, int]]]]:
    """The class names, sorted, and of the training and of the test split every file with the number of its class.

    A split is `<class>/*`; or images, perhaps in `images/`, whose classes a file has: `filename,label` in the only .csv
    among them or in `<split>.csv` beside the split's folder, or Tiny ImageNet's annotations.

    Raises:
        InputError: the folder is laid out otherwise, with what was found.
    """
    top = _list_root(root)
    train = _list_part(root, "train", ())
    names = sorted(train)
    if len(names) < 2:
        raise InputError(
            f"--data-dir {shown(root)}: one class only ({shown(names[0])}); a classifier needs at least two"
        )
    there = [name for name in TEST_NAMES if name in top]
    labelled = [name for name in there if not _lacks_labels(root, name, names)]
    part = (labelled or there)[0]
    test = _list_part(root, part, names)
    for here, classes, other, others in (("train", train, part, test), (part, test, "train", train)):
        if only := sorted(set(classes) - set(others)):
            near = _differs(only[0], others)
            raise InputError(
                f"--data-dir {shown(root)}: class {only[0]!r} is in {here}/ but not in {other}/"
                f"{near and f', where {near}'}; give both the same classes"
            )
    return names, [
        [(path, label) for label, name in enumerate(names) for path in split[name]] for split in (train, test)
    ]


def _list_root(root: Path) -> list[str]:
    """The folders in `root`, once those of both splits are among them."""
    entries = _entries(root) if os.path.lexists(root) else []
    folders = [entry.path.name for entry in entries if entry.kind == "folder"]
    for names in (("train",), TEST_NAMES):
        if set(names) & set(folders):
            continue
        unclear = [entry for entry in entries if entry.error and entry.path.name in names]
        if unclear and unclear[0].error:
            raise unreadable(unclear[0].path, unclear[0].error)
        found = [entry.path.name + "/" * (entry.kind == "folder") for entry in entries]
        near = _differs(names[0], folders) or ", ".join(map(shown, found[:10])) + ", ..." * (len(found) > 10)
        nor = f" (nor {'/, '.join(names[1:])}/)" if names[1:] else ""
        raise InputError(
            f"--data-dir {shown(root)}: no folder {names[0]}/{nor}; put images in {shown(root / names[0])}/<class>/ "
            f"(found: {near or ('nothing' if root.exists() else 'no such folder')})"
        )
    return folders


def _list_part(root: Path, part: str, known: Collection[str]) -> Classes:
    folder = root / part
    entries = _entries(folder)
    if not entries:
        raise InputError(f"--data-dir {shown(root)}: {part}/ is empty; put images in {shown(folder)}/<class>/")
    images = _flat(entries, known)
    if images is not None:
        labels = _label_file(root, part, entries)
        if not labels:
            raise InputError(
                f"{shown(folder)}: images without classes; put them in {shown(folder)}/<class>/, or their classes in "
                f"{shown(root / part)}.csv, in lines of filename,label"
            )
        return _by_label(folder, [entry for entry in images if entry.path != labels], labels)
    classes = {}
    for entry in entries:
        if entry.error:
            raise unreadable(entry.path, entry.error)
        if entry.kind != "folder":
            raise InputError(
                f"{shown(entry.path)}: a file where a class folder is expected; move it to {shown(folder)}/<class>/ if "
                "it is an image, else elsewhere"
            )
        classes[entry.path.name] = _list_class(entry.path)
    return classes


def _flat(entries: list[_Entry], known: Collection[str]) -> list[_Entry] | None:
    """The images of a split that has no class folders; None if it has some."""
    folders = [entry.path for entry in entries if entry.kind == "folder"]
    if not folders:
        return entries
    if [folder.name for folder in folders] == ["images"] and "images" not in known:
        return _entries(folders[0])
    return None


def _lacks_labels(root: Path, part: str, known: Collection[str]) -> bool:
    """Whether a split is images alone: Tiny ImageNet's test split is, whose labels nobody has."""
    entries = _entries(root / part)
    return _flat(entries, known) is not None and not _label_file(root, part, entries)


def _list_class(folder: Path) -> list[Path]:
    entries = _entries(folder)
    inner = [entry for entry in entries if entry.kind == "folder"]
    if [entry.path.name for entry in inner] == ["images"] and all(
        entry.path.suffix == ".txt" for entry in entries if entry not in inner
    ):
        # Tiny ImageNet's, beside boxes.
        entries = _entries(inner[0].path)
    for entry in entries:
        if entry.kind == "folder":
            raise InputError(
                f"{shown(entry.path)}: a folder inside a class folder; move its images up to {shown(folder)}/"
            )
        if entry.kind == "other":
            raise InputError(f"{shown(entry.path)}: neither a file nor a folder; remove it")
    if not entries:
        raise InputError(f"{shown(folder)}: no images in this class; add some or remove the folder")
    return [entry.path for entry in entries]


def _entries(folder: Path) -> list[_Entry]:
    """What is in a folder, by name, but for hidden files and litter."""

    def kind(entry: os.DirEntry[str]) -> _Entry:
        path = Path(entry.path)
        try:
            if entry.is_dir():
                return _Entry(path, "folder")
            if entry.is_file():
                return _Entry(path, "file")
            entry.stat()
        except OSError as error:
            return _Entry(path, "file", error)
        return _Entry(path, "other")

    try:
        with os.scandir(folder) as found:
            kept = [kind(entry) for entry in found if entry.name[0] != "." and entry.name.lower() not in LITTER]
    except OSError as error:
        raise unreadable(folder, error) from error
    return sorted(kept, key=lambda entry: entry.path.name)


def _label_file(root: Path, part: str, entries: list[_Entry]) -> Path | None:
    tables = [entry.path for entry in entries if entry.path.suffix.lower() == ".csv"]
    beside = root / f"{part}.csv"
    if beside.is_file():
        tables.append(beside)
    tables += [entry.path for entry in entries if entry.path.name == TINY_IMAGENET]
    if len(tables) > 1:
        names = " and ".join(shown(table.relative_to(root)) for table in tables[:2])
        raise InputError(f"--data-dir {shown(root)}: {names} may both have the classes of {part}/; keep one")
    return tables[0] if tables else None


def _by_label(folder: Path, images: list[_Entry], table: Path) -> Classes:
    """The images of a flat split, each with the class that the table has for its name."""
    labels = _read_labels(table)
    names = [entry.path.name for entry in images]
    if missing := sorted(set(labels) - set(names)):
        near = _differs(missing[0], names)
        raise InputError(
            f"{shown(table)}: lines without a file in {shown(folder)}/: {len(missing)}, for one {missing[0]!r}"
            f"{near and f', where {near}'}; correct the names or remove the lines"
        )
    if unlabelled := [entry.path for entry in images if entry.path.name not in labels]:
        raise InputError(
            f"{shown(table)}: files without a line: {len(unlabelled)}, for one {shown(unlabelled[0])}; add lines of "
            "filename,label or remove the files"
        )
    classes: Classes = {}
    for entry in images:
        if entry.kind != "file":
            raise InputError(f"{shown(entry.path)}: not a file, but {shown(table)} has a line for it; remove either")
        classes.setdefault(labels[entry.path.name], []).append(entry.path)
    return classes


def _read_labels(table: Path) -> dict[str, str]:
    """The class of each file name. A first line that begins with `filename` is a heading."""
    labels: dict[str, str] = {}
    try:
        text = table.read_text(encoding="utf-8-sig")
        separator = "\t" if table.name == TINY_IMAGENET else ","
        for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=separator), 1):
            if not row or (number == 1 and row[0].strip().lower() == "filename"):
                continue
            if len(row) < 2 or not row[0].strip() or not row[1].strip():
                raise InputError(f"{shown(table)}, row {number}: not filename,label; correct it")
            name = PurePosixPath(row[0].strip()).name
            if labels.setdefault(name, row[1].strip()) != row[1].strip():
                raise InputError(f"{shown(table)}, row {number}: a second class for {name!r}; keep one")
    except OSError as error:
        raise unreadable(table, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{shown(table)}: not a table in UTF-8 ({error}); save it as filename,label") from error
    if not labels:
        raise InputError(f"{shown(table)}: no lines; give one of filename,label for each image")
    return labels


def _differs(name: str, others: Iterable[str]) -> str:
    """How one of `others` differs from a name that is not among them, if that can hardly be seen; else empty."""
    one = unicodedata.normalize("NFC", name)
    for other in others:
        two = unicodedata.normalize("NFC", other)
        if one == two:
            return f"{other!a} differs from {name!a} in Unicode composition only"
        if one.casefold() == two.casefold():
            return f"{other!r} differs from {name!r} in case only"
    return ""
