# SPDX-License-Identifier: Apache-2.0
"""Names, limits and checks that reader and writer of event files share.

An event file is HDF5 with the root attribute ``l1ml_schema`` and

    x  or  inputs/<name>   numbers (events, *shape); attributes type, scale, units
    bx                     uint16 (events,), 0..3563                              optional
    orbit                  uint32 or uint64 (events,)                             optional
    golden/<output>        the framework's own outputs (events, *shape)           optional
    emulated/<output>      what `l1ml emulate` found; nothing is compared with it  optional
    label                  whole numbers (events,); attribute classes             optional

``type`` is ``fixed<W,I>`` or ``ufixed<W,I>``: every value must lie on its grid and in its range.
``scale`` (default 1) multiplies the stored numbers, so a file may hold integer codes with scale 2**-frac.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from l1ml.errors import DataError
from l1ml.types.arrays import IntArray, RealArray
from l1ml.types.fixed import FixedType

SCHEMA = "l1ml-events/1"
SCHEMA_FAMILY = "l1ml-events/"
X = "x"
INPUTS = "inputs"
GOLDEN = "golden"
EMULATED = "emulated"
MAX_ELEMENTS = 1 << 22
"""Elements of one event."""
MAX_CHUNK_BYTES = 1 << 28
"""Bytes of one HDF5 chunk: it is unpacked as a whole."""
MAX_BATCH_BYTES = 1 << 29
"""Bytes of the values of the events that are read at a time."""
MAX_UNPACKED_BYTES = 1 << 32
MAX_UNPACKED_RATIO = 1 << 12
"""A file may unpack to so many bytes, and so many times its own size more; gzip packs 1,000 times at best."""
MAX_DATASETS = 1000


@dataclass(frozen=True, slots=True)
class Column:
    """What a file says about one input or golden output.

    Args:
        name: of the input or output.
        path: HDF5 path.
        shape: of one event.
        type: grid and range of the values; None if the file declares none.
        scale: factor from stored number to value.
        units: for people.
    """

    name: str
    path: str
    shape: tuple[int, ...]
    type: FixedType | None = None
    scale: float = 1.0
    units: str = ""


def check_values(values: RealArray, kind: FixedType | None, *, first: int, where: tuple[str, ...]) -> None:
    """Refuse values that are not finite or not on the grid of their type.

    Args:
        values: (events, *shape).
        kind: declared type; None checks for finite values only.
        first: number of the first event, for the message.
        where: file and dataset.

    Raises:
        DataError: names the first bad event, its element and value, and how many are bad.
    """
    finite = np.isfinite(values)
    if not finite.all():
        raise DataError(
            f"{_first_bad(~finite, values, first)} is not finite", where=where, fix="remove or replace it"
        )
    if kind is None:
        return
    codes = np.ldexp(values, kind.frac)
    outside = (codes < kind.lo) | (codes > kind.hi)
    if outside.any():
        lsb = 2.0**-kind.frac
        raise DataError(
            f"{_first_bad(outside, values, first)} is outside {kind} ({kind.lo * lsb:g}..{kind.hi * lsb:g})",
            where=where,
            fix="quantize the sample, or declare its real type",
        )
    off = codes != np.rint(codes)
    if off.any():
        raise DataError(
            f"{_first_bad(off, values, first)} is off the grid of {kind} (LSB {2.0**-kind.frac:g})",
            where=where,
            fix="quantize the sample, or declare its real type",
        )


def _first_bad(bad: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], values: RealArray, first: int) -> str:
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    element = f" element {list(index[1:])}" if index[1:] else ""
    count = int(np.count_nonzero(bad))
    more = f" (one of {count} such values)" if count > 1 else ""
    return f"value {float(values[index])!r} of event {first + index[0]}{element}{more}"


def to_codes(values: RealArray, kind: FixedType) -> IntArray:
    """Return the integer codes of values that are known to lie on the grid of ``kind``."""
    return np.rint(np.ldexp(values, kind.frac)).astype(np.int64)
