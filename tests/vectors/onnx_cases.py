# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models, one operator and setting each: tests read them, `make_onnx_models` records answers."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EVENTS = 6
QONNX = "qonnx.custom_op.general"
KINDS = {
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
    "int32": TensorProto.INT32,
    "uint16": TensorProto.UINT16,
    "int16": TensorProto.INT16,
    "int4": TensorProto.INT4,
    "uint4": TensorProto.UINT4,
}


@dataclass(frozen=True)
class Case:
    """One model and what goes into it.

    Args:
        name: unique in its family.
        nodes: of the graph; inputs are x0, x1, ..., outputs y0, y1, ...
        constants: by name.
        shapes: of each input, without the batch axis.
        opset: of the standard domain.
        outputs: how many.
        batch: None for a free batch size, else the one baked in.
        places: where each output has the batch axis.
        kinds: types of the inputs.
        events: the inputs; None: made from the name.
        types: fixed-point types of the inputs, for the exact reading; empty: only real numbers are compared.
        domains: versions of further domains.
        inner: shapes of tensors for programs that cannot infer them, 0 for the batch.
    """

    name: str
    nodes: Sequence[onnx.NodeProto]
    constants: dict[str, Any] = field(default_factory=dict)
    shapes: Sequence[tuple[int, ...]] = ((4,),)
    opset: int = 17
    outputs: int = 1
    batch: int | None = None
    places: Sequence[int] = ()
    kinds: Sequence[str] = ()
    events: Sequence[np.ndarray] | None = None
    types: str = ""
    domains: dict[str, int] = field(default_factory=dict)
    inner: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def proto(self, batch: int | None = None) -> onnx.ModelProto:
        """Return the model; ``batch`` overrides the batch size."""
        size: Any = batch or self.batch or "N"
        inputs = [
            helper.make_tensor_value_info(f"x{k}", KINDS[self.kind(k)], [size, *shape])
            for k, shape in enumerate(self.shapes)
        ]
        outputs = [onnx.ValueInfoProto(name=f"y{k}") for k in range(self.outputs)]
        tensors = [
            value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)
            for name, value in self.constants.items()
        ]
        graph = helper.make_graph(list(self.nodes), self.name, inputs, outputs, tensors)
        used = {node.domain for node in self.nodes} - {""}
        imports = [helper.make_opsetid("", self.opset)]
        imports += [helper.make_opsetid(domain, self.domains.get(domain, 1)) for domain in sorted(used)]
        return helper.make_model(graph, opset_imports=imports, ir_version=3 if self.opset < 9 else 10)

    def kind(self, index: int) -> str:
        """Return the type of an input."""
        return self.kinds[index] if index < len(self.kinds) else "float32"

    def inputs(self) -> list[np.ndarray]:
        """Return the events of every input."""
        if self.events is not None:
            return list(self.events)
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        made = []
        for k, shape in enumerate(self.shapes):
            kind = self.kind(k)
            if kind == "bool":
                made.append(rng.integers(0, 2, (EVENTS, *shape)).astype(bool))
            elif kind != "float32":
                info = np.iinfo(kind)
                made.append(
                    rng.integers(
                        max(info.min, -300), min(info.max, 300), (EVENTS, *shape), endpoint=True
                    ).astype(kind)
                )
            else:
                x = rng.normal(0, 2, (EVENTS, *shape)).astype(np.float32)
                # Ties, zeros and ones are where implementations differ.
                x[0] = rng.choice(
                    np.array([-2.5, -1.5, -1, -0.5, -0.0, 0, 0.5, 1, 1.5, 2.5], np.float32), shape
                )
                made.append(x)
        return made


def node(
    kind: str, inputs: Sequence[str] | str = "x0", outputs: Sequence[str] | str = "y0", **attributes: Any
) -> onnx.NodeProto:
    """Return a node; names are separated by spaces."""
    ins = inputs.split(" ") if isinstance(inputs, str) else list(inputs)
    outs = outputs.split(" ") if isinstance(outputs, str) else list(outputs)
    return helper.make_node(kind, ins, outs, name=f"{kind}_{outs[0]}", **attributes)


def rng(text: str) -> np.random.Generator:
    """Return a generator of its own for a name."""
    return np.random.default_rng(zlib.crc32(text.encode()))


def normal(text: str, *shape: int, scale: float = 0.5) -> np.ndarray:
    """Return float32 constants that depend on a name only."""
    return rng(text).normal(0, scale, shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def activations() -> Iterator[Case]:
    plain = {
        "Relu": {},
        "Sigmoid": {},
        "Tanh": {},
        "Softplus": {},
        "Softsign": {},
        "Erf": {},
        "Exp": {},
        "Abs": {},
        "Neg": {},
        "Sign": {},
        "Floor": {},
        "Ceil": {},
        "Round": {},
        "HardSwish": {},
        "Identity": {},
        "Selu": {},
        "Elu": {},
        "Celu": {},
        "LeakyRelu": {},
        "HardSigmoid": {},
        "ThresholdedRelu": {},
    }
    for kind, attributes in plain.items():
        yield Case(kind, [node(kind, **attributes)], shapes=[(3, 5)])
    settings = {
        "LeakyRelu": {"alpha": 0.3},
        "Elu": {"alpha": 0.7},
        "Celu": {"alpha": 1.7},
        "Selu": {"alpha": 1.5, "gamma": 1.2},
        "HardSigmoid": {"alpha": 0.25, "beta": 0.4},
        "ThresholdedRelu": {"alpha": 0.5},
    }
    for kind, attributes in settings.items():
        yield Case(f"{kind}_set", [node(kind, **attributes)], shapes=[(3, 5)])
    yield Case("Gelu", [node("Gelu")], opset=20)
    yield Case("Gelu_tanh", [node("Gelu", approximate="tanh")], opset=20)
    yield Case("Mish", [node("Mish")], opset=18)
    for kind in ("Log", "Sqrt", "Reciprocal"):
        yield Case(
            kind, [node("Abs", "x0", "a"), node("Add", "a c", "b"), node(kind, "b")], {"c": np.float32(0.5)}
        )
    for exponent in (2.0, 3.0, 1.0):
        yield Case(f"Pow_{exponent:g}", [node("Pow", "x0 e")], {"e": np.float32(exponent)})
    for exponent in (0.5, -1.0, -0.5, 1.7):
        nodes = [node("Abs", "x0", "a"), node("Add", "a c", "b"), node("Pow", "b e")]
        yield Case(f"Pow_{exponent:g}", nodes, {"e": np.float32(exponent), "c": np.float32(0.5)})
    slopes = {"scalar": (1,), "channel": (3, 1), "row": (5,), "full": (3, 5)}
    for key, shape in slopes.items():
        yield Case(f"PRelu_{key}", [node("PRelu", "x0 s")], {"s": normal(key, *shape)}, shapes=[(3, 5)])
    yield Case("PRelu_old", [node("PRelu", "x0 s")], {"s": normal("old", 3)}, shapes=[(3, 5)], opset=6)
    for key, names, lo, hi in (
        ("both", "x0 lo hi", -1, 1.5),
        ("low", "x0 lo", -0.5, 0),
        ("zero", "x0 lo", 0, 0),
        ("high", "x0  hi", 0, 1),
    ):
        constants = {"lo": np.float32(lo), "hi": np.float32(hi)}
        used = {k: v for k, v in constants.items() if k in names.split(" ")}
        yield Case(f"Clip_{key}", [node("Clip", names)], used)
    yield Case("Clip_6", [node("Clip", min=-1.0, max=2.0)], opset=6)
    yield Case("Clip_6_open", [node("Clip", min=0.0)], opset=6)
    yield Case("Clip_crossed", [node("Clip", "x0 lo hi")], {"lo": np.float32(1), "hi": np.float32(-1)})
    yield Case("Dropout", [node("Dropout")], opset=12)
    yield Case("Dropout_6", [node("Dropout", ratio=0.3)], opset=7)
    yield Case(
        "Cast_int", [node("Cast", "x0", "a", to=TensorProto.INT32), node("Cast", "a", to=TensorProto.FLOAT)]
    )
    yield Case(
        "Cast_bool", [node("Cast", "x0", "a", to=TensorProto.BOOL), node("Cast", "a", to=TensorProto.FLOAT)]
    )


def arithmetic() -> Iterator[Case]:
    shapes = {"scalar": (), "one": (1,), "row": (5,), "column": (3, 1), "full": (3, 5), "batch": (1, 3, 5)}
    for kind in ("Add", "Sub", "Mul", "Div"):
        for key, shape in shapes.items():
            c = normal(kind + key, *shape) + np.float32(1.5)
            yield Case(f"{kind}_{key}", [node(kind, "x0 c")], {"c": c}, shapes=[(3, 5)])
        yield Case(
            f"{kind}_left",
            [node("Abs", "x0", "a"), node("Add", "a h", "b"), node(kind, "c b")],
            {"c": normal(kind, 5), "h": np.float32(0.5)},
            shapes=[(3, 5)],
        )
        yield Case(
            f"{kind}_larger",
            [node(kind, "x0 c")],
            {"c": normal(kind, 2, 3, 5) + np.float32(1.5)},
            shapes=[(1, 3, 1)],
        )
    for kind in ("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean"):
        yield Case(f"{kind}_two", [node(kind, "x0 x1")], shapes=[(3, 5), (3, 5)])
        yield Case(f"{kind}_broadcast", [node(kind, "x0 x1")], shapes=[(3, 5), (3, 1)])
    yield Case("Div_two", [node("Exp", "x1", "e"), node("Div", "x0 e")], shapes=[(3, 5), (3, 5)])
    for kind in ("Max", "Min", "Sum", "Mean"):
        yield Case(f"{kind}_three", [node(kind, "x0 x1 c")], {"c": normal(kind, 5)}, shapes=[(3, 5), (3, 5)])
        yield Case(f"{kind}_constant", [node(kind, "x0 c")], {"c": np.float32(0.5)}, shapes=[(3, 5)])
        yield Case(f"{kind}_one", [node(kind, "x0")], shapes=[(3, 5)])
    yield Case("Max_zero", [node("Max", "x0 c")], {"c": np.float32(0)})
    yield Case("x_times_x", [node("Mul", "x0 x0")])
    old = {"broadcast": 1}
    yield Case("Add_6", [node("Add", "x0 c", **old)], {"c": normal("a6", 5)}, shapes=[(3, 5)], opset=6)
    yield Case(
        "Mul_6_axis", [node("Mul", "x0 c", axis=1, **old)], {"c": normal("m6", 3)}, shapes=[(3, 5)], opset=6
    )
    for kind in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"):
        tail = node("Cast", "b", to=TensorProto.FLOAT)
        yield Case(
            f"{kind}_two",
            [node("Round", "x0", "r"), node("Round", "x1", "s"), node(kind, "r s", "b"), tail],
            shapes=[(4,), (4,)],
        )
        yield Case(
            f"{kind}_constant", [node("Round", "x0", "r"), node(kind, "r c", "b"), tail], {"c": np.float32(1)}
        )
        yield Case(
            f"{kind}_left", [node("Round", "x0", "r"), node(kind, "c r", "b"), tail], {"c": np.float32(1)}
        )
    greater = [node("Greater", "x0 c", "a"), node("Less", "x1 c", "b")]
    for kind in ("And", "Or", "Xor"):
        yield Case(
            kind,
            [*greater, node(kind, "a b", "d"), node("Cast", "d", to=TensorProto.FLOAT)],
            {"c": np.float32(0)},
            shapes=[(4,), (4,)],
        )
    yield Case(
        "Not",
        [greater[0], node("Not", "a", "d"), node("Cast", "d", to=TensorProto.FLOAT)],
        {"c": np.float32(0)},
    )
    yield Case("Where", [greater[0], node("Where", "a x0 x1")], {"c": np.float32(0)}, shapes=[(3, 4), (3, 4)])
    yield Case(
        "Where_constants",
        [greater[0], node("Where", "a p q")],
        {"c": np.float32(0), "p": normal("p", 4), "q": np.float32(-2)},
        shapes=[(3, 4)],
    )
    yield Case(
        "Where_mask",
        [node("Where", "m x0 q")],
        {"m": np.array([True, False, True, True]), "q": np.float32(-2)},
        shapes=[(3, 4)],
    )


def moving() -> Iterator[Case]:
    image = [(3, 4, 5)]
    for key, target in {
        "plain": (0, 60),
        "rest": (-1, 60),
        "zeros": (0, 0, -1),
        "split": (-1, 2, 6, 5),
        "same": (0, 3, 4, 5),
    }.items():
        yield Case(f"Reshape_{key}", [node("Reshape", "x0 s")], {"s": ints(*target)}, shapes=image)
        if key != "rest":
            yield Case(
                f"Reshape_{key}_baked",
                [node("Reshape", "x0 s")],
                {"s": ints(*(1 if n == -1 else n for n in target))}
                if key == "split"
                else {"s": ints(*target)},
                shapes=image,
                batch=1,
            )
    yield Case("Reshape_old", [node("Reshape", shape=[0, 60])], shapes=image, opset=1)
    yield Case("Reshape_baked_ones", [node("Reshape", "x0 s")], {"s": ints(1, -1)}, shapes=image, batch=1)
    yield Case(
        "Reshape_no_batch",
        [node("Reshape", "x0 s", "a"), node("Mul", "a c", "b"), node("Reshape", "b t")],
        {"s": ints(-1), "c": normal("nb", 60), "t": ints(1, 3, -1)},
        shapes=image,
        batch=1,
    )
    yield Case(
        "Reshape_fold",
        [
            node("Reshape", "x0 s", "a"),
            node("MatMul", "a w", "b"),
            node("Add", "b c", "d"),
            node("Reshape", "d t"),
        ],
        {"s": ints(-1, 5), "w": normal("fold", 5, 2), "c": normal("foldc", 2), "t": ints(-1, 3, 4, 2)},
        shapes=image,
    )
    yield Case(
        "Reshape_fold_relu",
        [
            node("Reshape", "x0 s", "a"),
            node("Softmax", "a", "b", axis=1),
            node("Relu", "b", "d"),
            node("Reshape", "d t"),
        ],
        {"s": ints(-1, 5), "t": ints(-1, 60)},
        shapes=image,
    )
    shape_chain = [
        node("Shape", "x0", "sh"),
        node("Gather", "sh zero", "n", axis=0),
        node("Unsqueeze", "n ax0", "n1"),
        node("Concat", "n1 rest", "target", axis=0),
        node("Reshape", "x0 target"),
    ]
    chain = {"zero": np.int64(0), "ax0": ints(0), "rest": ints(-1)}
    yield Case("Reshape_by_shape", shape_chain, chain, shapes=image)
    yield Case("Reshape_by_shape_baked", shape_chain, chain, shapes=image, batch=1)
    sizes = [
        node("Shape", "x0", "sh"),
        node("Slice", "sh a b", "n"),
        node("Slice", "sh b c", "m"),
        node("ReduceProd", "m", "p", keepdims=1),
        node("Mul", "n three", "n3"),
        node("Div", "n3 three", "n4"),
        node("Concat", "n4 p", "t", axis=0),
        node("Cast", "t", "tf", to=TensorProto.FLOAT),
        node("Cast", "tf", "ti", to=TensorProto.INT64),
        node("Reshape", "x0 ti"),
    ]
    yield Case(
        "Reshape_by_sizes", sizes, {"a": ints(0), "b": ints(1), "c": ints(4), "three": ints(3)}, shapes=image
    )
    for axis in (0, 1, 2, 3, -1):
        if axis in (1,):
            yield Case(f"Flatten_{axis}", [node("Flatten", axis=axis)], shapes=image)
        yield Case(f"Flatten_{axis}_baked", [node("Flatten", axis=axis)], shapes=image, batch=1)
    yield Case("Flatten", [node("Flatten")], shapes=image)
    for perm in ((0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 3, 2)):
        name = "".join(map(str, perm))
        yield Case(f"Transpose_{name}", [node("Transpose", perm=perm)], shapes=image)
        yield Case(
            f"Transpose_{name}_add",
            [node("Transpose", "x0", "t", perm=perm), node("Add", "t c")],
            {"c": normal(name, [5, 3, 4, 5][perm[-1]])},
            shapes=image,
        )
    yield Case(
        "Transpose_back",
        [
            node("Transpose", "x0", "t", perm=(0, 2, 3, 1)),
            node("Relu", "t", "r"),
            node("Transpose", "r", perm=(0, 3, 1, 2)),
        ],
        shapes=image,
    )
    yield Case(
        "Transpose_batch",
        [
            node("Transpose", "x0", "t", perm=(1, 0, 2)),
            node("Mul", "t c", "m"),
            node("Transpose", "m", perm=(1, 0, 2)),
        ],
        {"c": normal("tb", 3, 1, 4)},
        shapes=[(3, 4)],
    )
    yield Case(
        "Transpose_reverse",
        [node("Transpose", "x0", "t"), node("Relu", "t", "r"), node("Transpose", "r")],
        shapes=[(3, 4)],
    )
    yield Case("Squeeze", [node("Squeeze", "x0 a")], {"a": ints(2)}, shapes=[(3, 1, 5)])
    yield Case("Squeeze_11", [node("Squeeze", axes=[2])], shapes=[(3, 1, 5)], opset=11)
    yield Case(
        "Squeeze_all",
        [node("Squeeze", "x0", "a"), node("Unsqueeze", "a z")],
        {"z": ints(0)},
        shapes=[(3, 1, 5)],
        batch=1,
    )
    yield Case("Unsqueeze", [node("Unsqueeze", "x0 a")], {"a": ints(1, -1)}, shapes=[(3, 5)])
    yield Case("Unsqueeze_11", [node("Unsqueeze", axes=[2])], shapes=[(3, 5)], opset=11)
    yield Case(
        "Unsqueeze_front",
        [node("Unsqueeze", "x0 a", "u"), node("Relu", "u", "r"), node("Squeeze", "r a")],
        {"a": ints(0)},
        shapes=[(3, 5)],
    )
    for axis, index in (
        (1, ints(2, 0)),
        (-1, ints(1, 1, 3)),
        (2, np.int64(1)),
        (1, np.array([[0, 1], [2, 2]])),
    ):
        name = f"Gather_{axis}_{np.size(index)}"
        yield Case(name, [node("Gather", "x0 i", axis=axis)], {"i": index}, shapes=[(3, 4)])
    yield Case("Gather_negative", [node("Gather", "x0 i", axis=1)], {"i": ints(-1, 0)}, shapes=[(3, 4)])
    yield Case(
        "Gather_event",
        [node("Gather", "x0 i", "a", axis=0), node("Unsqueeze", "a z")],
        {"i": np.int64(0), "z": ints(0)},
        shapes=[(3, 4)],
        batch=1,
    )
    yield Case(
        "Embedding",
        [node("Gather", "t x0", axis=0)],
        {"t": normal("table", 301, 3)},
        shapes=[(4,)],
        kinds=["int64"],
        events=[rng("emb").integers(0, 301, (EVENTS, 4))],
    )
    slices = {
        "plain": ((1,), (3,), (1,), (1,)),
        "two": ((0, 1), (2, 100), (1, 2), (1, 2)),
        "back": ((-1,), (-100,), (1,), (-1,)),
        "end": ((1,), (-1,), (-1,), (1,)),
        "batch": ((0, 1), (2**31 - 1, 2), (0, 1), (1, 1)),
        "negative": ((-2,), (2**62,), (3,), (1,)),
    }
    for key, (starts, ends, axes, steps) in slices.items():
        constants = {"s": ints(*starts), "e": ints(*ends), "a": ints(*axes), "p": ints(*steps)}
        yield Case(f"Slice_{key}", [node("Slice", "x0 s e a p")], constants, shapes=image)
    yield Case("Slice_9", [node("Slice", starts=[1, 0], ends=[3, 2], axes=[1, 2])], shapes=image, opset=9)
    yield Case("Split", [node("Split", "x0", "y0 y1", axis=1)], shapes=[(4, 5)], outputs=2, opset=13)
    yield Case(
        "Split_sizes", [node("Split", "x0 s", "y0 y1", axis=2)], {"s": ints(2, 3)}, shapes=[(4, 5)], outputs=2
    )
    yield Case(
        "Split_11", [node("Split", "x0", "y0 y1", axis=1, split=[1, 3])], shapes=[(4, 5)], outputs=2, opset=11
    )
    yield Case(
        "Split_18",
        [node("Split", "x0", "y0 y1 y2", axis=2, num_outputs=3)],
        shapes=[(4, 5)],
        outputs=3,
        opset=18,
    )
    yield Case("Concat", [node("Concat", "x0 x1", axis=1)], shapes=[(2, 5), (3, 5)])
    yield Case("Concat_last", [node("Concat", "x0 x1 x0", axis=-1)], shapes=[(2, 5), (2, 3)])
    yield Case(
        "Concat_constant",
        [node("Concat", "x0 c", axis=1)],
        {"c": normal("cc", 1, 2, 5)},
        shapes=[(3, 5)],
        batch=1,
    )
    yield Case("Expand", [node("Expand", "x0 s")], {"s": ints(1, 3, 5)}, shapes=[(3, 1)])
    yield Case("Expand_one", [node("Expand", "x0 s")], {"s": ints(4, 1)}, shapes=[(1, 5)])
    yield Case("Tile", [node("Tile", "x0 t")], {"t": ints(1, 2, 3)}, shapes=[(2, 3)])
    pads = ints(0, 1, 0, 2, 0, 0, 3, 0)
    yield Case("Pad", [node("Pad", "x0 p")], {"p": pads}, shapes=image)
    yield Case("Pad_value", [node("Pad", "x0 p v")], {"p": pads, "v": np.float32(1.5)}, shapes=image)
    yield Case("Pad_edge", [node("Pad", "x0 p", mode="edge")], {"p": pads}, shapes=image)
    yield Case("Pad_reflect", [node("Pad", "x0 p", mode="reflect")], {"p": pads}, shapes=image)
    yield Case("Pad_negative", [node("Pad", "x0 p")], {"p": ints(0, -1, 1, 0, 0, 0, -2, 0)}, shapes=image)
    yield Case("Pad_axes", [node("Pad", "x0 p  a")], {"p": ints(1, 2), "a": ints(-1)}, shapes=image, opset=18)
    yield Case("Pad_9", [node("Pad", pads=[0, 1, 0, 2, 0, 0, 3, 0], value=0.5)], shapes=image, opset=9)
    for transform in (
        "half_pixel",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_half_pixel_for_nn",
    ):
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
            if transform == "tf_half_pixel_for_nn":
                continue
            given = {"coordinate_transformation_mode": transform, "nearest_mode": rounding, "mode": "nearest"}
            name = f"Resize_{transform}_{rounding}"
            yield Case(
                name,
                [node("Resize", "x0  s", **given)],
                {"s": np.array([1, 1, 2, 1.7], np.float32)},
                shapes=image,
            )
            if rounding == "floor":
                yield Case(
                    f"{name}_down",
                    [node("Resize", "x0   z", **given)],
                    {"z": ints(1, 3, 3, 8)},
                    shapes=image,
                    batch=1,
                )
    yield Case(
        "Resize_10",
        [node("Resize", "x0 s", mode="nearest")],
        {"s": np.array([1, 1, 2, 3], np.float32)},
        shapes=image,
        opset=10,
    )
    yield Case(
        "Resize_axes",
        [
            node(
                "Resize",
                "x0  s",
                mode="nearest",
                axes=[3],
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        ],
        {"s": np.array([2], np.float32)},
        shapes=image,
        opset=18,
    )
    yield Case(
        "Resize_none", [node("Resize", "x0  s", mode="linear")], {"s": np.ones(4, np.float32)}, shapes=image
    )
    yield Case(
        "Upsample_9",
        [node("Upsample", "x0 s", mode="nearest")],
        {"s": np.array([1, 1, 2, 3], np.float32)},
        shapes=image,
        opset=9,
    )
    yield Case(
        "Upsample_7", [node("Upsample", mode="nearest", scales=[1.0, 1.0, 2.0, 2.0])], shapes=image, opset=7
    )
    for mode in ("DCR", "CRD"):
        yield Case(
            f"DepthToSpace_{mode}",
            [node("DepthToSpace", blocksize=2, mode=mode)],
            shapes=[(8, 2, 3)],
            opset=13,
        )
    yield Case("SpaceToDepth", [node("SpaceToDepth", blocksize=2)], shapes=[(2, 4, 6)])


def reducing() -> Iterator[Case]:
    for kind in (
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
    ):
        for key, axes, keep in (("last", [-1], 1), ("two", [1, 3], 0), ("middle", [2], 0)):
            if kind == "ReduceSum":
                yield Case(
                    f"{kind}_{key}",
                    [node(kind, "x0 a", keepdims=keep)],
                    {"a": ints(*axes)},
                    shapes=[(2, 3, 4)],
                )
            else:
                yield Case(f"{kind}_{key}", [node(kind, axes=axes, keepdims=keep)], shapes=[(2, 3, 4)])
    yield Case(
        "ReduceMean_18",
        [node("ReduceMean", "x0 a", keepdims=0)],
        {"a": ints(2)},
        shapes=[(2, 3, 4)],
        opset=18,
    )
    yield Case("ReduceSum_11", [node("ReduceSum", axes=[1], keepdims=0)], shapes=[(2, 3, 4)], opset=11)
    yield Case("ReduceSum_all_baked", [node("ReduceSum", keepdims=1)], shapes=[(2, 3)], batch=1)
    yield Case("ReduceSum_noop", [node("ReduceSum", noop_with_empty_axes=1)], shapes=[(2, 3)])
    yield Case("ReduceLogSum", [node("Exp", "x0", "e"), node("ReduceLogSum", "e", axes=[1])], shapes=[(3,)])
    for kind in ("ArgMax", "ArgMin"):
        for axis, keep in ((-1, 1), (1, 0)):
            tail = node("Cast", "i", to=TensorProto.FLOAT)
            yield Case(
                f"{kind}_{axis}_{keep}",
                [node("Round", "x0", "r"), node(kind, "r", "i", axis=axis, keepdims=keep), tail],
                shapes=[(4, 5)],
            )
    tail = node("Cast", "i", "y1", to=TensorProto.FLOAT)
    for key, given in {"largest": {}, "smallest": {"largest": 0}, "axis": {"axis": 1}}.items():
        yield Case(
            f"TopK_{key}",
            [node("TopK", "x0 k", "y0 i", **given), tail],
            {"k": ints(3)},
            shapes=[(4, 5)],
            outputs=2,
        )
    yield Case(
        "TopK_ties",
        [node("Round", "x0", "r"), node("TopK", "r k", "y0 i"), tail],
        {"k": ints(3)},
        shapes=[(2, 6)],
        outputs=2,
    )
    yield Case("TopK_9", [node("TopK", "x0", "y0 i", k=2), tail], shapes=[(5,)], outputs=2, opset=9)
    yield Case(
        "Softmax", [node("Softmax", "x0", "a"), node("Mul", "a c")], {"c": np.float32(2)}, shapes=[(3, 5)]
    )
    yield Case(
        "Softmax_axis",
        [node("Softmax", "x0", "a", axis=1), node("Mul", "a c")],
        {"c": np.float32(2)},
        shapes=[(3, 5)],
    )
    yield Case(
        "Softmax_11",
        [node("Softmax", "x0", "a"), node("Mul", "a c")],
        {"c": np.float32(2)},
        shapes=[(3, 5)],
        opset=11,
    )
    yield Case("Softmax_end", [node("Softmax", "x0")], shapes=[(5,)])
    for axis, shape in ((-1, (5,)), (1, (3, 5))):
        constants = {"g": normal(f"g{axis}", *shape), "b": normal(f"b{axis}", *shape)}
        yield Case(
            f"LayerNorm_{axis}",
            [node("LayerNormalization", "x0 g b", axis=axis, epsilon=1e-3)],
            constants,
            shapes=[(3, 5)],
        )
    yield Case(
        "LayerNorm_plain",
        [node("LayerNormalization", "x0 g")],
        {"g": np.ones(5, np.float32)},
        shapes=[(3, 5)],
    )
    for key, shape in {"row": (4,), "image": (4, 3, 2)}.items():
        names = ["gamma", "beta", "mean", "variance"]
        constants = {n: np.abs(normal(n + key, 4)) + np.float32(0.1) for n in names}
        yield Case(
            f"BatchNorm_{key}",
            [node("BatchNormalization", ["x0", *names], epsilon=1e-3)],
            constants,
            shapes=[shape],
        )
        yield Case(
            f"BatchNorm_{key}_7",
            [node("BatchNormalization", ["x0", *names], epsilon=1e-3, momentum=0.9)],
            constants,
            shapes=[shape],
            opset=8,
        )


def linear() -> Iterator[Case]:
    w = normal("w", 4, 3)
    yield Case("MatMul", [node("MatMul", "x0 w")], {"w": w})
    yield Case("MatMul_3d", [node("MatMul", "x0 w")], {"w": w}, shapes=[(5, 4)])
    yield Case("MatMul_vector", [node("MatMul", "x0 w")], {"w": normal("v", 4)}, shapes=[(5, 4)])
    yield Case("MatMul_many", [node("MatMul", "x0 w")], {"w": normal("many", 5, 4, 3)}, shapes=[(5, 2, 4)])
    yield Case(
        "MatMul_many_one", [node("MatMul", "x0 w")], {"w": normal("many1", 1, 5, 4, 3)}, shapes=[(5, 2, 4)]
    )
    yield Case("MatMul_left", [node("MatMul", "w x0")], {"w": normal("left", 6, 5)}, shapes=[(5, 4)])
    yield Case("MatMul_two", [node("MatMul", "x0 x1")], shapes=[(3, 4), (4, 2)])
    yield Case(
        "MatMul_turned",
        [node("Transpose", "x1", "t", perm=(0, 2, 1)), node("MatMul", "x0 t")],
        shapes=[(3, 4), (2, 4)],
    )
    yield Case("MatMul_heads", [node("MatMul", "x0 x1")], shapes=[(2, 3, 4), (2, 4, 5)])
    yield Case("MatMul_add", [node("MatMul", "x0 w", "m"), node("Add", "m b")], {"w": w, "b": normal("b", 3)})
    for key, given in {
        "plain": {},
        "b": {"transB": 1},
        "alpha": {"alpha": 0.3, "beta": 1.7},
        "half": {"alpha": 0.5, "beta": 0.25},
    }.items():
        constants = {"w": w.T.copy() if given.get("transB") else w, "b": normal("b", 3)}
        yield Case(f"Gemm_{key}", [node("Gemm", "x0 w b", **given)], constants)
    yield Case("Gemm_no_bias", [node("Gemm", "x0 w")], {"w": w})
    yield Case("Gemm_row", [node("Gemm", "x0 w b")], {"w": w, "b": normal("b", 1, 3)})
    yield Case("Gemm_scalar", [node("Gemm", "x0 w b")], {"w": w, "b": np.float32(0.7)})
    yield Case("Gemm_data", [node("Gemm", "x0 w x1", beta=0.5)], {"w": w}, shapes=[(4,), (3,)])
    yield Case(
        "Gemm_turned",
        [node("Transpose", "x0", "t"), node("Gemm", "t w b", transA=1)],
        {"w": w, "b": normal("b", 3)},
    )
    yield Case("Gemm_6", [node("Gemm", "x0 w b", broadcast=1)], {"w": w, "b": normal("b", 3)}, opset=6)
    for key, size, given in (
        ("plain", (3, 3), {}),
        ("pads", (3, 3), {"pads": [1, 0, 2, 1]}),
        ("stride", (3, 2), {"strides": [2, 1]}),
        ("dilation", (2, 2), {"dilations": [2, 3]}),
        ("upper", (3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ("lower", (2, 2), {"auto_pad": "SAME_LOWER"}),
        ("valid", (3, 3), {"auto_pad": "VALID"}),
        ("all", (3, 2), {"pads": [2, 1, 0, 1], "strides": [2, 2], "dilations": [1, 2]}),
    ):
        for groups in (1, 2, 4):
            constants = {"w": normal(f"conv{key}{groups}", 8, 4 // groups, *size), "b": normal("cb", 8)}
            nodes = [node("Conv", "x0 w b", group=groups, kernel_shape=size, **given)]
            yield Case(f"Conv_{key}_{groups}", nodes, constants, shapes=[(4, 7, 6)])
    yield Case("Conv_1d", [node("Conv", "x0 w", pads=[1, 1])], {"w": normal("c1", 5, 3, 3)}, shapes=[(3, 8)])
    yield Case("Conv_3d", [node("Conv", "x0 w")], {"w": normal("c3", 2, 2, 2, 2, 2)}, shapes=[(2, 3, 4, 3)])
    yield Case(
        "Conv_flatten_gemm",
        [
            node("Conv", "x0 w", "c"),
            node("Relu", "c", "r"),
            node("Flatten", "r", "f"),
            node("Gemm", "f v b"),
        ],
        {"w": normal("cf", 3, 2, 2, 2), "v": normal("cv", 27, 4), "b": normal("cvb", 4)},
        shapes=[(2, 4, 4)],
    )
    yield Case(
        "Conv_add_channel",
        [
            node("Conv", "x0 w", "c"),
            node("Add", "c b", "d"),
            node("Mul", "d s", "e"),
            node("Concat", "e x0", axis=1),
        ],
        {"w": normal("ca", 3, 2, 1, 1), "b": normal("cab", 3, 1, 1), "s": normal("cas", 1, 3, 1, 1)},
        shapes=[(2, 4, 4)],
    )
    yield Case(
        "Conv_residual",
        [node("Conv", "x0 w", "c"), node("Add", "c x0")],
        {"w": normal("cr", 2, 2, 1, 1)},
        shapes=[(2, 3, 4)],
    )
    for equation, shapes in (
        ("bij,jk->bik", [(3, 4), (4, 2)]),
        ("bij,ijk->bik", [(3, 4), (3, 4, 2)]),
        ("...i,ij->...j", [(3, 4), (4, 2)]),
        ("bij,kj->bki", [(3, 4), (2, 4)]),
    ):
        name = f"Einsum_{equation.replace('->', '_').replace(',', '_').replace('.', 'e')}"
        yield Case(
            name,
            [node("Einsum", "x0 w", equation=equation)],
            {"w": normal(name, *shapes[1])},
            shapes=shapes[:1],
        )
    for equation, shapes in (
        ("bij,bjk->bik", [(3, 4), (4, 2)]),
        ("bij,bkj->bik", [(3, 4), (2, 4)]),
        ("bij,bij->bi", [(3, 4), (3, 4)]),
    ):
        name = f"Einsum_two_{equation.replace('->', '_').replace(',', '_')}"
        yield Case(name, [node("Einsum", "x0 x1", equation=equation)], shapes=shapes)
    yield Case("Einsum_one", [node("Einsum", "x0", equation="bij->bji")], shapes=[(3, 4)])
    yield Case("Einsum_sum", [node("Einsum", "x0", equation="bij->bj")], shapes=[(3, 4)])


def pooling() -> Iterator[Case]:
    settings = {
        "plain": {"kernel_shape": [2, 2]},
        "stride": {"kernel_shape": [2, 3], "strides": [2, 2]},
        "pads": {"kernel_shape": [3, 3], "pads": [1, 0, 2, 1], "strides": [2, 2]},
        "ceil": {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
        "ceil_pads": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
        "ceil_drop": {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1, "pads": [1, 1, 0, 0]},
        "upper": {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        "lower": {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
        "valid": {"kernel_shape": [2, 2], "auto_pad": "VALID"},
    }
    for key, given in settings.items():
        yield Case(f"MaxPool_{key}", [node("MaxPool", **given)], shapes=[(3, 7, 6)])
        yield Case(f"AveragePool_{key}", [node("AveragePool", **given)], shapes=[(3, 7, 6)], opset=19)
        if "pads" in given or "auto_pad" in given or "ceil_mode" in given:
            yield Case(
                f"AveragePool_{key}_counted",
                [node("AveragePool", count_include_pad=1, **given)],
                shapes=[(3, 7, 6)],
                opset=19,
            )
    yield Case(
        "MaxPool_dilation", [node("MaxPool", kernel_shape=[2, 2], dilations=[2, 1])], shapes=[(3, 7, 6)]
    )
    yield Case(
        "AveragePool_dilation",
        [node("AveragePool", kernel_shape=[2, 2], dilations=[2, 1])],
        shapes=[(3, 7, 6)],
        opset=19,
    )
    yield Case("MaxPool_1d", [node("MaxPool", kernel_shape=[2], strides=[2])], shapes=[(3, 8)])
    yield Case(
        "AveragePool_1d_7", [node("AveragePool", kernel_shape=[2], strides=[2])], shapes=[(3, 8)], opset=7
    )
    for kind in ("GlobalMaxPool", "GlobalAveragePool"):
        yield Case(kind, [node(kind)], shapes=[(3, 4, 5)])
        yield Case(f"{kind}_flat", [node(kind, "x0", "g"), node("Flatten", "g")], shapes=[(3, 4, 5)])


def recurrent() -> Iterator[Case]:
    steps, features, units = 4, 3, 5
    to_time = node("Transpose", "x0", "t", perm=(1, 0, 2))
    for kind, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        for direction in ("forward", "reverse", "bidirectional"):
            count = 2 if direction == "bidirectional" else 1
            name = f"{kind}_{direction}"
            constants = {
                "w": normal(name + "w", count, gates * units, features),
                "r": normal(name + "r", count, gates * units, units),
                "b": normal(name + "b", count, 2 * gates * units),
            }
            given = {"hidden_size": units, "direction": direction}
            yield Case(
                name,
                [to_time, node(kind, "t w r b", "y0 y1", **given)],
                constants,
                shapes=[(steps, features)],
                outputs=2,
                places=[2, 1],
            )
            yield Case(
                f"{name}_last",
                [to_time, node(kind, "t w r", ["", "y0"], **given)],
                {k: v for k, v in constants.items() if k != "b"},
                shapes=[(steps, features)],
                places=[1],
            )
            if kind == "GRU":
                yield Case(
                    f"{name}_after",
                    [to_time, node(kind, "t w r b", "y0 y1", linear_before_reset=1, **given)],
                    constants,
                    shapes=[(steps, features)],
                    outputs=2,
                    places=[2, 1],
                )
        constants = {
            "w": normal(kind + "w", 1, gates * units, features),
            "r": normal(kind + "r", 1, gates * units, units),
            "b": normal(kind + "b", 1, 2 * gates * units),
            "h": normal(kind + "h", 1, 1, units),
            "n": ints(*[4] * EVENTS),
        }
        states = ["h"] + (["h"] if kind == "LSTM" else [])
        used = {k: v for k, v in constants.items() if k != "n"}
        yield Case(
            f"{kind}_initial",
            [
                node("Transpose", "x0", "t", perm=(1, 0, 2)),
                node(kind, ["t", "w", "r", "b", "", *states], "y0 y1", hidden_size=units),
            ],
            used,
            shapes=[(steps, features)],
            outputs=2,
            places=[2, 1],
            batch=1,
        )
        zeros = [
            node("Shape", "x0", "sh"),
            node("Gather", "sh zero", "n"),
            node("Unsqueeze", "n ax", "n1"),
            node("Concat", "one n1 u", "hs", axis=0),
            node("ConstantOfShape", "hs", "h0"),
            to_time,
            node(kind, ["t", "w", "r", "b", "", *["h0"] * len(states)], ["y", ""], hidden_size=units),
            node("Squeeze", "y ax1", "s"),
            node("Transpose", "s", perm=(1, 0, 2)),
        ]
        more = {"zero": np.int64(0), "ax": ints(0), "one": ints(1), "u": ints(units), "ax1": ints(1)}
        yield Case(
            f"{kind}_torch",
            zeros,
            {k: v for k, v in constants.items() if k not in "hn"} | more,
            shapes=[(steps, features)],
        )
    relu = {"activations": ["Relu"], "hidden_size": units}
    constants = {"w": normal("rw", 1, units, features), "r": normal("rr", 1, units, units)}
    yield Case(
        "RNN_relu",
        [to_time, node("RNN", "t w r", "y0", **relu)],
        constants,
        shapes=[(steps, features)],
        places=[2],
    )
    hard = {
        "activations": ["HardSigmoid", "Tanh", "Tanh"],
        "activation_alpha": [0.25],
        "activation_beta": [0.5],
        "hidden_size": units,
    }
    constants = {"w": normal("hw", 1, 4 * units, features), "r": normal("hr", 1, 4 * units, units)}
    yield Case(
        "LSTM_hard",
        [to_time, node("LSTM", "t w r", "y0", **hard)],
        constants,
        shapes=[(steps, features)],
        places=[2],
    )


FLOAT: dict[str, Callable[[], Iterator[Case]]] = {
    "activations": activations,
    "arithmetic": arithmetic,
    "linear": linear,
    "moving": moving,
    "pooling": pooling,
    "recurrent": recurrent,
    "reducing": reducing,
}
