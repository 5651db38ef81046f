# SPDX-License-Identifier: Apache-2.0
"""Names in HDL.  Nothing from a model file reaches HDL without passing `identifier`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from l1ml.dataflow.program import Dataflow
from l1ml.errors import ConfigError

MAX_LENGTH = 40


def identifier(text: str, default: str = "layer") -> str:
    """Return ``text`` as a lower-case identifier that SystemVerilog and VHDL both accept.

    Example:
        >>> identifier("Conv2D/BiasAdd:0"), identifier("3_fc"), identifier("été")
        ('conv2d_biasadd_0', 'layer_3_fc', 't')
    """
    plain = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:MAX_LENGTH].strip("_")
    if not plain:
        return default
    return plain if plain[0].isalpha() else f"{default}_{plain}"


def module_name(text: str, where: str) -> str:
    """Check a name the user chose for a module; it is refused, not changed."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", text) or "__" in text or text.endswith("_"):
        raise ConfigError(
            f"{text!r} is no module name: lower-case letters, digits and single underscores, "
            f"at most {MAX_LENGTH}",
            where=(where,),
            fix=f"use {identifier(text)!r}",
        )
    return text


def unique(names: Iterable[str]) -> list[str]:
    """Return the names with a number appended where one came before.

    Example:
        >>> unique(["fc", "fc", "fc_2"])
        ['fc', 'fc_3', 'fc_2']
    """
    wanted = list(names)
    taken = set(wanted)
    seen: set[str] = set()
    out = []
    for name in wanted:
        number = 2
        fresh = name
        while fresh in seen or (fresh != name and fresh in taken):
            fresh, number = f"{name}_{number}", number + 1
        seen.add(fresh)
        out.append(fresh)
    return out


def layer_stems(flow: Dataflow, input_names: list[str]) -> list[str]:
    """Return what the names of every layer's wires begin with."""
    # An underscore and a number follow every layer name: no keyword can result. Inputs come first.
    stems = unique(
        [*{n.rsplit("_", 1)[0]: None for n in input_names}, *(identifier(name) for name in flow.layers)]
    )
    return stems[len(stems) - len(flow.layers) :]


def wire_names(flow: Dataflow, input_names: list[str]) -> list[str]:
    """Return a name for every wire of a Dataflow.

    An element of a layer is ``<layer>_<element>``, what leads to it ``<layer>_s<number>``.

    Args:
        flow: the program.
        input_names: one name per input wire, valid identifiers.
    """
    layers = layer_stems(flow, input_names)
    names: list[str | None] = [*input_names, *(None for _ in flow.steps)]
    for layer, ports in flow.marks:
        for number, port in enumerate(ports):
            whole = port.wire >= 0 and not port.negated and not port.offset
            if whole and names[port.wire] is None:
                names[port.wire] = f"{layers[layer]}_{number}"
    counters = [0] * len(layers)
    for wire, step in flow.defined():
        if names[wire] is None:
            names[wire] = f"{layers[step.layer]}_s{counters[step.layer]}"
            counters[step.layer] += 1
    return [name for name in names if name is not None]
