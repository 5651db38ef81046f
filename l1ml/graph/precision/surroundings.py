# SPDX-License-Identifier: Apache-2.0
"""What stands behind a tensor: quantizers of the model itself, tables, readers through layers that only move it."""

from __future__ import annotations

from l1ml.graph.functions import Function
from l1ml.graph.layers.activation import Affine, Map, Relu, Softmax
from l1ml.graph.layers.base import Layer
from l1ml.graph.layers.merge import Concat
from l1ml.graph.layers.pool import GlobalPool, Pool
from l1ml.graph.layers.quantize import Quantize, QuantizeEach, Sign
from l1ml.graph.layers.shape import Reshape, Take
from l1ml.graph.precision.pieces import linear_steps

CLOSING = (Quantize, QuantizeEach, Sign)
_PASSING = (Relu, Map, Affine, Reshape, Take, Concat, Pool, GlobalPool)
"""Layers through which a quantizer further on is looked for."""


class Surroundings:
    """Questions about the readers of tensors.

    Attributes:
        readers: who reads each tensor.
        ends: names of the outputs.
        used: names of the layers that an output depends on.
    """

    readers: dict[str, list[Layer]]
    ends: set[str]
    used: set[str]

    def _closed(self, layer: Layer) -> bool:
        """Tell whether the model itself quantizes everything that reads a tensor."""
        readers = self.readers.get(layer.name, [])
        return bool(readers) and layer.name not in self.ends and all(self._closes(r) for r in readers)

    def _closes(self, reader: Layer) -> bool:
        if isinstance(reader, CLOSING) or (isinstance(reader, Map) and reader.functions[-1].frac is not None):
            return True
        kind = getattr(reader, "kind", "max")
        return isinstance(reader, _PASSING) and kind in ("max", "min") and self._closed(reader)

    def _table_behind(self, layer: Layer) -> tuple[tuple[tuple[Function, ...], ...], bool, bool]:
        """Return what tables behind a tensor compute, whether there is one, and whether it is a softmax.

        Where others read the tensor too, nothing is said about what is computed.
        """
        readers = self._actual_readers(layer.name)
        chains = [r.functions for r in readers if isinstance(r, Map) and linear_steps(r.functions) is None]
        softmax = any(isinstance(r, Softmax) and r.tables is None for r in readers)
        alone = len(chains) == len(readers) and layer.name not in self.ends
        return tuple(chains) if alone else (), bool(chains) or softmax, softmax

    def _actual_readers(self, name: str) -> list[Layer]:
        """Return who reads a tensor, through layers that only move it."""
        found: list[Layer] = []
        for reader in self.readers.get(name, []):
            if reader.name in self.used:
                extremum = isinstance(reader, Pool | GlobalPool) and reader.kind in ("max", "min")
                wire = isinstance(reader, Reshape | Take | Concat) or extremum
                found += self._actual_readers(reader.name) if wire else [reader]
        return found
