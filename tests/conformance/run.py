# SPDX-License-Identifier: Apache-2.0
"""Convert every model at hand and print one table: what is exact, what is not, where it starts to differ.

Quantized models with a golden must be equal to it in every integer code; float models are measured at
fixed<16,6> and at types found from the events.  The corpus of other people's models lies beside the
project; models that are absent are listed as absent, and the run fails if nothing was compared.

    python tests/conformance/run.py [--only NAME ...] [--no-rtl] [--markdown docs/conformance.md]
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

import l1ml
from l1ml.errors import L1mlError

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
SHARED = PROJECT.parent / "shared"
FIXTURES = PROJECT / "tests" / "vectors"
UNDECIDED = (
    "so near to a rounding boundary that float32 implementations differ",
    "needs exact integers, but its input is real-valued",
)  # fmt: skip
"""What a refusal says where the framework's own result depends on the machine it runs on."""

SECONDS_PER_MODEL = 1800
CLOCKS_MHZ = (360.71, 200.0, 80.16)
WAYS = (
    {"hardware": "parallel", "interface": "parallel"},
    {"hardware": "streamed", "interface": "axis"},
)
"""How the LUTs of a model are estimated: the first way and the fastest clock that it can have."""
MEMORY_BYTES = 8 << 30


@dataclass(frozen=True)
class Case:
    """One line of cases.yaml, or one fixture of the project."""

    name: str
    family: str
    model: str
    weights: str | None = None
    golden: str | None = None
    events: str | None = None
    output: str | None = None
    input_type: str | None = None
    exact: bool = True
    through_softmax: bool = False
    counts_per_unit: float = 1.0
    refused: str | None = None
    tolerance: float = 0.0
    undecided: bool = False
    at_least: float = 100.0

    def path(self, relative: str) -> Path:
        """Return a file of the case: beside the project, else in it."""
        beside = SHARED / relative
        return beside if beside.exists() else PROJECT / relative


@dataclass
class Row:
    """One line of the table."""

    model: str
    family: str
    container: str
    status: str = ""
    events: int = 0
    exact_percent: float | None = None
    difference: str = ""
    seconds: float = 0.0
    lut: int | None = None
    clock_mhz: float = 0.0
    agreement: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Tell whether the line stands for a promise that is not kept."""
        return self.status in ("DIFFERS", "ERROR", "NOT REFUSED")


def golden(case: Case) -> tuple[list[np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return inputs, outputs and layers of a case; empty where it has no golden."""
    if case.events is not None:
        with h5py.File(case.path(case.events)) as file:
            return (
                [file["x"][:] / case.counts_per_unit],
                {"output_0": file[case.output][:]} if case.output else {},
                {},
            )
    if case.golden is None:
        return [], {}, {}
    with np.load(case.path(case.golden), allow_pickle=False) as file:
        if "x" in file.files:  # the exported models of the project itself
            return [file["x"]], {"output_0": file["y"]}, {}
        inputs = [file[f"input_{k}"] for k in range(100) if f"input_{k}" in file.files]
        logits = {k: file[k] for k in file.files if k.startswith("logits_")}
        outputs = logits or {k: file[k] for k in file.files if k.startswith("output_")}
        return inputs, outputs, {k[6:]: file[k] for k in file.files if k.startswith("layer/")}


def grid_of(x: np.ndarray) -> str:
    """Return the smallest fixed-point type that holds all values of an array."""
    real = x.astype(np.float64)
    frac = next(f for f in range(-16, 40) if np.array_equal(np.rint(np.ldexp(real, f)), np.ldexp(real, f)))
    low, high = float(np.ldexp(real.min(), frac)), float(np.ldexp(real.max(), frac))
    signed = low < 0
    bits = (
        max(math.ceil(math.log2(high + 1)) if high > 0 else 0, math.ceil(math.log2(-low)) if signed else 0)
        + signed
    )
    return f"{'' if signed else 'u'}fixed<{max(bits, 1)},{max(bits, 1) - frac}>"


def run(case: Case, *, rtl: bool) -> list[Row]:
    """Convert one model and compare it."""
    row = Row(case.name, case.family, Path(case.model).suffix)
    if not case.path(case.model).exists():
        row.status = "absent"
        return [row]
    inputs, outputs, layers = golden(case)
    kinds = [case.input_type] if case.input_type else [grid_of(x) for x in inputs]
    settings = (
        [("", {})]
        if case.exact
        else [("fixed<16,6>", {"precision": "fixed<16,6>"}), ("auto", {"precision": "auto"})]
    )
    if not inputs:  # nothing to calibrate with
        settings = settings[:1]
        kinds = kinds or ["fixed<16,6,RND_CONV,SAT>"]
    start = time.perf_counter()
    for label, options in settings:
        with tempfile.TemporaryDirectory() as work:
            try:
                project = _built(case, kinds, Path(work), options, inputs, rtl=rtl)
            except L1mlError as error:
                text = str(error)
                expected = (case.refused and case.refused in text) or (
                    case.undecided and any(reason in text for reason in UNDECIDED)
                )
                row.status = "refused" if expected else "ERROR"
                row.difference = text.splitlines()[0][:160]
                break
            if case.refused:
                row.status = "NOT REFUSED"
                break
            estimate = project.manifest.get("estimate")
            row.lut = None if estimate is None else int(estimate["lut"])
            row.clock_mhz = float(project.manifest["target"]["clock_mhz"])
            _compare(case, project, inputs, outputs, layers, row, label)
    row.seconds = round(time.perf_counter() - start, 1)
    return [row]


def _built(
    case: Case, kinds: list[str], work: Path, options: dict[str, Any], inputs: list[np.ndarray], *, rtl: bool
) -> Any:
    """Convert as a parallel block, else a streamed one, for the fastest clock it can have; else the emulator only."""
    for way in WAYS if rtl else ():
        for clock in CLOCKS_MHZ:
            try:
                return _convert(case, kinds, work, {**options, **way, "clock_mhz": clock}, inputs)
            except l1ml.TimingError:
                continue
            except L1mlError:  # too large, or refused: the emulator says so again
                break
    return _convert(case, kinds, work, {**options, "hardware": "none", "interface": "parallel"}, inputs)


def bounded(case: Case, *, rtl: bool) -> list[Row]:
    """Do `run` in a process of its own, within limits of time and memory."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(its, case, rtl))
    process.start()
    its.close()
    row = Row(case.name, case.family, Path(case.model).suffix, "ERROR", seconds=SECONDS_PER_MODEL)
    try:
        if mine.poll(SECONDS_PER_MODEL):
            return list(mine.recv())
        row.difference = f"takes more than {SECONDS_PER_MODEL} s"
    except EOFError:
        row.difference = "the process died"
    finally:
        process.kill()
        process.join()
    return [row]


def _child(pipe: Connection, case: Case, rtl: bool) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        rows = run(case, rtl=rtl)
    except Exception as error:  # noqa: BLE001  one model must not end the others
        row = Row(case.name, case.family, Path(case.model).suffix, "ERROR")
        row.difference = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        rows = [row]
    pipe.send(rows)


def _convert(
    case: Case, kinds: list[str], work: Path, options: dict[str, Any], inputs: list[np.ndarray]
) -> Any:
    source = case.path(case.model)
    weights = {"weights": case.path(case.weights)} if case.weights else {}
    if options.get("precision") == "auto":
        np.savez(work / "calibration.npz", *inputs)
        options = {**options, "calibration": inputs if len(inputs) > 1 else inputs[0]}
    config = l1ml.config_from_model(source, hardware=options["hardware"], **weights)
    if config["input_type"] is None and kinds:
        names = list(l1ml.frontends.read_model(source, **{k: str(v) for k, v in weights.items()}).inputs)
        options["input_type"] = {i.name: k for i, k in zip(names, kinds * len(names), strict=False)}
    elif kinds and inputs:
        options["input_type"] = kinds[0] if len(kinds) == 1 else config["input_type"]
    return l1ml.convert(source, output_dir=work / "project", **weights, **options)


def _compare(
    case: Case, project: Any, inputs: list[np.ndarray], outputs: dict[str, np.ndarray],
    layers: dict[str, np.ndarray], row: Row, label: str,
) -> None:  # fmt: skip
    if not outputs:
        row.status = "converted"
        rng = np.random.default_rng(1)
        x = [
            rng.integers(p.type.lo, p.type.hi + 1, (100, *p.shape)) * 2.0**-p.quantizer.type.frac
            for p in project.program.inputs
        ]
        project.predict(x if len(x) > 1 else x[0])
        return
    x = [a.reshape(len(a), *p.shape) for a, p in zip(inputs, project.program.inputs, strict=True)]
    made = project.predict(x if len(x) > 1 else x[0], softmax=case.through_softmax)
    found = list(made.values()) if isinstance(made, dict) else [made]
    names = sorted(outputs, key=lambda name: (len(name), name))  # output_10 behind output_9
    wanted = [outputs[k].reshape(f.shape) for k, f in zip(names, found, strict=True)]
    row.events = len(x[0])
    if not case.exact:
        error = max(float(np.abs(f - w).max()) for f, w in zip(found, wanted, strict=True))
        agree = float(np.mean(found[0].argmax(axis=-1) == wanted[0].argmax(axis=-1)))
        row.agreement[label] = f"argmax {100 * agree:.2f} %, max error {error:.3g}"
        row.status = "measured"
        return
    # A softmax is a float: the logits behind it are not stored.
    tolerance = max(case.tolerance, 2e-6 if case.through_softmax else 0.0)
    same = np.all(
        [
            (np.abs(f - w) <= tolerance).reshape(len(f), -1).all(axis=1)
            for f, w in zip(found, wanted, strict=True)
        ],
        axis=0,
    )
    row.exact_percent = round(100 * float(same.mean()), 3)
    row.status = "exact" if same.all() else "DIFFERS"
    if not same.all() and project.program.approximations and row.exact_percent >= case.at_least:
        row.status = "approximated"  # a named approximation, no promise
    if not same.all():
        row.difference = _first_difference(project, x, layers, same)


def _first_difference(
    project: Any, x: list[np.ndarray], layers: dict[str, np.ndarray], same: np.ndarray
) -> str:
    traced = project.trace(x if len(x) > 1 else x[0])
    for name, values in traced.items():
        if name in layers:
            wanted = layers[name]
            part = values[: len(wanted)].reshape(wanted.shape)
            wrong = np.argwhere((part != wanted).reshape(len(wanted), -1))
            if len(wrong):
                return f"layer {name}, event {wrong[0][0]}"
    return f"outputs, event {int(np.flatnonzero(~same)[0])}"


def fixtures() -> list[Case]:
    """Return the project's own recorded models: a model file beside an .npz of its name, or of its model's name."""
    found = []
    for model in sorted(p for p in FIXTURES.rglob("*") if p.suffix in (".keras", ".h5", ".onnx")):
        own, shared = model.with_suffix(".npz"), model.with_name(f"{model.stem.rsplit('_', 1)[0]}.npz")
        answers = next((p for p in (own, shared) if p.exists()), None)
        if answers is None:
            continue
        relative = [str(p.relative_to(PROJECT)) for p in (model, answers)]
        exported = model.parent.name == "exported"
        found.append(
            Case(
                model.stem,
                f"own {model.parent.name}",
                relative[0],
                golden=relative[1],
                exact=not model.stem.startswith("torch_"),
                input_type="fixed<12,5>" if exported else None,
                through_softmax=model.stem.startswith("runtime_cnn"),
                tolerance=1e-6 if exported else 0.0,  # some end on a real scale
                undecided=exported,
            )
        )
    return found


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown."""
    head = (
        "model",
        "family",
        "container",
        "status",
        "events",
        "exact %",
        "first difference, or agreement",
        "s",
        "LUT est.",
    )
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        text = row.difference or "; ".join(f"{k}: {v}" for k, v in row.agreement.items() if v)
        cells = (
            row.model, row.family, row.container, row.status, str(row.events or ""),
            "" if row.exact_percent is None else f"{row.exact_percent:g}", text, f"{row.seconds:.1f}",
            "" if row.lut is None else f"{row.lut:,} at {row.clock_mhz:g} MHz",
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


MARK = "<!-- what follows is written by tests/conformance/run.py --markdown -->"


def _into_document(path: Path, text: str) -> None:
    before = path.read_text(encoding="utf-8").split(MARK)[0] if path.exists() else ""
    path.write_text(f"{before}{MARK}\n\n{text}", encoding="utf-8")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="names of models; default all")
    parser.add_argument("--no-rtl", action="store_true", help="emulator only: no LUT estimate, much faster")
    parser.add_argument("--own", action="store_true", help="only the project's own recorded models")
    parser.add_argument("--output", type=Path, default=PROJECT / "build" / "conformance")
    parser.add_argument(
        "--markdown", type=Path, help="document whose last part, behind the mark, is replaced"
    )
    args = parser.parse_args()
    cases = (
        []
        if args.own
        else [Case(**entry) for entry in yaml.safe_load((HERE / "cases.yaml").read_text(encoding="utf-8"))]
    )
    cases += fixtures()
    rows: list[Row] = []
    for case in cases:
        if args.only and case.name not in args.only:
            continue
        print(f"{case.name} ({Path(case.model).suffix}) ...", file=sys.stderr, flush=True)
        rows += bounded(case, rtl=not args.no_rtl)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "conformance.md").write_text(table(rows) + "\n", encoding="utf-8")
    (args.output / "conformance.json").write_text(
        json.dumps([asdict(r) for r in rows], indent=1) + "\n", encoding="utf-8"
    )
    compared = sum(r.events for r in rows if r.exact_percent is not None)
    failed = [r.model for r in rows if r.failed]
    total = (
        f"{len(rows)} models, {compared:,} events compared exactly, "
        f"{len(failed)} failed: {', '.join(failed) or 'none'}"
    )
    print(f"{table(rows)}\n\n{total}")
    if args.markdown:
        _into_document(args.markdown, f"{table(rows)}\n\n{total}.\n")
    return 1 if failed or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
