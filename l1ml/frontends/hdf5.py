# SPDX-License-Identifier: Apache-2.0
"""HDF5 files from an untrusted source: bounded, never outside of the file, parsed in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends.common import MAX_BYTES, MAX_LAYERS, parsing
from l1ml.hdf5.reader import File, HDF5Error

MAGIC = b"\x89HDF\r\n\x1a\n"

MAX_NESTING = 16
MAX_NAMES = 16 * MAX_LAYERS


class Group:
    """A group of an HDF5 file.  Links to other places or files are refused, not followed.

    Args:
        node: the group as `l1ml.hdf5.reader` gives it.
        path: where it is in the file.
        source: name of the file, for messages.
        blob: the numbers of all datasets.
    """

    def __init__(self, node: dict[str, Any], path: str, source: str, blob: bytes) -> None:
        self._node, self._path, self._source, self._blob = node, path, source, blob

    def names(self) -> list[str]:
        """Names of the members."""
        members = self._node["members"]
        if len(members) > MAX_LAYERS:
            raise self._error(f"group {self._path!r} has {len(members)} members")
        return list(members)

    def group(self, path: str) -> Group:
        """Return the group at ``path`` below this one."""
        node = self._walk(path)
        if node["kind"] != "group":
            raise self._error(f"{path!r} in {self._path!r} is not a group")
        return Group(node, f"{self._path.rstrip('/')}/{path.strip('/')}", self._source, self._blob)

    def has_group(self, path: str) -> bool:
        """Tell whether there is a group at ``path`` below this one."""
        node = self._find(path)
        return node is not None and node["kind"] == "group"

    def array(self, path: str) -> np.ndarray:
        """Return the numbers of the dataset at ``path`` below this group.

        Raises:
            ModelError: it is absent, no array of real numbers, too large, or kept outside of the file.
        """
        node = self._walk(path)
        place = f"dataset {path!r} in {self._path!r}"
        kind = node["kind"]
        if kind == "outside":
            raise self._error(f"{place} keeps its data in another file", "store the data in the file itself")
        if kind == "large":
            raise self._error(
                f"{place} has the shape {tuple(node['shape'])}: more than {MAX_BYTES >> 20} MiB of weights"
            )
        if kind == "refused":
            raise self._error(f"{place} {node['why']}")
        if kind != "dataset":
            raise self._error(f"{place} is not a dataset")
        blob = self._blob[node["at"] : node["at"] + node["bytes"]]
        return np.frombuffer(blob, dtype=np.dtype(node["dtype"])).reshape(node["shape"]).copy()

    def arrays(self) -> list[tuple[str, np.ndarray]]:
        """Read all datasets below this group, with their paths; order of the file's index."""
        return [(path, self.array(path)) for path in self._datasets("", MAX_NESTING)]

    def text(self, key: str) -> str | None:
        """Return a text attribute, or None where it is absent."""
        value = self._node["attrs"].get(key)
        return None if value is None else _text(value)

    def texts(self, key: str) -> list[str] | None:
        """Return a list-of-names attribute; Keras splits long ones into ``key0``, ``key1``, ..."""
        attrs = self._node["attrs"]
        if key in attrs:
            return _texts(attrs[key])
        names: list[str] = []
        part = 0
        while f"{key}{part}" in attrs and len(names) < MAX_NAMES:
            names += _texts(attrs[f"{key}{part}"])
            part += 1
        return names if part else None

    def _error(self, what: str, fix: str | None = None) -> ModelError:
        return ModelError(what, where=(self._source,), fix=fix)

    def _walk(self, path: str) -> dict[str, Any]:
        node = self._find(path)
        if node is None:
            raise self._error(f"{path!r} is missing in {self._path!r}")
        return node

    def _find(self, path: str) -> dict[str, Any] | None:
        node, place = self._node, self._path
        for part in path.strip("/").split("/"):
            members = node.get("members")
            if members is None or part not in members:
                return None
            node = members[part]
            if node["kind"] == "link":
                raise self._error(
                    f"{part!r} in {place!r} is a link to another place; links are not followed",
                    "store the data in the file itself",
                )
            place = f"{place.rstrip('/')}/{part}"
        return node

    def _datasets(self, below: str, levels: int) -> Iterator[str]:
        group = self.group(below) if below else self
        for name in group.names():
            path = f"{below}/{name}" if below else name
            if not self.has_group(path):
                yield path
            elif levels:
                yield from self._datasets(path, levels - 1)


def _text(value: dict[str, Any]) -> str:
    if "text" in value:
        return str(value["text"])
    raise ValueError(f"an attribute holds {value.get('other', 'a list')} where a text is expected")


def _texts(value: dict[str, Any]) -> list[str]:
    return [_text(item) for item in value["list"]] if "list" in value else [_text(value)]


@contextmanager
def opened(data: bytes, source: str) -> Iterator[Group]:
    """Open an HDF5 file held in memory; everything that goes wrong inside becomes a `ModelError`."""
    with parsing("the HDF5 file", source):
        try:
            with File.of(data) as file:
                tree, blob = file.tree(MAX_BYTES)
        except HDF5Error as error:
            raise ModelError(
                f"cannot read the HDF5 file: {error}", where=(source,), fix="save the model again"
            ) from None
        yield Group(tree, "/", source, blob)
