# SPDX-License-Identifier: Apache-2.0
"""The network as integer wires: static single assignment, no floats, no names from the model file."""
