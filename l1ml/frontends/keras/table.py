# SPDX-License-Identifier: Apache-2.0
"""The Keras and QKeras layers that are read, one function each: `LAYERS` is the table."""

from __future__ import annotations

from l1ml.frontends.keras import adaptive, attention, conv, core, folded, recurrent, shape
from l1ml.frontends.keras.step import Reader

LAYERS: dict[str, Reader] = {
    "Dense": core.dense,
    "QDense": core.dense,
    "EinsumDense": core.einsum_dense,
    "Embedding": core.embedding,
    "Activation": core.activation,
    "QActivation": core.activation,
    "QAdaptiveActivation": adaptive.adaptive_activation,
    "ReLU": core.relu,
    "LeakyReLU": core.leaky_relu,
    "PReLU": core.prelu,
    "ELU": core.elu,
    "ThresholdedReLU": core.thresholded_relu,
    "Softmax": core.softmax,
    "BatchNormalization": core.batch_normalization,
    "BatchNormalizationV1": core.batch_normalization,
    "BatchNormalizationV2": core.batch_normalization,
    "QBatchNormalization": core.q_batch_normalization,
    "LayerNormalization": core.layer_normalization,
    "Rescaling": core.rescaling,
    **{f"{q}Conv{n}D": conv.conv(n) for q in ("", "Q") for n in (1, 2)},
    **{f"DepthwiseConv{n}D": conv.depthwise(n) for n in (1, 2)},
    "QDepthwiseConv2D": conv.depthwise(2),
    **{f"{q}SeparableConv{n}D": conv.separable(n) for q in ("", "Q") for n in (1, 2)},
    **{f"MaxPooling{n}D": conv.pool("max", n) for n in (1, 2)},
    **{f"AveragePooling{n}D": conv.pool("mean", n) for n in (1, 2)},
    "QAveragePooling2D": conv.pool("mean", 2),
    **{f"GlobalMaxPooling{n}D": conv.global_pool("max") for n in (1, 2)},
    **{f"GlobalAveragePooling{n}D": conv.global_pool("mean") for n in (1, 2)},
    "QGlobalAveragePooling2D": conv.global_pool("mean"),
    "QDenseBatchnorm": folded.folded(0),
    "QConv2DBatchnorm": folded.folded(2),
    "QDepthwiseConv2DBatchnorm": folded.folded(2, depthwise=True),
    **{kind: recurrent.recurrent(cell) for kind, cell in recurrent.CELLS.items()},
    "RNN": recurrent.cells,
    "Bidirectional": recurrent.bidirectional,
    "QBidirectional": recurrent.bidirectional,
    "MultiHeadAttention": attention.multi_head_attention,
    "Flatten": shape.flatten,
    "Reshape": shape.reshape,
    "Permute": shape.permute,
    "RepeatVector": shape.repeat_vector,
    **{f"ZeroPadding{n}D": shape.zero_padding(n) for n in (1, 2)},
    **{f"Cropping{n}D": shape.cropping(n) for n in (1, 2)},
    **{f"UpSampling{n}D": shape.upsampling(n) for n in (1, 2)},
    "Add": shape.merge("add"),
    "Subtract": shape.merge("sub"),
    "Multiply": shape.merge("mul"),
    "Average": shape.merge("mean"),
    "Maximum": shape.merge("max"),
    "Minimum": shape.merge("min"),
    "Concatenate": shape.concatenate,
    "Dot": shape.dot,
    "Dropout": core.nothing,
}

SUPPORTED = (
    "InputLayer",
    "TimeDistributed",
    *(kind for kind in LAYERS if not kind.startswith("BatchNormalizationV")),
)
"""What messages list; layers below do nothing at inference either and need no mention."""

NO_OPS = (
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
)
LAYERS.update(dict.fromkeys(NO_OPS, core.nothing))

POINTWISE = (
    "Dense",
    "QDense",
    "Activation",
    "QActivation",
    "ReLU",
    "LeakyReLU",
    "ELU",
    "Dropout",
)
"""Layers that work on the last axis, so that TimeDistributed around them changes nothing."""
