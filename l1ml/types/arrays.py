# SPDX-License-Identifier: Apache-2.0
"""Names of the array types that cross module borders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
RealArray = NDArray[np.float64]
WordArray = NDArray[np.uint64]
BoolArray = NDArray[np.bool_]
