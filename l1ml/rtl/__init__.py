# SPDX-License-Identifier: Apache-2.0
"""SystemVerilog: the core as a printer writes it, the wrapper around it, the project folder."""
