# SPDX-License-Identifier: Apache-2.0
"""Which function reads which operator, by domain; and why some are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from l1ml.frontends.common import UnsupportedError
from l1ml.frontends.onnx import elementwise as each
from l1ml.frontends.onnx import linear, moving, pooling, qdq, qlinear, qonnx, recurrent, reducing, resize
from l1ml.frontends.onnx.einsum import einsum
from l1ml.frontends.onnx.file import STANDARD, File, Node
from l1ml.frontends.onnx.operator import Operator, Result

Reader = Callable[[Operator], Result | tuple[Result, ...]]

OPS: dict[str, Reader] = {
    "Abs": each.named("abs"), "Add": each.add, "And": each.logic("and"),
    "ArgMax": reducing.arg(smallest=False), "ArgMin": reducing.arg(smallest=True),
    "AveragePool": pooling.average_pool, "BatchNormalization": reducing.batch_norm, "Cast": each.cast,
    "Ceil": each.rounding("CEIL"), "Celu": each.named("celu", ("alpha", 1.0)), "Clip": each.clip,
    "Concat": moving.concat, "Conv": linear.conv, "ConvInteger": qlinear.conv_integer,
    "DepthToSpace": moving.depth_to_space, "DequantizeLinear": qdq.dequantize_linear, "Div": each.divide,
    "Dropout": moving.dropout, "Einsum": einsum, "Elu": each.named("elu", ("alpha", 1.0)),
    "Equal": each.comparison("=="), "Erf": each.named("erf"), "Exp": each.named("exp"),
    "Expand": moving.expand, "Flatten": moving.flatten, "Floor": each.rounding("FLOOR"),
    "Gather": moving.gather, "Gelu": each.gelu, "Gemm": linear.gemm,
    "GlobalAveragePool": pooling.global_pool("mean"), "GlobalMaxPool": pooling.global_pool("max"),
    "Greater": each.comparison(">"), "GreaterOrEqual": each.comparison(">="), "GRU": recurrent.cell("gru"),
    "HardSigmoid": each.hard_sigmoid, "HardSwish": each.hard_swish, "Identity": moving.identity,
    "LayerNormalization": reducing.layer_norm, "LeakyRelu": each.leaky_relu, "Less": each.comparison("<"),
    "LessOrEqual": each.comparison("<="), "Log": each.named("log"), "LSTM": recurrent.cell("lstm"),
    "MatMul": linear.matmul, "MatMulInteger": qlinear.matmul_integer, "Max": each.several("max"),
    "MaxPool": pooling.max_pool, "Mean": each.several("mean"), "Min": each.several("min"),
    "Mish": each.named("mish"), "Mul": each.multiply, "Neg": each.negative, "Not": each.negation,
    "Or": each.logic("or"), "Pad": moving.pad, "Pow": each.power, "PRelu": each.prelu,
    "QLinearConv": qlinear.qlinear_conv, "QLinearMatMul": qlinear.qlinear_matmul,
    "QuantizeLinear": qdq.quantize_linear, "Reciprocal": each.named("reciprocal"),
    "ReduceL1": reducing.reduction("sum", before="abs"),
    "ReduceL2": reducing.reduction("sum", before="square", after="sqrt"),
    "ReduceLogSum": reducing.reduction("sum", after="log"), "ReduceMax": reducing.reduction("max"),
    "ReduceMean": reducing.reduction("mean"), "ReduceMin": reducing.reduction("min"),
    "ReduceSum": reducing.reduction("sum"), "ReduceSumSquare": reducing.reduction("sum", before="square"),
    "Relu": each.relu, "Reshape": moving.reshape, "Resize": resize.resize, "RNN": recurrent.cell("rnn"),
    "Round": each.rounding("ROUND"),
    "Selu": each.named("selu", ("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875)),
    "Shape": moving.shape, "Sigmoid": each.named("sigmoid"), "Sign": each.sign, "Size": moving.size,
    "Slice": moving.slice_, "Softmax": reducing.softmax, "Softplus": each.named("softplus"),
    "Softsign": each.named("softsign"), "SpaceToDepth": moving.space_to_depth, "Split": moving.split,
    "Sqrt": each.named("sqrt"), "Squeeze": moving.squeeze, "Sub": each.subtract, "Sum": each.several("add"),
    "Swish": each.swish, "Tanh": each.named("tanh"), "ThresholdedRelu": each.thresholded_relu,
    "Tile": moving.tile, "TopK": reducing.top_k, "Transpose": moving.transpose,
    "Unsqueeze": moving.unsqueeze, "Upsample": resize.upsample, "Where": each.where,
    "Xor": each.logic("xor"),
}  # fmt: skip

CONSTANT_ONLY = ("ConstantOfShape", "Mod", "Range", "ReduceProd")
"""Read where all their inputs are known at import."""

CHANNELS_LAST: dict[str, Reader] = {
    "BatchNormalization": reducing.batch_norm_channels_last,
    "Conv": linear.conv_channels_last,
    "MaxPool": pooling.max_pool_channels_last,
}

MICROSOFT: dict[str, Reader] = {
    "DequantizeLinear": qdq.dequantize_linear,
    "Gelu": each.gelu,
    "QGemm": qlinear.q_gemm,
    "QLinearAdd": qlinear.qlinear_binary("add"),
    "QLinearAveragePool": qlinear.qlinear_pool,
    "QLinearConcat": qlinear.qlinear_concat,
    "QLinearGlobalAveragePool": qlinear.qlinear_global_pool,
    "QLinearLeakyRelu": qlinear.qlinear_function("leaky"),
    "QLinearMul": qlinear.qlinear_binary("mul"),
    "QLinearSigmoid": qlinear.qlinear_function("sigmoid"),
    "QuantizeLinear": qdq.quantize_linear,
}

DOMAINS: Mapping[str, Mapping[str, Reader]] = {
    **dict.fromkeys(STANDARD, OPS),
    **dict.fromkeys(qonnx.DOMAINS, qonnx.OPS),
    **dict.fromkeys(("qonnx.custom_op.channels_last", "finn.custom_op.channels_last"), CHANNELS_LAST),
    "com.microsoft": MICROSOFT,
}

SUPPORTED = tuple(sorted({*OPS, *qonnx.OPS, *CONSTANT_ONLY, "Constant"}))

_TREES = "trees come with a later version"

REFUSED: Mapping[str, str] = {
    **qonnx.REFUSED,
    "ConvTranspose": "use Resize and Conv instead",
    "DynamicQuantizeLinear": "its scale depends on the data of each event; use QuantizeLinear",
    "GroupNormalization": "its statistics come from the event; use BatchNormalization",
    "If": "holds graphs of its own; export without control flow",
    "InstanceNormalization": "its statistics come from the event; use BatchNormalization",
    "LogSoftmax": "leave it out: the order of the classes is that of its input",
    "Loop": "holds a graph of its own; export with fixed sizes, so that loops are unrolled",
    "LpPool": "use MaxPool or AveragePool",
    "NonMaxSuppression": "gives a number of results that depends on the data",
    "NonZero": "gives a number of results that depends on the data",
    "Optional": "is no tensor",
    "QLinearSoftmax": "ONNX Runtime computes it with coarse tables; leave the softmax out",
    "RandomNormal": "is random",
    "RandomUniform": "is random",
    "Scan": "holds a graph of its own; export with fixed sizes, so that loops are unrolled",
    "SequenceAt": "reads a sequence; only tensors are read",
    "SequenceConstruct": "makes a sequence; only tensors are read",
    "SequenceEmpty": "makes a sequence; only tensors are read",
    "SplitToSequence": "makes a sequence; only tensors are read",
    "StringNormalizer": "works on texts",
    "TreeEnsemble": _TREES,
    "TreeEnsembleClassifier": _TREES,
    "TreeEnsembleRegressor": _TREES,
}


def find(node: Node, file: File) -> Reader:
    """Return the function that reads a node.

    Raises:
        UnsupportedError: there is none; says why where there is a reason.
    """
    if (node.domain, node.kind) in file.functions:
        raise UnsupportedError("is a function of the model; inline it (onnx.inliner.inline_local_functions)")
    known = DOMAINS.get(node.domain, {})
    if node.kind in known:
        return known[node.kind]
    if node.kind in CONSTANT_ONLY and node.domain in STANDARD:
        return _constant_only
    raise UnsupportedError(REFUSED.get(node.kind, ""))


def _constant_only(op: Operator) -> Result:
    raise UnsupportedError("of data; of constants it is supported")
