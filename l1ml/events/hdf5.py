# SPDX-License-Identifier: Apache-2.0
"""Reads event files in chunks; `l1ml.events.schema` describes their content.

A file is taken as untrusted: links out of the file, virtual and external storage, object and
variable-length types are refused, and nothing is read whole.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from l1ml.errors import DataError, L1mlError, nearest
from l1ml.events.sample import EventSample, consecutive
from l1ml.events.schema import (
    GOLDEN,
    INPUTS,
    MAX_CHUNK_BYTES,
    MAX_DATASETS,
    MAX_ELEMENTS,
    SCHEMA_FAMILY,
    Column,
    X,
    check_values,
)
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import FixedType
from l1ml.types.timing import BX_PER_ORBIT

DEFAULT_CHUNK = 8192
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError)
"""What h5py raises for a damaged file."""
_AGAIN = "the file is damaged or cut off; make it again"


class EventFile:
    """An open event file; use it as a context manager.

    Args:
        path: HDF5 file.
        types: declared types by input name; they win over the file's own.
        golden: group with the golden outputs.
        step_bx: bunch crossings between events where the file has no ``bx``: the board's TMUX.

    Attributes:
        inputs: columns by name; a file with one dataset ``x`` has the input ``x``.
        golden: columns of the golden outputs by name.
        classes: names of the classes of ``label``.

    Raises:
        DataError: not an event file; names file and dataset.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        types: Mapping[str, FixedType] | None = None,
        golden: str = GOLDEN,
        step_bx: int = 1,
    ) -> None:
        self.path = Path(path)
        self.step_bx = step_bx
        self._file = _open(self.path)
        try:
            self._read_structure(dict(types or {}), golden)
        except L1mlError:
            self._file.close()
            raise
        except _DAMAGE as error:
            self._file.close()
            self._fail(f"its structure cannot be read: {_reason(error)}", fix=_AGAIN)

    def _read_structure(self, types: dict[str, FixedType], golden: str) -> None:
        schema = self._attribute(self._file, "", "l1ml_schema", None)
        if schema is not None and not str(schema).startswith(SCHEMA_FAMILY):
            self._fail(f"l1ml_schema is {str(schema)!r:.60}, expected {SCHEMA_FAMILY}1")
        self.inputs: dict[str, Column] = self._input_columns(types)
        lengths = {column.path: len(self._dataset(column.path)) for column in self.inputs.values()}
        self.events = next(iter(lengths.values()))
        self.golden: dict[str, Column] = {}
        for name in self._members(golden) if self._has(golden) else []:
            path = f"{golden}/{name}"
            self.golden[name] = self._column(name, path, None)
            lengths[path] = len(self._dataset(path))
        for name in ("bx", "orbit", "label"):
            if self._has(name):
                lengths[name] = self._whole_numbers(name)
        wrong = {path: n for path, n in lengths.items() if n != self.events}
        if wrong:
            path, found = next(iter(wrong.items()))
            self._fail(f"{found} events, but {next(iter(lengths))} has {self.events}", path)
        self.classes: tuple[str, ...] = ()
        if self._has("label"):
            names = self._attribute(self._file["label"], "label", "classes", None)
            if names is not None:
                self.classes = tuple(_text(n) for n in np.atleast_1d(np.asarray(names)).tolist()[:1000])

    def _input_columns(self, types: dict[str, FixedType]) -> dict[str, Column]:
        if self._has(INPUTS):
            names = self._members(INPUTS)
            columns = {name: self._column(name, f"{INPUTS}/{name}", types.get(name)) for name in names}
        elif self._has(X):
            # One input in a file needs no name: it takes the one that the caller gave a type for.
            name = next(iter(types)) if len(types) == 1 else X
            columns = {name: self._column(name, X, types.get(name))}
        else:
            found = self._members("") or ["nothing"]
            held = ", ".join(found[:20])
            self._fail(
                f"there is neither a dataset {X} nor a group {INPUTS}; the file holds {held}",
                fix=f"name the inputs {X}, or {INPUTS}/<name>",
            )
        lost = [name for name in types if name not in columns]
        if lost:
            self._fail(f"there is no input {lost[0]!r}", f"{INPUTS}/{lost[0]}", nearest(lost[0], columns))
        if not columns:
            self._fail("the group is empty", INPUTS)
        return columns

    def __enter__(self) -> EventFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.events

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def chunks(
        self, size: int = DEFAULT_CHUNK, *, first: int = 0, stop: int | None = None
    ) -> Iterator[EventSample]:
        """Yield events ``first`` to ``stop`` in order, at most ``size`` at a time.

        Raises:
            DataError: values are not finite, off the grid or out of range, or the file is damaged.
        """
        end = self.events if stop is None else min(stop, self.events)
        for low in range(first, end, max(1, size)):
            yield self.read(low, min(low + max(1, size), end))

    def read(self, first: int = 0, stop: int | None = None) -> EventSample:
        """Return events ``first`` to ``stop`` (not included) as one sample; errors as `chunks`."""
        try:
            return self._read(first, self.events if stop is None else min(stop, self.events))
        except _DAMAGE as error:
            raise DataError(
                f"cannot be read: {_reason(error)}", where=(str(self.path),), fix=_AGAIN
            ) from None

    def _read(self, first: int, end: int) -> EventSample:
        bx, orbit = consecutive(end - first, first=first, step_bx=self.step_bx)
        if self._has("bx"):
            bx = self._integers("bx", first, end)
            if len(bx) and not (bx.min() >= 0 and bx.max() < BX_PER_ORBIT):
                event = first + int(np.flatnonzero((bx < 0) | (bx >= BX_PER_ORBIT))[0])
                self._fail(
                    f"bx {int(bx[event - first])} of event {event}; allowed are 0 to {BX_PER_ORBIT - 1}", "bx"
                )
            # Without orbit numbers a crossing that does not grow begins a new orbit.
            orbit = np.concatenate([[0], np.cumsum(np.diff(bx) <= 0)]) if len(bx) else bx
        if self._has("orbit"):
            orbit = self._integers("orbit", first, end)
        return EventSample(
            inputs={name: self._values(column, first, end) for name, column in self.inputs.items()},
            bx=bx,
            orbit=orbit,
            golden={name: self._values(column, first, end) for name, column in self.golden.items()},
            label=self._integers("label", first, end) if self._has("label") else None,
            first=first,
        )

    def _values(self, column: Column, first: int, end: int) -> RealArray:
        values = np.asarray(self._slice(column.path, first, end), dtype=np.float64)
        if column.scale != 1.0:
            values = values * column.scale
        check_values(values, column.type, first=first, where=(str(self.path), column.path))
        return values

    def _integers(self, path: str, first: int, end: int) -> IntArray:
        values = self._slice(path, first, end)
        if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
            self._fail(f"{int(values.max())} is too large", path)
        return np.asarray(values, dtype=np.int64)

    def _slice(self, path: str, first: int, end: int) -> Any:
        try:
            return self._file[path][first:end]
        except _DAMAGE as error:
            raise DataError(
                f"events {first} to {end - 1} cannot be read: {_reason(error)}",
                where=(str(self.path), path),
                fix=_AGAIN,
            ) from None

    def _column(self, name: str, path: str, kind: FixedType | None) -> Column:
        dataset = self._dataset(path)
        text = self._attribute(dataset, path, "type", None)
        if kind is None and text is not None:
            try:
                kind = FixedType.parse(_text(text))
            except L1mlError as error:
                self._fail(f"attribute type: {error.what}", path, error.fix)
        scale = self._attribute(dataset, path, "scale", 1.0)
        if (
            not isinstance(scale, (int, float, np.integer, np.floating))
            or not math.isfinite(scale)
            or scale <= 0
        ):
            self._fail(f"attribute scale must be a positive number, found {scale!r:.40}", path)
        units = _text(self._attribute(dataset, path, "units", ""))
        return Column(name, path, tuple(dataset.shape[1:]), kind, float(scale), units)

    def _dataset(self, path: str) -> Any:
        """Return a dataset that is safe to read in chunks."""
        item = self._item(path)
        if not isinstance(item, h5py.Dataset):
            self._fail("this is a group, a dataset is expected", path)
        if item.is_virtual or item.external is not None:
            self._fail("the data lie in other files; that is refused", path, "copy them into this file")
        if item.dtype.kind not in "iufb":
            kind = "Python objects or text" if item.dtype.kind == "O" else f"type {item.dtype}"
            self._fail(f"holds {kind}, numbers are expected", path)
        if item.ndim < 1:
            self._fail("is a single number, expected (events, ...)", path)
        if math.prod(item.shape[1:]) > MAX_ELEMENTS:
            self._fail(f"shape {item.shape}: more than {MAX_ELEMENTS} numbers per event", path)
        if item.chunks and math.prod(item.chunks) * item.dtype.itemsize > MAX_CHUNK_BYTES:
            self._fail(f"HDF5 chunks of {item.chunks} are larger than {MAX_CHUNK_BYTES >> 20} MiB", path)
        return item

    def _whole_numbers(self, path: str) -> int:
        dataset = self._dataset(path)
        if dataset.ndim != 1 or dataset.dtype.kind not in "iu":
            self._fail(f"expected whole numbers (events,), found {dataset.dtype} {dataset.shape}", path)
        return len(dataset)

    def _item(self, path: str) -> Any:
        """Follow a path inside the file; links out of it are refused."""
        at: Any = self._file
        for depth, part in enumerate(parts := path.split("/")):
            here = "/".join(parts[: depth + 1])
            if isinstance(at.get(part, getlink=True), h5py.ExternalLink):
                self._fail("is a link to another file; that is refused", here, "copy the data into this file")
            try:
                at = at.get(part)
            except (OSError, RuntimeError, ValueError) as error:
                self._fail(f"cannot be opened: {_reason(error)}", here, "the file is damaged; make it again")
            if at is None:
                self._fail("is a link that leads nowhere", here)
            if Path(at.file.filename) != Path(self._file.filename):
                self._fail("is a link to another file; that is refused", here)
        return at

    def _has(self, path: str) -> bool:
        return path in self._members("")

    def _members(self, path: str) -> list[str]:
        group = self._item(path) if path else self._file
        if not isinstance(group, h5py.Group):
            self._fail("this is a dataset, a group is expected", path)
        if len(group) > MAX_DATASETS:
            self._fail(f"{len(group)} entries, at most {MAX_DATASETS} are read", path or "/")
        return sorted(str(name) for name in group)

    def _attribute(self, item: Any, path: str, name: str, default: Any) -> Any:
        try:
            return item.attrs.get(name, default)
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            self._fail(f"attribute {name} cannot be read: {_reason(error)}", path or "/")

    def _fail(self, what: str, path: str | None = None, fix: str | None = None) -> Any:
        where = (str(self.path),) if path is None else (str(self.path), path)
        raise DataError(what, where=where, fix=fix)


def open_events(
    path: str | os.PathLike[str],
    *,
    types: Mapping[str, FixedType] | None = None,
    golden: str = GOLDEN,
    step_bx: int = 1,
) -> EventFile:
    """Open an event file; arguments and errors as `EventFile`.

    Example:
        with open_events("jets_10k.h5") as file:
            for sample in file.chunks(4096):
                emulator.codes(sample.inputs["x"])
    """
    return EventFile(path, types=types, golden=golden, step_bx=step_bx)


def _open(path: Path) -> Any:
    where = (str(path),)
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror or error}", where=where) from None
    try:
        return h5py.File(path, "r", locking=False)
    except (OSError, RuntimeError, ValueError) as error:
        reason = _reason(error)
        if "truncated" in reason:
            raise DataError(
                "the file is cut off before its end", where=where, fix="copy or make it again"
            ) from None
        if "signature not found" in reason:
            raise DataError(
                "not an HDF5 file", where=where, fix="event files are HDF5; see the schema"
            ) from None
        raise DataError(f"not a usable HDF5 file: {reason}", where=where, fix="make it again") from None


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace")[:500] if isinstance(value, bytes) else str(value)[:500]
