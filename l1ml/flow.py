# SPDX-License-Identifier: Apache-2.0
"""The way from a model file to a firmware project, step by step.  Nothing here looks back.

model file --frontends--> Model --passes--> TensorProgram --lower--> Dataflow --schedule--> Pipeline
  --rtl--> SystemVerilog + link wrapper + manifest.json + network.json
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from l1ml import frontends, planned, preprocess, streamed
from l1ml.calibration import calibrate, suggest
from l1ml.config import ProjectConfig, default_mapping
from l1ml.dataflow.program import Dataflow
from l1ml.errors import ConfigError, DataError, ModelError, TimingError
from l1ml.graph import build
from l1ml.graph.model import Model, Softmax
from l1ml.graph.program import TensorProgram
from l1ml.graph.tensor import TensorType
from l1ml.hardware import hardware_of
from l1ml.links import spacing, spec
from l1ml.links.layout import LinkLayout
from l1ml.links.resolve import Element, resolve
from l1ml.lowering.lower import lower
from l1ml.plan.price import listed
from l1ml.plan.reach import reach
from l1ml.plan.registers import longest
from l1ml.rtl import cells, emulator_only, engines, manifest, project, reload, streamed_manifest, wrapper
from l1ml.rtl.systemverilog import Core, LinkFacts, print_core, print_package
from l1ml.schedule.delay import family_of
from l1ml.schedule.pipeline import Pipeline, pipeline
from l1ml.synth import estimate, vivado
from l1ml.types.timing import LHC_MHZ, Clock, Latency
from l1ml.version import VERSION, tool_versions


def convert(
    source: Any,
    config: ProjectConfig,
    output_dir: Path,
    calibration: Any = None,
    prepare: preprocess.Function | None = None,
) -> Path:
    """Write the firmware project of a model.

    Args:
        source: path of a model file, or a live Keras model.
        config: the options.
        output_dir: an empty or new folder, or an earlier project, which is replaced.
        calibration: events for post-training types, as arrays; else those that ``config`` names.
        prepare: preprocessing in front of the network, see `l1ml.preprocess.prepend`.

    Returns:
        ``output_dir``.

    Raises:
        L1mlError: the model, the options or the folder do not allow it; nothing is left half written.
    """
    model, given = read(source, config, prepare), config.input_type
    if prepare is not None:
        config = replace(config, input_type=None)  # it stands behind the function now
    calibrated = calibrate(model, config, calibration)
    model, config = calibrated.model, calibrated.config
    program = typed(model, config)
    if prepare is not None:
        config = replace(config, input_type=given)
    texts = {"network.json": program.dumps(), **calibrated.files(program)}
    wanted = hardware_of(program, config)
    if wanted.kind == "none":
        return _without_hardware(program, texts, model, config, output_dir, wanted.reason)
    if wanted.kind == "streamed":
        try:
            return _streamed(program, texts, model, config, output_dir)
        except TimingError:
            if not wanted.otherwise:
                raise
    options, config = config, settled(config)
    flow = lower(program)
    pipe = schedule(flow, config)
    core = Core(f"{config.name}_core", tuple(input_names(program)), program.digest)
    top = f"{config.name}_{config.interface}"
    layout = link(program, config)
    latency = layout.latency(pipe.stages)
    check_latency_budget(latency, config)
    link_facts = LinkFacts(latency, layout.link_cycles, layout.tmux)
    files = {
        f"firmware/rtl/{core.package}.sv": print_package(core, pipe, link_facts),
        f"firmware/rtl/{core.module}.sv": print_core(core, pipe),
        f"firmware/rtl/{top}.sv": wrapper.render_wrapper(
            layout, core_module=core.module, package=core.package, top_module=top
        ),
        **{
            f"firmware/rtl/{cell.name}": cell.read_text(encoding="utf-8")
            for cell in wrapper.library_cells(layout)
        },
    }
    luts, total = estimate.of_pipeline(pipe)
    facts = manifest.Facts(
        name=config.name,
        version=VERSION,
        program=program,
        pipe=pipe,
        core=core,
        layout=layout,
        top_module=top,
        target=_target(config, layout, pipe.family.name),
        rtl_digest=project.digest(files),
        files=project.digests(files),
        layer_luts=luts,
        estimate=total,
        tools=tool_versions(),
        softmax=frozenset(softmax_outputs(model)),
    )
    written = {**files, **_constraints(top, config, layout, files), **texts}
    return project.write(output_dir, written, options.to_mapping(), manifest.build(facts))


def _target(config: ProjectConfig, layout: LinkLayout, family: str) -> dict[str, Any]:
    return {
        "part": config.part,
        "family": family,
        "clock_mhz": config.clock_mhz,
        "tmux": layout.tmux,
        "interface": config.interface,
    }


def _constraints(
    top: str, config: ProjectConfig, layout: LinkLayout, files: Mapping[str, str]
) -> dict[str, str]:
    return {
        f"firmware/constraints/{top}.xdc": vivado.ooc_xdc(
            top, config.clock_mhz, clock_port=layout.clock_port
        ),
        "firmware/vivado_ooc.tcl": vivado.ooc_tcl(top, config.part, sorted(files)),
    }


def _streamed(
    program: TensorProgram, texts: dict[str, str], model: Model, options: ProjectConfig, output_dir: Path
) -> Path:
    """Write a project whose events arrive as beats, or take more than one clock."""
    config = with_link_clock(streamed.with_interface(options))
    ins, outs = elements(program)
    block = streamed.plan(program, config, ins, outs)
    kinds, outputs = planned.output_types(block, program), None
    if kinds is not None:  # weights to come may give wider results than those of today
        program = planned.on_grids(program, kinds)
        outputs = [
            program.type_of(t) if k is None else k for k, (_, t) in zip(kinds, program.outputs, strict=True)
        ]
        outs = _output_elements([(n, kind) for (n, _), kind in zip(program.outputs, outputs, strict=True)])
        block = streamed.plan(program, config, ins, outs)
        texts = {**texts, "network.json": program.dumps()}
    timed = block.plan.timed
    memories = reload.address_map(timed.network)
    described = planned.describe(block)
    read = reach(timed)
    layout = spacing.guarded(
        block.layout,
        interval=timed.interval,
        grid=streamed_manifest.grid_cycles(described),
        last_cycles=block.latency.last_cycles,
        committed=read.committed,
        needed=read.needed,
    )
    layout = layout if memories is None else reload.behind(layout, memories)
    core = Core(f"{config.name}_core", (), program.digest)
    top = f"{config.name}_{config.interface}"
    names = engines.StreamedCore(core.module, core.digest, config.clock_mhz, layout.link_cycles)
    facts_of_link = LinkFacts(block.latency, layout.link_cycles, layout.tmux)
    hdl = {
        core.package: engines.print_package(names, timed, layout.out_width, facts_of_link),
        **engines.print_network(names, timed, block.pipes),
        top: wrapper.render_wrapper(layout, core_module=core.module, package=core.package, top_module=top),
    }
    library = {cell.name: cell.read_text(encoding="utf-8") for cell in wrapper.library_cells(layout)}
    library |= {f"{cell}.sv": cells.cell_text(cell) for cell in cells.used(timed)}
    files = {f"firmware/rtl/{name}.sv": text for name, text in hdl.items()}
    files |= {f"firmware/rtl/{name}": text for name, text in library.items()}
    facts = streamed_manifest.Facts(
        name=config.name,
        version=VERSION,
        program=program,
        core_module=core.module,
        package=core.package,
        top_module=top,
        layout=layout,
        latency=block.latency,
        interval=timed.interval,
        pipes=block.pipes,
        paths=longest(timed, block.family),
        family=block.family,
        plan=described,
        estimate={
            **block.plan.total.to_dict(),
            "method": estimate.METHOD,
            "weighed_as": listed(config.part),
        },
        target=_target(config, layout, block.family.name),
        rtl_digest=project.digest(files),
        files=project.digests(files),
        tools=tool_versions(),
        softmax=frozenset(softmax_outputs(model)),
        outputs=outputs,
        choices=planned.choices(block, program, kinds),
        passed=block.passed,
        weights=None if memories is None else memories.to_dict(),
    )
    written = {**files, **_constraints(top, config, layout, files), **texts}
    if memories is not None:
        written[reload.GUIDE] = reload.guide(memories)
    return project.write(output_dir, written, options.to_mapping(), streamed_manifest.build(facts))


def read(source: Any, config: ProjectConfig, prepare: preprocess.Function | None = None) -> Model:
    """Return the network, its preprocessing in front.

    Raises:
        ConfigError: the configuration speaks of a preprocessing function, and none is given.
    """
    model = frontends.read_model(source, weights=config.weights)
    if prepare is not None:
        return preprocess.prepend(model, prepare, config.raw_type or {}, config.input_type)
    if config.preprocess is not None:
        raise ConfigError(
            f"the network is preprocessed by {config.preprocess!r}, and a configuration cannot run code",
            where=("preprocess",),
            fix="give it: l1ml convert --preprocess FILE.py:FUNCTION, or convert(..., preprocess=function)",
        )
    return model


def settled(config: ProjectConfig) -> ProjectConfig:
    """Return the options of a parallel block: its link where none is asked for."""
    return with_link_clock(replace(config, interface="emp") if config.interface == "auto" else config)


def _without_hardware(
    program: TensorProgram,
    texts: dict[str, str],
    model: Model,
    config: ProjectConfig,
    output_dir: Path,
    reason: str,
) -> Path:
    facts = emulator_only.manifest(
        program,
        name=config.name,
        version=VERSION,
        target={
            "part": config.part,
            "clock_mhz": config.clock_mhz,
            "tmux": config.tmux or 1,
            "interface": config.interface,
        },
        tools=tool_versions(),
        softmax=frozenset(softmax_outputs(model)),
        reason=reason,
    )
    return project.write(output_dir, texts, config.to_mapping(), facts)


def make_config(source: Any, weights: str | os.PathLike[str] | None = None, **options: Any) -> dict[str, Any]:
    """Return every option for a model: the defaults, ``options``, and what the model itself says.

    Raises:
        L1mlError: the model cannot be read, or an option is wrong.
    """
    mapping = {**default_mapping(), **options}
    if isinstance(source, str | os.PathLike):
        mapping["model"] = os.fspath(source)
    if weights is not None:
        mapping["weights"] = os.fspath(weights)
    config = ProjectConfig.from_mapping(mapping)
    if config.interface != "auto":
        spec.load(config.interface)
    family_of(config.part)
    for key, file in (("events", config.events), ("calibration", config.calibration)):
        if file is not None and not Path(file).is_file():
            raise DataError(
                "there is no such file", where=(key, file), fix="correct the path, or leave it out"
            )
    model = frontends.read_model(source, weights=config.weights)
    if config.input_type is None:
        own = {i.name: build.own_quantizer(model, i) for i in model.inputs}
        if all(own.values()):
            mapping["input_type"] = {name: str(kind) for name, kind in own.items()}
    return suggest(model, ProjectConfig.from_mapping(mapping)).to_mapping()


def typed(model: Model, config: ProjectConfig) -> TensorProgram:
    """Return the network with an exact type on every tensor."""
    if config.keep_softmax and softmax_outputs(model):
        raise ModelError(
            "the model ends in a softmax, which has no exact form in hardware",
            where=(model.source, "keep_softmax"),
            fix="set keep_softmax: false; the logits give the same order of the classes",
        )
    return build.to_program(build.input_quantizers(model, config.input_type), strict=config.strict)


def schedule(flow: Dataflow, config: ProjectConfig) -> Pipeline:
    """Return the stages for the clock, with nets as long as a design of this size has them."""
    luts = int(estimate.of_dataflow(flow)["lut"])
    return pipeline(flow, family_of(config.part, luts), config.clock_mhz, config.stages)


def check_latency_budget(latency: Latency, config: ProjectConfig) -> None:
    """Refuse a block that is slower than the user allows.

    Raises:
        TimingError: the latency is above ``latency_budget_ns``; says what each part takes.
    """
    budget = config.latency_budget_ns
    if budget is not None and latency.ns > budget:
        raise TimingError(
            f"the latency is {latency}, the budget is {budget:g} ns",
            where=("latency_budget_ns",),
            fix="spread the inputs over more links (links.links_in), or raise the budget",
        )


def with_link_clock(config: ProjectConfig) -> ProjectConfig:
    """Return the options with the clock of a link that is locked to the LHC: 360 MHz there means 360.71.

    Stages planned for exactly 360 MHz would be 0.2 % too slow for it.
    """
    multiple = Clock(config.clock_mhz).lhc_multiple
    if spec.load(config.interface).frame is not spec.FrameRule.LINK or multiple is None:
        return config
    exact = round(multiple * LHC_MHZ, 2)
    return config if abs(config.clock_mhz - exact) < 0.02 else replace(config, clock_mhz=exact)


def link(program: TensorProgram, config: ProjectConfig) -> LinkLayout:
    """Return where every input and output element lies on the link."""
    ins, outs = elements(program)
    clock = Clock(config.clock_mhz)
    return resolve(config.interface, ins, outs, clock=clock, tmux=config.tmux, options=config.links)


def elements(program: TensorProgram) -> tuple[list[Element], list[Element]]:
    """Return the elements of inputs and outputs as fields of a link."""
    ins = _elements([(p.name, p.type) for p in program.inputs])
    outs = [(n, program.type_of(t)) for n, t in program.outputs]
    return [Element(name, kind.width, kind.signed) for name, kind in ins], _output_elements(outs)


def _output_elements(ports: list[tuple[str, TensorType]]) -> list[Element]:
    return [Element(name, max(1, kind.width), kind.signed) for name, kind in _elements(ports)]


def _elements(ports: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [
        (f"{name}[{','.join(map(str, index))}]", kind.at(number))
        for name, kind in ports
        for number, index in enumerate(np.ndindex(kind.shape))
    ]


def input_names(program: TensorProgram) -> list[str]:
    """Return the HDL name of every input element: ``x_3``, or ``x1_3`` where there are several inputs."""
    single = len(program.inputs) == 1
    stems = ["x" if single else f"x{n}" for n in range(len(program.inputs))]
    return [f"{stem}_{k}" for stem, p in zip(stems, program.inputs, strict=True) for k in range(p.type.size)]


def softmax_outputs(model: Model) -> list[str]:
    """Return the names of the block's outputs whose softmax, the last step of the network, is left out."""
    ends = [la for la in model.layers if isinstance(la, Softmax) and la.name in model.outputs]
    return [la.name if len(model.outputs) > 1 else la.inputs[0] for la in ends]
