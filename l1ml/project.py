# SPDX-License-Identifier: Apache-2.0
"""What a user holds after a conversion: the project folder, and what can be done with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from l1ml import flow
from l1ml.checks import kind_of
from l1ml.config import ProjectConfig, read_yaml
from l1ml.errors import ConfigError, DataError, nearest
from l1ml.graph.emulate import Emulator
from l1ml.graph.program import TensorProgram, loads
from l1ml.rtl import emulator_only
from l1ml.rtl.manifest import latency_of
from l1ml.rtl.project import CONFIG, NETWORK, PRECISION, read_manifest
from l1ml.types.arrays import RealArray
from l1ml.types.timing import Latency

if TYPE_CHECKING:
    from l1ml.validate.verdict import Verdict
    from l1ml.verify.run import Verification

Inputs = ArrayLike | Mapping[str, ArrayLike]


def config_from_model(
    model: Any, weights: str | os.PathLike[str] | None = None, **options: Any
) -> dict[str, Any]:
    """Return every option for a model as a plain, editable mapping.

    Args:
        model: path of a model file, or a live Keras model.
        weights: path of the weights, where the file is architecture only.
        options: values that differ from the defaults, for example ``clock_mhz=240.47``.

    Raises:
        L1mlError: the model cannot be read, or an option is wrong.
    """
    return flow.make_config(model, weights, **options)


def convert(
    model: Any,
    *,
    config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    calibration: Any = None,
    preprocess: Callable[..., Any] | None = None,
    **options: Any,
) -> Project:
    """Convert a model into a firmware project.

    Args:
        model: path of a model file (.h5, .keras, .json with ``weights``, .onnx), or a live Keras model.
        config: options as `config_from_model` gives them, or the path of a file of them.
        output_dir: project folder; may stand in ``config`` instead.
        weights: path of the weights, where ``model`` is architecture only.
        calibration: events for post-training types: path of an event file, an array (events, ...), or with several
            inputs a mapping by input name or a sequence in their order.
        preprocess: a function written for NumPy, from raw fields to the network's inputs, both (events, ...);
            it is built into the block, and ``raw_type`` says what arrives on the link.
        options: single options by name, for example ``input_type="fixed<14,4>"``; they win over ``config``.

    Returns:
        The project.

    Raises:
        L1mlError: the model, an option or the folder does not allow it; nothing is left half written.
    """
    given = read_yaml(config) if isinstance(config, str | os.PathLike) else config or {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"config must be a mapping or the path of a YAML file, found {kind_of(given)}", where=("config",),
            fix="config_from_model(model) gives a mapping of every option",
        )  # fmt: skip
    chosen = {**given, **options}
    if isinstance(calibration, str | os.PathLike):
        chosen["calibration"], calibration = os.fspath(calibration), None
    for key, value in (("weights", weights), ("output_dir", output_dir)):
        if value is not None:
            chosen[key] = os.fspath(value)
    if isinstance(model, str | os.PathLike):
        chosen["model"] = os.fspath(model)
    if preprocess is not None:
        chosen["preprocess"] = str(getattr(preprocess, "__name__", type(preprocess).__name__))
    checked = ProjectConfig.from_mapping(chosen)
    if checked.output_dir is None:
        raise DataError(
            "no project folder is given", where=("output_dir",), fix='convert(..., output_dir="prj")'
        )
    return Project(flow.convert(model, checked, Path(checked.output_dir), calibration, preprocess))


class Project:
    """A converted model in its folder.

    Args:
        root: the folder that `convert` wrote.

    Raises:
        DataError: the folder is no complete project.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.manifest: dict[str, Any] = read_manifest(self.root)

    @classmethod
    def load(cls, root: str | os.PathLike[str]) -> Project:
        """Open the project in a folder."""
        return cls(root)

    def __repr__(self) -> str:
        if self.no_hardware is not None:
            return f"Project({str(self.root)!r}, emulator only)"
        return f"Project({str(self.root)!r}, {self.manifest['top_module']}, {self.latency})"

    @property
    def no_hardware(self) -> str | None:
        """Why the project has no RTL; None where it has."""
        hardware = self.manifest.get("hardware", {})
        return str(hardware["reason"]) if hardware.get("kind") == "none" else None

    def _need_hardware(self) -> None:
        if self.no_hardware is not None:
            raise emulator_only.refuse(self.no_hardware)

    @cached_property
    def config(self) -> ProjectConfig:
        """The options the project was made with."""
        return ProjectConfig.from_mapping(read_yaml(self.root / CONFIG), where=(str(self.root / CONFIG),))

    @cached_property
    def precision(self) -> dict[str, Any] | None:
        """Errors and overflows of post-training types over the calibration events; None without such events."""
        file = self.root / PRECISION
        try:
            return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"cannot be read: {error}", where=(str(file),), fix="run l1ml convert") from None

    @cached_property
    def program(self) -> TensorProgram:
        """The typed network; its digest must be the one in the manifest.

        Raises:
            DataError: ``network.json`` is missing or belongs to another conversion.
        """
        file = self.root / NETWORK
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(
                f"cannot read the network: {error.strerror}", where=(str(file),), fix="run l1ml convert"
            ) from None
        program = loads(text, str(file))
        if program.digest != self.manifest["digest"]["network"]:
            raise DataError(
                "network.json is not the network that this project's RTL was made from",
                where=(str(file),),
                fix="run l1ml convert again",
            )
        return program

    @cached_property
    def emulator(self) -> Emulator:
        """The bit-exact software model."""
        return Emulator(self.program)

    @property
    def latency(self) -> Latency:
        """Clocks from the first input word to the first output word: ``.cycles``, ``.ns``, ``.bx``."""
        self._need_hardware()
        return latency_of(self.manifest)

    @property
    def interval_cycles(self) -> int:
        """Clocks between two events on the link."""
        self._need_hardware()
        return int(self.manifest["interval"]["cycles"])

    def predict(self, x: Inputs, *, softmax: bool = False) -> RealArray | dict[str, RealArray]:
        """Return what the block gives for a batch of events.

        Args:
            x: (events, ...) real values on the grid of the input type; with several inputs a mapping by
                input name, or a sequence in their order.
            softmax: apply the softmax that ended the model, in float64, where it had one.

        Returns:
            float64 values on the output grid, (events, ...): logits where a softmax ended the model.
            With several outputs a mapping by output name.

        Raises:
            DataError: wrong shape or number of inputs.
            RangeError: a value is off the grid or out of range; the event is named.
        """
        values = self.emulator.values(self.arrays(x))
        if softmax:
            ports = self.manifest["outputs"]
            values = [_softmax(v) if p["softmax"] else v for v, p in zip(values, ports, strict=True)]
        if len(values) == 1:
            return values[0]
        return dict(zip((name for name, _ in self.program.outputs), values, strict=True))

    def trace(self, x: Inputs) -> dict[str, RealArray]:
        """Return the values of every layer, ``{layer name: (events, ...)}``; arguments as `predict`."""
        return self.emulator.trace(self.arrays(x))

    def arrays(self, x: Inputs) -> list[ArrayLike]:
        """Return the inputs in the network's order.

        Raises:
            DataError: names or number of inputs are wrong.
        """
        names = [port.name for port in self.program.inputs]
        if isinstance(x, Mapping):
            wrong = [name for name in x if name not in names]
            lost = [name for name in names if name not in x]
            if wrong or lost:
                hint = nearest(str((wrong or lost)[0]), names)
                raise DataError(f"inputs given are {sorted(map(str, x))}", where=("inputs",), fix=hint)
            return [x[name] for name in names]
        if len(names) == 1:
            return [x]
        if isinstance(x, Sequence) and len(x) == len(names):
            return list(x)
        raise DataError(f"the network has {len(names)} inputs", fix=f"give a mapping with {', '.join(names)}")

    def build(
        self, *, lint: bool = False, emulate: bool = False, cosim: bool = False, synth: bool = False
    ) -> dict[str, Any]:
        """Run the tools that need more than the conversion; results by step name.

        Args:
            lint: Verilator with all warnings.
            emulate: the emulator on the events of the configuration.
            cosim: build the co-simulation.
            synth: Yosys; LUT, FF, DSP, BRAM and logic depth.
        """
        from l1ml import actions  # matplotlib and the simulators load only when they are used

        self._need_hardware()
        return actions.build(self, lint_rtl=lint, emulate=emulate, cosim=cosim, synth=synth)

    def emulate(self, events: str | os.PathLike[str], output: str | os.PathLike[str]) -> dict[str, Any]:
        """Run the emulator over an event file and write its outputs to another."""
        from l1ml import actions  # matplotlib and the simulators load only when they are used

        return actions.emulate(self, Path(events), Path(output))

    def replay(
        self,
        events: str | os.PathLike[str] | ArrayLike,
        *,
        max_events: int | None = None,
        bench: str = "bulk",
        self_test: bool = False,
    ) -> Verdict:
        """Send events through emulator and RTL, wrapper included, and compare everything.

        Args:
            events: an HDF5 event file, or an array (events, ...).
            max_events: stop after so many.
            bench: ``bulk`` (compiled, fast) or ``cocotb`` (the contract: gaps, resets, framing errors).
            self_test: mutate RTL and golden and prove that the comparison fails.
        """
        from l1ml import actions  # matplotlib and the simulators load only when they are used

        self._need_hardware()
        return actions.replay_events(self, events, max_events=max_events, bench=bench, self_test=self_test)

    def verify(
        self,
        events: str | os.PathLike[str] | None = None,
        *,
        stimuli: int | None = None,
        framework: str | None = None,
        python: str | os.PathLike[str] | None = None,
        max_events: int | None = None,
    ) -> Verification:
        """Run the model file in its own framework beside the project's emulator, and compare every layer.

        Args:
            events: an event file; None for generated ties, thresholds and ends of ranges.
            stimuli: how many events to generate; default 1000.
            framework: keras, qkeras, hgq2 or onnx; None finds out.
            python: interpreter in which the framework is installed; None for this one.
            max_events: stop after so many.

        Returns:
            What was compared: ``.passed``, ``print(...)``, ``.to_dict()``.
        """
        from l1ml import verification  # what it needs loads only when it is used

        return verification.run(
            verification.network(self),
            events=None if events is None else Path(events),
            stimuli=stimuli,
            framework=framework,
            python=None if python is None else Path(python),
            max_events=max_events,
        )

    def weights(self, model: Any, weights: str | os.PathLike[str] | None = None) -> list[tuple[int, int]]:
        """Return (address, data) of every write that loads a retrained model into a block with reloadable weights.

        Args:
            model: path of the model file, or a live Keras model, of the same architecture.
            weights: path of the weights, where the file is architecture only.

        Raises:
            ConfigError: nothing is reloadable, or the model differs in what is not; names layers and numbers.
        """
        from l1ml import reloading  # the planner loads only when it is used

        self._need_hardware()
        return reloading.writes(self, model, None if weights is None else os.fspath(weights))

    def gate(self, budget: str | os.PathLike[str], junit: str | os.PathLike[str] | None = None) -> Verdict:
        """Check the project and its last verdict against a budget file."""
        from l1ml import actions  # matplotlib and the simulators load only when they are used

        self._need_hardware()
        return actions.gate(self, Path(budget), None if junit is None else Path(junit))

    def report(self) -> list[Path]:
        """Write the report; returns the files, Markdown first."""
        from l1ml import actions  # matplotlib and the simulators load only when they are used

        if self.precision is None:
            self._need_hardware()
        return actions.write_project_report(self)


def _softmax(x: RealArray) -> RealArray:
    exp = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=-1, keepdims=True))
