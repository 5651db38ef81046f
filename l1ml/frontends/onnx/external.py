# SPDX-License-Identifier: Apache-2.0
"""Constants that a model keeps in files beside it: plain bytes, bounded, from its own folder only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from l1ml.frontends.common import MAX_BYTES, UnsupportedError

KEYS = {"location", "offset", "length", "checksum", "basepath"}


def read_external(entries: Mapping[str, str], size: int, folder: Path | None) -> bytes:
    """Return the bytes of one tensor.

    Args:
        entries: what the model file says: location, offset, length.
        size: bytes that the tensor needs.
        folder: where the model file is; None if it came without one.

    Raises:
        UnsupportedError: the file is not in the folder of the model, or does not hold these bytes.
    """
    location = entries.get("location", "")
    if folder is None:
        raise UnsupportedError("keeps its data in another file, and the model came without a folder")
    if not location or "\0" in location or not set(entries) <= KEYS:
        raise UnsupportedError("keeps its data in another file, but does not say which")
    offset, length = (_number(entries, key, default) for key, default in (("offset", 0), ("length", size)))
    if length != size or size > MAX_BYTES:
        raise UnsupportedError(f"needs {size} bytes; {length} are announced, at most {MAX_BYTES} are read")
    try:
        # Links are followed first: what counts is where the data are, not what the path looks like.
        home = folder.resolve(strict=True)
        path = (home / location).resolve(strict=True)
        inside = path.is_relative_to(home) and not Path(location).is_absolute()
        if not inside or not path.is_file():
            raise UnsupportedError("keeps its data in a file that is not in the folder of the model")
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
    except (OSError, ValueError, RuntimeError) as error:
        raise UnsupportedError(
            f"keeps its data in a file that cannot be read: {type(error).__name__}"
        ) from error
    if len(data) != size:
        raise UnsupportedError(f"keeps its data in a file that ends too early: {len(data)} of {size} bytes")
    return data


def _number(entries: Mapping[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default)).strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise UnsupportedError(f"keeps its data in another file, at a place ({key}) that is no number")
    return int(text)
