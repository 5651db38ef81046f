# SPDX-License-Identifier: Apache-2.0
"""From a typed network to engines: which tensor travels as beats, and where beats are gathered.

The third reading of the typed program, beside emulator and lowering.  A tensor whose positions all get the same
treatment stays on its stream; what mixes positions needs an engine: windows a line buffer, sums over positions an
accumulator, a dense layer behind a stream a folded one.  Everything else gathers the event first, which is always
possible and never wrong, only larger.
"""

from __future__ import annotations

from math import prod

import numpy as np

from l1ml.errors import ConfigError, ModelError, RangeError
from l1ml.graph import primitives as p
from l1ml.graph.program import TensorProgram, TensorStep
from l1ml.graph.tensor import TensorType
from l1ml.plan.attachments import Attachments
from l1ml.plan.beat import ELEMENTWISE, on_beats, with_lanes
from l1ml.plan.moves import Origin
from l1ml.plan.network import Body, EngineNetwork
from l1ml.plan.rolling import recurrences
from l1ml.plan.streams import Raster, Stream
from l1ml.plan.values import Choices, Fixed, Local, Mixed, Value
from l1ml.plan.window import WindowEngine
from l1ml.types.fixed import Overflow, Rounding


def lay_out(program: TensorProgram, raster: Raster, choices: Choices) -> EngineNetwork:
    """Return the engines of a network.

    Args:
        program: the typed network.
        raster: how its input arrives: the positions are its leading axes; `WHOLE` for all at once.
        choices: what is folded, and how, and what is split.

    Raises:
        ModelError: the raster does not fit the input.
    """
    return _Layout(program, raster, choices).network()


MAX_CUTS = 2
"""Parts of one tensor with an engine each; where there are more, such as all time steps, the tensor is gathered."""


class _Layout(Attachments):
    def network(self) -> EngineNetwork:
        """Read the program, step by step."""
        rolled, done = recurrences(self.program), -1
        for tensor, step in self.program.numbered():
            self.number, self.layer = tensor - len(self.program.inputs), step.layer
            if self.number <= done:
                continue
            loop = rolled.get(self.number)
            made = None if loop is None else self._scanned(loop)
            if made is None:
                self.values[tensor] = self._step(step, [self.values[s] for s in step.sources])
            else:
                assert loop is not None
                self.values[loop.result], done = made, loop.last
        self.layer = "outputs"
        ends = [self._output(t) for _, t in self.program.outputs]
        types = tuple(self.program.type_of(t) for _, t in self.program.outputs)
        if self.reloads:  # other weights may give wider results
            types = tuple(self.streams[s].type.reshaped(t.shape) for s, t in zip(ends, types, strict=True))
        return EngineNetwork(tuple(self.streams), self._finished(ends), tuple(ends), types)

    # Steps.

    def _step(self, step: TensorStep, xs: list[Value]) -> Value:
        if all(isinstance(x, Fixed) for x in xs):
            return self._constant(step, [x for x in xs if isinstance(x, Fixed)])
        if isinstance(step.op, p.Move):
            assert not isinstance(xs[0], Fixed)
            return self._moved(step.op, xs[0])
        xs = self._in_turn(xs)
        made = self._special(step, xs)
        if made is None:
            made = self._mapped(step, xs)
        for bring in (self._spread, self._met):
            operands = bring(step.op, xs) if made is None else None
            if operands is not None:
                made = self._mapped(step, operands)
        if made is None:
            made = self._mapped(step, [x if isinstance(x, Fixed) else self._whole(x) for x in xs])
        if made is None:
            raise ModelError(
                f"a step {type(step.op).__name__} cannot be laid out", where=(step.layer,)
            )  # pragma: no cover
        return made

    def _constant(self, step: TensorStep, xs: list[Fixed]) -> Fixed:
        if isinstance(step.op, p.Constant):
            return Fixed(step.op, step.type)
        codes = step.op.emulate([x.op.codes[None] for x in xs], [x.type for x in xs])
        op = p.Constant(np.broadcast_to(codes, (1, *step.type.shape))[0], step.type.frac)
        return Fixed(op, step.type)

    def _mapped(self, step: TensorStep, xs: list[Value]) -> Local | None:
        """Append a step to a body; None where it mixes positions, or meets something else than its own stream."""
        known = [x for x in xs if isinstance(x, Local | Fixed)]
        if len(known) < len(xs):
            return None
        locals_ = [x for x in known if isinstance(x, Local)]
        full = step.op.shape_of(*(x.shape if isinstance(x, Local) else x.type.shape for x in known))
        elementwise = isinstance(step.op, ELEMENTWISE)
        shape = full if elementwise else locals_[0].shape
        rank = len(shape)
        seen = self._common(step, locals_, shape)
        if seen is None:
            return None
        raster, axes = seen
        op = on_beats(step.op, shape, axes)
        if op is None:
            return self._attached(step.op, known, self.program.type_of(step.sources[0]))
        body, tensors = self._joined(locals_)
        given, it = [], iter(tensors)
        for x in known:
            if isinstance(x, Local):
                given.append(self._ranked(step.op, body, next(it), x, rank))
                continue
            fixed = self._fixed(body, x, raster, axes, rank)
            if fixed is None:
                return self._attached(step.op, known, self.program.type_of(step.sources[0]))
            given.append(fixed)
        if isinstance(op, p.Rescale | p.Steps | p.Lookup):
            source = self.program.type_of(step.sources[0])
            if self.reloads and _wider(body.type_of(given[0]), source):
                raise ConfigError(
                    "its table is made for the results of today's weights, and reloadable ones may give others",
                    where=(step.layer,),
                    fix="put a quantizer that saturates in front of it, or leave reloadable out",
                )
            grid = self._same_grid(body, given[0], source, axes)
            if grid is None:
                return None
            given[0] = grid
        if self.reloads and _changes_nothing(op, body.type_of(given[0])):
            return Local(raster, tuple(full), axes, body, given[0])
        steps = len(body.steps)
        try:
            tensor = self._added(body, op, tuple(given))
        except (RangeError, ModelError):
            del body.steps[steps:]
            if raster.whole:
                raise
            return None
        return Local(raster, tuple(full), axes, body, tensor)

    def _common(
        self, step: TensorStep, xs: list[Local], shape: tuple[int, ...]
    ) -> tuple[Raster, tuple[int, ...]] | None:
        """Return raster and streamed axes that all operands share, None where they differ."""
        first, rank = xs[0], len(shape)
        right = {tuple(a - len(x.shape) for a in x.axes) for x in xs}
        if any(x.raster != first.raster for x in xs) or len(right) != 1:
            return None
        axes = tuple(rank + a for a in next(iter(right)))
        concat = isinstance(step.op, p.Concat)
        for x in xs:
            if not concat and any(x.shape[a - rank] != shape[a] for a in axes):
                return None
        return first.raster, axes

    def _ranked(self, op: p.Primitive, body: Body, tensor: int, x: Local, rank: int) -> int:
        """Give a tensor as many axes as the others, behind that of the lanes."""
        missing = rank - len(x.shape)
        if not missing or not isinstance(op, ELEMENTWISE):
            return tensor
        kind = body.type_of(tensor)
        return self._added(body, p.Reshape((kind.shape[0], *(1,) * missing, *kind.shape[1:])), (tensor,))

    def _fixed(self, body: Body, x: Fixed, raster: Raster, axes: tuple[int, ...], rank: int) -> int | None:
        missing = rank - len(x.type.shape)
        shape = (1,) * max(missing, 0) + x.type.shape
        op = p.Constant(x.op.codes.reshape(shape), np.broadcast_to(x.op.frac, x.type.shape).reshape(shape))
        one = on_beats(op, shape, axes)
        if one is None:
            return None
        assert isinstance(one, p.Constant)
        inner = tuple(n for a, n in enumerate(shape) if a not in axes)
        return self._added(body, with_lanes(one, raster.lanes, inner), ())

    def _same_grid(self, body: Body, tensor: int, kind: TensorType, axes: tuple[int, ...]) -> int | None:
        """Bring a tensor to the grid that a table of the program was made for."""
        frac = np.unique(kind.frac, axis=None)
        grid = kind.frac
        for axis in axes:
            first = np.take(grid, [0], axis=axis)
            if not np.array_equal(np.broadcast_to(first, grid.shape), grid):
                return None
            grid = first
        grid = (
            grid.reshape([n for a, n in enumerate(grid.shape) if a not in axes])
            if len(frac) > 1
            else frac[:1]
        )
        own = body.type_of(tensor)
        wanted = np.broadcast_to(grid, own.shape)
        if np.array_equal(own.frac, wanted):
            return tensor
        up, down = np.maximum(wanted - own.frac, 0), np.maximum(own.frac - wanted, 0)
        # What is dropped is zero: the tensor has these values in the program, too, on its own grid; other weights
        # may give others.
        if self.reloads and bool((((own.lo | own.hi) & ((1 << down) - 1)) != 0).any()):
            return None
        lo, hi = (own.lo >> down) << up, (own.hi >> down) << up
        op = p.Requantize(lo, hi, wanted, Rounding.TRN, Overflow.SAT)
        return self._added(body, op, (tensor,))

    # Moves.

    def _moved(self, op: p.Move, x: Local | Mixed) -> Value:
        if isinstance(op, p.Window):
            made = self._window(op, x)
            if made is not None:
                return made
        base = x.base if isinstance(x, Mixed) else x
        if base.raster.whole and isinstance(x, Local):
            return self._moved_whole(op, x)
        origin = x.origin if isinstance(x, Mixed) else Origin.of(x.shape, x.axes)
        moved = origin.moved(op.indices(origin.position.shape))
        axes = moved.streamed_axes(base.raster.positions)
        inner = None if axes is None else moved.of_one_position(axes)
        if axes is None or inner is None:
            made = self._cut(base, moved)
            return Mixed(base, moved) if made is None else made
        return Local(base.raster, moved.position.shape, axes, base.body, self._taken(base, inner))

    def _moved_whole(self, op: p.Move, x: Local) -> Local:
        indices = op.indices(x.shape)
        tensor = self._taken(x, indices)
        return Local(x.raster, indices.shape, (), x.body, tensor)

    def _window(self, op: p.Window, x: Local | Mixed) -> Local | None:
        base = x.base if isinstance(x, Mixed) else x
        assert isinstance(base, Local)
        axes = len(op.kernel)
        pads = op.padding
        if isinstance(x, Mixed):
            sizes = tuple(base.shape[a] for a in base.axes)
            more = x.origin.padding(sizes, prod(base.inner)) if len(sizes) == axes else None
            if more is None or base.axes != tuple(range(axes)):
                sent = self._upsampled(x)
                if sent is not None:
                    return self._window(op, sent)
                shape = x.origin.position.shape
                found = self._shared(shape[:-1]) if axes in (1, 2) and prod(op.kernel) > 1 else None
                if found is None:
                    return None
                given = self._beside(x, found[0], shape, tuple(range(found[1])))
                return self._window(op, given) if isinstance(given, Local) else None
            pads = tuple((a + c, b + d) for (a, b), (c, d) in zip(pads, more, strict=True))
        if base.raster.whole and isinstance(x, Local) and axes in (1, 2) and prod(op.kernel) > 1:
            base = self._split(base)
        if base.raster.whole or base.axes != tuple(range(axes)) or axes > 2 or len(base.inner) != 1:
            return None
        if self._sizes(base) != base.shape[:axes]:
            return None
        if op.edge and any(any(pair) for pair in pads):
            return None
        if prod(op.kernel) == 1 and prod(op.strides) == 1 and not any(any(pair) for pair in pads):
            return base
        return self._windowed(op, base, pads)

    def _cut(self, x: Local, origin: Origin) -> Local | None:
        """Return a part of a stream that skips rows and columns, by an engine that passes only what is left."""
        raster, every = x.raster, self.program.steps
        source = every[self.number].sources[0]
        if sum(isinstance(s.op, p.Move) and s.sources[0] == source for s in every) > MAX_CUTS:
            return None
        found, axes = origin.cut(raster.columns), origin.moving()
        inner = None if found is None else origin.of_one_position(axes)
        if found is None or inner is None:
            return None
        strides, pads = [], []
        for taken, size in zip(found, (raster.rows, raster.columns), strict=True):
            steps = np.unique(np.diff(taken))
            if len(steps) > 1:
                return None
            strides.append(int(steps[0]) if len(steps) else 1)
            pads.append((-int(taken[0]), int(taken[-1]) + 1 - size))
        first = 1 if raster.rows == 1 else 0
        op = p.Window((1,) * (2 - first), tuple(strides[first:]), (1,) * (2 - first), ((0, 0),) * (2 - first))
        left = self._windowed(op, x, tuple(pads[first:]))
        if left is None:
            return None
        return Local(left.raster, origin.position.shape, axes, left.body, self._taken(left, inner))

    @staticmethod
    def _sizes(x: Local) -> tuple[int, ...]:
        """Return the axes of an image or a sequence as its beats have them."""
        raster = x.raster
        return (raster.rows, raster.columns) if len(x.axes) == 2 else (raster.columns,)

    def _windowed(self, op: p.Window, x: Local, pads: tuple[tuple[int, int], ...]) -> Local | None:
        source = self._flowing(x)
        stream, raster = self.streams[source], x.raster
        flat = len(op.kernel) == 1
        two = [(1, v[0]) if flat else (v[0], v[1]) for v in (op.kernel, op.strides, op.dilation)]
        pad2 = ((0, 0), pads[0]) if flat else (pads[0], pads[1])
        try:
            engine = WindowEngine(
                rows=raster.rows, columns=raster.columns, lanes=raster.lanes,
                pixel_bits=max(1, stream.position_bits), kernel=two[0], strides=two[1], dilation=two[2], padding=pad2,
            )  # fmt: skip
        except ConfigError:
            return None
        rows, columns = engine.out_rows, engine.out_columns
        counts = (columns,) if flat else (rows, columns)
        (kr, kc), (_, sc), (_, dc) = two
        lanes = max(1, raster.lanes // sc) if raster.lanes % sc == 0 else 1
        lanes = min(lanes, columns)
        width = (engine_lanes(raster.lanes, sc) - 1) * sc + (kc - 1) * dc + 1
        kind = stream.type
        if any(max(pair) > 0 for pair in pads):
            kind = TensorType(np.minimum(kind.lo, 0), np.maximum(kind.hi, 0), kind.frac)
        made = Raster(rows, columns, lanes)
        number = self._engine(engine, source, Stream(made, kind, kr * width))
        body = self._body(number)
        channels = stream.elements
        lane, tap_r, tap_c, channel = np.ogrid[:lanes, :kr, :kc, :channels]
        pixel = tap_r * width + lane * sc + tap_c * dc
        taken = (pixel * channels + channel).reshape(lanes, kr * kc * channels)
        tensor = self._added(body, p.Take(taken), (0,))
        return Local(made, (*counts, kr * kc * channels), tuple(range(len(counts))), body, tensor)

    def _output(self, tensor: int) -> int:
        value = self.values[tensor]
        if isinstance(value, Fixed):
            raise ModelError("an output is a constant", where=(self.layer,), fix="remove it from the network")
        whole = self._whole(value)
        wanted = self.program.type_of(tensor)
        made = self._same_grid(whole.body, whole.tensor, wanted, ())
        if made is None:  # weights to come may need a finer grid than those of today
            assert self.reloads, "a result is finer than its type says"
            made = whole.tensor
        return self._flowing(Local(whole.raster, whole.shape, (), whole.body, made))


def _changes_nothing(op: p.Primitive, kind: TensorType) -> bool:
    """Tell whether a quantizer holds all that comes, as the one that only names the type of an output does."""
    if not isinstance(op, p.Requantize) or op.overflow is not Overflow.SAT:
        return False
    made = op.infer(kind)
    return all(np.array_equal(getattr(made, n), getattr(kind, n)) for n in ("lo", "hi", "frac"))


def _wider(own: TensorType, given: TensorType) -> bool:
    """Tell whether a tensor has values, or a grid, that another one does not have."""
    most, least = (np.ldexp(n.astype(np.float64), -own.frac) for n in (own.hi, own.lo))
    high, low = (np.ldexp(n.astype(np.float64), -given.frac) for n in (given.hi, given.lo))
    return bool(most.max() > high.max() or least.min() < low.min() or own.max_frac > given.max_frac)


def engine_lanes(lanes: int, stride: int) -> int:
    """Return how many windows a beat of a window engine holds."""
    return lanes // stride if lanes % stride == 0 else 1
