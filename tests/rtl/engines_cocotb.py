# SPDX-License-Identifier: Apache-2.0
"""Runs inside the simulator: engines on the same events, seen by a second simulator interface."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

WIDTH = 8


@cocotb.test(timeout_time=100, timeout_unit="us")
async def every_result_in_its_clock(dut) -> None:
    given = np.load(os.environ["L1ML_STIMULUS"])
    expected = json.loads(Path(os.environ["L1ML_MANIFEST"]).read_text())
    interval, times = expected["interval"], expected["times"]
    Clock(dut.clk_i, 4, unit="ns").start()
    dut.rst_i.value, dut.valid_i.value, dut.start_i.value, dut.data_i.value = 1, 0, 1, 0
    for _ in range(3):
        await FallingEdge(dut.clk_i)
    dut.rst_i.value = 0
    events = given["inputs"]
    seen: dict[str, list[list[int]]] = {name: [] for name in times}
    for clock in range(interval * len(events) + max(map(max, times.values())) + 1):
        event, phase = divmod(clock, interval)
        sent = phase == 0 and event < len(events)
        dut.valid_i.value = int(sent)
        if sent:
            dut.data_i.value = sum(int(x) << (WIDTH * k) for k, x in enumerate(events[event]))
        await FallingEdge(dut.clk_i)
        for name, found in seen.items():
            # Registers carry what the next clock will see.
            assert getattr(dut, f"{name}_valid").value.is_resolvable
            if int(getattr(dut, f"{name}_valid").value):
                start = int(getattr(dut, f"{name}_start").value)
                found.append([clock + 1, start, int(getattr(dut, f"{name}_data").value)])
    for name, found in seen.items():
        clocks = [interval * e + t for e in range(len(events)) for t in times[name]]
        assert [f[0] for f in found] == clocks, name
        assert [f[1] for f in found] == ([1] + [0] * (len(times[name]) - 1)) * len(events), name
    for name, words in expected["words"].items():
        assert [f[2] for f in seen[name]] == words, name
