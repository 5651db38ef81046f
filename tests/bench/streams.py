# SPDX-License-Identifier: Apache-2.0
"""Prints the tables of `docs/streams.md`: jets, the SVHN networks, LSTM, interaction network, DeepSets, attention.

    python tests/bench/streams.py [NAME ...] [--events 40] [--yosys]

Each network is converted as the row says, then some events go through emulator and RTL (Verilator), link included.
The models are those of `datasets/` and, where they lie beside the checkout, of `../shared`; others are left out, which
is said.  With ``--yosys`` the block is synthesized, link included, which takes minutes for the large ones.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import l1ml
from l1ml.graph.emulate import Emulator
from l1ml.synth.yosys import synthesize
from l1ml.validate.core import rtl_sources
from l1ml.validate.replay import LinkSimulation, flat

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CORPUS = SHARED / "corpus"
SEED = 3
STREAMED = {"interface": "emp", "hardware": "streamed"}


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Args:
        way: how it is built, for people.
        model: file of the model.
        options: of the conversion.
        golden: file with inputs and logits of the framework, if there is one.
    """

    way: str
    model: Path
    options: dict[str, Any] = field(default_factory=dict)
    golden: Path | None = None


def _jets() -> list[Row]:
    model = ROOT / "datasets" / "jets" / "jet_q6.h5"
    common = {"input_type": "fixed<14,4>", "clock_mhz": 360.71}
    ways: dict[str, dict[str, Any]] = {
        "parallel": {"interface": "parallel"},
        "interval 3": {"interface": "parallel", "plan": {"interval": 3}},
        "interval 9, TMUX 1": {**STREAMED, "tmux": 1},
        "TMUX 6": {**STREAMED, "tmux": 6},
        "interval 3, spare: lut": {"interface": "parallel", "plan": {"interval": 3, "spare": "lut"}},
        "interval 9, spare: lut": {**STREAMED, "tmux": 1, "plan": {"spare": "lut"}},
        "TMUX 6, spare: lut": {**STREAMED, "tmux": 6, "plan": {"spare": "lut"}},
    }
    return [Row(way, model, {**common, **given}) for way, given in ways.items()]


def _svhn(kind: str) -> list[Row]:
    folder = SHARED / "data" / "digits"
    common = {"input_type": "ufixed<8,0>", "clock_mhz": 200.0}
    ways: dict[str, dict[str, Any]] = {
        "5.25 us": {"latency_budget_ns": 5250},
        "6 us": {"latency_budget_ns": 6000},
        "5.25 us, spare: lut": {"latency_budget_ns": 5250, "plan": {"spare": "lut"}},
        "6 us, spare: lut": {"latency_budget_ns": 6000, "plan": {"spare": "lut"}},
        "2 us, 4 pixels per beat": {"latency_budget_ns": 2000, "plan": {"lanes": 4}},
    }
    golden = folder / f"golden_{kind}.npz"
    return [Row(way, folder / f"cnn_{kind}.h5", {**common, **given}, golden) for way, given in ways.items()]


def _lstm() -> list[Row]:
    folder = CORPUS / "keras_lstm"
    weights = {"weights": str(folder / "KERAS_lstm_model_weights.h5")}
    scanned = {
        "clock_mhz": 160.32, "interface": "axis", "hardware": "streamed", "plan": {"interval": 20, "lanes": 1},
    }  # fmt: skip
    unrolled = {
        "clock_mhz": 80.16,
        "interface": "parallel",
    }  # twenty cells: as wide as the scanned one they take 5 M LUT
    wide, narrow = ({"input_type": kind, "precision": kind} for kind in ("fixed<16,6>", "fixed<12,6>"))
    ways = {
        "scanned": {**wide, **scanned, "links": {"word_bits": 96}},
        "scanned, fixed<12,6>": {**narrow, **scanned, "links": {"word_bits": 72}},
        "unrolled, fixed<12,6>": {**narrow, **unrolled},
    }
    return [Row(way, folder / "KERAS_lstm_model.json", {**weights, **given}) for way, given in ways.items()]


def _multiplexed(clock_mhz: float, parallel_mhz: float, model: Path, **common: Any) -> list[Row]:
    ways: dict[str, dict[str, Any]] = {
        "parallel": {"interface": "parallel", "clock_mhz": parallel_mhz},
        "TMUX 1": {**STREAMED, "tmux": 1},
        "TMUX 6": {**STREAMED, "tmux": 6},
    }
    return [Row(way, model, {"clock_mhz": clock_mhz, **common, **given}) for way, given in ways.items()]


def tables() -> dict[str, list[Row]]:
    """Return the rows by name of the network."""
    sets, graph = CORPUS / "l1_jet_id_deepsets", CORPUS / "jetid_interaction_network"
    return {
        "jets": _jets(),
        "svhn_q": _svhn("q"),
        "svhn_qp": _svhn("qp"),
        "lstm": _lstm(),
        "interaction": _multiplexed(
            200.0, 80.16, graph / "model_QInteractionNetwork_Conv1D_nconst_8_nbits_8.h5", input_type="fixed<8,4>",
        ),
        "deepsets": _multiplexed(
            360.71, 200.0, sets / "_extracted_config.json", weights=str(sets / "model_weights.h5"),
            input_type="fixed<16,6>", precision="fixed<12,5>",
        ),
        "mha8": _multiplexed(360.71, 360.71, CORPUS / "hgq2_mha8" / "mha8part.keras", input_type="fixed<12,4>"),
    }  # fmt: skip


def events_of(row: Row, made: l1ml.Project, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (codes of the inputs, codes of the outputs) of events: the golden ones, else random codes."""
    emulator, program = Emulator(made.program), made.program
    if row.golden is not None:
        golden = np.load(row.golden)
        x = [golden["input_0"][:count]]
        assert np.array_equal(emulator.values(x)[0], golden["logits_0"][:count]), "not the framework's logits"
    else:
        rng = np.random.default_rng(SEED)
        types = [port.type for port in program.inputs]
        codes = [rng.integers(t.lo, t.hi + 1, (count, *t.shape)) for t in types]
        x = [np.ldexp(c.astype(float), -t.frac) for c, t in zip(codes, types, strict=True)]
    return flat(emulator.input_codes(x)), flat(emulator.codes(x))


def through_rtl(row: Row, made: l1ml.Project, count: int, folder: Path) -> str:
    """Return how many events the RTL gave as the emulator does, in the clock of the manifest."""
    codes, wanted = events_of(row, made, count)
    sent, found, _ = LinkSimulation(made.manifest, made.root, folder).run(codes)
    if len(found.codes) != len(wanted):
        return f"{len(found.codes)} events came"
    latency = found.first_word_cycle - sent.first_word_cycle[: len(wanted)]
    right = (found.codes == wanted).all(axis=1) & (latency == made.latency.cycles)
    return f"{int(right.sum())} of {len(wanted)}"


def line(row: Row, count: int, yosys: bool, folder: Path) -> str:
    """Convert and measure one row."""
    made = l1ml.convert(row.model, output_dir=folder / "project", **row.options)
    used = made.manifest["estimate"]
    cells = [
        row.way, f"{row.options['clock_mhz']:g}", f"{made.interval_cycles}", f"{made.latency.cycles}",
        f"{made.latency.ns / 1e3:.3f}",
        *(f"{used[key]:,.0f}" for key in ("lut", "ff", "dsp", "bram")),
    ]  # fmt: skip
    if yosys:
        top = str(made.manifest["top_module"])
        found = synthesize(list(rtl_sources(made.manifest, made.root)), top, folder / "synth").to_dict()
        cells += [f"{found[key]:,.0f}" for key in ("lut", "ff", "dsp", "bram")]
    if count:
        cells.append(through_rtl(row, made, count, folder / "build"))
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*tables(), []], help="networks; default all")
    parser.add_argument("--only", help="rows whose way is this")
    parser.add_argument("--events", type=int, default=40, help="events through the RTL; 0 for none")
    parser.add_argument("--yosys", action="store_true", help="synthesize, too")
    given = parser.parse_args()
    head = ["", "MHz", "interval", "latency", "us", "LUT", "FF", "DSP", "BRAM"]
    head += [f"{key} (Yosys)" for key in ("LUT", "FF", "DSP", "BRAM")] if given.yosys else []
    head += ["events equal"] if given.events else []
    for name, rows in tables().items():
        if given.names and name not in given.names:
            continue
        print(f"\n### {name}\n", flush=True)
        if not rows[0].model.exists():
            print(f"left out: {rows[0].model.name} is not there", file=sys.stderr)
            continue
        print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
        for row in rows:
            if given.only in (None, row.way):
                with tempfile.TemporaryDirectory() as folder:
                    try:
                        text = line(row, given.events, given.yosys, Path(folder))
                    except l1ml.L1mlError as error:  # of a clock or a budget that this way cannot keep
                        text = f"| {row.way} | {error.what.splitlines()[0]} |"
                    print(text, flush=True)


if __name__ == "__main__":
    main()
