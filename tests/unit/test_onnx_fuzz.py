# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile ONNX files: an error of ours or a network, in bounded time and memory.

``L1ML_FUZZ=100000 pytest tests/unit/test_onnx_fuzz.py`` tries that many mutations instead of a few.
"""

from __future__ import annotations

import os
import resource
import time
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import onnx_vectors as ov
import pytest
from google.protobuf.message import DecodeError

from l1ml.errors import L1mlError
from l1ml.frontends.onnx import read_onnx
from l1ml.graph.model import Model

MUTATIONS = int(os.environ.get("L1ML_FUZZ", "600"))
SECONDS = 20.0
GIBIBYTES = 3.0
EXTREMES = [0, 1, -1, 2, 3, 7, 255, 2**15, 2**24 + 1, 2**31 - 1, 2**31, -(2**31), 2**62, -(2**63), 2**63 - 1]
KINDS = [
    "Add",
    "MatMul",
    "Conv",
    "Reshape",
    "Gather",
    "Quant",
    "LSTM",
    "Slice",
    "Resize",
    "TopK",
    "Einsum",
    "Pad",
    "Concat",
    "Expand",
    "Trunc",
]

Random = np.random.Generator


@cache
def seeds() -> tuple[bytes, ...]:
    """Real files: one of each family, and those that exporters wrote."""
    cases = [case for _, case in (*ov.float_cases(), *ov.quantized_cases())]
    exported = sorted((ov.VECTORS / "onnx" / "exported").glob("*.onnx"))
    return (*(case.proto().SerializeToString() for case in cases), *(path.read_bytes() for path in exported))


def bytes_changed(data: bytes, rng: Random) -> bytes:
    """Flip, cut, repeat or insert bytes."""
    array = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(0, max(1, len(array))))
        match int(rng.integers(0, 5)):
            case 0:
                array[at : at + 1] = bytes([int(rng.integers(0, 256))])
            case 1:
                del array[at : at + int(rng.integers(1, 40))]
            case 2:
                array[at:at] = array[at : at + int(rng.integers(1, 40))]
            case 3:
                array[at:at] = rng.bytes(int(rng.integers(1, 10)))
            case _:
                del array[at + 1 :]
    return bytes(array)


def joined(data: bytes, rng: Random) -> bytes:
    """Put two files together: protobuf merges what it reads twice."""
    return data + seeds()[int(rng.integers(0, len(seeds())))]


def fields_changed(data: bytes, rng: Random) -> bytes:
    """Change numbers, names, kinds and types of a file that stays well formed."""
    proto = onnx.load_model_from_string(data)
    graph = proto.graph
    names = [n for node in graph.node for n in (*node.input, *node.output)] + [
        t.name for t in graph.initializer
    ]
    for _ in range(int(rng.integers(1, 5))):
        node = graph.node[int(rng.integers(0, len(graph.node)))]
        match int(rng.integers(0, 9)):
            case 0 if node.input:
                node.input[int(rng.integers(0, len(node.input)))] = names[int(rng.integers(0, len(names)))]
            case 1:
                node.op_type = KINDS[int(rng.integers(0, len(KINDS)))]
            case 2 if node.attribute:
                attribute = node.attribute[int(rng.integers(0, len(node.attribute)))]
                value = EXTREMES[int(rng.integers(0, len(EXTREMES)))]
                if attribute.ints:
                    attribute.ints[int(rng.integers(0, len(attribute.ints)))] = value
                attribute.i, attribute.f = value, float(value)
            case 3 if node.attribute:
                node.attribute[int(rng.integers(0, len(node.attribute)))].type = int(rng.integers(0, 15))
            case 4 if graph.initializer:
                _tensor_changed(graph.initializer[int(rng.integers(0, len(graph.initializer)))], rng)
            case 5 if graph.input[0].type.tensor_type.shape.dim:
                dims = graph.input[0].type.tensor_type.shape.dim
                dims[int(rng.integers(0, len(dims)))].dim_value = EXTREMES[
                    int(rng.integers(0, len(EXTREMES)))
                ]
            case 6:
                proto.opset_import[0].version = int(rng.integers(0, 30))
            case 7:
                graph.input[0].type.tensor_type.elem_type = int(rng.integers(0, 28))
            case _:
                del graph.node[int(rng.integers(0, len(graph.node)))]
                if not graph.node:
                    break
    return proto.SerializeToString()


def _tensor_changed(tensor: onnx.TensorProto, rng: Random) -> None:
    value = EXTREMES[int(rng.integers(0, len(EXTREMES)))]
    match int(rng.integers(0, 4)):
        case 0 if tensor.dims:
            tensor.dims[int(rng.integers(0, len(tensor.dims)))] = value
        case 1:
            tensor.data_type = int(rng.integers(0, 28))
        case 2 if tensor.raw_data:
            raw = bytearray(tensor.raw_data)
            at = int(rng.integers(0, len(raw)))
            raw[at : at + 8] = int(value).to_bytes(8, "little", signed=True)[: len(raw) - at]
            tensor.raw_data = bytes(raw)
        case _:
            tensor.dims[:] = [int(rng.integers(0, 6)) for _ in tensor.dims]


def read(data: bytes) -> Model | None:
    """Read a file; an error of ours is fine, it must have a text."""
    try:
        return read_onnx(data, "fuzz.onnx")
    except L1mlError as error:
        assert error.what
        assert len(error.what) < 60_000
        assert error.what.isprintable()
        return None


@pytest.mark.parametrize("mutate", [bytes_changed, joined, fields_changed])
@pytest.mark.timeout(36_000)
def test_no_file_breaks_the_reader(mutate: Callable[[bytes, Random], bytes]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    good = 0
    for number in range(MUTATIONS // 3):
        rng = np.random.default_rng([zlib.crc32(mutate.__name__.encode()), number])
        data = seeds()[int(rng.integers(0, len(seeds())))]
        try:
            data = mutate(data, rng)
        except (DecodeError, ValueError):  # the number does not fit the field
            continue
        start = time.monotonic()
        try:
            good += read(data) is not None
        except Exception as error:
            raise AssertionError(f"mutation {number} of {mutate.__name__}: {error!r}") from error
        assert time.monotonic() - start < SECONDS, f"mutation {number} of {mutate.__name__} takes too long"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    assert grown < GIBIBYTES, f"{grown:.1f} GiB more than before"
    # Some changes of fields do no harm; if none did, the seeds would not be files that can be read.
    assert good > 0 or mutate is not fields_changed


def test_the_seeds_are_read() -> None:
    assert len(seeds()) > 500
    assert sum(read(data) is not None for data in seeds()) > len(seeds()) * 0.97
