# SPDX-License-Identifier: Apache-2.0
"""The bare core in simulation: an event every ``spacing`` clocks, outputs and inner signals as codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.cosim.build import Wire
from l1ml.cosim.harness import Harness, build
from l1ml.cosim.pack import Slot, pack, unpack
from l1ml.types.arrays import BoolArray, IntArray, WordArray


@dataclass(frozen=True)
class CoreRun:
    """What the core gave for a batch of events.

    Args:
        codes: (events, elements) at the clock the manifest's latency says.
        on_time: valid_o was high at that clock, per event.
        spurious: clocks with valid_o high where no event is due.
        rows: everything sampled, (clocks, chunks).
        first_rows: clock at which every event entered.
    """

    codes: IntArray
    on_time: BoolArray
    spurious: int
    rows: WordArray
    first_rows: IntArray


class CoreSimulation:
    """The bare core, compiled.

    Args:
        manifest: of the project.
        root: project folder.
        build_dir: folder of the build cache.
        probes: sample the layers' boundaries as well; a build of its own.
        fast: optimization of the compiler; ``-O0`` builds quickest, for few events.
        selector: an additional input of 16 bits that `run` holds at a constant.

    Raises:
        ToolError: the simulator is missing or failed.
    """

    def __init__(
        self,
        manifest: Mapping[str, Any],
        root: Path,
        build_dir: Path,
        *,
        probes: bool = False,
        fast: str | None = None,
        selector: str | None = None,
    ) -> None:
        self.manifest = manifest
        self.ins, self.outs = slots(manifest["inputs"]), slots(manifest["outputs"])
        self.in_width = max(slot.lsb + slot.width for slot in self.ins)
        self.out_width = max(slot.lsb + slot.width for slot in self.outs)
        self.latency = int(manifest["latency"]["compute_cycles"])
        signals = (
            {p["signal"]: Wire(p["signal"], int(p["width"])) for p in all_probes(manifest)} if probes else {}
        )
        self.harness: Harness = build(
            core_sources(manifest, root),
            str(manifest["core_module"]),
            [Wire("valid_i", 1), Wire("data_i", self.in_width), *([Wire(selector, 16)] if selector else [])],
            [Wire("valid_o", 1), Wire("data_o", self.out_width)],
            build_dir,
            probes=list(signals.values()),
            fast=fast,
        )

    def run(
        self, codes: IntArray, *, spacing: int = 1, threads: int = 1, seed: int = 1, selected: int = 0
    ) -> CoreRun:
        """Send events, one every ``spacing`` clocks; idle clocks carry random data.

        Args:
            codes: input codes, (events, elements).
            spacing: clocks from event to event.
            threads: models that run at the same time.
            seed: of uninitialised state and idle data.
            selected: value of the selector, where the core has one.
        """
        events = len(codes)
        first_rows = np.arange(events, dtype=np.int64) * spacing
        clocks = events * spacing + self.latency + 2
        idle = np.random.default_rng(seed).integers(0, 1 << 63, (min(clocks, 4096), 1), dtype=np.uint64)
        rows = np.zeros((clocks, self.harness.in_chunks), dtype=np.uint64)
        rows[:, 1:] = np.resize(idle, (clocks, 1))
        rows[first_rows, 0] = 1
        chunks = -(-self.in_width // 64)
        rows[first_rows, 1 : 1 + chunks] = pack(codes, self.ins, self.in_width)
        rows[:, 1 + chunks :] = selected
        out = self.harness.run(rows, threads=threads, warm_up=self.latency + 1, seed=seed)
        due = first_rows + self.latency
        valid = out[:, 0].astype(np.bool_)
        on_time = valid[due]
        return CoreRun(
            codes=unpack(out[due][:, self.harness.column("data_o")], self.outs),
            on_time=on_time,
            spurious=int(valid.sum() - on_time.sum()),
            rows=out,
            first_rows=first_rows,
        )

    def probe(self, result: CoreRun, probe: Mapping[str, Any]) -> IntArray:
        """Return the code that a probed signal stands for, for every event, int64, (events,).

        The element's code is ``+-wire * 2**shift + offset``, read ``cycle`` clocks after its event came in.
        """
        at = result.first_rows + int(probe["cycle"])
        word = result.rows[at, self.harness.column(str(probe["signal"]))]
        wire = unpack(word, [Slot(0, int(probe["width"]), bool(probe["signed"]))])[:, 0] << int(
            probe["shift"]
        )
        return np.asarray((-wire if probe["negate"] else wire) + int(probe["offset"]))


def slots(ports: Sequence[Mapping[str, Any]]) -> tuple[Slot, ...]:
    """Return where the elements of ``data_i`` or ``data_o`` lie."""
    return tuple(
        Slot(int(e["lsb"]), int(e["width"]), bool(e["signed"])) for port in ports for e in port["elements"]
    )


def all_probes(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the probes of all layers."""
    return [probe for layer in manifest["layers"] for probe in layer.get("probes", ())]


def core_sources(manifest: Mapping[str, Any], root: Path) -> tuple[Path, ...]:
    """Return the HDL files of the bare core, package first."""
    wanted = {f"{manifest['package']}.sv", f"{manifest['core_module']}.sv"}
    return tuple(path for path in rtl_sources(manifest, root) if path.name in wanted)


def rtl_sources(manifest: Mapping[str, Any], root: Path) -> tuple[Path, ...]:
    """Return the HDL files of the project, packages first."""
    names = [f["path"] for f in manifest["files"] if str(f["path"]).endswith((".sv", ".v"))]
    return tuple(root / name for name in sorted(names, key=lambda name: (not name.endswith("_pkg.sv"), name)))
