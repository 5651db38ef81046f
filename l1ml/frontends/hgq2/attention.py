# SPDX-License-Identifier: Apache-2.0
"""HGQ2's attention layers, written with products of tensors: QMultiHeadAttention, QLinformerAttention.

Source:
    ``hgq/layers/attn/mha.py`` and ``linformer.py``; the equations are those of Keras' MultiHeadAttention.
"""

from __future__ import annotations

import math

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.hgq2 import tables
from l1ml.frontends.hgq2.parts import Parts, arguments, inner, output
from l1ml.graph.model import Einsum, Einsum2
from l1ml.types.arrays import RealArray

LETTERS = "abcegijklmnopqrstuvwxyz"
"""For axes of positions; ``f`` stands for features, ``h`` for heads, ``d`` for their width."""

MAX_RANK = 5
ARGUMENTS = ("query", "value", "key")


def attention(parts: Parts) -> str:
    """QMultiHeadAttention."""
    return _attend(parts, *_given(parts))


def linformer(parts: Parts) -> str:
    """QLinformerAttention: keys and values are first projected along the axes of positions."""
    if parts.options.raw("lin_kv_proj_mode", "dense") != "dense":
        raise UnsupportedError(
            f"lin_kv_proj_mode {parts.options.raw('lin_kv_proj_mode')!r}; dense is supported"
        )
    query, value, key = _given(parts)
    rank = len(parts.shape(key)) - 1
    old, new = LETTERS[:rank], LETTERS[rank : 2 * rank]
    shared = parts.options.flag("share_kv_proj", False)
    made = {}
    for short, source in (("k", key), ("v", value)):
        place = f"_lin_{'k' if shared else short}_proj"
        if parts.stored(f"{place}/oq") or parts.stored(f"{place}/bq"):
            raise UnsupportedError(
                "projections of keys and values with quantizers that HGQ2 forgets at loading"
            )
        made[short] = _projection(parts, f"lin_{short}", place, source, f"{old}f,{old}{new}->{new}f")
    return _attend(parts, query, made["v"], made["k"])


def _given(parts: Parts) -> tuple[str, str, str]:
    """Return query, value and key; what is not given is the one before."""
    given = arguments(parts.step, *ARGUMENTS)
    query = given.get("query", parts.step.inputs[0])
    value = given.get("value", query)
    key = given.get("key", value)
    ranks = {len(parts.shape(name)) for name in (query, value, key)}
    if len(ranks) != 1 or not 2 <= max(ranks) <= MAX_RANK:
        raise UnsupportedError("query, value and key that have not all the same number of axes, 2 to 5")
    axes = parts.options.integers("attention_axes")
    if axes is not None and axes != list(range(1, max(ranks))):
        # HGQ2 0.2 itself cannot build others.
        raise UnsupportedError(f"attention_axes {axes}; all axes of positions are supported")
    return query, value, key


def _attend(parts: Parts, query: str, value: str, key: str) -> str:
    options = parts.options
    rank = len(parts.shape(query)) - 1
    q, k = LETTERS[:rank], LETTERS[rank : 2 * rank]
    fuse = str(options.raw("fuse") or "none").lower()
    shared = {"none": (), "kv": ("key", "value"), "qkv": ("query", "key", "value")}.get(fuse)
    if shared is None:
        raise UnsupportedError(f"fuse {fuse[:20]!r}; none, kv and qkv are supported")
    # A quantizer that several layers share is stored with one of them.
    common = next((place for name in shared if parts.stored(place := f"{name}_dense/iq")), None)
    made = {}
    for name, source in (("query", query), ("key", key), ("value", value)):
        own = common if name in shared else None
        made[name] = _projection(parts, name, f"{name}_dense", source, f"{q}f,fhd->{q}hd", iq=own)
    scores = parts.add(Einsum2(parts.name("scores"), (made["key"], made["query"]), f"{k}hd,{q}hd->h{q}{k}"))
    # Files of earlier versions hold a quantizer for the scores that HGQ2 does not use.
    table = {k.removeprefix("softmax_"): v for k, v in options.values.items() if k.startswith("softmax_")}
    table["stable"] = options.raw("stable_softmax", True)
    last = tuple(range(1 + rank, 1 + 2 * rank))
    soft = tables.softmax(
        parts, scores, inner(options, **table), last, place="_softmax/", part="softmax.",
        scaler=1.0 / math.sqrt(float(options.integer("key_dim"))),
    )  # fmt: skip
    if parts.stored("_softmax/oq"):
        soft = parts.quantize("softmax.oq", soft, "_softmax/oq", options.raw("softmax_oq_conf"))
    mixed = parts.add(Einsum2(parts.name("mixed"), (soft, made["value"]), f"h{q}{k},{k}hd->{q}hd"))
    results = LETTERS[rank : rank + max(1, len(options.integers("output_shape") or []))]
    equation = f"{q}hd,hd{results}->{q}{results}"
    return output(parts, _projection(parts, "output", "output_dense", mixed, equation))


def _projection(
    parts: Parts, part: str, place: str, source: str, equation: str, *, iq: str | None = None
) -> str:
    """Append a QEinsumDense inside of an attention layer.

    Args:
        parts: the layer.
        part: name of its result.
        place: folder of its variables.
        source: what it reads.
        equation: without the event axis.
        iq: folder of its input quantizer where that is shared, None for its own.
    """
    options = parts.options
    iq = f"{place}/iq" if iq is None else iq
    if parts.stored(iq):
        source = parts.quantize(f"{part}.iq", source, iq, options.raw("qkvo_iq_conf"))
    elif options.flag("enable_iq", True):
        raise parts.step.error(f"stores no input quantizer in {place}")
    kernel_axes = equation.split(",")[1].split("->")[0]
    biased = parts.stored(f"{place}/bq")
    new = [c for c in kernel_axes if c not in equation.split(",")[0]]
    bias = [("bias", (None,) * len(new))] if biased else []
    raw = parts.weights(place, ("kernel", (None,) * len(kernel_axes)), *bias)
    texts = parts.texts = []
    kernel = parts.constant(f"{place}/kq", options.raw("qkvo_kq_conf"), raw["kernel"], "kernel")
    added: RealArray | None = None
    if biased:
        added = parts.constant(f"{place}/bq", options.raw("qkvo_bq_conf"), raw["bias"], "bias")
        if added.shape != kernel.shape[-len(new) :]:
            raise parts.step.error(f"stores a bias of the shape {added.shape} in {place}")
    name = parts.add(
        Einsum(parts.name(f"{part}.linear"), (source,), kernel, added, equation, quantizers=tuple(texts))
    )
    if parts.stored(f"{place}/oq"):
        name = parts.quantize(f"{part}.oq", name, f"{place}/oq", options.raw("qkvo_oq_conf"))
    return name
