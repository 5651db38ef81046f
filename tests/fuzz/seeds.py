# SPDX-License-Identifier: Apache-2.0
"""The files that are damaged: the project's own, those beside it, and small ones of every reader made on the spot."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
BESIDE = PROJECT.parent / "shared"
LARGEST = 400_000
SMALL_ONNX = 7
"""Every so many of the small ONNX models of the tests is a seed."""

sys.path.insert(0, str(PROJECT / "tests" / "unit"))


@dataclass(frozen=True)
class Seed:
    """A good file.

    Args:
        path: where it lies.
        reader: which reader gets its damaged copies, one of `readers.READERS`.
        partner: an undamaged file that the reader needs beside it.
    """

    path: Path
    reader: str
    partner: Path | None = None

    @property
    def name(self) -> str:
        """The file for people: relative to the project where it is in it."""
        inside = self.path.is_relative_to(PROJECT)
        return str(self.path.relative_to(PROJECT)) if inside else f"{self.path.parent.name}/{self.path.name}"


def seeds(folder: Path) -> list[Seed]:
    """Return good files for every reader; those that must be made are written into a folder.

    The readers are taken in turn, so that few cases reach all of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = [
        list(part)
        for part in (
            _found(), _onnx(folder), _keras(folder), _alir(folder), _yaml(folder), _networks(folder), _events(folder),
            _arrays(folder), _verdicts(folder),
        )
    ]  # fmt: skip
    out: list[Seed] = []
    for turn in range(max(map(len, columns))):
        out += [column[turn % len(column)] for column in columns]
    return out


def _found() -> Iterator[Seed]:
    """Yield model files that exist: of the project, and of others beside it."""
    places = [PROJECT / "tests" / "vectors", PROJECT / "datasets", BESIDE / "corpus", BESIDE / "data"]
    for place in places:
        for path in sorted(place.rglob("*")):
            if path.suffix not in (".h5", ".keras", ".onnx", ".json") or path.stat().st_size > LARGEST:
                continue
            weights = [path.with_name(path.stem + "_weights.h5"), path.with_name("model_weights.h5")]
            partner = next((w for w in weights if path.suffix == ".json" and w.exists()), None)
            if partner is not None:
                yield Seed(path, "model", partner)
                yield Seed(partner, "weights", path)
            elif not path.stem.endswith("weights"):
                yield Seed(path, "model")


def _onnx(folder: Path) -> Iterator[Seed]:
    import onnx_vectors as ov

    cases = [case for _, case in (*ov.float_cases(), *ov.quantized_cases())]
    for case in cases[::SMALL_ONNX]:
        path = folder / f"{case.name}.onnx"
        path.write_bytes(case.proto().SerializeToString())
        yield Seed(path, "model")


def _keras(folder: Path) -> Iterator[Seed]:
    """Yield one network of many layers in every container."""
    import fixtures_models as fm

    rng = np.random.default_rng(3)
    wrapped = {
        "class_name": "PruneLowMagnitude", "config": {"name": "prune_low_magnitude_fc2", "layer": fm.qdense("fc2", 4)}
    }  # fmt: skip
    inner = fm.layer("LSTM", "cell", units=3, activation="tanh", recurrent_activation="sigmoid")
    layers = [
        fm.layer("Conv1D", "conv", filters=4, kernel_size=[2], strides=[1], padding="same", activation="relu"),
        fm.layer("QActivation", "act", activation=fm.relu()),
        fm.layer("MaxPooling1D", "pool", pool_size=[2], strides=[2], padding="valid"), inner,
        fm.layer("BatchNormalization", "bn", axis=[1], epsilon=0.001, scale=True, center=True),
        fm.qdense("fc1", 6, activation=fm.relu(4)),
        wrapped, fm.layer("LeakyReLU", "leaky", alpha=0.25), fm.layer("Softmax", "end", axis=-1),
    ]  # fmt: skip
    config = fm.sequential(*layers, shape=(None, 6, 2))

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.5, shape).astype(np.float32)

    weights: dict[str, dict[str, np.ndarray]] = {
        "conv": {"kernel": normal(2, 2, 4), "bias": normal(4)},
        "cell": {"kernel": normal(4, 12), "recurrent_kernel": normal(3, 12), "bias": normal(12)},
        "bn": {key: np.abs(normal(3)) for key in ("gamma", "beta", "moving_mean", "moving_variance")},
        "fc1": {"kernel": normal(3, 6), "bias": normal(6)},
        "prune_low_magnitude_fc2": {"kernel": normal(6, 4), "bias": normal(4)},
    }
    plain = fm.functional(
        [(fm.keras_input("x", 4), []), (fm.qdense("a", 4), ["x"]), (fm.qdense("b", 4), ["x"]),
         (fm.layer("Add", "sum"), ["a", "b"]), (fm.layer("Concatenate", "both", axis=-1), ["sum", "x"]),
         (fm.layer("Reshape", "r", target_shape=[2, 4]), ["both"]), (fm.layer("Flatten", "f"), ["r"])],
        ["x"], ["f", "sum"],
    )  # fmt: skip
    of_plain = {name: {"kernel": normal(4, 4), "bias": normal(4)} for name in ("a", "b")}
    for name, (model, stored) in {"chain": (config, weights), "branches": (plain, of_plain)}.items():
        yield Seed(fm.write_h5(folder / f"{name}.h5", model, stored), "model")
        yield Seed(fm.write_keras(folder / f"{name}.keras", model, stored), "model")
        architecture = fm.write_json(folder / f"{name}.json", model)
        stored_alone = fm.write_weights(folder / f"{name}_weights.h5", stored)
        yield Seed(architecture, "model", stored_alone)
        yield Seed(stored_alone, "weights", architecture)


def _alir(folder: Path) -> Iterator[Seed]:
    packed = PROJECT / "tests" / "unit" / "data" / "alkaid_hgq2.json.gz"
    unpacked = folder / "alkaid_hgq2.json"
    unpacked.write_bytes(gzip.decompress(packed.read_bytes()))
    yield Seed(packed, "model")
    yield Seed(unpacked, "model")
    import alkaid_programs as made

    for name in ("tables", "bits", "clip", "products"):
        path = folder / f"alkaid_{name}.json"
        path.write_bytes(made.saved(made.program(name), folder, "made.json").read_bytes())
        yield Seed(path, "model")
        small = path.with_suffix(".json.gz")
        small.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        yield Seed(small, "model")


def _yaml(folder: Path) -> Iterator[Seed]:
    import l1ml
    from l1ml.config import write_yaml

    jets = PROJECT / "datasets" / "jets"
    config: dict[str, Any] = l1ml.config_from_model(jets / "jet_q6_pruned75.h5", input_type="fixed<14,4>")
    config |= {
        "model": "model.h5", "output_dir": "prj",
        "layers": {"fc1": {"weight": "fixed<8,1>", "bias": "fixed<8,1>"}}, "links": {"links_in": 2},
        "precision": {"model": "fixed<16,6>", "type": {"Dense": {"weight": "auto"}}, "auto": {"width": 12}},
    }  # fmt: skip
    path = folder / "options.yml"
    write_yaml(path, config)
    yield Seed(path, "config")
    yield Seed(jets / "budget.yml", "budget")
    for name in ("emp", "axis", "parallel"):
        yield Seed(PROJECT / "interfaces" / name / "interface.yaml", "interface")


def _networks(folder: Path) -> Iterator[Seed]:
    """Yield typed networks and a manifest, as a project holds them."""
    import l1ml
    from l1ml.frontends import read_model
    from l1ml.graph import build

    jets = PROJECT / "datasets" / "jets" / "jet_q6_pruned75.h5"
    for hardware in ("none", "parallel", "streamed"):
        project = l1ml.convert(
            jets, input_type="fixed<14,4>", output_dir=folder / hardware, hardware=hardware
        )
        made = project.root / f"manifest_{hardware}.json"
        shutil.copy(project.root / "manifest.json", made)
        yield Seed(made, "manifest")
    yield Seed(project.root / "network.json", "network")
    exported = PROJECT / "tests" / "vectors" / "onnx" / "exported"
    sources = [exported / f"brevitas_{name}_qonnx.onnx" for name in ("conv_fixed", "truncated", "binary")]
    for source in (*sources, PROJECT / "tests" / "unit" / "data" / "alkaid_hgq2.json.gz"):
        program = build.to_program(build.input_quantizers(read_model(source), "fixed<8,4>"))
        path = folder / f"{source.name.split('.')[0]}.network.json"
        path.write_text(program.dumps(), encoding="utf-8")
        yield Seed(path, "network")


def _events(folder: Path) -> Iterator[Seed]:
    """Yield event files as this tool writes them, and as others would with plain h5py."""
    from l1ml.events.sample import EventSample
    from l1ml.events.writer import EventWriter
    from l1ml.types.fixed import FixedType

    rng = np.random.default_rng(5)
    x = rng.integers(-512, 512, (64, 4)) / 64
    sample = EventSample(
        inputs={"x": x}, bx=np.arange(64) % 3564, orbit=np.zeros(64, np.int64),
        golden={"logits": x[:, :2]}, label=rng.integers(0, 2, 64),
    )  # fmt: skip
    own = folder / "own_events.h5"
    with EventWriter(own, types={"x": FixedType.parse("fixed<10,4>")}) as writer:
        writer.append(sample)
    yield Seed(own, "events")
    plain = folder / "plain_events.h5"
    with h5py.File(plain, "w") as file:
        file["x"] = x
        file["golden/logits"] = x[:, :2]
    yield Seed(plain, "events")
    packed = folder / "packed_events.h5"
    with h5py.File(packed, "w") as file:
        for name in ("tracks", "calo"):
            made = file.create_dataset(
                f"inputs/{name}", data=x.astype(np.float32), chunks=(16, 4), compression="gzip"
            )
            made.attrs["type"] = "fixed<12,6>"
        file.create_dataset("bx", data=np.arange(64), chunks=(16,), maxshape=(None,), shuffle=True)
        file["label"] = rng.integers(0, 2, 64)
        file["label"].attrs["classes"] = np.array(["a", "b"], dtype=h5py.string_dtype())
    yield Seed(packed, "events")


def _arrays(folder: Path) -> Iterator[Seed]:
    """Yield calibration events as NumPy saves them."""
    x = np.random.default_rng(6).normal(size=(64, 4)).astype(np.float32)
    for name, values in {
        "rows": x,
        "columns": np.asfortranarray(x),
        "codes": np.arange(64, dtype=">i2"),
    }.items():
        np.save(folder / f"{name}.npy", values)
        yield Seed(folder / f"{name}.npy", "arrays")
    np.savez(folder / "plain.npz", tracks=x, calo=x[:, :2])
    np.savez_compressed(folder / "packed.npz", tracks=x, calo=x[:, :2])
    yield Seed(folder / "plain.npz", "arrays")
    yield Seed(folder / "packed.npz", "arrays")


def _verdicts(folder: Path) -> Iterator[Seed]:
    from l1ml.validate.verdict import Check, Verdict

    first = {
        "event": 3,
        "bx": 7,
        "link": 0,
        "word": 1,
        "field": "y[0]",
        "expected": 5,
        "found": 4,
        "text": "event 3",
    }
    comparisons = (
        {"name": "golden", "events": 10, "values": 20, "mismatches": 2, "first": first},
        {"name": "rtl", "events": 10, "values": 20, "mismatches": 0, "first": None},
    )
    latency = {"cycles": 16, "ns": 44.4, "bx": 2, "measured_cycles": [16, 16]}
    verdict = Verdict(
        kind="replay",
        checks=(Check("golden", False, "9 of 10", "golden"), Check("constant_latency", True, "16", "contract")),
        subject={"top_module": "l1ml_emp", "digest": {"rtl": "01"}, "target": {"clock_mhz": 360.0, "tmux": 1}},
        latency=latency | {f"{part}_cycles": 4 for part in ("collect", "compute", "emit")}, interval={"cycles": 9},
        resources={"lut": 100, "ff": 5, "method": "model"}, comparisons=comparisons,
        throughput={"emulator_events_per_s": 4.6e6, "emulator_threads": 2},
    )  # fmt: skip
    path = folder / "verdict.json"
    verdict.write_json(path)
    yield Seed(path, "verdict")


def copied(found: list[Seed], folder: Path) -> None:
    """Keep a copy of every seed, for someone who wants to look at one."""
    for seed in found:
        shutil.copy(seed.path, folder)


if __name__ == "__main__":
    for seed in seeds(Path(sys.argv[1])):
        print(json.dumps([seed.name, seed.reader]))
