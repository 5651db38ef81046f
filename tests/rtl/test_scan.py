# SPDX-License-Identifier: Apache-2.0
"""Scan in simulation: every result in its clock, whatever comes; every mutant is found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from l1ml.plan.scan import ScanEngine

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).parent))
import engine_bench as eb
from scan_clocks import ScanClocks

pytestmark = pytest.mark.sim

X_BITS, STATE_BITS, Y_BITS = 9, 40, 43
MASK = (1 << STATE_BITS) - 1

CELL = f"""
`default_nettype none
// next state = 5 * state + x + 1, y = {{state ^ x, low bits of x}}
module bench_cell #(parameter int unsigned Latency = 1) (
  input wire logic clk_i, input wire logic rst_i, input wire logic valid_i,
  input wire logic [{X_BITS + STATE_BITS - 1}:0] data_i,
  output logic valid_o, output logic [{Y_BITS + STATE_BITS - 1}:0] data_o
);
  logic [{STATE_BITS - 1}:0] x, state;
  logic [{Y_BITS + STATE_BITS - 1}:0] made;
  assign x = {STATE_BITS}'(data_i[{X_BITS + STATE_BITS - 1}:{STATE_BITS}]);
  assign state = data_i[{STATE_BITS - 1}:0];
  assign made = {{state ^ x, x[2:0], {STATE_BITS}'(5 * state + x + 1)}};
  if (Latency == 0) begin : gen_now
    logic unused;
    assign unused = clk_i ^ rst_i;
    assign {{valid_o, data_o}} = {{valid_i, made}};
  end else begin : gen_later
    logic [Latency-1:0] valid_q;
    assign valid_o = valid_q[Latency-1];
    if (Latency == 1) begin : gen_one
      always_ff @(posedge clk_i) valid_q <= valid_i & ~rst_i;
    end else begin : gen_many
      always_ff @(posedge clk_i) valid_q <= rst_i ? '0 : {{valid_q[Latency-2:0], valid_i}};
    end
    l1ml_delay #(.Width({Y_BITS + STATE_BITS}), .Latency(Latency)) data_delay (
      .clk_i(clk_i), .data_i(made), .data_o(data_o));
  end
endmodule
`default_nettype wire
"""


def cell(x: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return y and the next state."""
    return (state ^ x) << 3 | x & 7, (5 * state + x + 1) & MASK


def engine(
    steps: int, latency: int, interval: int, slot: int = 0, *, initial: int = 0x1234567, **more: object
) -> ScanEngine:
    return ScanEngine(
        steps=steps, slot=slot or ScanEngine.smallest_slot(latency, steps, interval), cell_latency=latency,
        x_bits=X_BITS, state_widths=(STATE_BITS,), y_bits=Y_BITS, initial=(initial,), interval=interval, **more,
    )  # fmt: skip


ENGINES = {
    "one": engine(1, 1, 1),
    "one_now": engine(1, 0, 3),
    "full": engine(4, 3, 4),  # slot 3 = latency: the state goes straight back
    "full_later": engine(4, 4, 4),  # slot 5
    "now": engine(3, 0, 3),
    "six": engine(6, 9, 11),
    "slack": engine(5, 2, 12, 5),
    "lead": engine(5, 2, 12, lead=3),
    "back": engine(6, 4, 7, go_backwards=True),
    "all": engine(3, 2, 8, return_sequences=True),
    "all_back": engine(4, 1, 9, 2, return_sequences=True, go_backwards=True),
    "burst": engine(6, 3, 7, return_sequences=True),
    "burst_early": engine(9, 1, 10, 3, return_sequences=True, lead=4),
    "burst_long": engine(8, 3, 9, return_sequences=True, block_ram=True),
    "burst_deep": engine(3, 6, 5, return_sequences=True),
    "burst_back": engine(5, 0, 6, 5, return_sequences=True, go_backwards=True),
    "block": engine(7, 5, 9, block_ram=True),
}

MUTANTS = {
    "late_token": ("token_d = issue & ~last;", "token_d = issue;"),
    "shallow": ("count_d == CountBits'(Lead) ||", "count_d == CountBits'(Lead + 1) ||"),
    "wrong_beat": ("step + StepBits'(1)};", "step + StepBits'(2)};"),
    "no_kill": ("{Slot{abandon}}", "{Slot{1'b0}}"),
    "no_mark": ("mark_next & ~{Slot{fresh}}", "mark_next"),
    "blind": ("(CountBits'(step) >= count_q)", "1'b0"),
    "warm": ("cool_q <= CoolBits'(Interval - 1)", "cool_q <= '0"),
    "no_buffer": ("(used_q != UsedBits'(Buffers))", "1'b1"),
    "lost": ("UsedBits'(fresh) + UsedBits'(back)", "UsedBits'(fresh)"),
    "kept": ("- UsedBits'(issue & last)", ""),
    "first": ("first_q <= enter", "first_q <= 1'b0"),
    "unready": ("(fresh | abandon | missing) ready_q", "(fresh | abandon) ready_q"),
    "next": ("if (back) next_q <= newest_q;\n    else if", "if"),
}
BURST_MUTANTS = {
    "open_burst": ("| at_burst)", ")"),
    "skips": ("read_step + StepBits'(1)", "read_step + StepBits'(2)"),
    "short_burst": ("(read_step != StepBits'(Steps - 1))", "(read_step != StepBits'(Steps - 2))"),
    "old_buffer": ("begins ? begin_buffer : read_buffer_q", "read_buffer_q"),
    "no_reset": ("begin_q <= rst_i ? '0 : {", "begin_q <= {"),
}
MUTATED = {f"m_{name}": ("six", change) for name, change in MUTANTS.items()}
MUTATED |= {f"m_{name}": ("burst_long", change) for name, change in BURST_MUTANTS.items()}

assert {name for name, one in ENGINES.items() if one.bursts} == {n for n in ENGINES if n.startswith("burst")}


def case(one: ScanEngine, mutation: tuple[str, str] | None = None) -> eb.Case:
    ins, outs = X_BITS + STATE_BITS, Y_BITS + STATE_BITS
    return eb.Case(
        one.MODULE, {**one.parameters(), **one.literals()}, X_BITS, Y_BITS, mutation,
        body=f"""
          logic {{name}}_go, {{name}}_made;
          logic [{ins - 1}:0] {{name}}_to;
          logic [{outs - 1}:0] {{name}}_from;
          bench_cell #(.Latency({one.cell_latency})) {{name}}_cell (.clk_i(clk_i), .rst_i(rst_i | {{name}}_rst),
            .valid_i({{name}}_go), .data_i({{name}}_to), .valid_o({{name}}_made), .data_o({{name}}_from));
        """,
        ports=", .cell_valid_o({name}_go), .cell_data_o({name}_to), .cell_valid_i({name}_made),"
        " .cell_data_i({name}_from)",
    )  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> eb.Bench:
    made = eb.Bench(tmp_path_factory.mktemp("scan"), extra={"bench_cell": CELL.strip() + "\n"})
    made.cases |= {name: case(one) for name, one in ENGINES.items()}
    made.cases |= {name: case(ENGINES[of], change) for name, (of, change) in MUTATED.items()}
    made.build()
    return made


def expected(one: ScanEngine, given: eb.Traffic) -> eb.Result:
    """Play the steps that the clock model sends into the cell."""
    beats = list(zip(given.valid.tolist(), (given.valid & given.start).tolist(), strict=True))
    out, states, results = {}, {}, {}
    for step in ScanClocks(one).run(beats, tail=one.slot * one.steps + 2):
        if step.step == 0:
            states[step.event] = np.array([one.initial[0]])
        y, states[step.event] = cell(np.array([given.data[step.row]]), states[step.event])
        last = step.step == one.steps - 1
        if one.bursts:
            results.setdefault(step.event, []).append(int(y[0]))
            if step.step == 0:
                results[step.event] = results[step.event][-1:]
            if last:
                end = step.clock + one.cell_latency + 2 - one.steps
                out |= {end + 1 + k: (k == 0, r) for k, r in enumerate(results.pop(step.event))}
        elif last or one.return_sequences:
            start = step.step == 0 if one.return_sequences else last
            out[step.clock + one.cell_latency] = start, int(y[0])
    return eb.Result(out)


def drive(one: ScanEngine, seed: int, kinds: Sequence[eb.Kind], resets: float = 0.0) -> eb.Traffic:
    tail = (one.steps + 3) * one.slot * 2 + one.interval
    return eb.traffic(seed, one.steps, one.interval, X_BITS, kinds, resets=resets, tail=tail)


def test_back_to_back_at_the_interval(bench: eb.Bench) -> None:
    """The twin says what comes out, and when."""
    events = 60
    given = {name: drive(one, 3, [eb.whole] * events) for name, one in ENGINES.items()}
    found = bench.play(given)
    for name, one in ENGINES.items():
        starts = np.arange(events) * one.interval
        rows = starts[:, None] + np.arange(one.steps)
        x = np.array(given[name].data)[rows].reshape(events, one.steps, 1, 1)
        y = one.emulate(x, cell).reshape(events, -1)
        clocks = starts[:, None] + one.times(np.arange(one.steps))
        wanted = {int(clocks[e, k]): (k == 0, int(y[e, k])) for e in range(events) for k in range(y.shape[1])}
        assert found[name].beats == wanted, name


@pytest.mark.parametrize("resets", [0.0, 0.01])
def test_whatever_comes(bench: eb.Bench, resets: float) -> None:
    rng = np.random.default_rng(5)
    for seed in range(6):
        kinds = [eb.KINDS[k] for k in rng.integers(0, len(eb.KINDS), 150)]
        given = {name: drive(one, seed, kinds, resets) for name, one in ENGINES.items()}
        found = bench.play(given, seed=seed + 1)
        for name, one in ENGINES.items():
            wanted = eb.between_resets(given[name], lambda part, one=one: expected(one, part))
            assert found[name].beats == wanted.beats, f"{name}, seed {seed}"
            assert len(wanted.beats) > 20


def test_every_mutant_is_found(bench: eb.Bench) -> None:
    rng = np.random.default_rng(6)
    alive = dict(MUTATED)
    for seed in range(6):
        if not alive:
            break
        kinds = [eb.KINDS[k] for k in rng.integers(0, len(eb.KINDS), 150)]
        wanted, given = {}, {}
        for of in {of for of, _ in alive.values()}:
            given[of] = drive(ENGINES[of], seed, kinds, 0.01)
            wanted[of] = eb.between_resets(given[of], lambda part, one=ENGINES[of]: expected(one, part)).beats
        found = bench.play(given | {name: given[of] for name, (of, _) in alive.items()})
        assert {of: found[of].beats for of in given} == wanted
        alive = {name: entry for name, entry in alive.items() if found[name].beats == wanted[entry[0]]}
    assert not alive
