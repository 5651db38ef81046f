# SPDX-License-Identifier: Apache-2.0
"""Small ONNX files for tests, and the recorded answers of ONNX Runtime and qonnx."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from l1ml.frontends.onnx import read_onnx
from l1ml.graph import build, model, real
from l1ml.graph.emulate import Emulator
from l1ml.types.fixed import quantize_codes

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
sys.path.insert(0, str(VECTORS))

import onnx_cases  # noqa: E402
import onnx_quantized  # noqa: E402

Case, normal, QONNX = onnx_cases.Case, onnx_cases.normal, onnx_cases.QONNX


def float_cases() -> list[tuple[str, Case]]:
    return [(family, case) for family, make in onnx_cases.FLOAT.items() for case in make()]


def quantized_cases() -> list[tuple[str, Case]]:
    return [(family, case) for family, (_, make) in onnx_quantized.QUANTIZED.items() for case in make()]


@cache
def _answers(family: str) -> Mapping[str, np.ndarray]:
    with np.load(VECTORS / "onnx" / f"{family}.npz") as file:
        return dict(file)


def recorded(family: str, case: Case, key: str = "y") -> list[np.ndarray] | None:
    """Return recorded outputs, the events first; None where the reference refuses the model."""
    answers = _answers(family)
    if f"{case.name}/{key}0" not in answers:
        return None
    places = case.places or [0] * case.outputs
    return [np.moveaxis(answers[f"{case.name}/{key}{k}"], places[k], 0) for k in range(case.outputs)]


def events(family: str, case: Case) -> list[np.ndarray]:
    """Return the inputs that the reference got."""
    answers = _answers(family)
    keys = [f"{case.name}/x{k}" for k in range(len(case.shapes))]
    return [answers[key] for key in keys] if keys[0] in answers else case.inputs()


def read_case(case: Case) -> model.Model:
    return read_onnx(case.proto().SerializeToString(), f"{case.name}.onnx")


def node(kind: str, inputs: Sequence[str], output: str | Sequence[str], **attributes: Any) -> onnx.NodeProto:
    outputs = [output] if isinstance(output, str) else list(output)
    return helper.make_node(kind, inputs, outputs, name=f"{kind}_{outputs[0]}", **attributes)


def quant(
    output: str, x: str, scale: float, width: int, *, domain: str = onnx_cases.QONNX, **attributes: Any
) -> tuple[onnx.NodeProto, list[onnx.TensorProto]]:
    """A Quant node with its constants."""
    names = [f"{output}_{key}" for key in ("scale", "zero", "bits")]
    values = [np.float32(scale), np.float32(attributes.pop("zero", 0)), np.float32(width)]
    kind = attributes.pop("kind", "Quant")
    given = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND", **attributes}
    made = helper.make_node(kind, [x, *names], [output], name=output, domain=domain, **given)
    return made, [numpy_helper.from_array(np.asarray(v), n) for n, v in zip(names, values, strict=True)]


def proto(
    nodes: Sequence[Any],
    constants: Mapping[str, Any] | None = None,
    *,
    shape: Sequence[Any] = ("N", 4),
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    kind: int = onnx.TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model with one input x; a node may come with its constants, as `quant` gives it."""
    made = [item if isinstance(item, tuple) else (item, []) for item in nodes]
    tensors = [tensor for _, extra in made for tensor in extra]
    tensors += [
        value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value), name)
        for name, value in (constants or {}).items()
    ]
    ports = [helper.make_tensor_value_info("x", kind, list(shape))]
    graph = helper.make_graph(
        [item for item, _ in made],
        "graph",
        ports,
        [onnx.ValueInfoProto(name=name) for name in outputs],
        tensors,
    )
    domains = {item.domain for item, _ in made} - {""}
    imports = [
        helper.make_opsetid("", opset),
        *(helper.make_opsetid(domain, 1) for domain in sorted(domains)),
    ]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def read(nodes: Sequence[Any], constants: Mapping[str, Any] | None = None, **options: Any) -> model.Model:
    return read_onnx(proto(nodes, constants, **options).SerializeToString(), "m.onnx")


def edited(
    change: Callable[[onnx.ModelProto], None],
    nodes: Sequence[Any],
    constants: Mapping[str, Any],
    **options: Any,
) -> bytes:
    """Return the bytes of a model after a change."""
    made = proto(nodes, constants, **options)
    change(made)
    return made.SerializeToString()


def reals(network: model.Model, *inputs: np.ndarray) -> list[np.ndarray]:
    """Return the float32 outputs."""
    made = real.run(network, inputs)
    return [made[name] for name in network.outputs]


def exact(network: model.Model, types: str, *inputs: np.ndarray) -> list[np.ndarray]:
    """Return the outputs of the exact network: the emulator's, which must be those of the slow reference."""
    program = build.to_program(build.input_quantizers(network, types))
    codes = [quantize_codes(x, port.quantizer) for x, port in zip(inputs, program.inputs, strict=True)]
    tensors = program.emulate(codes)
    slow = [np.ldexp(tensors[k].astype(np.float64), -program.type_of(k).frac) for _, k in program.outputs]
    for mine, other in zip(Emulator(program).values(inputs), slow, strict=True):
        np.testing.assert_array_equal(mine, other)
    return slow


def kinds(network: model.Model) -> list[str]:
    return [type(layer).__name__ for layer in network.layers]
