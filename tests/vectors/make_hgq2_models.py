# SPDX-License-Identifier: Apache-2.0
"""Make small HGQ2 models of every layer, and record what HGQ2 gives for them.

Run it where HGQ2 is installed (hgq2 0.2.0, Keras 3.15, TensorFlow 2.21), not where l1ml is:

    python tests/vectors/make_hgq2_models.py tests/vectors/hgq2 [name ...]

For every function of `MODELS` it writes ``<name>.keras`` as Keras saves it (only the archive is packed tighter) and
``<name>.npz``: inputs, the outputs, and those of every layer.  Bit widths are drawn per element, some of them 0; inputs are
half-way between codes, at and beyond the ends of the types.  The tests compare l1ml with these files.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from hgq import layers as hq
from hgq.config import HardSigmoidConfig, HardTanhConfig
from hgq.config import QuantizerConfig as Q
from hgq.quantizer.internal import FixedPointQuantizerKBI, FixedPointQuantizerKIF, FloatPointQuantizer
from keras import layers as kl
from keras import ops

EVENTS = 40
LSB = 2.0**-6
REACH = 4.0
ROUNDINGS = ("TRN", "RND", "RND_CONV", "TRN_ZERO", "RND_ZERO", "RND_MIN_INF", "RND_INF")
OVERFLOWS = ("WRAP", "SAT", "SAT_SYM")

Build = Callable[[], keras.Model]
MODELS: dict[str, Build] = {}


def model(build: Build) -> Build:
    MODELS[build.__name__] = build
    return build


def iq(round_mode: str = "RND", overflow_mode: str = "WRAP", **options: object) -> Q:
    return Q(
        "kif", "datalane", k0=1, i0=2, f0=3, round_mode=round_mode, overflow_mode=overflow_mode, **options
    )


def kq(overflow_mode: str = "SAT_SYM", **options: object) -> Q:
    return Q("kbi", "weight", k0=1, b0=4, i0=1, overflow_mode=overflow_mode, **options)


def bq(**options: object) -> Q:
    return Q("kif", "bias", k0=1, i0=2, f0=4, **options)


def table(**options: object) -> Q:
    return Q("kif", "table", k0=1, i0=1, f0=5, **options)


def end(*tensors: keras.KerasTensor, inputs: list[keras.KerasTensor]) -> keras.Model:
    """Close a model; what is real-valued gets a type."""
    return keras.Model(inputs, list(tensors) if len(tensors) > 1 else tensors[0])


# ---- quantizers


@model
def quantizers() -> keras.Model:
    x = keras.Input((6,), name="x")
    out = []
    for overflow in OVERFLOWS:
        for rounding in ROUNDINGS:
            conf = Q("kif", "datalane", i0=1, f0=2, round_mode=rounding, overflow_mode=overflow)
            out.append(hq.Quantizer(conf, name=f"kif_{rounding}_{overflow}")(x))
    for overflow in OVERFLOWS:
        conf = Q("kbi", "datalane", b0=4, i0=1, round_mode="RND_CONV", overflow_mode=overflow)
        out.append(hq.Quantizer(conf, name=f"kbi_{overflow}")(x))
    for rounding in ("RND", "RND_CONV"):
        conf = Q("kif", "datalane", i0=1, f0=2, round_mode=rounding, overflow_mode="WRAP_SM")
        out.append(hq.Quantizer(conf, name=f"reflected_{rounding}")(x))
    return end(*out, inputs=[x])


@model
def quantizers_more() -> keras.Model:
    x = keras.Input((3, 4), name="x")
    out = [
        hq.Quantizer(
            Q("kif", "datalane", i0=1, f0=2, round_mode="S_RND_CONV", overflow_mode="SAT"), name="stochastic"
        )(x),
        hq.Quantizer(Q("kif", "datalane", i0=1, f0=2, scaler=0.5, overflow_mode="SAT"), name="scaled")(x),
        hq.Quantizer(
            Q("kif", "datalane", i0=1, f0=2, affine=(-0.5, 0.75), overflow_mode="SAT"), name="affine"
        )(x),
        hq.Quantizer(Q("kif", "datalane", i0=1, f0=2, qnoise_factor=0.5, overflow_mode="SAT"), name="noise")(
            x
        ),
        hq.Quantizer(HardTanhConfig("kif", "datalane", f0=4), name="hard_tanh")(x),
        hq.Quantizer(HardSigmoidConfig("kif", "datalane", f0=4), name="hard_sigmoid")(x),
        hq.Quantizer(
            Q("kif", "datalane", i0=1, f0=2, homogeneous_axis=(0, 1), overflow_mode="WRAP"),
            name="per_channel",
        )(x),
        hq.Quantizer(Q("kif", "datalane", i0=1, f0=2, heterogeneous_axis=(1,)), name="per_row")(x),
        hq.Quantizer(Q("kif", "datalane", i0=1, f0=2, heterogeneous_axis=()), name="per_layer")(x),
        hq.Quantizer(Q("kif", "datalane", i0=1, f0=2, trainable=False), name="frozen")(x),
    ]
    third = hq.Quantizer(Q("kif", "datalane", i0=1, f0=3, scaler=3.0, overflow_mode="SAT"), name="thirds")(x)
    out.append(
        hq.Quantizer(Q("kif", "datalane", i0=2, f0=2, overflow_mode="SAT"), name="after_thirds")(third)
    )
    out.append(hq.Quantizer(Q("dummy"), name="dummy")(x))
    return end(*out, inputs=[x])


@model
def weights() -> keras.Model:
    """Quantizers of constants, one QDense each."""
    x = keras.Input((4,), name="x")
    out = []
    for overflow in (*OVERFLOWS, "WRAP_SM"):
        for rounding in ("RND", "RND_CONV") if overflow == "WRAP_SM" else ROUNDINGS:
            conf = Q("kif", "weight", i0=0, f0=3, round_mode=rounding, overflow_mode=overflow)
            name = f"kif_{rounding}_{overflow}"
            out.append(hq.QDense(3, name=name, iq_conf=iq(), kq_conf=conf, use_bias=False)(x))
    for overflow in OVERFLOWS:
        for rounding in ("RND", "TRN"):
            conf = Q("kbi", "weight", b0=3, i0=0, round_mode=rounding, overflow_mode=overflow)
            out.append(
                hq.QDense(3, name=f"kbi_{rounding}_{overflow}", iq_conf=iq(), kq_conf=conf, use_bias=False)(x)
            )
    frozen = [
        Q("kif", "weight", i0=0, f0=3, overflow_mode="WRAP", trainable=False),
        Q("kbi", "weight", b0=3, i0=0, overflow_mode="WRAP", trainable=False),
        Q("kif", "weight", i0=0, f0=3, overflow_mode="SAT", scaler=0.5, affine=(0.5, -0.25)),
        Q("kif", "weight", i0=0, f0=3, overflow_mode="WRAP", is_weight=False),
    ]
    for name, conf in zip(("frozen_kif", "frozen_kbi", "affine", "wraps"), frozen, strict=True):
        out.append(hq.QDense(3, name=name, iq_conf=iq(), kq_conf=conf, bq_conf=bq())(x))
    return end(*out, inputs=[x])


def without_is_weight(init: Callable[..., None]) -> Callable[..., None]:
    """Let HGQ2 0.2.0 build minifloats: its own configurations give them an argument that they do not have."""

    def built(self: FloatPointQuantizer, *args: object, is_weight: bool = False, **options: object) -> None:
        init(self, *args, **options)

    return built


FloatPointQuantizer.__init__ = without_is_weight(FloatPointQuantizer.__init__)


@model
def minifloats() -> keras.Model:
    x = keras.Input((6,), name="x")
    each = {"homogeneous_axis": (0,), "heterogeneous_axis": None}
    out = [
        hq.Quantizer(Q("float", "datalane", m0=2, e0=3, **each), name="subnormal")(x),
        hq.Quantizer(Q("float", "datalane", m0=1, e0=2, e00=1, **each), name="coarse")(x),
        hq.Quantizer(Q("float", "datalane", m0=3, e0=1, e00=-1), name="one")(x),
        hq.Quantizer(Q("float", "datalane", m0=2, e0=0, **each), name="no_exponent")(x),
    ]
    small = Q("float", "weight", m0=1, e0=2)
    out.append(
        hq.QDense(
            3,
            name="weights",
            iq_conf=iq(),
            kq_conf=small,
            bq_conf=Q("float", "bias", m0=2, e0=2, homogeneous_axis=()),
        )(x)
    )
    y = hq.QDense(3, name="data", iq_conf=Q("float", "datalane", m0=1, e0=2, **each), kq_conf=kq())(x)
    out.append(hq.QAdd(name="sum", iq_confs=[iq(), Q("float", "datalane", m0=2, e0=2)])([y, out[-1]]))
    return end(*out, inputs=[x])


@model
def activations() -> keras.Model:
    """Functions that Keras knows, between a layer and the next quantizer."""
    x = keras.Input((4,), name="x")
    out = []
    for name in (
        "relu",
        "relu6",
        "leaky_relu",
        "hard_sigmoid",
        "hard_tanh",
        "sigmoid",
        "tanh",
        "elu",
        "softsign",
    ):
        y = hq.QDense(
            3, activation=name, name=f"dense_{name}", iq_conf=iq(), kq_conf=kq("WRAP"), bq_conf=bq()
        )(x)
        out.append(hq.Quantizer(iq("RND_CONV", "SAT"), name=f"after_{name}")(y))
    y = hq.QDense(3, name="dense", iq_conf=iq(), kq_conf=kq())(x)
    for layer in (
        kl.ReLU(1.5, 0.25, name="bounded"),
        kl.ReLU(None, 0.0, 0.5, name="above"),
        kl.LeakyReLU(0.25, name="leaky"),
        kl.Activation("swish", name="swish"),
        kl.PReLU(name="prelu"),
    ):
        out.append(hq.Quantizer(iq("TRN", "SAT"), name=f"behind_{len(out)}")(layer(y)))
    return end(*out, inputs=[x])


# ---- kernels


@model
def dense() -> keras.Model:
    x = keras.Input((6,), name="x")
    y = hq.QDense(5, activation="relu", name="d1", iq_conf=iq(), kq_conf=kq(), bq_conf=bq())(x)
    y = hq.QDense(
        4,
        name="d2",
        iq_conf=iq("TRN", "SAT"),
        kq_conf=kq("WRAP"),
        use_bias=False,
        enable_oq=True,
        oq_conf=iq(),
    )(y)
    y = hq.QDense(4, name="d3", enable_iq=False, kq_conf=kq(), bq_conf=Q("kbi", "bias", b0=5, i0=1))(y)
    y = hq.QDense(
        3, activation="tanh", name="d4", iq_conf=iq(), enable_oq=True, oq_conf=iq("RND_CONV", "SAT")
    )(y)
    return end(hq.QDense(3, activation="softmax", name="d5", iq_conf=iq(), kq_conf=kq())(y), inputs=[x])


@model
def dense_of_rows() -> keras.Model:
    x = keras.Input((3, 4), name="x")
    y = hq.QDense(4, activation="relu", name="d1", iq_conf=iq(), kq_conf=kq(), parallelization_factor=1)(x)
    y = hq.QBatchNormDense(3, name="bn1", iq_conf=iq(), kq_conf=kq(), bq_conf=bq(), activation="relu")(y)
    return end(
        hq.QBatchNormDense(3, name="bn2", iq_conf=iq(), scale=False, enable_oq=True, oq_conf=iq())(y),
        inputs=[x],
    )


@model
def einsum_dense() -> keras.Model:
    x = keras.Input((3, 4), name="x")
    out = [
        hq.QEinsumDense(
            "abc,cd->abd", (3, 5), bias_axes="d", activation="relu", name="per_channel", iq_conf=iq()
        )(x),
        hq.QEinsumDense("abc,cd->abd", (3, 5), bias_axes="bd", name="full_bias", iq_conf=iq(), kq_conf=kq())(
            x
        ),
        hq.QEinsumDense("abc,cd->abd", (3, 5), bias_axes="b", name="row_bias", iq_conf=iq(), bq_conf=bq())(x),
        hq.QEinsumDense("abc,bcd->abd", (3, 2), name="per_row", iq_conf=iq())(x),
        hq.QEinsumDense("abc,bd->adc", (2, 4), name="mixes_rows", iq_conf=iq("TRN_ZERO", "SAT"))(x),
        hq.QEinsumDense("...c,cd->...d", 2, bias_axes="d", name="ellipsis", iq_conf=iq(), enable_oq=True)(x),
        hq.QEinsumDense("abc,bcde->ade", (2, 3), bias_axes="de", name="all", iq_conf=iq())(x),
        hq.QEinsumDense("ab...,bd->ad...", (2, 4), name="trailing", iq_conf=iq())(x),
    ]
    return end(*out, inputs=[x])


@model
def einsum_dense_batchnorm() -> keras.Model:
    x = keras.Input((3, 4), name="x")
    out = [
        hq.QEinsumDenseBatchnorm(
            "abc,cd->abd", (3, 5), bias_axes="d", activation="relu", name="plain", iq_conf=iq()
        )(x),
        hq.QEinsumDenseBatchnorm(
            "abc,bcd->abd", (3, 2), bias_axes="bd", name="both", iq_conf=iq(), kq_conf=kq()
        )(x),
        hq.QEinsumDenseBatchnorm("abc,bd->adc", (2, 4), bias_axes="d", name="mixes_rows", iq_conf=iq())(x),
        hq.QEinsumDenseBatchnorm("...c,cd->...d", 2, bias_axes="d", name="ellipsis", iq_conf=iq())(x),
    ]
    return end(*out, inputs=[x])


@model
def conv1d() -> keras.Model:
    x = keras.Input((7, 4), name="x")
    row = iq(homogeneous_axis=(0, 1))
    out = [
        hq.QConv1D(3, 3, name="valid", iq_conf=iq(), kq_conf=kq(), bq_conf=bq(), activation="relu")(x),
        hq.QConv1D(3, 3, strides=2, padding="same", name="same", iq_conf=iq(), kq_conf=kq("WRAP"))(x),
        hq.QConv1D(3, 2, padding="causal", dilation_rate=2, name="causal", iq_conf=row, use_bias=False)(x),
        hq.QConv1D(4, 2, groups=2, name="grouped", iq_conf=iq(), enable_oq=True, oq_conf=iq("TRN", "SAT"))(x),
    ]
    return end(*out, inputs=[x])


@model
def conv2d() -> keras.Model:
    x = keras.Input((5, 6, 2), name="x")
    y = hq.QConv2D(
        4, 3, padding="same", activation="relu", name="same", iq_conf=iq(), kq_conf=kq(), bq_conf=bq()
    )(x)
    out = [
        hq.QConv2D(3, (2, 3), strides=(2, 1), name="strided", iq_conf=iq("RND_CONV", "SAT"), kq_conf=kq())(y),
        hq.QConv2D(4, 2, groups=4, name="depthwise", iq_conf=iq(), use_bias=False)(y),
        hq.QConv2D(2, 2, dilation_rate=2, name="dilated", iq_conf=iq(homogeneous_axis=(0, 1, 2)))(y),
        hq.QConv2D(2, 1, name="pointwise", iq_conf=iq(), enable_oq=True)(y),
    ]
    return end(*out, inputs=[x])


@model
def conv3d() -> keras.Model:
    x = keras.Input((3, 4, 3, 2), name="x")
    y = hq.QConv3D(2, 2, name="c", iq_conf=iq(), kq_conf=kq(), activation="relu")(x)
    y = hq.QMaxPooling3D((1, 2, 1), name="pool", iq_conf=iq())(y)
    out = [
        hq.QAveragePooling3D((2, 1, 2), name="mean", iq_conf=iq())(y),
        hq.QGlobalMaxPooling3D(name="global_max", iq_conf=iq())(y),
        hq.QGlobalAveragePooling3D(name="global_mean", iq_conf=iq(), enable_oq=True, oq_conf=iq())(y),
    ]
    return end(*out, inputs=[x])


@model
def batch_normalization() -> keras.Model:
    x = keras.Input((3, 4), name="x")
    out = [
        hq.QBatchNormalization(name="full", iq_conf=iq(), kq_conf=kq(), bq_conf=bq())(x),
        hq.QBatchNormalization(center=False, name="no_center", iq_conf=iq())(x),
        hq.QBatchNormalization(
            scale=False, name="no_scale", iq_conf=iq(), kq_conf=kq("WRAP"), enable_oq=True
        )(x),
        hq.QBatchNormalization(axis=1, name="rows", iq_conf=iq("TRN", "SAT"))(x),
    ]
    return end(*out, inputs=[x])


# ---- merges, sums, pooling


@model
def merges() -> keras.Model:
    a, b, c = (keras.Input((3, 4), name=n) for n in "abc")
    confs = [iq(), iq("TRN", "SAT")]
    out = [
        hq.QAdd(name="add", iq_confs=confs)([a, b]),
        hq.QAdd(name="add3", iq_confs=iq())([a, b, c]),
        hq.QSubtract(name="subtract", iq_confs=confs)([a, b]),
        hq.QMultiply(name="multiply", iq_confs=confs, enable_oq=True, oq_conf=iq())([a, b]),
        hq.QMaximum(name="maximum", iq_confs=confs)([a, b]),
        hq.QMinimum(name="minimum", iq_confs=[iq()] * 3)([a, b, c]),
        hq.QAveragePow2(name="mean2", iq_confs=confs)([a, b]),
        hq.QAveragePow2(name="mean3", iq_confs=iq())([a, b, c]),
        hq.QAdd(name="twice", iq_confs=confs)([a, a]),
        hq.QDot(axes=2, name="dot", iq_confs=confs)([a, b]),
        hq.QDot(axes=(1, 1), name="dot_rows", iq_confs=confs, enable_oq=True)([a, b]),
        hq.QEinsum("bij,bkj->bik", name="einsum", iq_confs=confs)([a, b]),
        hq.QEinsum("...j,...j->...j", name="elementwise", iq_confs=confs)([a, b]),
        hq.QEinsum("bij,bkj,bkl->bil", name="einsum3", iq_confs=[Q("kif", "datalane", k0=1, i0=1, f0=1)] * 3)(
            [a, b, c]
        ),
    ]
    wide = kl.Concatenate(axis=1, name="joined")([a, b])
    out.append(hq.QDense(2, name="of_joined", iq_conf=iq(), kq_conf=kq())(wide))
    return end(*out, inputs=[a, b, c])


@model
def broadcasts() -> keras.Model:
    """Merges of tensors of other shapes, and of four tensors."""
    a, row, column, b = (
        keras.Input(s, name=n) for s, n in (((3, 4), "a"), ((1, 4), "r"), ((3, 1), "c"), ((4,), "b"))
    )
    out = [
        hq.QAdd(name="add", iq_confs=iq())([a, row]),
        hq.QSubtract(name="subtract", iq_confs=iq())([column, a]),
        hq.QMultiply(name="multiply", iq_confs=iq("TRN", "SAT"))([row, column]),
        hq.QMaximum(name="maximum", iq_confs=iq())([column, row]),
        hq.QAdd(name="add4", iq_confs=iq())([a, row, column, a]),
        hq.QAveragePow2(name="mean4", iq_confs=iq(), enable_oq=True, oq_conf=iq("TRN_ZERO"))(
            [a, row, column, a]
        ),
        hq.QEinsum("bij,bj->bi", name="einsum", iq_confs=iq())([a, b]),
        hq.QEinsum("bij,bjk->bik", name="outer", iq_confs=iq())([column, row]),
        hq.QEinsum("bij,bj->b", name="total", iq_confs=iq())([a, b]),
        hq.QDot(axes=(2, 1), name="dot", iq_confs=iq())([a, b]),
    ]
    return end(*out, inputs=[a, row, column, b])


@model
def sums() -> keras.Model:
    x = keras.Input((3, 4), name="x")
    out = [
        hq.QSum(name="last", iq_conf=iq())(x),
        hq.QSum(axes=1, scale=0.25, keepdims=True, name="rows", iq_conf=iq("TRN_ZERO", "SAT"))(x),
        hq.QSum(axes=(1, 2), name="both", iq_conf=iq())(x),
        hq.QMeanPow2(axes=1, name="mean_rows", iq_conf=iq())(x),
        hq.QMeanPow2(axes=(-1, -2), name="mean_both", iq_conf=iq())(x),
    ]
    return end(*out, inputs=[x])


@model
def pooling() -> keras.Model:
    x = keras.Input((6, 3), name="x")
    image = keras.Input((4, 5, 2), name="image")
    sat = iq("RND_CONV", "SAT")
    out = [
        hq.QMaxPooling1D(2, name="max1", iq_conf=iq())(x),
        hq.QMaxPooling1D(3, strides=2, padding="same", name="max1_same", iq_conf=iq())(x),
        hq.QAveragePooling1D(2, name="mean1", iq_conf=iq())(x),
        hq.QAveragePooling1D(
            3, strides=1, padding="same", name="mean1_same", iq_conf=iq(), enable_oq=True, oq_conf=sat
        )(x),
        hq.QGlobalMaxPooling1D(name="gmax1", iq_conf=iq())(x),
        hq.QGlobalAveragePooling1D(name="gmean1", iq_conf=iq(), enable_oq=True, oq_conf=sat)(x),
        hq.QMaxPooling2D((2, 3), name="max2", iq_conf=iq())(image),
        hq.QAveragePooling2D((2, 2), name="mean2", iq_conf=iq())(image),
        hq.QAveragePooling2D(
            (3, 2), padding="same", name="mean2_same", iq_conf=iq(), enable_oq=True, oq_conf=sat
        )(image),
        hq.QGlobalMaxPooling2D(keepdims=True, name="gmax2", iq_conf=iq())(image),
        hq.QGlobalAveragePooling2D(name="gmean2", iq_conf=iq(), enable_oq=True, oq_conf=sat)(image),
    ]
    thirds = hq.QAveragePooling1D(3, name="thirds", iq_conf=iq())(x)
    out.append(hq.Quantizer(iq("RND", "SAT"), name="after_thirds")(thirds))
    return end(*out, inputs=[x, image])


# ---- tables, attention, recurrent


@model
def unary() -> keras.Model:
    x = keras.Input((5,), name="x")
    out = []
    for name in (
        "tanh",
        "sigmoid",
        "exponential",
        "softplus",
        "softsign",
        "elu",
        "selu",
        "gelu",
        "silu",
        "relu",
        "linear",
    ):
        out.append(
            hq.QUnaryFunctionLUT(
                name, name=f"lut_{name}", iq_conf=iq("RND_CONV", "SAT"), oq_conf=table(round_mode="RND_CONV")
            )(x)
        )
    out.append(hq.QAffinedUnaryFunctionLUT("tanh", name="affine_tanh", iq_conf=iq(), oq_conf=table())(x))
    out.append(
        hq.QUnaryFunctionLUT(
            "sigmoid", name="one_table", iq_conf=iq(), oq_conf=table(), allow_heterogeneous_input=False
        )(x)
    )
    return end(*out, inputs=[x])


@model
def softmax() -> keras.Model:
    x = keras.Input((3, 4), name="x")
    wide = Q("kif", "table", i0=1, f0=6)
    out = [
        hq.QSoftmax(name="stable", exp_iq_conf=iq("TRN", "SAT"), exp_oq_conf=table(), inv_oq_conf=wide)(x),
        hq.QSoftmax(axis=1, name="rows", exp_iq_conf=iq("RND", "SAT"), exp_oq_conf=table(), input_scaler=0.3)(
            x
        ),
        hq.QSoftmax(
            axis=(1, 2),
            name="both",
            exp_iq_conf=iq("TRN", "SAT"),
            enable_oq=True,
            oq_conf=Q("kif", "datalane", i0=0, f0=6),
        )(x),
        hq.QSoftmax(
            name="direct",
            stable=False,
            enable_iq=True,
            iq_conf=iq("RND", "SAT"),
            exp_oq_conf=Q("kif", "table", i0=4, f0=3),
        )(x),
    ]
    return end(*out, inputs=[x])


def attention_options() -> dict[str, object]:
    small = Q("kif", "datalane", k0=1, i0=1, f0=2)
    return {
        "qkvo_iq_conf": small,
        "qkvo_oq_conf": Q("kif", "datalane", k0=1, i0=1, f0=3, overflow_mode="SAT"),
        "qkvo_kq_conf": Q("kbi", "weight", b0=3, i0=0),
        "softmax_exp_iq_conf": Q("kif", "datalane", k0=1, i0=2, f0=2, overflow_mode="SAT"),
        "softmax_exp_oq_conf": Q("kif", "table", i0=1, f0=4),
        "softmax_inv_oq_conf": Q("kif", "table", i0=1, f0=5),
        "softmax_oq_conf": Q("kif", "datalane", k0=0, i0=1, f0=4),
    }


@model
def attention() -> keras.Model:
    x = keras.Input((3, 4), name="x")
    y = keras.Input((2, 4), name="y")
    out = [
        hq.QMultiHeadAttention(2, 3, name="own", **attention_options())(x),
        hq.QMultiHeadAttention(2, 3, fuse="qkv", name="qkv", use_bias=False, **attention_options())(x, x),
        hq.QMultiHeadAttention(1, 3, fuse="kv", value_dim=2, name="kv", **attention_options())(x, y),
        hq.QMultiHeadAttention(2, 2, name="by_name", output_shape=(3,), **attention_options())(
            x, key=y, value=y
        ),
        hq.QMultiHeadAttention(2, 2, stable_softmax=False, name="direct", **attention_options())(x, y, y),
    ]
    return end(*out, inputs=[x, y])


@model
def attention_of_planes() -> keras.Model:
    x = keras.Input((2, 3, 4), name="x")
    return end(hq.QMultiHeadAttention(2, 2, name="all", **attention_options())(x, x), inputs=[x])


@model
def linformer() -> keras.Model:
    x = keras.Input((4, 3), name="x")
    out = [
        hq.QLinformerAttention(2, 2, 3, name="two", **attention_options())(x),
        hq.QLinformerAttention(1, 3, 2, share_kv_proj=True, name="shared", **attention_options())(x, x),
    ]
    return end(*out, inputs=[x])


def of_particles(conf: Q, axes: tuple[int, ...] = (0, 1)) -> Q:
    """Let all particles share widths, so that one circuit serves them all."""
    return Q(**{**conf.config, "homogeneous_axis": axes, "heterogeneous_axis": None})


@model
def linear_interaction() -> keras.Model:
    """An interaction network of linear complexity (JEDI-linear): every particle meets the sum over all of them."""
    x = keras.Input((8, 4), name="x")
    row = of_particles(iq("RND_CONV", "SAT"))
    weights = {"kq_conf": kq(), "bq_conf": bq()}

    def each(
        y: keras.KerasTensor, rows: int, units: int, name: str, activation: str | None = None
    ) -> keras.KerasTensor:
        layer = hq.QEinsumDenseBatchnorm(
            "bnc,cC->bnC",
            (rows, units),
            bias_axes="C",
            activation=activation,
            name=name,
            iq_conf=row,
            **weights,
        )
        return kl.Reshape((rows, units), name=f"{name}_shape")(layer(y))

    y = each(x, 8, 6, "embed", "relu")
    every = hq.QSum(axes=1, scale=1 / 8, name="total", iq_conf=row)(y)
    every = kl.Reshape((1, 6), name="one_row")(every)
    own, all_ = each(y, 8, 6, "own"), each(every, 1, 6, "all")
    y = kl.ReLU(name="relu")(hq.QAdd(name="met", iq_confs=row)([own, all_]))
    y = each(y, 8, 5, "node", "relu")
    y = hq.QSum(axes=1, scale=1 / 8, name="graph", iq_conf=row)(y)
    y = hq.QDense(6, activation="relu", name="head", iq_conf=iq(), **weights)(y)
    return end(hq.QDense(3, name="out", iq_conf=iq(), **weights)(y), inputs=[x])


def particle_options() -> dict[str, object]:
    """The options of an attention whose widths no particle has for itself."""
    axes = {"qkvo_iq_conf": (0, 1), "softmax_oq_conf": (0, 1, 2, 3)}
    return {
        name: conf
        if "kq" in name
        else of_particles(conf, axes.get(name, (0, 1, 2, 3) if "softmax" in name else (0, 1)))
        for name, conf in attention_options().items()
    }


@model
def attention_of_particles() -> keras.Model:
    x = keras.Input((6, 4), name="x")
    row = of_particles(iq("RND_CONV", "SAT"))
    y = hq.QMultiHeadAttention(2, 3, name="mha", **particle_options())(x, x)
    y = hq.QAdd(name="residual", iq_confs=row)([x, y])
    y = hq.QSum(axes=1, scale=1 / 8, name="graph", iq_conf=row)(y)
    return end(hq.QDense(3, name="out", iq_conf=iq(), kq_conf=kq(), bq_conf=bq())(y), inputs=[x])


@model
def linformer_of_particles() -> keras.Model:
    x = keras.Input((6, 4), name="x")
    row = of_particles(iq("RND_CONV", "SAT"))
    y = hq.QLinformerAttention(2, 3, 2, name="linformer", **particle_options())(x, x)
    y = hq.QAdd(name="residual", iq_confs=row)([x, y])
    y = hq.QSum(axes=1, scale=1 / 8, name="graph", iq_conf=row)(y)
    return end(hq.QDense(3, name="out", iq_conf=iq(), kq_conf=kq(), bq_conf=bq())(y), inputs=[x])


def recurrent_options() -> dict[str, object]:
    return {
        "iq_conf": iq(),
        "kq_conf": Q("kbi", "weight", b0=3, i0=0),
        "rkq_conf": Q("kbi", "weight", b0=3, i0=0),
        "bq_conf": Q("kif", "bias", k0=1, i0=1, f0=3),
        "paq_conf": HardTanhConfig("kif", "datalane", f0=3),
    }


@model
def simple_rnn() -> keras.Model:
    x = keras.Input((4, 3), name="x")
    out = [
        hq.QSimpleRNN(3, name="last", **recurrent_options())(x),
        hq.QSimpleRNN(
            3,
            return_sequences=True,
            go_backwards=True,
            use_bias=False,
            name="backwards",
            **recurrent_options(),
        )(x),
        hq.QSimpleRNN(3, activation="relu", return_sequences=True, name="relu", **recurrent_options())(x),
    ]
    return end(*out, inputs=[x])


def gru_options() -> dict[str, object]:
    return {
        "sq_conf": Q("kif", "datalane", k0=1, i0=0, f0=3, overflow_mode="SAT"),
        "rhq_conf": Q("kif", "datalane", k0=1, i0=1, f0=3),
        "praq_conf": HardSigmoidConfig("kif", "datalane", f0=3),
    }


@model
def gru() -> keras.Model:
    x = keras.Input((3, 2), name="x")
    more = gru_options()
    out = [
        hq.QGRU(2, name="after", **recurrent_options(), **more)(x),
        hq.QGRU(2, reset_after=False, return_sequences=True, name="before", **recurrent_options(), **more)(x),
        hq.QGRU(2, use_bias=False, go_backwards=True, name="backwards", **recurrent_options(), **more)(x),
        hq.QGRU(
            2, recurrent_activation="relu", activation="tanh", name="activated", **recurrent_options(), **more
        )(x),
    ]
    return end(*out, inputs=[x])


# ---- graphs


@model
def plain_between() -> keras.Model:
    """Layers of Keras between those of HGQ2, a shared layer, a nested model, two inputs and outputs."""
    a, b = keras.Input((4, 4), name="a"), keras.Input((16,), name="b")
    shared = hq.QDense(4, activation="relu", name="shared", iq_conf=iq(), kq_conf=kq())
    inner_in = keras.Input((4, 4), name="inner_in")
    inner = keras.Model(
        inner_in, hq.QDense(2, name="inside", iq_conf=iq(), kq_conf=kq())(inner_in), name="inner"
    )
    y = kl.Reshape((4, 4), name="reshape")(b)
    y = kl.Permute((2, 1), name="permute")(y)
    p, q = shared(a), shared(y)
    z = hq.QAdd(name="sum", iq_confs=iq())([p, q])
    z = kl.ReLU(name="relu")(z)
    z = kl.MaxPooling1D(2, name="pool")(z)
    z = kl.UpSampling1D(2, name="up")(z)
    z = inner(z)
    flat = kl.Flatten(name="flatten")(z)
    first = hq.QDense(3, name="first", iq_conf=iq(), kq_conf=kq())(flat)
    second = hq.QDense(2, name="second", iq_conf=iq(), kq_conf=kq())(kl.RepeatVector(2, name="repeat")(flat))
    return end(first, second, inputs=[a, b])


@model
def operations() -> keras.Model:
    """Functions of keras.ops and operators of Python between the layers."""
    x = keras.Input((3, 4), name="x")
    a = hq.QDense(4, name="a", iq_conf=iq(), kq_conf=kq())(x)
    b = hq.QDense(4, name="b", iq_conf=iq(), kq_conf=kq())(x)
    row = np.array([0.5, -0.25, 1.0, 0.75], dtype=np.float32)
    made = {
        "add": a + b,
        "add_constant": a + 0.5,
        "add_row": ops.add(a, row),
        "subtract": a - b,
        "subtract_constant": a - 0.25,
        "subtract_from": 1.0 - a,
        "multiply": a * b,
        "multiply_constant": ops.multiply(a, np.float32(0.3)) + 0.0625,
        "divide": a / 4.0,
        "maximum": ops.maximum(a, b),
        "maximum_constant": ops.maximum(a, 0.25),
        "minimum_constant": ops.minimum(a, np.float32(0.5)),
        "negative": -a,
        "absolute": ops.abs(a),
        "square": ops.square(a),
        "clip": ops.clip(a, -0.5, 0.75),
        "relu": ops.relu(a),
        "leaky": ops.leaky_relu(a, 0.25),
        "tanh": ops.tanh(a),
        "sigmoid": ops.sigmoid(a),
        "hard_sigmoid": ops.hard_sigmoid(a),
        "elu": ops.elu(a, 0.5),
        "one_row": a[:, 0],
        "some": a[:, 1:, ::-2],
        "last": a[..., -1],
        "new_axis": a[:, None, 2],
        "sum": ops.sum(a, axis=1),
        "mean": ops.mean(a, axis=(1, 2), keepdims=True),
        "max": ops.max(a, axis=-1),
        "min": ops.min(a, axis=1, keepdims=True),
        "transpose": ops.transpose(a, (0, 2, 1)),
        "reshape": ops.reshape(a, (-1, 2, 6)),
        "squeeze": ops.squeeze(a[:, 0:1], 1),
        "expand": ops.expand_dims(a, -1),
        "flip": ops.flip(a, 1),
        "joined": ops.concatenate([a, b], axis=1),
        "matmul": ops.matmul(a, ops.transpose(b, (0, 2, 1))),
        "einsum": ops.einsum("bij,bkj->bik", a, b),
    }
    out = [hq.Quantizer(iq("RND_CONV", "SAT"), name=f"after_{name}")(value) for name, value in made.items()]
    return end(*out, inputs=[x])


@model
def shared() -> keras.Model:
    """Layers called several times, and a nested model called twice."""
    a, b = keras.Input((3, 4), name="a"), keras.Input((3, 4), name="b")
    attend = hq.QMultiHeadAttention(1, 2, name="attend", **attention_options())
    add = hq.QAdd(name="add", iq_confs=[iq(), iq("TRN", "SAT")])
    norm = hq.QBatchNormalization(name="norm", iq_conf=iq(), kq_conf=kq())
    past = hq.QGRU(2, name="past", **recurrent_options(), **gru_options())
    inner_in = keras.Input((3, 4), name="inner_in")
    inner = keras.Sequential(
        [inner_in, hq.QDense(4, name="first", iq_conf=iq(), kq_conf=kq()), hq.Quantizer(iq(), name="second")],
        name="inner",
    )
    p, q = inner(a), inner(b)
    out = [attend(p, q), attend(q, p), add([p, q]), add([q, p]), norm(p), norm(q), past(p), past(q)]
    return end(*out, inputs=[a, b])


@model
def defaults() -> keras.Model:
    """What HGQ2 takes where nothing is said, wide sums included."""
    x = keras.Input((12,), name="x")
    y = hq.QDense(10, activation="relu", name="d1")(x)
    y = hq.QBatchNormalization(name="bn")(hq.QDense(8, name="d2")(y))
    y = kl.Reshape((4, 2), name="rows")(y)
    y = hq.QSoftmax(name="soft")(hq.QEinsumDense("abc,cd->abd", (4, 3), bias_axes="d", name="e")(y))
    return end(hq.QDense(2, name="last")(kl.Flatten(name="flat")(y)), inputs=[x])


@model
def sequential() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((5,), name="x"),
            hq.QDense(4, activation="relu", iq_conf=iq(), kq_conf=kq()),
            kl.Dropout(0.5),
            hq.QBatchNormalization(iq_conf=iq(), kq_conf=kq()),
            hq.QDense(3, iq_conf=iq(), kq_conf=kq(), name="last"),
        ]
    )


# ---- drawing weights, inputs, recording


def parts(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    return list(layer._flatten_layers())


def shuffle_widths(made: keras.Model, rng: np.random.Generator) -> None:
    """Draw bit widths around their values, with fractions that are rounded half to even; some become 0."""
    seen = set()
    for part in parts(made):
        if id(part) in seen or not isinstance(part, (FixedPointQuantizerKIF, FixedPointQuantizerKBI)):
            continue
        seen.add(id(part))
        one_table = part._i.shape and int(np.prod(part._i.shape)) == 1
        for variable in (part._i, part._f if isinstance(part, FixedPointQuantizerKIF) else part._b):
            value = keras.ops.convert_to_numpy(variable).copy()
            jitter = rng.choice([-1.0, -0.5, -0.25, 0.0, 0.0, 0.3, 0.5], size=value.shape)
            variable.assign(value if one_table else value + jitter)
        if not one_table and part._is_weight is False:
            dead = rng.random(part._i.shape) < 0.06
            kif = isinstance(part, FixedPointQuantizerKIF)
            other = part._f if kif else part._b
            none = -keras.ops.convert_to_numpy(part._i) - 2 if kif else -1.0
            other.assign(np.where(dead, none, keras.ops.convert_to_numpy(other)))


def shuffle_minifloats(made: keras.Model, rng: np.random.Generator) -> None:
    for part in parts(made):
        if isinstance(part, FloatPointQuantizer):
            for variable in (part._m, part._e, part._e0):
                value = keras.ops.convert_to_numpy(variable)
                variable.assign(
                    np.maximum(value + rng.choice([-0.6, 0.0, 0.3, 0.5, 1.0], size=value.shape), 0.0)
                )


def shuffle_weights(made: keras.Model, rng: np.random.Generator) -> None:
    """Draw weights, a third of them half-way between codes; statistics of normalizations are drawn as well."""
    for part in parts(made):
        if type(part).__module__.startswith("hgq.quantizer"):
            continue
        for variable in part._trainable_variables + part._non_trainable_variables:
            name, shape = variable.path.rsplit("/", 1)[-1], tuple(variable.shape)
            if not shape or "seed" in name:
                continue
            value = rng.normal(0, 0.6, shape)
            if "variance" in name:
                value = rng.uniform(0.3, 2.0, shape)
            elif "gamma" in name or name == "scale":
                value = rng.uniform(0.5, 1.5, shape)
            elif "kernel" in name or name == "bias":
                value = np.where(rng.random(shape) < 0.33, np.rint(value * 16) / 16, value)
            variable.assign(value.astype(np.float32))


def stimuli(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return inputs on a grid finer than the types: zeros, extremes, all of the range, then small values."""
    top = int(REACH / LSB)
    codes = rng.integers(-top, top, (EVENTS, *shape))
    codes[3 * EVENTS // 5 :] = rng.normal(0, top / 6, codes[3 * EVENTS // 5 :].shape).astype(int)
    codes[0], codes[1], codes[2] = 0, top - 1, -top
    codes[3 : EVENTS // 3] &= ~3  # ties of the quantizers
    return (np.clip(codes, -top, top - 1) * LSB).astype(np.float32)


def outputs_of(made: keras.Model) -> dict[str, keras.KerasTensor]:
    found = {}
    for layer in made.layers:
        if isinstance(layer, (kl.InputLayer, keras.Model)):
            continue
        nodes = layer._inbound_nodes[:1] if isinstance(made, keras.Sequential) else layer._inbound_nodes
        for number, node in enumerate(nodes):
            (tensor, *_) = node.outputs
            found[layer.name if number == 0 else f"{layer.name}_{number + 1}"] = tensor
    return found


def answers(made: keras.Model, given: object) -> dict[str, np.ndarray]:
    """Return the outputs; where a softmax ends the model, the logits before it, which are what firmware gives."""
    last = made.layers[-1]
    logits = getattr(last, "activation", None) is keras.activations.softmax
    if logits:
        last.activation = keras.activations.linear
    values = made(given)
    values = values if isinstance(values, (list, tuple)) else [values]
    return {f"{'logits' if logits else 'output'}_{k}": np.asarray(value) for k, value in enumerate(values)}


def pack(path: Path) -> None:
    """Store the members of an archive compressed, at a fixed time."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)


def record(name: str, folder: Path) -> str:
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(sum(map(ord, name)))
    made = MODELS[name]()
    data = [stimuli(tuple(tensor.shape[1:]), rng) for tensor in made.inputs]
    made(data if len(data) > 1 else data[0])  # builds what is built on the first call
    shuffle_widths(made, rng)
    shuffle_minifloats(made, rng)
    shuffle_weights(made, rng)
    path = folder / f"{name}.keras"
    made.save(path)
    pack(path)
    again = keras.models.load_model(path)
    tensors = outputs_of(again)
    whole = keras.Model(again.inputs, tensors)
    given = data if len(data) > 1 else data[0]
    eager = {key: np.asarray(value) for key, value in whole(given).items()}
    graph = whole.predict(given, verbose=0)
    differ = [key for key in eager if not np.array_equal(eager[key], graph[key])]
    arrays = {f"input_{k}": x for k, x in enumerate(data)}
    arrays |= {f"layer/{key}": value.astype(np.float32) for key, value in eager.items()}
    arrays |= answers(again, given)
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    sizes = [p.stat().st_size >> 10 for p in (path, folder / f"{name}.npz")]
    return f"{name:24s} {len(eager):3d} layers  {sizes[0]:4d} + {sizes[1]:3d} KiB  eager and predict differ: {differ or 'nowhere'}"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for chosen in sys.argv[2:] or MODELS:
        print(record(chosen, target), flush=True)
