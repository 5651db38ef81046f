# SPDX-License-Identifier: Apache-2.0
"""Feed damaged files to every reader: each must be read or refused by a message, nothing else.

Models (HDF5, .keras, JSON with weights, ONNX, alkaid's ALIR), options, budgets and links in YAML, typed networks,
manifests, verdicts, event files, and arrays.

A worker process reads one file after the other under limits of memory and time.  What counts as a failure:
the worker dies, a file takes too long, any exception but `L1mlError`, a file opened for writing outside of the
worker's own folder, a new process other than the HDF5 reader's, or a socket.

    python tests/fuzz/run.py --count 100000 [--seed 0] [--reader events ...]
    python tests/fuzz/run.py --one READER NAME SEED         # one case again, with its traceback
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seeds import Seed, seeds
from tqdm import tqdm

SECONDS_PER_FILE = 90
"""Longer than the HDF5 library may wait for one answer on a machine that is busy with something else."""
HDF5_SECONDS = 4
"""For one answer of the HDF5 library; a user has more patience."""
MEMORY_BYTES = 6 << 30
HANGS = "FAILED hangs"
OUTLINE, SHOWN = 60, 12
BATCH = 64
"""Cases that a worker is asked for at a time."""

Case = tuple[Seed, int]
FORBIDDEN = ("socket.connect", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class")


def read_one(path: Path, reader: str, partner: Path | None) -> str:
    """Read a damaged file; return what came of it: ``read``, or ``refused`` and the reason.

    Raises:
        Exception: anything but a refusal, which is a failure of the reader.
    """
    from readers import READERS

    from l1ml.errors import L1mlError

    try:
        READERS[reader](path, partner)
    except L1mlError as error:
        text = str(error)
        if not text.strip() or len(text) > 20_000:
            raise RuntimeError(f"a message of {len(text)} characters") from error
        return f"refused {_outline(error.what)}"
    return "read"


def _outline(text: str) -> str:
    """Return a reason without what differs from file to file: names, numbers, lists."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "'_'", text.split("\n")[0])
    text = re.sub(r"[-+]?\d[\w.,+-]*", "0", text)
    return re.sub(r"[\[({].*[\])}]", "(_)", text)[:OUTLINE]


def place(folder: Path, seed: Seed, number: int) -> tuple[Path, Path | None]:
    """Write the damaged copy of a seed where its reader looks, a copy of its partner beside it."""
    from mutate import mutated

    suffix = "".join(seed.path.suffixes[-2:]) if seed.path.suffix == ".gz" else seed.path.suffix
    case = folder / ("case" + suffix)
    case.write_bytes(mutated(seed.path, number))
    return case, seed.partner


def worker(folder: Path) -> None:
    """Read lists of cases ``[reader, file, partner, number]`` from standard input, answer one line each."""
    import readers  # noqa: F401  loaded before the limits and the watch
    from mutate import mutated  # noqa: F401

    from l1ml.hdf5 import reader as hdf5

    hdf5.SECONDS = HDF5_SECONDS
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    watching = False
    allowed = (str(folder), "/dev/", str(Path(tempfile.gettempdir()) / "l1ml-"))

    def watch(event: str, args: tuple[object, ...]) -> None:
        if not watching:
            return
        if event == "open" and isinstance(args[0], str | bytes) and isinstance(args[2], int):
            writes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            target = os.fsdecode(args[0])
            if writes and not os.path.realpath(target).startswith(allowed):
                os.write(2, f"WRITES {target}\n".encode())
                os._exit(3)
        elif event in FORBIDDEN or (event == "subprocess.Popen" and "hdf5/child.py" not in str(args[1])):
            os.write(2, f"FORBIDDEN {event}\n".encode())
            os._exit(3)

    sys.addaudithook(watch)
    for reader, name, beside, number in (case for line in sys.stdin for case in json.loads(line)):
        seed = Seed(Path(name), reader, None if beside is None else Path(beside))
        case, partner = place(folder, seed, number)
        digest = hashlib.sha256(case.read_bytes()).hexdigest()[:16]
        watching = True
        try:
            answer = read_one(case, reader, partner)
        except BaseException as error:  # noqa: BLE001  the point of it
            last = traceback.extract_tb(error.__traceback__)[-1]
            answer = f"FAILED {type(error).__name__}: {str(error)[:200]!r} {last}"
        watching = False
        print(digest, answer.replace("\n", " "), flush=True)


class Pool:
    """One worker process that is started again when it dies or hangs.

    Args:
        folder: the only place where it may write.
        script: what it runs, with ``--worker FOLDER``.
    """

    def __init__(self, folder: Path, script: Path = Path(__file__)) -> None:
        self.folder, self.script = folder, script
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, cases: Sequence[Case]) -> list[str]:
        """Return the worker's answers, or how it died; what takes too long on a busy machine gets a second chance.

        An answer is the digest of the damaged file (``-`` if the worker died) and what came of it.
        """
        answers: list[str] = []
        again = False
        while len(answers) < len(cases):
            before = len(answers)
            answers += self._lines(cases[before:])
            again = again and len(answers) == before
            if len(answers) == len(cases):
                break
            failure = self._death()
            if failure.endswith(HANGS) and not again:
                again = True
            else:
                answers.append(failure)
                again = False
        return answers

    def _lines(self, cases: Sequence[Case]) -> Iterator[str]:
        """Yield the worker's answers, until all are there, it dies, or one does not come."""
        if self.process is None:
            self.folder.mkdir(exist_ok=True)
            with (self.folder / "stderr").open("w") as log:
                self.process = subprocess.Popen(
                    [sys.executable, str(self.script), "--worker", str(self.folder)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0, cwd=self.folder,
                )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked = [[s.reader, str(s.path), None if s.partner is None else str(s.partner), n] for s, n in cases]
        self.process.stdin.write(json.dumps(asked).encode() + b"\n")
        said = b""
        for _ in cases:
            while b"\n" not in said:
                ready, _, _ = select.select([self.process.stdout], [], [], SECONDS_PER_FILE)
                more = self.process.stdout.read(1 << 16) if ready else b""
                if not more:
                    return
                said += more
            line, _, said = said.partition(b"\n")
            yield line.decode()

    def _death(self) -> str:
        """End the worker, and say how it ended."""
        assert self.process is not None
        try:
            code = self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.close()
            return f"- {HANGS}"
        self.close()
        log = (self.folder / "stderr").read_text(encoding="utf-8")[-300:]
        return f"- FAILED worker ended with {code}: {log!r}"

    def close(self) -> None:
        """End the worker."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()  # closes its pipes as well
            self.process = None


@dataclass
class Outcome:
    """What came of many damaged files.

    Attributes:
        ends: files by (reader, ``read`` / ``refused`` / ``FAILED``).
        reasons: refused files by (reader, reason without names and numbers).
        distinct: digests of the damaged files by reader.
        failures: the cases that failed, each with reader, file, seed and how.
    """

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    distinct: dict[str, set[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, seed: Seed, number: int, answer: str) -> None:
        """Count one answer of the worker."""
        digest, _, text = answer.partition(" ")
        end, _, reason = text.partition(" ")
        self.ends[seed.reader, end] += 1
        self.distinct.setdefault(seed.reader, set()).add(digest)
        if end == "refused":
            self.reasons[seed.reader, reason] += 1
        elif end == "FAILED":
            self.failures.append(f"{seed.reader} {seed.name} {number}: {text}")

    def report(self) -> str:
        """Return a table: files, different files and different reasons by reader, and the commonest reasons."""
        lines = ["reader        files  distinct      read   refused  reasons  FAILED"]
        for reader in sorted(self.distinct):
            read, refused, failed = (self.ends[reader, end] for end in ("read", "refused", "FAILED"))
            reasons = sum(name == reader for name, _ in self.reasons)
            lines.append(
                f"{reader:10} {read + refused + failed:8,} {len(self.distinct[reader]):9,} {read:9,} {refused:9,} "
                f"{reasons:8,} {failed:7,}"
            )
        for reader in sorted(self.distinct):
            common = [(n, why) for (name, why), n in self.reasons.most_common() if name == reader][:SHOWN]
            lines += ["", f"{reader} is refused:", *(f"  {n:7,}  {why}" for n, why in common)]
        return "\n".join(lines)


def fuzz(
    found: list[Seed], count: int, first: int, *, minutes: float = float("inf"), quiet: bool = False
) -> Outcome:
    """Try ``count`` damaged files, or as many as there is time for."""
    outcome, end = Outcome(), time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="l1ml-fuzz-") as work:
        pool = Pool(Path(work) / "worker")
        bar = tqdm(total=count, disable=quiet, unit="file", mininterval=5)
        for start in range(0, count, BATCH):
            if time.monotonic() > end:
                break
            # A seed comes several times, with another number each.
            cases = [(found[n % len(found)], first + n) for n in range(start, min(start + BATCH, count))]
            before = len(outcome.failures)
            for (seed, number), answer in zip(cases, pool.ask(cases), strict=True):
                outcome.add(seed, number, answer)
            bar.update(len(cases))
            if not quiet:
                print(
                    *outcome.failures[before:],
                    sep="\n",
                    end="\n" * (len(outcome.failures) > before),
                    flush=True,
                )
        bar.close()
        pool.close()
    return outcome


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--reader", nargs="*", help="only these readers")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=3, metavar=("READER", "NAME", "SEED"), help="one case again")
    args = parser.parse_args()
    if args.worker:
        worker(args.worker)
        return 0
    with tempfile.TemporaryDirectory(prefix="l1ml-seeds-") as work:
        found = [s for s in seeds(Path(work)) if not args.reader or s.reader in args.reader]
        if args.one:
            reader, name, number = args.one
            seed = next(s for s in found if s.reader == reader and s.name.endswith(Path(name).name))
            print(read_one(*_placed(Path(work), seed, int(number))))
            return 0
        start = time.perf_counter()
        outcome = fuzz(found, args.count, args.seed, minutes=args.minutes)
    files = len({(s.path, s.reader) for s in found})
    total = sum(outcome.ends.values())
    print(f"{total:,} damaged files from {files} good ones in {time.perf_counter() - start:.0f} s")
    print(outcome.report())
    print("\n".join(outcome.failures[:50]))
    return 1 if outcome.failures or not total else 0


def _placed(folder: Path, seed: Seed, number: int) -> tuple[Path, str, Path | None]:
    case, partner = place(folder, seed, number)
    return case, seed.reader, partner


if __name__ == "__main__":
    sys.exit(main())
