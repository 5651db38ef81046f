# SPDX-License-Identifier: Apache-2.0
"""``manifest.json``: every fact that outlives the conversion, derived once and only read afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1ml.dataflow.op import Constant
from l1ml.graph import primitives
from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType
from l1ml.links.layout import LinkLayout
from l1ml.rtl.demand import Demand
from l1ml.rtl.names import layer_stems, wire_names
from l1ml.rtl.systemverilog import Core, input_width, output_width
from l1ml.schedule.pipeline import Pipeline
from l1ml.types.fixed import FixedType
from l1ml.types.timing import Latency

SCHEMA = "l1ml-manifest/1"


@dataclass(frozen=True)
class Facts:
    """What a manifest is made of.

    Args:
        name: name of the project.
        version: version of this tool.
        program: the typed network.
        pipe: the pipelined core.
        core: its names.
        layout: the link around it.
        top_module: the wrapper's module.
        target: part, clock, TMUX and interface as configured.
        rtl_digest: SHA-256 over the HDL files.
        files: (path relative to the project, SHA-256).
        layer_luts: estimated LUTs of every layer of ``pipe.flow.layers``.
        estimate: estimated resources of the core.
        tools: versions of the tools that shaped the result.
        softmax: names of outputs whose softmax was left out.
    """

    name: str
    version: str
    program: TensorProgram
    pipe: Pipeline
    core: Core
    layout: LinkLayout
    top_module: str
    target: Mapping[str, Any]
    rtl_digest: str
    files: Sequence[tuple[str, str]]
    layer_luts: Sequence[int]
    estimate: Mapping[str, Any]
    tools: Mapping[str, str]
    softmax: frozenset[str]


def latency_of(manifest: Mapping[str, Any]) -> Latency:
    """Return the block's latency as the manifest states it."""
    return LinkLayout.from_dict(manifest["link"]).latency(int(manifest["latency"]["compute_cycles"]))


def build(facts: Facts) -> dict[str, Any]:
    """Return the manifest as a plain mapping, the same for the same input."""
    layout, pipe = facts.layout, facts.pipe
    inputs, outputs = ports_of(facts.program, facts.softmax)
    return {
        "schema": SCHEMA,
        "l1ml_version": facts.version,
        "name": facts.name,
        "core_module": facts.core.module,
        "top_module": facts.top_module,
        "package": facts.core.package,
        "digest": {"network": facts.core.digest, "rtl": facts.rtl_digest},
        "target": dict(facts.target),
        "latency": latency_facts(layout.latency(pipe.stages)),
        "interval": {
            "cycles": layout.link_cycles,
            "core_cycles": 1,
            "link_cycles": layout.link_cycles,
            "grid_cycles": 1,
        },
        "inputs": inputs,
        "outputs": outputs,
        "ports": {"core": _core_ports(pipe), "top": [link_port(p) for p in layout.ports]},
        "link": layout.to_dict(),
        "files": [{"path": path, "sha256": digest} for path, digest in facts.files],
        "layers": _layers(facts),
        "stages": _stages(facts),
        "best_clock_mhz": round(pipe.best_clock_mhz, 2),
        "estimate": dict(facts.estimate),
        "approximations": [{"layer": layer, "what": what} for layer, what in facts.program.approximations],
        "tools": dict(facts.tools),
    }


def ports_of(
    program: TensorProgram, softmax: frozenset[str], kinds: Sequence[TensorType] | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return inputs and outputs of the network, every element with its place in the core's vector.

    Args:
        program: the typed network.
        softmax: names of outputs whose softmax was left out.
        kinds: types of the outputs, where they are wider in hardware; None for those of the network.
    """
    inputs = [
        port_facts(port.name, port.type, str(port.quantizer.type), str(port.quantizer))
        for port in program.inputs
    ]
    types = [program.type_of(t) for _, t in program.outputs] if kinds is None else kinds
    outputs = [
        {**port_facts(name, kind, None, None), "softmax": name in softmax}
        for (name, _), kind in zip(program.outputs, types, strict=True)
    ]
    for group in (inputs, outputs):
        low = 0
        for port in group:
            for element in port["elements"]:
                element["lsb"], low = low, low + element["width"]
    return inputs, outputs


def latency_facts(latency: Latency) -> dict[str, Any]:
    """Return a latency as plain data, undone by `latency_of`.

    ``cycles`` and ``last_cycles`` count from the first input word to the first and to the last output word;
    ``tail_cycles`` and ``tail_last_cycles`` to the same from the last input word that is needed.
    """
    return {
        "cycles": latency.cycles,
        "ns": round(latency.ns, 3),
        "bx": latency.bx,
        "collect_cycles": latency.collect_cycles,
        "compute_cycles": latency.compute_cycles,
        "emit_cycles": latency.emit_cycles,
        "gathered_cycles": latency.gathered_cycles,
        "last_cycles": latency.last_cycles,
        "last_ns": round(latency.in_ns(latency.last_cycles), 3),
        "tail_cycles": latency.tail_cycles,
        "tail_ns": round(latency.in_ns(latency.tail_cycles), 3),
        "tail_last_cycles": latency.tail_last_cycles,
    }


def port_facts(name: str, kind: TensorType, text: str | None, quantizer: str | None) -> dict[str, Any]:
    """Return a port of the network with its elements."""
    elements = []
    for number, index in enumerate(np.ndindex(kind.shape)):
        element = kind.at(number)
        elements.append(
            {
                "index": list(index),
                "lsb": 0,
                "width": max(1, element.width),
                "signed": element.signed,
                "frac": element.frac,
                "lo": element.lo,
                "hi": element.hi,
            }
        )
    out: dict[str, Any] = {"name": name, "shape": list(kind.shape), "type": text, "elements": elements}
    if quantizer is not None:
        out["quantizer"] = quantizer
    return out


def _core_ports(pipe: Pipeline) -> list[dict[str, Any]]:
    ports = [
        ("clk_i", "in", 1),
        ("rst_i", "in", 1),
        ("valid_i", "in", 1),
        ("data_i", "in", input_width(pipe)),
    ]
    ports += [("valid_o", "out", 1), ("data_o", "out", output_width(pipe))]
    return [{"name": name, "direction": direction, "width": width} for name, direction, width in ports]


def link_port(port: Any) -> dict[str, Any]:
    """Return a port of the wrapper."""
    return {"name": port.name, "direction": port.direction, "width": port.width}


def _stages(facts: Facts) -> list[dict[str, Any]]:
    pipe, demand = facts.pipe, Demand(facts.pipe)
    names = wire_names(pipe.flow, list(facts.core.input_names))
    ops = Counter(pipe.stage[w] for w, s in pipe.flow.defined() if not isinstance(s.op, Constant))
    overhead, bits = pipe.family.register_overhead_ns, demand.register_bits
    return [
        {
            "index": stage,
            "delay_ns": round(time + overhead, 3),
            "registers_bits": bits[stage],
            "ops": ops[stage],
            "worst": "" if wire is None else names[wire],
        }
        for stage, (time, wire) in enumerate(pipe.worst)
    ]


def _layers(facts: Facts) -> list[dict[str, Any]]:
    program, pipe, flow = facts.program, facts.pipe, facts.pipe.flow
    demand = Demand(pipe)
    names = wire_names(flow, list(facts.core.input_names))
    stems = layer_stems(flow, list(facts.core.input_names))
    marks = {flow.layers[layer]: ports for layer, ports in flow.marks}
    numbers = {name: number for number, name in enumerate(flow.layers)}
    wires: list[list[int]] = [[] for _ in flow.layers]
    layer_of = {}
    for wire, step in flow.defined():
        layer_of[wire] = step.layer
        if not isinstance(step.op, Constant):
            wires[step.layer].append(wire)
    registers = [0] * len(flow.layers)
    for (wire, _), mask in demand.held.items():
        if wire in layer_of:
            registers[layer_of[wire]] += mask.bit_count()
    steps: dict[str, list[Any]] = {}
    for one in program.steps:
        steps.setdefault(one.layer, []).append(one)
    out = []
    for name, tensor in program.marks:
        own, index = steps.get(name, []), numbers.get(name, -1)
        made = wires[index] if index >= 0 else []
        stages = [pipe.stage[w] for w in made]
        out.append(
            {
                "name": name,
                "hdl": stems[index] if made else "",
                "kind": " + ".join(dict.fromkeys(type(s.op).__name__ for s in own)) or "Identity",
                "ops": len(made),
                "lut": int(facts.layer_luts[index]) if index >= 0 else 0,
                "ff": registers[index] if index >= 0 else 0,
                "stage_first": min(stages, default=0),
                "stage_last": max(stages, default=0),
                "weights": weights_of(own),
                "range": range_of(program.type_of(tensor), own),
                "probes": _probes(pipe, names, demand, marks.get(name, ())),
            }
        )
    return out


def weights_of(steps: Sequence[Any]) -> dict[str, Any] | None:
    """Return the range of a layer's weights, None where it has none."""
    matrices = [s.op for s in steps if isinstance(s.op, primitives.ConstMatmul)]
    if not matrices:
        return None
    op = matrices[0]
    return {
        "lo": int(op.matrix.min()),
        "hi": int(op.matrix.max()),
        "frac": op.frac,
        "zeros": int(np.count_nonzero(op.matrix == 0)),
        "count": int(op.matrix.size),
    }


def range_of(kind: TensorType, steps: Sequence[Any]) -> dict[str, Any]:
    """Return the range of a tensor, on its finest grid, and its declared type."""
    frac = kind.max_frac
    lo, hi = kind.aligned(frac)
    quantizers = [_type_text(s.op) for s in steps if isinstance(s.op, primitives.Requantize)]
    return {
        "lo": int(lo.min(initial=0)) if not lo.size else int(lo.min()),
        "hi": int(hi.max(initial=0)) if not hi.size else int(hi.max()),
        "frac": frac,
        "type": quantizers[-1] if quantizers else None,
    }


def _type_text(op: primitives.Requantize) -> str | None:
    """Return the fixed-point type of a quantizer, None where its elements have different ones."""
    if any(array.size == 0 or (array != array.flat[0]).any() for array in (op.lo, op.hi, op.frac)):
        return None
    lo, hi, frac = (int(array.flat[0]) for array in (op.lo, op.hi, op.frac))
    width = hi.bit_length() + (lo < 0)
    return str(FixedType(lo < 0, width, width - frac)) if width > 0 else None


def _probes(
    pipe: Pipeline, names: Sequence[str], demand: Demand, ports: Sequence[Any]
) -> list[dict[str, Any]]:
    """Say where a simulator sees the elements of a layer: the variable of its stage, one clock later."""
    out = []
    first = len(pipe.flow.inputs)
    for number, port in enumerate(ports):
        if port.wire < first or port.wire in demand.constants or not demand.made[port.wire]:
            continue
        kind, stage = pipe.flow.type_of(port.wire), pipe.stage[port.wire]
        if demand.computed(port.wire)[1] < kind.width:
            continue  # its upper bits were never built
        out.append(
            {
                "element": number,
                "signal": f"stage_{stage}.{names[port.wire]}",
                "width": kind.width,
                "signed": kind.signed,
                "frac": port.type.frac,
                "shift": port.zeros,
                "negate": port.negated,
                "offset": port.offset,
                "cycle": stage + 1,
            }
        )
    return out
