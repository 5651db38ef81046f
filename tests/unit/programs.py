# SPDX-License-Identifier: Apache-2.0
"""Typed programs for tests, written primitive by primitive or drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from l1ml.errors import RangeError
from l1ml.graph import primitives as p
from l1ml.graph.program import NetInput, TensorProgram, TensorStep
from l1ml.graph.tensor import TensorType
from l1ml.types.fixed import Overflow, Quantizer, Rounding

WIDEST = 16


class Net:
    """Collects primitives.

    Args:
        inputs: (shape, type) of every input.
    """

    def __init__(self, *inputs: tuple[tuple[int, ...], str]) -> None:
        self.inputs = tuple(NetInput(f"in{k}", s, Quantizer.parse(t)) for k, (s, t) in enumerate(inputs))
        self.types = [i.type for i in self.inputs]
        self.steps: list[TensorStep] = []

    def add(self, op: p.Primitive, *sources: int, layer: str = "") -> int:
        """Append a primitive; its tensor's number comes back."""
        kind = op.infer(*(self.types[s] for s in sources))
        name = layer or f"{type(op).__name__.lower()}{len(self.steps)}"
        self.steps.append(TensorStep(op, sources, name, kind))
        self.types.append(kind)
        return len(self.types) - 1

    def program(self, *outputs: int) -> TensorProgram:
        """Return the program; every layer's last tensor is marked."""
        last = {s.layer: t for t, s in enumerate(self.steps, start=len(self.inputs))}
        made = TensorProgram(
            self.inputs,
            tuple(self.steps),
            tuple((f"y{n}", t) for n, t in enumerate(outputs)),
            tuple(last.items()),
        )
        made.verify()
        return made


def ints(values: object) -> np.ndarray:
    return np.asarray(values, dtype=np.int64)


def codes_of(net: TensorProgram, events: int, seed: int = 2) -> list[np.ndarray]:
    """Return input codes: all lowest, all highest, zero, corners, then random ones."""
    rng = np.random.default_rng(seed)
    out = []
    for port in net.inputs:
        lo, hi = port.type.lo, port.type.hi
        codes = rng.integers(lo, hi + 1, (events, *port.shape))
        corners = rng.random((events // 4, *port.shape)) < 0.5
        codes[: len(corners)] = np.where(corners, lo, hi)
        codes[0], codes[1], codes[2] = np.clip(0, lo, hi), lo, hi
        out.append(codes)
    return out


class Draw:
    """Draws a program: every primitive that fits the tensors so far may come next."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        rng = self.rng
        shapes = [(4,), (2, 3), (3, 2), (4,)]
        self.net = Net(*((shapes[k], self.type_text()) for k in range(int(rng.integers(1, 4)))))
        self.used: set[int] = set()

    def type_text(self) -> str:
        width, signed = int(self.rng.integers(1, 7)), self.rng.random() < 0.7
        return f"{'' if signed else 'u'}fixed<{width},{int(self.rng.integers(-1, width + 2))}>"

    def pick(self, fits: Callable[[TensorType], bool] = lambda t: True) -> int | None:
        """Return a random tensor, the latest preferred; narrow enough to go on."""
        good = [t for t, kind in enumerate(self.net.types) if kind.size and fits(kind)]
        if not good:
            return None
        at = good[-1 - int(abs(self.rng.normal(0, 2))) % len(good)]
        if self.net.types[at].max_width > WIDEST or int(np.ptp(self.net.types[at].frac)) > 8:
            at = self.add(self.requantize(self.net.types[at]), at)
        return at

    def add(self, op: p.Primitive, *sources: int) -> int:
        self.used.update(sources)
        return self.net.add(op, *sources)

    def requantize(self, kind: TensorType) -> p.Requantize:
        rng, shape = self.rng, kind.shape[int(self.rng.integers(0, len(kind.shape) + 1)) :]
        width, signed = rng.integers(0, 8, shape), rng.integers(0, 2, shape)
        hi = (1 << np.maximum(width - signed, 0)) - 1
        overflow = Overflow(rng.choice([m.value for m in Overflow]))
        lo = np.where((signed == 1) & (width > 0), -hi - (overflow is not Overflow.SAT_SYM), 0)
        frac = int(kind.frac.min()) + rng.integers(-4, 4, shape)
        return p.Requantize(
            ints(lo), ints(hi), ints(frac), Rounding(rng.choice([m.value for m in Rounding])), overflow
        )

    def step(self) -> None:
        """Append one random primitive, if one fits."""
        name = str(
            self.rng.choice(sorted(n for n in p.Primitive.PRIMITIVES if hasattr(self, f"draw_{n.lower()}")))
        )
        before = len(self.net.types)
        try:
            getattr(self, f"draw_{name.lower()}")()
        except RangeError:
            assert len(self.net.types) <= before + 2

    def small(self, shape: Sequence[int], size: int = 20) -> np.ndarray:
        return self.rng.integers(-size, size + 1, tuple(shape)) * (self.rng.random(tuple(shape)) < 0.8)

    def tail(self, kind: TensorType) -> tuple[int, ...]:
        return kind.shape[int(self.rng.integers(0, len(kind.shape) + 1)) :]

    def draw_constmatmul(self) -> None:
        if (x := self.pick(lambda t: len(t.shape) > 0)) is None:
            return
        n_in = self.net.types[x].shape[-1]
        size = int(self.rng.choice([1, 3, 30, 5_000_000]))
        self.add(
            p.ConstMatmul(
                self.small((n_in, int(self.rng.integers(1, 4))), size), int(self.rng.integers(-2, 5))
            ),
            x,
        )

    def draw_addconst(self) -> None:
        if (x := self.pick()) is not None:
            y = self.add(
                p.AddConst(self.small(self.tail(self.net.types[x])), int(self.rng.integers(-2, 5))), x
            )
            if self.rng.random() < 0.6:
                self.add(self.requantize(self.net.types[y]), y)

    def draw_mulconst(self) -> None:
        if (x := self.pick()) is not None:
            self.add(p.MulConst(self.small(self.tail(self.net.types[x])), int(self.rng.integers(-2, 5))), x)

    def draw_requantize(self) -> None:
        if (x := self.pick()) is not None:
            self.add(self.requantize(self.net.types[x]), x)

    def draw_combine(self) -> None:
        if (x := self.pick()) is None:
            return
        shape = self.net.types[x].shape
        kind = str(self.rng.choice(["add", "sub", "mul", "max", "min"]))
        count = 2 if kind == "sub" else int(self.rng.integers(2, 4))
        sources = [x]
        while len(sources) < count:
            y = self.pick(lambda t: t.shape in (shape, shape[1:], (1,) * len(shape)))
            sources.append(x if y is None or self.rng.random() < 0.1 else y)
        if kind == "mul":
            sources = [self.narrow(s) for s in sources]
        self.add(p.Combine(kind), *sources)

    def narrow(self, x: int) -> int:
        kind = self.net.types[x]
        if kind.max_width <= 8:
            return x
        bits = int(self.rng.integers(2, 13))
        op = p.Requantize(
            ints(-(1 << bits - 1)),
            ints((1 << bits - 1) - 1),
            ints(kind.max_frac - 3),
            Rounding.TRN,
            Overflow.SAT,
        )
        return self.add(op, x)

    def draw_contract(self) -> None:
        if (x := self.pick(lambda t: len(t.shape) == 2)) is None:
            return
        k = self.net.types[x].shape[1]
        y = self.pick(lambda t: len(t.shape) == 2 and t.shape[0] == k)
        if y is not None:
            self.add(p.Contract(), self.narrow(x), self.narrow(y))

    def draw_reduce(self) -> None:
        if (x := self.pick(lambda t: len(t.shape) > 1)) is not None:
            self.add(p.Reduce(str(self.rng.choice(["sum", "max", "min"]))), x)

    def draw_relu(self) -> None:
        if (x := self.pick()) is not None:
            self.add(p.Relu(), x)

    def draw_clip(self) -> None:
        if (x := self.pick()) is not None:
            lo, hi = sorted(self.rng.integers(-30, 60, 2).tolist())
            self.add(p.Clip(lo, hi, int(self.rng.integers(-1, 5))), x)

    def draw_rescale(self) -> None:
        if (x := self.pick()) is not None:
            shape = self.tail(self.net.types[x])
            lo = self.rng.integers(-20, 1, shape)
            parts = (
                self.small(shape, 50),
                self.small(shape, 90),
                self.rng.integers(0, 7, shape),
                lo,
                lo + 25,
            )
            self.add(p.Rescale(*map(ints, parts), int(self.rng.integers(-2, 5))), x)

    def draw_steps(self) -> None:
        if (x := self.pick()) is not None:
            kind = self.net.types[x]
            shape, count = self.tail(kind), int(self.rng.integers(1, 9))
            thresholds = np.sort(
                self.rng.integers(int(kind.lo.min()), int(kind.hi.max()) + 3, (*shape, count))
            )
            jumps = self.small((*shape, count), int(self.rng.choice([1, 9])))
            self.add(p.Steps(thresholds, self.small(shape), jumps, int(self.rng.integers(-2, 5))), x)

    def draw_lookup(self) -> None:
        if (x := self.pick(lambda t: int((t.hi - t.lo).max()) < 1 << 9)) is not None:
            kind = self.net.types[x]
            first = ints(int(kind.lo.min()))
            codes = np.arange(int(kind.hi.max()) - int(first) + 1)
            smooth = np.rint(20 * np.tanh((codes - codes.mean()) / max(1, len(codes) / 5)))
            table = np.stack([self.rng.integers(-9, 40, len(codes)), smooth.astype(np.int64), codes // 4 * 4])
            which = self.rng.integers(0, 3, self.tail(kind))
            self.add(p.Lookup(first, table, which, int(self.rng.integers(-2, 5))), x)

    def draw_compare(self) -> None:
        if (x := self.pick()) is not None:
            y = self.pick(lambda t: t.shape == self.net.types[x].shape)
            if y is not None and self.net.types[y].shape == self.net.types[x].shape:
                self.add(p.Compare(), x, y)

    def draw_select(self) -> None:
        bits = [
            t for t, k in enumerate(self.net.types) if k.lo.min(initial=0) >= 0 and k.hi.max(initial=0) <= 1
        ]
        bits = [t for t in bits if int(self.net.types[t].frac.max(initial=0)) == 0]
        if bits:
            c = int(self.rng.choice(bits))
            shape = self.net.types[c].shape
            a, b = (self.pick(lambda t: t.shape == shape) for _ in range(2))
            if a is not None and b is not None:
                self.add(p.Select(), c, a, b)

    def draw_argmax(self) -> None:
        if (x := self.pick(lambda t: len(t.shape) > 0 and t.shape[-1] > 1)) is not None:
            self.add(p.ArgMax(), x)

    def draw_constant(self) -> None:
        shape = self.net.types[int(self.rng.integers(len(self.net.types)))].shape
        self.net.add(p.Constant(self.small(shape), self.rng.integers(-1, 4, shape)))

    def draw_take(self) -> None:
        if (x := self.pick()) is not None:
            size = self.net.types[x].size
            shape = [(4,), (2, 3), (3, 2), (2, 2)][int(self.rng.integers(4))]
            self.add(p.Take(self.rng.integers(-1, size, shape)), x)

    def draw_reshape(self) -> None:
        if (x := self.pick(lambda t: t.size in (4, 6))) is not None:
            shape = (2, self.net.types[x].size // 2) if self.rng.random() < 0.5 else (self.net.types[x].size,)
            self.add(p.Reshape(shape), x)

    def draw_concat(self) -> None:
        if (x := self.pick(lambda t: len(t.shape) > 0)) is not None:
            rest = self.net.types[x].shape[1:]
            y = self.pick(lambda t: len(t.shape) == len(rest) + 1 and t.shape[1:] == rest)
            if y is not None and self.net.types[x].shape[0] + self.net.types[y].shape[0] < 9:
                self.add(p.Concat(0), x, y)

    def draw_window(self) -> None:
        if (x := self.pick(lambda t: len(t.shape) == 2 and t.shape[0] > 1)) is not None:
            pad = (int(self.rng.integers(0, 2)), int(self.rng.integers(0, 2)))
            stride, edge = int(self.rng.integers(1, 3)), int(self.rng.integers(0, 2))
            if self.net.types[x].size <= 12:
                self.add(p.Window((2,), (stride,), (1,), (pad,), edge), x)

    def program(self, steps: int) -> TensorProgram:
        """Return a program of about ``steps`` primitives; what nothing reads is an output."""
        for _ in range(steps):
            self.step()
        free = [t for t in range(len(self.net.inputs), len(self.net.types)) if t not in self.used]
        free = [t for t in free if self.net.types[t].size]
        return self.net.program(*(free or [len(self.net.types) - 1]))


def drawn(seed: int, steps: int = 12) -> TensorProgram:
    """Return a random program."""
    return Draw(seed).program(steps)


def everything(seed: int = 5) -> TensorProgram:
    """Return one program with every primitive of tensors, no value of which is constant."""
    rng = np.random.default_rng(seed)
    net = Net(((4, 3), "fixed<5,2>"), ((6,), "ufixed<7,3>"))
    into = p.Requantize.of
    windows = net.add(p.Window((2,), (1,), (1,), ((1, 0),)), 0)
    conv = net.add(p.ConstMatmul(rng.integers(-7, 8, (6, 4)), 3), windows, layer="conv")
    conv = net.add(p.AddConst(rng.integers(-20, 20, 4), 4), conv, layer="conv")
    act = net.add(into(Quantizer.parse("fixed<6,3,RND_CONV,SAT>")), conv, layer="act")
    pool = net.add(p.Reduce("max"), net.add(p.Reshape((2, 8)), act), layer="pool")
    relu = net.add(p.Relu(), act)
    gate = net.add(
        p.Lookup(ints(-32), np.rint(7 / (1 + np.exp(-np.arange(-32, 32) / 8)))[None], ints(0), 4),
        act,
        layer="gate",
    )
    gated = net.add(p.Combine("mul"), relu, gate, layer="gated")
    scores = net.add(p.Contract(), gated, net.add(p.Take(rng.integers(0, 16, (4, 2))), act), layer="scores")
    short = net.add(into(Quantizer.parse("fixed<9,5,RND,SAT_SYM>")), scores, layer="short")
    scaled = net.add(p.MulConst(ints([3, -5]), 2), short)
    rescaled = net.add(p.Rescale(ints([11, 7]), ints([3, 100]), ints([4, 5]), ints(-60), ints(63), 3), scaled)
    clipped = net.add(p.Clip(-9, 25, 2), scaled)
    top = net.add(p.Combine("max"), rescaled, clipped, layer="top")
    best = net.add(p.ArgMax(), net.add(p.Reshape((8,)), top), layer="best")
    levels = net.add(
        p.Steps(ints([-60, -7, 0, 1, 40]), ints(-2), ints([1, 3, 1, -2, 4]), 1),
        net.add(p.Reshape((8,)), short),
        layer="levels",
    )
    more = net.add(p.Compare(), levels, net.add(p.Constant(ints([1, 0, 2, -1] * 2), ints(0))), layer="more")
    chosen = net.add(p.Select(), more, levels, net.add(p.Reshape((8,)), top), layer="chosen")
    wide = net.add(
        p.Combine("mul"),
        net.add(p.Reduce("sum"), scores),
        net.add(p.Take(ints([0, 1, 2, 3])), 1),
        layer="wide",
    )
    low = net.add(
        p.Combine("min"), net.add(p.Reshape((1, 4)), wide), net.add(p.Reshape((2, 4)), chosen), layer="low"
    )
    wrapped = net.add(into(Quantizer.parse("fixed<6,4,TRN,WRAP>")), low, layer="wrapped")
    inside = net.add(into(Quantizer.parse("fixed<5,4,RND_INF,SAT_ZERO>")), low, layer="inside")
    joined = net.add(p.Concat(0), wrapped, inside, layer="joined")
    return net.program(
        joined, best, pool, net.add(p.Combine("sub"), wide, net.add(p.Combine("add"), wide, wide))
    )
