"""JSON Lines files: a record a line, each with a checksum, written whole and read strictly."""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jaxcompare.config import UNWRITTEN, InputError

CHECKSUM = "checksum"

PART = ".part"
"""How the name of a file ends while it is being written."""


class TruncatedLine(UserWarning):
    """The last line of a file of records was cut off. It is kept, and passed over."""


def save_lines(path: Path, values: Sequence[Any]) -> None:
    """Replace a JSON Lines file as a whole. A last line of it that was cut off moves to FILE.truncated."""
    if path.exists():
        _, fragment = _read_lines(path)
        if fragment:
            write_atomically(path.with_name(f"{path.name}.truncated"), fragment + "\n")
    write_atomically(path, "".join(to_line(value) + "\n" for value in values))


def to_line(values: dict[str, Any]) -> str:
    """A record as a line of JSON, a checksum of the rest at its end."""
    text = json.dumps(values, allow_nan=False)
    return json.dumps(values | {CHECKSUM: _checksum(text)}, allow_nan=False)


def from_line(line: str, kind: Any, check: Callable[[Any], object] = bool) -> Any:
    """A line as a record of a type, strictly: every field is there, has its type and range, and no other is; a
    checksum, which older files lack, is that of the rest.

    Args:
        check: raises ValueError for a record whose fields do not go together.

    Raises:
        ValueError: it is no such record; which field is at fault, and why.
    """
    from pydantic import ValidationError

    adapter, values = _adapter(kind), json.loads(line)
    if not isinstance(values, dict):
        raise ValueError(f"{type(values).__name__}, no object")
    checksum = values.pop(CHECKSUM, None)
    text = json.dumps(values)
    try:
        record = adapter.validate_json(text)
    except ValidationError as error:
        # Of another schema, all else that is wrong follows from it.
        first = min(error.errors(include_url=False), key=lambda one: one["loc"] != ("schema",))
        place = ".".join(str(part) for part in first["loc"])
        held = "" if first["type"] == "missing" else f" holds {first['input']!r}"
        raise ValueError(f"{place}{held}: {first['msg']}") from None
    if missing := _missing(adapter.dump_python(record), values):
        raise ValueError(f"{missing} is missing")
    check(record)
    if checksum not in (None, _checksum(text)):
        raise ValueError("its checksum is another: it was changed after it was written")
    return record


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_lines(
    path: Path,
    kind: Any,
    name: str,
    check: Callable[[Any], object] = bool,
    identity: Callable[[Any], Hashable] | None = None,
) -> list[Any]:
    """Read every line of a JSON Lines file as one type; see `from_line`. Empty lines are passed over, and a last line
    that was cut off, with a TruncatedLine warning.

    Args:
        check: raises ValueError for a record whose fields do not go together.
        identity: what no two records of a file have in common.

    Raises:
        InputError: the file cannot be read, or a line is no such record, with the line's number and the field.
    """
    lines, fragment = _read_lines(path)
    if fragment:
        warnings.warn(
            TruncatedLine(f"{path}, line {len(lines) + 1}: cut off; it is kept, and passed over"), stacklevel=2
        )
    parsed, places = [], {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = from_line(line, kind, check)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not a {name} ({error})") from None
        if identity and (first := places.setdefault(identity(record), number)) != number:
            raise InputError(f"{path}, line {number}: the {name} of line {first} again; remove one of them")
        parsed.append(record)
    return parsed


@cache
def _adapter(kind: Any) -> Any:
    # Imported here: a command's --help has no use for it.
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _missing(written: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The first field that a line lacks: it must not take today's default."""
    for name, value in written.items():
        if name not in given:
            if name not in UNWRITTEN:
                return name
        elif isinstance(value, dict) and isinstance(given[name], dict) and (inner := _missing(value, given[name])):
            return f"{name}.{inner}"
    return ""


def _read_lines(path: Path) -> tuple[list[str], str]:
    """The whole lines of a JSON Lines file, and what is left of a last one that was cut off."""
    try:
        *lines, last = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not last:
        return lines, ""
    try:
        json.loads(last)
    except (ValueError, RecursionError):
        return lines, last
    return [*lines, last], ""


def summary_json(numbers: dict[str, Any]) -> str:
    """The text of a summary.json. Floats to ten significant digits: the last ones are a machine's linear algebra."""

    def rounded(value: Any) -> Any:
        match value:
            case dict():
                return {name: rounded(one) for name, one in value.items()}
            case list() | tuple():
                return [rounded(one) for one in value]
            case float():
                return float(f"{value:.10g}")
        return value

    return json.dumps(rounded(numbers), indent=2, allow_nan=False) + "\n"


def remove_parts(folder: Path) -> None:
    """Of a folder and those in it: what processes that were killed had half-written."""
    for part in [*folder.glob(f".*{PART}"), *folder.glob(f"*/.*{PART}")]:
        part.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=PART)
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(
                f"{path}: cannot be written ({error.strerror}); free space or choose another folder"
            ) from error
        raise
