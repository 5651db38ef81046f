# SPDX-License-Identifier: Apache-2.0
"""The self-test on a core with every kind of operation: every kind of fault is found, its layer named."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from l1ml import flow
from l1ml.config import ProjectConfig
from l1ml.graph.model import Model
from l1ml.graph.program import TensorProgram
from l1ml.rtl.project import read_manifest
from l1ml.validate import selftest
from l1ml.validate.mutate import KINDS

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
import programs

pytestmark = pytest.mark.sim


def convert(program: TensorProgram, folder: Path) -> Path:
    """Write the project of a program that no model file is behind."""
    config = ProjectConfig.from_mapping({"interface": "parallel"})
    with (
        mock.patch.object(flow.frontends, "read_model", lambda *_, **__: Model("made", (), ())),
        mock.patch.object(flow, "typed", lambda *_: program),
    ):
        return flow.convert("nothing", config, folder)


def test_every_kind_of_fault_is_found_in_its_layer(tmp_path: Path) -> None:
    program = programs.everything()
    root = convert(program, tmp_path / "project")
    manifest = read_manifest(root)
    inputs = programs.codes_of(program, 400)
    tensors = program.emulate(inputs)
    codes, expected = (
        np.concatenate([a.reshape(400, -1) for a in arrays], axis=1)
        for arrays in (inputs, [tensors[t] for _, t in program.outputs])
    )
    trace = {n: np.ldexp(tensors[t].astype(float), -program.type_of(t).frac) for n, t in program.marks}
    verdict = selftest.run_selftest(manifest, root, codes, expected, trace)
    assert verdict.passed, str(verdict)
    assert [check.name for check in verdict.checks] == ["no_fault", "golden_value", *KINDS]
