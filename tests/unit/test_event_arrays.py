# SPDX-License-Identifier: Apache-2.0
"""Arrays in NumPy's own files: the first events, within bounds, never objects."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml.errors import DataError
from l1ml.events import arrays

X = np.arange(60.0).reshape(20, 3)


def saved(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize("values", [X, np.asfortranarray(X), X.astype(">f4"), X[:0], np.arange(20) > 5])
def test_the_first_events_are_read(tmp_path: Path, values: Any) -> None:
    np.save(tmp_path / "e.npy", values)
    np.savez_compressed(tmp_path / "e.npz", a=values, b=X)
    assert np.array_equal(arrays.read(tmp_path / "e.npy", 7)["x"], values[:7])
    both = arrays.read(tmp_path / "e.npz", 100)
    assert list(both) == ["a", "b"]
    assert np.array_equal(both["a"], values)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "EOF"),
        (b"PK\x03\x04", "magic"),
        (saved(X)[:-1], "cut off"),
        (saved(np.array([{}], dtype=object)), "numbers are expected"),
        (saved(np.float64(1.0)), "single number"),
        (
            header("{'descr': '<f8', 'fortran_order': False, 'shape': (5, 1099511627776)}\n"),
            "is more than 512 MiB",
        ),
        (
            header("{'descr': '<f8', 'fortran_order': True, 'shape': (1099511627776, 5)}\n"),
            "is more than 512 MiB",
        ),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 5)}\n"), "is more than 512 MiB"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (5L,\n"), "cannot be read"),
        (header("(" * 9000), "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "e.npy").write_bytes(data)
    with pytest.raises(DataError, match=reason) as caught:
        arrays.read(tmp_path / "e.npy", 100)
    assert caught.value.where[0] == str(tmp_path / "e.npy")
    assert caught.value.fix
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
        archive.writestr("a.npy", data)
    with pytest.raises(DataError, match=reason):
        arrays.read(tmp_path / "e.npz", 100)


def test_a_bomb_does_not_go_off(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "e.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w") as out,
    ):
        out.write(header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000)}\n"))
        for _ in range(100):
            out.write(bytes(1 << 20))
    found = arrays.read(tmp_path / "e.npz", 1000)["a"]
    assert found.shape == (1000, 1000)
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
        for number in range(1001):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(DataError, match="1001 arrays"):
        arrays.read(tmp_path / "many.npz", 1000)
