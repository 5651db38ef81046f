# SPDX-License-Identifier: Apache-2.0
"""Weights replaced while events run: from one event to the next the block is that of another model."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml import reloading
from l1ml.cosim.lint import lint
from l1ml.graph.emulate import Emulator
from l1ml.graph.model import GlobalPool, Model
from l1ml.links.spec import Role
from l1ml.links.words import decode, encode
from l1ml.project import Project
from l1ml.synth.yosys import synthesize
from l1ml.types.fixed import Quantizer
from l1ml.validate.core import rtl_sources
from l1ml.validate.replay import LinkSimulation, flat

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).parent))
import networks
from small_project import Small
from streamed_networks import Maker

pytestmark = pytest.mark.sim

EVENTS = 60
SETTLE = 3
"""Clocks from a swap to the first beat that sees it."""


def dense(seed: int) -> Model:
    """Three dense layers."""
    m = Maker(12, seed=seed)
    m.dense(12, 16)
    m.act()
    m.dense(16, 8)
    m.act()
    m.dense(8, 3)
    return m.done()


def cnn(seed: int) -> Model:
    """A convolution, a dense layer over all positions and another one."""
    m = Maker(5, 6, 2, seed=seed)
    m.conv((2, 2), 2, 3)
    m.act()
    m.flatten(60)
    m.dense(60, 5)
    m.act()
    m.dense(5, 2)
    return m.done()


def particles(seed: int) -> Model:
    """A layer for every particle, and one that stays behind their sum: every word is one write."""
    m, fixed = Maker(5, 3, seed=seed), Maker(5, 3, seed=1)
    m.dense(3, 2)
    m.act()
    m.add(GlobalPool("sum", (m.last,), "sum"))
    fixed.layers, fixed.last = m.layers, m.last
    fixed.act(Quantizer.parse("ufixed<6,4,RND_CONV,SAT>"))
    fixed.dense(2, 3)
    return fixed.done()


LOADED = {"reloadable": "fixed<4,2>"}
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "dense": (
        dense,
        {
            "interface": "emp", "hardware": "streamed", "tmux": 3,
            "plan": {
                "layers": {
                    "fc1": {**LOADED, "weights": "block_rom"}, "fc3": LOADED, "fc5": {**LOADED, "multiplier": "dsp"},
                },
            },
        },
    ),
    "cnn": (
        cnn,
        {
            "interface": "axis", "plan": {"lanes": 1, "layers": {"conv1": LOADED, "fc4": LOADED, "fc6": LOADED}},
        },
    ),
    "particles": (
        particles,
        {
            "interface": "parallel", "plan": {"interval": 16, "layers": {"fc1": LOADED}},
        },
    ),
}  # fmt: skip


@dataclass
class Block:
    """A block and two models: that which it was made for, and another one."""

    made: Small
    codes: list[np.ndarray]
    writes: list[list[tuple[int, int]]]


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("builds")


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Block]:
    return {case: of_case(case, tmp_path_factory.mktemp("reload") / "project") for case in CASES}


def of_case(case: str, folder: Path) -> Block:
    net, options = CASES[case]
    made = Small(folder, events=EVENTS, net=net(15), input_type="fixed<5,2>", clock_mhz=240.47, **options)
    trained, other = (networks.program(net(seed), "fixed<5,2>") for seed in (15, 99))
    project = Project.load(made.root)
    raw = flat(Emulator(other).codes(made.inputs))
    grid, own = (p.type_of(p.outputs[0][1]).frac.ravel() for p in (made.program, other))
    codes = [made.expected, raw << (grid - own)]
    return Block(made, codes, [reloading.of_program(project, p) for p in (trained, other)])


def play(
    one: Block, link: LinkSimulation, seed: int, broken: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray, Any, np.ndarray]:
    """Write and swap at random; return codes expected and found, what was decoded, and the sampled rows.

    Args:
        one: the block.
        link: it, compiled.
        seed: of what is written when.
        broken: events with a gap inside, of which nothing must come.
    """
    layout, rng = link.layout, np.random.default_rng(seed)
    traffic = encode(layout, one.made.codes, tail_cycles=one.made.manifest["latency"]["cycles"] + 40)
    rows = traffic.rows.copy()
    at = {role: layout.column("in", role) for role in Role if role.value.startswith("weights_")}
    begins = traffic.first_word_cycle + layout.collect_cycles
    model, clock, expected = 0, 3, one.codes[0].copy()
    done = one.made.manifest["latency"]["cycles"] + 2 * layout.link_cycles
    while clock < begins[-1]:
        model = 1 - model
        for address, data in one.writes[model]:
            clock += int(rng.integers(1, 3))
            if clock < len(rows):
                rows[clock, [at[Role.WEIGHTS_WRITE], at[Role.WEIGHTS_ADDRESS], at[Role.WEIGHTS_DATA]]] = (
                    1,
                    address,
                    data,
                )
        clock += int(rng.integers(0, layout.link_cycles))
        if clock < len(rows):
            rows[clock, at[Role.WEIGHTS_SWAP]] = 1
        expected[begins >= clock + SETTLE] = one.codes[model][begins >= clock + SETTLE]
        clock += done
    for event in broken:
        at_gap = traffic.first_word_cycle[event] + int(
            rng.integers(1, layout.frame_words - 1)
        )  # the last word ends a packet
        rows[at_gap, layout.column("in", Role.VALID)] = 0
    out = link.harness.run(rows, seed=seed)
    found = decode(layout, out)
    return np.delete(expected, broken, axis=0), found.codes, found, out


@pytest.mark.parametrize("case", CASES)
def test_events_see_one_model_or_the_other(
    case: str, blocks: dict[str, Block], builds: Path, tmp_path: Path
) -> None:
    block = blocks[case]
    made = block.made
    lint(list(rtl_sources(made.manifest, made.root)), made.manifest["top_module"], tmp_path / "lint.log")
    link = LinkSimulation(made.manifest, made.root, builds, fast="-O0")
    for seed in range(4):
        expected, codes, found, out = play(block, link, seed)
        assert np.array_equal(codes, expected)
        assert not found.errors
        assert not out[:, link.layout.column("out", Role.WEIGHTS_ERROR)].any()
        both = [np.mean((expected == codes).all(axis=1)) for codes in block.codes]
        assert min(both) > 0.1, "both models are in use"
        assert max(both) < 0.9
    assert (block.codes[0] != block.codes[1]).any(axis=1).mean() > 0.8


def test_a_broken_event_takes_no_other_along(blocks: dict[str, Block], builds: Path) -> None:
    """Also where it is the one that would be the first, or the last, with some weights."""
    block = blocks["cnn"]
    link = LinkSimulation(block.made.manifest, block.made.root, builds, fast="-O0")
    for seed in range(6):
        broken = np.flatnonzero(np.random.default_rng(seed).random(EVENTS) < 0.4)
        expected, codes, found, _ = play(block, link, seed, list(broken))
        assert np.array_equal(codes, expected)
        assert "valid_gap" in found.errors


MUTANTS = {
    "an address is off by one": ("l1ml_reload", "WordAddressBits'(number)", "WordAddressBits'(number ^ 1)"),
    "a word is stored too early": (
        "l1ml_reload", "we_q & hit[r] & (chunk == Chunks[r*32+:32] - 1)", "we_q & hit[r] & (chunk == 0)",
    ),
    "all layers swap at once": ("l1ml_reload", "flying_q & (age_q == AgeBits'(Start - 1))", "takes"),
    "a layer swaps within an event": ("l1ml_fold", "bank_q ^ (begins & swap_q)", "bank_q ^ swap_q"),
    "the weights in use are written": ("l1ml_fold", ".we_bank_i(~bank_q)", ".we_bank_i(bank_q)"),
}  # fmt: skip


def test_every_mutant_is_found(blocks: dict[str, Block], builds: Path) -> None:
    block = blocks["dense"]
    for name, (cell, old, new) in MUTANTS.items():
        file = block.made.root / "firmware" / "rtl" / f"{cell}.sv"
        text = file.read_text()
        assert old in text, name
        file.write_text(text.replace(old, new))
        try:
            link = LinkSimulation(block.made.manifest, block.made.root, builds, fast="-O0")
        finally:
            file.write_text(text)
        seeds = (play(block, link, seed) for seed in range(4))
        assert any(not np.array_equal(codes, expected) for expected, codes, _, _ in seeds), name


def test_what_is_ignored_is_told(blocks: dict[str, Block], builds: Path) -> None:
    """A write or a swap while a swap waits, and an address without a memory: no event sees anything of it."""
    block = blocks["dense"]
    link = LinkSimulation(block.made.manifest, block.made.root, builds, fast="-O0")
    layout, memories = link.layout, block.made.manifest["weights"]
    at = {role: layout.column("in", role) for role in Role if role.value.startswith("weights_")}
    write, swap = at[Role.WEIGHTS_WRITE], at[Role.WEIGHTS_SWAP]
    word = next(r["base"] for r in memories["regions"] if r["chunks"] == 1)
    nowhere = (1 << memories["address_bits"]) - 1
    cases = {  # what comes at which clock, address, told, seen
        "write, then swap": ([(3, write), (4, swap)], word, False, True),
        "write while busy": ([(3, swap), (4, write), (5, swap)], word, True, False),
        "swap while busy": ([(3, write), (4, swap), (5, swap)], word, True, True),
        "no such address": ([(3, write), (4, swap)], nowhere, True, False),
    }
    traffic = encode(layout, block.made.codes, gaps=[20] + [0] * (EVENTS - 1), tail_cycles=200)
    for name, (given, address, told, seen) in cases.items():
        rows = traffic.rows.copy()
        for clock, column in given:
            rows[clock, column] = 1
            rows[clock, at[Role.WEIGHTS_ADDRESS]], rows[clock, at[Role.WEIGHTS_DATA]] = address, 0x5A5A5A
        out = link.harness.run(rows)
        assert out[-1, layout.column("out", Role.WEIGHTS_ERROR)] == told, name
        assert (not np.array_equal(decode(layout, out).codes, block.codes[0])) == seen, name


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pyosys") is None, reason="pyosys is not installed")
def test_synthesis_takes_what_the_plan_says(blocks: dict[str, Block], builds: Path) -> None:
    """Yosys leaves products of so few bits in LUTs, whatever is asked for."""
    facts = blocks["dense"].made.manifest
    made = synthesize(list(rtl_sources(facts, blocks["dense"].made.root)), facts["top_module"], builds)
    assert made.bram == facts["estimate"]["bram"] == 1
    assert facts["estimate"]["lut"] == pytest.approx(made.lut, rel=0.15)
    assert facts["estimate"]["ff"] == pytest.approx(made.ff, rel=0.15)
