# SPDX-License-Identifier: Apache-2.0
"""A file without its encoding: plain nodes, arrays and ports, in the order in which they can be read."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from l1ml.errors import ModelError
from l1ml.frontends.common import LISTED, Problem, refuse

STANDARD = ("", "ai.onnx")
Dims = tuple[int | None, ...]

ELEMENTS = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16", 21: "uint4", 22: "int4",
    25: "uint2", 26: "int2",
}  # fmt: skip
"""Types of elements by their number in the ONNX format, as far as they are real numbers."""


@dataclass(frozen=True)
class Unreadable:
    """Stands for an attribute that is no number, text, list or tensor: a graph, a sparse tensor, a type."""

    what: str


@dataclass(frozen=True)
class Node:
    """One operator of the file."""

    name: str
    kind: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The operator as messages show it."""
        return self.kind[:80] if self.domain in STANDARD else f"{self.kind[:80]} of {self.domain[:80]}"


@dataclass(frozen=True, eq=False)
class Stored:
    """An array of the file; ``kind`` is the name of its ONNX type, which NumPy may not have (``int4``)."""

    values: np.ndarray
    kind: str


@dataclass(frozen=True)
class Port:
    """An input of the network: sizes with the batch axis first, None where free."""

    name: str
    dims: Dims
    kind: str


@dataclass(frozen=True, eq=False)
class File:
    """What was read.

    Args:
        name: of the graph.
        source: name of the file, for messages.
        opsets: version of each domain; the standard one is called ``""``.
        inputs: the ports.
        outputs: names of the tensors that leave the network.
        nodes: in the order of the file.
        constants: arrays by name.
        lost: tensors that could not be read; there is a problem about each.
        shapes: what the file says about the sizes of tensors, with the batch axis.
        functions: operators that the file defines itself, as (domain, name).
        problems: what is wrong so far.
    """

    name: str
    source: str
    opsets: Mapping[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Stored]
    lost: frozenset[str] = frozenset()
    shapes: Mapping[str, Dims] = field(default_factory=dict)
    functions: frozenset[tuple[str, str]] = frozenset()
    problems: tuple[Problem, ...] = ()

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return self.opsets.get("", 1)


def ordered(file: File) -> tuple[Node, ...]:
    """Return the nodes so that each comes after those it reads; those already in order stay where they are.

    Raises:
        ModelError: a tensor is made twice, or nodes wait for each other.
    """
    made: set[str] = {port.name for port in file.inputs} | set(file.constants) | set(file.lost)
    makers: dict[str, Node] = {}
    for node in file.nodes:
        for name in node.outputs:
            if name in makers or (name and name in made):
                raise ModelError(
                    f"two nodes, inputs or constants make the tensor {shown(name)}", where=(file.source,)
                )
            if name:
                makers[name] = node
    readers: dict[str, list[int]] = {}
    missing: list[int] = []
    for index, node in enumerate(file.nodes):
        needed = {name for name in node.inputs if name in makers}
        missing.append(len(needed))
        for name in needed:
            readers.setdefault(name, []).append(index)
    ready = [index for index, count in enumerate(missing) if not count]
    done: list[Node] = []
    while ready:
        node = file.nodes[heapq.heappop(ready)]
        done.append(node)
        for index in [index for name in node.outputs for index in readers.get(name, ())]:
            missing[index] -= 1
            if not missing[index]:
                heapq.heappush(ready, index)
    if len(done) < len(file.nodes):
        stuck = [node.name for node, count in zip(file.nodes, missing, strict=True) if count]
        names = ", ".join(shown(name) for name in stuck[:5])
        raise ModelError(f"{len(stuck)} nodes wait for each other: {names}", where=(file.source,))
    return tuple(done)


def shown(name: str) -> str:
    """Return a name of the file for a message: quoted, printable and short."""
    text = "".join(sign if sign.isprintable() else "?" for sign in name[:80])
    return f"'{text}{'...' if len(name) > 80 else ''}'"


def report(
    problems: list[Problem], source: str, supported: tuple[str, ...], fixes: Mapping[str, str]
) -> None:
    """Raise one error about everything that is wrong; do nothing where nothing is.

    Args:
        problems: what is wrong.
        source: name of the file.
        supported: operators to list where one is not supported.
        fixes: what to do about problems, by the name in them.

    Raises:
        ModelError: there are problems.
    """
    if not problems:
        return
    if all(problem.kind not in FILE_KINDS for problem in problems):
        try:
            refuse(problems, source, supported)
        except ModelError as error:
            if len(problems) == 1 and problems[0].name in fixes:
                error.fix = fixes[problems[0].name]
            raise
    text = "; ".join(str(problem) for problem in problems[:LISTED])
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    more = f" and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
    count = "1 thing" if len(problems) == 1 else f"{len(problems)} things"
    raise ModelError(
        f"{count} in the file cannot be read: {text}{more}",
        where=(source,),
        fix="export the model again: float32, fixed sizes but for the batch, weights inside of the file",
    )


FILE_KINDS = ("input", "output", "constant")
