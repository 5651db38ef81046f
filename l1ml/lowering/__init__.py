# SPDX-License-Identifier: Apache-2.0
"""From tensors to wires: how each primitive becomes adders, rounding and comparisons.

To lower a new primitive: one function in `l1ml.lowering.lower` under ``@_lower.register``.
"""
