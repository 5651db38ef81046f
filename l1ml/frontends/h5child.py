# SPDX-License-Identifier: Apache-2.0
"""Reads HDF5 files in a process of its own; run as a script by `l1ml.frontends.h5reader`, imports nothing of l1ml.

libhdf5 is not safe against crafted metadata: about one in two thousand random changes of a file's inner
structure crashes it or makes it hang.  Here that ends this process, not the user's.

Protocol, on standard input and output: a request is 8 bytes of length and the file; the answer is 8 bytes
of length and a JSON tree, then 8 bytes of length and the numbers of all datasets, one after the other.
"""

from __future__ import annotations

import io
import json
import resource
import sys
from typing import Any, BinaryIO

import h5py
import numpy as np

MEMORY_BYTES = 4 << 30
CPU_SECONDS = 30
"""For one file: a library that loops must end even where nobody is left to end it."""

MAX_NODES = 200_000
MAX_DEPTH = 20
MAX_TEXT = 64 << 20


class _Walk:
    """Turns one file into a tree of plain values."""

    def __init__(self, budget: int) -> None:
        self.budget, self.nodes, self.text = budget, 0, MAX_TEXT
        self.blobs: list[bytes] = []
        self.offset = 0

    def group(self, handle: Any, depth: int) -> dict[str, Any]:
        """Return ``{"kind": "group", "attrs": ..., "members": ...}``."""
        out: dict[str, Any] = {"kind": "group", "attrs": self.attributes(handle), "members": {}}
        if depth > MAX_DEPTH:
            return {"kind": "refused", "why": f"groups nested more than {MAX_DEPTH} deep"}
        for name in handle:
            self.nodes += 1
            if self.nodes > MAX_NODES:
                raise ValueError(f"more than {MAX_NODES} members")
            if not isinstance(name, str):
                continue
            # Asked of the link itself: h5py's own ``in`` and ``get`` would already open the file behind it.
            info = handle.id.links.get_info(name.encode("utf-8", "surrogateescape"))
            if info.type != h5py.h5l.TYPE_HARD:
                out["members"][name] = {"kind": "link"}
                continue
            member = handle[name]
            if isinstance(member, h5py.Group):
                # What training left behind is not needed, and may be as large as the weights.
                skip = depth == 0 and name == "optimizer_weights"
                out["members"][name] = (
                    {"kind": "group", "attrs": {}, "members": {}} if skip else self.group(member, depth + 1)
                )
            elif isinstance(member, h5py.Dataset):
                out["members"][name] = self.dataset(member)
            else:
                out["members"][name] = {"kind": "refused", "why": "neither a group nor a dataset"}
        return out

    def dataset(self, handle: Any) -> dict[str, Any]:
        """Return the place of the numbers in the blob, or why they are not read."""
        if handle.external or handle.is_virtual:
            return {"kind": "outside"}
        if handle.shape is None or handle.dtype.kind not in "fiu" or handle.dtype.itemsize > 8:
            return {"kind": "refused", "why": f"holds no real numbers (type {handle.dtype})"[:200]}
        size = int(handle.size) * int(handle.dtype.itemsize)
        self.budget -= size
        if self.budget < 0:
            return {"kind": "large", "shape": [int(n) for n in handle.shape]}
        values = np.ascontiguousarray(handle[()])
        values = values.astype(values.dtype.newbyteorder("<"))
        blob = values.tobytes()
        self.blobs.append(blob)
        start, self.offset = self.offset, self.offset + len(blob)
        return {
            "kind": "dataset",
            "shape": [int(n) for n in handle.shape],
            "dtype": values.dtype.str,
            "at": start,
            "bytes": len(blob),
        }

    def attributes(self, handle: Any) -> dict[str, Any]:
        """Return the attributes that are texts or lists of texts; of others only the type."""
        out: dict[str, Any] = {}
        for key in handle.attrs:
            self.nodes += 1
            if self.nodes > MAX_NODES or not isinstance(key, str):
                raise ValueError("too many attributes")
            try:
                value = handle.attrs[key]
            except (OSError, TypeError, ValueError, RuntimeError, KeyError, MemoryError, OverflowError):
                out[key] = {"other": "damaged"}
                continue
            if isinstance(value, str | bytes):
                out[key] = self.word(value)
            elif isinstance(value, np.ndarray) and not value.size:
                out[key] = {"list": []}
            elif isinstance(value, np.ndarray) and value.size <= MAX_NODES and value.dtype.kind in "SOU":
                out[key] = {"list": [self.word(v) for v in np.ravel(value).tolist()]}
            else:
                out[key] = {"other": type(value).__name__}
        return out

    def word(self, value: Any) -> dict[str, Any]:
        """Return one text, or what stands in its place."""
        if isinstance(value, bytes):
            try:
                value = value.decode("utf-8")
            except UnicodeDecodeError:
                return {"other": "bytes that are no text"}
        if not isinstance(value, str):
            return {"other": type(value).__name__}
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return {"other": "bytes that are no text"}
        self.text -= len(value)
        if self.text < 0:
            raise ValueError("too much text")
        return {"text": value}


def _answer(data: bytes, budget: int) -> tuple[bytes, bytes]:
    walk = _Walk(budget)
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            tree = walk.group(file, 0)
    except Exception as error:  # noqa: BLE001  h5py raises almost everything for a damaged file
        tree, walk.blobs = {"kind": "damaged", "why": f"{type(error).__name__}: {error}"[:300]}, []
    return json.dumps(tree).encode(), b"".join(walk.blobs)


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        sys.exit(0)
    return data


def main() -> None:
    """Answer requests until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    stream, out = sys.stdin.buffer, sys.stdout.buffer
    while True:
        budget = int.from_bytes(_read(stream, 8), "little")
        data = _read(stream, int.from_bytes(_read(stream, 8), "little"))
        used = resource.getrusage(resource.RUSAGE_SELF)
        end = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))
        for part in _answer(data, budget):
            out.write(len(part).to_bytes(8, "little"))
            out.write(part)
        out.flush()


if __name__ == "__main__":
    main()
