# SPDX-License-Identifier: Apache-2.0
"""Exports small PyTorch and Brevitas models as ``docs/onnx.md`` says, and records what they answer.

Needs ``pip install torch brevitas onnx onnxscript onnxruntime``; the tests need none of them.
Usage: ``python make_onnx_exports.py [folder]``.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import onnx
import onnxruntime
import torch
from brevitas import quant
from brevitas.export import export_onnx_qcdq, export_qonnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

HERE = Path(__file__).resolve().parent / "onnx" / "exported"
EVENTS = 32


class DeepSets(nn.Module):
    """Particles, features: a shared network, a mean over particles, a network."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU())
        self.outer = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run."""
        return self.outer(self.inner(x).mean(dim=1))


class Recurrent(nn.Module):
    """A recurrent layer over (time, features), the last step, a linear layer."""

    def __init__(self, kind: str, **settings: bool) -> None:
        super().__init__()
        self.cell = getattr(nn, kind)(3, 5, batch_first=True, **settings)
        self.last = nn.Linear(5 * (2 if settings.get("bidirectional") else 1), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run."""
        y, _ = self.cell(x)
        return self.last(y[:, -1])


class Attention(nn.Module):
    """One block of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(6, 18)
        self.norm = nn.LayerNorm(6)
        self.out = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run two heads by hand, as most code does."""
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, 2, 3).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) / 3**0.5, dim=-1)
        y = (weights @ v).transpose(1, 2).reshape(n, t, d)
        return self.norm(x + self.out(y)).sum(dim=1)


def images() -> nn.Module:
    """Convolutions with everything around them."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU6(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, groups=6, padding="same"),
        nn.Conv2d(6, 4, 1),
        nn.LeakyReLU(0.1),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Upsample(scale_factor=2),
        nn.Flatten(),
        nn.Linear(64, 5),
        nn.Softmax(dim=1),
    )


def floats() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Return float models and the shape of one event."""
    return {
        "mlp": (
            nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3), nn.Sigmoid()),
            (6,),
        ),
        "cnn": (images(), (2, 7, 7)),
        "cnn1d": (
            nn.Sequential(
                nn.Conv1d(3, 4, 3, stride=2), nn.ELU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)
            ),
            (3, 9),
        ),
        "deepsets": (DeepSets(), (7, 3)),
        "lstm": (Recurrent("LSTM"), (4, 3)),
        "gru": (Recurrent("GRU", bidirectional=True), (4, 3)),
        "rnn": (Recurrent("RNN"), (4, 3)),
        "attention": (Attention(), (4, 6)),
    }


FIXED = {
    "weight_quant": quant.Int8WeightPerTensorFixedPoint,
    "bias_quant": quant.Int8BiasPerTensorFixedPointInternalScaling,
}
FLOAT = {"weight_quant": quant.Int8WeightPerTensorFloat, "bias_quant": quant.Int32Bias}
CHANNEL = {"weight_quant": quant.Int8WeightPerChannelFloat, "bias_quant": quant.Int32Bias}


def dense(given: dict, act: type, unsigned: type) -> nn.Module:
    """A quantized MLP."""
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=act, bit_width=8, return_quant_tensor=True),
        qnn.QuantLinear(8, 10, bias=True, weight_bit_width=4, return_quant_tensor=True, **given),
        qnn.QuantReLU(act_quant=unsigned, bit_width=5, return_quant_tensor=True),
        qnn.QuantLinear(10, 4, bias=True, weight_bit_width=5, return_quant_tensor=True, **given),
        qnn.QuantIdentity(act_quant=act, bit_width=8),
    )


def convolution(given: dict, act: type, unsigned: type) -> nn.Module:
    """A quantized CNN."""
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=act, bit_width=8, return_quant_tensor=True),
        qnn.QuantConv2d(2, 4, 3, bias=True, weight_bit_width=4, return_quant_tensor=True, **given),
        qnn.QuantReLU(act_quant=unsigned, bit_width=4, return_quant_tensor=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        qnn.QuantLinear(16, 3, bias=True, weight_bit_width=4, return_quant_tensor=True, **given),
        qnn.QuantIdentity(act_quant=act, bit_width=8),
    )


def binary() -> nn.Module:
    """Binary and ternary weights, binary activations."""
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=quant.Int8ActPerTensorFixedPoint, bit_width=8, return_quant_tensor=True),
        qnn.QuantLinear(8, 10, bias=False, weight_quant=quant.SignedBinaryWeightPerTensorConst),
        nn.BatchNorm1d(10),
        qnn.QuantIdentity(act_quant=quant.SignedBinaryActPerTensorConst, return_quant_tensor=True),
        qnn.QuantLinear(10, 4, bias=False, weight_quant=quant.SignedTernaryWeightPerTensorConst),
    )


def bounded() -> nn.Module:
    """Activations with a shape of their own."""
    return nn.Sequential(
        qnn.QuantHardTanh(
            act_quant=quant.Int8ActPerTensorFixedPoint,
            bit_width=6,
            min_val=-1.0,
            max_val=1.0,
            return_quant_tensor=True,
        ),
        qnn.QuantLinear(8, 4, bias=True, weight_bit_width=4, **FIXED),
        qnn.QuantSigmoid(bit_width=6, act_quant=quant.Uint8ActPerTensorFixedPoint),
    )


def truncated() -> nn.Module:
    """An average that is truncated, and a quantized tensor as the result: its scale is an output as well."""
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=quant.Int8ActPerTensorFixedPoint, bit_width=8, return_quant_tensor=True),
        qnn.QuantConv2d(
            2,
            4,
            3,
            bias=False,
            weight_bit_width=4,
            weight_quant=quant.Int8WeightPerTensorFixedPoint,
            return_quant_tensor=True,
        ),
        qnn.QuantReLU(act_quant=quant.Uint8ActPerTensorFixedPoint, bit_width=4, return_quant_tensor=True),
        qnn.TruncAvgPool2d(
            kernel_size=2,
            stride=2,
            trunc_quant=quant.TruncTo8bit,
            bit_width=4,
            float_to_int_impl_type="floor",
        ),
        nn.Flatten(),
    )


def quantized() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Return Brevitas models and the shape of one event."""
    fixed = (quant.Int8ActPerTensorFixedPoint, quant.Uint8ActPerTensorFixedPoint)
    real = (quant.Int8ActPerTensorFloat, quant.Uint8ActPerTensorFloat)
    return {
        "dense_fixed": (dense(FIXED, *fixed), (8,)),
        "dense_float": (dense(FLOAT, *real), (8,)),
        "dense_channel": (dense(CHANNEL, *real), (8,)),
        "conv_fixed": (convolution(FIXED, *fixed), (2, 6, 6)),
        "conv_float": (convolution(FLOAT, *real), (2, 6, 6)),
        "binary": (binary(), (8,)),
        "bounded": (bounded(), (8,)),
        "truncated": (truncated(), (2, 6, 6)),
    }


def trained(model: nn.Module, shape: tuple[int, ...], seed: int) -> nn.Module:
    """Return a model that has seen data: statistics and scales are not what they are initialized to."""
    torch.manual_seed(seed)
    model.train()
    for _ in range(5):
        model(torch.randn(64, *shape))
    return model.eval()


def events(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Return events on the grid of fixed<12,5>."""
    x = np.random.default_rng(seed).normal(0, 1.5, (EVENTS, *shape))
    return torch.from_numpy((np.rint(x * 128).clip(-2048, 2047) / 128).astype(np.float32))


class Calibration(CalibrationDataReader):
    """Hands out events one by one."""

    def __init__(self, x: np.ndarray) -> None:
        self._events = iter([{"x": x[k : k + 1]} for k in range(len(x))])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next event."""
        return next(self._events, None)


TYPES = ["Conv", "Gemm", "MatMul", "Add", "Relu", "Clip", "LeakyRelu", "MaxPool", "Resize", "Flatten"]


def after_training(folder: Path, name: str, x: np.ndarray) -> None:
    """Quantize a float model with ONNX Runtime, in its two formats."""
    source = folder / f"torch_{name}_old.onnx"
    for key, form in {"qdq": QuantFormat.QDQ, "qoperator": QuantFormat.QOperator}.items():
        path = folder / f"runtime_{name}_{key}.onnx"
        quantize_static(
            source,
            path,
            Calibration(x),
            quant_format=form,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            per_channel=key == "qdq",
            op_types_to_quantize=TYPES,
        )
        stripped(path)
        options = onnxruntime.SessionOptions()
        if key == "qdq":  # its own fusions replace what the file says
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (y,) = session.run(None, {"x": x})
        np.savez_compressed(folder / f"runtime_{name}_{key}.npz", x=x, y=y)


def stripped(path: Path) -> None:
    """Remove what exporters write for people: source lines, paths, versions of their machines."""
    model = onnx.load(path)
    for thing in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    ):
        thing.ClearField("doc_string")
        thing.ClearField("metadata_props")
    onnx.save(model, path)


def main(folder: Path) -> None:
    """Export everything."""
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, (model, shape)) in enumerate(floats().items()):
        torch.manual_seed(seed)
        model, x = trained(model, shape, seed), events(shape, seed)
        with torch.no_grad():
            y = model(x).numpy()
        free = {0: torch.export.Dim("batch", min=1, max=4096)}
        old = {"dynamic_axes": {"x": {0: "batch"}}, "input_names": ["x"], "dynamo": False}
        for key, given in {
            "new": {"dynamo": True, "dynamic_shapes": (free,), "external_data": False},
            "old": old,
            "one": {**old, "dynamic_axes": None},
        }.items():
            try:
                torch.onnx.export(
                    model,
                    (x[: 1 if key == "one" else 2],),
                    str(folder / f"torch_{name}_{key}.onnx"),
                    verbose=False,
                    **given,
                )
            except Exception as error:  # noqa: BLE001
                print(f"{name} {key}: {str(error)[:300]}")
                continue
            stripped(folder / f"torch_{name}_{key}.onnx")
        np.savez_compressed(folder / f"torch_{name}.npz", x=x.numpy(), y=y)
        if name in ("mlp", "cnn", "deepsets"):
            after_training(folder, name, x.numpy())
    for seed, (name, (model, shape)) in enumerate(quantized().items()):
        torch.manual_seed(seed)
        model, x = trained(model, shape, seed), events(shape, seed)
        with torch.no_grad():
            y = model(x)
            y = getattr(y, "value", y).numpy()
        for key, export in {"qonnx": export_qonnx, "qcdq": export_onnx_qcdq}.items():
            if key == "qcdq" and name in ("binary", "truncated"):
                continue  # refused by Brevitas, and exported with another rounding than its own
            try:
                export(
                    model, args=x[:1], export_path=str(folder / f"brevitas_{name}_{key}.onnx"), dynamo=False
                )
            except Exception as error:  # noqa: BLE001
                print(f"{name} {key}: {str(error)[:300]}")
                continue
            stripped(folder / f"brevitas_{name}_{key}.onnx")
        np.savez_compressed(folder / f"brevitas_{name}.npz", x=x.numpy(), y=y)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
