# SPDX-License-Identifier: Apache-2.0
"""Cuts a Dataflow into clocked stages by a delay model in ns."""
