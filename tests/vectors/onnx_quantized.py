# SPDX-License-Identifier: Apache-2.0
"""Small quantized ONNX models: QONNX operators, QuantizeLinear and DequantizeLinear, QLinear operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx_cases import EVENTS, QONNX, Case, ints, node, normal, rng

GRID = np.arange(-512, 512, dtype=np.float32).reshape(16, 64) / 32
"""Every value of fixed<10,5>: ties, saturation and both signs for the scales below."""

GRID_TYPE = "fixed<10,5>"
MODES = ("ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")


def f32(*values: float) -> np.ndarray:
    return np.array(values if len(values) != 1 else values[0], dtype=np.float32)


def quant(
    x: str, y: str, scale: Any, bits: Any, zero: Any = 0.0, *, kind: str = "Quant", **attributes: Any
) -> tuple[onnx.NodeProto, dict[str, Any]]:
    """Return a Quant node and its constants."""
    given = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND", **attributes}
    names = [f"{y}_s", f"{y}_z", f"{y}_b"]
    made = node(kind, [x, *names], y, domain=QONNX, **given)
    return made, dict(zip(names, (np.float32(scale), np.float32(zero), np.float32(bits)), strict=True))


def quants() -> Iterator[Case]:
    def one(name: str, *arguments: Any, shape: tuple[int, ...] = (64,), **attributes: Any) -> Case:
        made, constants = quant("x0", "y0", *arguments, **attributes)
        return Case(
            name, [made], constants, shapes=[shape], events=[GRID.reshape(-1, *shape)], types=GRID_TYPE
        )

    for mode in MODES:
        for signed in (0, 1):
            for narrow in (0, 1):
                yield one(
                    f"{mode}_{signed}{narrow}", 0.25, 4, rounding_mode=mode, signed=signed, narrow=narrow
                )
        yield one(f"{mode}_lower", 0.25, 4, rounding_mode=mode.lower())
    for bits in (1, 2, 3, 8, 16):
        for signed in (0, 1):
            for narrow in (0, 1):
                if (bits, signed, narrow) != (1, 0, 1):
                    yield one(f"bits_{bits}{signed}{narrow}", 0.5, bits, signed=signed, narrow=narrow)
    for scale in (2.0**-6, 4.0, 1.0, 16.0):
        yield one(f"scale_{scale:g}", scale, 5)
    for zero in (1.0, 3.0, -2.0, 0.5, 0.25, -1.75, 7.0):
        for signed in (0, 1):
            yield one(f"zero_{zero:g}_{signed}", 0.5, 4, zero, signed=signed)
    yield one("zero_bit", 0.5, 1, 1.0)
    yield one("zero_third", 0.5, 4, 1 / 3)
    yield one("channels", np.array([0.25, 0.5, 1, 2], np.float32).reshape(1, 4, 1), 4, shape=(4, 16))
    yield one("channels_zero", 0.25, 4, np.array([0, 1, -1, 2.5], np.float32).reshape(4, 1), shape=(4, 16))
    yield one("channels_1_bit", np.array([0.25, 0.5, 1, 2], np.float32).reshape(4, 1), 1, shape=(4, 16))
    yield one("old_name", 0.25, 4, kind="IntQuant")
    for mode in MODES:
        for scale in (0.3, 0.1, 1 / 3, 0.7182818, 1.1):
            yield one(f"real_{mode}_{scale:.2f}", scale, 4, rounding_mode=mode)
    for zero in (1.0, 0.5):
        yield one(f"real_zero_{zero:g}", 0.3, 4, zero)
    yield one("real_unsigned", 0.3, 4, signed=0)
    yield one("real_narrow", 0.3, 4, narrow=1)
    yield one("real_bit", 0.3, 1)
    yield one("real_channels", np.array([0.3, 0.5, 0.7, 1.1], np.float32).reshape(4, 1), 5, shape=(4, 16))


def qonnx_more() -> Iterator[Case]:
    for scale in (0.5, 0.3):
        yield Case(
            f"Bipolar_{scale:g}",
            [node("BipolarQuant", "x0 s", domain=QONNX)],
            {"s": f32(scale)},
            shapes=[(64,)],
            events=[GRID],
            types=GRID_TYPE,
        )
    yield Case(
        "Bipolar_channels",
        [node("BipolarQuant", "x0 s", domain=QONNX)],
        {"s": np.array([0.5, 1, 2, 4], np.float32).reshape(4, 1)},
        shapes=[(4, 16)],
        events=[GRID.reshape(-1, 4, 16)],
        types=GRID_TYPE,
    )
    for mode in ("FLOOR", "ROUND", "CEIL"):
        for scale, zero in ((0.25, 0.0), (0.25, 4.0), (0.3, 0.0)):
            before, constants = quant("x0", "q", scale, 8, zero)
            one = {"s": f32(scale), "z": f32(zero), "i": f32(8), "o": f32(5)}
            first = node("Trunc", "q s z i o", domain=QONNX, rounding_mode=mode)
            yield Case(
                f"Trunc1_{mode}_{scale:g}_{zero:g}",
                [before, first],
                constants | one,
                shapes=[(64,)],
                events=[GRID],
                types=GRID_TYPE,
            )
            two = {"s": f32(scale), "z": f32(zero), "i": f32(8), "p": f32(scale * 8), "o": f32(5)}
            for signed, narrow in ((1, 0), (1, 1), (0, 0)):
                second = node(
                    "Trunc", "q s z i p o", domain=QONNX, rounding_mode=mode, signed=signed, narrow=narrow
                )
                yield Case(
                    f"Trunc2_{mode}_{scale:g}_{zero:g}_{signed}{narrow}",
                    [before, second],
                    constants | two,
                    shapes=[(64,)],
                    events=[GRID],
                    types=GRID_TYPE,
                    domains={QONNX: 2},
                )
    rows = np.sort(np.rint(normal("mt", 4, 7, scale=3) * 16) / 16, axis=1).astype(np.float32)
    for key, shape, layout, given in (
        ("plain", (4,), "", {}),
        ("scale", (4,), "NC", {"out_scale": 0.5, "out_bias": -1.5}),
        ("first", (4, 4, 4), "NCHW", {}),
        ("last", (4, 4, 4), "NHWC", {"out_scale": 2.0}),
        ("real", (4,), "NC", {"out_scale": 0.3, "out_bias": 0.1}),
    ):
        made = node("MultiThreshold", "x0 t", domain=QONNX, out_dtype="INT8", data_layout=layout, **given)
        yield Case(
            f"Multi_{key}",
            [made],
            {"t": rows},
            shapes=[shape],
            events=[GRID.reshape(-1, *shape)],
            types=GRID_TYPE,
        )
    made = node("MultiThreshold", "x0 t", domain=QONNX, out_dtype="INT8")
    yield Case("Multi_shared", [made], {"t": rows[:1]}, shapes=[(64,)], events=[GRID], types=GRID_TYPE)
    pool = node(
        "QuantAvgPool2d",
        "x0",
        domain=QONNX,
        kernel=2,
        stride=2,
        ibits=4,
        obits=4,
        signed=0,
        data_layout="NCHW",
    )
    yield Case(
        "QuantAvgPool",
        [pool],
        shapes=[(2, 4, 4)],
        events=[rng("qap").integers(0, 16, (8, 2, 4, 4)).astype(np.float32)],
        types="ufixed<4,4>",
    )
    for key, last in (("first", False), ("last", True)):
        shape = (6, 5, 3) if last else (3, 6, 5)
        weights = normal("cl", 4, 2, 2, 3) if last else normal("cl", 4, 2, 2, 3).transpose(0, 3, 1, 2).copy()
        domain = "qonnx.custom_op.channels_last" if last else ""
        quantize, constants = quant("w", "qw", 0.125, 5)
        activation, more = quant("b", "y0", 0.25, 6)
        names = ["gamma", "beta", "mean", "variance"]
        numbers = {n: np.array([0.5, 1, 2, 1], np.float32) for n in names}
        numbers["variance"] = np.array([1, 4, 0.25, 1], np.float32) - np.float32(2**-10)
        nodes = [
            quantize,
            node(
                "Conv",
                "x0 qw",
                "c",
                domain=domain,
                kernel_shape=[2, 2],
                pads=[1, 0, 0, 1],
                strides=[2, 1],
                dilations=[1, 1],
                group=1,
            ),
            node("BatchNormalization", ["c", *names], "n", domain=domain, epsilon=float(2**-10)),
            node("MaxPool", "n", "b", domain=domain, kernel_shape=[2, 2], strides=[1, 1]),
            activation,
        ]
        x = np.rint(rng("clx").normal(0, 8, (8, 6, 5, 3))).clip(-16, 15).astype(np.float32) / 4
        x = x if last else x.transpose(0, 3, 1, 2).copy()
        yield Case(
            f"channels_{key}",
            nodes,
            constants | more | numbers | {"w": weights},
            shapes=[shape],
            events=[x],
            types="fixed<5,3>",
            inner={
                "c": (0, 3, 5, 4),
                "n": (0, 3, 5, 4),
                "b": (0, 2, 4, 4),
                "y0": (0, 2, 4, 4),
                "qw": (4, 2, 2, 3),
            }
            if last
            else {},
        )
    for key, scales in (
        ("po2", (0.125, 0.0625, 0.25)),
        ("real", (0.11, 0.037, 0.29)),
        ("channels", (0.11, None, 0.29)),
    ):
        weights, c1 = quant("w", "qw", 0.07 if scales[1] is None else scales[1], 4, narrow=1)
        if scales[1] is None:
            c1["qw_s"] = np.array([0.05, 0.07, 0.11, 0.03, 0.08], np.float32)
        before, c0 = quant("x0", "q", scales[0], 6)
        bias, c2 = quant("b", "qb", 0.0078125 if key == "po2" else 0.11 * 0.037, 10)
        after, c3 = quant("r", "y0", scales[2], 4, signed=0)
        nodes = [
            before,
            weights,
            bias,
            node("MatMul", "q qw", "m"),
            node("Add", "m qb", "a"),
            node("Relu", "a", "r"),
            after,
        ]
        yield Case(
            f"dense_{key}",
            nodes,
            c0 | c1 | c2 | c3 | {"w": normal("dw", 64, 5, scale=0.2), "b": normal("db", 5)},
            shapes=[(64,)],
            events=[np.rint(rng("dx").normal(0, 64, (64, 64))).clip(-512, 511).astype(np.float32) / 32],
            types=GRID_TYPE,
        )


def q(
    x: str, y: str, scale: Any, zero: Any, *, kind: str = "int8", **attributes: Any
) -> tuple[onnx.NodeProto, dict[str, Any]]:
    """Return QuantizeLinear and its constants."""
    names = {f"{y}_s": np.asarray(scale, np.float32), f"{y}_z": _typed(f"{y}_z", zero, kind)}
    return node("QuantizeLinear", [x, *names], y, **attributes), names


def dq(
    x: str, y: str, scale: Any, zero: Any, *, kind: str = "int8", **attributes: Any
) -> tuple[onnx.NodeProto, dict[str, Any]]:
    """Return DequantizeLinear and its constants."""
    names = {f"{y}_s": np.asarray(scale, np.float32), f"{y}_z": _typed(f"{y}_z", zero, kind)}
    return node("DequantizeLinear", [x, *names], y, **attributes), names


def _typed(name: str, values: Any, kind: str) -> Any:
    if kind in ("int4", "uint4"):
        number = TensorProto.INT4 if kind == "int4" else TensorProto.UINT4
        return helper.make_tensor(name, number, np.shape(values), np.ravel(values).tolist())
    return np.asarray(values, dtype=kind)


def pair(
    x: str, y: str, scale: Any, zero: Any, *, kind: str = "int8", **attributes: Any
) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """Return QuantizeLinear, DequantizeLinear."""
    first, c = q(x, f"{y}_q", scale, zero, kind=kind, **attributes)
    second, d = dq(f"{y}_q", y, scale, zero, kind=kind, **attributes)
    return [first, second], c | d


def qdq() -> Iterator[Case]:
    grid = {"shapes": [(64,)], "events": [GRID], "types": GRID_TYPE}
    for kind, zeros in (
        ("int8", (0, 3, -128)),
        ("uint8", (0, 128, 5)),
        ("int16", (0, 7)),
        ("uint16", (0, 1000)),
        ("int4", (0, 1)),
        ("uint4", (0, 8)),
    ):
        for zero in zeros:
            for scale in (0.125, 0.25, 2.0, 0.1, 0.3):
                nodes, constants = pair("x0", "y0", scale, zero, kind=kind)
                yield Case(f"pair_{kind}_{zero}_{scale:g}", nodes, constants, opset=21, **grid)
    nodes, constants = pair("x0", "y0", 0.25, 0)
    yield Case("pair_opset_10", nodes, constants, opset=10, **grid)
    only = [node("QuantizeLinear", "x0 s", "a"), node("DequantizeLinear", "a s")]
    yield Case("no_zero_point", only, {"s": f32(0.25)}, **grid)
    only = [
        node("QuantizeLinear", "x0 s", "a", output_dtype=TensorProto.INT8),
        node("DequantizeLinear", "a s"),
    ]
    yield Case("output_dtype", only, {"s": f32(0.25)}, opset=21, **grid)
    for lo, hi in ((-8, 7), (-4, 3), (0, 15), (-7, 7)):
        first, c = q("x0", "a", 0.25, 0)
        last, d = dq("b", "y0", 0.25, 0)
        nodes = [first, node("Clip", "a lo hi", "b"), last]
        yield Case(f"clip_{lo}_{hi}", nodes, c | d | {"lo": np.int8(lo), "hi": np.int8(hi)}, **grid)
    first, c = q("x0", "a", 0.25, 2, kind="uint8")
    last, d = dq("b", "y0", 0.25, 2, kind="uint8")
    yield Case(
        "clip_zero",
        [first, node("Clip", "a lo hi", "b"), last],
        c | d | {"lo": np.uint8(1), "hi": np.uint8(14)},
        **grid,
    )
    last, d = dq("a", "y0", 0.5, 1, kind="uint8")
    yield Case("other_scale", [first, last], c | d, **grid)
    yield Case("codes_out", [first, node("Cast", "a", to=TensorProto.FLOAT)], c, **grid)
    first, c = q("x0", "a", [0.25, 0.5, 1, 2], [0, 3, -5, 1], axis=1)
    last, d = dq("a", "y0", [0.25, 0.5, 1, 2], [0, 3, -5, 1], axis=1)
    image = {"shapes": [(4, 16)], "events": [GRID.reshape(-1, 4, 16)], "types": GRID_TYPE}
    yield Case("axis", [first, last], c | d, **image)
    yield Case("axis_codes", [first, node("Cast", "a", to=TensorProto.FLOAT)], c, **image)
    nodes, constants = pair("x0", "y0", [0.25, 0.5, 1, 2], [0] * 4)
    yield Case("axis_default", nodes, constants, **image)
    nodes, constants = pair("x0", "y0", [0.3, 0.5, 0.7, 1.1], [0] * 4, axis=-2)
    yield Case("axis_real", nodes, constants, **image)
    first, c = q("x0", "a", 0.25, 7, kind="uint8")
    last, d = dq("p", "y0", 0.25, 7, kind="uint8")
    nodes = [
        first,
        node("Reshape", "a s", "r"),
        node("MaxPool", "r", "m", kernel_shape=[2], strides=[2]),
        node("Transpose", "m", "p", perm=(0, 2, 1)),
        last,
    ]
    yield Case("moved_codes", nodes, c | d | {"s": ints(0, 4, 16)}, **grid)
    first, c = q("x0", "a", 0.25, 2)
    nodes = [first, node("Relu", "a", "b"), *dq("b", "y0", 0.25, 2)[:1]]
    yield Case("relu_codes", nodes, c | dq("b", "y0", 0.25, 2)[1], opset=14, **grid)
    x = rng("u8").integers(0, 256, (EVENTS, 8)).astype(np.uint8)
    last, d = dq("x0", "y0", 0.25, 128, kind="uint8")
    yield Case("integer_input", [last], d, shapes=[(8,)], kinds=["uint8"], events=[x], types="ufixed<8,8>")
    yield from _qdq_layers()


def _qdq_layers() -> Iterator[Case]:
    for key, sx, zx, sw, sy in (
        ("po2", 0.125, 0, 0.0625, 0.5),
        ("zero", 0.125, 5, 0.0625, 0.5),
        ("real", 0.11, 0, 0.037, 0.43),
        ("real_zero", 0.11, 7, 0.037, 0.43),
    ):
        before, c = pair("x0", "a", sx, zx)
        codes = np.clip(np.rint(normal("qdqw", 16, 5) * 24), -127, 127).astype(np.int8)
        bias = np.rint(normal("qdqb", 5) * 100).astype(np.int32)
        weight, cw = dq("wc", "w", sw, 0)
        offset, cb = dq("bc", "b", sx * sw, 0, kind="int32")
        after, cy = pair("r", "y0", sy, 0, kind="uint8")
        x = np.rint(rng("qdqx").normal(0, 96, (64, 16))).clip(-512, 511).astype(np.float32) / 32
        nodes = [*before, weight, offset, node("Gemm", "a w b", "g"), node("Relu", "g", "r"), *after]
        constants = c | cw | cb | cy | {"wc": codes, "bc": bias}
        yield Case(f"gemm_{key}", nodes, constants, shapes=[(16,)], events=[x], types=GRID_TYPE, opset=13)
        per = np.array([1, 2, 0.5, 4, 1], np.float32) * np.float32(sw)
        weight, cw = dq("wc", "w", per, [0] * 5, axis=1)
        offset, cb = dq("bc", "b", per * np.float32(sx), [0] * 5, kind="int32", axis=0)
        nodes = [*before, weight, offset, node("MatMul", "a w", "g"), node("Add", "g b", "r"), *after]
        yield Case(
            f"matmul_axis_{key}",
            nodes,
            c | cw | cb | cy | {"wc": codes, "bc": bias},
            shapes=[(16,)],
            events=[x],
            types=GRID_TYPE,
            opset=13,
        )
        codes = np.clip(np.rint(normal("qdqc", 4, 3, 2, 2) * 24), -127, 127).astype(np.int8)
        weight, cw = dq("wc", "w", sw, 0)
        nodes = [
            *before,
            weight,
            node("Conv", "a w", "g", pads=[1, 1, 0, 0], strides=[1, 2]),
            node("Clip", "g lo hi", "r"),
            *after,
        ]
        x = np.rint(rng("qdqi").normal(0, 96, (16, 3, 4, 4))).clip(-512, 511).astype(np.float32) / 32
        constants = c | cw | cy | {"wc": codes, "lo": f32(0), "hi": f32(6)}
        yield Case(f"conv_{key}", nodes, constants, shapes=[(3, 4, 4)], events=[x], types=GRID_TYPE, opset=13)
        second, c2 = pair("x1", "b", sx, zx)
        nodes = [*before, *second, node("Add", "a b", "r"), *after]
        x = [
            np.rint(rng(f"qdqa{k}").normal(0, 96, (16, 8))).clip(-512, 511).astype(np.float32) / 32
            for k in range(2)
        ]
        yield Case(f"add_{key}", nodes, c | c2 | cy, shapes=[(8,), (8,)], events=x, types=GRID_TYPE, opset=13)
        nodes = [*before, node("AveragePool", "a", "r", kernel_shape=[2, 2], strides=[2, 2]), *after]
        x = np.rint(rng("qdqp").normal(0, 96, (16, 3, 4, 4))).clip(-512, 511).astype(np.float32) / 32
        yield Case(f"pool_{key}", nodes, c | cy, shapes=[(3, 4, 4)], events=[x], types=GRID_TYPE, opset=13)


def qlinear() -> Iterator[Case]:
    x = rng("ql").integers(0, 256, (64, 16)).astype(np.uint8)
    s = rng("qs").integers(-128, 128, (64, 16)).astype(np.int8)
    scalars = {
        "xs": f32(0.11),
        "xz": np.uint8(131),
        "ws": f32(0.037),
        "wz": np.int8(0),
        "ys": f32(1.7),
        "yz": np.uint8(77),
    }
    for key, changes in (
        ("real", {}),
        ("po2", {"xs": f32(0.125), "ws": f32(0.0625), "ys": f32(2)}),
        ("zero", {"wz": np.int8(3)}),
        ("axis", {}),
    ):
        weights = np.clip(np.rint(normal("qlw", 16, 5) * 64), -127, 127).astype(np.int8)
        constants = scalars | changes | {"w": weights}
        if key == "axis":
            constants = constants | {
                "ws": np.array([0.03, 0.05, 0.01, 0.02, 0.07], np.float32),
                "wz": np.zeros(5, np.int8),
            }
        made = node("QLinearMatMul", "x0 xs xz w ws wz ys yz")
        yield Case(
            f"QLinearMatMul_{key}",
            [made],
            constants,
            shapes=[(16,)],
            kinds=["uint8"],
            events=[x],
            types="ufixed<8,8>",
        )
        weights = np.clip(np.rint(normal("qlc", 4, 4, 2, 2) * 64), -127, 127).astype(np.int8)
        constants = scalars | changes | {"w": weights, "b": np.array([100, -500, 0, 7], np.int32)}
        if key == "axis":
            constants = constants | {
                "ws": np.array([0.03, 0.05, 0.01, 0.02], np.float32),
                "wz": np.zeros(4, np.int8),
            }
        made = node("QLinearConv", "x0 xs xz w ws wz ys yz b", pads=[1, 0, 0, 1])
        yield Case(
            f"QLinearConv_{key}",
            [made],
            constants,
            shapes=[(4, 2, 2)],
            kinds=["uint8"],
            events=[x.reshape(-1, 4, 2, 2)],
            types="ufixed<8,8>",
        )
    made = [
        node("MatMulInteger", "x0 w xz", "m"),
        node("Cast", "m", "f", to=TensorProto.FLOAT),
        node("Mul", "f s"),
    ]
    w = np.clip(np.rint(normal("qlw", 16, 5) * 64), -127, 127).astype(np.int8)
    yield Case(
        "MatMulInteger",
        made,
        {"w": w, "xz": np.uint8(9), "s": f32(0.5)},
        shapes=[(16,)],
        kinds=["uint8"],
        events=[x],
        types="ufixed<8,8>",
    )
    made = [node("ConvInteger", "x0 w xz", "m", pads=[1, 1, 1, 1]), node("Cast", "m", to=TensorProto.FLOAT)]
    w = np.clip(np.rint(normal("qlc", 4, 4, 2, 2) * 64), -127, 127).astype(np.int8)
    yield Case(
        "ConvInteger",
        made,
        {"w": w, "xz": np.uint8(9)},
        shapes=[(4, 2, 2)],
        kinds=["uint8"],
        events=[x.reshape(-1, 4, 2, 2)],
        types="ufixed<8,8>",
    )
    com = {"domain": "com.microsoft"}
    two = {
        "shapes": [(16,), (16,)],
        "kinds": ["int8", "int8"],
        "events": [s, s[::-1].copy()],
        "types": "fixed<8,8>",
    }
    for key, a, b, y in (("same", 0.25, 0.25, 0.5), ("real", 0.11, 0.11, 0.23), ("two", 0.11, 0.17, 0.23)):
        constants = {
            "as": f32(a),
            "az": np.int8(3),
            "bs": f32(b),
            "bz": np.int8(-2),
            "ys": f32(y),
            "yz": np.int8(1),
        }
        for kind in ("Add", "Mul"):
            yield Case(
                f"QLinear{kind}_{key}",
                [node(f"QLinear{kind}", "x0 as az x1 bs bz ys yz", **com)],
                constants,
                **two,
            )
    one = {"shapes": [(16,)], "kinds": ["int8"], "events": [s], "types": "fixed<8,8>"}
    constants = {"as": f32(0.05), "az": np.int8(3), "ys": f32(0.0078), "yz": np.int8(-120)}
    yield Case("QLinearSigmoid", [node("QLinearSigmoid", "x0 as az ys yz", **com)], constants, **one)
    constants = constants | {"ys": f32(0.04)}
    yield Case(
        "QLinearLeakyRelu", [node("QLinearLeakyRelu", "x0 as az ys yz", alpha=0.1, **com)], constants, **one
    )
    image = {
        "shapes": [(4, 2, 2)],
        "kinds": ["int8"],
        "events": [s.reshape(-1, 4, 2, 2)],
        "types": "fixed<8,8>",
    }
    pool = node("QLinearAveragePool", "x0 as az ys yz", kernel_shape=[2, 2], **com)
    yield Case("QLinearAveragePool", [pool], constants | {"yz": np.int8(4)}, **image)
    yield Case(
        "QLinearGlobalAveragePool",
        [node("QLinearGlobalAveragePool", "x0 as az ys yz", **com)],
        constants | {"yz": np.int8(4)},
        **image,
    )
    constants = {
        "as": f32(0.05),
        "az": np.int8(3),
        "bs": f32(0.07),
        "bz": np.int8(0),
        "ys": f32(0.06),
        "yz": np.int8(4),
    }
    yield Case(
        "QLinearConcat", [node("QLinearConcat", "ys yz x0 as az x1 bs bz", axis=1, **com)], constants, **two
    )
    w = np.clip(np.rint(normal("qlw", 5, 16) * 64), -127, 127).astype(np.int8)
    constants = {
        "as": f32(0.11),
        "az": np.int8(3),
        "w": w,
        "ws": f32(0.037),
        "wz": np.int8(0),
        "b": np.arange(5, dtype=np.int32),
        "ys": f32(1.7),
        "yz": np.int8(7),
    }
    yield Case("QGemm", [node("QGemm", "x0 as az w ws wz b ys yz", transB=1, **com)], constants, **one)
    yield Case(
        "QGemm_real",
        [node("QGemm", "x0 as az w ws wz b", transB=1, **com)],
        {k: v for k, v in constants.items() if k not in ("ys", "yz")},
        **one,
    )


QUANTIZED: dict[str, tuple[str, Callable[[], Iterator[Case]]]] = {
    "qdq": ("onnxruntime", qdq),
    "qlinear": ("onnxruntime", qlinear),
    "qonnx": ("qonnx", qonnx_more),
    "quant": ("qonnx", quants),
}
"""Families by name, with the program that answers."""
