# SPDX-License-Identifier: Apache-2.0
"""Runs generated RTL in a simulator: bulk replay with arrays, and a cocotb bench for the contract."""
