# SPDX-License-Identifier: Apache-2.0
"""What a planned block says of itself: its engines, its choices, the types of its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from l1ml.graph.primitives.convert import Requantize
from l1ml.graph.program import TensorProgram, TensorStep
from l1ml.graph.tensor import TensorType
from l1ml.plan import choose
from l1ml.plan.again import Recorded
from l1ml.plan.fold import FoldEngine
from l1ml.plan.network import EngineNode, MapNode
from l1ml.plan.streamer import lay_out
from l1ml.streamed import Streamed
from l1ml.types.fixed import Overflow, Rounding


def output_types(block: Streamed, program: TensorProgram) -> list[TensorType | None] | None:
    """Return the types of the outputs that are not those of the network in hardware; None where all are.

    They differ where an output comes from weights that can be replaced.
    """
    network = block.plan.timed.network
    if not any(isinstance(n, EngineNode) and getattr(n.engine, "reloadable", False) for n in network.nodes):
        return None
    given = [program.type_of(tensor) for _, tensor in program.outputs]
    made = [network.streams[s].type.reshaped(t.shape) for s, t in zip(network.outputs, given, strict=True)]
    names = ("lo", "hi", "frac")
    same = [
        all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)
        for a, b in zip(given, made, strict=True)
    ]
    return None if all(same) else [None if s else kind for s, kind in zip(same, made, strict=True)]


def on_grids(program: TensorProgram, kinds: Sequence[TensorType | None]) -> TensorProgram:
    """Return a network whose outputs are on the grids of some types, which hold them; None leaves one as it is."""
    steps, outputs = list(program.steps), []
    for (name, tensor), kind in zip(program.outputs, kinds, strict=True):
        if kind is None:
            outputs.append((name, tensor))
            continue
        op = Requantize(kind.lo, kind.hi, kind.frac, Rounding.TRN, Overflow.SAT)
        steps.append(TensorStep(op, (tensor,), name, op.infer(program.type_of(tensor))))
        outputs.append((name, len(program.inputs) + len(steps) - 1))
    return replace(program, steps=tuple(steps), outputs=tuple(outputs))


def choices(
    block: Streamed, program: TensorProgram, kinds: Sequence[TensorType | None] | None
) -> dict[str, Any]:
    """Return what the plan chose as plain data, to lay it out once more; `l1ml.plan.kept` reads it.

    Args:
        block: the planned block.
        program: its network.
        kinds: types of its outputs, as `output_types` gives them.
    """
    plan = block.plan
    record = Recorded(choose.choices(program, plan.goal, plan.slices, plan.split))
    lay_out(program, block.raster, record)
    return {
        "luts": plan.goal.luts,
        "raster": [block.raster.rows, block.raster.columns, block.raster.lanes],
        **record.to_dict(),
        "outputs": None if kinds is None else [None if kind is None else _plain(kind) for kind in kinds],
    }


def _plain(kind: TensorType) -> dict[str, Any]:
    return {"shape": list(kind.shape), **{n: getattr(kind, n).ravel().tolist() for n in ("lo", "hi", "frac")}}


def describe(block: Streamed) -> list[dict[str, Any]]:
    """Return the plan as plain data, engine by engine, for ``manifest.json``."""
    timed = block.plan.timed
    out = []
    for number, node in enumerate(timed.network.nodes):
        times = timed.times[node.outputs[0]]
        made = node.engine if isinstance(node, EngineNode) else timed.scans.get(number)
        engine = "map" if made is None else made.MODULE.removeprefix("l1ml_")
        layers = list(node.layers) if isinstance(node, MapNode) else [node.layer]
        used = block.plan.parts[number]
        entry: dict[str, Any] = {
            "engine": engine if engine != "map" or number in block.pipes else "wires",
            "layers": layers,
            "out": [str(timed.network.streams[s]) for s in node.outputs],
            "first_cycle": int(times[0]),
            "last_cycle": int(times[-1]),
            "busy_cycles": timed.busy[number],
            "stages": block.pipes[number].stages if number in block.pipes else 0,
            "resources": used.to_dict(),
        }
        if made is not None:
            entry["parameters"] = made.parameters()
        paces = [wait.pace for wait in timed.waits[number] if wait.pace is not None]
        if paces:
            entry["pace"] = paces[0].parameters()
        if isinstance(made, FoldEngine):
            entry |= {"multiplier": made.multiplier, "weights": made.memory()}
        out.append(entry)
    return out
