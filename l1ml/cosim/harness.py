# SPDX-License-Identifier: Apache-2.0
"""Bulk co-simulation: a compiled model of the RTL, driven with arrays, one row per clock.

Row ``k`` of the output is what the ports carry just before the rising edge that ends clock ``k``, while row
``k`` of the input is applied.  A purely registered path of latency ``L`` shows ``in[k]`` at ``out[k + L]``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from l1ml.cosim.build import FAST, ClockReset, Design, PortLike, Wire, build_library
from l1ml.errors import ToolError
from l1ml.types.arrays import WordArray

RESET_CYCLES = 4
MIN_BLOCK_ROWS = 2048
"""A thread is not worth less."""


def chunks(width: int) -> int:
    """Return the 64-bit chunks of a port of ``width`` bits."""
    return -(-width // 64)


@dataclass(frozen=True)
class Harness:
    """A compiled model.  It has no state: every `run` starts from reset.

    Args:
        library: the shared library.
        design: what it was built from.
    """

    library: Path
    design: Design

    @property
    def in_chunks(self) -> int:
        """Columns of an input row."""
        return sum(chunks(wire.width) for wire in self.design.inputs)

    @property
    def out_chunks(self) -> int:
        """Columns of an output row, probes included."""
        return sum(chunks(wire.width) for wire in (*self.design.outputs, *self.design.probes))

    def column(self, name: str) -> slice:
        """Return the columns of one output or probe."""
        low = 0
        for wire in (*self.design.outputs, *self.design.probes):
            if wire.name == name:
                return slice(low, low + chunks(wire.width))
            low += chunks(wire.width)
        raise KeyError(name)

    def run(
        self,
        rows: ArrayLike,
        *,
        reset_cycles: int = RESET_CYCLES,
        threads: int = 1,
        starts: Sequence[int] | np.ndarray | None = None,
        warm_up: int = 0,
        sticky: Sequence[str] = (),
        seed: int = 1,
    ) -> WordArray:
        """Simulate: reset, then one clock per row.

        Several threads simulate contiguous blocks, each with its own model.  A block starts with its own
        reset and repeats the rows from an earlier start as a warm-up whose output is dropped, so the result
        is that of one long run, provided that the design forgets everything but ``sticky`` bits within
        ``warm_up`` clocks.

        Args:
            rows: uint64, (clocks, `in_chunks`).
            reset_cycles: clocks of reset before the first row, with the first row applied.
            threads: models that run at the same time.
            starts: rows at which a block or its warm-up may begin, ascending (frame starts); None for
                any row.
            warm_up: least number of rows to repeat before a block: latency plus one frame.
            sticky: outputs whose bits stay set until reset; they are carried from block to block.
            seed: uninitialised state starts at random; different seeds show whether that matters.  Every
                block has its own.

        Returns:
            uint64, (clocks, `out_chunks`).

        Raises:
            ToolError: the library cannot be loaded.
        """
        table = np.ascontiguousarray(rows, dtype=np.uint64)
        assert table.ndim == 2 and table.shape[1] == self.in_chunks, (
            f"{table.shape} for {self.in_chunks} chunks"
        )
        out = np.empty((len(table), self.out_chunks), dtype=np.uint64)
        if not len(table):
            return out
        call = self._function()
        blocks = _blocks(len(table), threads, starts, warm_up)

        def one(number: int) -> None:
            warm, first, last = blocks[number]
            call(
                table[warm:].ctypes.data,
                out[first:].ctypes.data,
                first - warm,
                last - first,
                self.in_chunks,
                self.out_chunks,
                reset_cycles,
                (seed * 1_000_003 + number) % 2_147_483_647 or 1,  # Verilator takes a positive int
            )

        with ThreadPoolExecutor(max_workers=len(blocks)) as pool:
            list(pool.map(one, range(len(blocks))))
        for name in sticky:
            columns = self.column(name)
            for _, first, last in blocks[1:]:
                out[first:last, columns] |= out[first - 1, columns]
        return out

    def _function(self) -> ctypes._NamedFuncPointer:
        try:
            function = ctypes.CDLL(str(self.library)).l1ml_run
        except (OSError, AttributeError) as error:
            raise ToolError(
                f"cannot load the compiled simulation: {error}",
                where=(self.library.parent.name, self.library.name),
                fix="remove the project's build folder and build again",
            ) from None
        function.restype = None
        function.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 5 + [ctypes.c_int]
        return function


def _blocks(
    rows: int, threads: int, starts: Sequence[int] | np.ndarray | None, warm_up: int
) -> list[tuple[int, int, int]]:
    """Return (first row of the warm-up, first row, row after the last) of every block."""
    count = max(1, min(threads, rows // MIN_BLOCK_ROWS))
    wanted = [rows * n // count for n in range(1, count)]
    allowed = np.arange(rows) if starts is None else np.asarray(starts, dtype=np.int64)
    begins: list[tuple[int, int]] = []
    for row in wanted:
        at = int(np.searchsorted(allowed, row))
        if at >= len(allowed):
            continue
        first = int(allowed[at])
        before = int(np.searchsorted(allowed, first - warm_up, side="right")) - 1
        warm = int(allowed[before]) if before >= 0 else 0
        if first < rows and (not begins or first > begins[-1][1]):
            begins.append((warm, first))
    edges = [(0, 0), *begins]
    ends = [first for _, first in begins] + [rows]
    return [(warm, first, last) for (warm, first), last in zip(edges, ends, strict=True)]


def build(
    sources: Sequence[Path],
    top: str,
    in_ports: Sequence[PortLike],
    out_ports: Sequence[PortLike],
    build_dir: Path,
    *,
    pins: ClockReset | None = None,
    probes: Sequence[PortLike] = (),
    fast: str | None = None,
) -> Harness:
    """Build the model of a design, or take it from the cache.

    Args:
        sources: SystemVerilog files, packages first.
        top: top module.
        in_ports: data inputs in the order of the chunks, without clock and reset.
        out_ports: outputs in the order of the chunks.
        build_dir: folder of the cache.
        pins: names of clock and reset; default ``clk_i`` and ``rst_i``, active high.
        probes: signals inside ``top`` to sample as well, for example ``stage_2.fc1_12``.
        fast: optimization level of the compiler; ``-O0`` builds quickest and runs slowest.

    Raises:
        ToolError: a tool is missing or failed, or the disk is full.
    """

    def wires(ports: Sequence[PortLike]) -> tuple[Wire, ...]:
        return tuple(Wire(port.name, port.width) for port in ports)

    design = Design(
        sources=tuple(sources),
        top=top,
        inputs=wires(in_ports),
        outputs=wires(out_ports),
        pins=pins or ClockReset(),
        probes=wires(probes),
        fast=fast or FAST,
    )
    return Harness(build_library(design, build_dir), design)
