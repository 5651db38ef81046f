# SPDX-License-Identifier: Apache-2.0
"""Damaged files: bytes, JSON and YAML values, zip members, HDF5 attributes and protobuf fields, by seed."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import onnx
import yaml

WORDS = (
    b"\x00" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"../../../etc/passwd", b"%s%n", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04",  # noqa: E501
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, -(2**63), 1e308, float("nan"), float("inf"), "", "\x00", "a" * 5000, "../../x",
    "__import__('os').system('false')", [], [[]], {}, {"class_name": "Lambda", "config": {"function": "gASV"}}, [0] * 3000,  # noqa: E501
    {"class_name": "__lambda__", "config": {"value": "gASVAAAA"}}, "quantized_bits(4,0,alpha='auto_po2')", [None, 3], "${HOME}",  # noqa: E501
)  # fmt: skip

Mutation = Callable[[random.Random, bytes], bytes]


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Flip, overwrite, cut, repeat or insert bytes at a few places."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(out)) if out else 0
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[at] = rng.randrange(256)
        elif kind == 2:
            word = rng.choice(WORDS)
            out[at : at + len(word)] = word
        elif kind == 3:
            del out[at : at + rng.choice((1, 4, 64, 4096))]
        elif kind == 4:
            out[at:at] = out[at : at + rng.choice((1, 8, 512))]
        else:
            out = out[: rng.randrange(len(out) + 1)] if rng.random() < 0.2 else out
    return bytes(out)


def json_value(rng: random.Random, value: Any) -> Any:
    """Replace, drop, repeat or rename something somewhere in a JSON value."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        out = dict(value)
        kind = rng.randrange(8)
        if kind == 0:
            del out[key]
        elif kind == 1:
            out[str(rng.choice(VALUES))[:50]] = out.pop(key)
        elif kind == 2:
            other = rng.choice(list(value))
            out[key] = value[other]
        else:
            out[key] = json_value(rng, value[key])
        return out
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        kind = rng.randrange(6)
        if kind == 0:
            return value[:at] + value[at + 1 :]
        if kind == 1:
            return value[: at + 1] + value[at:]
        if kind == 2:
            return value[::-1]
        return [json_value(rng, v) if k == at else v for k, v in enumerate(value)]
    if isinstance(value, int) and not isinstance(value, bool) and rng.random() < 0.4:
        return value + rng.choice((-1, 1, 7, -100, 10**6))
    return rng.choice(VALUES)


def json_text(rng: random.Random, data: bytes) -> bytes:
    """Damage a JSON text in its structure, or in its bytes."""
    if rng.random() < 0.2:
        return damaged(rng, data)
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = json_value(rng, value)
    return json.dumps(value).encode()


def yaml_text(rng: random.Random, data: bytes) -> bytes:
    """Damage a YAML text in its structure, or in its bytes."""
    if rng.random() < 0.4:
        return damaged(rng, data)
    value = yaml.safe_load(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = json_value(rng, value)
    text = yaml.safe_dump(value, sort_keys=False)
    return (
        text + rng.choice(("", "", "", "\n&a [*a, *a]\n", "\n? {}\n: 1\n", "!!python/name:os.system\n"))
    ).encode()


def packed(rng: random.Random, data: bytes) -> bytes:
    """Damage the text inside of gzip data, pack far too much, or damage the packed bytes."""
    kind = rng.random()
    if kind < 0.3:
        return damaged(rng, data)
    if kind < 0.32:
        return gzip.compress(gzip.decompress(data) + b" " * (1 << 26), compresslevel=1, mtime=0)
    return gzip.compress(json_text(rng, gzip.decompress(data)), compresslevel=1, mtime=0)


def hdf5(rng: random.Random, data: bytes) -> bytes:
    """Damage the bytes of an HDF5 file, or rewrite it with other attributes, shapes, links or types."""
    if rng.random() < 0.5:
        return damaged(rng, data)
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for _ in range(rng.choice((1, 2))):
            kind, name = rng.randrange(7), rng.choice(names) if names else "/"
            if kind <= 2 and "model_config" in file.attrs:
                text = file.attrs["model_config"]
                raw = text if isinstance(text, bytes) else str(text).encode()
                file.attrs["model_config"] = json_text(rng, raw).replace(b"\x00", b" ")[:60000]
            elif kind == 3 and name in file:
                del file[name]
                file[name] = h5py.ExternalLink(rng.choice(("/etc/passwd", "other.h5", name)), "/")
            elif kind == 4 and name in file:
                del file[name]
                file[name] = h5py.SoftLink(rng.choice(("/", name, "/nowhere")))
            elif kind == 5 and name in file and isinstance(file[name], h5py.Dataset):
                del file[name]
                file.create_dataset(
                    name, data=rng.choice(([], [float("nan")] * 4, "text", [[1, 2], [3, 4]], [1e300, -1e300]))
                )
            elif name in file and file[name].attrs:
                key = rng.choice(list(file[name].attrs))
                file[name].attrs[key] = rng.choice(([b"a", b"b"], b"\xff\xfe", 3, "x" * 2000, [b""]))
    return buffer.getvalue()


def zipped(rng: random.Random, data: bytes) -> bytes:
    """Damage one member of a zip file and pack it again, or the bytes of the archive."""
    if rng.random() < 0.3:
        return damaged(rng, data)
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        chosen = rng.choice(source.namelist())
        for name in source.namelist():
            inside = source.read(name)
            if name == chosen:
                kind = rng.randrange(8)
                if kind == 0:
                    continue
                if kind == 1:
                    target.writestr("../" + name, inside)
                    continue
                if kind == 2 and len(inside) < 1 << 20 and rng.random() < 0.2:
                    inside = inside + b"\0" * (1 << 26)  # packs to nothing
                elif name.endswith(".json"):
                    inside = json_text(rng, inside)
                elif inside.startswith(b"\x89HDF"):
                    inside = hdf5(rng, inside)
                else:
                    inside = damaged(rng, inside)
            target.writestr(name, inside)
    return out.getvalue()


def protobuf(rng: random.Random, data: bytes) -> bytes:
    """Change fields of an ONNX model, or its bytes."""
    if rng.random() < 0.4:
        return damaged(rng, data)
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    for _ in range(rng.choice((1, 2, 4))):
        kind = rng.randrange(10)
        node = rng.choice(graph.node) if graph.node else None
        tensor = rng.choice(graph.initializer) if graph.initializer else None
        if kind == 0 and node is not None:
            node.op_type = rng.choice([n.op_type for n in graph.node] + ["Loop", "If", "PythonOp", ""])
        elif kind == 1 and node is not None and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(
                [o for n in graph.node for o in n.output] + ["", "lost"]
            )
        elif kind == 2 and node is not None and node.attribute:
            attribute = rng.choice(node.attribute)
            attribute.i, attribute.f = (
                rng.choice((-1, 0, 2**31, 2**62)),
                rng.choice((0.0, float("nan"), 1e38)),
            )
            attribute.ints[:] = rng.choice(([], [-1], [2**40] * 3, list(range(9))))
        elif kind == 3 and tensor is not None:
            tensor.dims[:] = rng.choice(([], [-1], [2**40], [0, 3], [*tensor.dims, 1]))
        elif kind == 4 and tensor is not None:
            tensor.data_type = rng.randrange(0, 30)
        elif kind == 5 and tensor is not None:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", rng.choice(("/etc/passwd", "../secret", "weights.bin"))
        elif kind == 6 and tensor is not None:
            tensor.raw_data = damaged(rng, tensor.raw_data)
        elif kind == 7 and model.opset_import:
            model.opset_import[0].version = rng.choice((0, 1, 6, 9, 999, 2**31))
        elif kind == 8 and graph.node:
            del graph.node[rng.randrange(len(graph.node))]
        elif graph.node:
            graph.node.add().CopyFrom(rng.choice(graph.node))
    return model.SerializeToString()


def mutation_of(file: Path) -> Mutation:
    """Return the kind of damage that suits a file."""
    if file.suffix == ".onnx":
        return protobuf
    if file.suffix == ".json":
        return json_text
    if file.suffix in (".yml", ".yaml"):
        return yaml_text
    if file.suffix == ".gz":
        return packed
    head = file.read_bytes()[:4]
    return zipped if head == b"PK\x03\x04" else hdf5 if head == b"\x89HDF" else damaged


def mutated(file: Path, seed: int) -> bytes:
    """Return the damaged file of a seed; the same seed gives the same bytes, and never the good file."""
    rng = random.Random(f"{file.name}:{seed}")
    good = file.read_bytes()
    while (bad := _mutated(rng, file, good)) == good:
        pass
    return bad


def _mutated(rng: random.Random, file: Path, good: bytes) -> bytes:
    try:
        return mutation_of(file)(rng, good)
    except (
        ValueError, OSError, KeyError, RuntimeError, TypeError, OverflowError, AttributeError, zlib.error,
        yaml.YAMLError,
    ):  # fmt: skip
        return damaged(rng, good)  # the damage itself was impossible: damage the bytes
