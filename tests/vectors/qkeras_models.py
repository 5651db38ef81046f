# SPDX-License-Identifier: Apache-2.0
"""Small models of every QKeras layer in several settings, for `make_keras_models.py`: one function per family.

Inputs are on a grid (`make_keras_models.py`), and every output is on a grid too, or behind a quantizer, so that
its values are integer codes that l1ml must give one for one.
"""

from __future__ import annotations

from typing import Any

from keras_models import Framework

BITS = "quantized_bits(5,1,1,alpha=1)"
FINE = "quantized_bits(8,2,1,alpha=1)"
OUT = "quantized_bits(6,2)"


def _ends(k: Framework, outputs: list[Any]) -> list[Any]:
    """Put a coarse quantizer behind outputs whose scale is no power of two."""
    return [k.q.QActivation(OUT, name=f"{y._keras_history[0].name}_q")(y) for y in outputs]


def q_linear(k: Framework) -> Any:
    x, y = k.input(6, name="x"), k.input(4, 5, name="y")
    both = {"kernel_quantizer": BITS, "bias_quantizer": FINE}
    out = [
        k.q.QDense(5, name="plain", **both)(x),
        k.q.QDense(4, activation="quantized_relu(4,1)", name="with_relu", **both)(x),
        k.q.QDense(3, use_bias=False, kernel_quantizer=BITS, activation=OUT, name="no_bias")(x),
        k.q.QDense(7, name="on_rows", **both)(y),
        k.q.QDense(4, kernel_quantizer="binary(alpha=1)", bias_quantizer=FINE, name="binary")(x),
        k.q.QDense(4, kernel_quantizer="ternary(alpha=1)", bias_quantizer=FINE, name="ternary")(x),
        k.q.QDense(4, kernel_quantizer="stochastic_ternary(alpha=1)", use_bias=False, name="stochastic")(x),
        k.q.QDense(4, kernel_quantizer="quantized_po2(4)", bias_quantizer="quantized_po2(4)", name="po2")(x),
        k.q.QDense(
            4, kernel_quantizer="quantized_bits(4,0)", bias_quantizer="quantized_bits(8,3)", name="unset"
        )(x),
        k.q.QDense(
            4, kernel_quantizer="quantized_bits(4,0,alpha='auto_po2')", use_bias=False, name="auto_po2"
        )(x),
        k.q.QDense(3, kernel_quantizer="quantized_bits(1,0,alpha=1)", bias_quantizer=FINE, name="one_bit")(x),
    ]
    if hasattr(k.q, "quantized_linear"):
        out.append(
            k.q.QDense(4, kernel_quantizer="quantized_linear(4,1,alpha=1)", bias_quantizer=FINE, name="ql")(x)
        )
    scaled = [
        k.q.QDense(4, kernel_quantizer="quantized_bits(4,0,alpha='auto')", use_bias=False, name="auto")(x),
        k.q.QDense(4, kernel_quantizer="binary(alpha='auto')", use_bias=False, name="binary_auto")(x),
        k.q.QDense(4, kernel_quantizer="ternary(alpha='auto')", use_bias=False, name="ternary_auto")(x),
        k.q.QDense(4, kernel_quantizer="binary(alpha='auto_po2')", use_bias=False, name="binary_po2")(x),
    ]
    return k.model([x, y], out + _ends(k, scaled))


def q_conv1d(k: Framework) -> Any:
    x = k.input(12, 4, name="x")
    both = {"kernel_quantizer": BITS, "bias_quantizer": FINE}
    two = {"depthwise_quantizer": BITS, "pointwise_quantizer": BITS, "bias_quantizer": FINE}
    out = [
        k.q.QConv1D(6, 3, name="valid", **both)(x),
        k.q.QConv1D(5, 3, padding="same", activation="quantized_relu(5,2)", name="same", **both)(x),
        k.q.QConv1D(3, 4, padding="same", strides=3, name="stride", **both)(x),
        k.q.QConv1D(3, 3, dilation_rate=2, name="dilation", **both)(x),
        k.q.QConv1D(4, 3, kernel_quantizer="binary(alpha=1)", use_bias=False, name="binary")(x),
        k.q.QConv1D(4, 3, kernel_quantizer="quantized_bits(4,0)", use_bias=False, name="unset")(x),
    ]
    if k.version == 2:  # the later form fails on it
        causal = k.q.QConv1D(
            3, 3, dilation_rate=2, padding="causal", use_bias=False, kernel_quantizer=BITS, name="causal"
        )
        out.append(causal(x))
    if hasattr(k.q, "QSeparableConv1D"):
        out += [
            k.q.QSeparableConv1D(5, 3, name="separable", **two)(x),
            k.q.QSeparableConv1D(
                5,
                3,
                depth_multiplier=2,
                padding="same",
                strides=2,
                activation=OUT,
                name="separable_same",
                **two,
            )(x),
        ]
    return k.model([x], out)


def q_conv2d(k: Framework) -> Any:
    x = k.input(7, 6, 4, name="x")
    both = {"kernel_quantizer": BITS, "bias_quantizer": FINE}
    deep = {"depthwise_quantizer": BITS, "bias_quantizer": FINE}
    two = {**deep, "pointwise_quantizer": BITS}
    out = [
        k.q.QConv2D(4, 3, name="valid", **both)(x),
        k.q.QConv2D(4, (2, 3), padding="same", activation="quantized_relu(4,2)", name="same", **both)(x),
        k.q.QConv2D(2, 3, padding="same", strides=2, name="stride", **both)(x),
        k.q.QConv2D(2, 2, dilation_rate=2, name="dilation", **both)(x),
        k.q.QConv2D(2, 3, kernel_quantizer="ternary(alpha=1)", use_bias=False, name="ternary")(x),
        k.q.QConv2D(2, 3, kernel_quantizer="quantized_bits(4,0)", use_bias=False, name="unset")(x),
        k.q.QDepthwiseConv2D(3, name="depthwise", **deep)(x),
        k.q.QDepthwiseConv2D(
            (3, 2),
            strides=2,
            padding="same",
            activation=OUT,
            depth_multiplier=2,
            name="depthwise_same",
            **deep,
        )(x),
        k.q.QDepthwiseConv2D(2, dilation_rate=2, name="depthwise_dilation", **deep)(x),
        k.q.QDepthwiseConv2D(
            2,
            depthwise_quantizer="quantized_bits(4,0)",
            depth_multiplier=2,
            use_bias=False,
            name="depthwise_unset",
        )(x),
        k.q.QSeparableConv2D(4, 3, name="separable", **two)(x),
        k.q.QSeparableConv2D(
            3, 2, padding="same", strides=2, activation="quantized_relu(6,3)", name="separable_same", **two
        )(x),
    ]
    return k.model([x], out)


def q_groups(k: Framework) -> Any:
    """Grouped convolutions, which QKeras hands on to Keras only in its later form."""
    x, y = k.input(8, 4, name="x"), k.input(5, 5, 4, name="y")
    both = {"kernel_quantizer": BITS, "bias_quantizer": FINE}
    out = [
        k.q.QConv1D(6, 3, groups=2, name="one", **both)(x),
        k.q.QConv2D(6, 3, groups=2, padding="same", name="two", **both)(y),
        k.q.QConv2D(4, 2, groups=4, kernel_quantizer="quantized_bits(4,0)", use_bias=False, name="each")(y),
    ]
    return k.model([x, y], out)


ACTIVATIONS = (
    "quantized_bits(4,1)", "quantized_bits(6,0,1,alpha=1.0)", "quantized_bits(5,2,keep_negative=False)",
    "quantized_bits(1,0)", "quantized_relu(4)", "quantized_relu(6,2)", "quantized_relu(5,1,0,0.25)",
    "quantized_relu(5,1,1)", "binary(alpha=1)", "binary(use_01=True,alpha=1)", "ternary(alpha=1)",
    "ternary(alpha=1,threshold=0.75)", "stochastic_binary(alpha=1)", "stochastic_ternary(alpha=1)",
    "quantized_tanh(5)", "quantized_tanh(5,symmetric=True)", "quantized_tanh(6,use_real_tanh=True)",
    "quantized_sigmoid(5)", "quantized_sigmoid(6,use_real_sigmoid=True)", "quantized_po2(4)",
    "quantized_po2(4,2)", "quantized_relu_po2(4)", "quantized_relu_po2(4,4)",
    "hard_sigmoid", "binary_tanh", "hard_tanh", "smooth_tanh", "smooth_sigmoid", "relu",
)  # fmt: skip


def q_activations(k: Framework) -> Any:
    """QActivation with texts, and with objects, which the file holds as a dictionary."""
    x = k.input(8, name="x")
    q = k.q
    objects = [
        q.quantized_bits(4, 1, alpha=1.0), q.quantized_relu(5, 2), q.binary(alpha=1.0), q.ternary(alpha=1.0),
        q.quantized_tanh(4), q.quantized_sigmoid(4), q.quantized_po2(4), q.quantized_relu_po2(4, 4),
        q.quantized_relu(5, 1, negative_slope=0.25), q.quantized_hswish(6, 1),
    ]  # fmt: skip
    texts = list(ACTIVATIONS)
    if hasattr(q, "quantized_linear"):
        texts.append("quantized_linear(5,1)")
        objects.append(q.quantized_linear(5, 1))
    out = [q.QActivation(text, name=f"text{n:02d}")(x) for n, text in enumerate(texts)]
    out += [q.QActivation(made, name=f"object{n:02d}")(x) for n, made in enumerate(objects)]
    return k.model([x], out)


def q_normalization(k: Framework) -> Any:
    x, z = k.input(6, name="x"), k.input(3, 4, 5, name="z")
    plain = {
        "beta_quantizer": FINE, "gamma_quantizer": FINE, "mean_quantizer": FINE,
        "variance_quantizer": "quantized_relu(6,3)",
    }  # fmt: skip
    made = [
        k.q.QBatchNormalization(name="default")(x),
        k.q.QBatchNormalization(name="bits", **plain)(x),
        k.q.QBatchNormalization(name="no_scale", scale=False)(x),
        k.q.QBatchNormalization(name="no_center", center=False, epsilon=0.01)(x),
        k.q.QBatchNormalization(name="images")(z),
    ]
    return k.model([x, z], _ends(k, made))


def q_folded(k: Framework) -> Any:
    x, y = k.input(6, name="x"), k.input(6, 5, 3, name="y")
    both = {"kernel_quantizer": BITS, "bias_quantizer": FINE}
    deep = {"depthwise_quantizer": BITS, "bias_quantizer": FINE}
    out = [
        k.q.QConv2DBatchnorm(4, 3, name="conv", use_bias=True, **both)(y),
        k.q.QConv2DBatchnorm(
            3, 2, name="conv_same", padding="same", strides=2, use_bias=False, activation="quantized_relu(5,2)", **both
        )(y),
        k.q.QConv2DBatchnorm(
            3, 2, name="conv_batch", folding_mode="batch_stats_folding", epsilon=0.01, kernel_quantizer="quantized_bits(4,0)",
            bias_quantizer=FINE, scale=True
        )(y),
        k.q.QDepthwiseConv2DBatchnorm(3, name="deep", **deep)(y),
        k.q.QDepthwiseConv2DBatchnorm(
            2, name="deep_wide", depth_multiplier=2, padding="same", strides=2, activation=OUT, use_bias=False, **deep
        )(y),
        k.q.QDepthwiseConv2DBatchnorm(
            2, name="deep_unset", depth_multiplier=2, depthwise_quantizer="quantized_bits(4,0)", bias_quantizer=FINE
        )(y),
    ]  # fmt: skip
    if hasattr(k.q, "QDenseBatchnorm"):
        out += [
            k.q.QDenseBatchnorm(4, name="dense", **both)(x),
            k.q.QDenseBatchnorm(
                3, name="dense_relu", use_bias=False, activation="quantized_relu(5,2)", **both
            )(x),
        ]
    return k.model([x, y], out)


def q_pooling(k: Framework) -> Any:
    y = k.input(8, 6, 3, name="y")
    out = [
        k.q.QAveragePooling2D(2, name="plain")(y),
        k.q.QAveragePooling2D(2, average_quantizer="quantized_bits(4,0,alpha=1)", name="po2")(y),
        k.q.QAveragePooling2D(
            (2, 3), strides=(2, 1), average_quantizer="quantized_bits(8,0,alpha=1)", name="six"
        )(y),
        k.q.QAveragePooling2D(
            3, average_quantizer="quantized_bits(6,0,alpha=1)", activation="quantized_bits(8,2)", name="nine"
        )(y),
        k.q.QGlobalAveragePooling2D(
            average_quantizer="quantized_bits(9,0,alpha=1)", activation="quantized_bits(8,1)", name="whole"
        )(y),
        k.q.QGlobalAveragePooling2D(average_quantizer="quantized_bits(9,0,alpha=1)", name="whole_plain")(y),
        k.MaxPooling2D(2, name="max")(y),
    ]
    return k.model([y], out)


def q_adaptive(k: Framework) -> Any:
    x, y = k.input(6, name="x"), k.input(3, 4, name="y")
    out = [
        k.q.QAdaptiveActivation("quantized_bits", 6, name="bits")(x),
        k.q.QAdaptiveActivation("quantized_bits", 5, symmetric=False, name="bits_whole")(x),
        k.q.QAdaptiveActivation("quantized_bits", 5, po2_rounding=True, per_channel=True, name="bits_each")(
            x
        ),
        k.q.QAdaptiveActivation("quantized_relu", 5, name="relu")(x),
        k.q.QAdaptiveActivation("quantized_relu", 5, per_channel=True, name="relu_each")(y),
        k.q.QAdaptiveActivation("quantized_relu", 6, relu_neg_slope=0.25, name="relu_slope")(y),
    ]
    return k.model([x, y], out)


def q_recurrent(k: Framework) -> Any:
    x = k.input(4, 3, name="x")
    four = {
        "kernel_quantizer": "quantized_bits(4,0,1,alpha=1)", "recurrent_quantizer": "quantized_bits(4,0,1,alpha=1)",
        "bias_quantizer": "quantized_bits(5,0,1,alpha=1)", "state_quantizer": "quantized_bits(5,0,1,alpha=1)",
    }  # fmt: skip
    gates = {"activation": "quantized_tanh(5)", "recurrent_activation": "quantized_sigmoid(4)"}
    out = [
        k.q.QSimpleRNN(4, activation="quantized_tanh(5)", name="rnn", **four)(x),
        k.q.QSimpleRNN(3, activation="quantized_relu(4,1)", return_sequences=True, name="rnn_steps", **four)(x),
        k.q.QLSTM(3, name="lstm", **gates, **four)(x),
        k.q.QLSTM(3, return_sequences=True, go_backwards=True, use_bias=False, name="lstm_back", **gates, **four)(x),
        k.q.QGRU(3, name="gru", **gates, **four)(x),
        k.q.QGRU(3, reset_after=False, return_sequences=True, name="gru_before", **gates, **four)(x),
        k.q.QGRU(3, reset_after=True, name="gru_after", **gates, **four)(x),
    ]  # fmt: skip
    if k.version == 2:  # the later form cannot save one
        lstm = k.q.QLSTM(2, return_sequences=True, **gates, **four)
        out += [k.q.QBidirectional(lstm, name="both")(x)]
        out += [k.q.QBidirectional(k.q.QGRU(2, **gates, **four), name="both_gru", merge_mode="sum")(x)]
    return k.model([x], out)


def q_pruned(k: Framework) -> Any:
    """Pruning wrappers around quantized layers, as training leaves them."""
    from tensorflow_model_optimization.sparsity.keras import prune_low_magnitude

    x, y = k.input(6, name="x"), k.input(5, 5, 2, name="y")
    both = {"kernel_quantizer": BITS, "bias_quantizer": FINE}
    return k.model(
        [x, y],
        [
            prune_low_magnitude(k.q.QDense(5, name="dense", **both), name="prune_dense")(x),
            prune_low_magnitude(k.q.QConv2D(3, 2, name="conv", **both), name="prune_conv")(y),
        ],
    )


def q_network(k: Framework) -> Any:
    """A network with branches, a sum, a product and two outputs."""
    x, y = k.input(6, name="x"), k.input(6, name="y")
    both = {"kernel_quantizer": BITS, "bias_quantizer": FINE}
    a = k.q.QActivation("quantized_relu(6,2)", name="a")(k.q.QDense(8, name="fc_a", **both)(x))
    b = k.q.QActivation("quantized_bits(6,2)", name="b")(k.q.QDense(8, name="fc_b", **both)(y))
    total = k.q.QActivation("quantized_bits(6,3)", name="total_q")(k.Add(name="total")([a, b]))
    product = k.q.QActivation("quantized_tanh(6)", name="product_q")(k.Multiply(name="product")([a, b]))
    joined = k.Concatenate(name="joined")([total, product, a])
    return k.model(
        [x, y], [k.q.QDense(3, name="end", **both)(joined), product, k.Maximum(name="top")([a, b])]
    )


MODELS = (
    q_linear, q_conv1d, q_conv2d, q_activations, q_normalization, q_folded, q_pooling, q_recurrent,
    q_network,
)  # fmt: skip
ONLY = {2: (q_adaptive, q_pruned), 3: (q_groups,)}
"""What only one generation can make and save."""
