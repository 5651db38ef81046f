# SPDX-License-Identifier: Apache-2.0
"""Small models of every Keras layer in several settings, for `make_keras_models.py`: one function per family.

Each takes the framework and returns a model; every tensor worth comparing is an output of it.
"""

from __future__ import annotations

from typing import Any

Tensor = Any


class Framework:
    """Keras 2 or 3 under one roof."""

    def __init__(self, keras: Any, version: int) -> None:
        self.keras, self.version = keras, version
        self.layers = keras.layers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layers, name)

    def input(self, *shape: int, name: str, **options: Any) -> Tensor:
        return self.layers.Input(shape, name=name, **options)

    def model(self, inputs: list[Tensor], outputs: list[Tensor], name: str = "net") -> Any:
        return self.keras.Model(inputs, outputs, name=name)


def linear(k: Framework) -> Any:
    x, y, n = k.input(6, name="x"), k.input(4, 5, name="y"), k.input(3, name="n", dtype="int32")
    out = [
        k.Dense(5, name="plain")(x),
        k.Dense(4, activation="relu", name="with_relu")(x),
        k.Dense(3, use_bias=False, activation="tanh", name="without_bias")(x),
        k.Dense(3, activation="softmax", name="with_softmax")(x),
        k.Dense(7, name="on_rows")(y),
        k.Dropout(0.3, name="drop")(y),
        k.Dense(2, activation=k.LeakyReLU(0.25), name="with_layer")(x),
        k.EinsumDense("abc,cd->abd", output_shape=(4, 3), bias_axes="d", name="ein_rows")(y),
        k.EinsumDense("...x,xy->...y", output_shape=6, bias_axes="y", activation="relu", name="ein_dots")(y),
        k.EinsumDense("abc,bcd->ad", output_shape=2, name="ein_all")(y),
        k.EinsumDense("abc,cde->abde", output_shape=(4, 2, 3), bias_axes="de", name="ein_wide")(y),
        k.EinsumDense("abc,bd->adc", output_shape=(3, 5), bias_axes="dc", name="ein_other")(y),
        k.EinsumDense("abc,bcd->abd", output_shape=(4, 3), bias_axes="bd", name="ein_groups")(y),
        k.Embedding(8, 3, name="rows")(n),
    ]
    return k.model([x, y, n], out)


def conv1d(k: Framework) -> Any:
    x = k.input(12, 4, name="x")
    out = [
        k.Conv1D(6, 3, name="valid")(x),
        k.Conv1D(5, 3, padding="same", activation="relu", name="same")(x),
        k.Conv1D(3, 4, padding="same", strides=3, name="same_even_stride")(x),
        k.Conv1D(3, 3, padding="same", strides=2, use_bias=False, name="same_stride")(x),
        k.Conv1D(3, 2, strides=3, name="stride")(x),
        k.Conv1D(3, 3, dilation_rate=2, name="dilation")(x),
        k.Conv1D(3, 4, dilation_rate=3, padding="same", name="same_dilation")(x),
        k.Conv1D(3, 3, dilation_rate=2, padding="causal", name="causal")(x),
        k.Conv1D(3, 2, padding="causal", strides=2, name="causal_stride")(x),
        k.Conv1D(6, 3, groups=2, name="groups")(x),
        k.Conv1D(8, 3, groups=4, padding="same", name="groups_depthwise")(x),
        k.DepthwiseConv1D(3, depth_multiplier=2, name="depthwise")(x),
        k.DepthwiseConv1D(3, padding="same", strides=2, activation="relu", name="depthwise_same")(x),
        k.SeparableConv1D(5, 3, name="separable")(x),
        k.SeparableConv1D(5, 3, depth_multiplier=2, padding="same", strides=2, name="separable_same")(x),
        k.SeparableConv1D(
            5, 2, padding="causal" if k.version == 2 else "valid", activation="relu", name="separable_causal"
        )(x),
        k.SeparableConv1D(3, 3, dilation_rate=2, use_bias=False, name="separable_dilation")(x),
    ]
    return k.model([x], out)


def conv2d(k: Framework) -> Any:
    x = k.input(7, 6, 3, name="x")
    out = [
        k.Conv2D(4, 3, name="valid")(x),
        k.Conv2D(4, (2, 3), padding="same", activation="relu", name="same")(x),
        k.Conv2D(2, 3, padding="same", strides=2, name="same_stride")(x),
        k.Conv2D(2, (3, 2), strides=(1, 2) if k.version == 3 else (2, 2), use_bias=False, name="stride")(x),
        k.Conv2D(2, 2, dilation_rate=(2, 3), name="dilation")(x),
        k.Conv2D(2, 3, dilation_rate=2, padding="same", name="same_dilation")(x),
        k.Conv2D(6, 3, groups=3, name="groups")(x),
        k.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x),
        k.DepthwiseConv2D((3, 2), strides=2, padding="same", activation="relu", name="depthwise_same")(x),
        k.DepthwiseConv2D(2, dilation_rate=2, use_bias=False, name="depthwise_dilation")(x),
        k.SeparableConv2D(4, 3, name="separable")(x),
        k.SeparableConv2D(
            4, 2, depth_multiplier=2, padding="same", strides=2, activation="relu", name="separable_same"
        )(x),
    ]
    return k.model([x], out)


def pooling(k: Framework) -> Any:
    x, y = k.input(9, 3, name="x"), k.input(7, 6, 3, name="y")
    out = []
    for kind in ("Max", "Average"):
        one, two = getattr(k, f"{kind}Pooling1D"), getattr(k, f"{kind}Pooling2D")
        tag = kind.lower()
        out += [
            one(2, name=f"{tag}1")(x),
            one(3, strides=2, padding="same", name=f"{tag}1_same")(x),
            one(4, strides=1, padding="same", name=f"{tag}1_dense")(x),
            two((2, 3), name=f"{tag}2")(y),
            two(3, strides=1, name=f"{tag}2_overlap")(y),
            two(3, strides=2, padding="same", name=f"{tag}2_same")(y),
            two((2, 1), strides=(3, 2), name=f"{tag}2_gaps")(y),
        ]
        for keep in (False, True):
            out.append(getattr(k, f"Global{kind}Pooling1D")(keepdims=keep, name=f"{tag}1_global{keep:d}")(x))
            out.append(getattr(k, f"Global{kind}Pooling2D")(keepdims=keep, name=f"{tag}2_global{keep:d}")(y))
    return k.model([x, y], out)


def normalization(k: Framework) -> Any:
    x, y, z = k.input(6, name="x"), k.input(4, 5, name="y"), k.input(3, 4, 5, name="z")
    out = [
        k.BatchNormalization(name="vector")(x),
        k.BatchNormalization(scale=False, name="no_scale")(x),
        k.BatchNormalization(center=False, epsilon=0.01, name="no_center")(x),
        k.BatchNormalization(scale=False, center=False, name="bare")(x),
        k.BatchNormalization(name="rows")(y),
        k.BatchNormalization(axis=1, name="columns")(y),
        k.BatchNormalization(name="images")(z),
        k.BatchNormalization(axis=2, name="image_rows")(z),
        k.LayerNormalization(name="layer")(y),
        k.LayerNormalization(axis=[1, 2], epsilon=0.01, name="layer_whole")(y),
        k.LayerNormalization(center=False, scale=False, name="layer_bare")(y),
        k.Rescaling(0.25, offset=-1.0, name="rescale")(x),
    ]
    return k.model([x, y, z], out)


def merging(k: Framework) -> Any:
    a, b, c = (k.input(4, 5, name=name) for name in "abc")
    row, u, v = k.input(5, name="row"), k.input(6, name="u"), k.input(6, name="v")
    out = [
        k.Add(name="add")([a, b, c]),
        k.Subtract(name="subtract")([a, b]),
        k.Multiply(name="multiply")([a, b, c]),
        k.Average(name="average")([a, b, c]),
        k.Average(name="average2")([a, b]),
        k.Maximum(name="maximum")([a, b, c]),
        k.Minimum(name="minimum")([a, b]),
        k.Add(name="add_row")([a, row]),
        k.Multiply(name="multiply_row")([row, a]),
        k.Concatenate(name="concat")([a, b, c]),
        k.Concatenate(axis=1, name="concat_rows")([a, b]),
        k.Concatenate(axis=-2, name="concat_negative")([a, b]),
        k.Dot(axes=1, name="dot_vectors")([u, v]),
        k.Dot(axes=2, name="dot_rows")([a, b]),
        k.Dot(axes=(1, 1), name="dot_columns")([a, b]),
        k.Dot(axes=-1, name="dot_negative")([a, b]),
        k.Dot(axes=(2, 1), name="dot_row")([a, row]),
    ]
    return k.model([a, b, c, row, u, v], out)


def moving(k: Framework) -> Any:
    x, y, z = k.input(6, name="x"), k.input(4, 6, name="y"), k.input(4, 6, 3, name="z")
    out = [
        k.Reshape((2, 3), name="reshape")(x),
        k.Reshape((-1, 8), name="reshape_rest")(y),
        k.Flatten(name="flatten")(z),
        k.Permute((2, 1), name="permute")(y),
        k.Permute((3, 1, 2), name="permute3")(z),
        k.RepeatVector(3, name="repeat")(x),
        k.UpSampling1D(3, name="up1")(y),
        k.UpSampling2D((2, 3), name="up2")(z),
        k.UpSampling2D(2, name="up2_square")(z),
        k.ZeroPadding1D(2, name="pad1")(y),
        k.ZeroPadding1D((1, 3), name="pad1_sides")(y),
        k.ZeroPadding2D(1, name="pad2")(z),
        k.ZeroPadding2D((1, 2), name="pad2_axes")(z),
        k.ZeroPadding2D(((1, 0), (2, 3)), name="pad2_sides")(z),
        k.Cropping1D(1, name="crop1")(y),
        k.Cropping1D((0, 2), name="crop1_sides")(y),
        k.Cropping2D(1, name="crop2")(z),
        k.Cropping2D(((1, 0), (2, 1)), name="crop2_sides")(z),
    ]
    return k.model([x, y, z], out)


def activations(k: Framework) -> Any:
    x, y = k.input(8, name="x"), k.input(4, 5, name="y")
    names = [
        "linear", "relu", "sigmoid", "tanh", "softplus", "softsign", "swish", "gelu", "exponential", "hard_sigmoid",
        "elu", "selu", "softmax", "mish",
    ]  # fmt: skip
    if k.version == 3:
        names += [
            "silu",
            "relu6",
            "leaky_relu",
            "hard_silu",
            "hard_swish",
            "hard_tanh",
            "celu",
            "log_sigmoid",
        ]
    slope = "negative_slope" if k.version == 3 else "alpha"
    out = [k.Activation(name, name=f"a_{name}")(x) for name in names]
    out += [
        k.ReLU(name="r")(x),
        k.ReLU(max_value=6, name="r_6")(x),
        k.ReLU(max_value=1.5, negative_slope=0.25, name="r_bounded_slope")(x),
        k.ReLU(negative_slope=0.125, name="r_slope")(x),
        k.ReLU(threshold=0.5, name="r_threshold")(x),
        k.LeakyReLU(name="leaky")(x),
        k.LeakyReLU(**{slope: 0.125}, name="leaky_given")(x),
        k.PReLU(name="p")(x),
        k.PReLU(name="p_rows")(y),
        k.PReLU(shared_axes=[1], name="p_shared")(y),
        k.ELU(alpha=0.5, name="e")(x),
        k.Softmax(name="s")(y),
        k.Softmax(axis=1, name="s_columns")(y),
    ]
    if k.version == 2:
        out.append(k.ThresholdedReLU(theta=0.75, name="t")(x))
    return k.model([x, y], out)


def recurrent(k: Framework) -> Any:
    x = k.input(5, 3, name="x")
    out = [
        k.SimpleRNN(4, name="rnn")(x),
        k.SimpleRNN(4, return_sequences=True, activation="relu", use_bias=False, name="rnn_sequences")(x),
        k.SimpleRNN(4, go_backwards=True, return_sequences=True, unroll=True, name="rnn_backwards")(x),
        k.LSTM(4, name="lstm")(x),
        k.LSTM(3, return_sequences=True, recurrent_activation="hard_sigmoid", name="lstm_hard")(x),
        k.LSTM(3, use_bias=False, go_backwards=True, activation="relu", name="lstm_backwards")(x),
        k.GRU(4, name="gru")(x),
        k.GRU(3, reset_after=False, return_sequences=True, name="gru_before")(x),
        k.GRU(3, use_bias=False, name="gru_bare")(x),
        k.GRU(3, reset_after=False, use_bias=False, go_backwards=True, name="gru_before_bare")(x),
        k.RNN(k.LSTMCell(3), name="cell_lstm")(x),
        k.RNN(k.GRUCell(3), return_sequences=True, name="cell_gru")(x),
        k.RNN(k.SimpleRNNCell(3), name="cell_rnn")(x),
    ]
    return k.model([x], out)


def states(k: Framework) -> Any:
    x, h, c = k.input(5, 3, name="x"), k.input(4, name="h"), k.input(4, name="c")
    out = [
        k.SimpleRNN(4, name="rnn")(x, initial_state=h),
        k.GRU(4, return_sequences=True, name="gru")(x, initial_state=h),
        k.LSTM(4, return_sequences=True, name="lstm")(x, initial_state=[h, c]),
        k.LSTM(4, dropout=0.2, recurrent_dropout=0.1, name="dropping")(x),
    ]
    out.append(k.LSTM(4, name="second")(out[2], initial_state=[h, out[0]]))
    return k.model([x, h, c], out)


def bidirectional(k: Framework) -> Any:
    x = k.input(5, 3, name="x")
    out = [
        k.Bidirectional(k.LSTM(4, return_sequences=True), merge_mode=mode, name=f"lstm_{mode}")(x)
        for mode in ("concat", "sum", "mul", "ave")
    ]
    out += [
        k.Bidirectional(k.GRU(3), name="gru")(x),
        k.Bidirectional(k.SimpleRNN(3), merge_mode="sum", name="rnn")(x),
        k.Bidirectional(
            k.LSTM(3, return_sequences=True), backward_layer=k.GRU(2, return_sequences=True, go_backwards=True),
            name="mixed",
        )(x),
        k.TimeDistributed(k.Dense(2), name="head")(out[0]),
    ]  # fmt: skip
    return k.model([x], out)


def distributed(k: Framework) -> Any:
    x, y, z = k.input(4, 5, name="x"), k.input(3, 6, 4, name="y"), k.input(3, 5, 4, 2, name="z")
    out = [
        k.TimeDistributed(k.Dense(3, activation="relu"), name="dense")(x),
        k.TimeDistributed(k.BatchNormalization(), name="bn")(x),
        k.TimeDistributed(k.Activation("softmax"), name="softmax")(x),
        k.TimeDistributed(k.Reshape((5, 1)), name="reshape")(x),
        k.TimeDistributed(k.Conv1D(3, 3, padding="same", strides=2), name="conv1")(y),
        k.TimeDistributed(k.MaxPooling1D(2), name="pool1")(y),
        k.TimeDistributed(k.AveragePooling1D(3, strides=2, padding="same"), name="mean1")(y),
        k.TimeDistributed(k.GlobalAveragePooling1D(), name="global")(y),
        k.TimeDistributed(k.Flatten(), name="flatten")(y),
        k.TimeDistributed(k.Permute((2, 1)), name="permute")(y),
        k.TimeDistributed(k.ZeroPadding1D((1, 2)), name="pad")(y),
        k.TimeDistributed(k.LayerNormalization(), name="norm")(y),
        k.TimeDistributed(k.Conv2D(3, 2, activation="relu"), name="conv2")(z),
        k.TimeDistributed(k.DepthwiseConv2D(2, depth_multiplier=2), name="depthwise")(z),
        k.TimeDistributed(k.GlobalMaxPooling2D(), name="global2")(z),
        k.TimeDistributed(k.TimeDistributed(k.Dense(3)), name="twice")(y),
    ]
    return k.model([x, y, z], out)


def attention(k: Framework) -> Any:
    x, y = k.input(5, 8, name="x"), k.input(3, 6, name="y")
    out = [
        k.MultiHeadAttention(2, 4, name="own")(x, x),
        k.MultiHeadAttention(2, 3, value_dim=5, use_bias=False, name="cross")(x, y),
        k.MultiHeadAttention(1, 4, dropout=0.1, name="three")(x, value=y, key=k.Dense(7, name="key")(y)),
        k.MultiHeadAttention(2, 4, output_shape=3, name="shaped")(x, y),
    ]
    return k.model([x, y], out)


def nested(k: Framework) -> Any:
    """Models in models, with the same names inside, called once or several times."""
    seq = k.keras.Sequential(
        [k.Input((6,)), k.Dense(4, activation="relu", name="a"), k.Dense(3, name="b")], name="seq"
    )
    p, r = k.input(6, name="p"), k.input(6, name="r")
    merged = k.Concatenate(name="join")([k.Dense(3, name="a")(p), k.BatchNormalization(name="bn")(r)])
    two = k.model([p, r], [k.Dense(2, name="end")(merged), merged], name="two")
    q = k.input(6, name="q")
    deep_bn = k.BatchNormalization(name="bn")(k.Dense(6, name="a2")(q))
    inner = k.keras.Sequential(
        [k.Input((6,)), k.Dense(5, name="a3"), k.BatchNormalization(name="bn3")], name="innermost"
    )
    deep = k.model([q], [inner(deep_bn)], name="deep")
    x, y = k.input(6, name="x"), k.input(6, name="y")
    shared = k.Dense(6, activation="tanh", name="shared")
    first, second = shared(x), shared(y)
    tail, wide = two([first, y])
    other, _ = two([y, shared(second)])
    return k.model(
        [x, y],
        [seq(x), seq(second), tail, wide, other, deep(x), deep(first), k.Add(name="sum")([first, second]), y],
    )


def sequence(k: Framework) -> Any:
    """A Sequential model without an input layer, with one inside of it."""
    inner = k.keras.Sequential([k.Dense(5, activation="relu", name="one"), k.Dropout(0.5)], name="inner")
    net = k.keras.Sequential(
        [k.Dense(6, name="first"), inner, k.GaussianNoise(0.1), k.Dense(2, name="last")], name="net"
    )
    net.build((None, 4))
    return net


def idle(k: Framework) -> Any:
    """Layers that do nothing at inference."""
    x, y = k.input(4, 5, name="x"), k.input(3, 4, 5, name="y")
    a, b = x, y
    for layer in (
        k.Dropout(0.2), k.SpatialDropout1D(0.2), k.GaussianDropout(0.2), k.GaussianNoise(0.3),
        k.AlphaDropout(0.2) if hasattr(k.layers, "AlphaDropout") else k.Dropout(0.1), k.ActivityRegularization(0.1),
    ):  # fmt: skip
        a = layer(a)
    b = k.SpatialDropout2D(0.2)(b)
    b = k.Identity()(b) if hasattr(k.layers, "Identity") else b
    return k.model([x, y], [k.Dense(2, name="end")(a), k.Dense(3, name="end2")(b)])


def operators(k: Framework) -> Any:
    """Sums and products written as Python operators."""
    x, y = k.input(4, 5, name="x"), k.input(4, 5, name="y")
    sums = (
        [x + y, x - y, x * y] if k.version == 3 else [k.Add()([x, y])]
    )  # Keras 2 stores calls of TensorFlow
    return k.model([x, y], [*sums, k.Dense(2, name="end")(sums[0])])


MODELS = (
    linear, conv1d, conv2d, pooling, normalization, merging, moving, activations, recurrent, states, bidirectional,
    distributed, attention, nested, sequence, idle, operators,
)  # fmt: skip

EVERY_CONTAINER = (
    "nested",
    "sequence",
    "recurrent",
    "bidirectional",
    "distributed",
    "attention",
    "normalization",
)
"""Models of which the order of the weights matters most: also stored as JSON with weights beside it."""
