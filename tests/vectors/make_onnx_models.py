# SPDX-License-Identifier: Apache-2.0
"""Records what ONNX Runtime and the qonnx executor make of the models of `onnx_cases`.

Needs ``pip install onnxruntime qonnx``; the tests need neither.

Usage: ``python make_onnx_models.py [family ...]``.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_cases as cases
import onnx_quantized
import onnxruntime

HERE = Path(__file__).resolve().parent / "onnx"


def run(case: cases.Case, *, optimized: bool = False) -> list[np.ndarray]:
    """Run one model in ONNX Runtime, event by event where its batch size is baked in."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        case.proto().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    inputs = case.inputs()
    names = [f"x{k}" for k in range(len(inputs))]
    if case.batch is None:
        return session.run(None, dict(zip(names, inputs, strict=True)))
    parts = [
        session.run(None, {n: x[k : k + 1] for n, x in zip(names, inputs, strict=True)})
        for k in range(len(inputs[0]))
    ]
    places = case.places or [0] * case.outputs
    return [
        np.concatenate(made, axis=place) for made, place in zip(zip(*parts, strict=True), places, strict=True)
    ]


def run_qonnx(case: cases.Case) -> list[np.ndarray]:
    """Run one model in the qonnx executor, node by node."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.custom_op.channels_last.base_wrapped_op import ChannelsLastWrappedOp
    from qonnx.transformation.infer_shapes import InferShapes

    inner = ChannelsLastWrappedOp.execute_node

    def execute(self, context, graph):  # it takes the version of its own domain for that of ONNX
        self.onnx_opset_version = case.opset
        return inner(self, context, graph)

    ChannelsLastWrappedOp.execute_node = execute
    inputs = case.inputs()
    proto = case.proto(batch=len(inputs[0]))
    for value in proto.graph.output:
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    model = ModelWrapper(proto)
    if case.inner:
        for name, shape in case.inner.items():
            model.set_tensor_shape(name, [n or len(inputs[0]) for n in shape])
    else:
        model = model.transform(InferShapes())
    try:
        made = execute_onnx(model, {f"x{k}": x for k, x in enumerate(inputs)})
    finally:
        ChannelsLastWrappedOp.execute_node = inner
    return [np.asarray(made[f"y{k}"], dtype=np.float32) for k in range(case.outputs)]


def record(
    family: str, models: Iterable[cases.Case], programs: Mapping[str, Callable[..., list[np.ndarray]]]
) -> None:
    """Write the answers of every program to every model of a family; what a program refuses is printed."""
    arrays: dict[str, np.ndarray] = {}
    count = 0
    for case in models:
        for key, program in programs.items():
            try:
                outputs = program(case)
            except Exception as error:  # noqa: BLE001
                print(f"{family} {case.name}: {str(error)[:200]}")
                continue
            count += 1
            for k, y in enumerate(outputs):
                arrays[f"{case.name}/{key}{k}"] = y
        if case.events is None and f"{case.name}/y0" in arrays:
            for k, x in enumerate(case.inputs()):  # NumPy may change how it makes normal numbers
                arrays[f"{case.name}/x{k}"] = x
    np.savez_compressed(HERE / f"{family}.npz", **arrays)
    print(f"{family}: {count} answers, {(HERE / f'{family}.npz').stat().st_size >> 10} KiB")


def main(wanted: list[str]) -> None:
    """Record families."""
    fused = functools.partial(run, optimized=True)
    for family, make in cases.FLOAT.items():
        if not wanted or family in wanted:
            record(family, make(), {"y": run})
    for family, (program, make) in onnx_quantized.QUANTIZED.items():
        if not wanted or family in wanted:
            record(family, make(), {"y": run_qonnx} if program == "qonnx" else {"y": run, "fused": fused})


if __name__ == "__main__":
    main(sys.argv[1:])
