# SPDX-License-Identifier: Apache-2.0
"""Verification of a model, or of the network in a project, beside the model's own framework."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l1ml import calibration, flow
from l1ml.config import ProjectConfig
from l1ml.errors import ConfigError, DataError
from l1ml.graph.emulate import Emulator
from l1ml.graph.model import Model
from l1ml.graph.program import TensorProgram
from l1ml.verify.run import Subject, Verification, verify
from l1ml.verify.stimuli import generate

if TYPE_CHECKING:
    from l1ml.project import Project

STIMULI = 1000


@dataclass(frozen=True, eq=False)
class Network:
    """A network and the model file it is compared with.

    Args:
        model: as read from that file.
        program: the typed network.
        file: the model file.
        weights: its weights, where it is architecture only.
    """

    model: Model
    program: TensorProgram
    file: Path
    weights: Path | None


def network(
    project: Project | None, model: str | None = None, weights: str | None = None, input_type: Any = None
) -> Network:
    """Return what is to be verified: the network of a project as its firmware has it, or that of a model file.

    Args:
        project: a project; None for the network that would be made of ``model``.
        model: model file; None for the one that the project names.
        weights: its weights; None for those that the project names.
        input_type: type of the inputs, or types by name, where neither project nor model says it.

    Raises:
        ConfigError: no model is named, or the framework does not know its types or its preprocessing.
        DataError: the model file is not there.
        L1mlError: the model cannot be converted.
    """
    if project is None:
        if model is None:
            raise ConfigError("no model is given", fix="say --model M, or --project PRJ")
        options = {"model": model, "weights": weights, "input_type": input_type}
        return _read(ProjectConfig.from_mapping({k: v for k, v in options.items() if v is not None}))
    place = (str(project.root),)
    if input_type is not None:
        raise ConfigError("a project has its input types", where=("input_type",), fix="leave it out")
    config = replace(
        project.config, model=model or project.config.model, weights=weights or project.config.weights
    )
    if config.preprocess is not None:
        raise ConfigError(
            f"the block begins with the function {config.preprocess!r}, which the framework does not know",
            where=place,
            fix="verify the network alone: l1ml verify --model M --input-type TYPE",
        )
    if config.model is None:
        raise ConfigError("the project was made from a model in memory", where=place, fix="say --model M")
    if not Path(config.model).is_file():
        raise DataError("the model is not there", where=(*place, config.model), fix="say --model M")
    return _read(config, project.program)


def _read(config: ProjectConfig, program: TensorProgram | None = None) -> Network:
    assert config.model is not None
    model = flow.read(config.model, config)
    calibrated = calibration.calibrate(model, replace(config, calibration=None))
    if calibrated.types:
        places = ", ".join(sorted({slot.layer for slot in calibrated.types})[:5])
        raise ConfigError(
            f"the types of {places} are yours, so the framework has no integers to compare with",
            where=("precision",),
            fix="measure the error instead: convert with calibration events",
        )
    if program is None:
        program = flow.typed(calibrated.model, calibrated.config)
    return Network(
        model, program, Path(config.model), None if config.weights is None else Path(config.weights)
    )


def run(
    subject: Network,
    *,
    events: Path | None = None,
    stimuli: int | None = None,
    framework: str | None = None,
    python: Path | None = None,
    max_events: int | None = None,
    report: Path | None = None,
) -> Verification:
    """Run the framework beside the emulator, layer by layer; see `l1ml.verify.run`.

    Args:
        subject: what `network` gave.
        events: event file; None for generated boundaries.
        stimuli: how many events to generate.
        framework: keras, qkeras, hgq2 or onnx; None finds out.
        python: interpreter with the framework; None for this one.
        max_events: stop after so many.
        report: JSON file to write the result to.

    Raises:
        DataError: the events do not fit the network.
        ToolError: the framework is not there, or cannot run the model.
    """
    program, coverage = subject.program, None
    if events is not None:
        arrays = calibration.read(events, subject.model).arrays
        codes = Emulator(program).input_codes([x[:max_events] for x in arrays])
    else:
        codes, coverage = generate(program, min(stimuli or STIMULI, max_events or 1 << 30))
    found = verify(program, codes, Subject(subject.file, subject.weights, framework, python), coverage)
    if report is not None:
        report.write_text(json.dumps(found.to_dict(), indent=1) + "\n", encoding="utf-8")
    return found
