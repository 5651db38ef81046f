# SPDX-License-Identifier: Apache-2.0
"""Runs an ONNX or QONNX model and stores what every operator gives: ``python onnx_runner.py job.json``.

Plain ONNX and QDQ files run in ONNX Runtime, files with QONNX operators in qonnx's executor.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

DOMAINS = ("qonnx", "finn", "brevitas")
"""Parts of the names that QONNX's operators have had for their domain."""

ZERO_POINTS = {
    "QuantizeLinear": 2, "QLinearConv": 7, "QLinearMatMul": 7, "QLinearAdd": 7, "QLinearMul": 7, "QGemm": 8,
    "QLinearAveragePool": 4, "QLinearGlobalAveragePool": 4, "QLinearLeakyRelu": 4, "QLinearSigmoid": 4,
    "QLinearConcat": 1,
}  # fmt: skip
"""Which input of an operator is the zero point of its codes."""


class MissingError(Exception):
    """A package of the framework is not installed."""


def package(name: str) -> Any:
    """Import a package of the framework."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingError(f"{name}: {error}") from None


def baked_batch(model: Any) -> int | None:
    """Return the number of events that the file fixes for its first input, None where it is free."""
    own = {tensor.name for tensor in model.graph.initializer}
    first = next(value for value in model.graph.input if value.name not in own)
    dim = first.type.tensor_type.shape.dim
    return int(dim[0].dim_value) or None if dim else None


def input_names(model: Any) -> list[str]:
    """Return the names of the inputs that are no constants."""
    own = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in own]


def zero_points(onnx: Any, model: Any) -> dict[str, int]:
    """Return the zero points of tensors of codes, where they have one that is not 0.

    l1ml's layers hold codes with the zero point subtracted; operators that only move codes keep it.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, int] = {}
    for node in model.graph.node:
        place = ZERO_POINTS.get(node.op_type)
        if place is None:
            zeros = {found[name] for name in node.input if name in found}
        elif place < len(node.input) and node.input[place] in constants:
            zeros = set(onnx.numpy_helper.to_array(constants[node.input[place]]).ravel().tolist())
        else:
            zeros = set()
        if len(zeros) == 1 and any(zeros):
            found.update(dict.fromkeys(node.output, int(zeros.pop())))
    return found


def scales(onnx: Any, model: Any) -> dict[str, float]:
    """Return the scales of tensors that DequantizeLinear has made, and of those behind that may still have them."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, float] = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            given = constants.get(node.input[1])
            values = set() if given is None else set(onnx.numpy_helper.to_array(given).ravel().tolist())
        else:
            values = {found[name] for name in node.input if name in found}
        if len(values) == 1:
            found.update(dict.fromkeys(node.output, float(values.pop())))
    return found


def narrowed(model: Any, node: Any) -> str:
    """Return the first output of an operator; behind a QuantizeLinear, that of the Clip which narrows it."""
    made = next(iter(node.output), "")
    readers = [other for other in model.graph.node if made in other.input]
    if node.op_type == "QuantizeLinear" and [other.op_type for other in readers] == ["Clip"]:
        return str(readers[0].output[0])
    return made


def codes_of(values: np.ndarray, scale: float | None) -> np.ndarray | None:
    """Return the codes of which a tensor is a multiple; None where it is no exact multiple of its scale."""
    if scale is None or values.dtype != np.float32:
        return None
    codes = np.rint(values.astype(np.float64) / scale)
    exact = np.array_equal(codes.astype(np.float32) * np.float32(scale), values)
    return codes.astype(np.int64) if exact else None


def runtime(onnx: Any, model: Any) -> tuple[Any, dict[str, str]]:
    """Return a function from inputs to all tensors, in ONNX Runtime without optimizations."""
    ort = package("onnxruntime")
    present = {value.name for value in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in present:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]

    def call(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, given), strict=True))

    return call, {"onnxruntime": str(ort.__version__)}


def executor(path: str) -> tuple[Any, dict[str, str]]:
    """Return a function from inputs to all tensors, in qonnx's executor."""
    wrapper, execute = package("qonnx.core.modelwrapper"), package("qonnx.core.onnx_exec")
    shapes = package("qonnx.transformation.infer_shapes")
    model = wrapper.ModelWrapper(path).transform(shapes.InferShapes())

    def call(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(execute.execute_onnx(model, given, return_full_exec_context=True))

    return call, {"qonnx": str(importlib.import_module("importlib.metadata").version("qonnx"))}


def run(onnx: Any, model: Any, call: Any, inputs: list[np.ndarray], most: int) -> dict[str, np.ndarray]:
    """Return all tensors, by name of the tensor and by name of the operator.

    Codes of an operator have their zero point subtracted; ``name [codes]`` are the codes of a tensor that is real
    in the framework, and may wait for its scale in the emulator.
    """
    zeros, factors = zero_points(onnx, model), scales(onnx, model)
    names, batch = input_names(model), baked_batch(model) or most
    parts: dict[str, list[np.ndarray]] = {}
    events = len(inputs[0])
    for first in range(0, events, batch):
        given = {}
        for name, x in zip(names, inputs, strict=True):
            part = x[first : first + batch]
            lost = batch - len(part) if baked_batch(model) else 0
            given[name] = np.concatenate([part, np.repeat(part[-1:], lost, axis=0)]) if lost else part
        for name, values in call(given).items():
            if values is not None and np.ndim(values) and len(values) == len(given[names[0]]):
                parts.setdefault(name, []).append(np.asarray(values)[: len(inputs[0]) - first])
    count = -(-events // batch)
    found = {name: np.concatenate(values) for name, values in parts.items() if len(values) == count}
    makers = {made: node for node in model.graph.node for made in node.output}
    for node in model.graph.node:
        made = narrowed(model, node)
        if not node.name or made not in found:
            continue
        values = found[made]
        codes = values.dtype.kind in "iu" and made in zeros
        found.setdefault(node.name, values.astype(np.int64) - zeros[made] if codes else values)
        multiples = codes_of(values, factors.get(made))
        if multiples is not None:
            found.setdefault(f"{node.name} [codes]", multiples)
        if node.op_type == "DequantizeLinear" and node.input[0] in makers:
            found.setdefault(f"{makers[node.input[0]].name}.scaled", values)
    for number, value in enumerate(model.graph.output):
        if value.name in found:
            found[f"output {number}"] = found[value.name]
    return found


def main(job_file: str) -> int:
    """Do one job; what goes wrong is written where the results go."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    answer: dict[str, Any]
    try:
        onnx = package("onnx")
        model = onnx.load(job["model"])
        outputs = len(model.graph.output)
        with np.load(job["inputs"], allow_pickle=False) as file:
            inputs = [file[f"arr_{k}"].astype(np.float32) for k in range(len(file.files))]
        special = any(name in node.domain for node in model.graph.node for name in DOMAINS)
        call, versions = executor(job["model"]) if special else runtime(onnx, model)
        results = run(onnx, model, call, inputs, int(job["batch"]))
        results = {name: values for name, values in results.items() if values.dtype.kind in "iufb"}
        np.savez(job["results"], *results.values())
        answer = {"names": list(results), "versions": versions, "outputs": outputs}
    except MissingError as error:
        answer = {"missing": str(error)}
    except Exception as error:  # noqa: BLE001  the parent reports it
        answer = {"error": f"{type(error).__name__}: {error}"}
    Path(job["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
