# SPDX-License-Identifier: Apache-2.0
"""Models by others, with the answers of their own frameworks: every quantized one is equal on every event."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from l1ml.frontends import read_model
from l1ml.graph import build, real
from l1ml.graph.emulate import Emulator

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("conformance_run", ROOT / "tests" / "conformance" / "run.py")
assert _SPEC is not None
assert _SPEC.loader is not None
conformance = importlib.util.module_from_spec(_SPEC)
sys.modules["conformance_run"] = conformance
_SPEC.loader.exec_module(conformance)
CASES = [
    conformance.Case(**entry)
    for entry in yaml.safe_load((ROOT / "tests" / "conformance" / "cases.yaml").read_text(encoding="utf-8"))
]


def model_of(case: Any) -> Any:
    if not case.path(case.model).exists():
        pytest.skip("no corpus of models beside the checkout")
    return read_model(
        case.path(case.model), weights=None if case.weights is None else case.path(case.weights)
    )


def label(case: Any) -> str:
    return f"{case.name}-{Path(case.model).suffix[1:]}"


QUANTIZED = [c for c in CASES if c.exact and not c.refused and (c.golden or c.events)]
FLOAT = [c for c in CASES if not c.exact and (c.golden or c.events)]


@pytest.mark.parametrize("case", QUANTIZED, ids=label)
def test_quantized_models_are_exact(case: Any) -> None:
    network = model_of(case)
    inputs, outputs, _ = conformance.golden(case)
    kinds = case.input_type or {
        i.name: conformance.grid_of(x) for i, x in zip(network.inputs, inputs, strict=True)
    }
    program = build.to_program(build.input_quantizers(network, kinds))
    x = [a[:400].reshape(-1, *p.shape) for a, p in zip(inputs, program.inputs, strict=True)]
    (found,) = Emulator(program).values(x)
    wanted = next(iter(outputs.values()))[: len(found)].reshape(found.shape)
    if case.through_softmax:
        found = np.exp(found - found.max(axis=-1, keepdims=True))
        found /= found.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 if case.through_softmax else case.tolerance)


@pytest.mark.parametrize("case", FLOAT, ids=label)
def test_float_models_are_read_as_the_framework_computes_them(case: Any) -> None:
    network = model_of(case)
    inputs, outputs, _ = conformance.golden(case)
    x = [a[:200].reshape(-1, *i.shape) for a, i in zip(inputs, network.inputs, strict=True)]
    found = real.run(network, x)[network.outputs[0]]
    wanted = next(iter(outputs.values()))[: len(found)].reshape(found.shape)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)
