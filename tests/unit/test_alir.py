# SPDX-License-Identifier: Apache-2.0
"""Programs of alkaid: the same integers as its own interpreters; everything else is refused."""

from __future__ import annotations

import copy
import gzip
import json
import random
import time
from pathlib import Path
from typing import Any

import alkaid_programs as made
import numpy as np
import pytest
from alkaid._binary import minimal_kif_scalar
from alkaid.types import CombLogic

import l1ml
from l1ml.dataflow.build import Builder, Element
from l1ml.errors import L1mlError, ModelError, RangeError
from l1ml.frontends import alir, alir_ops
from l1ml.graph import build
from l1ml.graph.emulate import Emulator
from l1ml.graph.primitives import Scalar
from l1ml.graph.program import TensorProgram, loads
from l1ml.graph.scalar import Kind
from l1ml.graph.tensor import TensorType
from l1ml.lowering.lower import lower
from l1ml.lowering.scalar import lower_scalar
from l1ml.types.intrange import IntType

EVENTS = 4_000
CASES = sorted(made.BODIES)


def typed(data: bytes, name: str = "p.json") -> TensorProgram:
    return build.to_program(build.input_quantizers(alir.read_alir(data, name), None))


def random_inputs(program: TensorProgram, events: int, seed: int = 1) -> np.ndarray:
    (port,) = program.inputs
    kind, rng = port.quantizer.type, np.random.default_rng(seed)
    codes = rng.integers(kind.lo, kind.hi, (events, *port.shape), endpoint=True)
    codes[: 2 * len(codes) // 10] = rng.choice(
        [kind.lo, kind.lo + 1, -1 if kind.signed else 0, 0, 1, kind.hi], 1
    )
    return codes * 2.0**-kind.frac


def run(data: bytes, x: Any) -> np.ndarray:
    return Emulator(typed(data)).values([np.asarray(x, dtype=float)])[0]


@pytest.mark.parametrize("ternary", [False, True], ids=["binary", "ternary"])
@pytest.mark.parametrize("name", CASES)
def test_emulator_and_wires_equal_alkaid(name: str, ternary: bool, tmp_path: Path) -> None:
    for seed in range(3):
        program = made.program(name, seed, ternary=ternary)
        ours = typed(made.saved(program, tmp_path).read_bytes())
        x = random_inputs(ours, EVENTS)
        expected = program.predict(x)  # alkaid's C++ interpreter
        emulator = Emulator(ours)
        np.testing.assert_array_equal(emulator.values([x])[0], expected)
        if "bits" not in name:  # its Python interpreter gets *all* wrong where there are fraction bits
            slow = np.array([program(event) for event in x[-20:]], dtype=float)
            np.testing.assert_array_equal(slow, expected[-20:])
        flow = lower(ours)
        codes = emulator.input_codes([x])[0]
        wires = flow.emulate(list(codes.reshape(len(x), -1).T))
        types = ours.type_of(ours.outputs[0][1])
        np.testing.assert_array_equal(flow.read(wires, flow.outputs) * 2.0**-types.frac, expected)


@pytest.mark.sim
def test_rtl_equals_alkaid(tmp_path: Path) -> None:
    """All operations in one block, link wrapper included."""
    program = made.program("everything", 2, ternary=True)
    project = l1ml.convert(made.saved(program, tmp_path), output_dir=tmp_path / "prj")
    x = random_inputs(project.program, 4_000)
    np.testing.assert_array_equal(project.predict(x), program.predict(x))
    verdict = project.replay(x)
    assert verdict.passed, str(verdict)


def test_hgq2_model_gives_what_keras_gives() -> None:
    """Recorded by data/make_alkaid_hgq2.py: HGQ2 in Keras, traced by alkaid, read here."""
    folder = Path(__file__).parent / "data"
    data = np.load(folder / "alkaid_hgq2.npz")
    program = typed((folder / "alkaid_hgq2.json.gz").read_bytes())
    assert program.inputs[0].quantizer.type.frac == int(data["frac"])
    x = np.ldexp(data["codes"].astype(float), -int(data["frac"]))
    golden = data["golden"]
    assert len(golden) == 1_000
    assert len(np.unique(golden)) > 100
    np.testing.assert_array_equal(Emulator(program).values([x])[0], golden)


def test_all_opcodes_are_met(tmp_path: Path) -> None:
    met = {op.opcode for name in CASES for t in (False, True) for op in made.program(name, ternary=t).ops}
    assert met == set(range(-2, 12))


@pytest.mark.parametrize("name", CASES)
def test_no_wire_is_wider_than_alkaid_says(name: str, tmp_path: Path) -> None:
    """The ranges of the file are not believed, and what is proven instead is as tight."""
    program = made.program(name, 5)
    data = made.saved(program, tmp_path, "p.json").read_bytes()
    parts = json.loads(data)["model"]
    rows = alir_ops.Rows(made.N_IN, parts[1], *alir._tables(parts[8] if len(parts) == 9 else None))
    alir._translate(rows, parts[5])
    ours = typed(data)
    op = ours.steps[-1].op
    assert isinstance(op, Scalar)
    types = op.follow(ours.inputs[0].type).types
    for wire, theirs in zip(rows.wire_of, program.ops, strict=True):
        assert types[wire].width <= sum(theirs.qint.kif), theirs


def test_a_lying_range_is_not_believed() -> None:
    """A sum that claims to fit two bits keeps all of them, in emulator and wires alike."""
    full = [0.0, 15.0, 1.0]
    data = made.text([[[], -1, [0], full], [[], -1, [1], full], [[0, 1], 0, [0], [0.0, 3.0, 1.0]]], n_in=2)
    x = np.array([[15.0, 15.0], [2.0, 3.0]])
    assert run(data, x).tolist() == [[30.0], [5.0]]
    flow = lower(typed(data))
    assert flow.read(flow.emulate(list(x.astype(int).T)), flow.outputs).tolist() == [[30], [5]]


def test_saved_and_loaded_network_is_the_same(tmp_path: Path) -> None:
    program = typed(made.saved(made.program("tables"), tmp_path).read_bytes())
    again = loads(program.dumps(), "network.json")
    assert again.digest == program.digest
    x = random_inputs(program, 500)
    np.testing.assert_array_equal(Emulator(again).values([x])[0], Emulator(program).values([x])[0])
    assert typed(made.saved(made.program("tables", 1), tmp_path).read_bytes()).digest != program.digest


S8, U4, BIT = [-8.0, 7.5, 0.5], [0.0, 15.0, 1.0], [0.0, 1.0, 1.0]
X4, X8 = [[], -1, [0], U4], [[], -1, [0], S8]
SPEC = {"hash": "", "out_qint": {"min": -1.5, "max": 3.0, "step": 0.5}, "inp_width": 2}
BOTH = [(0, 0, False), (1, 0, False)]
BY_HAND: dict[str, tuple[bytes, list[float], list[list[float]]]] = {
    # name: file, inputs, expected
    "copy wraps": (
        made.text([X4, [[], -1, [0], [-8.0, 7.0, 1.0]]], outputs=BOTH),
        [15, 7, 8], [[15, -1], [7, 7], [8, -8]],
    ),
    "input shift": (made.text([X4], input_shifts=[1]), [0.5, 3, 7.5], [[1], [6], [15]]),
    "outputs": (
        made.text([X4], outputs=[(0, -2, True), (-1, 3, False), (0, 1, False)]),
        [5], [[-1.25, 0, 10]],
    ),
    "quantize": (made.text([X4, [[0], 3, [-1], [0.0, 3.0, 1.0]]]), [5, 15], [[2], [3]]),
    "relu": (made.text([X8, [[0], 2, [], [0.0, 3.0, 1.0]]]), [-3, 2.5, 6.5], [[0], [2], [2]]),
    "constant": (made.text([[[], 5, [-3], [-1.5, -1.5, 0.5]]]), [0], [[-1.5]]),
    "zero": (made.text([[[], 5, [0], [0.0, 0.0, 2.0**127]], X4, [[1, 0], 0, [0], U4]]), [9], [[9]]),
    "add constant": (made.text([X4, [[0], 4, [-5, 2], [-1.25, 13.75, 0.25]]]), [1], [[-0.25]]),
    "mux on an unsigned word": (
        made.text([X4, [[], 5, [1], [1.0, 1.0, 1.0]], [[], 5, [3], [3.0, 3.0, 1.0]],
                   [[1, 2, 0], 6, [-1], [1.0, 1.5, 0.5]]]),
        [7, 8], [[1.5], [1]],
    ),
    "any and all": (
        made.text([X8, [[0], 9, [1], BIT], [[0], 9, [2], BIT]], outputs=[(1, 0, False), (2, 0, False)]),
        [0, -0.5, 7.5], [[0, 0], [1, 1], [1, 0]],
    ),
    "lookup": (
        made.text([[[], -1, [0], [-2.0, 1.0, 1.0]], [[0], 8, [0], [-1.5, 3.0, 0.5]]],
                  tables=[{"spec": SPEC, "table": [6, -3, 0, 1]}]),
        [-2, -1, 0, 1], [[3], [-1.5], [0], [0.5]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name: str) -> None:
    data, inputs, expected = BY_HAND[name]
    assert run(data, [[n] for n in inputs]).tolist() == expected
    reference = CombLogic.from_dict(json.loads(data))
    assert reference.predict(np.array(inputs, dtype=float)[:, None]).tolist() == expected


def test_widths_are_those_of_alkaid() -> None:
    rng = random.Random(3)
    for _ in range(20_000):
        step = 2.0 ** rng.randint(-30, 10)
        low, high = sorted(rng.randint(-(1 << rng.randint(0, 40)), 1 << rng.randint(0, 40)) for _ in range(2))
        if rng.random() < 0.3:
            high = (1 << rng.randint(1, 40)) - rng.randint(-2, 2)
            low = min(low, high)
        kind = alir_ops.Range(low * step, high * step, step)
        k, i, f = minimal_kif_scalar(kind.lo, kind.hi, kind.step)
        assert (kind.signed, kind.width) == (bool(k), k + i + f), kind
        assert kind.width == 0 or kind.frac == f, kind


def test_index_outside_of_a_table_is_the_same_everywhere() -> None:
    """The interpreter stops there; here emulator and hardware go on alike, even for a wrong file."""
    spec = {"hash": "", "out_qint": {"min": 0.0, "max": 15.0, "step": 1.0}, "inp_width": 2}
    data = made.text([X4, [[0], 8, [0], U4]], tables=[{"spec": spec, "table": [7, 5, 3]}])
    x = np.arange(16.0)[:, None]
    expected = [[(7, 5, 3, 0)[n % 4]] for n in range(16)]
    assert run(data, x).tolist() == expected
    flow = lower(typed(data))
    assert flow.read(flow.emulate([np.arange(16)]), flow.outputs).tolist() == expected


@pytest.mark.parametrize("kind", list(Kind))
def test_rows_keep_their_ranges_and_their_wires(kind: Kind) -> None:
    """Random rows on random ranges: nothing leaves what is proven, and the lowering gives the same."""
    rng = np.random.default_rng(int(kind))
    for _ in range(150):
        inputs = [
            IntType(*sorted(rng.integers(-20, 20, 2).tolist()), int(rng.integers(-2, 4))) for _ in range(3)
        ]
        rows = [[int(kind), *rng.integers(0, 3, 3).tolist(), *_parameters(kind, rng)]]
        rows.append(
            [
                int(Kind.ADD),
                3,
                int(rng.integers(0, 4)),
                0,
                int(rng.integers(-2, 3)),
                int(rng.integers(0, 9)),
                0,
            ]
        )
        table = rng.integers(-9, 9, int(rng.integers(1, 40)))
        op = Scalar(np.array(rows), np.array([[3, 1, 0], [4, -1, 1]]), table, (len(table),), (2,), (2,))
        x = TensorType(*(np.array([getattr(t, f) for t in inputs]) for f in ("lo", "hi", "frac")))
        out = op.infer(x)
        codes = np.stack([rng.integers(t.lo, t.hi, 200, endpoint=True) for t in inputs], axis=1)
        result = op.emulate([codes], [x])
        assert (result >= out.lo).all() and (result <= out.hi).all()
        builder = Builder(tuple(inputs))
        layer = builder.layer("l")
        ends = lower_scalar(op, builder, [Element(n, t.frac) for n, t in enumerate(inputs)], x, layer)
        flow = builder.finish(ends, [out.at(0), out.at(1)], [])
        np.testing.assert_array_equal(flow.read(flow.emulate(list(codes.T)), flow.outputs), result)


def _parameters(kind: Kind, rng: np.random.Generator) -> list[int]:
    small = lambda lo, hi: int(rng.integers(lo, hi))  # noqa: E731
    match kind:
        case Kind.LOOKUP:
            return [0, small(-8, 8), small(-2, 4)]
        case Kind.NOT:
            return [small(1, 8) * (1 if rng.random() < 0.5 else -1), small(-2, 4), small(-2, 4)]
        case Kind.ALL:
            return [small(1, 8), small(-2, 4), 0]
        case Kind.ADD | Kind.SUBTRACT:
            return [small(-3, 4), small(0, 6), 0]
        case Kind.CONVERT:
            return [small(-2, 3), small(-2, 5), small(-7, 8)]
    return [small(-4, 5), small(-3, 4), small(-3, 4)]


def wrong(change: Any) -> bytes:
    """A good program with one change to its parsed form."""
    data = json.loads(made.text([[[], -1, [0], S8], [[], -1, [1], U4], [[0, 1], 0, [1], [-8.0, 37.5, 0.5]],
                                 [[2, 1, 0], 6, [0], [-8.0, 37.5, 0.5]]], n_in=2))  # fmt: skip
    change(data)
    return json.dumps(data).encode()


def _set(path: list[Any], value: Any) -> Any:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


OPS = ["model", 5]
REFUSED = {
    "version 3": (_set(["spec_version"], 3), "version 3; only version 4"),
    "version 2": (_set(["spec_version"], 2), "version 2; only version 4"),
    "no version": (_set(["spec_version"], None), "version None"),
    "version true": (_set(["spec_version"], True), "version True"),
    "stateful": (_set(["meta"], "ALIRFSM"), "stateful"),
    "other": (_set(["meta"], "x" * 500), "not a program"),
    "cycle": (_set([*OPS, 2, 0], [3, 1]), "operation 2 .* reads operation 3; only earlier"),
    "itself": (_set([*OPS, 2, 0], [2, 1]), "reads operation 2"),
    "negative address": (_set([*OPS, 2, 0], [-1, 1]), "reads operation -1"),
    "float address": (_set([*OPS, 2, 0], [0.5, 1]), "whole numbers"),
    "true as address": (_set([*OPS, 2, 0], [True, 1]), "whole numbers"),
    "opcode": (_set([*OPS, 2, 1], 99), "unknown opcode; known are -2"),
    "opcode text": (_set([*OPS, 2, 1], "0" * 10**4), "unknown opcode"),
    "data missing": (_set([*OPS, 2, 2], []), "2 addresses and 0 data"),
    "data too large": (_set([*OPS, 2, 2], [1 << 64]), "64 bits"),
    "shift": (_set([*OPS, 2, 2], [10**9]), "shift 1000000000"),
    "step": (_set([*OPS, 2, 3], [0.0, 1.0, 0.3]), "power of two"),
    "step 0": (_set([*OPS, 2, 3], [0.0, 1.0, 0.0]), "power of two"),
    "empty range": (_set([*OPS, 2, 3], [1.0, 0.0, 1.0]), "min <= max"),
    "huge range": (_set([*OPS, 2, 3], [0.0, 1e30, 2.0**-40]), "62 bits"),
    "range of text": (_set([*OPS, 2, 3], ["a", 1, 1]), r"\[min, max, step\]"),
    "infinite": (_set([*OPS, 2, 3], [0.0, float("inf"), 1.0]), "Infinity is no number"),
    "short record": (_set([*OPS, 2], [[0, 1], 0]), "addresses, opcode"),
    "no record": (_set([*OPS, 2], None), "addresses, opcode"),
    "input": (_set([*OPS, 1, 2], [2]), "reads input 2 of 2"),
    "table": (_set([*OPS, 3], [[0], 8, [0], U4, 0, 0]), "table 0 of 0"),
    "bit operation": (_set([*OPS, 3], [[0], 9, [7], U4, 0, 0]), "unknown operation 7 on bits"),
    "not of another width": (
        _set([*OPS, 3], [[0], 9, [0], U4, 0, 0]),
        "inverts a word of 5 bits into one of 4",
    ),
    "product step": (_set([*OPS, 3], [[0, 1], 7, [], [-120.0, 113.0, 1.0], 0, 0]), "product of its operands"),
    "output": (_set(["model", 2], [4]), "output reads operation 4 of 4"),
    "output shift": (_set(["model", 3], [1000]), "output shifts"),
    "sign": (_set(["model", 4], [2]), "output signs"),
    "outputs": (_set(["model", 2], []), "output indices"),
    "shape": (_set(["model", 0], [10**9, 1]), "shape"),
    "shape 0": (_set(["model", 0], [2, 0]), "shape"),
    "parts": (_set(["model"], []), "8 or 9 parts"),
    "operations": (_set(["model", 5], {}), "not a list"),
    "tables": (lambda d: d["model"].append([{"table": [1]}]), "table 0 is wrong"),
    "tables of text": (lambda d: d["model"].append("abc"), "not a list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    change, message = REFUSED[name]
    with pytest.raises(ModelError, match=f"(?s){message}.*in  p.json"):
        try:
            typed(wrong(change))
        except ModelError as error:
            raise ModelError(str(error)) from None
    typed(wrong(lambda _: None))  # the change is what is refused


def test_all_problems_are_told_at_once() -> None:
    def change(data: Any) -> None:
        data["model"][5][0][2] = [9]
        data["model"][5][2][1] = 99

    with pytest.raises(ModelError, match=r"(?s)operation 0 \(opcode -1\).*operation 2 \(opcode 99\)"):
        typed(wrong(change))


def test_containers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    good = wrong(lambda _: None)
    assert typed(gzip.compress(good)).digest == typed(good).digest
    with pytest.raises(ModelError, match="end early"):
        alir.read_alir(gzip.compress(good)[:-20], "p")
    with pytest.raises(ModelError, match="damaged"):
        alir.read_alir(gzip.compress(good)[:10] + b"\xff" * 50, "p")
    with pytest.raises(ModelError, match="more than 32 MiB"):
        alir.read_alir(gzip.compress(b"0" * (200 << 20), 9), "p")  # a bomb
    for deep in (b"[" * 100_000, b'{"model":' * 50_000, good[:-5], b"", b"\xff\xfe{}", b'{"a":1e999999}'):
        with pytest.raises(ModelError):
            alir.read_alir(deep, "p")
    monkeypatch.setattr(alir, "MAX_ENTRIES", 3)
    with pytest.raises(ModelError, match="entries"):
        typed(BY_HAND["lookup"][0])


def test_too_wide_words_name_the_row() -> None:
    square: list[list[Any]] = [[[], -1, [0], [0.0, 2.0**20 - 1, 1.0]]]
    for k in range(2):
        top = (2.0**20 - 1) ** (2 << k)
        square.append([[k, k], 7, [], [0.0, min(top, 2.0**61), 1.0]])
    with pytest.raises(RangeError, match="62"):
        typed(made.text(square))


def test_is_told_from_keras() -> None:
    assert alir.is_alir(wrong(lambda _: None))
    assert alir.is_alir(gzip.compress(b"anything"))
    assert not alir.is_alir(b'{"class_name": "Functional"}')
    assert not alir.is_alir(b"\x89HDF\r\n")


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    """Every change to a real file gives a network or one of our errors, soon."""
    rng = random.Random(7)
    sources = [json.loads(made.saved(made.program(name), tmp_path, "p.json").read_bytes()) for name in
               ("tables", "bits", "clip", "products")]  # fmt: skip
    read = 0
    for _ in range(1_500):
        data = copy.deepcopy(rng.choice(sources))
        for _ in range(rng.randint(1, 3)):
            _mutate(data, rng)
        start = time.monotonic()
        try:
            program = typed(json.dumps(data).encode())
            Emulator(program).values([random_inputs(program, 5)])
            read += 1
        except L1mlError:
            pass
        assert time.monotonic() - start < 5
    assert 50 < read < 1_450  # both happen


def _mutate(data: Any, rng: random.Random) -> None:
    """Change one value somewhere, mostly among the operations."""
    where, parts = rng.random(), data.get("model")
    if where < 0.97 and isinstance(parts, list) and len(parts) > 5:
        data = parts[5] if where < 0.8 and isinstance(parts[5], list) else parts
    while data:
        key = rng.choice(list(data) if isinstance(data, dict) else range(len(data)))
        if isinstance(data[key], list | dict) and rng.random() < 0.95:
            data = data[key]
            continue
        old = data[key]
        choices: list[Any] = [
            0,
            1,
            -1,
            7,
            63,
            127,
            1 << 31,
            -(1 << 63),
            1 << 70,
            0.5,
            1e300,
            None,
            "x",
            [],
            {},
            True,
        ]
        if isinstance(old, int | float) and not isinstance(old, bool):
            choices += [old + 1, old - 1, -old, old * 2, old / 2, int(old) ^ 1] * 10
        data[key] = rng.choice(choices)
        return
