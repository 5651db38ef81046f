# SPDX-License-Identifier: Apache-2.0
"""Writes event files piece by piece; a file appears under its name only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike

from l1ml.errors import DataError
from l1ml.events.sample import EventSample
from l1ml.events.schema import GOLDEN, INPUTS, SCHEMA, X, check_values
from l1ml.types.fixed import FixedType

CHUNK_BYTES = 1 << 18


class _Disk(io.RawIOBase):
    """The temporary file as HDF5 sees it: writing never fails there, the first failure is kept.

    HDF5 cannot close a file whose disk is full, and complains about it for the rest of the process.
    """

    def __init__(self, handle: int) -> None:
        super().__init__()
        self.handle = handle
        self.failure: OSError | None = None
        self._at = 0

    def close(self) -> None:
        if not self.closed:
            os.close(self.handle)
        super().close()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: os.fstat(self.handle).st_size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self.handle, len(view), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while self.failure is None and done < len(view):
            try:
                done += os.pwrite(self.handle, view[done:], self._at + done)
            except OSError as error:
                self.failure = error
        self._at += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        length = self._at if size is None else size
        if self.failure is None:
            try:
                os.ftruncate(self.handle, length)
            except OSError as error:
                self.failure = error
        return length


class EventWriter:
    """Writes samples one after the other; use it as a context manager.

    The data go to a temporary file beside the target, which is renamed at the end of the ``with`` block.  If
    the block raises, or the disk is full, nothing appears under the target's name and an earlier file stays.

    Args:
        path: the file to write.
        types: declared types by input name; values off their grid are refused.
        units: by input name.
        classes: names of the classes of ``label``.
        dtype: how inputs and golden are stored; values that it cannot hold exactly are refused.
        answers: group for the outputs, which samples carry as golden.
        attributes: further attributes of the file: text and numbers.

    Raises:
        DataError: the file cannot be written, or a sample does not fit the earlier ones.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        types: Mapping[str, FixedType] | None = None,
        units: Mapping[str, str] | None = None,
        classes: Sequence[str] = (),
        dtype: str = "float32",
        answers: str = GOLDEN,
        attributes: Mapping[str, str | int | float] | None = None,
    ) -> None:
        self.path = Path(path)
        self._types, self._units = dict(types or {}), dict(units or {})
        self._classes, self._dtype = tuple(classes), np.dtype(dtype)
        self._attributes = dict(attributes or {})
        self._answers = answers
        self._names: frozenset[str] | None = None
        self.events = 0
        try:
            handle, name = tempfile.mkstemp(
                dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".part"
            )
        except OSError as error:
            raise self._error(error) from None
        self._part = Path(name)
        self._disk = _Disk(handle)
        try:
            self._file: Any = h5py.File(self._disk, "w")
            self._file.attrs["l1ml_schema"] = SCHEMA
            self._file.attrs.update(self._attributes)
        except (OSError, RuntimeError) as error:
            self.abort()
            raise self._error(error) from None

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.abort()
        else:
            self.close()

    def append(self, sample: EventSample) -> None:
        """Write the events of a sample behind those before.

        Raises:
            DataError: other columns or shapes than before, values off the grid, or the disk is full.
        """
        sample.verify()
        columns = self._columns(sample)
        if self._names is not None and frozenset(columns) != self._names:
            now, before = ", ".join(sorted(columns)), ", ".join(sorted(self._names))
            raise DataError(f"this sample has {now}; the first had {before}", where=(str(self.path),))
        try:
            for path, column in columns.items():
                if self._names is None:
                    self._create(path, column)
                dataset = self._file[path]
                if dataset.shape[1:] != column.shape[1:]:
                    raise DataError(
                        f"events of shape {column.shape[1:]}, before {dataset.shape[1:]}",
                        where=(str(self.path), path),
                    )
                dataset.resize(self.events + len(column), axis=0)
                dataset[self.events :] = column
        except (OSError, RuntimeError) as error:
            raise self._error(error) from None
        if self._disk.failure is not None:
            raise self._error(self._disk.failure) from None
        self._names = frozenset(columns)
        self.events += len(sample)

    def extra(self, path: str, values: ArrayLike, **attributes: Any) -> None:
        """Write a further dataset that l1ml does not interpret, for example predictions of another model."""
        try:
            dataset = self._file.create_dataset(
                path, data=np.asarray(values), compression="gzip", shuffle=True
            )
            dataset.attrs.update(attributes)
        except (OSError, RuntimeError, ValueError) as error:
            raise self._error(error) from None

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            DataError: no event was written, or the disk is full.
        """
        if self._names is None:
            self.abort()
            raise DataError("no event was written", where=(str(self.path),))
        try:
            self._file.close()
            if self._disk.failure is not None:
                raise self._disk.failure
            os.fsync(self._disk.handle)
            self._disk.close()
            self._part.chmod(0o644)
            self._part.replace(self.path)
        except (OSError, RuntimeError) as error:
            self.abort()
            raise self._error(error) from None

    def abort(self) -> None:
        """Forget everything that was written."""
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._disk.close()
        self._part.unlink(missing_ok=True)

    def _columns(self, sample: EventSample) -> dict[str, Any]:
        single = list(sample.inputs) == [X]
        columns: dict[str, Any] = {}
        for name, values in sample.inputs.items():
            path = X if single else f"{INPUTS}/{name}"
            check_values(values, self._types.get(name), first=self.events, where=(str(self.path), path))
            columns[path] = self._stored(path, values)
        for name, values in sample.golden.items():
            path = f"{self._answers}/{name}"
            columns[path] = self._stored(path, values)
        columns["bx"] = sample.bx.astype(np.uint16)
        columns["orbit"] = sample.orbit.astype(np.uint64)
        if sample.label is not None:
            columns["label"] = sample.label.astype(np.int32)
        return columns

    def _stored(self, path: str, values: Any) -> Any:
        stored = np.asarray(values).astype(self._dtype)
        if not np.array_equal(stored.astype(np.float64), values):
            raise DataError(
                f"values cannot be stored exactly as {self._dtype}",
                where=(str(self.path), path),
                fix='use dtype="float64"',
            )
        return stored

    def _create(self, path: str, column: Any) -> None:
        row = max(1, column[:1].nbytes)
        dataset = self._file.create_dataset(
            path,
            shape=(0, *column.shape[1:]),
            maxshape=(None, *column.shape[1:]),
            dtype=column.dtype,
            chunks=(max(1, min(CHUNK_BYTES // row, 65536)), *column.shape[1:]),
            compression="gzip",
            compression_opts=6,
            shuffle=True,
            fletcher32=True,
            track_times=False,
        )
        name = path.rpartition("/")[2]
        if path == X or path.startswith(f"{INPUTS}/"):
            if name in self._types:
                dataset.attrs["type"] = str(self._types[name])
            dataset.attrs["scale"] = 1.0
            dataset.attrs["units"] = self._units.get(name, "")
        if path == "label" and self._classes:
            dataset.attrs["classes"] = np.array([c.encode() for c in self._classes])

    def _error(self, error: BaseException) -> DataError:
        if hasattr(self, "_disk") and self._disk.failure is not None:
            error = self._disk.failure
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        text = str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)
        what = f"cannot write the file: {text.splitlines()[0][:200]}"
        if full:
            what = "the disk is full; nothing was written"
        return DataError(what, where=(str(self.path),), fix="free some disk space" if full else None)
