# SPDX-License-Identifier: Apache-2.0
"""Functions of ``keras.ops`` in a model; what they give is compared with the recorded models of HGQ2."""

from __future__ import annotations

from typing import Any

import pytest
from hgq_vectors import VECTORS, read_changed

from l1ml.errors import ModelError

MODEL = VECTORS / "hgq2" / "operations.keras"


def first(config: Any, kind: str, number: int = 0) -> Any:
    """Return an operation of the model by its class."""
    found = [layer for layer in config["config"]["layers"] if layer["class_name"] == kind]
    assert all(layer["module"].startswith("keras.src.ops.") for layer in found)
    return found[number]


def option(kind: str, key: str, value: Any) -> Any:
    def change(config: Any) -> Any:
        first(config, kind)["config"][key] = value
        return config

    return change


def argument(kind: str, place: int, value: Any, number: int = 0) -> Any:
    def change(config: Any) -> Any:
        first(config, kind, number)["inbound_nodes"][0]["args"][place] = value
        return config

    return change


def called(kind: str) -> Any:
    """Return a change of the class alone."""

    def change(config: Any) -> Any:
        first(config, "Square")["class_name"] = kind
        return config

    return change


def sliced(start: Any) -> Any:
    return {"class_name": "__slice__", "config": {"start": start, "stop": None, "step": None}}


REFUSALS = {
    "unknown": (called("Cumsum"), r"square \(Cumsum of keras\.ops\)"),
    "layer of that name": (called("Average"), r"square \(Average of keras\.ops\)"),
    "no tensor": (argument("Negative", 0, 2.0), r"Negative of keras\.ops: it reads 0 tensors"),
    "events reduced": (option("Sum", "axis", 0), r"Sum of keras\.ops: axes \[0\]"),
    "all reduced": (option("Sum", "axis", None), r"Sum of keras\.ops: axes None"),
    "initial": (option("Max", "initial", 1.0), r"Max of keras\.ops: an initial value"),
    "events moved": (option("Transpose", "axes", [1, 0, 2]), r"Transpose of keras\.ops: axes \[1, 0, 2\]"),
    "events joined": (option("Concatenate", "axis", 0), r"Concatenate of keras\.ops: axis 0, the events"),
    "events reshaped": (
        option("Reshape", "newshape", [40, 12]),
        r"Reshape of keras\.ops: .*\(-1, sizes of one event\)",
    ),
    "other size": (
        option("Reshape", "newshape", [-1, 5]),
        r"the shape \[-1, 5\] for events of the shape \(3, 4\)",
    ),
    "clip": (option("Clip", "x_min", 3.0), r"Clip of keras\.ops: bounds"),
    "einsum": (option("Einsum", "subscripts", "bij,kbj->bik"), r"Einsum of keras\.ops: .*event axis first"),
    "an event": (argument("GetItem", 1, 0), r"GetItem of keras\.ops: a choice among events"),
    "some events": (argument("GetItem", 1, [sliced(1), 0]), r"GetItem of keras\.ops: a choice among events"),
    "a mask": (argument("GetItem", 1, [sliced(None), "x"]), r"GetItem of keras\.ops: indices other than"),
    "no step": (
        argument("GetItem", 1, [sliced(None), sliced("?")]),
        r"GetItem of keras\.ops: indices other than",
    ),
    "huge": (argument("Add", 1, 10**400, 1), r"add_1.* no array of numbers"),
    "beyond": (argument("GetItem", 1, [sliced(None), 7]), r"get_item.* picks what is not there"),
    "nothing": (argument("GetItem", 1, [sliced(None), sliced(9)]), r"GetItem of keras\.ops: .*no element"),
    "over 0": (argument("TrueDivide", 1, 0.0), r"TrueDivide of keras\.ops: .*over 0"),
    "infinite": (argument("Add", 1, 1e39, 1), r"Add of keras\.ops: a constant that is not finite"),
    "true": (argument("Add", 1, True, 1), r"Add of keras\.ops: it is called with True"),
    "a text": (argument("Add", 1, "x", 1), r"Add of keras\.ops: .*something else than two tensors"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_other_operations_are_refused_by_name(case: str) -> None:
    change, message = REFUSALS[case]
    with pytest.raises(ModelError, match=message):
        read_changed(MODEL, change)
