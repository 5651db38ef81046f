# SPDX-License-Identifier: Apache-2.0
"""Scan: a recurrent cell, one step per clock, shared by the events in flight.

The loop through the cell takes its latency, so one event alone takes a step only every `ScanEngine.slot` clocks.
The clocks between belong to other events: each has the phase of the clock at which it began, modulo the slot.
`ScanEngine.smallest_slot` gives the slot at which events ``interval`` apart never meet.

Events whose starts lie whole multiples of ``interval`` apart, as in time multiplexing, keep their nominal times.
At other distances of at least ``interval`` an event that finds its phase taken waits for the next free one, and those
behind it keep at least ``interval`` from it: later, but the same results.  So `ScanEngine.busy` speaks of multiples,
the one thing in which this engine differs from the others.  An event that finds all buffers taken is lost as a whole.
That has been seen only where more than nine tenths of the cell's clocks are used and starts slip again and again,
and where all starts are a multiple of the slot apart that is none of ``interval``.

A gap between the beats of an event changes no result.  Where a step comes up before its beat, the event starts
again from its first step when all of its beats are there; results that it has given are followed by a new start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from typing import ClassVar

import numpy as np

from l1ml.errors import ConfigError, DataError, TimingError
from l1ml.plan.arrivals import check_positive, checked_arrivals
from l1ml.types.arrays import IntArray

Cell = Callable[[IntArray, IntArray], tuple[IntArray, IntArray]]
"""``y, next_state = cell(x, state)``, codes, (events, elements) each."""


@dataclass(frozen=True)
class ScanEngine:
    """A recurrent cell over the steps of an event.

    The cell is a module beside the engine: pipelined, one step per clock, ``cell_latency`` clocks from its input
    ``{x, state}`` to its output ``{y, next_state}``.

    Args:
        steps: beats of an event, one per step.
        slot: clocks from step to step.
        cell_latency: clocks from the cell's input to its output; 0 for logic without a register.
        x_bits: bits of a beat.
        state_widths: bits of every element of the state, lowest first.
        y_bits: bits of the cell's result.
        initial: codes of the state before the first step.
        interval: clocks between two events, and the least between two results.
        return_sequences: send y of every step, not only of the last.  Where results of successive events would
            mix, they are kept and leave one per clock (`bursts`).
        go_backwards: begin with the last beat.
        lead: beats that must be there before the first step; `smallest_lead` finds it.  Backwards it is all.
        block_ram: keep the beats in block RAM, not in LUTs.

    Raises:
        ConfigError: a number below 1, a slot shorter than the cell, a state that does not fit its bits.
        TimingError: events this close would meet in the cell.
    """

    MODULE: ClassVar[str] = "l1ml_scan"
    SPARE: ClassVar[int] = 1
    """Buffers beyond what events at multiples of the interval need, for those that had to wait."""

    steps: int
    slot: int
    cell_latency: int
    x_bits: int
    state_widths: tuple[int, ...]
    y_bits: int
    initial: tuple[int, ...]
    interval: int
    return_sequences: bool = False
    go_backwards: bool = False
    lead: int = 1
    block_ram: bool = False

    def __post_init__(self) -> None:
        check_positive(
            "Scan", steps=self.steps, slot=self.slot, x_bits=self.x_bits,
            state_bits=self.state_bits, y_bits=self.y_bits, interval=self.interval, lead=self.lead,
        )  # fmt: skip
        if not 0 <= self.cell_latency <= self.slot:
            raise ConfigError(
                f"Scan: a slot of {self.slot} clocks, but the cell takes {self.cell_latency}",
                fix="give a slot that is at least as long as the cell, whose latency is 0 or more",
            )
        if self.lead > self.steps:
            raise ConfigError(f"Scan: lead {self.lead}, but an event has {self.steps} beats")
        self._check_state()
        self._check_interval()

    def _check_state(self) -> None:
        if len(self.initial) != len(self.state_widths) or min(self.state_widths) < 1:
            raise ConfigError(
                f"Scan: {len(self.initial)} initial codes for a state of widths {self.state_widths}",
                fix="give one code for each element, and each at least 1 bit",
            )
        for number, (code, width) in enumerate(zip(self.initial, self.state_widths, strict=True)):
            if not -(1 << (width - 1)) <= code < 1 << width:
                raise ConfigError(f"Scan: initial code {code} of state {number} does not fit {width} bits")

    def _check_interval(self) -> None:
        if gcd(self.interval, self.slot) * self.steps > self.interval:
            best = self.smallest_slot(self.cell_latency, self.steps, self.interval)
            raise TimingError(
                f"Scan: events {self.interval} clocks apart meet in a cell with {self.steps} steps, one every "
                f"{self.slot} clocks",
                fix=f"the smallest slot that works is {best}",
            )

    @property
    def state_bits(self) -> int:
        """Bits of the state."""
        return sum(self.state_widths)

    @property
    def buffers(self) -> int:
        """Events whose beats are kept at the same time."""
        wait = 0 if self._lead == 1 else self.interval - 1  # the beats of an event come within the interval
        return -(-(wait + 2 + (self.steps - 1) * self.slot) // self.interval) + self.SPARE

    @property
    def bursts(self) -> bool:
        """Whether the results of an event are kept and leave one per clock.

        Without that there are ``slot`` clocks from one to the next, and the next event's begin before the last.
        """
        return self.return_sequences and (self.steps - 1) * self.slot + 1 > self.interval

    @property
    def burst_step(self) -> int:
        """The step that starts the clock of a burst; all beats must be there by then.

        The last result leaves two clocks after the cell, one per clock before it.  This is the last step that is
        early enough for the first of them.
        """
        return self.steps - 1 - max(0, -(-(self.steps - 2 - self.cell_latency) // self.slot))

    @property
    def _burst_delay(self) -> int:
        steps_left = self.steps - 1 - self.burst_step
        return 3 + self.cell_latency - self.steps + steps_left * self.slot

    @property
    def _lead(self) -> int:
        return self.steps if self.go_backwards else self.lead

    @classmethod
    def smallest_slot(cls, cell_latency: int, steps: int, interval: int) -> int:
        """Return the least slot at which events ``interval`` clocks apart never meet in the cell.

        Events ``k`` intervals apart meet where ``k * interval`` is a multiple of the slot below ``steps`` slots:
        never, when their least common multiple is at least ``steps`` slots.

        Args:
            cell_latency: clocks from the cell's input to its output.
            steps: steps of an event.
            interval: clocks between two events, at least ``steps``.

        Raises:
            TimingError: fewer clocks than steps.

        Example:
            >>> ScanEngine.smallest_slot(4, steps=20, interval=20), ScanEngine.smallest_slot(4, 20, 160)
            (7, 4)
        """
        if interval < steps:
            raise TimingError(
                f"Scan: {steps} steps need {steps} clocks of the cell, but events come every {interval}",
                fix=f"give an interval of at least {steps} clocks, or unroll the cell",
            )
        slot = max(1, cell_latency)
        while gcd(interval, slot) * steps > interval:
            slot += 1
        return slot

    def smallest_lead(self, arrivals: IntArray) -> int:
        """Return the fewest beats to wait for so that every later one comes before its step.

        Args:
            arrivals: clock of every beat, (steps,), ascending.
        """
        clocks = checked_arrivals("Scan", arrivals, self.steps)
        if self.go_backwards:
            return self.steps
        first = int((clocks - self.slot * np.arange(self.steps)).max())
        if self.bursts:
            first = max(first, int(clocks[-1]) - self.slot * self.burst_step)
        return int(np.searchsorted(clocks, first)) + 1

    def parameters(self) -> dict[str, int]:
        """Return the parameters of the SystemVerilog module, but for the initial state: see `literals`."""
        return {
            "Steps": self.steps,
            "Slot": self.slot,
            "CellLatency": self.cell_latency,
            "XBits": self.x_bits,
            "StateBits": self.state_bits,
            "YBits": self.y_bits,
            "Buffers": self.buffers,
            "Lead": self._lead,
            "Interval": self.interval,
            "ReturnSequences": int(self.return_sequences),
            "GoBackwards": int(self.go_backwards),
            "BlockRam": int(self.block_ram),
            **self._burst_parameters(),
        }

    def _burst_parameters(self) -> dict[str, int]:
        if not self.bursts:
            return {}
        return {"Burst": 1, "BurstStep": self.burst_step, "BurstDelay": self._burst_delay}

    def literals(self) -> dict[str, str]:
        """Return the parameters that are wider than an integer, as SystemVerilog."""
        bits, low = 0, 0
        for code, width in zip(self.initial, self.state_widths, strict=True):
            bits |= (code & ((1 << width) - 1)) << low
            low += width
        return {"InitialState": f"{self.state_bits}'h{bits:x}"}

    def first_step(self, arrivals: IntArray) -> int:
        """Return the clock at which the first step enters the cell.

        Args:
            arrivals: clock of every beat, (steps,), ascending.

        Raises:
            TimingError: a later beat comes too late for its step; names the lead that works.
        """
        clocks = checked_arrivals("Scan", arrivals, self.steps)
        least = self.smallest_lead(clocks)
        if self._lead < least:
            raise TimingError(
                f"Scan: with {self.lead} beats before the first step, later ones come too late",
                fix=f"set lead to {least}",
            )
        return int(clocks[self._lead - 1]) + 2

    def times(self, arrivals: IntArray) -> IntArray:
        """Return the clock of every result, (1,) or (steps,).

        Args:
            arrivals: clock of every beat, (steps,), ascending.

        Raises:
            TimingError: a later beat comes too late for its step; names the lead that works.
        """
        steps = np.arange(self.steps, dtype=np.int64)
        leave = self.first_step(arrivals) + self.slot * steps + self.cell_latency
        if self.bursts:
            return leave[-1] + 2 - steps[::-1]
        return leave if self.return_sequences else leave[-1:]

    def busy(self, arrivals: IntArray) -> int:
        """Return the least clocks between two events, the ``interval``; `times` holds at its multiples.

        Raises:
            TimingError: the beats of an event take longer than that.
        """
        clocks = checked_arrivals("Scan", arrivals, self.steps)
        span = int(clocks[-1] - clocks[0]) + 1
        if span > self.interval:
            raise TimingError(
                f"Scan: the beats of an event take {span} clocks, but events come every {self.interval}",
                fix=f"give an interval of at least {span} clocks",
            )
        return self.interval

    def emulate(self, beats: IntArray, cell: Cell) -> IntArray:
        """Return the results.

        Args:
            beats: codes, (events, steps, lanes, elements); all lanes of a beat are the x of a step.
            cell: ``y, next_state = cell(x, state)``, codes, (events, elements).

        Returns:
            Codes, (events, 1 or steps, 1, elements of y), in the order of the steps.

        Raises:
            DataError: another number of beats.
        """
        codes = np.asarray(beats, dtype=np.int64)
        if codes.ndim != 4 or codes.shape[1] != self.steps:
            raise DataError(
                f"Scan: codes of shape {codes.shape} are no events of {self.steps} beats",
                fix=f"expected is (events, {self.steps}, lanes, elements)",
            )
        x = codes.reshape(len(codes), self.steps, codes.shape[2] * codes.shape[3])
        state = np.tile(np.array(self.initial, dtype=np.int64), (len(codes), 1))
        results = []
        for step in range(self.steps):
            y, state = cell(x[:, self.steps - 1 - step if self.go_backwards else step], state)
            results.append(y)
        kept = results if self.return_sequences else results[-1:]
        return np.stack(kept, axis=1)[:, :, None, :]
