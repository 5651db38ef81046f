# SPDX-License-Identifier: Apache-2.0
"""Evidence: golden, emulator and RTL compared event by event, as a verdict with its checks."""
