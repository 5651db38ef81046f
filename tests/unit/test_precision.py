# SPDX-License-Identifier: Apache-2.0
"""Post-training types: every layer of a float model gets integers near the float results, and nothing wraps unsaid."""

from __future__ import annotations

import numpy as np
import pytest
from float_networks import EVENTS, LAYERS, case, network, relative, typed

from l1ml.calibration import calibrate
from l1ml.graph import build, model, precision, real
from l1ml.graph.emulate import Emulator
from l1ml.graph.precision import report


@pytest.mark.parametrize("name", LAYERS)
def test_the_marked_network_computes_the_same(name: str) -> None:
    net, x = case(name)
    marked = precision.structure(net, precision.Settings.of("auto"))
    before, after = real.run(net, [x]), real.run(marked.model, [x])
    shared = [key for key in before if key in after]
    assert net.outputs[0] in shared
    for key in shared:
        np.testing.assert_allclose(after[key], before[key], rtol=2e-4, atol=2e-5, err_msg=key)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_has_integers_near_the_float_results(name: str) -> None:
    net, x = case(name)
    wide, made = typed(net, {"model": "auto", "auto": {"table_width": 16}}, x)
    narrow, _ = typed(net, {"model": "auto", "auto": {"width": 8, "table_width": 8}}, x)
    text, _ = typed(net, "fixed<16,6>", x)
    errors = [relative(net, program, x) for program in (wide, narrow, text)]
    assert errors[0] < 2e-3, errors
    assert errors[1] < 0.2, errors
    assert errors[2] < 5e-2, errors
    assert errors[0] < errors[1] / 4, f"16 bits must be better than 8: {errors}"
    again = calibrate(net, made.config)  # without events: every type is written out
    same = build.to_program(build.input_quantizers(again.model, again.config.input_type), strict=True)
    assert same.digest == wide.digest
    assert again.config == made.config


@pytest.mark.parametrize("name", ["dense", "conv", "lstm", "layer norm", "softmax inside", "prelu"])
def test_the_simulation_in_floating_point_is_the_program(name: str) -> None:
    net, x = case(name)
    program, made = typed(net, {"model": "auto", "auto": {"width": 9, "table_width": 9}}, x)
    constants = precision.with_constants(made.structure, made.types)
    (found, *_), counts = precision.simulate(made.structure, constants, made.types, [x])
    lsb = min(
        2.0**-k.type.frac for s, k in made.types.items() if s.layer == net.outputs[0] and not s.constant
    )
    exact = Emulator(program).values([x])[0]
    assert (found == exact).mean() > 0.99, "float32 may round differently at rare ties"
    assert np.abs(found - exact).max() <= 4 * lsb
    assert all(count.values >= len(x) for count in counts.values())
    assert not any(count.wraps for count in counts.values())


def test_overflows_are_counted_one_by_one() -> None:
    net = network((1,), model.Dense("d", ("x",), np.array([[2.0]]), None, exact=False))
    x = np.array([[0.5], [0.875], [-1.0], [1.0], [-1.125], [1.5]])  # two of them exactly at the ends
    for modes, name in (("", "saturated"), (",TRN,WRAP", "wrapped")):
        entry = {"weight": "fixed<4,3>", "output": f"fixed<4,2{modes}>"}  # -2 .. 1.75
        program, made = typed(net, {"name": {"d": entry}}, x)
        data = made.report(program)
        place = data["types"][-1]
        assert (place["layer"], place["key"], place["values"], place[name]) == ("d", "output", 6, 3)
        values = Emulator(program).values([x])[0].ravel()
        expected = [1, 1.75, -2, 1.75, -2, 1.75] if not modes else [1, 1.75, -2, -2, 1.75, -1]
        np.testing.assert_array_equal(values, expected)
        assert f"3 of 6 {'wrap' if modes else 'saturate'}" in "\n".join(report.lines(data))


def test_errors_are_those_of_the_layers() -> None:
    net, x = case("dense")
    program, made = typed(net, "fixed<10,4>", x)
    data = made.report(program)
    wanted, traced = real.run(net, [x]), Emulator(program).trace([x])
    by_name = {entry["name"]: entry for entry in data["layers"]}
    assert set(by_name) == {"d", "r", "e"}, "what is inside (r.exact, e.exact) has no float counterpart"
    for name, entry in by_name.items():
        difference = traced[name] - wanted[name]
        assert entry["max_abs"] == pytest.approx(np.abs(difference).max())
        assert entry["rms"] == pytest.approx(np.sqrt(np.mean(difference**2)))
        assert entry["max_abs"] > 0
    (end,) = data["outputs"]
    same = int((traced["e"].argmax(axis=1) == wanted["e"].argmax(axis=1)).sum())
    assert (end["argmax_same"], end["argmax_events"]) == (same, EVENTS)
    text = "\n".join(report.lines(data))
    assert f"{100 * same / EVENTS:.2f} % of the events" in text
