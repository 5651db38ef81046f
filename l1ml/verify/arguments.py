# SPDX-License-Identifier: Apache-2.0
"""The options of ``l1ml verify``."""

from __future__ import annotations

import argparse
from pathlib import Path

VERIFY_OPTIONS = ("events", "stimuli", "framework", "python", "max_events", "report")
"""Those that `l1ml.verification.run` takes under the same names."""


def add_verify_arguments(sub: argparse.ArgumentParser) -> None:
    """Add them to a parser."""
    add = sub.add_argument
    add("--model", metavar="M", help="model file; default: that of the project")
    add("--weights", metavar="W", help="weights, where the model file is architecture only")
    add(
        "--project",
        metavar="PRJ",
        help="a converted project: its network, beside the model file that it came from",
    )
    types = "fixed<W,I> of all inputs, or NAME=fixed<W,I>, repeated; default: what the model says"
    add("--input-type", action="append", metavar="TYPE", help=types)
    source = sub.add_mutually_exclusive_group()
    source.add_argument("--events", type=Path, metavar="E.h5", help="event file")
    text = "generate N events with ties, thresholds and ends of ranges (default 1000 without --events)"
    source.add_argument("--stimuli", type=count, metavar="N", help=text)
    add("--max-events", type=count, metavar="N", help="stop after N events; default: all, at most 10,000")
    add("--framework", metavar="F", help="keras, qkeras, hgq2 or onnx; default: what the file names")
    add(
        "--python",
        type=Path,
        metavar="PY",
        help="interpreter in which the framework is installed; default: this one",
    )
    add("--json", type=Path, dest="report", metavar="F", help="write the result as JSON too")


def count(text: str) -> int:
    """Read a number of events."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, found {text}")
    return number
