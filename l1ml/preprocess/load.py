# SPDX-License-Identifier: Apache-2.0
"""Loads a preprocessing function from a Python file that the user names on the command line.

A configuration file cannot do this: configurations and models are data, and reading data never runs code.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from l1ml.errors import ConfigError, nearest
from l1ml.preprocess.prepend import Function


def load_function(text: str) -> Function:
    """Return a function of a file.

    Args:
        text: ``path/file.py:function``.

    Raises:
        ConfigError: no such file or function, or the file fails when it is run.
    """
    path, colon, name = text.rpartition(":")
    file = Path(path)
    where = ("--preprocess", text)
    if not colon or not name.isidentifier() or file.suffix != ".py":
        raise ConfigError("not a function of a Python file", where=where, fix="write path/file.py:function")
    if not file.is_file():
        raise ConfigError(f"there is no file {path!r}", where=where, fix="check the path")
    spec = importlib.util.spec_from_file_location(f"l1ml_preprocess_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.resolve().parent))  # as for a script: modules beside it can be imported
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's own code raises
        raise ConfigError(f"the file fails: {type(error).__name__}: {error}", where=where) from error
    finally:
        sys.path.pop(0)
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"the file has no function {name!r}", where=where, fix=nearest(name, known))
    return function
