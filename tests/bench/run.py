# SPDX-License-Identifier: Apache-2.0
"""Measures l1ml against alkaid 0.8.2 on the same networks, machine and run: ``make bench``.

Three questions: how fast is the emulator, how large is the core at an equal clock, how fast is the
co-simulation.  The emulator's speed on a convolutional network is printed alone: alkaid unrolls it into
scalars.  Nothing is asserted; the ratios are printed and, with ``--json``, stored.

Equal clock: l1ml is given the clock.  alkaid is given what a user of it would give for that clock,
``latency_cutoff`` = the adders of 12 bits that fit one period by l1ml's delay model.  Both pipelines are
then judged by that model: ``model MHz`` is the fastest clock of the worst stage, which differs, because
alkaid counts constants, rounding and saturation as no delay.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import alkaid_peer as peer
import cnn

from l1ml.schedule.delay import family_of
from l1ml.synth.yosys import synthesize

PART, CLOCK_MHZ, INPUT_TYPE = "xcvu13p-flga2577-2-e", 360.71, "fixed<14,4>"
ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5
PEER_PARTS = ("emulator", "core", "cosim")


def rate(run: Callable[[], object], events: int) -> float:
    """Return events per second: the median of some rounds, after one to warm up."""
    run()
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return events / statistics.median(seconds)


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a call and the seconds it took."""
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def alkaid(model_file: Path, work: Path, sample: np.ndarray, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the peer."""
    program, trace_s = peer.traced(model_file, sample.shape[1])
    facts: dict[str, Any] = {"convert_s": trace_s}
    if "emulator" in options.parts:
        facts["emulator_events_per_s"] = rate(lambda: program.predict(sample), len(sample))
    if "core" in options.parts:
        family = family_of(PART, design_luts=round(program.cost))
        facts["cutoff"] = int(family.usable_ns(CLOCK_MHZ) / family.add_ns(12))
        model = peer.pipelined(program, work / "core", facts["cutoff"])
        model.write()
        facts["stages"] = int(model.latency)
        facts["model_mhz"] = family.clock_mhz(peer.worst_stage_ns(model, family))
        result = synthesize(peer.sources(work / "core"), "alk", work / "yosys")
        facts |= {"lut": result.lut, "sites": result.sites, "ff": result.ff, "depth": result.depth}
    if "cosim" in options.parts:
        bare = peer.pipelined(program, work / "sim", peer.COSIM_CUTOFF)
        threads = os.cpu_count() or 1
        _, facts["cosim_build_s"] = timed(lambda: peer.compiled(bare, threads))
        short = sample[: options.cosim_events].astype(np.float64)
        facts["cosim_events_per_s"] = rate(lambda: bare.predict(short, n_threads=threads), len(short))
    return facts


def own(model_file: Path, work: Path, sample: np.ndarray, options: argparse.Namespace) -> dict[str, Any]:
    """Measure l1ml through its public interface."""
    import l1ml

    convert = {"input_type": INPUT_TYPE, "clock_mhz": CLOCK_MHZ, "part": PART}
    project, convert_s = timed(lambda: l1ml.convert(model_file, output_dir=work / "project", **convert))
    facts: dict[str, Any] = {"convert_s": convert_s}
    if "emulator" in options.parts:
        facts["emulator_events_per_s"] = rate(lambda: project.predict(sample), len(sample))
    if "core" in options.parts:
        manifest = project.manifest
        facts["stages"] = int(manifest["latency"]["compute_cycles"])
        facts["model_mhz"] = 1e3 / max(stage["delay_ns"] for stage in manifest["stages"])
        files = [
            project.root / file["path"] for file in manifest["files"] if file["path"].endswith((".sv", ".v"))
        ]
        result = synthesize(files, manifest["core_module"], work / "yosys")
        facts |= {"lut": result.lut, "sites": result.sites, "ff": result.ff, "depth": result.depth}
    if "cosim" in options.parts:
        _, facts["cosim_build_s"] = timed(lambda: project.build(cosim=True))
        short = sample[: options.cosim_events]
        speeds = []
        for _ in range(3):
            verdict = project.replay(short)
            assert verdict.passed, verdict
            speeds.append(float(verdict.throughput["cosim_events_per_s"]))
        facts["cosim_events_per_s"] = statistics.median(speeds)
    return facts


ROWS = (
    ("emulator, M events/s", "emulator_events_per_s", 1e-6, "{:.2f}", "higher"),
    ("core, LUT", "lut", 1, "{:,.0f}", "lower"),
    ("core, LUT sites", "sites", 1, "{:,.0f}", "lower"),
    ("core, FF", "ff", 1, "{:,.0f}", "lower"),
    ("core, stages", "stages", 1, "{:.0f}", "lower"),
    ("core, model MHz", "model_mhz", 1, "{:.0f}", "higher"),
    ("core, logic depth", "depth", 1, "{:.0f}", "lower"),
    ("co-simulation, k events/s", "cosim_events_per_s", 1e-3, "{:.0f}", "higher"),
    ("co-simulation build, s", "cosim_build_s", 1, "{:.1f}", "lower"),
    ("conversion, s", "convert_s", 1, "{:.1f}", "lower"),
)


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| network | | l1ml | alkaid | l1ml / alkaid | better is |", "|---|---|---|---|---|---|"]
    for network, sides in results.items():
        for title, key, scale, form, better in ROWS:
            ours, theirs = sides["l1ml"].get(key), sides["alkaid"].get(key)
            cells = ["-" if v is None else form.format(v * scale) for v in (ours, theirs)]
            if ours is not None or theirs is not None:
                ratio = f"{ours / theirs:.2f}" if ours and theirs else "-"
                lines.append(f"| {network} | {title} | {cells[0]} | {cells[1]} | {ratio} | {better} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["q6_pruned75", "q6"])
    parser.add_argument("--parts", nargs="+", default=["cnn", *PEER_PARTS], choices=["cnn", *PEER_PARTS])
    parser.add_argument(
        "--data", type=Path, default=ROOT / "datasets" / "jets", help="folder of the jet sample"
    )
    parser.add_argument("--events", type=int, default=200_000, help="events of the emulator")
    parser.add_argument("--cosim-events", type=int, default=100_000, help="events of the co-simulation")
    parser.add_argument("--peer-only", action="store_true", help="measure alkaid alone")
    parser.add_argument("--cnn", type=Path, help="a convolutional model of your own, of images")
    parser.add_argument("--cnn-input", default="ufixed<8,0>", help="input type of that model")
    parser.add_argument("--json", type=Path, help="store the figures here")
    options = parser.parse_args()
    if "cnn" in options.parts:
        print(cnn.line(cnn.rates(cnn.typed(options.cnn, options.cnn_input), rate)))
    if not set(options.parts) & set(PEER_PARTS):
        return
    with h5py.File(options.data / "jets_10k.h5") as file:
        real = np.asarray(file["x"], dtype=np.float32)
    sample = np.resize(real, (max(options.events, options.cosim_events), real.shape[1]))
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for network in options.networks:
        model_file = options.data / f"jet_{network}.h5"
        with tempfile.TemporaryDirectory(prefix="l1ml-bench-") as folder:
            work = Path(folder)
            theirs = alkaid(model_file, work / "alkaid", sample[: options.events], options)
            ours = (
                {} if options.peer_only else own(model_file, work / "l1ml", sample[: options.events], options)
            )
        results[network] = {"l1ml": ours, "alkaid": theirs}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; clock {CLOCK_MHZ} MHz, part {PART}\n")
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
