# SPDX-License-Identifier: Apache-2.0
"""Events on which quantizers are easiest to get wrong: exact ties, the ends of every range, thresholds.

Some follow from the input types alone: extremes, sweeps over all codes, ties of the first quantizer.  For the layers
behind, inputs are searched at random; an event is kept if it shows a boundary of an element that none has shown yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from l1ml.graph import primitives
from l1ml.graph.program import TensorProgram, TensorStep
from l1ml.graph.tensor import TensorType
from l1ml.types.arrays import BoolArray, IntArray

BATCH = 64
ROUNDS = 400
"""Most batches that are tried; the search ends earlier when nothing new turns up, or when the network is large."""

PATIENCE = 40
WORK = 3e8
"""Most element values that are looked at."""

MAX_SWEEP = 256
MAX_SINGLE = 64

TIES = ("tie to even below", "tie to even above")
ENDS = ("below the range", "at its lower end", "at its upper end", "above the range")
STEP = ("just reached", "just not reached")
SIGN = ("-1", "0", "1")


@dataclass
class Coverage:
    """Which boundaries of which elements some event has shown.

    Args:
        seen: (kinds, elements) by (layer, what), for every step that has boundaries.
        possible: those that the types do not rule out, same shape.
        kinds: names of the kinds, same keys.
    """

    seen: dict[tuple[str, int], BoolArray] = field(default_factory=dict)
    possible: dict[tuple[str, int], BoolArray] = field(default_factory=dict)
    kinds: dict[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)

    def totals(self) -> dict[str, tuple[int, int]]:
        """Return {kind: (elements that showed it, elements that might have)}, without kinds that none can show."""
        out: dict[str, tuple[int, int]] = {}
        for key, table in self.seen.items():
            for kind, row, may in zip(self.kinds[key], table, self.possible[key], strict=True):
                hit, of = out.get(kind, (0, 0))
                out[kind] = (hit + int(row.sum()), of + int((may | row).sum()))
        return {kind: (hit, of) for kind, (hit, of) in out.items() if of}


def boundaries(step: TensorStep, codes: IntArray, x: TensorType) -> tuple[tuple[str, ...], BoolArray] | None:
    """Return the kinds of boundaries of a step, and who lies on them, (kinds, events, elements)."""
    op = step.op
    flat = codes.reshape(len(codes), -1)
    if isinstance(op, primitives.Requantize):
        drop = np.broadcast_to(x.frac - op.frac, x.shape).ravel()
        lo, hi = (np.broadcast_to(n, x.shape).ravel() for n in (op.lo, op.hi))
        down = np.maximum(drop, 0)
        floor = flat >> np.minimum(down, 62)
        half = (flat - (floor << down) == (1 << np.maximum(down - 1, 0))) & (down > 0)
        rounded = np.where(half, floor, (flat + np.where(down > 0, 1 << np.maximum(down - 1, 0), 0)) >> down)
        rounded = np.where(drop < 0, flat << np.maximum(-drop, 0), rounded)
        rows = [half & (floor & 1 == 0), half & (floor & 1 == 1)]
        rows += [rounded < lo, rounded == lo, rounded == hi, rounded > hi]
        return (*TIES, *ENDS), np.array(rows)
    if isinstance(op, primitives.Rescale):
        line = codes * op.multiplier + op.offset
        mask = np.broadcast_to((np.int64(1) << op.shift) - 1, x.shape)
        rest = (line & mask).reshape(flat.shape)
        one = np.broadcast_to(np.minimum(np.abs(op.multiplier), mask + 1), x.shape).ravel()
        full = mask.ravel()
        return STEP, np.array([(rest < one) & (full > 0), (rest > full - one) & (full > 0)])
    if isinstance(op, primitives.Steps):
        at, under = np.zeros((2, *codes.shape), dtype=bool)
        for k in range(op.thresholds.shape[-1]):
            at |= codes == op.thresholds[..., k]
            under |= codes == op.thresholds[..., k] - 1
        return STEP, np.array([at.reshape(flat.shape), under.reshape(flat.shape)])
    if isinstance(op, primitives.Relu):
        return SIGN, np.array([flat == n for n in (-1, 0, 1)])
    return None


def possible(step: TensorStep, x: TensorType, kinds: tuple[str, ...]) -> BoolArray:
    """Return which boundaries the types do not rule out, (kinds, elements)."""
    table = np.ones((len(kinds), x.size), dtype=bool)
    op = step.op
    if isinstance(op, primitives.Requantize):
        drop = np.broadcast_to(x.frac - op.frac, x.shape).ravel()
        lo, hi = (np.broadcast_to(n, x.shape).ravel() for n in (op.lo, op.hi))
        real_lo, real_hi = (
            np.ldexp(x.lo.ravel().astype(float), -drop),
            np.ldexp(x.hi.ravel().astype(float), -drop),
        )
        table[:2] = drop > 0
        table[2:] = [
            real_lo < lo - 0.5,
            (real_lo < lo + 0.5) & (lo < hi),
            (real_hi > hi - 0.5) & (lo < hi),
            real_hi > hi + 0.5,
        ]
    if isinstance(op, primitives.Relu):
        table[:] = [x.lo.ravel() <= n for n in (-1, 0, 1)]
    return table


def generate(
    program: TensorProgram, events: int, seed: int = 1, rounds: int = ROUNDS
) -> tuple[list[IntArray], Coverage]:
    """Return input codes, one array (events, *shape) per input, and what they cover.

    Args:
        program: the typed network.
        events: how many; what boundaries do not fill is filled at random.
        seed: of the search.
        rounds: batches of `BATCH` events that are tried.
    """
    rng = np.random.default_rng(seed)
    coverage = Coverage()
    pool = [np.empty((0, *port.shape), dtype=np.int64) for port in program.inputs]
    for batch in _batches(program, _patterns(program, rng)):
        pool = _join(pool, _useful(program, batch, coverage))
    elements = sum(step.type.size for step in program.steps) + sum(port.type.size for port in program.inputs)
    idle = 0
    for number in range(min(rounds, int(WORK / (BATCH * max(elements, 1))) + 1)):
        if len(pool[0]) >= events or idle >= PATIENCE:
            break
        found = _useful(program, _candidates(program, rng, pool, number), coverage)
        idle = 0 if len(found[0]) else idle + 1
        pool = _join(pool, found)
    pool = [codes[:events] for codes in pool]
    missing = events - len(pool[0])
    if missing > 0:
        pool = _join(
            pool, [rng.integers(p.type.lo, p.type.hi + 1, (missing, *p.shape)) for p in program.inputs]
        )
    return pool, coverage


def _join(a: list[IntArray], b: list[IntArray]) -> list[IntArray]:
    return [np.concatenate(pair) for pair in zip(a, b, strict=True)]


def _batches(program: TensorProgram, events: Iterator[list[IntArray]]) -> Iterator[list[IntArray]]:
    held: list[list[IntArray]] = []
    for event in events:
        held.append(event)
        if len(held) == BATCH:
            yield [np.array(column) for column in zip(*held, strict=True)]
            held = []
    if held:
        yield [np.array(column) for column in zip(*held, strict=True)]


def _patterns(program: TensorProgram, rng: np.random.Generator) -> Iterator[list[IntArray]]:
    """Yield events that follow from the input types and the first quantizers."""
    types = [port.type for port in program.inputs]
    yield [np.zeros_like(t.lo).clip(t.lo, t.hi) for t in types]
    yield [t.lo for t in types]
    yield [t.hi for t in types]
    for value in (1, -1):
        yield [np.full_like(t.lo, value).clip(t.lo, t.hi) for t in types]
    for phase in range(2):
        yield [np.where(np.arange(t.size).reshape(t.shape) % 2 == phase, t.lo, t.hi) for t in types]
    widest = max(int((t.hi - t.lo).max(initial=0)) + 1 for t in types)
    for k in range(min(widest, MAX_SWEEP)):
        share = k / max(min(widest, MAX_SWEEP) - 1, 1)
        yield [t.lo + np.rint((t.hi - t.lo) * share).astype(np.int64) for t in types]
    for number, kind in enumerate(types):
        for element in rng.permutation(kind.size)[:MAX_SINGLE]:
            for bound in (kind.lo, kind.hi):
                event = [np.zeros_like(t.lo).clip(t.lo, t.hi) for t in types]
                event[number].flat[element] = bound.flat[element]
                yield event
    yield from _first_ties(program, rng)


def _first_ties(program: TensorProgram, rng: np.random.Generator) -> Iterator[list[IntArray]]:
    """Yield events in which every element is half an LSB, or one code beside it, of a quantizer of the input."""
    types = [port.type for port in program.inputs]
    drops = {
        int(d)
        for step in program.steps
        if isinstance(step.op, primitives.Requantize) and (source := step.sources[0]) < len(types)
        for d in np.unique(np.broadcast_to(types[source].frac - step.op.frac, types[source].shape))
        if 0 < d < 32
    }
    for drop in sorted(drops):
        for beside in (0, 1, -1):
            for _ in range(8):
                event = []
                for t in types:
                    n = rng.integers(t.lo >> drop, (t.hi >> drop) + 1)
                    event.append(((n << drop) + (1 << drop >> 1) + beside).clip(t.lo, t.hi))
                yield event


def _candidates(
    program: TensorProgram, rng: np.random.Generator, pool: list[IntArray], number: int
) -> list[IntArray]:
    """Return a batch of random events in one of several styles: coarse numbers make more ties."""
    style = number % 5
    out = []
    parents = rng.integers(0, max(len(pool[0]), 1), BATCH)
    for kept, port in zip(pool, program.inputs, strict=True):
        lo, hi, shape = port.type.lo, port.type.hi, (BATCH, *port.shape)
        full = rng.integers(lo, hi + 1, shape)
        coarse = rng.integers(0, np.maximum(np.frexp((hi - lo).astype(np.float64))[1], 1), shape)
        rounded = (full >> coarse) << coarse
        if style == 0:
            made = full
        elif style == 1:
            made = rounded
        elif style == 2:
            made = rounded * (rng.random(shape) < rng.random((BATCH, *(1,) * len(port.shape))))
        elif style == 3:
            made = np.rint(
                rng.normal(0, 1, shape) * 2.0 ** rng.uniform(0, 6, (BATCH, *(1,) * len(port.shape)))
            ).astype(np.int64)
        else:
            few = rng.random(shape) < 2 / max(port.type.size, 2)
            made = np.where(few, rounded, kept[parents]) if len(kept) else rounded
        out.append(np.clip(made, lo, hi))
    return out


def _useful(program: TensorProgram, batch: list[IntArray], coverage: Coverage) -> list[IntArray]:
    """Return the events of a batch that show a boundary for the first time, and note what they show."""
    shown: dict[tuple[str, int], BoolArray] = {}
    steps: dict[int, list[tuple[int, TensorStep]]] = {}
    for tensor, step in program.numbered():
        for source in step.sources[:1]:
            steps.setdefault(source, []).append((tensor, step))
    for tensor, codes in program.walk(batch):
        for made, step in steps.get(tensor, ()):
            found = boundaries(step, codes, program.type_of(tensor))
            if found is not None:
                key = (step.layer, made)
                shown[key] = found[1]
                coverage.kinds.setdefault(key, found[0])
                if key not in coverage.seen:
                    coverage.seen[key] = np.zeros((len(found[0]), found[1].shape[2]), dtype=bool)
                    coverage.possible[key] = possible(step, program.type_of(tensor), found[0])
    events = len(batch[0])
    news = np.zeros(events, dtype=np.int64)
    for key, hits in shown.items():
        news += (hits & ~coverage.seen[key][:, None]).sum(axis=(0, 2))
    kept = []
    for event in np.argsort(-news, kind="stable"):
        fresh = False
        for key, hits in shown.items():
            more = hits[:, event] & ~coverage.seen[key]
            if more.any():
                coverage.seen[key] |= more
                fresh = True
        if fresh:
            kept.append(int(event))
    return [codes[kept] for codes in batch]
