# SPDX-License-Identifier: Apache-2.0
"""Which type a place gets: what the user says, what the data show, and what the model itself quantizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from float_networks import EVENTS, SIGMOID, case, dense, grid, network, relative, rng, typed, weights

from l1ml.calibration import calibrate, input_type, suggest
from l1ml.config import ProjectConfig
from l1ml.errors import ConfigError, DataError, ModelError, RangeError
from l1ml.graph import build, model, precision
from l1ml.graph.named import Named
from l1ml.graph.precision.pieces import significant
from l1ml.types.fixed import FixedType, Quantizer

# ---- who says what


def test_name_beats_type_beats_model() -> None:
    net, x = case("dense")
    options = {
        "model": "fixed<16,6>",
        "type": {"Dense": {"weight": "fixed<9,2>", "output": "fixed<14,5>"}, "ReLU": "ufixed<7,3>"},
        "name": {"e": {"weight": "fixed<8,2,TRN,SAT>"}},
    }
    _, made = typed(net, options, x)
    assert made.config.precision == {
        "name": {
            "d": {"weight": "fixed<9,2,RND_CONV,SAT>", "bias": "fixed<16,6,RND_CONV,SAT>"},
            "r": {"output": "ufixed<7,3,RND_CONV,SAT>"},
            "e": {
                "weight": "fixed<8,2,TRN,SAT>",
                "bias": "fixed<16,6,RND_CONV,SAT>",
                "output": "fixed<14,5,RND_CONV,SAT>",
            },
        }
    }


def test_layers_and_precision_are_one_thing() -> None:
    net, x = case("dense")
    both, made = typed(net, "fixed<16,6>", x, layers={"r": {"output": "ufixed<9,3>"}})
    one, _ = typed(net, {"model": "fixed<16,6>", "name": {"r": {"output": "ufixed<9,3>"}}}, x)
    assert both.digest == one.digest
    assert made.config.layers == {}
    with pytest.raises(ConfigError, match="in precision and ufixed<9,3> in layers"):
        typed(net, {"name": {"r": {"output": "ufixed<9,4>"}}}, x, layers={"r": {"output": "ufixed<9,3>"}})


def test_a_name_of_the_file_reaches_its_steps() -> None:
    net = network(
        (6,), dense("fc.linear", "x", 6, 4), model.Relu("fc", ("fc.linear",)), dense("e", "fc", 4, 3)
    )
    options = {"model": "fixed<16,6>", "name": {"fc": {"weight": "fixed<5,1>", "output": "ufixed<6,2>"}}}
    _, made = typed(net, options, np.zeros((2, 6)))
    names = made.config.precision["name"]
    assert names["fc.linear"]["weight"] == "fixed<5,1,RND_CONV,SAT>"
    assert names["fc"] == {"output": "ufixed<6,2,RND_CONV,SAT>"}


def test_a_type_in_the_middle_is_put_where_it_is_asked_for() -> None:
    net, x = case("folded")
    program, made = typed(net, {"model": "fixed<16,6>", "name": {"d": {"output": "fixed<12,4>"}}}, x)
    assert made.config.precision["name"]["d"]["output"] == "fixed<12,4,RND_CONV,SAT>"
    assert "n" in made.config.precision["name"], "then the normalization is not folded away"
    assert relative(net, program, x) < 0.05


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": {"dd": {"output": "fixed<9,3>"}}}, r"name.dd: did you mean d\?"),
        ({"type": {"Dens": "fixed<9,3>"}}, r"type.Dens: did you mean Dense\?"),
        ({"model": "fixed<16,6>", "name": {"r": {"weight": "fixed<9,3>"}}}, r"r.weight: allowed are output"),
        (
            {"model": "fixed<16,6>", "name": {"d": {"state": "fixed<9,3>"}}},
            r"d.state: allowed are bias, output, weight",
        ),
        ({"name": {"x": {"output": "fixed<9,3>"}}}, "input is input_type"),
        ({"name": {"d": {"weight": "fixed<9,3>"}}}, "type for its weight only; give bias a type too"),
    ],
)
def test_what_names_nothing_is_refused(options: Any, text: str) -> None:
    net, _ = case("dense")
    with pytest.raises(ConfigError, match=text):
        calibrate(net, ProjectConfig.from_mapping({"precision": options}))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"modle": "fixed<16,6>"}, r"'modle': did you mean model\?"),
        (
            {"name": {"d": {"wieght": "fixed<9,3>"}}},
            r"precision.name.d: unknown key 'wieght': did you mean weight\?",
        ),
        ({"type": {"Dense": {"weight": "fixed<9>"}}}, "precision.type.Dense.weight: not a fixed-point type"),
        ({"auto": {"width": 99}}, "precision.auto.width must be a whole number from 4 to 32"),
        ("automatic", "precision: not a fixed-point type"),
    ],
)
def test_the_option_is_checked_where_it_is_read(options: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ProjectConfig.from_mapping({"precision": options})


def test_all_constants_that_do_not_fit_are_named_with_types_that_do() -> None:
    d, e = dense("d", "x", 6, 4), dense("e", "d", 4, 3)
    net = network((6,), replace(d, bias=d.bias + 275.1), replace(e, kernel=e.kernel * 100))
    with pytest.raises(RangeError, match="2 sets of constants") as caught:
        calibrate(net, ProjectConfig.from_mapping({"precision": "fixed<16,6>"}))
    text = str(caught.value)
    assert "bias of 'd'" in text
    assert "fixed<20,10>" in text
    assert "weight of 'e'" in text
    _, made = typed(net, "auto", np.zeros((1, 6)) + 0.5)
    assert made.config.precision["name"]["d"]["bias"].startswith("fixed<16,10")


def test_modes_not_written_round_to_even_and_saturate() -> None:
    assert str(precision.quantizer("fixed<16,6>")) == "fixed<16,6,RND_CONV,SAT>"
    assert str(precision.quantizer("fixed<16,6,TRN>")) == "fixed<16,6,TRN,SAT>"
    assert str(precision.quantizer("ufixed<16,6,TRN,WRAP>")) == "ufixed<16,6,TRN,WRAP>"


# ---- auto


def test_auto_takes_the_fewest_integer_bits_that_hold_the_data() -> None:
    for lo, hi, signed, text in (
        (-1.0, 0.99, True, "fixed<8,1>"),
        (-1.0, 1.0, True, "fixed<8,2>"),
        (0.0, 0.999, False, "ufixed<8,1>"),  # rounds up to 1
        (0.0, 0.99, False, "ufixed<8,0>"),
        (0.0, 5000.0, False, "ufixed<8,13>"),
        (-0.01, 0.02, True, "fixed<8,-4>"),
        (0.0, 0.0, True, "fixed<8,1>"),
    ):
        kind = precision.fitting(lo, hi, 8, signed=signed)
        assert str(kind) == text
        codes = np.rint(np.array([lo, hi]) * 2.0**kind.frac)
        assert kind.lo <= codes[0] <= codes[1] <= kind.hi


def test_auto_saturates_nothing_it_has_seen() -> None:
    net, x = case("conv")
    program, made = typed(net, {"model": "auto", "auto": {"width": 11}}, x)
    assert all(p.get("saturated", 0) <= 2 for p in made.report(program)["types"])
    _, spare = typed(net, {"model": "auto", "auto": {"width": 11, "spare_bits": 2}}, x)
    for one, other in zip(made.types.items(), spare.types.items(), strict=True):
        more = 0 if one[0].constant else 2
        assert other[1].type.integer == one[1].type.integer + more
        assert other[1].type.width == 11


def test_outliers_make_room_for_the_others() -> None:
    x = np.concatenate([np.linspace(-0.99, 0.99, 998), [100.0, -90.0]])[:, None]
    net = network((1,), model.Dense("d", ("x",), np.array([[1.0]]), None, exact=False))
    for share, text in ((0.0, "fixed<15,8>"), (0.001, "fixed<15,8>"), (0.002, "fixed<10,1>")):
        options = {"model": "auto", "auto": {"width": 10, "outliers": share}}
        program, made = typed(net, options, x, input_type="fixed<16,8,RND_CONV,SAT>")
        place = made.report(program)["types"][-1]
        assert place["type"].startswith(text[:-1])
        assert place["saturated"] == (2 if share == 0.002 else 0)


def test_a_long_tail_makes_a_type_wider_not_coarser() -> None:
    """Half of the width is kept for the median magnitude, up to 24 bits; a tail of a few octaves changes nothing."""
    net = network((1,), model.Dense("d", ("x",), np.array([[1.0]]), None, exact=False))
    for peak, text in (
        (1.3, "fixed<16,2,"),
        (60.0, "fixed<16,7,"),  # 9 bits are left for the median
        (6000.0, "fixed<23,14,"),  # 8 bits for values from 1/2 to 1, behind the sign and 14 - 1 integer bits
        (6e6, "fixed<24,24,"),
    ):
        x = np.concatenate([np.linspace(0.76, 0.99, 998), [-peak, peak]])[:, None]
        kind = "fixed<40,26,RND_CONV,SAT>"
        program, made = typed(net, {"model": "auto"}, x, input_type=kind)
        assert made.report(program)["types"][-1]["type"].startswith(text), peak


def test_auto_gives_no_sign_to_what_cannot_be_negative() -> None:
    net, x = case("lstm")
    _, made = typed(net, "auto", x)
    signs = {slot.key: kind.type.signed for slot, kind in made.types.items() if slot.layer == "r"}
    assert (signs["gate"], signs["candidate"], signs["state"], signs["output"]) == (False, True, True, True)


def test_what_a_table_reads_is_narrow_and_where_the_function_changes() -> None:
    x = np.linspace(-30, 30, EVENTS)[:, None]
    net = network(
        (1,), model.Dense("d", ("x",), np.array([[10.0]]), None, exact=False), model.Map("t", ("d",), SIGMOID)
    )
    _, made = typed(net, "auto", x, input_type="fixed<16,6>")
    before, after = (kind for slot, kind in made.types.items() if not slot.constant)
    assert str(before.type) == "fixed<12,4>", "although the data reach 300"
    assert str(after.type) in ("ufixed<16,1>", "ufixed<16,0>")


def test_a_table_that_would_be_too_large_names_the_width_that_fits() -> None:
    net, x = case("tanh")
    with pytest.raises(
        ConfigError, match=r"d.output: fixed<20,6> has 2\*\*20 codes; fixed<16,6,RND_CONV,SAT> fits"
    ):
        typed(net, "fixed<20,6>", x)


def test_an_error_target_takes_the_fewest_bits_that_keep_it() -> None:
    net, x = case("conv")
    widths = []
    for target in (0.1, 0.01, 0.001):
        program, made = typed(net, {"model": "auto", "auto": {"max_error": target}}, x)
        found = relative(net, program, x)
        assert found <= target * 1.05
        widths.append(max(k.type.width for s, k in made.types.items() if not s.constant))
    assert widths[0] < widths[1] < widths[2] < 16
    with pytest.raises(ConfigError, match=r"max_error is 1e-09"):
        typed(net, {"model": "auto", "auto": {"max_error": 1e-9}}, x)


def test_auto_without_events_says_what_is_missing() -> None:
    net, _ = case("dense")
    with pytest.raises(ConfigError, match=r"2 types are to be found from data.*r.output, e.output") as caught:
        calibrate(net, ProjectConfig.from_mapping({"precision": "auto"}))
    assert "calibration" in str(caught.value)
    only_weights = {"model": {"default": "fixed<16,6>", "weight": "auto"}}
    assert calibrate(net, ProjectConfig.from_mapping({"precision": only_weights})).types


def test_significant_bits() -> None:
    values = rng().normal(0, 1, 1000) * 10.0 ** rng(2).integers(-2, 3, 1000)
    for bits in (3, 10, 18):
        rounded = significant(values, bits)
        finest = np.abs(values).max() * 2.0**-24
        assert (np.abs(rounded - values) <= np.maximum(np.abs(values) * 2.0**-bits, finest)).all()
        assert (np.abs(rounded - values) > np.abs(values) * 2.0 ** -(bits + 1)).any()
    assert significant(np.array([1.0, 1e-12]), 10).tolist() == [1.0, 0.0]


# ---- inputs and events


def test_input_types_from_events() -> None:
    for values, text in (
        (np.arange(200.0), "ufixed<8,8,RND_CONV,SAT>"),
        (np.array([-0.5, 0.25]), "fixed<2,0,RND_CONV,SAT>"),
        (np.array([-128.0, 127.0]), "fixed<8,8,RND_CONV,SAT>"),
        (np.array([-2.0, 6.0]), "fixed<3,4,RND_CONV,SAT>"),
        (np.zeros(3), "ufixed<1,17,RND_CONV,SAT>"),
    ):
        kind, source = input_type(values, 16)
        assert str(kind) == text
        assert "grid" in source
        codes = values * 2.0**kind.type.frac
        assert kind.type.lo <= codes.min()
        assert codes.max() <= kind.type.hi
    kind, source = input_type(rng().normal(0, 1, 1000), 10)
    assert kind.type.width == 10
    assert "range" in source


def test_the_input_type_is_found_and_said() -> None:
    net, x = case("dense")
    made = calibrate(net, ProjectConfig.from_mapping({"precision": "auto"}), x)
    assert made.config.input_type == {"x": str(input_type(x, 16)[0])}
    program = build.to_program(build.input_quantizers(made.model, made.config.input_type))
    data = made.report(program)
    assert data["inputs"][0]["from"] == "the grid of the calibration events, 2**-8"
    plain = calibrate(net, ProjectConfig.from_mapping({"precision": "fixed<16,6>"}))
    assert plain.config.input_type == {"x": "fixed<16,6,RND_CONV,SAT>"}


@pytest.mark.parametrize(
    ("events", "text"),
    [
        (np.zeros((5, 7)), "shape"),
        (np.full((5, 6), np.nan), "not a finite"),
        (np.zeros((0, 6)), "expected numbers"),
        ({"y": np.zeros((5, 6)), "z": np.zeros((5, 6))}, "no input 'x'"),
        ("nowhere.h5", "cannot read"),
        ("nowhere.npz", "cannot be read"),
    ],
)
def test_events_that_do_not_fit(events: Any, text: str) -> None:
    net, _ = case("dense")
    with pytest.raises(DataError, match=text):
        calibrate(net, ProjectConfig.from_mapping({"precision": "auto"}), events)


def test_a_float_model_that_overflows_is_no_calibration() -> None:
    net = network((1,), dense("d", "x", 1, 1), model.Map("t", ("d",), (Named("exp"),)))
    with pytest.raises(DataError, match="infinite or undefined"):
        typed(net, "auto", np.full((3, 1), 1e5))


# ---- models of mixed kind


def quantized(name: str, source: str, n_in: int, n_out: int) -> tuple[model.Layer, ...]:
    kernel = np.rint(weights(n_in, n_out) * 16) / 16
    return (
        model.Dense(f"{name}.sum", (source,), kernel, None),
        model.Quantize(name, (f"{name}.sum",), Quantizer.parse("ufixed<6,2,RND_CONV,SAT>")),
    )


def test_quantized_models_are_left_alone() -> None:
    net = network((6,), *quantized("q", "x", 6, 4), *quantized("p", "q", 4, 3))
    before = build.to_program(build.input_quantizers(net, "fixed<12,4,RND_CONV,SAT>"))
    after, made = typed(net, "fixed<16,6>", np.zeros((2, 6)))
    assert after.digest == before.digest
    assert made.types == {}
    assert suggest(net, ProjectConfig()).precision is None


def test_mixed_models_get_types_where_they_are_float() -> None:
    mean = model.Pool("m", ("q",), "mean", (3,), (3,), ((0, 0),))
    net = network(
        (6, 4),
        *quantized("q", "x", 4, 4),
        mean,
        model.Quantize("c", ("m",), Quantizer.parse("ufixed<5,2,RND_CONV,SAT>")),
        model.Reshape("f", ("c",), (-1,)),
        dense("d", "f", 8, 3),
        *quantized("p", "d", 3, 2),
    )
    program, made = typed(net, "auto", grid(rng().normal(0, 1, (EVENTS, 6, 4))))
    assert {(s.layer, s.key) for s in made.types} == {("d", "weight"), ("d", "bias"), ("d", "output")}
    assert "m" not in {s.layer for s in made.types}, "its quantizer makes it exact"
    with pytest.raises(ConfigError, match=r"the model itself quantizes the weights of 'q\.sum'"):
        typed(net, {"model": "auto", "name": {"q.sum": {"weight": "fixed<8,2>"}}}, np.zeros((2, 6, 4)))
    assert program.outputs[0][0] == "p"


def test_a_float_model_without_types_is_still_refused() -> None:
    net, x = case("dense")
    with pytest.raises(ModelError, match="without a quantizer"):
        build.to_program(build.input_quantizers(calibrate(net, ProjectConfig(), None).model, "fixed<12,4>"))
    with pytest.raises(ModelError, match="without a quantizer"):
        typed(net, None, x)


def test_suggestions_name_every_place() -> None:
    net, _ = case("conv")
    names = suggest(net, ProjectConfig()).precision["name"]
    assert names["c"] == {"weight": names["c"]["weight"], "bias": names["c"]["bias"]}
    assert names["r"] == {"output": "fixed<16,6,RND_CONV,SAT>"}
    assert FixedType.parse(names["c"]["weight"].replace(",RND_CONV,SAT", "")).integer <= 2, (
        "as few as the weights need"
    )
    program = typed(net, {"name": names}, np.zeros((2, 7, 5, 2)))[0]
    assert program.steps


def test_a_softmax_at_the_end_needs_no_type() -> None:
    net = network((6,), dense("d", "x", 6, 4), model.Softmax("s", ("d",)))
    x = grid(rng().normal(0, 1, (EVENTS, 6)))
    program, made = typed(net, "auto", x)
    assert {s.layer for s in made.types} == {"d"}
    (end,) = made.report(program)["outputs"]
    assert end["name"] == "d"
    assert end["argmax_same"] > 0.98 * EVENTS
