# SPDX-License-Identifier: Apache-2.0
"""From tensors to wires: how each primitive becomes adders, comparisons, choices, tables and products.

To lower a new primitive: one function under ``@lower_op.register`` in `l1ml.lowering.elementwise`, where each
element becomes one, or in `l1ml.lowering.several`.
"""
