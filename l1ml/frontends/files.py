# SPDX-License-Identifier: Apache-2.0
"""Getting the bytes of a model file, and telling from them, not from the name, what kind it is."""

from __future__ import annotations

from pathlib import Path

from l1ml.errors import ModelError
from l1ml.frontends import hdf5
from l1ml.frontends.common import MAX_BYTES
from l1ml.frontends.containers import ZIP_MAGIC


def read_bytes(path: Path) -> bytes:
    """Read a whole file of bounded size.

    Raises:
        ModelError: it does not exist, is a folder or a device, is too large, or cannot be read.
    """
    where = (path.name or str(path),)
    try:
        if path.is_dir():
            raise ModelError(
                "this is a folder",
                where=where,
                fix="give a file: save the model as .h5, .keras or .onnx, not as SavedModel",
            )
        if not path.exists():
            raise ModelError(f"there is no file {str(path)!r}", where=where, fix="check the path")
        if not path.is_file():
            raise ModelError("this is not a regular file", where=where)
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(
                f"the file has {size >> 20} MiB; at most {MAX_BYTES >> 20} MiB are read", where=where
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"the file cannot be read: {error}", where=where) from error
    if not data:
        raise ModelError("the file is empty", where=where)
    return data


def is_keras(data: bytes) -> bool:
    """Tell whether the bytes are of a container that Keras writes: HDF5, a zip archive, or JSON."""
    return (
        data.startswith((hdf5.MAGIC, ZIP_MAGIC))
        or data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    )
