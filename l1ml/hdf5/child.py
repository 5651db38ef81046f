# SPDX-License-Identifier: Apache-2.0
"""Reads HDF5 files, each in a process of its own; run as a script by `l1ml.hdf5.reader`, imports nothing of l1ml.

libhdf5 is not safe against crafted metadata: about one in two thousand random changes of a file's inner
structure crashes it or makes it hang.  Here that ends a process that holds nothing but this file.

The process that is started imports h5py once, then waits for files on the socket whose number is its argument.
One byte with two descriptors, a file and a socket, is one file: the process forks, and the copy answers requests
about the file on that socket until the other side closes it.

A request is 8 bytes of length and JSON, the answer 8 bytes of length and JSON, 8 bytes of length and numbers:

    {"do": "look", "path": ...}                      what is there: a group, a dataset, or why it is not followed
    {"do": "rows", "path": ..., "first", "stop"}     numbers of a dataset
    {"do": "tree", "budget": ...}                    everything: groups, attributes, all numbers
"""

from __future__ import annotations

import io
import json
import math
import os
import resource
import signal
import socket
import sys
from typing import Any, NoReturn

# Before the import of h5py: code beside the library that unpacks data is never loaded, and one thread is enough.
os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import h5py
import numpy as np

MEMORY_BYTES = 4 << 30
MAX_NODES = 200_000
MAX_DEPTH = 20
MAX_TEXT = 64 << 20
MAX_LINKS = 32
MAX_MEMBERS = 100_000
FILTERS = {
    h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_SZIP,
    h5py.h5z.FILTER_NBIT, h5py.h5z.FILTER_SCALEOFFSET, h5py.h5z.FILTER_LZF,
}  # fmt: skip
"""What the library and h5py unpack themselves."""

Node = dict[str, Any]
Values = np.ndarray[Any, Any]


class _Bytes(io.RawIOBase):
    """The file as HDF5 sees it.  What lies behind its end is zero, as for a file that the library opens itself."""

    def __init__(self, handle: int) -> None:
        super().__init__()
        self.handle, self.at = handle, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: os.fstat(self.handle).st_size}[whence]
        self.at = base + offset
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (count := os.preadv(self.handle, [view[done:]], self.at + done)):
            done += count
        view[done:] = bytes(len(view) - done)
        self.at += len(view)
        return len(view)


class _Content:
    """An open file, turned into plain values."""

    def __init__(self, handle: int) -> None:
        self.file = h5py.File(_Bytes(handle), "r")
        self.known: dict[str, Any] = {}
        self.nodes, self.text = 0, MAX_TEXT
        self.budget = 0
        self.blobs: list[Values] = []
        self.offset = 0

    # --- requests

    def look(self, path: str) -> Node:
        """Return what is at a path: a group with the names of its members, a dataset, or why neither."""
        self.nodes, self.text = 0, MAX_TEXT
        handle, problem = self.resolve(path)
        if handle is None:
            return problem
        if isinstance(handle, h5py.Group):
            count = len(handle)
            names = [name for name in handle if isinstance(name, str)] if count <= MAX_MEMBERS else []
            return {"kind": "group", "count": count, "members": names, "attrs": self.attributes(handle)}
        if not isinstance(handle, h5py.Dataset):
            return {"kind": "refused", "why": "is neither a group nor a dataset"}
        node = self.dataset(handle)
        if node["kind"] == "dataset":
            self.known[path] = handle
        return node

    def rows(self, path: str, first: int, stop: int) -> Values:
        """Return the rows ``first`` to ``stop`` (not included) of a dataset that `look` allows to read."""
        if path not in self.known and self.look(path)["kind"] != "dataset":
            raise ValueError("not a dataset that is read")
        values = _plain(self.known[path][first:stop])
        if len(values) != stop - first:
            raise ValueError(f"{len(values)} rows instead of {stop - first}")
        return values

    def tree(self, budget: int) -> Node:
        """Return the whole file; the numbers of its datasets are in ``blobs``, one after the other."""
        self.nodes, self.text, self.budget = 0, MAX_TEXT, budget
        self.blobs, self.offset = [], 0
        return self.group(self.file, 0)

    # --- the parts of a file

    def resolve(self, path: str) -> tuple[Any, Node]:
        """Follow a path, and links inside of the file; never a link out of it."""
        parts = [part for part in path.split("/") if part]
        here: list[str] = []
        at, links = self.file, 0
        while parts:
            part = parts.pop(0)
            here.append(part)
            place = "/".join(here)
            name = part.encode("utf-8", "surrogateescape")
            if not isinstance(at, h5py.Group) or not at.id.links.exists(name):
                return None, {"kind": "nowhere", "at": place, "link": links > 0}
            # Asked of the link itself: h5py's own ``in`` and ``get`` would already open the file behind it.
            info = at.id.links.get_info(name)
            if info.type == h5py.h5l.TYPE_HARD:
                at = at[part]
            elif info.type == h5py.h5l.TYPE_SOFT and links < MAX_LINKS:
                links += 1
                target = at.id.links.get_val(name).decode("utf-8", "surrogateescape")
                ahead = [step for step in target.split("/") if step not in ("", ".")]
                if target.startswith("/"):
                    at, here = self.file, []
                else:
                    here.pop()
                parts = ahead + parts
            else:
                return None, {"kind": "link", "at": place}
        return at, {}

    def group(self, handle: Any, depth: int) -> Node:
        """Return a group with everything below it; links are named, not followed."""
        out: Node = {"kind": "group", "attrs": self.attributes(handle), "members": {}}
        if depth > MAX_DEPTH:
            return {"kind": "refused", "why": f"groups nested more than {MAX_DEPTH} deep"}
        for name in handle:
            self.nodes += 1
            if self.nodes > MAX_NODES:
                raise ValueError(f"more than {MAX_NODES} members")
            if not isinstance(name, str):
                continue
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
                out["members"][name] = self.stored(member)
            else:
                out["members"][name] = {"kind": "refused", "why": "neither a group nor a dataset"}
        return out

    def stored(self, handle: Any) -> Node:
        """Return a dataset with the place of its numbers in the blobs, or why they are not read."""
        node = self.dataset(handle)
        if node["kind"] != "dataset":
            return node
        if handle.dtype.kind == "b":
            return _refused(handle)
        size = int(handle.size) * int(handle.dtype.itemsize)
        self.budget -= size
        if self.budget < 0:
            return {"kind": "large", "shape": node["shape"]}
        values = _plain(handle[()])
        self.blobs.append(values)
        start, self.offset = self.offset, self.offset + values.nbytes
        return node | {"dtype": values.dtype.str, "at": start, "bytes": values.nbytes}

    def dataset(self, handle: Any) -> Node:
        """Return what a dataset is, or why its numbers are not read."""
        if handle.external or handle.is_virtual:
            return {"kind": "outside"}
        kind = handle.dtype
        if handle.shape is None or kind.kind not in "fiub" or kind.itemsize > 8 or kind.subdtype:
            return _refused(handle)
        plist = handle.id.get_create_plist()
        filters = [plist.get_filter(number) for number in range(plist.get_nfilters())]
        strange = [
            f"{code} {name.decode('utf-8', 'replace')}" for code, *_, name in filters if code not in FILTERS
        ]
        if strange:
            return {
                "kind": "refused",
                "why": f"is packed by the filter {strange[0]:.60}",
                "fix": "pack it by gzip",
            }
        return {
            "kind": "dataset",
            "shape": [int(n) for n in handle.shape],
            "dtype": kind.newbyteorder("<").str,
            "chunks": None if handle.chunks is None else [int(n) for n in handle.chunks],
            "attrs": self.attributes(handle),
        }

    def attributes(self, handle: Any) -> Node:
        """Return the attributes that are texts, lists of texts or a number; of others only the type."""
        out: Node = {}
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
                if isinstance(value, np.integer | np.floating) and value.dtype.itemsize <= 8:
                    out[key]["number"] = value.item()
        return out

    def word(self, value: Any) -> Node:
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


def _refused(handle: Any) -> Node:
    held = "text or Python objects" if handle.dtype.kind == "O" else f"type {handle.dtype}"
    return {"kind": "refused", "why": f"holds no real numbers ({held:.150})"}


def _plain(values: Any) -> Values:
    """Return numbers in one piece of memory, little-endian."""
    out = np.ascontiguousarray(values)
    return out.astype(out.dtype.newbyteorder("<"), copy=False)


def _answer(content: _Content, request: Node) -> tuple[Node, list[Values]]:
    """Return what a request asks for, and numbers."""
    if request["do"] == "look":
        return content.look(request["path"]), []
    if request["do"] == "rows":
        return {"kind": "rows"}, [content.rows(request["path"], request["first"], request["stop"])]
    return content.tree(request["budget"]), content.blobs


def _reason(error: Exception) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error  # str() would quote it
    return " ".join(str(text).split())[:300] or type(error).__name__


def _limit(kind: int, most: int) -> None:
    """Set a limit of this process, within the one that the user or a batch system has set."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _limit_time(seconds: float) -> None:
    """End this process if it computes longer than ``seconds`` from now, or does nothing for three times as long."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + seconds))
    signal.setitimer(signal.ITIMER_REAL, 3 * seconds)


def serve(handle: int, channel: socket.socket) -> None:
    """Answer requests about one file until the other side closes the channel."""
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, 0)
    stream = channel.makefile("rb")
    content: _Content | None = None
    channel.sendall(b".")
    while len(size := stream.read(8)) == 8:
        request = json.loads(stream.read(int.from_bytes(size, "little")))
        _limit_time(request["seconds"])
        values: list[Values] = []
        try:
            content = content or _Content(handle)
            node, values = _answer(content, request)
        except Exception as error:  # noqa: BLE001  h5py raises almost everything for a damaged file
            node = {"kind": "damaged", "why": _reason(error)}
        signal.setitimer(signal.ITIMER_REAL, 0)
        text_bytes = json.dumps(node).encode()
        channel.sendall(len(text_bytes).to_bytes(8, "little") + text_bytes)
        channel.sendall(sum(v.nbytes for v in values).to_bytes(8, "little"))
        for part in values:
            channel.sendall(part.reshape(-1).view(np.uint8).data)


def main() -> NoReturn:
    """Fork for every file that comes, until nobody is left to send one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the user's business with the other process
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the copies
    _limit(resource.RLIMIT_CORE, 0)
    control = socket.socket(fileno=int(sys.argv[1]))
    while True:
        word, handles, _, _ = socket.recv_fds(control, 1, 2)
        if not word:
            sys.exit(0)
        if len(handles) == 2 and os.fork() == 0:
            control.close()
            try:
                serve(handles[0], socket.socket(fileno=handles[1]))
            finally:
                os._exit(0)
        for handle in handles:
            os.close(handle)


if __name__ == "__main__":
    main()
