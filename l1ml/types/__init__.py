# SPDX-License-Identifier: Apache-2.0
"""Numbers and time: fixed-point types, integer ranges, clocks and bunch crossings."""
