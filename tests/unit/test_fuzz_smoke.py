# SPDX-License-Identifier: Apache-2.0
"""A few hundred damaged files of every kind: read or refused, in a worker under limits (`make fuzz` tries 100,000)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"
CASES = 300


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(FUZZ))
    yield
    for name in ("run", "seeds", "mutate", "readers"):
        sys.modules.pop(name, None)


def test_damaged_files_are_read_or_refused(fuzz: None, tmp_path: Path) -> None:
    import run
    import seeds

    found = seeds.seeds(tmp_path)
    outcome = run.fuzz(found, CASES, 0, quiet=True)
    assert not outcome.failures
    assert sum(outcome.ends.values()) == CASES
    from readers import READERS

    assert set(outcome.distinct) == set(READERS)
    assert sum(map(len, outcome.distinct.values())) > 0.9 * CASES
    assert {end for _, end in outcome.ends} == {"read", "refused"}
    assert len(outcome.reasons) > 20
    assert all(f"\n{reader} " in outcome.report() for reader in READERS)


def test_the_watch_sees_what_it_must_not_miss(fuzz: None, tmp_path: Path) -> None:
    """A reader that raises, writes elsewhere, starts a program or dies is a failure."""
    import run
    import seeds

    target, script = tmp_path / "elsewhere", tmp_path / "worker.py"
    script.write_text(
        "import os, subprocess, sys, types\nfrom pathlib import Path\n"
        f"sys.path.insert(0, {str(FUZZ)!r})\n"
        "def raises(path, partner):\n    raise KeyError('x')\n"
        f"def writes(path, partner):\n    open({str(target)!r}, 'w')\n"
        "def starts(path, partner):\n    subprocess.run(['true'])\n"
        "def dies(path, partner):\n    os.abort()\n"
        "def fine(path, partner):\n    pass\n"
        "fake = types.ModuleType('readers')\n"
        "fake.READERS = {f.__name__: f for f in (raises, writes, starts, dies, fine)}\n"
        "sys.modules['readers'] = fake\nimport run\nrun.worker(Path(sys.argv[2]))\n",
        encoding="utf-8",
    )
    good = tmp_path / "good.json"
    good.write_text("{}", encoding="utf-8")
    pool = run.Pool(tmp_path / "worker", script)
    try:
        names = ("raises", "writes", "fine", "starts", "dies", "fine")
        answers = dict(zip(names, pool.ask([(seeds.Seed(good, name), 0) for name in names]), strict=True))
    finally:
        pool.close()
    assert "KeyError" in answers["raises"]
    assert "WRITES" in answers["writes"]
    assert "FORBIDDEN" in answers["starts"]
    assert "ended with -6" in answers["dies"]
    assert answers["fine"].endswith(" read")
    assert not target.exists()
