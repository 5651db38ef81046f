# SPDX-License-Identifier: Apache-2.0
"""Reads event files in chunks; `l1ml.events.schema` describes their content.

A file is taken as untrusted: `l1ml.hdf5.reader` reads it in a process of its own; links out of the file,
virtual and external storage, object and variable-length types are refused, and nothing is read whole.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from l1ml.errors import DataError, L1mlError, nearest
from l1ml.events.sample import EventSample, consecutive
from l1ml.events.schema import (
    GOLDEN,
    INPUTS,
    MAX_BATCH_BYTES,
    MAX_CHUNK_BYTES,
    MAX_DATASETS,
    MAX_ELEMENTS,
    MAX_UNPACKED_BYTES,
    MAX_UNPACKED_RATIO,
    SCHEMA_FAMILY,
    Column,
    X,
    check_values,
)
from l1ml.hdf5.reader import File, HDF5Error, Node
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import FixedType
from l1ml.types.timing import BX_PER_ORBIT

DEFAULT_CHUNK = 8192
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
        self._nodes: dict[str, Node] = {}
        self._file = _open(self.path)
        try:
            self._read_structure(dict(types or {}), golden)
        except BaseException:
            self._file.close()
            raise

    def _read_structure(self, types: dict[str, FixedType], golden: str) -> None:
        schema = self._text(self._look(""), "", "l1ml_schema")
        if schema is not None and not schema.startswith(SCHEMA_FAMILY):
            self._fail(f"l1ml_schema is {schema!r:.60}, expected {SCHEMA_FAMILY}1")
        self.inputs: dict[str, Column] = self._input_columns(types)
        self.golden: dict[str, Column] = {}
        for name in self._members(golden) if self._has(golden) else []:
            self.golden[name] = self._column(name, f"{golden}/{name}", None)
        columns = [*self.inputs.values(), *self.golden.values()]
        lengths = {column.path: self._dataset(column.path)["shape"][0] for column in columns}
        self.events = next(iter(lengths.values()))
        for name in ("bx", "orbit", "label"):
            if self._has(name):
                lengths[name] = self._whole_numbers(name)
        wrong = {path: n for path, n in lengths.items() if n != self.events}
        if wrong:
            path, found = next(iter(wrong.items()))
            self._fail(f"{found} events, but {next(iter(lengths))} has {self.events}", path)
        elements = sum(math.prod(column.shape) for column in columns)
        if elements > MAX_ELEMENTS:
            self._fail(f"{elements} numbers per event in all datasets, at most {MAX_ELEMENTS} are read")
        self._event_bytes = 8 * (elements + 3)  # with bx, orbit and label
        # Rows that were never written are zeros that take no space: their number may be anything.
        if self.events * self._event_bytes > MAX_UNPACKED_BYTES + MAX_UNPACKED_RATIO * self._file.size:
            self._fail(
                f"{self.events} events are more than a file of {self._file.size} bytes can hold",
                columns[0].path,
                "write the events, or give the datasets the length that was written",
            )
        self.classes: tuple[str, ...] = ()
        if self._has("label"):
            names = self._look("label")["attrs"].get("classes", {"list": []})
            entries = names.get("list", [names])
            if not all("text" in entry for entry in entries):
                self._fail("attribute classes must be a list of texts", "label")
            self.classes = tuple(_word(entry) for entry in entries[:1000])

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
        """Yield events ``first`` to ``stop`` in order, at most ``size`` at a time; fewer where events are large.

        Raises:
            DataError: values are not finite, off the grid or out of range, or the file is damaged.
        """
        end = self.events if stop is None else min(stop, self.events)
        step = max(1, min(size, MAX_BATCH_BYTES // self._event_bytes))
        for low in range(first, end, step):
            yield self.read(low, min(low + step, end))

    def read(self, first: int = 0, stop: int | None = None) -> EventSample:
        """Return events ``first`` to ``stop`` (not included) as one sample; errors as `chunks`.

        More than 4 GiB are refused.
        """
        end = self.events if stop is None else min(stop, self.events)
        if (end - first) * self._event_bytes > MAX_UNPACKED_BYTES:
            self._fail(
                f"events {first} to {end - 1} take more than {MAX_UNPACKED_BYTES >> 30} GiB of memory",
                fix="read fewer at a time, with chunks()",
            )
        try:
            return self._read(first, end)
        except MemoryError:
            self._fail(
                f"events {first} to {end - 1} do not fit in memory", fix="read fewer at a time, with chunks()"
            )

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
            return self._file.rows(path, self._look(path), first, end)
        except HDF5Error as error:
            self._fail(f"events {first} to {end - 1} cannot be read: {error}", path, _AGAIN)

    def _column(self, name: str, path: str, kind: FixedType | None) -> Column:
        dataset = self._dataset(path)
        text = self._text(dataset, path, "type")
        if kind is None and text is not None:
            try:
                kind = FixedType.parse(text)
            except L1mlError as error:
                self._fail(f"attribute type: {error.what}", path, error.fix)
        scale = dataset["attrs"].get("scale", {"number": 1.0})
        number = scale.get("number")
        if number is None or not math.isfinite(number) or number <= 0:
            found = scale.get("text", number if number is not None else scale.get("other", "a list"))
            self._fail(
                f"attribute scale must be a positive number, found {found!r:.40}",
                path,
                "give what a stored count is worth, 2**-8 for bytes that mean x/256; or delete it, if it is 1",
            )
        units = self._text(dataset, path, "units") or ""
        return Column(name, path, tuple(dataset["shape"][1:]), kind, float(number), units)

    def _dataset(self, path: str) -> Node:
        """Return a dataset that is safe to read in chunks."""
        node = self._look(path)
        if node["kind"] == "group":
            self._fail("this is a group, a dataset is expected", path)
        if node["kind"] == "outside":
            self._fail("the data lie in other files; that is refused", path, "copy them into this file")
        if node["kind"] == "refused":
            self._fail(node["why"], path, node.get("fix"))
        shape, kind = node["shape"], np.dtype(node["dtype"])
        if not shape:
            self._fail("is a single number, expected (events, ...)", path)
        if math.prod(shape[1:]) > MAX_ELEMENTS:
            self._fail(f"shape {tuple(shape)}: more than {MAX_ELEMENTS} numbers per event", path)
        if node["chunks"] and math.prod(node["chunks"]) * kind.itemsize > MAX_CHUNK_BYTES:
            chunks = tuple(node["chunks"])
            self._fail(f"HDF5 chunks of {chunks} are larger than {MAX_CHUNK_BYTES >> 20} MiB", path)
        return node

    def _whole_numbers(self, path: str) -> int:
        node = self._dataset(path)
        shape, kind = tuple(node["shape"]), np.dtype(node["dtype"])
        if len(shape) != 1 or kind.kind not in "iu":
            self._fail(f"expected whole numbers (events,), found {kind} {shape}", path)
        return int(shape[0])

    def _look(self, path: str) -> Node:
        """Return what is at a path; links are followed inside of the file, those out of it are refused."""
        if path not in self._nodes:
            try:
                node = self._file.look(path)
            except HDF5Error as error:
                self._damaged(error, path)
            if node["kind"] == "link":
                self._fail(
                    "is a link to another file; that is refused", node["at"], "copy the data into this file"
                )
            if node["kind"] == "nowhere":
                self._fail("is a link that leads nowhere", path)
            self._nodes[path] = node
        return self._nodes[path]

    def _has(self, path: str) -> bool:
        return path in self._members("")

    def _members(self, path: str) -> list[str]:
        node = self._look(path)
        if node["kind"] != "group":
            self._fail("this is a dataset, a group is expected", path)
        if node["count"] > MAX_DATASETS:
            self._fail(f"{node['count']} entries, at most {MAX_DATASETS} are read", path or "/")
        return sorted(node["members"])

    def _text(self, node: Node, path: str, name: str) -> str | None:
        """Return a text attribute, or None where there is none."""
        value = node["attrs"].get(name)
        if value is not None and "text" not in value:
            held = value.get("other", "a list")
            self._fail(f"attribute {name} holds {held}, expected a text", path or "/")
        return None if value is None else _word(value)

    def _damaged(self, error: HDF5Error, path: str) -> NoReturn:
        reason = str(error)
        if path:
            self._fail(f"cannot be opened: {reason}", path, _AGAIN)
        if "truncated" in reason:
            self._fail("the file is cut off before its end", fix="copy or make it again")
        if "signature not found" in reason:
            self._fail(
                "not an HDF5 file",
                fix='event files are HDF5: "Your own events" in the README says what they hold',
            )
        self._fail(f"not a usable HDF5 file: {reason}", fix=_AGAIN)

    def _fail(self, what: str, path: str | None = None, fix: str | None = None) -> NoReturn:
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


def _open(path: Path) -> File:
    try:
        return File.at(path)
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror or error}", where=(str(path),)) from None


def _word(value: Node) -> str:
    return str(value["text"])[:500]
