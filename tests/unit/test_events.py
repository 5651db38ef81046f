# SPDX-License-Identifier: Apache-2.0
"""Event files: chunks, schema, everything a foreign file can be, and files that never appear half written."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1ml.errors import DataError
from l1ml.events import datasets, generate
from l1ml.events.hdf5 import open_events
from l1ml.events.sample import EventSample, consecutive
from l1ml.events.schema import to_codes
from l1ml.events.writer import EventWriter
from l1ml.types.fixed import FixedType
from l1ml.types.intrange import IntType

KIND = FixedType.parse("fixed<14,4>")


def sample(events: int = 100, first: int = 0, seed: int = 1) -> EventSample:
    rng = np.random.default_rng(seed)
    x = rng.integers(KIND.lo, KIND.hi, (events, 16), endpoint=True) / 1024
    bx, orbit = consecutive(events, first=first)
    golden = {"logits": rng.integers(-99, 99, (events, 5)) / 64}
    return EventSample({"x": x}, bx, orbit, golden, rng.integers(0, 5, events), first)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.h5"
    with EventWriter(path, types={"x": KIND}, units={"x": "sigma"}, classes="gqwzt") as writer:
        writer.append(sample(60))
        writer.append(sample(40, 60, seed=2))
    return path


def plain(path: Path, **datasets_: object) -> Path:
    """Write datasets without our writer, as a user would."""
    with h5py.File(path, "w") as out:
        for name, value in datasets_.items():
            out[name.replace("__", "/")] = value
    return path


# --- round trip


def test_what_is_written_is_read_in_any_chunks(file):
    with open_events(file) as events:
        assert len(events) == 100
        assert events.classes == ("g", "q", "w", "z", "t")
        column = events.inputs["x"]
        assert (column.path, column.shape, column.type, column.units) == ("x", (16,), KIND, "sigma")
        whole = events.read()
        whole.verify()
        first, second = sample(60), sample(40, 60, seed=2)
        assert np.array_equal(whole.inputs["x"], np.concatenate([first.inputs["x"], second.inputs["x"]]))
        assert np.array_equal(whole.golden["logits"][60:], second.golden["logits"])
        assert np.array_equal(whole.label[:60], first.label)
        for size in (1, 7, 60, 1000):
            parts = list(events.chunks(size))
            assert [p.first for p in parts] == list(range(0, 100, size))
            assert np.array_equal(np.concatenate([p.inputs["x"] for p in parts]), whole.inputs["x"])
            assert np.array_equal(np.concatenate([p.bx for p in parts]), whole.bx)
        part = next(events.chunks(10, first=55, stop=58))
        assert (part.first, len(part)) == (55, 3)
        assert part == events.read(55, 58)
        assert part != events.read(54, 57)


def test_same_events_same_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        with EventWriter(tmp_path / name, types={"x": KIND}) as writer:
            writer.append(sample())
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_several_inputs_of_any_shape(tmp_path):
    bx, orbit = consecutive(4)
    inputs = {"image": np.arange(24.0).reshape(4, 2, 3), "scalar": np.arange(4.0)}
    with EventWriter(tmp_path / "e.h5") as writer:
        writer.append(EventSample(inputs, bx, orbit))
    with open_events(tmp_path / "e.h5") as events:
        assert {n: c.shape for n, c in events.inputs.items()} == {"image": (2, 3), "scalar": ()}
        assert events.read() == EventSample(inputs, bx, orbit)


def test_the_only_input_takes_the_name_of_the_given_type(file):
    with open_events(file, types={"input_1": KIND}) as events:
        assert list(events.inputs) == ["input_1"]
        assert events.inputs["input_1"].path == "x"


def test_without_bx_events_are_consecutive(tmp_path):
    path = plain(tmp_path / "e.h5", x=np.zeros((1000, 2)))
    with open_events(path, step_bx=18) as events:
        late = events.read(900)
        assert late.bx[0] == 900 * 18 % 3564
        assert late.orbit[0] == 900 * 18 // 3564
        assert np.array_equal(np.concatenate([p.bx for p in events.chunks(7)])[900:], late.bx)


def test_integer_codes_with_a_scale(tmp_path):
    path = plain(tmp_path / "e.h5", x=np.array([[-8192, 8191]], dtype=np.int16))
    with h5py.File(path, "a") as out:
        out["x"].attrs.update({"scale": 2.0**-10, "type": b"fixed<14,4>"})
    with open_events(path) as events:
        values = events.read().inputs["x"]
        assert values.tolist() == [[-8.0, 8191 / 1024]]
        assert to_codes(values, KIND).tolist() == [[-8192, 8191]]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=4), st.integers(1, 60), st.integers(0, 99))
def test_any_cut_into_pieces_gives_the_same_events(tmp_path_factory, pieces, size, seed):
    path = tmp_path_factory.mktemp("cut") / "e.h5"
    whole = sample(sum(pieces), seed=seed)
    low = 0
    with EventWriter(path, types={"x": KIND}) as writer:
        for count in pieces:
            cut = slice(low, low + count)
            golden = {"logits": whole.golden["logits"][cut]}
            part = EventSample(
                {"x": whole.inputs["x"][cut]}, whole.bx[cut], whole.orbit[cut], golden, whole.label[cut]
            )
            writer.append(part)
            low += count
    with open_events(path) as events:
        assert events.read() == whole
        assert sum(len(part) for part in events.chunks(size)) == len(whole)


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as out:  # 800 MB of zeros that take no space
        out.create_dataset("x", shape=(1_000_000, 100), dtype="f8", chunks=(1000, 100), compression="gzip")
    tracemalloc.start()
    with open_events(path) as events:
        for number, part in enumerate(events.chunks(4096)):
            assert not part.inputs["x"].any()
            if number == 5:
                break
        assert len(events) == 1_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20


# --- foreign and damaged files: the message names file and dataset


def refuse(path: Path, *patterns: str, where: str | None = None, **options: object) -> None:
    with pytest.raises(DataError) as caught, open_events(path, **options) as events:
        for _ in events.chunks(16):
            pass
    text = str(caught.value)
    assert str(path) in text
    for pattern in patterns:
        assert pattern in text
    if where is not None:
        assert caught.value.where == (str(path), where)


def test_no_file_and_no_hdf5(tmp_path, file):
    refuse(tmp_path / "none.h5", "No such file")
    refuse(tmp_path, "directory")
    text = tmp_path / "text.h5"
    text.write_text("x,y\n1,2\n" * 1000)
    refuse(text, "not an HDF5 file")
    (tmp_path / "empty.h5").write_bytes(b"")
    refuse(tmp_path / "empty.h5", "HDF5")


def test_every_truncation_is_an_error(tmp_path, file):
    whole = file.read_bytes()
    cut = tmp_path / "cut.h5"
    for length in range(100, len(whole) - 1, len(whole) // 40):
        cut.write_bytes(whole[:length])
        refuse(cut, "cut off")


def test_flipped_bytes_never_give_wrong_events_or_a_crash(tmp_path, file):
    whole = bytearray(file.read_bytes())
    with open_events(file) as events:
        right = events.read()
    bad = tmp_path / "bad.h5"
    rng = np.random.default_rng(3)
    for place in rng.integers(0, len(whole), 150):
        mutated = bytearray(whole)
        mutated[place] ^= 1 << int(rng.integers(0, 8))
        bad.write_bytes(mutated)
        try:
            with open_events(bad) as events:
                got = events.read()
        except DataError:
            continue
        assert np.array_equal(got.inputs.get("x", right.inputs["x"]), right.inputs["x"]), f"byte {place}"


def test_missing_dataset_lists_what_is_there(tmp_path):
    refuse(plain(tmp_path / "e.h5", X=np.zeros((3, 2)), jets=np.zeros(3)), "the file holds X, jets")
    refuse(plain(tmp_path / "f.h5"), "the file holds nothing")
    two = plain(tmp_path / "g.h5", inputs__pt=np.zeros(3), inputs__eta=np.zeros(3))
    refuse(two, "there is no input 'ptt'", "did you mean pt?", where="inputs/ptt", types={"ptt": KIND})


def test_wrong_kinds_of_datasets(tmp_path):
    refuse(plain(tmp_path / "a.h5", x__y=np.zeros(3)), "this is a group", where="x")
    refuse(plain(tmp_path / "b.h5", x=1.5), "single number", where="x")
    refuse(plain(tmp_path / "c.h5", x=["a", "b"]), "no real numbers (text or Python objects)", where="x")
    refuse(
        plain(tmp_path / "d.h5", x=np.zeros(3, dtype=[("pt", "f4")])), "no real numbers (type [", where="x"
    )
    refuse(plain(tmp_path / "e.h5", x=np.zeros(3), bx=np.zeros(3)), "expected whole numbers", where="bx")
    refuse(
        plain(tmp_path / "f.h5", x=np.zeros(3), bx=np.zeros((3, 1), int)),
        "expected whole numbers",
        where="bx",
    )
    refuse(plain(tmp_path / "g.h5", x=np.zeros(3), bx=np.zeros(4, int)), "4 events, but x has 3", where="bx")
    refuse(plain(tmp_path / "h.h5", x=np.zeros(3), golden__y=np.zeros(2)), "2 events", where="golden/y")
    refuse(
        plain(tmp_path / "i.h5", x=np.zeros(3), bx=np.array([0, 3564, 1])), "bx 3564 of event 1", where="bx"
    )
    refuse(
        plain(tmp_path / "j.h5", inputs=np.zeros(3)), "this is a dataset, a group is expected", where="inputs"
    )


def test_links_out_of_the_file_are_refused(tmp_path):
    other = plain(tmp_path / "other.h5", x=np.zeros((3, 2)))
    external = tmp_path / "external.h5"
    with h5py.File(external, "w") as out:
        out["x"] = h5py.ExternalLink(str(other), "x")
    refuse(external, "link to another file", where="x")
    virtual = tmp_path / "virtual.h5"
    layout = h5py.VirtualLayout((3, 2), "f8")
    layout[:] = h5py.VirtualSource(str(other), "x", (3, 2))
    with h5py.File(virtual, "w") as out:
        out.create_virtual_dataset("x", layout)
    refuse(virtual, "lie in other files", where="x")
    raw = tmp_path / "raw.h5"
    with h5py.File(raw, "w") as out:
        out.create_dataset("x", (3,), "f8", external=[(str(other), 0, 24)])
    refuse(raw, "lie in other files", where="x")
    group = tmp_path / "group.h5"
    with h5py.File(group, "w") as out:
        out["x"] = np.zeros(3)
        out["golden"] = h5py.ExternalLink(str(other), "/")
    refuse(group, "link to another file", where="golden")
    soft = tmp_path / "soft.h5"
    with h5py.File(soft, "w") as out:
        out["x"] = h5py.SoftLink("/nowhere")
    refuse(soft, "leads nowhere", where="x")


def test_oversized_events_and_chunks_are_refused(tmp_path):
    path = tmp_path / "wide.h5"
    with h5py.File(path, "w") as out:
        out.create_dataset("x", shape=(10, 1 << 23), dtype="f4", chunks=(1, 1024))
    refuse(path, "numbers per event", where="x")
    with h5py.File(path, "w") as out:
        out.create_dataset("x", shape=(1 << 30, 1), dtype="f4", chunks=(1 << 28, 1), compression="gzip")
    refuse(path, "larger than 256 MiB", where="x")


def test_values_are_checked_against_the_type(tmp_path):
    x = np.zeros((50, 4))
    for value, text in (
        (np.nan, "value nan of event 33 element [2] is not finite"),
        (np.inf, "value inf of event 33 element [2] is not finite"),
        (8.0, "value 8.0 of event 33 element [2] is outside fixed<14,4> (-8..7.99902)"),
        (0.3, "value 0.3 of event 33 element [2] is off the grid of fixed<14,4> (LSB 0.000976562)"),
    ):
        x[33, 2] = value
        path = plain(tmp_path / "e.h5", x=x)
        refuse(path, text, where="x", types={"x": KIND})
    with open_events(path) as events:  # without a type only finite values are asked for
        assert events.read(33, 34).inputs["x"][0, 2] == 0.3
    golden = plain(tmp_path / "g.h5", x=np.zeros(3), golden__y=np.array([0, np.nan, np.nan]))
    refuse(golden, "event 1 (one of 2 such values) is not finite", where="golden/y")


def test_wrong_attributes(tmp_path):
    for key, value, text in (
        ("type", "fixed<14>", "attribute type: not a fixed-point type"),
        ("scale", 0.0, "scale must be a positive number"),
        ("scale", "two", "scale must be a positive number"),
        ("scale", np.nan, "scale must be a positive number"),
    ):
        path = plain(tmp_path / "e.h5", x=np.zeros(3))
        with h5py.File(path, "a") as out:
            out["x"].attrs[key] = value
        refuse(path, text, where="x")
    path = plain(tmp_path / "l.h5", x=np.zeros(3), label=np.zeros(3, int))
    with h5py.File(path, "a") as out:
        out["label"].attrs["classes"] = [1, 2]
    refuse(path, "classes must be a list of texts", where="label")
    with h5py.File(path, "a") as out:
        out["x"].attrs["units"] = 3
    refuse(path, "attribute units holds int64, expected a text", where="x")
    with h5py.File(path, "a") as out:
        out.attrs["l1ml_schema"] = "jets-of-somebody/1"
    refuse(path, "expected l1ml-events/1")


# --- a file appears whole or not at all


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_an_interrupted_writer_leaves_nothing_and_keeps_the_old_file(tmp_path, file):
    before = file.read_bytes()
    with pytest.raises(KeyboardInterrupt), EventWriter(file) as writer:
        writer.append(sample())
        raise KeyboardInterrupt
    assert leftovers(tmp_path) == ["events.h5"]
    assert file.read_bytes() == before


def test_a_writer_refuses_what_it_cannot_keep(tmp_path):
    path = tmp_path / "e.h5"
    off = EventSample({"x": np.full((1, 2), 0.3)}, *consecutive(1))
    with pytest.raises(DataError, match="off the grid"), EventWriter(path, types={"x": KIND}) as writer:
        writer.append(off)
    with pytest.raises(DataError, match="cannot be stored exactly as float32"), EventWriter(path) as writer:
        writer.append(off)
    with pytest.raises(DataError, match="the first had"), EventWriter(path) as writer:
        writer.append(sample())
        writer.append(EventSample({"x": np.zeros((1, 16))}, *consecutive(1)))
    with (
        pytest.raises(DataError, match=r"events of shape \(2,\), before \(16,\)"),
        EventWriter(path) as writer,
    ):
        writer.append(EventSample({"x": np.zeros((1, 16))}, *consecutive(1)))
        writer.append(EventSample({"x": np.zeros((1, 2))}, *consecutive(1)))
    with pytest.raises(DataError, match="no event was written"), EventWriter(path):
        pass
    with pytest.raises(DataError, match="has 2 events, bx has 1"), EventWriter(path) as writer:
        writer.append(EventSample({"x": np.zeros((2, 2))}, *consecutive(1)))
    assert leftovers(tmp_path) == []
    with pytest.raises(DataError, match="No such file"):
        EventWriter(tmp_path / "no" / "e.h5")


FULL_DISK = """
import resource, signal, sys
import numpy as np
from l1ml.errors import DataError
from l1ml.events.sample import EventSample, consecutive
from l1ml.events.writer import EventWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
rng = np.random.default_rng(1)
try:
    with EventWriter(sys.argv[1], dtype="float64") as writer:
        for _ in range(20):
            writer.append(EventSample({"x": rng.random((1000, 16))}, *consecutive(1000)))
except DataError as error:
    print(str(error).splitlines()[0])
"""


@pytest.mark.parametrize("limit", [600, 50_000, 1_000_000])
def test_a_full_disk_leaves_nothing(tmp_path, limit):
    target = tmp_path / "e.h5"
    command = [sys.executable, "-c", FULL_DISK, str(target), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("the disk is full; nothing was written\n", 0), done.stderr
    assert leftovers(tmp_path) == []


# --- generated stimuli


KINDS = [
    IntType(-8, 7, 2),
    IntType(0, 1),
    IntType(-3, 60, 5),
    IntType(0, 0),
    IntType(-(1 << 61), (1 << 61) - 1),
]


def test_uniform_covers_the_range_and_repeats():
    codes = generate.uniform(KINDS[:3], 3000, seed=1)
    assert codes.min(axis=0).tolist() == [-8, 0, -3]
    assert codes.max(axis=0).tolist() == [7, 1, 60]
    assert np.array_equal(codes, generate.uniform(KINDS[:3], 3000, seed=1))
    assert not np.array_equal(codes, generate.uniform(KINDS[:3], 3000, seed=2))


def test_corners_hold_the_extremes_and_every_bit():
    codes = generate.corners(KINDS)
    lo, hi = np.array([k.lo for k in KINDS]), np.array([k.hi for k in KINDS])
    assert ((codes >= lo) & (codes <= hi)).all()
    assert len(np.unique(codes, axis=0)) == len(codes)
    rows = {tuple(row) for row in codes.tolist()}
    for wanted in (0 * lo, lo, hi):
        assert tuple(wanted.tolist()) in rows
    for element, kind in enumerate(KINDS):
        for bit in range(kind.width - kind.signed):
            if 1 << bit <= kind.hi:
                single = [0] * len(KINDS)
                single[element] = 1 << bit
                assert tuple(single) in rows
    assert generate.values(codes[:, :1], KINDS[:1]).max() == 7 / 4


# --- the datasets that come along


@pytest.mark.parametrize("name", datasets.available())
def test_files_are_what_the_manifest_says(name):
    facts = datasets.manifest(name)
    folder = datasets.assets.path("datasets", name)
    assert {p.name for p in folder.glob("*.h5")} == {f["path"] for f in facts["files"]}
    for entry in facts["files"]:
        datasets.file(name, entry["path"])
        for path in entry.get("datasets", ()):
            with h5py.File(folder / entry["path"]) as content:
                assert path in content


def test_a_changed_dataset_is_noticed(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="did you mean jets"):
        datasets.manifest("jet")
    with pytest.raises(DataError, match=r"did you mean jets_10k\.h5"):
        datasets.file("jets", "jets_10.h5")
    copy = tmp_path / "datasets" / "jets"
    copy.mkdir(parents=True)
    for source in datasets.assets.path("datasets", "jets").iterdir():
        (copy / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(datasets.assets, "root", lambda: tmp_path)
    datasets.file("jets", "jet_q6.h5")
    (copy / "jet_q6.h5").write_bytes((copy / "jet_q6.h5").read_bytes() + b"x")
    with pytest.raises(DataError, match="not what the manifest says"):
        datasets.file("jets", "jet_q6.h5")


def test_jets_have_features_classes_and_golden_outputs():
    facts = datasets.manifest("jets")
    with open_events(datasets.file("jets", "jets_10k.h5")) as events:
        jets = events.read()
    assert len(jets) == facts["events"] == 10_000
    assert str(events.inputs["x"].type) == facts["inputs"]["x"]["type"] == "fixed<14,4>"
    assert len(facts["inputs"]["x"]["features"]) == events.inputs["x"].shape[0] == 16
    assert events.classes == tuple(facts["classes"])
    assert np.bincount(jets.label).min() > 1900
    logits = jets.golden["logits"]
    assert np.array_equal(logits * 2**11, np.rint(logits * 2**11))
    assert (logits.argmax(axis=1) == jets.label).mean() == pytest.approx(0.6407, abs=1e-4)
    with open_events(datasets.file("jets", "jets_10k.h5"), golden="golden_q6") as other:
        assert (other.read().golden["logits"].argmax(axis=1) == jets.label).mean() == pytest.approx(
            0.6466, abs=1e-4
        )


def test_jets_golden_is_what_qkeras_gave(shared_data):
    with open_events(datasets.file("jets", "jets_10k.h5")) as events:
        jets = events.read()
    stored = np.load(shared_data / "jets" / "golden_q6_pruned75.npz")
    assert np.array_equal(jets.inputs["x"], stored["input_0"])
    assert np.array_equal(jets.golden["logits"], stored["logits_0"])
