# SPDX-License-Identifier: Apache-2.0
"""Lets ``python -m l1ml`` stand for ``l1ml``."""

import sys

from l1ml.cli import main

if __name__ == "__main__":
    sys.exit(main())
