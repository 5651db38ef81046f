# SPDX-License-Identifier: Apache-2.0
"""Reads programs of alkaid (ALIR, version 4), which HGQ2, PQuantML and torch models are traced to.

A program is a list of scalar operations; `l1ml.frontends.alir_ops` says what each means.  The ranges that
the file states are used only where they decide a result (wrap-around, the top bit of a condition, the first
entry of a table), never as a promise about values.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np

from l1ml.errors import L1mlError, ModelError
from l1ml.frontends.alir_ops import Operation, Range, Rows, WrongError, is_int, wrapped
from l1ml.graph.layers.traced import Traced
from l1ml.graph.model import Input, Model
from l1ml.graph.primitives import Scalar
from l1ml.graph.scalar import COLUMNS, LIMIT
from l1ml.types.fixed import FixedType, Quantizer
from l1ml.types.intrange import MAX_WIDTH

VERSION = 4
GZIP_MAGIC = b"\x1f\x8b"
MAX_TEXT = 32 * 1024 * 1024
"""Largest file, unpacked.  A program of 100,000 operations has 10 MiB."""

MAX_OPERATIONS = 1 << 19
MAX_PORTS = 1 << 14
MAX_ENTRIES = 1 << 22
LISTED = 20

_NOTHING = Operation([], 5, [0], Range(0.0, 0.0, 1.0))


def is_alir(data: bytes) -> bool:
    """Tell whether the bytes are a program of alkaid: JSON that says so, or anything packed with gzip."""
    if data.startswith(GZIP_MAGIC):
        return True
    names = (b'"ALIRModel"', b'"DAISModel"', b'"ALIRFSM"')
    return data[:64].lstrip()[:1] == b"{" and any(name in data for name in names)


def read_alir(data: bytes, source: str) -> Model:
    """Read a program.

    Args:
        data: the file, plain or packed with gzip.
        source: name of the file, for messages.

    Returns:
        A network of one input and one layer.  The input has the smallest type that holds the types of all
        elements of the program; each element is then truncated and wrapped into its own, as alkaid does.

    Raises:
        ModelError: not a program of version 4, or one that contradicts itself; all problems are named.
    """
    try:
        return _model(_parse(_unpacked(data)), source)
    except L1mlError as error:
        error.where = (source, *error.where)
        raise


def _unpacked(data: bytes) -> bytes:
    """Return the JSON text; its size is bounded while it is unpacked."""
    if data.startswith(GZIP_MAGIC):
        unpack = zlib.decompressobj(wbits=31)
        try:
            data = unpack.decompress(data, MAX_TEXT + 1)
        except zlib.error as error:
            raise ModelError(
                f"the gzip data are damaged: {error}", fix="save or copy the file again"
            ) from error
        if not unpack.eof and len(data) <= MAX_TEXT:
            raise ModelError("the gzip data end early", fix="save or copy the file again")
    if len(data) > MAX_TEXT:
        raise ModelError(f"the program has more than {MAX_TEXT >> 20} MiB of text, unpacked")
    return data


def _parse(text: bytes) -> list[Any]:
    """Return the payload, if it is of the one version that is read."""
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        what = " ".join(str(error).split())[:200]
        raise ModelError(f"not a JSON file: {what}", fix="save or copy the program again") from None
    meta = found.get("meta") if isinstance(found, dict) else None
    if meta == "ALIRFSM":
        raise ModelError(
            "this is a stateful program of alkaid (ALIRFSM); only combinational ones (ALIRModel) are read",
            fix="save the CombLogic of one step",
        )
    if meta not in ("ALIRModel", "DAISModel"):
        raise ModelError(f"not a program of alkaid: 'meta' is {str(meta)[:80]!r}, expected is 'ALIRModel'")
    version = found.get("spec_version")
    if not is_int(version, VERSION, VERSION):
        raise ModelError(
            f"the program has ALIR version {str(version)[:20]}; only version {VERSION} is read",
            fix="let alkaid write it again: alkaid convert OLD.json NEW.json --flavor json",
        )
    model = found.get("model")
    if not isinstance(model, list) or len(model) not in (8, 9):
        raise ModelError("'model' must be a list of 8 or 9 parts: shape, shifts, outputs, operations, tables")
    return model


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of a program")


def _model(parts: list[Any], source: str) -> Model:
    shape, input_shifts, ends, shifts, signs, records = parts[:6]
    if not isinstance(shape, list) or len(shape) != 2 or not all(is_int(n, 1, MAX_PORTS) for n in shape):
        raise ModelError(f"its shape {str(shape)[:80]} is not [inputs, outputs], each 1 to {MAX_PORTS}")
    n_in, n_out = shape
    _check_numbers("input shifts", input_shifts, n_in, -LIMIT, LIMIT)
    _check_numbers("output indices", ends, n_out, -1, MAX_OPERATIONS)
    _check_numbers("output shifts", shifts, n_out, -LIMIT, LIMIT)
    if not isinstance(signs, list) or len(signs) != n_out or not all(n in (0, 1) for n in signs):
        raise ModelError(f"its output signs are not {n_out} times true or false")
    if not isinstance(records, list) or len(records) > MAX_OPERATIONS:
        raise ModelError(f"its operations are not a list of at most {MAX_OPERATIONS}")
    tables, fracs = _tables(parts[8] if len(parts) == 9 else None)
    rows = Rows(n_in, input_shifts, tables, fracs)
    _translate(rows, records)
    lost = [end for end in ends if end >= len(records)]
    if lost:
        raise ModelError(f"an output reads operation {lost[0]} of {len(records)}")
    outputs = [
        (-1 if end < 0 else rows.wire_of[end], shift, int(sign))
        for end, shift, sign in zip(ends, shifts, signs, strict=True)
    ]
    program = Scalar(
        np.array(rows.rows, dtype=np.int64).reshape(-1, COLUMNS),
        np.array(outputs, dtype=np.int64),
        np.array([n for table in tables for n in table], dtype=np.int64),
        tuple(map(len, tables)),
        tuple(fracs),
        (n_out,),
    )
    layers = (
        Input("x", (), (n_in,), _input_quantizer(rows)),
        Traced("program", ("x",), program, f"alkaid, {len(records)} operations"),
    )
    return Model("alkaid", layers, ("program",), source)


def _check_numbers(name: str, found: Any, count: int, low: int, high: int) -> None:
    if not isinstance(found, list) or len(found) != count or not all(is_int(n, low, high) for n in found):
        raise ModelError(f"its {name} are not {count} whole numbers from {low} to {high}")


def _tables(found: Any) -> tuple[list[list[int]], list[int]]:
    """Return entries and fraction bits of all tables."""
    if found is None:
        return [], []
    if not isinstance(found, list):
        raise ModelError("its tables are not a list")
    tables: list[list[int]] = []
    fracs: list[int] = []
    total = 0
    for number, item in enumerate(found):
        try:
            stated, entries = item["spec"]["out_qint"], item["table"]
            kind = Range.read([stated["min"], stated["max"], stated["step"]])
            if not isinstance(entries, list) or not entries:
                raise WrongError("it has no entries")
            if not all(is_int(n, -(1 << 31), (1 << 31) - 1) for n in entries) or abs(kind.point) > LIMIT:
                raise WrongError("its entries are not whole numbers of 32 bits")
        except (KeyError, TypeError, WrongError) as error:
            text = str(error) if isinstance(error, WrongError) else "it has no spec and no entries"
            raise ModelError(f"table {number} is wrong: {text}") from None
        total += len(entries)
        if total > MAX_ENTRIES or len(tables) == MAX_PORTS:
            raise ModelError(f"more than {MAX_PORTS} tables, or more than {MAX_ENTRIES} entries")
        tables.append([wrapped(n, kind.word) for n in entries])
        fracs.append(kind.frac)
    return tables, fracs


def _translate(rows: Rows, records: list[Any]) -> None:
    """Take over all operations; what is wrong with them is collected into one message."""
    problems: list[str] = []
    for number, record in enumerate(records):
        try:
            rows.take(Operation.read(number, record))
        except WrongError as error:
            code = record[1] if isinstance(record, list) and len(record) > 1 else "?"
            problems.append(f"operation {number} (opcode {str(code)[:20]}): {error}")
            rows.take(_NOTHING)
        if len(problems) == LISTED:
            problems.append("and perhaps more")
            break
    if problems:
        raise ModelError("\n  - ".join(["the program contradicts itself:", *problems]))


def _input_quantizer(rows: Rows) -> Quantizer:
    """Return the smallest type that holds the types of all elements of the input."""
    copies = [(op.range, rows.input_shifts[op.data[0]]) for op in rows.operations if op.code == -1]
    kinds = [(kind, shift) for kind, shift in copies if kind.width]
    frac = max((kind.frac + shift for kind, shift in kinds), default=0)
    signed = any(kind.signed for kind, _ in kinds)
    whole = max((kind.width - kind.signed - kind.frac - shift for kind, shift in kinds), default=1)
    width = signed + whole + frac
    if not 0 < width <= MAX_WIDTH:
        raise ModelError(
            f"a type that holds all inputs has {width} bits; at most {MAX_WIDTH} are supported",
            fix="scale the inputs of the program to similar ranges",
        )
    return Quantizer(FixedType(signed, width, signed + whole))
