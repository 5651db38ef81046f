# SPDX-License-Identifier: Apache-2.0
"""Feed damaged model files to every reader: each must be read or refused by a message, nothing else.

A worker process reads one file after the other under limits of memory and time.  What counts as a failure:
the worker dies, a file takes too long, any exception but `L1mlError`, a file opened for writing outside of the
worker's own folder, a new process other than the HDF5 reader's, or a socket.

    python tests/fuzz/run.py --count 100000 [--workers 2] [--seed 0] [FILE ...]
    python tests/fuzz/run.py --one FILE SEED          # one case again, with its traceback
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tqdm import tqdm

PROJECT = Path(__file__).resolve().parents[2]
SECONDS_PER_FILE = 30
MEMORY_BYTES = 6 << 30
PATIENCE = 10


def sources() -> list[Path]:
    """Return the project's own small model files of every format."""
    found = [p for folder in ("tests/vectors", "datasets") for p in sorted((PROJECT / folder).rglob("*"))]
    return [
        p for p in found if p.suffix in (".h5", ".keras", ".onnx", ".json") and p.stat().st_size < 400_000
    ]


def read_one(path: Path) -> str:
    """Read a model file; return what came of it.

    Raises:
        Exception: anything but a refusal, which is a failure of the reader.
    """
    from l1ml import frontends
    from l1ml.errors import L1mlError

    try:
        frontends.read_model(path)
    except L1mlError as error:
        text = str(error)
        if not text.strip() or len(text) > 20_000:
            raise RuntimeError(f"a message of {len(text)} characters") from error
        return "refused"
    return "read"


def worker(folder: Path) -> None:
    """Read cases ``FILE<tab>SEED`` from standard input, answer one line each."""
    from mutate import mutated

    from l1ml import frontends  # noqa: F401  loaded before the limits and the watch

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    watching = False

    def watch(event: str, args: tuple[object, ...]) -> None:
        if not watching:
            return
        if event == "open" and isinstance(args[0], str | bytes) and isinstance(args[2], int):
            writes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            place = os.fsdecode(args[0])
            if writes and not os.path.realpath(place).startswith(
                (str(folder), "/dev/", str(Path(tempfile.gettempdir()) / "l1ml-"))
            ):
                os.write(2, f"WRITES {place}\n".encode())
                os._exit(3)
        elif event in ("socket.connect", "os.system", "pickle.find_class"):
            os.write(2, f"FORBIDDEN {event}\n".encode())
            os._exit(3)

    sys.addaudithook(watch)
    for line in sys.stdin:
        name, seed = line.rstrip("\n").split("\t")
        source = Path(name)
        case = folder / ("case" + source.suffix)
        case.write_bytes(mutated(source, int(seed)))
        watching = True
        try:
            answer = read_one(case)
        except BaseException as error:  # noqa: BLE001  the point of it
            place = traceback.extract_tb(error.__traceback__)[-1]
            answer = f"FAILED {type(error).__name__}: {str(error)[:200]!r} {place}"
        watching = False
        print(answer.replace("\n", " "), flush=True)


class Pool:
    """One worker process that is started again when it dies or hangs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def ask(self, source: Path, seed: int) -> str:
        """Return the worker's answer, or how it died."""
        if self.process is None or self.process.poll() is not None:
            self.folder.mkdir(exist_ok=True)
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--worker", str(self.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=(self.folder / "stderr").open("w"), text=True, cwd=self.folder,
            )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{source}\t{seed}\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS_PER_FILE + PATIENCE)
        if not ready:
            self.close()
            return "FAILED hangs"
        answer = self.process.stdout.readline().strip()
        if answer:
            return answer
        code = self.process.wait()
        return f"FAILED worker ended with {code}: {(self.folder / 'stderr').read_text(encoding='utf-8')[-300:]!r}"

    def close(self) -> None:
        """End the worker."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def fuzz(files: list[Path], count: int, first: int, *, quiet: bool = False) -> tuple[Counter[str], list[str]]:
    """Try ``count`` damaged files; return how they ended, and the failures."""
    ends: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="l1ml-fuzz-") as work:
        pool = Pool(Path(work) / "worker")
        for case in tqdm(range(count), disable=quiet, unit="file", mininterval=5):
            source, seed = files[case % len(files)], first + case // len(files)
            answer = pool.ask(source, seed)
            ends[answer.split()[0]] += 1
            if answer.startswith("FAILED"):
                failures.append(f"{source.relative_to(PROJECT)} seed {seed}: {answer}")
        pool.close()
    return ends, failures


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, metavar=("FILE", "SEED"), help="one case again")
    args = parser.parse_args()
    if args.worker:
        worker(args.worker)
        return 0
    if args.one:
        from mutate import mutated

        with tempfile.TemporaryDirectory() as work:
            case = Path(work) / ("case" + Path(args.one[0]).suffix)
            case.write_bytes(mutated(Path(args.one[0]).resolve(), int(args.one[1])))
            print(read_one(case))
        return 0
    files = [f.resolve() for f in args.files] or sources()
    start = time.perf_counter()
    ends, failures = fuzz(files, args.count, args.seed)
    print(
        f"{sum(ends.values()):,} damaged files from {len(files)} models in "
        f"{time.perf_counter() - start:.0f} s: {dict(ends)}"
    )
    print("\n".join(failures[:50]))
    return 1 if failures or not ends else 0


if __name__ == "__main__":
    sys.exit(main())
