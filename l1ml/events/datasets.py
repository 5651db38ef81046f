# SPDX-License-Identifier: Apache-2.0
"""Datasets that come with l1ml: found by name, checked against their manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from l1ml import assets
from l1ml.config import read_yaml
from l1ml.errors import DataError, nearest

FOLDER = "datasets"
MANIFEST = "manifest.yaml"


def available() -> list[str]:
    """Return the names of all datasets of this installation."""
    return sorted(path.parent.name for path in assets.path(FOLDER).glob(f"*/{MANIFEST}"))


def manifest(name: str) -> dict[str, Any]:
    """Return the manifest of a dataset: schema, units, features, source, licence, files.

    Raises:
        DataError: there is no such dataset.
    """
    if name not in available():
        raise DataError(f"unknown dataset {name!r:.60}", where=(FOLDER,), fix=nearest(name, available()))
    return read_yaml(assets.path(FOLDER, name, MANIFEST))


def file(name: str, file_name: str) -> Path:
    """Return the path of a file of a dataset, after checking its SHA-256.

    Raises:
        DataError: there is no such file, or its content is not what the manifest says.
    """
    entries = {entry["path"]: entry["sha256"] for entry in manifest(name)["files"]}
    if file_name not in entries:
        raise DataError(f"no file {file_name!r:.60}", where=(FOLDER, name), fix=nearest(file_name, entries))
    path = assets.path(FOLDER, name, file_name)
    if hashlib.sha256(path.read_bytes()).hexdigest() != entries[file_name]:
        raise DataError(
            "the content is not what the manifest says", where=(FOLDER, name, file_name), fix="reinstall l1ml"
        )
    return path
