# SPDX-License-Identifier: Apache-2.0
"""Architectures in hardware, parallel and folded: clocks, LUTs, and events through RTL.

Prints the table of `docs/streams.md`, in a quarter of an hour or less:

    python tests/rtl/architectures.py [name ...]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from onnx_graphs import GRAPHS
from small_project import Small
from streamed_networks import NETWORKS

from l1ml.frontends import read_model
from l1ml.frontends.onnx import read_onnx
from l1ml.graph.model import Model
from l1ml.validate.replay import replay

HGQ2 = Path(__file__).parents[1] / "vectors" / "hgq2"
PARALLEL = {"interface": "parallel"}
FINE = {"input_type": "fixed<9,3,RND,SAT>"}


def _hgq2(name: str) -> Callable[[], Model]:
    return lambda: read_model(HGQ2 / f"{name}.keras")


def _onnx(name: str) -> Callable[[], Model]:
    return lambda: read_onnx(GRAPHS[name]().model.SerializeToString(), f"{name}.onnx")


def _small(name: str) -> Callable[[], Model]:
    return lambda: NETWORKS[name][0]


MODELS: dict[str, tuple[Callable[[], Model], dict[str, Any], list[dict[str, Any]]]] = {
    "EdgeConv, 8 vertices, 24 edges (ONNX)": (
        _onnx("edge conv"),
        {"input_type": "fixed<6,3>"},
        [{"plan": {"interval": 8}}, {"plan": {"interval": 24}}],
    ),
    "GarNet, 8 vertices (ONNX)": (_onnx("garnet"), {"input_type": "fixed<6,3>"}, [{}]),
    "interaction network, 4 nodes, 12 edges": (_small("interaction"), {}, [{"plan": {"interval": 12}}]),
    "adjacency matrix, 5 nodes, twice": (_small("adjacency"), {}, [{}]),
    "linear interaction network, 8 particles (HGQ2)": (
        _hgq2("linear_interaction"),
        FINE,
        [{"plan": {"lanes": 2}}, {}],
    ),
    "attention, 6 particles, 2 heads (HGQ2)": (_hgq2("attention_of_particles"), FINE, [{}]),
    "Linformer, 6 particles, 2 heads (HGQ2)": (_hgq2("linformer_of_particles"), FINE, [{}]),
    "deep sets, 6 particles": (_small("deep sets"), {}, [{}]),
    "CNN, padded, pooling, 8 x 9": (_small("cnn same"), {}, [{}]),
    "CNN, strides, dilation, depthwise, 9 x 8": (_small("strided"), {}, [{}]),
    "CNN, skip connection, 6 x 8": (_small("skip"), {}, [{}]),
    "CNN, cropping, upsampling, separable, 8 x 9": (_small("cropped"), {}, [{}]),
    "Conv1D, average pooling, 12 steps": (_small("sequence"), {}, [{}]),
    "last step of a causal Conv1D, 9 steps": (_small("last step"), {}, [{}]),
}
"""Model, its options, and the ways to fold it beside one position per beat."""


def row(name: str, network: Model, options: dict[str, Any], folder: Path) -> str:
    """Convert a model, play 40 events through its RTL, return a line of the table."""
    given = {"input_type": "fixed<5,2>", "clock_mhz": 240.47, **options}
    made = Small(folder / "project", events=40, net=network, **given)
    facts = made.manifest
    verdict = replay(facts, made.root, made.emulator, made.samples(), build_dir=folder / "build")
    constant = verdict.latency["measured_cycles"] == [facts["latency"]["cycles"]] * 2
    equal = "40 of 40" if verdict.passed and constant else "DIFFERENT"
    used, way = facts["estimate"], "parallel" if options["interface"] == "parallel" else "folded"
    return (
        f"| {name} | {way} | {facts['interval']['cycles']} | {facts['latency']['cycles']} | {used['lut']:,} |"
        f" {used['ff']:,} | {equal} |"
    )


def main() -> None:
    """Print the table."""
    print("| model | | interval | latency | LUT | FF | events equal |\n|---|---|---|---|---|---|---|")
    for name, (make, options, folds) in MODELS.items():
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        for fold in [PARALLEL, *folds]:
            streamed = {"interface": "axis", "hardware": "streamed", **fold}
            plan = {"plan": {"lanes": 1, **fold.get("plan", {})}}
            chosen = fold if fold is PARALLEL else {**streamed, **plan}
            with tempfile.TemporaryDirectory() as folder:
                print(row(name, make(), {**options, **chosen}, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
