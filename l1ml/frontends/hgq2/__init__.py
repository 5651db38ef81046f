# SPDX-License-Identifier: Apache-2.0
"""HGQ2's layers, read from ``.keras`` files without Keras: `LAYERS` is the table."""

from __future__ import annotations

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.hgq2 import attention, folded, linear, merge, recurrent, tables
from l1ml.frontends.hgq2.merge import plain
from l1ml.frontends.hgq2.parts import Parts, arguments, around, reader
from l1ml.frontends.keras import conv, shape
from l1ml.frontends.keras.step import Reader
from l1ml.graph.model import Layer


def quantizer(parts: Parts) -> str:
    """Quantizer as a layer of its own."""
    arguments(parts.step)
    return parts.quantize("quantized", parts.step.input, "", parts.options.raw("config"))


def refused(reason: str) -> Reader:
    """Return a reader of layers that have no exact form here."""

    def read(step: object) -> tuple[Layer, ...]:
        raise UnsupportedError(reason)

    return read


TABLES = (
    "its tables come from a small float network, whose results differ in the last places between frameworks; "
    "trace the model with alkaid, which freezes them, and give its program (.json)"
)
SPIKES = "spiking neurons; trace the model with alkaid and give its program (.json)"

LAYERS: dict[str, Reader] = {
    "QDense": around(linear.dense),
    "QBatchNormDense": around(folded.batch_norm_dense),
    "QEinsumDense": around(linear.einsum_dense),
    "QEinsumDenseBatchnorm": around(folded.einsum_dense_batchnorm),
    "QConv1D": around(linear.causal(linear.conv(1))),
    **{f"QConv{n}D": around(linear.conv(n)) for n in (2, 3)},
    "QBatchNormalization": around(folded.batch_normalization),
    "Quantizer": reader(quantizer),
    "QUnaryFunctionLUT": around(tables.unary),
    "QAffinedUnaryFunctionLUT": around(tables.affine_unary),
    "QSoftmax": around(tables.softmax_layer),
    "QMultiHeadAttention": reader(attention.attention),
    "QLinformerAttention": reader(attention.linformer),
    "QAdd": around(plain(shape.merge("add"))),
    "QSubtract": around(plain(shape.merge("sub"))),
    "QMultiply": around(plain(shape.merge("mul"))),
    "QAveragePow2": around(merge.average_pow2),
    "QMaximum": around(plain(shape.merge("max"))),
    "QMinimum": around(plain(shape.merge("min"))),
    "QDot": around(plain(shape.dot)),
    "QEinsum": around(merge.einsum),
    "QSum": around(merge.summed(mean=False)),
    "QMeanPow2": around(merge.summed(mean=True)),
    **{f"QMaxPooling{n}D": around(plain(conv.pool("max", n))) for n in (1, 2, 3)},
    **{f"QAveragePooling{n}D": around(plain(conv.pool("mean", n))) for n in (1, 2, 3)},
    **{f"QGlobalMaxPooling{n}D": around(plain(conv.global_pool("max"))) for n in (1, 2, 3)},
    **{f"QGlobalAveragePooling{n}D": around(plain(conv.global_pool("mean"))) for n in (1, 2, 3)},
    "QSimpleRNN": reader(recurrent.recurrent(1, recurrent.simple_rnn)),
    "QGRU": reader(recurrent.recurrent(3, recurrent.gru, reset_after=True)),
}

REFUSED: dict[str, str] = {
    **dict.fromkeys(
        ("QDenseT", "QEinsumDenseT", "QConvT1D", "QConvT2D", "QMultiHeadAttentionT", "QLinformerAttentionT"),
        TABLES,
    ),
    **dict.fromkeys(("QLIF", "QLIFCell", "QSimpleSNN", "QSimpleSNNCell"), SPIKES),
    **dict.fromkeys(("QSimpleRNNCell", "QGRUCell"), "a cell on its own; QSimpleRNN and QGRU are supported"),
}
"""Layers that are known and have no exact form here, with the reason."""

LAYERS.update({kind: refused(reason) for kind, reason in REFUSED.items()})
