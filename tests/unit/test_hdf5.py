# SPDX-License-Identifier: Apache-2.0
"""The process that reads HDF5 files: it may crash, hang or run out of memory, and only that file is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from l1ml.errors import DataError, ToolError
from l1ml.events import hdf5
from l1ml.events.hdf5 import open_events
from l1ml.hdf5 import reader
from l1ml.hdf5.reader import File, HDF5Error

ROWS = np.arange(4000.0).reshape(1000, 4)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "x", data=ROWS, chunks=(100, 2), compression="gzip", shuffle=True, fletcher32=True
        )
    return path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server of this test's own."""
    mine = reader._Server()
    monkeypatch.setattr(reader, "_SERVER", mine)
    yield mine
    mine.close()


def sick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Let the process misbehave when it is asked for rows of a file that has a dataset ``bad``."""
    script = tmp_path / "child.py"
    script.write_text(
        f"import sys, os, time\nsys.path.insert(0, {str(reader._CHILD.parent)!r})\nsys.argv[0] = 'child'\n"
        "import child as real\nimport numpy as np\nwell = real._Content.rows\n"
        "def rows(self, path, first, stop):\n"
        f"    if 'bad' in self.file:\n        {body}\n"
        "    return well(self, path, first, stop)\n"
        "real._Content.rows = rows\nreal.main()\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(reader, "_CHILD", tmp_path / "copy" / "child.py")
    (tmp_path / "copy").mkdir()
    script.rename(tmp_path / "copy" / "child.py")


def bad(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["x"] = ROWS
        file["bad"] = 1
    return path


# --- what a file can do to its process


@pytest.mark.parametrize(
    ("body", "seconds", "reason"),
    [
        ("os.abort()", 20, "the HDF5 library crashed"),
        ("while True: pass", 0.3, "did not finish within 0.3 s"),
        ("time.sleep(100)", 0.3, "did not finish within 0.3 s"),
        ("np.ones(1 << 30)", 20, "Unable to allocate 8.00 GiB"),
        ("return np.zeros((7, 4))", 20, "the HDF5 library crashed"),  # not what was asked for
    ],
    ids=["crash", "loop", "wait", "memory", "nonsense"],
)
def test_only_the_bad_file_is_lost(server, tmp_path, good, monkeypatch, body, seconds, reason):
    sick(tmp_path, monkeypatch, body)
    monkeypatch.setattr(reader, "SECONDS", seconds)
    start = time.monotonic()
    with open_events(good) as other, open_events(bad(tmp_path / "bad.h5")) as file:
        before = other.read(0, 10)
        with pytest.raises(DataError, match=reason) as caught:
            file.read()
        assert caught.value.where == (str(tmp_path / "bad.h5"), "x")
        assert caught.value.fix
        assert other.read(0, 10) == before  # its process is another one
    assert time.monotonic() - start < 20


def test_a_file_that_crashes_the_library(tmp_path):
    """The type of a text attribute is damaged by one bit pattern: HDF5 2.0 crashes while it reads the attribute."""
    path = tmp_path / "e.h5"
    with h5py.File(path, "w") as file:
        file["x"] = ROWS
        file["x"].attrs["type"] = "fixed<16,14>"
    with open_events(path) as events:
        assert len(events) == 1000
    data = bytearray(path.read_bytes())
    at = data.index(b"type\0\0\0\0\x19\x01") + 9  # version 1 and class 9, then the kind of variable length
    data[at] = 0x45
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be opened") as caught:
        open_events(path)
    assert caught.value.where == (str(path), "x")


def test_memory_is_bounded(tmp_path):
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:  # 6 GiB that take no space
        file.create_dataset("x", shape=(6 << 30,), dtype="u1", chunks=(1 << 20,))
    with File.at(path) as file, pytest.raises(HDF5Error, match="Unable to allocate"):
        file.tree(8 << 30)
    with File.at(path) as file:
        for _ in range(2):
            tree, blob = file.tree(1 << 20)
            assert tree["members"]["x"] == {"kind": "large", "shape": [6 << 30]}
            assert not blob


@pytest.mark.parametrize("elements", [0, 4])
def test_more_events_than_the_file_can_hold(tmp_path, elements):
    path = tmp_path / "endless.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", shape=(1 << 50, elements), dtype="f4", maxshape=(None, 4), chunks=(1000, 4))
    with pytest.raises(DataError, match="1125899906842624 events are more than a file of"):
        open_events(path)


def test_large_events_come_in_smaller_batches(good, monkeypatch):
    monkeypatch.setattr(hdf5, "MAX_BATCH_BYTES", 8 * (4 + 3) * 300)
    with open_events(good) as events:
        parts = list(events.chunks(1000))
    assert [len(part) for part in parts] == [300, 300, 300, 100]
    assert np.array_equal(np.concatenate([part.inputs["x"] for part in parts]), ROWS)
    monkeypatch.setattr(hdf5, "MAX_UNPACKED_BYTES", 8 * (4 + 3) * 900)
    with open_events(good) as events:
        assert len(events.read(0, 900)) == 900
        with pytest.raises(DataError, match="events 0 to 999 take more than"):
            events.read()
    monkeypatch.setattr(hdf5, "MAX_ELEMENTS", 3)
    with pytest.raises(DataError, match="more than 3 numbers per event"):
        open_events(good)


# --- who asks


def test_threads_may_share_a_file(good):
    with open_events(good) as events:

        def part(first: int) -> Any:
            return events.read(first, first + 10).inputs["x"]

        with ThreadPoolExecutor(8) as pool:
            parts = list(pool.map(part, range(0, 1000, 10)))
    assert np.array_equal(np.concatenate(parts), ROWS)


FORKED = """
import os, sys
from pathlib import Path
from l1ml.events.hdf5 import open_events
with open_events(sys.argv[1]) as events:
    first = events.read(0, 500)
    pid = os.fork()
    halves = [events.read(k, k + 100) for k in range(0, 1000, 100)]
    with open_events(sys.argv[1]) as again:
        same = again.read(0, 500) == first
    total = sum(float(half.inputs["x"].sum()) for half in halves)
    print(pid > 0, total, same, flush=True)
    if pid:
        os.waitpid(pid, 0)
"""


def test_both_sides_of_a_fork_read_on(good):
    command = [sys.executable, "-c", FORKED, str(good)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert sorted(done.stdout.split("\n")) == ["", f"False {ROWS.sum()} True", f"True {ROWS.sum()} True"], (
        done.stderr
    )


LEFT_OPEN = """
import sys
from pathlib import Path
from l1ml.hdf5 import reader
reader._CHILD = Path(sys.argv[2])
file = reader.File.at(Path(sys.argv[1]))
print(file.look("x")["shape"], flush=True)
if sys.argv[3] == "killed":
    import os
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("end", ["exit", "killed"])
def test_no_process_is_left_behind(good, tmp_path, end):
    copy = tmp_path / "child.py"
    copy.write_bytes(reader._CHILD.read_bytes())

    def running() -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if str(copy).encode() in words and LEFT_OPEN.encode() not in words:
                found.append(entry.parent.name)
        return found

    command = [sys.executable, "-c", LEFT_OPEN, str(good), str(copy), end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[1000, 4]\n", done.stderr
    limit = time.monotonic() + 10
    while running() and time.monotonic() < limit:
        time.sleep(0.05)
    assert not running()


def test_a_lost_server_is_started_again(server, good):
    with File.at(good) as file:
        first = file.look("x")
    server._process.send_signal(signal.SIGKILL)
    with File.at(good) as file:
        assert file.look("x") == first


def test_a_server_that_does_not_start_is_named(server, good, tmp_path, monkeypatch):
    (tmp_path / "child.py").write_text("raise SystemExit(1)\n", encoding="utf-8")
    monkeypatch.setattr(reader, "_CHILD", tmp_path / "child.py")
    with pytest.raises(ToolError, match="does not start"), File.at(good) as file:
        file.look("")


def test_an_interrupt_in_the_middle_of_an_answer(good, monkeypatch):
    real, calls = reader._receive, []

    def interrupted(channel: Any, into: Any) -> Any:
        calls.append(len(into))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(channel, into)

    with File.at(good) as file:
        node = file.look("x")
        monkeypatch.setattr(reader, "_receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            file.rows("x", node, 0, 1000)
        assert np.array_equal(file.rows("x", node, 0, 1000), ROWS)


def test_a_closed_file_is_closed(good):
    file = File.at(good)
    file.close()
    file.close()
    with pytest.raises(HDF5Error, match="closed"):
        file.look("")


SMALLER_LIMITS = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import child
for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU):
    resource.setrlimit(kind, (1 << 31, 1 << 31))
    for most, given in ((1 << 40, 1 << 31), (1 << 30, 1 << 30)):
        child._limit(kind, most)
        assert resource.getrlimit(kind) == (given, 1 << 31), resource.getrlimit(kind)
"""


def test_limits_of_a_batch_system_stay(tmp_path):
    command = [sys.executable, "-c", SMALLER_LIMITS, str(reader._CHILD.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# --- what is read


@pytest.mark.parametrize("piece", [1, 1000, 50_000])
@pytest.mark.parametrize("chunks", [None, (1, 4), (37, 3), (1000, 4)])
def test_pieces_give_the_whole(tmp_path, monkeypatch, piece, chunks):
    monkeypatch.setattr(reader, "PIECE_BYTES", piece)
    monkeypatch.setattr(reader, "MOST_PIECE_BYTES", 2 * piece)
    path = tmp_path / "e.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "x", data=ROWS[:200], chunks=None if chunks is None else (min(chunks[0], 200), chunks[1])
        )
    with File.at(path) as file:
        node = file.look("x")
        for first, stop in ((0, 200), (1, 199), (36, 38), (5, 5), (7, 3)):
            assert np.array_equal(file.rows("x", node, first, stop), ROWS[first:stop])


@pytest.mark.parametrize("kind", ["f2", ">f4", "f8", "u1", ">i8", "u8", "bool"])
def test_numbers_of_every_kind(tmp_path, kind):
    path = tmp_path / "e.h5"
    values = np.array([[0, 1], [1, 0], [1, 1]]).astype(kind)
    with h5py.File(path, "w") as file:
        file["x"] = values
    with File.at(path) as file:
        got = file.rows("x", file.look("x"), 0, 3)
    assert got.dtype == values.dtype.newbyteorder("<")
    assert np.array_equal(got, values)


def test_links_inside_of_the_file_are_followed(tmp_path):
    path = tmp_path / "e.h5"
    with h5py.File(path, "w") as file:
        file["runs/a/x"] = ROWS
        file["x"] = h5py.SoftLink("/runs/b/x")
        file["runs/b"] = h5py.SoftLink("a")
        file["golden/y"] = h5py.SoftLink("/loop")
        file["loop"] = h5py.SoftLink("/loop")
    with File.at(path) as file:
        assert np.array_equal(file.rows("x", file.look("x"), 0, 1000), ROWS)
        assert file.look("loop")["kind"] == "link"
        assert file.look("runs/c")["kind"] == "nowhere"


def test_code_that_unpacks_is_never_loaded(tmp_path):
    path = tmp_path / "e.h5"
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((10, 4))
        plist.set_filter(32001, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((1000, 4))
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_DOUBLE, space, plist)
    with pytest.raises(DataError, match="is packed by the filter 32001") as caught:
        open_events(path)
    assert caught.value.fix == "pack it by gzip"


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(DataError, match="is no file"):
        open_events(tmp_path / "pipe.h5")
