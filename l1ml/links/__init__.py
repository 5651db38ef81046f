# SPDX-License-Identifier: Apache-2.0
"""Links: what is on the wires around the block, and how events become words and words events."""
