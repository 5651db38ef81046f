# SPDX-License-Identifier: Apache-2.0
"""Where a float model needs types.

Weights need one, and every tensor whose values are real or whose bits would grow from layer to layer: what a
linear layer gives (behind its ReLU, where only that reads it), activations, normalizations, means, merges.
Layers that only move or compare values need none.  Layers that the model itself quantizes are left as they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from l1ml.errors import ConfigError
from l1ml.graph import build, shapes
from l1ml.graph import functions as fn
from l1ml.graph.layers.activation import Affine, Map, Relu, Softmax
from l1ml.graph.layers.base import Input, Layer, Weighted
from l1ml.graph.layers.conv import Conv
from l1ml.graph.layers.linear import Dense, Embedding
from l1ml.graph.layers.merge import Dot, Einsum2, MatMul, Merge
from l1ml.graph.layers.norm import LayerNorm
from l1ml.graph.layers.pool import GlobalPool, Pool
from l1ml.graph.layers.quantize import Quantize
from l1ml.graph.layers.recurrent import Recurrent
from l1ml.graph.layers.reduce import Reduce
from l1ml.graph.layers.shape import Reshape
from l1ml.graph.model import Model
from l1ml.graph.precision import expand
from l1ml.graph.precision.curves import never_negative
from l1ml.graph.precision.pieces import Pieces, linear_steps
from l1ml.graph.precision.refusals import why_not
from l1ml.graph.precision.settings import Settings, kinds_of
from l1ml.graph.precision.signs import never_below_zero
from l1ml.graph.precision.slots import CONSTANTS, INNER, TABLES, Slot, Structure, marker
from l1ml.graph.precision.surroundings import CLOSING, Surroundings
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Quantizer

_GROWING = (Dot, MatMul, Einsum2)


def structure(model: Model, settings: Settings) -> Structure:
    """Mark every place of a model that needs a type by these settings.

    Raises:
        ConfigError: the settings name what does not exist, or leave out what is needed.
    """
    settings.check(model)
    return _Builder(model, settings).run()


class _Builder(Surroundings):
    def __init__(self, model: Model, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.shapes: dict[str, tuple[int, ...]] = {}
        for layer in model.layers:
            self.shapes[layer.name] = shapes.infer(layer, *(self.shapes[n] for n in layer.inputs))
        self.by_name = {layer.name: layer for layer in model.layers}
        self.readers: dict[str, list[Layer]] = {}
        for layer in model.layers:
            for name in dict.fromkeys(layer.inputs):
                self.readers.setdefault(name, []).append(layer)
        kept = build.drop_unused(build.drop_final_softmax(model))
        self.used = {layer.name for layer in kept.layers}
        self.ends = set(kept.outputs)
        self.out: list[Layer] = []
        self.slots: list[Slot] = []
        self.ours: set[str] = set()  # tensors that carry a type from here
        self.wide: set[str] = set()  # sums whose type is left to the layer behind
        self.positive: set[str] = set()
        self.folded: set[str] = set()
        self.offered: dict[str, set[str]] = {}
        self.problems: list[str] = []

    def run(self) -> Structure:
        for layer in self.model.layers:
            if layer.name in self.folded:
                continue
            if isinstance(layer, Input) or layer.name not in self.used:
                self.out.append(layer)
            else:
                self._layer(layer)
        self._all_named_are_used()
        if self.problems:
            raise ConfigError(
                self.problems[0]
                if len(self.problems) == 1
                else "\n".join(
                    [f"{len(self.problems)} types are wrong:", *(f"  - {t}" for t in self.problems)]
                ),
                where=(self.model.source, "precision"),
            )
        return Structure(self.model, replace(self.model, layers=tuple(self.out)), tuple(self.slots))

    # ---- what the settings say

    def _names(self, name: str, key: str) -> list[str]:
        """A step without a name in the file (``fc1.linear``) goes by the file's name too, but for what it gives out."""
        return [name, name.split(".")[0]] if "." in name and key != "output" else [name]

    def _kinds(self, layer: Layer) -> list[str]:
        linear = self.by_name.get(f"{layer.name}.linear")
        return [*kinds_of(layer), *(kinds_of(linear) if linear is not None else ())]

    def _slot(self, layer: Layer, key: str, step: str, number: int = 0, **more: object) -> Slot | None:
        names = self._names(layer.name, key)
        for name in names:
            self.offered.setdefault(name, set()).add(key)
        found = self.settings.text(names, self._kinds(layer), key)
        if found is None:
            return None
        text, level = found
        tables = {"name": [self.settings.name.get(n, {}) for n in names],
                  "type": [self.settings.type.get(k, {}) for k in self._kinds(layer)],
                  "model": [self.settings.model]}  # fmt: skip
        stated = any(key in entry for entry in tables[level])
        return Slot(layer.name, key, step, text, level, stated, marker=number, **more)  # type: ignore[arg-type]

    def _all_named_are_used(self) -> None:
        """Refuse entries that say something about a layer that it has not."""
        for name, entry in self.settings.name.items():
            has = sorted(self.offered.get(name, ()))
            for key in entry:
                if key == "default" or key in has:
                    continue
                layer = self.by_name.get(name) or self.by_name.get(f"{name}.linear")
                self.problems.append(f"{name}.{key}: " + why_not(layer, key, has))

    # ---- layers

    def _layer(self, layer: Layer) -> None:
        match layer:
            case Weighted() if not layer.exact:
                self._weighted(layer)
            case Embedding() if not layer.exact:
                slot = self._slot(layer, "weight", layer.name, constant=True)
                self.slots += [slot] if slot is not None else []
                self._plain(layer, ours=slot is not None)
            case Softmax() if layer.tables is None:
                self._softmax(layer)
            case LayerNorm() if layer.tables is None:
                self._layer_norm(layer)
            case Affine():
                self._pieces(layer, [layer], expand.affine_steps(layer))
            case Map():
                steps = linear_steps(layer.functions)
                if steps is None:
                    self._ending(
                        layer, [layer], place=layer.functions[-1].frac is None and not self._closed(layer)
                    )
                else:
                    self._pieces(layer, [layer], steps)
            case Relu():
                self._ending(layer, [layer], place=layer.inputs[0] in self.wide and not self._closed(layer))
            case Pool() | GlobalPool() | Reduce() | Merge() if layer.kind == "mean":
                first, steps = expand.mean(
                    layer, [self.shapes[n] for n in layer.inputs], self.shapes[layer.name]
                )
                self._pieces(layer, [layer], steps, before=[first])
            case Pool() | GlobalPool() | Reduce():
                self._ending(layer, [layer], place=layer.kind == "sum" and self._grows(layer))
            case Merge():
                self._ending(layer, [layer], place=layer.kind in ("add", "sub", "mul") and self._grows(layer))
            case Dot() | MatMul() | Einsum2():
                self._ending(layer, [layer], place=self._grows(layer))
            case _:
                self._ending(layer, [layer], place=False)

    def _grows(self, layer: Layer) -> bool:
        return any(name in self.ours for name in layer.inputs) and not self._closed(layer)

    def _plain(self, layer: Layer, *, ours: bool) -> None:
        self.out.append(layer)
        if ours:
            self.ours.add(layer.name)

    def _ending(self, layer: Layer, made: list[Layer], *, place: bool) -> None:
        """Append the steps of a layer, with a marker behind them where one is wanted.

        Args:
            layer: the layer.
            made: its steps; the last has its name.
            place: a type for the layer or the model as a whole counts; else only one that names it.
        """
        if never_below_zero(layer, self.positive):
            self.positive.add(layer.name)
        if not isinstance(layer, CLOSING) and any(n in self.ours for n in layer.inputs):
            self.ours.add(layer.name)
        if isinstance(layer, Reshape) and layer.inputs[0] in self.wide:
            self.wide.add(layer.name)
        functions, table, differences = self._table_behind(layer)
        slot = self._slot(layer, "output", layer.name, positive=layer.name in self.positive, table=table,
                          differences=differences, functions=functions)  # fmt: skip
        if slot is None or not (place or slot.level == "name"):
            self.out += made
            return
        inner = f"{layer.name}.exact"
        self.out += [
            *made[:-1],
            replace(made[-1], name=inner),
            Quantize(layer.name, (inner,), marker(0), True),
        ]
        self.slots.append(slot)
        self.ours.add(layer.name)

    def _pieces(
        self,
        layer: Layer,
        made: list[Layer],
        steps: tuple[tuple[str, np.ndarray], ...],
        before: list[Layer] | None = None,
    ) -> None:
        """Write a piecewise linear layer with constants on a grid, if it gets a type; else leave it as it is."""
        wide = layer.inputs[0] in self.wide
        only_bounds = all(kind in ("max", "min") for kind, _ in steps)
        place = not self._closed(layer) and (wide or not only_bounds)
        slot = self._slot(layer, "output", layer.name)
        if wide or (slot is not None and (place or slot.level == "name")):
            source = (before[-1].name,) if before else layer.inputs
            made = [*(before or []), Pieces(layer.name, source, steps, type(layer).__name__)]
        self._ending(layer, made, place=place)

    # ---- layers with constants or with types inside

    def _weighted(self, layer: Weighted) -> None:
        chain = self._foldable(layer)
        end: Layer = chain[-1] if chain else layer
        factors = self._per_channel(layer, chain[-1]) if chain and isinstance(chain[-1], Affine) else None
        whole = layer if factors is None else expand.folded(layer, *factors)
        constants = self._constants(whole)
        if constants is None:
            self.out.append(layer)
            return
        if isinstance(whole, Recurrent):
            self._recurrent(whole, constants)
            return
        made: list[Layer] = [replace(whole, name=f"{end.name}.sum" if len(chain) > 1 else end.name)]
        for step in chain[:-1]:  # the normalization is gone, what moves the values to it stays
            made.append(replace(step, name=end.name, inputs=(made[-1].name,)))
        self.folded |= {step.name for step in chain}
        at, before = len(self.slots), len(self.out)
        deferred = self._deferred(end)
        if deferred:
            self.wide.add(end.name)
        self._ending(replace(whole, name=end.name), made, place=not deferred and not self._closed(end))
        self.ours.add(end.name)
        self.slots[at:at] = [replace(slot, step=self.out[before].name) for slot in constants]

    def _constants(self, layer: Weighted) -> list[Slot] | None:
        """Return the places of a layer's constants, None where the user says nothing about them."""
        own = "kernel" in dict(layer.quantizers) or layer.scale is not None
        keys = [
            key for key, name in CONSTANTS.items()
            if getattr(layer, name, None) is not None and not (own and key in ("weight", "recurrent"))
        ]  # fmt: skip
        found = {key: self._slot(layer, key, layer.name, constant=True) for key in keys}
        missing = [key for key, slot in found.items() if slot is None]
        if len(missing) == len(keys):
            return None
        if missing:
            has = [key for key in keys if key not in missing]
            self.problems.append(
                f"layer {layer.name!r} has a type for its {' and '.join(has)} only; "
                f"give {' and '.join(missing)} a type too"
            )
        return [slot for slot in found.values() if slot is not None]

    def _foldable(self, layer: Weighted) -> list[Layer]:
        """Return the normalization that can go into the weights of a linear layer, after what moves values to it."""
        if (
            not isinstance(layer, Dense | Conv)
            or layer.scale is not None
            or "kernel" in dict(layer.quantizers)
        ):
            return []
        chain = self._alone_behind(layer)
        if not 1 <= len(chain) <= 2 or any(self._output_is_named(s) for s in (layer, *chain[:-1])):
            return []
        reader = chain[-1]
        foldable = isinstance(reader, Affine) and self._per_channel(layer, reader) is not None
        return chain if foldable else []

    def _per_channel(self, layer: Weighted, norm: Affine) -> tuple[RealArray, RealArray] | None:
        return expand.per_channel(norm, self.shapes[norm.name], self.shapes[layer.name])

    def _alone_behind(self, layer: Layer) -> list[Layer]:
        """Return the only reader of a tensor, after the layers that only name its elements anew; [] for several."""
        chain: list[Layer] = []
        name = layer.name
        while True:
            readers = self.readers.get(name, [])
            if len(readers) != 1 or name in self.ends or readers[0].name not in self.used:
                return []
            chain.append(readers[0])
            if not isinstance(readers[0], Reshape):
                return chain
            name = readers[0].name

    def _output_is_named(self, layer: Layer) -> bool:
        found = self._slot(layer, "output", layer.name)
        return found is not None and found.level == "name"

    def _deferred(self, layer: Layer) -> bool:
        """Tell whether a ReLU alone reads a sum, and takes the type instead."""
        chain = self._alone_behind(layer)
        if not chain or any(self._output_is_named(step) for step in (layer, *chain[:-1])):
            return False
        reader = chain[-1]
        steps = linear_steps(reader.functions) if isinstance(reader, Map) else None
        bounds = steps is not None and all(kind in ("max", "min") for kind, _ in steps)
        return isinstance(reader, Relu) or bounds

    def _recurrent(self, layer: Recurrent, constants: list[Slot]) -> None:
        keys = {"rnn": ("output",), "gru": ("gate", "candidate", "output"), "lstm": INNER[1:]}[layer.cell]
        tabled = [
            f for f in ((layer.activation,) if layer.cell == "rnn" else (layer.recurrent_activation, layer.activation))
            if not all(isinstance(one, fn.Relu) for one in f)
        ]  # fmt: skip
        if tabled or (layer.cell == "gru" and layer.reset_after):
            keys = ("accum", *keys)
        gate, act = (never_negative(f) for f in (layer.recurrent_activation, layer.activation))
        positive = {
            "gate": gate, "candidate": act, "state": gate and act,
            "output": {"rnn": act, "lstm": gate and act, "gru": gate and act}[layer.cell],
        }  # fmt: skip
        missing = []
        self.slots += constants
        for number, key in enumerate(INNER):
            if key not in keys:
                continue
            table = key == "accum" and bool(tabled)
            slot = self._slot(layer, key, layer.name, number, positive=positive.get(key, False), table=table,
                              functions=tuple(tabled) if table else ())  # fmt: skip
            if slot is None:
                missing.append(key)
            else:
                self.slots.append(slot)
        if missing:
            self.problems.append(f"layer {layer.name!r} needs types for {', '.join(missing)} too")
        kinds: tuple[Quantizer, ...] = tuple(marker(n) for n in range(len(INNER)))
        self.out.append(replace(layer, types=kinds))  # type: ignore[arg-type]
        self.ours.add(layer.name)
        if positive["output"]:
            self.positive.add(layer.name)

    def _softmax(self, layer: Softmax) -> None:
        terms = self.shapes[layer.name][layer.axis]
        bounds = {"exp_table": (0.0, 1.0), "accum": (0.0, float(terms)), "inv_table": (0.0, 1.0)}
        found = [
            self._slot(
                layer,
                key,
                f"{layer.name}.exact",
                n + 1,
                positive=True,
                bounds=bounds[key],
                table=key == "accum",
            )
            for n, key in enumerate(TABLES)
        ]
        if any(slot is None for slot in found):
            self._ending(layer, [layer], place=True)
            return
        typed = replace(layer, tables=tuple(marker(n + 1) for n in range(3)))  # type: ignore[arg-type]
        before, at = len(self.out), len(self.slots)
        self._ending(layer, [typed], place=not self._closed(layer))
        step = self.out[before].name
        self.slots[at:at] = [replace(slot, step=step) for slot in found if slot is not None]

    def _layer_norm(self, layer: LayerNorm) -> None:
        keys = ("centred", "variance", "table", "normalized")
        found = {key: self._slot(layer, key, f"{layer.name}.{key}", positive=key in ("variance", "table"),
                                 table=key == "variance") for key in keys}  # fmt: skip
        if any(slot is None for slot in found.values()):
            self._ending(layer, [layer], place=False)
            return
        made = expand.layer_norm(layer, self.shapes[layer.name], marker(0))
        self.slots += [slot for slot in found.values() if slot is not None]
        self._ending(layer, made, place=not self._closed(layer))


assert len(INNER) == 5, "as many as the field types of Recurrent holds"
