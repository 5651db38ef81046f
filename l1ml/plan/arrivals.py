# SPDX-License-Identifier: Apache-2.0
"""What every engine asks of its numbers and of the clocks at which its beats come."""

from __future__ import annotations

import numpy as np

from l1ml.errors import ConfigError
from l1ml.types.arrays import IntArray


def checked_arrivals(engine: str, arrivals: IntArray, beats: int) -> IntArray:
    """Return the clocks of an event's beats as int64, checked.

    Args:
        engine: what it is for, for the message.
        arrivals: clock of every input beat of a lone event, (beats,).
        beats: how many there must be.

    Raises:
        ConfigError: not one clock per beat, or two beats in one clock.
    """
    clocks = np.asarray(arrivals, dtype=np.int64)
    if clocks.shape != (beats,):
        raise ConfigError(
            f"{engine}: an event has {beats} input beats, got clocks of shape {clocks.shape}",
            fix=f"give one clock for each of the {beats} beats",
        )
    late = np.flatnonzero(np.diff(clocks) < 1)
    if len(late):
        at = int(late[0])
        raise ConfigError(
            f"{engine}: beat {at + 1} comes at clock {clocks[at + 1]}, beat {at} at clock {clocks[at]}",
            fix="give ascending clocks, at most one beat in each",
        )
    return clocks


def check_positive(engine: str, **numbers: int) -> None:
    """Refuse numbers below 1, all of them in one message.

    Raises:
        ConfigError: names them.
    """
    bad = [f"{name} = {value}" for name, value in numbers.items() if value < 1]
    if bad:
        raise ConfigError(f"{engine}: {', '.join(bad)}; at least 1 is needed", fix="give positive numbers")
