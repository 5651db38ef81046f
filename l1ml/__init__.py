# SPDX-License-Identifier: Apache-2.0
"""l1ml: from a quantized neural network to a verified block for a Level-1 trigger.

Example::

    import l1ml

    prj = l1ml.convert("tagger.h5", output_dir="prj", input_type="fixed<14,4>")
    y = prj.predict(x)                 # bit for bit what the hardware gives
    print(prj.latency)                 # clocks, ns, BX
    verdict = prj.replay("events.h5")  # emulator and RTL on every event
"""

from l1ml.errors import (
    ConfigError,
    DataError,
    InterfaceError,
    L1mlError,
    ModelError,
    RangeError,
    TimingError,
    ToolError,
)
from l1ml.preprocess import lookup
from l1ml.project import Project, config_from_model, convert
from l1ml.types.fixed import quantize
from l1ml.version import VERSION

__version__ = VERSION

__all__ = [
    "ConfigError",
    "DataError",
    "InterfaceError",
    "L1mlError",
    "ModelError",
    "Project",
    "RangeError",
    "TimingError",
    "ToolError",
    "__version__",
    "config_from_model",
    "convert",
    "lookup",
    "quantize",
]
