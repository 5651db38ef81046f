# SPDX-License-Identifier: Apache-2.0
"""Preprocessing inside the block: a function written for NumPy becomes layers in front of a network."""

from l1ml.preprocess.functions import lookup
from l1ml.preprocess.load import load_function
from l1ml.preprocess.prepend import Function, prepend, raw_inputs

__all__ = ["Function", "load_function", "lookup", "prepend", "raw_inputs"]
