# SPDX-License-Identifier: Apache-2.0
"""Scripts that run in the interpreter of a framework.

They import nothing of l1ml, which need not be installed there: NumPy and the framework are enough.  Arrays go in and
out as ``.npz``, everything else as JSON.
"""
