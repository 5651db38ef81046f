# SPDX-License-Identifier: Apache-2.0
"""Reading ONNX, QONNX and QDQ files.

`reader` turns bytes into plain nodes and arrays, the only part that knows the onnx package; `reading` goes
through the nodes and makes layers; one module per family of operators says what each of them means.
"""

from l1ml.frontends.onnx.reader import read_onnx

__all__ = ["read_onnx"]
