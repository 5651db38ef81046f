# SPDX-License-Identifier: Apache-2.0
"""What can be done with a converted project: build, emulate, replay, gate, report.

Each action reads the project folder, calls one package, and writes into ``reports``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from l1ml import cosim, events, report, synth, validate
from l1ml.errors import ConfigError, DataError

if TYPE_CHECKING:
    from l1ml.project import Project

EVENTS_PER_CHUNK = 50_000
BENCHES = ("bulk", "cocotb")
CONTRACT_EVENTS = 64
