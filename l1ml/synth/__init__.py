# SPDX-License-Identifier: Apache-2.0
"""What the firmware costs: open synthesis with Yosys, a quick estimate without it, scripts for Vivado."""
