# SPDX-License-Identifier: Apache-2.0
"""Reading HDF5 from an untrusted source: bounded, and never outside of the file.

What is said here is checked before libhdf5 acts on it.  Against crafted *metadata* libhdf5 itself is not safe
(about one in two thousand random changes of a file's inner structure crashes it or makes it hang).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends.common import MAX_BYTES, MAX_LAYERS, parsing

MAGIC = b"\x89HDF\r\n\x1a\n"

MAX_NESTING = 16
MAX_NAMES = 16 * MAX_LAYERS


class Group:
    """A group of an HDF5 file.  Links to other places or files are refused, not followed."""

    def __init__(self, handle: Any, source: str, budget: list[int]) -> None:
        self._handle, self._source, self._budget = handle, source, budget

    def names(self) -> list[str]:
        """Names of the members."""
        if len(self._handle) > MAX_LAYERS:
            raise self._error(f"group {self._path!r} has {len(self._handle)} members")
        return [name for name in self._handle if isinstance(name, str)]

    def group(self, path: str) -> Group:
        """Return the group at ``path`` below this one."""
        handle = self._walk(path)
        if not isinstance(handle, h5py.Group):
            raise self._error(f"{path!r} in {self._path!r} is not a group")
        return Group(handle, self._source, self._budget)

    def has_group(self, path: str) -> bool:
        """Tell whether there is a group at ``path`` below this one."""
        return isinstance(self._find(path), h5py.Group)

    def array(self, path: str) -> np.ndarray:
        """Read the numbers of the dataset at ``path`` below this group.

        Raises:
            ModelError: it is absent, no array of real numbers, too large, or kept outside of the file.
        """
        handle = self._walk(path)
        place = f"dataset {path!r} in {self._path!r}"
        if not isinstance(handle, h5py.Dataset):
            raise self._error(f"{place} is not a dataset")
        if handle.external or handle.is_virtual:
            raise self._error(f"{place} keeps its data in another file", "store the data in the file itself")
        if handle.shape is None or handle.dtype.kind not in "fiu":
            raise self._error(f"{place} holds no real numbers (type {handle.dtype})")
        self._budget[0] -= int(handle.size) * int(handle.dtype.itemsize)
        if self._budget[0] < 0:
            raise self._error(
                f"{place} has the shape {handle.shape}: more than {MAX_BYTES >> 20} MiB of weights"
            )
        return np.asarray(handle[()])

    def arrays(self) -> list[tuple[str, np.ndarray]]:
        """Read all datasets below this group, with their paths; order of the file's index."""
        return [(path, self.array(path)) for path in self._datasets("", MAX_NESTING)]

    def text(self, key: str) -> str | None:
        """Return a text attribute, or None where it is absent."""
        if key not in self._handle.attrs:
            return None
        return _text(self._handle.attrs[key])

    def texts(self, key: str) -> list[str] | None:
        """Return a list-of-names attribute; Keras splits long ones into ``key0``, ``key1``, ..."""
        attrs = self._handle.attrs
        if key in attrs:
            return [_text(name) for name in np.ravel(attrs[key])]
        names: list[str] = []
        part = 0
        while f"{key}{part}" in attrs and len(names) < MAX_NAMES:
            names += [_text(name) for name in np.ravel(attrs[f"{key}{part}"])]
            part += 1
        return names if part else None

    @property
    def _path(self) -> str:
        return str(self._handle.name)

    def _error(self, what: str, fix: str | None = None) -> ModelError:
        return ModelError(what, where=(self._source,), fix=fix)

    def _walk(self, path: str) -> Any:
        handle = self._find(path)
        if handle is None:
            raise self._error(f"{path!r} is missing in {self._path!r}")
        return handle

    def _find(self, path: str) -> Any:
        handle = self._handle
        for part in path.strip("/").split("/"):
            # Asked of the link itself: h5py's own ``in`` and ``get`` would already open the file behind it.
            links = handle.id.links if isinstance(handle, h5py.Group) else None
            if links is None or not part or not links.exists(part.encode()):
                return None
            if links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
                raise self._error(
                    f"{part!r} in {handle.name!r} is a link to another place; links are not followed",
                    "store the data in the file itself",
                )
            handle = handle[part]
        return handle

    def _datasets(self, below: str, levels: int) -> Iterator[str]:
        group = self.group(below) if below else self
        for name in group.names():
            path = f"{below}/{name}" if below else name
            if not self.has_group(path):
                yield path
            elif levels:
                yield from self._datasets(path, levels - 1)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, str):
        value.encode("utf-8")  # h5py gives bytes that are no text as lone surrogates: refused here
        return value
    raise ValueError(f"an attribute holds {type(value).__name__} where a text is expected")


@contextmanager
def opened(data: bytes, source: str) -> Iterator[Group]:
    """Open an HDF5 file held in memory; everything that goes wrong inside becomes a `ModelError`."""
    with parsing("the HDF5 file", source), h5py.File(io.BytesIO(data), "r") as file:
        yield Group(file, source, [MAX_BYTES])
