# SPDX-License-Identifier: Apache-2.0
"""The options of every command of ``l1ml``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from l1ml.config import ProjectConfig
from l1ml.verify.arguments import count

STEPS = {
    "lint": "Verilator with all warnings",
    "emulate": "the emulator on random events, timed",
    "cosim": "the co-simulation; later replays start at once",
    "synth": "Yosys: LUT, FF, DSP, BRAM and logic depth",
}
OPTIONS: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "interface": (str, "LINK", "link around the block: emp, axis, parallel or auto"),
    "clock_mhz": (float, "MHZ", "clock of the block"),
    "tmux": (int, "N", "an event every N bunch crossings; default: as few as its words need"),
    "hardware": (str, "KIND", "parallel, streamed, none (emulator only), or auto: what fits"),
    "part": (str, "PART", "FPGA"),
    "name": (str, "NAME", "prefix of the HDL modules"),
    "stages": (int, "N", "pipeline stages of the core; default: the fewest that meet the clock"),
    "latency_budget_ns": (float, "NS", "longest latency allowed"),
    "events": (str, "E.h5", "event file for the ranges and ROC curves of the report"),
    "precision": (str, "TYPE", "types of a float model: fixed<W,I>, or auto with --calibration"),
    "calibration": (str, "E.h5", "event file that shows the ranges of a float model"),
}


def config_arguments(sub: argparse.ArgumentParser) -> None:
    """Add those of ``l1ml config``."""
    add = sub.add_argument
    add("--model", required=True, metavar="M", help="model file: .h5, .keras, .json (with --weights), .onnx")
    add("--weights", metavar="W", help="weights, where the model file is architecture only")
    add("--dir", required=True, metavar="PRJ", help="project folder that `l1ml convert` will write")
    add("--output", required=True, metavar="CFG.yml", help="configuration file to write")
    types = "fixed<W,I> of all inputs, or NAME=fixed<W,I>, repeated; default: what the model says"
    add("--input-type", action="append", metavar="TYPE", help=types)
    defaults = ProjectConfig()
    for key, (kind, metavar, text) in OPTIONS.items():
        default = getattr(defaults, key)
        shown = text if default is None else f"{text} (default {default})"
        add("--" + key.replace("_", "-"), type=kind, metavar=metavar, help=shown)


def convert_arguments(sub: argparse.ArgumentParser) -> None:
    """Add those of ``l1ml convert``."""
    sub.add_argument("--config", required=True, metavar="CFG.yml", help="configuration, from `l1ml config`")
    sub.add_argument(
        "--preprocess",
        metavar="FILE.py:FUNCTION",
        help="function from raw fields to the network's inputs, built into the block; the file is run",
    )


def project_argument(sub: argparse.ArgumentParser) -> None:
    """Add the project folder."""
    sub.add_argument("--project", required=True, metavar="PRJ", help="folder that `l1ml convert` wrote")


def build_arguments(sub: argparse.ArgumentParser) -> None:
    """Add those of ``l1ml build``."""
    project_argument(sub)
    sub.add_argument("--all", action="store_true", help="all of the following")
    for step, text in STEPS.items():
        sub.add_argument(f"--{step}", action="store_true", help=text)


def emulate_arguments(sub: argparse.ArgumentParser) -> None:
    """Add those of ``l1ml emulate``."""
    project_argument(sub)
    sub.add_argument("--events", required=True, metavar="E.h5", help="event file")
    sub.add_argument(
        "--output", required=True, metavar="OUT.h5", help="file to write: the outputs, event by event"
    )


def replay_arguments(sub: argparse.ArgumentParser) -> None:
    """Add those of ``l1ml replay``."""
    project_argument(sub)
    add = sub.add_argument
    add("--events", required=True, metavar="E.h5", help="event file; golden answers in it are compared too")
    add("--max-events", type=count, metavar="N", help="stop after N events; default: all")
    benches = (
        "bulk: compiled and fast; cocotb: the contract (gaps, resets, framing errors), slow (default bulk)"
    )
    add("--bench", choices=("bulk", "cocotb"), default="bulk", help=benches)
    add("--self-test", action="store_true", help="mutate RTL and golden, and prove that the comparison fails")


def gate_arguments(sub: argparse.ArgumentParser) -> None:
    """Add those of ``l1ml gate``."""
    project_argument(sub)
    limits = "limits: latency, interval, LUT, FF, DSP, BRAM, mismatches"
    sub.add_argument("--budget", required=True, metavar="B.yml", help=limits)
    sub.add_argument("--junit", metavar="F", help="also write the checks as JUnit XML")


def plan_arguments(sub: argparse.ArgumentParser) -> None:
    """Add those of ``l1ml plan``."""
    project_argument(sub)
    text = "plan for other latencies, too: the trade-off curve, as a table and a plot in PRJ/reports"
    sub.add_argument("--front", action="store_true", help=text)
    sub.add_argument("--json", type=Path, metavar="F", help="write plan and curve as JSON too")


def weights_arguments(sub: argparse.ArgumentParser) -> None:
    """Add those of ``l1ml weights``."""
    project_argument(sub)
    add = sub.add_argument
    add("--model", required=True, metavar="M", help="retrained model of the same architecture")
    add("--weights", metavar="W", help="weights, where the model file is architecture only")
    add(
        "--output",
        required=True,
        type=Path,
        metavar="W.txt",
        help="file to write: address and data, line by line",
    )
