# SPDX-License-Identifier: Apache-2.0
"""The side of the user's process: gives a file to a process of its own, asks what it holds, takes numbers back."""

from __future__ import annotations

import atexit
import errno
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from l1ml.errors import ToolError

SECONDS = 20
"""For one answer: of computing; three times as long where the process waits, for a slow disk."""
START_SECONDS = 60
PIECE_BYTES = 32 << 20
"""Numbers are asked for in pieces of about this size..."""
MOST_PIECE_BYTES = 512 << 20
"""...or larger ones, where the file is packed in larger chunks."""
MAX_TEXT_BYTES = 512 << 20

Node = dict[str, Any]
_CHILD = Path(__file__).with_name("child.py")


class HDF5Error(Exception):
    """A file that cannot be read; the text says why, without the name of the file."""


class _Server:
    """The process that has h5py loaded and forks for every file; started when the first file comes."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lock = threading.Lock()

    def connect(self, handle: int) -> socket.socket:
        """Return the channel to a new process that has the file open.

        Raises:
            ToolError: no process can be started.
        """
        for _ in range(2):  # the server itself may have been ended by someone
            mine, theirs = socket.socketpair()
            with theirs:
                try:
                    control = self._started()
                    socket.send_fds(control, [b"."], [handle, theirs.fileno()])
                except OSError:
                    mine.close()
                    self.close()
                    continue
            mine.settimeout(START_SECONDS)
            try:
                if mine.recv(1):
                    return mine
            except OSError:
                pass
            mine.close()
            self.close()
        raise ToolError(
            "the process that reads HDF5 files does not start",
            where=(str(_CHILD),),
            fix=f"see what {sys.executable} -c 'import h5py' says, and whether processes or memory are limited",
        )

    def _started(self) -> socket.socket:
        with self._lock:
            if self._control is None or self._process is None or self._process.poll() is not None:
                self._end()
                mine, theirs = socket.socketpair()
                with theirs:
                    self._process = subprocess.Popen(
                        [sys.executable, str(_CHILD), str(theirs.fileno())], pass_fds=[theirs.fileno()],
                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    )  # fmt: skip
                self._control = mine
            return self._control

    def close(self) -> None:
        """End the process; those of open files end with their channels."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._control = None

    def forget(self) -> None:
        """After a fork of the user's process: the server belongs to the other one."""
        self._lock = threading.Lock()
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.returncode = 0  # not ours to wait for
        self._process = self._control = None


_SERVER = _Server()
atexit.register(_SERVER.close)
os.register_at_fork(after_in_child=_SERVER.forget)


class File:
    """A file that is read by a process of its own; use it as a context manager.

    Args:
        handle: open descriptor, taken over.

    Attributes:
        size: bytes of the file.

    Its methods may be called by several threads, and after a fork by both processes.  What is asked of it raises
    `ToolError` where no process can be started.
    """

    def __init__(self, handle: int) -> None:
        self._handle, self._lock = handle, threading.Lock()
        self._channel: socket.socket | None = None
        self._owner = os.getpid()
        self._closer = weakref.finalize(self, os.close, handle)
        self.size = os.fstat(handle).st_size

    @classmethod
    def at(cls, path: Path) -> File:
        """Open a file on disk.

        Raises:
            OSError: there is none, or it is something else.
        """
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would block
        kind = os.fstat(handle).st_mode
        if not stat.S_ISREG(kind):
            os.close(handle)
            raise (
                OSError(errno.EISDIR, "is a directory")
                if stat.S_ISDIR(kind)
                else OSError(errno.EINVAL, "is no file")
            )
        return cls(handle)

    @classmethod
    def of(cls, data: bytes) -> File:
        """Take a file that is in memory."""
        if hasattr(os, "memfd_create"):
            handle = os.memfd_create("l1ml-hdf5")
        else:
            with tempfile.TemporaryFile(prefix="l1ml-") as unnamed:
                handle = os.dup(unnamed.fileno())
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        return cls(handle)

    def __enter__(self) -> File:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and end its process."""
        with self._lock:
            self._hang_up()
            self._closer()

    def look(self, path: str) -> Node:
        """Return what is at a path.

        Returns:
            ``kind`` is ``group`` (with ``count``, ``members``, ``attrs``), ``dataset`` (``shape``, ``dtype``,
            ``chunks``, ``attrs``), ``outside`` (a dataset with its data in other files), ``link`` (out of the file),
            ``nowhere`` or ``refused`` (``why``).  An attribute is a mapping with ``text``, ``list`` or ``number``,
            or else ``other``, the name of its type.

        Raises:
            HDF5Error: the file is damaged.
        """
        return self._ask({"do": "look", "path": path})[0]

    def rows(self, path: str, node: Node, first: int, stop: int) -> np.ndarray[Any, Any]:
        """Return rows ``first`` to ``stop`` (not included) of a dataset.

        Args:
            path: of the dataset.
            node: what `look` gave for it.
            first: row of the first axis.
            stop: behind the last row.

        Raises:
            HDF5Error: the file is damaged, or the numbers do not fit in memory.
        """
        kind = np.dtype(node["dtype"])
        stop = max(first, stop)
        shape = (stop - first, *node["shape"][1:])
        try:
            out = np.empty(shape, kind)
        except (MemoryError, ValueError):
            raise HDF5Error(f"numbers of the shape {shape} do not fit in memory") from None
        if not out.size:
            return out
        step, align = _steps(out.nbytes // len(out), node["chunks"])
        low = first
        while low < stop:
            high = min(stop, low - low % align + step)
            piece = out[low - first : high - first].reshape(-1).view(np.uint8).data
            self._ask({"do": "rows", "path": path, "first": low, "stop": high}, piece)
            low = high
        return out

    def tree(self, budget: int) -> tuple[Node, bytes]:
        """Return the whole file as a tree, and the numbers of its datasets one after the other.

        Args:
            budget: most bytes of numbers; datasets beyond it are ``large``.

        Raises:
            HDF5Error: the file is damaged.
        """
        return self._ask({"do": "tree", "budget": budget}, budget=budget)

    def _ask(self, request: Node, into: memoryview | None = None, budget: int = 0) -> tuple[Node, bytes]:
        with self._lock:
            if self._owner != os.getpid():  # a fork: the process at the other end belongs to someone else
                self._hang_up()
                self._owner = os.getpid()
            if not self._closer.alive:
                raise HDF5Error("the file is closed")
            if self._channel is None:
                self._channel = _SERVER.connect(self._handle)
            start = time.monotonic()
            try:
                self._channel.settimeout(3 * SECONDS + START_SECONDS)
                text = json.dumps(request | {"seconds": SECONDS}).encode()
                self._channel.sendall(len(text).to_bytes(8, "little") + text)
                node, blob = self._answer(self._channel, into, budget)
            except (OSError, EOFError, ValueError):
                self._hang_up()
                slow = time.monotonic() - start >= SECONDS
                raise HDF5Error(
                    "the HDF5 library "
                    + (f"did not finish within {SECONDS} s" if slow else "crashed")
                    + " on this file: its inner structure is damaged"
                ) from None
            except BaseException:
                self._hang_up()  # half an answer may be under way
                raise
        if node.get("kind") == "damaged":
            raise HDF5Error(str(node.get("why")))
        return node, blob

    @staticmethod
    def _answer(channel: socket.socket, into: memoryview | None, budget: int) -> tuple[Node, bytes]:
        node: Node = json.loads(_receive(channel, bytearray(_length(channel, MAX_TEXT_BYTES))))
        size = _length(channel, max(budget, 0 if into is None else len(into)))
        if into is None:
            return node, bytes(_receive(channel, bytearray(size)))
        if node["kind"] == "rows":
            if size != len(into):
                raise ValueError("another number of bytes than asked for")
            _receive(channel, into)
        return node, b""

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _length(channel: socket.socket, most: int) -> int:
    size = int.from_bytes(_receive(channel, bytearray(8)), "little")
    if size > most:
        raise ValueError("more bytes than asked for")
    return size


def _receive(channel: socket.socket, into: Any) -> Any:
    """Fill a buffer from the channel and return it."""
    view = memoryview(into)
    while view:
        count = channel.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return into


def _steps(row_bytes: int, chunks: list[int] | None) -> tuple[int, int]:
    """Return rows per piece, and what pieces end at a multiple of: chunks are unpacked once where that is possible."""
    rows, most = max(1, PIECE_BYTES // row_bytes), max(1, MOST_PIECE_BYTES // row_bytes)
    chunk = chunks[0] if chunks else 1
    if not 0 < chunk <= most:
        return min(rows, most), 1
    return max(chunk, rows - rows % chunk), chunk
