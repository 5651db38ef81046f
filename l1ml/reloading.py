# SPDX-License-Identifier: Apache-2.0
"""Other weights for a block that runs: what must be written where, for a model of the same architecture.

The new model is laid out with the choices of the project.  All that comes out must be the same but for memories that
can be written; then the block gives the codes of the new model, since it is the block that would be made for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from l1ml import flow, planned
from l1ml.calibration import calibrate
from l1ml.config import ProjectConfig, read_yaml
from l1ml.errors import ConfigError, DataError, L1mlError
from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType
from l1ml.plan.again import Again, Recorded
from l1ml.plan.attach import AttachEngine
from l1ml.plan.fold import FoldEngine
from l1ml.plan.kept import network_of, raster_of
from l1ml.plan.network import EngineNetwork, MapNode, Node, ScanNode
from l1ml.plan.streamer import lay_out
from l1ml.rtl.project import CONFIG
from l1ml.rtl.reload import AddressMap, folds
from l1ml.workshop import fingerprint

if TYPE_CHECKING:
    from l1ml.project import Project

LOADED = ("Weights", "Initial")
"""Parameters of a Fold that can be written."""
TIMING = ("MultiplierStages", "TreeStages")
"""Parameters of engines that follow from the clock, and say nothing of what they compute."""


def writes(project: Project, model: Any, weights: str | None = None) -> list[tuple[int, int]]:
    """Return (address, data) of every write that loads a model into a block, in order.

    Args:
        project: of the block.
        model: path of the new model, or a live Keras model; read with the options of the project.
        weights: path of its weights, where the file is architecture only.

    Raises:
        ConfigError: nothing can be replaced, or the model differs in more than what can; names the layer.
    """
    config = replace(ProjectConfig.from_mapping(read_yaml(project.root / CONFIG)), weights=weights)
    read = calibrate(flow.read(model, config), config, None)
    return of_program(project, flow.typed(read.model, read.config))


def of_program(project: Project, program: TensorProgram) -> list[tuple[int, int]]:
    """Return the writes for a typed network; see `writes`."""
    facts = project.manifest.get("weights")
    if facts is None:
        raise ConfigError(
            "no weights of this block can be replaced",
            where=(str(project.root),),
            fix="set reloadable: true for a layer under plan.layers, and convert again",
        )
    found = AddressMap.from_dict(facts)
    kinds = project.manifest["choices"]["outputs"]
    first, record = laid_out(project)
    raster = raster_of(project.manifest)
    if _ports(program) != _ports(project.program):
        raise ConfigError(
            "the model has other inputs or outputs than the block",
            fix="give a model of the same architecture",
        )
    if kinds is not None:
        program = planned.on_grids(program, [_kind(data) for data in kinds])
    try:
        second = lay_out(program, raster, Again(program, record, first))
    except L1mlError as error:
        raise ConfigError(
            f"the model does not fit the block: {error.what}", where=error.where, fix=error.fix
        ) from None
    _compare(first, second)
    return found.writes(folds(second))


def text(pairs: Sequence[tuple[int, int]], manifest: Mapping[str, Any], model: str) -> str:
    """Return writes as a file for a script: ``ADDRESS DATA`` in hexadecimal, one per line, ``#`` before comments.

    Args:
        pairs: (address, data), as `writes` gives them.
        manifest: of the project.
        model: what is loaded, for people.
    """
    found = AddressMap.from_dict(manifest["weights"])
    digits = -(-found.address_bits // 4)
    names = {r.base: f"# {r.layer} {r.holds}: {r.words} x {r.word_bits} bits" for r in found.regions}
    lines = [
        f"# {Path(model).name} for {manifest['core_module']}, network {manifest['digest']['network']}",
        "# address data, 32 bits each, in this order; then one clock of weights_swap_i",
    ]
    for address, data in pairs:
        lines += [names[address]] if address in names else []
        lines.append(f"{address:0{digits}x} {data:08x}")
    return "\n".join(lines) + "\n"


def _ports(program: TensorProgram) -> list[Any]:
    ports: list[Any] = [(port.shape, str(port.quantizer)) for port in program.inputs]
    return ports + [program.type_of(tensor).shape for _, tensor in program.outputs]


def _kind(data: dict[str, Any] | None) -> TensorType | None:
    if data is None:
        return None
    return TensorType(
        *(np.array(data[n], dtype=np.int64).reshape(data["shape"]) for n in ("lo", "hi", "frac"))
    )


def laid_out(project: Project) -> tuple[EngineNetwork, Recorded]:
    """Return the engines of the project, laid out once more, and the choices behind them."""
    try:
        return network_of(project.manifest, project.program)
    except DataError as error:
        error.where = (str(project.root), *error.where)
        raise


def _lasting(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that do not follow from the clock."""
    return {name: value for name, value in parameters.items() if name not in TIMING}


def _compare(first: EngineNetwork, second: EngineNetwork) -> None:
    """Refuse a network that differs in more than what can be written.

    Raises:
        ConfigError: names the layers.
    """
    different = [
        _layers(a)
        for a, b in zip(first.nodes, second.nodes, strict=False)
        if _facts(a, first) != _facts(b, second)
    ]
    if len(first.nodes) != len(second.nodes) and not different:
        different = ["the last layers"]
    if different:
        raise ConfigError(
            f"the model differs from the block in {'; '.join(dict.fromkeys(different))}, which is not reloadable",
            fix="keep those layers as they were trained, or set reloadable: true for them and convert again",
        )


def _layers(node: Node) -> str:
    return ", ".join(node.layers) if isinstance(node, MapNode) else node.layer


def _facts(node: Node, network: EngineNetwork) -> list[Any]:
    """Return all that the hardware of a node is made from, without what can be written."""
    out: list[Any] = [type(node).__name__, node.inputs, node.outputs]
    for number in (*node.inputs, *node.outputs):
        stream = network.streams[number]
        out += [stream.raster, *(a.tolist() for a in (stream.type.lo, stream.type.hi, stream.type.frac))]
    if isinstance(node, MapNode):
        return [*out, fingerprint(node.program)]
    if isinstance(node, ScanNode):
        return [*out, fingerprint(node.recurrence.cell), node.recurrence.steps, node.x_bits]
    own = [node.ups, node.input_bits, node.result_bits, node.drops, type(node.engine).__name__]
    out += [n.tolist() if isinstance(n, np.ndarray) else n for n in own]
    out.append(_lasting(node.engine.parameters()))
    if isinstance(node.engine, AttachEngine):
        out.append(node.engine.literals())
    if isinstance(node.engine, FoldEngine):
        kept = node.engine.literals()
        out.append({k: v for k, v in kept.items() if k not in LOADED or not node.engine.reloadable})
    return out
