# SPDX-License-Identifier: Apache-2.0
"""When the units of a plan run, and which rows are used again.

A convolution has more rows than a cache has room for.  So kernels run in steps of few units: what a step
needs is computed just before it, a few lines of an image at a time, and rows are given free after their last
reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from l1ml.graph.kernels.kernel import Kernel
from l1ml.graph.kernels.plan import KernelPlan, Step
from l1ml.types.arrays import IntArray


def arranged(plan: KernelPlan, rows_per_step: int | None = None) -> KernelPlan:
    """Return a plan with few rows, and with the order of its steps.

    Args:
        plan: the kernels, in any order that makes rows before they are read.
        rows_per_step: about how many rows a step makes, or reads for itself; None runs every kernel as a whole.
    """
    steps = _steps(plan.kernels, rows_per_step)
    if rows_per_step is not None:
        steps = _as_needed(plan, steps)
    slots, count = _slots(plan, steps)
    kernels = tuple(
        replace(k, sources=slots[k.sources], out=np.where(k.out < 0, -1, slots[np.maximum(k.out, 0)]))
        for k in plan.kernels
    )
    constants = {int(slots[row]): value for row, value in plan.constants.items()}
    inputs, outputs = slots[plan.inputs], slots[plan.outputs]
    return KernelPlan(kernels, tuple(steps), count, constants, inputs, outputs, plan.wide)


def _steps(kernels: Sequence[Kernel], rows_per_step: int | None) -> list[Step]:
    steps = []
    for number, kernel in enumerate(kernels):
        units, makes = kernel.out.shape
        reads = -(-np.unique(kernel.sources).size // units)  # units next to each other share rows
        size = units if rows_per_step is None else max(1, rows_per_step // max(makes, reads))
        steps += [Step(number, first, min(first + size, units)) for first in range(0, units, size)]
    return steps


def _as_needed(plan: KernelPlan, steps: Sequence[Step]) -> list[Step]:
    """Return the steps in the order in which the outputs ask for them: depth first."""
    maker = np.full(plan.n_rows, -1, dtype=np.int64)
    for number, step in enumerate(steps):
        made = plan.kernels[step.kernel].out[step.first : step.last]
        maker[made[made >= 0]] = number
    needs = [
        np.unique(maker[plan.kernels[step.kernel].sources[step.first : step.last]]).tolist() for step in steps
    ]
    done, order = {-1}, []
    for end in np.unique(maker[plan.outputs]).tolist():
        stack = [end]
        while stack:
            open_needs = (
                [need for need in needs[stack[-1]] if need not in done] if stack[-1] not in done else []
            )
            if open_needs:
                stack.append(open_needs[0])
                continue
            number = stack.pop()
            if number not in done:
                done.add(number)
                order.append(steps[number])
    return order


def _slots(plan: KernelPlan, steps: Sequence[Step]) -> tuple[IntArray, int]:
    """Return the new number of every row, and how many there are."""
    last = np.full(plan.n_rows, -1, dtype=np.int64)
    for number, step in enumerate(steps):
        last[plan.kernels[step.kernel].sources[step.first : step.last]] = number
    constants = np.fromiter(plan.constants, dtype=np.int64)
    last[constants] = last[plan.outputs] = len(steps)
    order = np.argsort(last, kind="stable")
    ends = np.searchsorted(last[order], np.arange(len(steps) + 1))
    slots = np.zeros(plan.n_rows, dtype=np.int64)
    slots[constants] = np.arange(len(constants))  # row 0 stays the first
    slots[plan.inputs] = len(constants) + np.arange(len(plan.inputs))
    count = len(constants) + len(plan.inputs)
    free = slots[plan.inputs[last[plan.inputs] == -1]].tolist()
    for number, step in enumerate(steps):
        made = plan.kernels[step.kernel].out[step.first : step.last]
        made = made[made >= 0]
        again = min(len(free), len(made))
        taken = free[len(free) - again :]
        del free[len(free) - again :]
        taken += range(count, count + len(made) - again)
        count += len(made) - again
        slots[made] = taken
        done = order[ends[number] : ends[number + 1]]
        free += slots[done].tolist()
    return slots, count
