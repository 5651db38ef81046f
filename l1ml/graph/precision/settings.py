# SPDX-License-Identifier: Apache-2.0
"""What the user says about types: for the model, for types of layers, for layers by name; the nearest wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from l1ml.config import AUTO, PRECISION_KEYS
from l1ml.errors import ConfigError, nearest
from l1ml.graph.model import (
    Affine,
    Conv,
    Dot,
    Einsum2,
    GlobalPool,
    Layer,
    Map,
    MatMul,
    Merge,
    Model,
    Pool,
    Recurrent,
    Reduce,
    Relu,
)
from l1ml.graph.model import __all__ as model_names
from l1ml.types.fixed import Overflow, Quantizer, Rounding

DEFAULT = "default"
"""Key of a text that stands for every key of an entry."""

_MERGES = {
    "add": "Add", "sub": "Subtract", "mul": "Multiply", "mean": "Average", "max": "Maximum", "min": "Minimum",
}  # fmt: skip
_CELLS = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
_SPATIAL = {1: "1D", 2: "2D", 3: "3D"}
_POOLS = {"max": "MaxPooling", "mean": "AveragePooling", "sum": "SumPooling", "min": "MinPooling"}
_KNOWN = {
    *model_names, *_MERGES.values(), *_CELLS.values(), "Activation", "ReLU", "BatchNormalization", "EinsumDense",
    "LayerNormalization", "Pooling", "GlobalPooling",
    *(f"{stem}{n}" for stem in ("Conv", "DepthwiseConv", *_POOLS.values()) for n in _SPATIAL.values()),
} - {"Model", "Layer", "Weighted", "Input"}  # fmt: skip


@dataclass(frozen=True)
class Auto:
    """How types are found where the text is ``auto``.

    Args:
        width: bits of every type found from data, sign included; a tensor with a long tail gets more.
        weight_width: bits of weights; None for ``width``.
        table_width: bits of what is looked up in a table (the input of tanh, sigmoid, softmax).
        spare_bits: integer bits beyond what the largest magnitude needs.
        outliers: share of the values of a tensor that may lie outside of its type, for finer steps for the others.
        max_error: largest rms error of any output, relative to the rms of the float model's; then ``width`` and
            ``weight_width`` are the most that is tried, and the fewest bits that keep the error are taken.
    """

    width: int = 16
    weight_width: int | None = None
    table_width: int = 12
    spare_bits: int = 0
    outliers: float = 0.0
    max_error: float | None = None


@dataclass(frozen=True)
class Settings:
    """The option ``precision``, with the option ``layers`` in it.

    Args:
        model: texts by key (or `DEFAULT`) for all layers.
        type: the same by type of layer.
        name: the same by name of layer.
        auto: how ``auto`` is found.
    """

    model: Mapping[str, str] = field(default_factory=dict)
    type: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    name: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    auto: Auto = field(default_factory=Auto)

    @classmethod
    def of(cls, precision: Any, layers: Mapping[str, Mapping[str, str]] | None = None) -> Settings:
        """Join the options ``precision`` (checked by `l1ml.config`) and ``layers``.

        Raises:
            ConfigError: both state the same type differently.
        """
        given = {"model": precision} if isinstance(precision, str) else dict(precision or {})
        names = {name: _entry(entry) for name, entry in given.get("name", {}).items()}  # type: ignore[union-attr]
        for name, entry in (layers or {}).items():
            own = names.setdefault(name, {})
            for key, text in entry.items():
                if own.setdefault(key, text) != text:
                    raise ConfigError(
                        f"{key} of {name!r} is {own[key]} in precision and {text} in layers",
                        where=("precision", "name", name, key),
                        fix="state it once",
                    )
        return cls(
            _entry(given.get("model") or {}),
            {kind: _entry(entry) for kind, entry in given.get("type", {}).items()},  # type: ignore[union-attr]
            names,
            Auto(**given.get("auto", {})),  # type: ignore[arg-type]
        )

    def __bool__(self) -> bool:
        return bool(self.model or self.type or self.name)

    def text(self, names: Sequence[str], kinds: Sequence[str], key: str) -> tuple[str, str] | None:
        """Return (text, level) of a type, level being ``name``, ``type`` or ``model``; None for none.

        Args:
            names: names under which the layer may be addressed, the most specific first.
            kinds: its types, the most specific first.
            key: one of `PRECISION_KEYS`.
        """
        for level, table, owners in (("name", self.name, names), ("type", self.type, kinds)):
            for owner in owners:
                entry = table.get(owner, {})
                if key in entry or DEFAULT in entry:
                    return entry.get(key, entry.get(DEFAULT, "")), level
        if key in self.model or DEFAULT in self.model:
            return self.model.get(key, self.model.get(DEFAULT, "")), "model"
        return None

    def check(self, model: Model) -> None:
        """Refuse names and types of layers that do not exist, all at once.

        Raises:
            ConfigError: there is one.
        """
        names = {layer.name for layer in model.layers}
        names |= {name.split(".")[0] for name in names}
        wrong = [f"name.{name}: {nearest(name, names)}" for name in self.name if name not in names]
        wrong += [f"type.{kind}: {nearest(kind, _KNOWN)}" for kind in self.type if kind not in _KNOWN]
        if wrong:
            raise ConfigError(
                f"{len(wrong)} entries name nothing in the model: " + "; ".join(wrong), where=("precision",)
            )


def _entry(value: str | Mapping[str, str]) -> dict[str, str]:
    return {DEFAULT: value} if isinstance(value, str) else dict(value)


def quantizer(text: str) -> Quantizer:
    """Read a type for post-training quantization; modes that are not written are RND_CONV and SAT.

    Example:
        >>> str(quantizer("fixed<16,6>"))
        'fixed<16,6,RND_CONV,SAT>'
        >>> str(quantizer("fixed<16,6,TRN,WRAP>"))
        'fixed<16,6,TRN,WRAP>'
    """
    kind = Quantizer.parse(text)
    stated = text.count(",") - 1
    rounding = kind.rounding if stated >= 1 else Rounding.RND_CONV
    return Quantizer(kind.type, rounding, kind.overflow if stated >= 2 else Overflow.SAT)


def kinds_of(layer: Layer) -> tuple[str, ...]:
    """Return the names of a layer's type, the framework's first."""
    own = type(layer).__name__
    match layer:
        case Conv():
            rank = _SPATIAL.get(layer.kernel.ndim - 2, "")
            deep = (f"DepthwiseConv{rank}",) if layer.groups > 1 and layer.kernel.shape[-2] == 1 else ()
            return (*deep, f"Conv{rank}", own)
        case Recurrent():
            return (_CELLS.get(layer.cell, own), own)
        case Merge():
            return (_MERGES.get(layer.kind, own), own)
        case Affine():
            return ("BatchNormalization", own)
        case Relu():
            return ("ReLU", own, "Activation")
        case Map():
            return (own, "Activation")
        case Pool():
            return (f"{_POOLS.get(layer.kind, own)}{_SPATIAL.get(len(layer.size), '')}", "Pooling", own)
        case GlobalPool():
            return ("GlobalPooling", own)
        case Dot() | MatMul() | Einsum2() | Reduce():
            return (own,)
    more = {"Einsum": "EinsumDense", "LayerNorm": "LayerNormalization"}.get(own)
    return (own,) if more is None else (more, own)


assert set(PRECISION_KEYS) & {DEFAULT, AUTO} == set(), "these words are taken"
assert [f.name for f in fields(Auto)], "the options of auto are its fields"
