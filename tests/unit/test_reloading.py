# SPDX-License-Identifier: Apache-2.0
"""Other weights for a block: what is written makes it the block of the other model, or the model is refused."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l1ml import cli, convert, reloading
from l1ml.config import write_yaml
from l1ml.errors import ConfigError, DataError, L1mlError
from l1ml.graph import model
from l1ml.graph.named import Named
from l1ml.plan.kept import network_of, raster_of
from l1ml.plan.network import EngineNetwork, EngineNode
from l1ml.project import Project
from l1ml.rtl.reload import AddressMap, folds
from l1ml.types.fixed import Quantizer

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "rtl"))
import fixtures_models as fm
from networks import program, random_codes
from small_project import Small
from streamed_networks import Maker
from test_plan_layout import beats, wanted

TYPE = "fixed<5,2>"


def net(seed: int, *, bias: bool = True, head: int = 1, scale: float = 1.0, hidden: int = 6) -> model.Model:
    """A layer for every particle and its sum, which stay; a hidden layer and a head."""
    fixed, m = Maker(5, 3, seed=1), Maker(5, 3, seed=seed)
    fixed.dense(3, 4)
    fixed.act()
    fixed.add(model.GlobalPool("sum", (fixed.last,), "sum"))
    m.layers, m.last = fixed.layers, fixed.last
    m.act(Quantizer.parse("ufixed<6,4,RND_CONV,SAT>"))
    m.dense(4, hidden)
    m.act()
    m.dense(hidden, 2)
    out = []
    for layer in m.layers:
        if isinstance(layer, model.Dense) and layer.name in ("fc5", "fc7"):
            kernel = layer.kernel * (scale if layer.name == "fc5" else head)
            layer = replace(layer, kernel=kernel, bias=layer.bias if bias else None)
        out.append(layer)
    return replace(m.done(), layers=tuple(out))


def project(folder: Path, given: model.Model, layers: dict[str, Any], **options: Any) -> Project:
    made = Small(
        folder, events=4, net=given, interface="axis", input_type=TYPE, clock_mhz=240.47,
        **{"plan": {"lanes": 1, "layers": layers}, **options},
    )  # fmt: skip
    return Project.load(made.root)


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Project:
    layers = {
        "fc5": {"reloadable": "fixed<5,2>", "weights": "block_rom"},
        "fc7": {"reloadable": "fixed<4,2>"},
    }
    return project(tmp_path_factory.mktemp("block") / "project", net(3), layers)


def loaded(of: Project, pairs: list[tuple[int, int]]) -> EngineNetwork:
    """Return the engines of a project with what was written in their memories."""
    network, _ = reloading.laid_out(of)
    memory = dict(pairs)
    assert len(memory) == len(pairs), "every address once"
    found = AddressMap.from_dict(of.manifest["weights"])
    engines = folds(network)
    for region in found.regions:
        one = engines[region.node]
        words = [
            sum(memory.pop(region.base + k * found.stride + c) << 32 * c for c in range(region.chunks))
            for k in range(region.words)
        ]
        bits = region.element_bits
        codes = np.array([
            [(w >> bits * k & (1 << bits) - 1) for k in range(region.word_bits // bits)] for w in words
        ])  # fmt: skip
        codes -= (codes >> bits - 1) << bits
        if region.holds == "bias":
            one = replace(one, bias=codes[0])
        else:
            slices = codes.reshape(one.phases, one.slices, one.n_out, one.per_clock).transpose(0, 1, 3, 2)
            one = replace(one, weights=slices.reshape(one.phases, -1, one.n_out)[:, : one.n_in])
        engines[region.node] = one
    assert not memory, "no address beside the map"
    nodes = tuple(
        replace(node, engine=engines[k]) if isinstance(node, EngineNode) and k in engines else node
        for k, node in enumerate(network.nodes)
    )
    return replace(network, nodes=nodes)


@pytest.mark.parametrize(
    "other", [net(3), net(8), net(9, bias=False), net(10, scale=0.5), net(11, scale=0.0)], ids=range(5)
)
def test_what_is_written_makes_the_other_model(block: Project, other: model.Model) -> None:
    of = program(other, TYPE)
    codes = random_codes(of, 30)
    network = loaded(block, reloading.of_program(block, of))
    raster = raster_of(block.manifest)
    (out,) = network.emulate(beats(raster, codes[0]))
    (right,) = wanted(of, codes)
    grid = network.streams[network.outputs[0]].type.frac
    (own,) = (of.type_of(t).frac.ravel() for _, t in of.outputs)
    assert np.array_equal(out.reshape(len(right), -1), right << (grid - own))


def test_memories_do_not_overlap(block: Project) -> None:
    facts = block.manifest["weights"]
    found = AddressMap.from_dict(facts)
    assert found.to_dict() == facts
    ends = [(r.base, r.base + r.words * found.stride) for r in found.regions]
    assert all(low < high <= after for (low, high), (after, _) in itertools.pairwise(ends))
    assert ends[-1][1] <= 1 << found.address_bits
    assert all(r.chunks <= found.stride for r in found.regions)
    for region in found.regions:
        room = 1 << max(1, (region.words - 1).bit_length()) if region.holds == "weights" else 1
        assert region.base % (room * found.stride) == 0


def test_the_file_is_for_a_script(block: Project) -> None:
    pairs = reloading.of_program(block, program(net(8), TYPE))
    lines = reloading.text(pairs, block.manifest, "new.h5").splitlines()
    read = [tuple(int(word, 16) for word in line.split()) for line in lines if not line.startswith("#")]
    assert read == pairs
    assert [line for line in lines if "fc5 bias" in line]
    assert "firmware/weights.md" in {str(p.relative_to(block.root)) for p in block.root.rglob("*.md")}


def test_a_retrained_model_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line: convert, then the writes for a QKeras model of other weights."""
    layers = [fm.qdense("fc1", 5), fm.layer("QActivation", "act1", activation=fm.relu()), fm.qdense("fc2", 2)]
    for seed, name in ((1, "old"), (2, "new")):
        weights = fm.weights_of(np.random.default_rng(seed), fc1=(4, 5), fc2=(5, 2))
        fm.write_h5(tmp_path / f"{name}.h5", fm.sequential(*layers), weights)
    full = {"reloadable": "fixed<6,1>"}
    options = {
        "model": str(tmp_path / "old.h5"), "output_dir": str(tmp_path / "prj"), "input_type": "fixed<6,2>",
        "hardware": "streamed", "interface": "emp", "tmux": 2, "clock_mhz": 240.47,
        "plan": {"layers": {"fc1": full, "fc2": full}},
    }  # fmt: skip
    write_yaml(tmp_path / "c.yml", options)
    assert cli.main(["convert", "--config", str(tmp_path / "c.yml")]) == 0
    line = ["weights", "--project", str(tmp_path / "prj"), "--model", str(tmp_path / "new.h5")]
    assert cli.main([*line, "--output", str(tmp_path / "w.txt")]) == 0, capsys.readouterr().err
    text = (tmp_path / "w.txt").read_text()
    pairs = [tuple(int(word, 16) for word in one.split()) for one in text.splitlines() if one[0] != "#"]
    assert "# new.h5 for l1ml_core" in text
    made = Project.load(tmp_path / "prj")
    other = convert(tmp_path / "new.h5", config=options, output_dir=tmp_path / "other")
    codes = random_codes(made.program, 20)
    (out,) = loaded(made, pairs).emulate(codes[0].reshape(20, 1, 1, -1))
    (right,) = wanted(other.program, codes)
    assert np.array_equal(out.reshape(right.shape), right)
    wider = fm.sequential(*layers[:2], fm.qdense("fc2", 2, kernel_quantizer=fm.bits(9, 1)))
    assert (
        cli.main([*line[:4], str(fm.write_h5(tmp_path / "wider.h5", wider, weights)), "--output", "w"]) == 2
    )
    assert "fc2" in (told := capsys.readouterr().err)
    assert "weights need" in told


REFUSED: dict[str, tuple[Callable[[], model.Model], tuple[str, ...]]] = {
    "another layer": (
        lambda: replace(net(8), layers=tuple(
            replace(la, kernel=la.kernel[::-1]) if la.name == "fc1" else la for la in net(8).layers
        )),
        ("differs from the block in fc1", "not reloadable"),
    ),
    "weights too large": (lambda: net(8, scale=4.0), ("fc5", "weights from", "need 6 bits, the block has 5")),
    "weights too fine": (lambda: net(8, scale=0.125), ("fc5", "weights need 5 fraction bits", "room for 3")),
    "another shape": (lambda: net(8, hidden=7), ("differs from the block in", "fc5")),
    "another head": (
        lambda: replace(net(8), outputs=("fc5",)), ("other inputs or outputs than the block",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case: str, block: Project) -> None:
    make, texts = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        reloading.of_program(block, program(make(), TYPE))
    for text in texts:
        assert text in str(caught.value)


def test_a_bias_too_large_is_refused(block: Project) -> None:
    large = tuple(replace(la, bias=la.bias * 4096) if la.name == "fc7" else la for la in net(8).layers)
    with pytest.raises(ConfigError, match="fc7"):
        reloading.of_program(block, program(replace(net(8), layers=large), TYPE))


def test_nothing_is_reloadable_unless_asked_for(tmp_path: Path) -> None:
    made = project(tmp_path / "project", net(3), {"fc5": {"reloadable": False}})
    assert "weights" not in made.manifest
    with pytest.raises(ConfigError, match="no weights of this block can be replaced"):
        reloading.of_program(made, program(net(8), TYPE))


def placed(rolled: int) -> model.Model:
    """Particles with an offset of their own in front of a sum; the next particle's, for other numbers."""
    m = Maker(5, 3, seed=1)
    m.dense(3, 4)
    m.act()
    offsets = np.roll(np.arange(20.0).reshape(5, 4) / 8, rolled, axis=0)
    m.add(model.Affine("place", (m.last,), np.ones(1), offsets))
    m.act()
    m.add(model.GlobalPool("sum", (m.last,), "sum"))
    m.act(Quantizer.parse("ufixed<6,4,RND_CONV,SAT>"))
    m.dense(4, 3)
    return m.done()


def test_other_constants_of_positions_are_refused(tmp_path: Path) -> None:
    made = project(tmp_path / "project", placed(0), {"fc7": {"reloadable": True}})
    assert "attach" in {entry["engine"] for entry in made.manifest["plan"]}
    assert reloading.of_program(made, program(placed(0), TYPE))
    with pytest.raises(ConfigError, match=r"differs from the block in .*place"):
        reloading.of_program(made, program(placed(1), TYPE))


def tabled() -> model.Model:
    """A table behind a product, with no quantizer between."""
    m = Maker(6, seed=2)
    m.dense(6, 4)
    m.add(model.Map("square", (m.last,), (Named("tanh"),)))
    m.act(Quantizer.parse("ufixed<1,1,RND_CONV,SAT>"))
    m.dense(4, 2)
    return m.done()


@pytest.mark.parametrize(
    ("given", "options", "texts"),
    [
        (net(3), {"hardware": "parallel"}, ("reloadable weights need engines", "fc5")),
        (
            net(3), {"plan": {"layers": {"fc5": {"reloadable": True, "strategy": "distributed_arithmetic"}}}},
            ("shifts and adds", "fc5"),
        ),
        (net(3), {"plan": {"layers": {"fc5": {"reloadable": "fixed<2,1>"}}}}, ("fc5", "need")),
        (net(3), {"plan": {"layers": {"fc5": {"reloadable": "fixed<6,3,RND>"}}}}, ("rounding or overflow modes",)),
        (net(3), {"plan": {"layers": {"fc5": {"reloadable": 1}}}}, ("reloadable", "must be a type")),
        (tabled(), {"plan": {"layers": {"fc1": {"reloadable": True}}}}, ("table", "saturates in front of it")),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused(
    given: model.Model, options: dict[str, Any], texts: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(L1mlError) as caught:
        project(tmp_path / "project", given, {"fc5": {"reloadable": True}}, **options)
    for text in texts:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"raster": [1, 2]},
        {"raster": [1, 2, 3]},
        {"raster": None},
        {"fold": {"a": 1}},
        {"fold": {}},
        {"making": {"1": {"multiplier": "dsp"}}},
        {"raster": [0, 1, 1]},
    ],
)
def test_choices_that_no_plan_made_are_refused(block: Project, change: dict[str, Any]) -> None:
    with pytest.raises(
        DataError, match=r"its choices are not those of a plan|its choices do not fit its network"
    ):
        network_of(block.manifest | {"choices": block.manifest["choices"] | change}, block.program)
