# SPDX-License-Identifier: Apache-2.0
"""The wheel works from an empty folder, in an environment that never saw the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.package, pytest.mark.timeout(900)]

ASSETS = ("datasets", "firmware", "interfaces", "validation")


def run(*command: str | Path, cwd: Path, timeout_s: float = 600) -> str:
    """Run a command without any trace of the checkout in its environment; return its output."""
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "VIRTUAL_ENV", "L1ML"))
    }
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def sources(root: Path) -> list[str]:
    """Return what the repository holds, tracked or new, so that leftovers of a build do not count."""
    listing = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=root)
    return [name for name in listing.splitlines() if (root / name).is_file()]


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy, so that the checkout stays clean and stale files cannot slip in."""
    copy = tmp_path_factory.mktemp("copy")
    for name in sources(root):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, copy / name)
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, copy, cwd=out)  # sdist, and the wheel from the sdist
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the ``bin`` folder of a fresh environment with the wheel and nothing else of ours."""
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home / "env", with_pip=True)
    python = home / "env" / "bin" / "python"
    run(python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", wheel, cwd=home)
    return python.parent


def test_the_wheel_holds_every_file(root: Path, wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    expected = {name for name in sources(root) if name.startswith("l1ml/")}
    expected |= {f"l1ml/_assets/{name}" for name in sources(root) if name.split("/")[0] in ASSETS}
    assert expected - packed == set()
    ours = {name for name in packed if ".dist-info/" not in name}
    assert ours - expected == set()


def test_command_and_assets(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "l1ml", "--version", cwd=tmp_path).startswith("l1ml 0.")
    script = (
        "from l1ml import assets; import l1ml\n"
        "assert '_assets' in assets.root().parts, assets.root()\n"
        f"print([assets.path(name).is_dir() for name in {ASSETS}])\n"
    )
    assert run(installed / "python", "-c", script, cwd=tmp_path).strip() == "[True, True, True, True]"


def test_a_model_becomes_a_project(installed: Path, tmp_path: Path) -> None:
    """Conversion, emulation and report need no simulator, so a plain installation does them."""
    script = "from l1ml import assets; print(assets.path('datasets', 'jets'))"
    jets = Path(run(installed / "python", "-c", script, cwd=tmp_path).strip())
    l1ml = installed / "l1ml"
    model = ("--model", jets / "jet_q6_pruned75.h5", "--input-type", "fixed<14,4>")
    run(l1ml, "config", *model, "--dir", "prj", "--output", "jets.yml", cwd=tmp_path)
    run(l1ml, "convert", "--config", "jets.yml", cwd=tmp_path)
    assert (tmp_path / "prj" / "manifest.json").is_file()
    assert (tmp_path / "prj" / "firmware" / "rtl" / "l1ml_emp.sv").is_file()
    run(
        l1ml,
        "emulate",
        "--project",
        "prj",
        "--events",
        jets / "jets_10k.h5",
        "--output",
        "out.h5",
        cwd=tmp_path,
    )
    assert (tmp_path / "out.h5").is_file()
