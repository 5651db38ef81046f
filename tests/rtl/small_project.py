# SPDX-License-Identifier: Apache-2.0
"""A small project for tests: a network made from numbers, converted like any other."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from l1ml import flow
from l1ml.config import ProjectConfig
from l1ml.graph.emulate import Emulator
from l1ml.graph.model import Model
from l1ml.graph.program import loads
from l1ml.rtl.project import read_manifest
from l1ml.validate.replay import flat

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
import networks


@dataclass(frozen=True)
class Sample:
    inputs: dict[str, np.ndarray]
    golden: dict[str, np.ndarray] | None = None
    bx: np.ndarray | None = None
    orbit: np.ndarray | None = None


class Small:
    """A converted network of a few dozen operations, with random events."""

    def __init__(
        self,
        folder: Path,
        interface: str = "emp",
        events: int = 3000,
        net: Model | None = None,
        **options: Any,
    ) -> None:
        options = {"interface": interface, "input_type": "fixed<7,3>", **options}
        config = ProjectConfig.from_mapping(options)
        net = networks.mlp((6, 8, 5, 3), seed=4) if net is None else net
        with mock.patch.object(flow.frontends, "read_model", lambda source, weights=None: source):
            self.root = flow.convert(net, config, folder)
        self.manifest = read_manifest(self.root)
        self.program = loads((self.root / "network.json").read_text(), "network.json")
        self.emulator = Emulator(self.program)
        self.inputs = networks.values(self.program, networks.random_codes(self.program, events))
        self.codes = flat(self.emulator.input_codes(self.inputs))
        self.expected = flat(self.emulator.codes(self.inputs))
        self.golden = self.emulator.values(self.inputs)[0]
        self.trace = self.emulator.trace(self.inputs)

    def samples(self, chunk: int = 2000, golden: np.ndarray | None = None) -> list[Sample]:
        truth = self.golden if golden is None else golden
        name = self.program.inputs[0].name
        return [
            Sample({name: self.inputs[0][k : k + chunk]}, {"y": truth[k : k + chunk]})
            for k in range(0, len(truth), chunk)
        ]

    @property
    def core_file(self) -> Path:
        return self.root / "firmware" / "rtl" / f"{self.manifest['core_module']}.sv"

    @property
    def top_file(self) -> Path:
        return self.root / "firmware" / "rtl" / f"{self.manifest['top_module']}.sv"
