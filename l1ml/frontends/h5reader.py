# SPDX-License-Identifier: Apache-2.0
"""The side of the user's process: hands HDF5 files to a child process and takes back plain trees."""

from __future__ import annotations

import atexit
import json
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from l1ml.errors import ModelError

SECONDS = 20
_CHILD = Path(__file__).with_name("h5child.py")


class _Child:
    """One child process, started when the first file comes and kept for the next ones."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, data: bytes, budget: int, source: str) -> tuple[dict[str, Any], bytes]:
        """Return the tree of a file and the numbers of its datasets.

        Raises:
            ModelError: the child died or took too long: the file is damaged, by accident or on purpose.
        """
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            end = time.monotonic() + SECONDS
            try:
                request = budget.to_bytes(8, "little") + len(data).to_bytes(8, "little")
                rest = memoryview(request + data)
                while rest:
                    rest = rest[process.stdin.write(rest) or 0 :]
                tree = self._part(process, end)
                blob = self._part(process, end)
                return json.loads(tree), blob
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                slow = isinstance(error, TimeoutError)
                self.close()
                raise ModelError(
                    "the HDF5 library "
                    + (f"did not finish within {SECONDS} s" if slow else "crashed")
                    + " on this file: its inner structure is damaged",
                    where=(source,),
                    fix="save the model again",
                ) from None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, str(_CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, bufsize=0,
            )  # fmt: skip
        return self._process

    @staticmethod
    def _part(process: subprocess.Popen[bytes], end: float) -> bytes:
        assert process.stdout is not None

        def read(size: int) -> bytes:
            parts: list[bytes] = []
            while size:
                ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))  # type: ignore[type-var]
                if not ready:
                    raise TimeoutError
                part = process.stdout.read(min(size, 1 << 20))  # type: ignore[union-attr]
                if not part:
                    raise EOFError
                parts.append(part)
                size -= len(part)
            return b"".join(parts)

        return read(int.from_bytes(read(8), "little"))

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:
                        continue
            self._process = None


_CHILDREN = _Child()
atexit.register(_CHILDREN.close)


def read(data: bytes, budget: int, source: str) -> tuple[dict[str, Any], bytes]:
    """Return the tree of an HDF5 file held in memory, and the numbers of its datasets.

    Args:
        data: the file.
        budget: most bytes of numbers.
        source: name of the file, for messages.

    Raises:
        ModelError: the file is damaged.
    """
    tree, blob = _CHILDREN.ask(data, budget, source)
    if tree.get("kind") == "damaged":
        raise ModelError(
            f"cannot read the HDF5 file: {tree.get('why')}", where=(source,), fix="save the model again"
        )
    return tree, blob
