# SPDX-License-Identifier: Apache-2.0
"""Recurrent cells, unrolled over their time steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from l1ml.graph.functions import Function, Offset, Relu, Scale
from l1ml.graph.layers.base import Weighted
from l1ml.graph.net import Net, T
from l1ml.types.arrays import RealArray
from l1ml.types.fixed import Quantizer
from l1ml.types.grid import Grid

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


@dataclass(frozen=True, eq=False)
class Recurrent(Weighted):
    """SimpleRNN, GRU or LSTM over (time, n_in); gate order as Keras: LSTM i f c o, GRU z r h.

    Args:
        kernel: (n_in, gates * units).
        bias: (gates * units,), added to the product with the input.
        recurrent: (units, gates * units).
        recurrent_bias: (gates * units,), added to the product with the state (GRU with ``reset_after``).
        cell: ``rnn``, ``gru`` or ``lstm``.
        activation: of the candidate and of the output.
        recurrent_activation: of the gates.
        state_quantizer: applied to the previous states (h, then c) at every step, None for none.
        reset_after: GRU: the reset gate multiplies the product with the state, not the state.
        return_sequences: give every step, (time, units), instead of the last.
        go_backwards: read the time steps from the last to the first.
        types: for a float model: of sums before an activation that needs a table, of gates, of candidates, of
            the cell state, and of the output.

    Further inputs after the first are initial states (h, then c), (units,) each; else they are 0.
    """

    recurrent: RealArray = field(kw_only=True)
    recurrent_bias: RealArray | None = field(default=None, kw_only=True)
    cell: str = field(kw_only=True)
    activation: tuple[Function, ...] = field(kw_only=True)
    recurrent_activation: tuple[Function, ...] = field(default=(), kw_only=True)
    state_quantizer: tuple[Quantizer | None, ...] = field(default=(), kw_only=True)
    reset_after: bool = field(default=False, kw_only=True)
    return_sequences: bool = field(default=False, kw_only=True)
    go_backwards: bool = field(default=False, kw_only=True)
    recurrent_scale: RealArray | None = field(default=None, kw_only=True)
    types: tuple[Quantizer, Quantizer, Quantizer, Quantizer, Quantizer] | None = field(
        default=None, kw_only=True
    )

    @property
    def units(self) -> int:
        """Size of the state."""
        return int(self.recurrent.shape[0])

    def emit(self, net: Net[T], *xs: T) -> T:
        """Unroll: one cell per time step."""
        shape = net.shape(xs[0])
        if len(shape) != 2 or shape[1] != self.kernel.shape[0]:
            raise self.wrong(f"expects (time, {self.kernel.shape[0]}), its input has shape {shape}")
        count = 2 if self.cell == "lstm" else 1
        given = list(xs[1:])
        states = given or [net.constant(np.zeros(self.units)) for _ in range(count)]
        if len(states) != count:
            raise self.wrong(f"reads {len(states)} initial states; {count} are expected")
        steps = range(shape[0])[:: -1 if self.go_backwards else 1]
        made = []
        for step in steps:
            x = net.take(xs[0], np.arange(shape[1]) + step * shape[1])
            states = self._step(net, x, [self._held(net, s, k) for k, s in enumerate(states)])
            made.append(states[0])
        if not self.return_sequences:
            return made[-1]
        return net.concat(0, *(net.reshape(h, (1, self.units)) for h in made))

    def _held(self, net: Net[T], state: T, which: int) -> T:
        quantizers = self.state_quantizer
        quantizer = quantizers[min(which, len(quantizers) - 1)] if quantizers else None
        return state if quantizer is None else net.quantize(state, Grid.of(quantizer))

    def _step(self, net: Net[T], x: T, states: list[T]) -> list[T]:
        return {"rnn": self._rnn, "gru": self._gru, "lstm": self._lstm}[self.cell](net, x, states)

    def _product(self, net: Net[T], x: T, gate: int, *, state: bool = False) -> T:
        """Return the part of one gate that comes from the input or from the state, with its bias."""
        own = slice(gate * self.units, (gate + 1) * self.units)
        kernel, bias, scale = (
            (self.recurrent, self.recurrent_bias, self.recurrent_scale)
            if state
            else (self.kernel, self.bias, self.scale)
        )
        factor = None if scale is None else np.broadcast_to(scale, kernel.shape[1:])[own]
        y = net.matmul(x, kernel[:, own], factor)
        return y if bias is None else net.add(y, bias[own])

    def _typed(self, net: Net[T], x: T, which: int) -> T:
        return x if self.types is None else net.quantize(x, Grid.of(self.types[which]), declared=True)

    def _gate(self, net: Net[T], total: T, functions: tuple[Function, ...], which: int) -> T:
        if not all(isinstance(f, Relu) for f in functions):  # a table follows
            total = self._typed(net, total, 0)
        return self._typed(net, net.map(total, *functions), which)

    def _rnn(self, net: Net[T], x: T, states: list[T]) -> list[T]:
        (h,) = states
        total = net.combine("add", self._product(net, x, 0), self._product(net, h, 0, state=True))
        return [self._gate(net, total, self.activation, 4)]

    def _lstm(self, net: Net[T], x: T, states: list[T]) -> list[T]:
        h, c = states
        i, f, g, o = (
            self._gate(
                net,
                net.combine("add", self._product(net, x, gate), self._product(net, h, gate, state=True)),
                self.activation if gate == 2 else self.recurrent_activation,
                2 if gate == 2 else 1,
            )
            for gate in range(4)
        )
        c = net.combine("add", net.combine("mul", f, c), net.combine("mul", i, g))
        c = self._typed(net, c, 3)
        return [self._typed(net, net.combine("mul", o, self._gate(net, c, self.activation, 2)), 4), c]

    def _gru(self, net: Net[T], x: T, states: list[T]) -> list[T]:
        (h,) = states
        z, r = (
            self._gate(
                net,
                net.combine("add", self._product(net, x, gate), self._product(net, h, gate, state=True)),
                self.recurrent_activation,
                1,
            )
            for gate in range(2)
        )
        if self.reset_after:
            inner = net.combine("mul", r, self._typed(net, self._product(net, h, 2, state=True), 0))
        else:
            inner = self._product(net, self._typed(net, net.combine("mul", r, h), 4), 2, state=True)
        candidate = self._gate(net, net.combine("add", self._product(net, x, 2), inner), self.activation, 2)
        one_minus = net.map(z, Scale(np.asarray(-1, np.float32)), Offset(np.asarray(1, np.float32)))
        h = net.combine("add", net.combine("mul", z, h), net.combine("mul", one_minus, candidate))
        return [self._typed(net, h, 4)]
