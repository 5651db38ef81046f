# SPDX-License-Identifier: Apache-2.0
"""l1ml."""
