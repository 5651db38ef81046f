# SPDX-License-Identifier: Apache-2.0
"""HGQ2's layers, read from ``.keras`` files without Keras: `LAYERS` is the table."""

from __future__ import annotations

from l1ml.frontends.hgq2 import layers, tables
from l1ml.frontends.hgq2.layers import around, plain
from l1ml.frontends.keras import conv, shape
from l1ml.frontends.keras.step import Reader

LAYERS: dict[str, Reader] = {
    "QDense": around(layers.dense),
    "QBatchNormDense": around(layers.batch_norm_dense),
    "QEinsumDense": around(layers.einsum_dense),
    "QEinsumDenseBatchnorm": around(layers.einsum_dense_batchnorm),
    **{f"QConv{n}D": around(layers.conv(n)) for n in (1, 2, 3)},
    "QBatchNormalization": around(layers.batch_normalization),
    "Quantizer": layers.quantizer,
    "QActivation": around(tables.unary),
    "QUnaryFunctionLUT": around(tables.unary),
    "QAffinedUnaryFunctionLUT": around(tables.unary),
    "QSoftmax": around(tables.softmax),
    "QMultiHeadAttention": tables.attention,
    "QAdd": around(plain(shape.merge("add"))),
    "QSubtract": around(plain(shape.merge("sub"))),
    "QMultiply": around(plain(shape.merge("mul"))),
    "QAverage": around(plain(shape.merge("mean"))),
    "QAveragePow2": around(layers.average_pow2),
    "QMaximum": around(plain(shape.merge("max"))),
    "QMinimum": around(plain(shape.merge("min"))),
    "QDot": around(plain(shape.dot)),
    "QEinsum": around(layers.einsum_of_two),
    "QSum": around(layers.summed(mean=False)),
    "QMeanPow2": around(layers.summed(mean=True)),
    **{f"QMaxPooling{n}D": around(plain(conv.pool("max", n))) for n in (1, 2)},
    **{f"QAveragePooling{n}D": around(plain(conv.pool("mean", n))) for n in (1, 2)},
    **{f"QGlobalMaxPooling{n}D": around(plain(conv.global_pool("max"))) for n in (1, 2)},
    **{f"QGlobalAveragePooling{n}D": around(plain(conv.global_pool("mean"))) for n in (1, 2)},
}
