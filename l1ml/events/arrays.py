# SPDX-License-Identifier: Apache-2.0
"""Reads the first events of arrays in NumPy's own files, ``.npy`` and ``.npz``; never objects, never a file whole.

The header is read apart from the numbers: what it promises is checked before anything is allocated.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from l1ml.errors import DataError
from l1ml.events.schema import MAX_BATCH_BYTES, MAX_DATASETS, X

SUFFIXES = (".npy", ".npz")
_DAMAGE = (
    OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, NotImplementedError, RuntimeError, OverflowError,
    MemoryError, RecursionError, AttributeError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What zipfile and NumPy raise for a damaged file."""


def read(path: Path, most: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of a file by name, each cut to its first events; a ``.npy`` file has the array ``x``.

    Args:
        path: the file.
        most: events that are read.

    Raises:
        DataError: the file is damaged, too large, or holds something else than numbers.
    """
    try:
        with path.open("rb") as file:
            if path.suffix == ".npy":
                return {X: _array(file, most, (str(path),))}
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                if len(names) > MAX_DATASETS:
                    _fail(f"{len(names)} arrays, at most {MAX_DATASETS} are read", (str(path),))
                found = {}
                for name in names:
                    with archive.open(name) as member:
                        found[name.removesuffix(".npy")] = _array(member, most, (str(path), name))
                return found
    except _DAMAGE as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(
            f"cannot be read: {reason}", where=(str(path),), fix="save the arrays again"
        ) from None


def _array(file: IO[bytes], most: int, where: tuple[str, ...]) -> np.ndarray[Any, Any]:
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = header(file)
    if kind.kind not in "iufb":
        _fail(f"holds {kind}, numbers are expected", where)
    if not shape:
        _fail("is a single number, expected (events, ...)", where)
    # Events of an array in Fortran order lie apart from each other: it is read whole.
    events = shape[0] if fortran else min(shape[0], most)
    size = events * math.prod(shape[1:]) * kind.itemsize
    if min(shape) < 0 or size > MAX_BATCH_BYTES:
        _fail(f"{shape} {kind} is more than {MAX_BATCH_BYTES >> 20} MiB", where)
    data = file.read(size)
    if len(data) < size:
        _fail("the file is cut off before its end", where)
    values: np.ndarray[Any, Any] = np.frombuffer(data, kind)
    columns = values.reshape(tuple(reversed(shape))).T if fortran else values.reshape((events, *shape[1:]))
    return columns[:most]


def _fail(what: str, where: tuple[str, ...]) -> NoReturn:
    raise DataError(what, where=where, fix="save plain arrays with numpy.save or numpy.savez")
