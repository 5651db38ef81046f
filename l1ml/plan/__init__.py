# SPDX-License-Identifier: Apache-2.0
"""Engines, beats and the plan: how an event flows through the block, and when."""
