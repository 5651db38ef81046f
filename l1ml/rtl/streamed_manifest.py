# SPDX-License-Identifier: Apache-2.0
"""``manifest.json`` of a streamed block: the same facts as of a parallel one, and its plan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType
from l1ml.links.layout import LinkLayout
from l1ml.plan.paths import Path
from l1ml.rtl import manifest
from l1ml.rtl.demand import Demand
from l1ml.schedule.delay import Family
from l1ml.schedule.pipeline import Pipeline
from l1ml.types.timing import Latency


@dataclass(frozen=True)
class Facts:
    """What the manifest of a streamed block is made of.

    Args:
        name: name of the project.
        version: version of this tool.
        program: the typed network.
        core_module: the core.
        package: its constants.
        top_module: the wrapper.
        layout: the link around it.
        latency: of the block.
        interval: least clocks between two events at the core.
        pipes: pipelined Maps by number of their node.
        paths: the longest one of every engine, with its place.
        family: delay model, sized for the block.
        plan: engine by engine, plain data.
        choices: what the plan chose, to lay it out once more.
        passed: ways with fewer positions per beat that do not fit, and why.
        estimate: resources of the whole core.
        target: part, clock, TMUX and interface.
        rtl_digest: SHA-256 over the HDL files.
        files: (path relative to the project, SHA-256).
        tools: versions of the tools that shaped the result.
        softmax: names of outputs whose softmax was left out.
        outputs: types of the outputs in hardware; None for those of the network.
        weights: what can be replaced; None for nothing.
    """

    name: str
    version: str
    program: TensorProgram
    core_module: str
    package: str
    top_module: str
    layout: LinkLayout
    latency: Latency
    interval: int
    pipes: Mapping[int, Pipeline]
    paths: Sequence[tuple[str, Path]]
    family: Family
    plan: Sequence[Mapping[str, Any]]
    choices: Mapping[str, Any]
    passed: Sequence[str]
    estimate: Mapping[str, Any]
    target: Mapping[str, Any]
    rtl_digest: str
    files: Sequence[tuple[str, str]]
    tools: Mapping[str, str]
    softmax: frozenset[str]
    outputs: Sequence[TensorType] | None = None
    weights: Mapping[str, Any] | None = None


def build(facts: Facts) -> dict[str, Any]:
    """Return the manifest as a plain mapping, the same for the same input."""
    layout, program = facts.layout, facts.program
    inputs, outputs = manifest.ports_of(program, facts.softmax, facts.outputs)
    core_ports = [("clk_i", "in", 1), ("rst_i", "in", 1), ("valid_i", "in", 1)]
    core_ports += [("start_i", "in", 1)] if layout.beat_count else []
    core_ports += [("data_i", "in", layout.beat_width)]
    core_ports += [
        (p.name, p.direction, p.width) for p in layout.ports if p.role.value.startswith("weights_")
    ]
    core_ports += [
        ("valid_o", "out", 1),
        ("data_o", "out", layout.out_width),
    ]
    return {
        "schema": manifest.SCHEMA,
        "l1ml_version": facts.version,
        "name": facts.name,
        "hardware": {"kind": "streamed", "passed": list(facts.passed)},
        "core_module": facts.core_module,
        "top_module": facts.top_module,
        "package": facts.package,
        "digest": {"network": program.digest, "rtl": facts.rtl_digest},
        "target": dict(facts.target),
        "latency": manifest.latency_facts(facts.latency),
        "interval": {
            "cycles": layout.link_cycles,
            "core_cycles": facts.interval,
            "link_cycles": layout.link_cycles,
            "grid_cycles": grid_cycles(facts.plan),
        },
        "plan": list(facts.plan),
        "choices": dict(facts.choices),
        **({} if facts.weights is None else {"weights": dict(facts.weights)}),
        "inputs": inputs,
        "outputs": outputs,
        "ports": {
            "core": [{"name": n, "direction": d, "width": w} for n, d, w in core_ports],
            "top": [manifest.link_port(p) for p in layout.ports],
        },
        "link": layout.to_dict(),
        "files": [{"path": path, "sha256": digest} for path, digest in facts.files],
        "layers": _layers(facts),
        "stages": _stages(facts),
        "best_clock_mhz": _best_clock_mhz(facts),
        "estimate": dict(facts.estimate),
        "approximations": [{"layer": layer, "what": what} for layer, what in program.approximations],
        "tools": dict(facts.tools),
    }


def grid_cycles(plan: Sequence[Mapping[str, Any]]) -> int:
    """Return the clocks of which events must lie whole multiples apart to keep their latency.

    A shared recurrent cell serves events in turn: one that comes out of turn may have to wait.
    """
    return math.lcm(*(int(node["parameters"]["Interval"]) for node in plan if node["engine"] == "scan"))


def _layers(facts: Facts) -> list[dict[str, Any]]:
    """Return every layer with the resources of the engines that are its alone."""
    program = facts.program
    steps: dict[str, list[Any]] = {}
    for one in program.steps:
        steps.setdefault(one.layer, []).append(one)
    out = []
    for name, tensor in program.marks:
        own = steps.get(name, [])
        engines = [node for node in facts.plan if name in node["layers"]]
        shares = [(node["resources"], len(node["layers"])) for node in engines]
        out.append(
            {
                "name": name,
                "hdl": "",
                "kind": " + ".join(dict.fromkeys(type(s.op).__name__ for s in own)) or "Identity",
                "ops": sum(type(s.op).__name__ != "Reshape" for s in own),
                "lut": round(sum(r["lut"] / n for r, n in shares)),
                "ff": round(sum(r["ff"] / n for r, n in shares)),
                "stage_first": min((node["first_cycle"] for node in engines), default=0),
                "stage_last": max((node["last_cycle"] for node in engines), default=0),
                "weights": manifest.weights_of(own),
                "range": manifest.range_of(program.type_of(tensor), own),
                "probes": [],
            }
        )
    return out


def _best_clock_mhz(facts: Facts) -> float:
    """Return the fastest clock that Maps and engines allow by the delay model, 0 where there are only wires."""
    found = [pipe.best_clock_mhz for pipe in facts.pipes.values()]
    found += [facts.family.clock_mhz(path.ns) for _, path in facts.paths]
    return round(min(found, default=0.0), 2)


def _stages(facts: Facts) -> list[dict[str, Any]]:
    """Return the stages of all Maps, one after the other, and the longest path of every engine."""
    out: list[dict[str, Any]] = []
    for node, pipe in sorted(facts.pipes.items()):
        bits = Demand(pipe).register_bits
        overhead = pipe.family.register_overhead_ns
        out += [
            {
                "index": len(out) + stage,
                "delay_ns": round(time + overhead, 3),
                "registers_bits": bits[stage],
                "ops": sum(s == stage for s in pipe.stage[len(pipe.flow.inputs) :]),
                "worst": f"map {node}",
            }
            for stage, (time, _) in enumerate(pipe.worst)
        ]
    overhead = facts.family.register_overhead_ns
    out += [
        {
            "index": len(out) + number,
            "delay_ns": round(path.ns + overhead, 3),
            "registers_bits": 0,
            "ops": 0,
            "worst": f"{place}: {path.name}",
        }
        for number, (place, path) in enumerate(facts.paths)
    ]
    return out
