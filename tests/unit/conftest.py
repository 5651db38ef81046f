# SPDX-License-Identifier: Apache-2.0
"""Lets tests of this folder import its helper modules by name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
