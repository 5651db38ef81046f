# SPDX-License-Identifier: Apache-2.0
"""Trees: many terms into one, what arrives first and is narrow first."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from l1ml.dataflow import logic
from l1ml.dataflow.build import Builder, Element

COUNTED = 6
"""Single bits that one level of LUTs counts."""


def tree(build: Builder, terms: Sequence[Element], join: Callable[[Element, Element], Element]) -> Element:
    """Join terms two by two; those with the fewest levels of logic behind them first, then narrow ones."""
    queue = [(build.depth(e.wire), _span(build, e), number, e) for number, e in enumerate(terms)]
    heapq.heapify(queue)
    for number in range(len(terms), 2 * len(terms) - 1):
        a, b = (heapq.heappop(queue)[3] for _ in range(2))
        made = join(a, b)
        heapq.heappush(queue, (build.depth(made.wire), _span(build, made), number, made))
    return queue[0][3]


def _span(build: Builder, element: Element) -> int:
    """Return the position of the top bit: sums of equal spans waste no carry bits."""
    return build.type_of(element.wire).width - element.frac


def add_all(
    build: Builder, terms: Sequence[Element], layer: int, tight: tuple[int, int, int] | None = None
) -> Element:
    """Return the sum of terms.

    Args:
        build: where the steps go.
        terms: at least one.
        layer: index of the layer.
        tight: proven ``(lo, hi, frac)`` of the sum.
    """
    live = [e for e in _count_bits(build, terms, layer) if not build.is_zero(e.wire)]
    if not live:
        return build.constant(0, 0, layer)
    left = len(live) - 1

    def join(a: Element, b: Element) -> Element:
        nonlocal left
        left -= 1
        return build.sum(a, b, layer, tight=None if left else tight)

    return tree(build, live, join)


def _count_bits(build: Builder, terms: Sequence[Element], layer: int) -> list[Element]:
    """Replace groups of single bits of one weight by their number: three LUTs for six bits."""
    groups: dict[tuple[int, bool], list[Element]] = {}
    out = []
    for element in terms:
        kind = build.type_of(element.wire)
        if (kind.lo, kind.hi) == (0, 1):
            groups.setdefault((element.frac, element.negated), []).append(element)
        else:
            out.append(element)
    for (frac, negated), bits in groups.items():
        bits.sort(key=lambda bit: build.depth(bit.wire))
        for first in range(0, len(bits), COUNTED):
            group = bits[first : first + COUNTED]
            if len(group) < 3 or len({bit.wire for bit in group}) < len(group):
                out += group
                continue
            word = logic.join(build, [(bit, at) for at, bit in enumerate(group)], layer)
            table = [n.bit_count() for n in range(1 << len(group))]
            number = logic.lookup(build, word, 0, table, 0, layer)
            out.append(Element(number.wire, number.frac + frac, negated))
    return out
