# SPDX-License-Identifier: Apache-2.0
"""The typed program as few kernels on rows of real values: what the fast emulators execute.

`plan.plan` turns primitives into kernels, by the rules in `linear`, `conversions`, `decisions` and `scalar`, and
joins them (`fuse`); `order.arranged` says when they run and which rows are used again; `array.ArrayRunner` and
`l1ml.graph.native` execute them.
"""

from l1ml.graph.kernels import conversions, decisions, linear, scalar  # each registers its rules
from l1ml.graph.kernels.array import ArrayRunner
from l1ml.graph.kernels.plan import KernelPlan, plan

__all__ = ["ArrayRunner", "KernelPlan", "conversions", "decisions", "linear", "plan", "scalar"]
