# SPDX-License-Identifier: Apache-2.0
"""Preprocessing functions: what NumPy gives is what the block gives, bit for bit; the rest is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import alkaid_programs
import numpy as np
import preprocess_functions
import pytest

import l1ml
from l1ml.cli import main
from l1ml.config import write_yaml
from l1ml.errors import ConfigError, L1mlError, ModelError
from l1ml.events.sample import EventSample, consecutive
from l1ml.events.writer import EventWriter
from l1ml.frontends import alir
from l1ml.graph import build
from l1ml.graph.emulate import Emulator
from l1ml.graph.model import Input, Model, Relu
from l1ml.graph.program import TensorProgram, loads
from l1ml.lowering.lower import lower
from l1ml.preprocess import load_function, prepend, raw_inputs
from l1ml.preprocess.functions import FUNCTIONS
from l1ml.preprocess.traced import EVENTS

RAW = {"x": ("fixed<8,8>", (4, 3))}
COUNT = 3_000


def anything(shape: tuple[int, ...]) -> Model:
    """A network that gives its input back: what is compared is the preprocessing."""
    return Model("m", (Input("net_in", (), shape), Relu("unused", ("net_in",))), ("net_in",))


def traced(
    function: Callable[..., Any], raw: Any = None, shape: tuple[int, ...] | None = None, **more: Any
) -> TensorProgram:
    """The typed program of a function alone."""
    raw = RAW if raw is None else raw
    if shape is None:
        zeros = {p.name: np.zeros((EVENTS, *p.shape)) for p in raw_inputs(raw)}
        shape = np.shape(function(**zeros))[1:]
    model = prepend(anything(shape), function, raw, **more)
    return build.to_program(build.input_quantizers(model, None))


def raw_events(raw: Any, events: int, seed: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    out = {}
    for port in raw_inputs(raw):
        assert port.quantizer is not None
        kind = port.quantizer.type
        codes = rng.integers(kind.lo, kind.hi, (events, *port.shape), endpoint=True)
        codes[0], codes[1], codes[2] = kind.lo, kind.hi, 0
        out[port.name] = codes * 2.0**-kind.frac
    return out


@pytest.mark.parametrize("name", sorted(preprocess_functions.FUNCTIONS))
def test_numpy_emulator_and_wires_agree(name: str) -> None:
    function = preprocess_functions.FUNCTIONS[name]
    program = traced(function)
    events = raw_events(RAW, COUNT)
    expected = np.asarray(function(**events), dtype=float)  # the same function, on plain arrays
    emulator = Emulator(program)
    np.testing.assert_array_equal(emulator.values(list(events.values()))[0], expected)
    again = Emulator(loads(program.dumps(), "network.json"))
    np.testing.assert_array_equal(again.values(list(events.values()))[0], expected)
    flow = lower(program)
    codes = emulator.input_codes(list(events.values()))[0].reshape(COUNT, -1)
    types = program.type_of(program.outputs[0][1])
    made = flow.read(flow.emulate(list(codes.T)), flow.outputs).reshape(COUNT, *types.shape)
    np.testing.assert_array_equal(made * 2.0**-types.frac, expected)


def test_every_code_of_a_table() -> None:
    """All 65,536 words of a 16-bit field."""

    def prepare(x: Any) -> Any:
        return l1ml.quantize(np.sqrt(x / 32) * 0.37, "ufixed<9,5,RND_CONV,SAT>")

    program = traced(prepare, {"x": ("ufixed<16,16>", 1)})
    words = np.arange(1 << 16, dtype=float)[:, None]
    np.testing.assert_array_equal(Emulator(program).values([words])[0], prepare(words))


def test_function_changes_the_digest() -> None:
    a = traced(lambda x: x[:, 0] + 1)
    assert a.digest != traced(lambda x: x[:, 0] + 2).digest
    assert a.digest == traced(lambda x: 1 + x[:, 0, :]).digest


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "event picked": (lambda x: x[0], "first axis counts events"),
    "event axis dropped": (lambda x: x.reshape(-1, 3), "first axis counts events"),
    "events reversed": (lambda x: x[::-1], "first axis counts events"),
    "events transposed": (lambda x: x.T, "first axis counts events"),
    "sum over events": (lambda x: x.sum(axis=0), "event axis"),
    "sum over all": (lambda x: np.sum(x), "give the axis"),
    "joined events": (lambda x: np.concatenate([x, x]), "event axis"),
    "different per event": (lambda x: x[:, 0] * np.arange(EVENTS)[:, None], "differs from event to event"),
    "if": (lambda x: x if x[0, 0, 0] > 3 else -x, "picked|not known"),
    "if on all": (lambda x: x if np.any(x > 3, axis=2) else -x, "np.where"),
    "real result": (lambda x: x * 0.1, "real numbers.*l1ml.quantize"),
    "sine": (lambda x: np.sin(x), "real numbers"),
    "real sum": (lambda x: np.sin(x).sum(axis=1), "real numbers"),
    "logarithm of 0": (lambda x: l1ml.quantize(np.log(np.abs(x)), "fixed<8,4>"), "-inf for 1 of 256"),
    "two tensors": (
        lambda x: l1ml.quantize(np.arctan2(x[:, 0], x[:, 1]), "fixed<8,4>"),
        "two different tensors",
    ),
    "quotient": (lambda x: l1ml.quantize(x[:, 0] / x[:, 1], "fixed<8,4>"), "two different tensors"),
    "in place": (lambda x: x.__iadd__(1), "in place"),
    "element set": (lambda x: x.__setitem__(0, 1), "in place"),
    "as array": (lambda x: np.asarray(x) + 1, "plain NumPy array"),
    "float": (lambda x: float(x), "not known"),
    "loop": (lambda x: sum(x), "loop over events"),
    "table by index": (lambda x: np.arange(256)[x], "l1ml.lookup"),
    "table too short": (lambda x: l1ml.lookup(np.arange(255), x + 128), "nan for 1 of 256"),
    "positions": (lambda x: np.where(x > 3), "positions"),
    "no such function": (lambda x: np.linalg.norm(x, axis=1), "np.norm cannot be traced"),
    "no such ufunc": (lambda x: np.add.accumulate(x, axis=1), "accumulate cannot be traced"),
    "no such method": (lambda x: x.tolist(), "has no 'tolist'"),
    "bits of fractions": (lambda x: (x * 0.5) & 1, "fraction bits"),
    "decimals": (lambda x: np.round(x, 2), "decimal places"),
    "bool sum": (lambda x: (x > 1) + (x < 1), r"write a \| b"),
    "wrong shape": (lambda x: x[:, 0], r"shape \(4, 3\) per event, not \(3,\)"),
    "nothing": (lambda x: None, "a NoneType"),
    "own mistake": (lambda x: x[:, 7], "IndexError: index 7 is out of bounds"),
    "type": (lambda x: l1ml.quantize(x, "fixed<8>"), "not a fixed-point type"),
    "matrix of reals": (lambda x: x @ np.full((3, 3), 0.1), "holds real numbers"),
    "axes do not meet": (lambda x: x + x[:, :, 0], "event axes do not meet"),
    "wide": (lambda x: ((x**4) ** 4) * x, "53|62 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    function, message = REFUSED[name]
    with pytest.raises(L1mlError) as caught:
        traced(function, shape=(4, 3))
    text = str(caught.value)
    with pytest.raises(AssertionError, match=f"(?s){message}"):  # pytest's own matcher, over all lines
        raise AssertionError(text)
    assert "preprocess" in text


def test_errors_name_the_line() -> None:
    def prepare(x: Any) -> Any:
        y = x - 1
        return np.fft.fft(y)

    line = inspect.getsourcelines(prepare)[1] + 2
    with pytest.raises(
        ModelError, match=rf"prepare > test_preprocess.py, line {line}: return np.fft.fft\(y\)"
    ):
        traced(prepare, shape=(4, 3))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "needs the types"),
        ({}, "needs the types"),
        ({"x": "fixed<8,8>"}, "expected are a type and the shape"),
        ({"x": ("fixed<8,8>", (0,))}, "the shape"),
        ({"x": ("fixed<8,8>", ())}, "the shape"),
        ({"x": ("fixed<8,8>", (True,))}, "the shape"),
        ({"x": ("fixed<a,8>", (3,))}, "not a fixed-point type"),
        (
            {"x": ("fixed<8,8>", 3), "y": ("fixed<8,8>", 3)},
            "none is there for the field 'y'|none for the field 'y'",
        ),
        ({"unused": ("fixed<8,8>", 3)}, "has the name of a layer"),
    ],
)
def test_wrong_raw_types(raw: Any, message: str) -> None:
    with pytest.raises(L1mlError, match=message):
        prepend(anything((3,)), lambda x: x, raw)


def test_several_fields_and_inputs() -> None:
    raw = {"pt": ("ufixed<10,10>", 3), "eta": ("fixed<8,8>", 3), "met": ("ufixed<6,5>", [1])}

    def prepare(eta: Any, pt: Any, met: Any) -> Any:
        return {"a": np.stack([pt, eta * 0.5], axis=-1), "b": np.where(pt > 100, met, 0)}

    layers = (Input("a", (), (3, 2)), Input("b", (), (3,)), Relu("end", ("a",)))
    model = prepend(Model("m", layers, ("end", "b")), prepare, raw)
    program = build.to_program(build.input_quantizers(model, None))
    assert [p.name for p in program.inputs] == ["pt", "eta", "met"]
    events = raw_events(raw, 500)
    expected = prepare(**events)
    got = Emulator(program).values([events[p.name] for p in program.inputs])
    np.testing.assert_array_equal(got[0], np.maximum(expected["a"], 0))
    np.testing.assert_array_equal(got[1], expected["b"])
    with pytest.raises(ModelError, match=r"gives \['a'\]; the network reads \['a', 'b'\]"):
        prepend(Model("m", layers, ("end", "b")), lambda pt, eta, met: {"a": pt}, raw)


def test_input_type_behind_the_function() -> None:
    events = raw_events(RAW, 500)
    kind = "fixed<6,4,RND_CONV,SAT>"
    program = traced(lambda x: x[:, 0] * 0.375, input_type=kind)
    expected = l1ml.quantize(events["x"][:, 0] * 0.375, kind)
    np.testing.assert_array_equal(Emulator(program).values([events["x"]])[0], expected)
    assert (
        traced(lambda x: x[:, 0] * 0.5, input_type="fixed<8,7>").digest
        == traced(lambda x: x[:, 0] * 0.5).digest
    )
    with pytest.raises(
        ModelError, match=r"fixed<8,8> does not hold what the function gives.*\n.*\n.*RND_CONV,SAT"
    ):
        traced(lambda x: x[:, 0] * 0.5, input_type="fixed<8,8>")


# ---- a whole project: words of the Global Trigger's jets before a network traced by alkaid

JETS = {"et": ("ufixed<11,11>", 4), "eta": ("fixed<8,8>", 4), "phi": ("ufixed<8,8>", 4)}


def jets(et: Any, eta: Any, phi: Any) -> Any:
    """From hardware units to the inputs of a network of 6 inputs."""
    energy = l1ml.quantize(np.log2(np.maximum(et, 1)), "ufixed<6,4,RND_CONV,SAT>")
    forward = np.where(np.abs(eta) > 57, energy, 0)
    angle = phi * (2 * np.pi / 144)
    x, y = (l1ml.quantize(f(angle), "fixed<6,2,RND_CONV,SAT>") for f in (np.cos, np.sin))
    sums = [np.sum(energy * part, axis=1) for part in (x, y)]
    leading = [
        np.max(energy, axis=1),
        np.max(forward, axis=1),
        np.floor(eta[:, 0] / 8),
        np.minimum(et[:, 0], 255),
    ]
    return l1ml.quantize(np.stack([*sums, *leading], axis=1), "fixed<9,6,RND_CONV,SAT>")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return alkaid_programs.saved(alkaid_programs.program("network", 4), tmp_path)


def _expected(network: Path, events: dict[str, np.ndarray]) -> np.ndarray:
    own = alir.read_alir(network.read_bytes(), "p").inputs[0].quantizer
    assert own is not None
    given = l1ml.quantize(jets(**events), str(own.type)[:-1] + ",RND_CONV,SAT>")
    return alkaid_programs.CombLogic.load(network).predict(given)


def _convert(network: Path, folder: Path) -> l1ml.Project:
    own = alir.read_alir(network.read_bytes(), "p").inputs[0].quantizer
    assert own is not None
    kind = str(own.type)[:-1] + ",RND_CONV,SAT>"
    return l1ml.convert(
        network, output_dir=folder, preprocess=jets, raw_type=JETS, input_type=kind, links={"links_in": 2}
    )


def test_project_takes_raw_words(network: Path, tmp_path: Path) -> None:
    project = _convert(network, tmp_path / "prj")
    events = raw_events(JETS, 2_000)
    np.testing.assert_array_equal(project.predict(events), _expected(network, events))
    assert [p["name"] for p in project.manifest["inputs"]] == ["et", "eta", "phi"]
    assert project.config.preprocess == "jets"
    assert project.config.raw_type is not None
    assert project.config.raw_type["eta"] == {"type": "fixed<8,8>", "shape": [4]}
    again = l1ml.Project.load(tmp_path / "prj")  # without the function
    np.testing.assert_array_equal(again.predict(events), project.predict(events))
    assert any(name.startswith("pre") for name in again.trace({k: v[:5] for k, v in events.items()}))
    # What was stored cannot be converted again by itself: a file never runs code.
    with pytest.raises(ConfigError, match=r"preprocessed by 'jets'.*\n.*\n.*--preprocess FILE.py:FUNCTION"):
        l1ml.convert(network, config=project.config.to_mapping(), output_dir=tmp_path / "other")


@pytest.mark.sim
def test_replay_of_raw_words_with_golden(network: Path, tmp_path: Path) -> None:
    project = _convert(network, tmp_path / "prj")
    events = raw_events(JETS, 1_000)
    golden = _expected(network, events)
    bx, orbit = consecutive(1_000)
    file = tmp_path / "raw.h5"
    with EventWriter(file) as out:
        out.append(EventSample(inputs=events, bx=bx, orbit=orbit, golden={"logits": golden}))
    verdict = project.replay(file)
    assert verdict.passed, str(verdict)
    assert "golden" in str(verdict)
    golden[7, 0] += 0.125
    with EventWriter(tmp_path / "wrong.h5") as out:
        out.append(EventSample(inputs=events, bx=bx, orbit=orbit, golden={"logits": golden}))
    assert not project.replay(tmp_path / "wrong.h5").passed


PYTHON = """
import numpy as np
import l1ml
from beside import STEP

def prepare(word):
    return l1ml.quantize(word * STEP, "fixed<6,3,RND_CONV,SAT>")

broken = 3
"""


def test_command_line(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "beside.py").write_text("STEP = 0.3\n")
    (tmp_path / "prepare.py").write_text(PYTHON)
    config = tmp_path / "c.yml"
    options = {"model": str(network), "output_dir": str(tmp_path / "prj"), "preprocess": "prepare"}
    write_yaml(config, {**options, "raw_type": {"word": {"type": "fixed<8,8>", "shape": [6]}}})
    assert main(["convert", "--config", str(config), "--preprocess", f"{tmp_path}/prepare.py:prepare"]) == 0
    assert l1ml.Project.load(tmp_path / "prj").program.inputs[0].name == "word"
    capsys.readouterr()
    assert main(["convert", "--config", str(config)]) == 2
    assert "cannot run code" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prepare.py", "write path/file.py:function"),
        ("prepare.txt:f", "write path/file.py:function"),
        ("none.py:f", "there is no file"),
        ("prepare.py:prepar", "did you mean prepare"),
        ("prepare.py:broken", "no function 'broken'"),
        ("wrong.py:f", "ZeroDivisionError"),
        ("prepare.py:a b", "write path"),
    ],
)
def test_wrong_files(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prepare.py").write_text("def prepare(x):\n    return x\n\nbroken = 3\n")
    (tmp_path / "wrong.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=message):
        load_function(text)


def test_the_manual_lists_what_there_is(root: Path) -> None:
    text = (root / "docs" / "preprocess.md").read_text(encoding="utf-8")
    table = text.split("## What can be used")[1].split("NumPy does not pass")[0]
    named = {
        name.removeprefix("np.")
        for part in table.split("`")[1::2]
        for name in part.split()
        if name[:3] == "np."
    }
    functions = {f.__name__ for f in FUNCTIONS} - {
        "amax",
        "amin",
        "around",
        "copy",
        "shape",
        "ndim",
        "size",
        "nan_to_num",
    }
    assert not functions - named, "not in the manual"
    assert all(name in functions or isinstance(getattr(np, name), np.ufunc) for name in named)
