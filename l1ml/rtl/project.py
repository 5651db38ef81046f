# SPDX-License-Identifier: Apache-2.0
"""The project folder: written whole or not at all, its files known by their digests."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l1ml.config import write_yaml
from l1ml.errors import ConfigError, DataError
from l1ml.rtl import form

MANIFEST = "manifest.json"
CONFIG = "l1ml.yml"
NETWORK = "network.json"
PRECISION = "precision.json"
REPORT = ("report.md", "report.json")
"""In ``reports``: what they say of the last replay holds until the next one, or the next conversion."""
OWNED = ("firmware", "reports", "build", NETWORK, CONFIG, MANIFEST, PRECISION)


def digests(files: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (path, SHA-256) of texts, sorted by path."""
    return [(path, hashlib.sha256(text.encode()).hexdigest()) for path, text in sorted(files.items())]


def digest(files: Mapping[str, str]) -> str:
    """Return one SHA-256 over several texts and their paths."""
    return hashlib.sha256(json.dumps(digests(files)).encode()).hexdigest()


def write(
    output_dir: Path, texts: Mapping[str, str], config: Mapping[str, Any], manifest: Mapping[str, Any]
) -> Path:
    """Write a project; ``manifest.json`` comes last, so a folder that has it is complete.

    Args:
        output_dir: new, empty, or an earlier project: its generated files are replaced; ``build`` and
            ``reports`` are kept: what lies there carries the digest of the RTL it belongs to.
        texts: files by path relative to the project.
        config: the options, kept as ``l1ml.yml``.
        manifest: the facts.

    Raises:
        ConfigError: the folder holds something else.
    """
    _refuse_foreign(output_dir)
    fresh = not output_dir.exists()
    output_dir.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".l1ml-", dir=output_dir) as work:
            staged = Path(work)
            for path, text in texts.items():
                file = staged / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            write_yaml(staged / CONFIG, dict(config))
            (staged / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            (output_dir / MANIFEST).unlink(missing_ok=True)  # from here on it is not a whole project
            shutil.rmtree(output_dir / "firmware", ignore_errors=True)
            (output_dir / PRECISION).unlink(missing_ok=True)
            for name in REPORT:
                (output_dir / "reports" / name).unlink(missing_ok=True)
            for name in (*sorted({Path(p).parts[0] for p in texts}), CONFIG, MANIFEST):
                (staged / name).replace(output_dir / name)
    except OSError:
        if fresh:
            shutil.rmtree(output_dir, ignore_errors=True)
        raise
    return output_dir


def _refuse_foreign(output_dir: Path) -> None:
    if output_dir.is_file():
        raise ConfigError(f"{output_dir.name} is a file", where=("output_dir",), fix="name a folder")
    if not output_dir.is_dir() or (output_dir / MANIFEST).is_file():
        return
    foreign = sorted(
        p.name for p in output_dir.iterdir() if p.name not in OWNED and not p.name.startswith(".l1ml-")
    )
    if foreign:
        raise ConfigError(
            f"the folder holds other files: {', '.join(foreign[:5])}",
            where=("output_dir", str(output_dir)),
            fix="name a new or empty folder",
        )


def read_manifest(root: Path) -> dict[str, Any]:
    """Return the manifest of a project.

    Raises:
        DataError: the folder is no complete project.
    """
    file = root / MANIFEST
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            "no manifest.json: this is no complete project", where=(str(root),), fix="run l1ml convert"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"manifest.json cannot be read: {error}", where=(str(file),), fix="run l1ml convert"
        ) from None
    wrong = form.problems(data)
    if wrong:
        raise DataError(
            f"manifest.json cannot be read: {'; '.join(wrong)}", where=(str(file),), fix="run l1ml convert"
        )
    return dict(data)
