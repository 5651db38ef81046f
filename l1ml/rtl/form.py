# SPDX-License-Identifier: Apache-2.0
"""What a manifest must hold, so that nothing that reads one meets a missing key, another type or a foreign path.

A manifest is made by l1ml, but a project comes from wherever its folder was copied from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

SCHEMA_FAMILY = "l1ml-manifest/"
MAX_PROBLEMS = 8

Number = (int, float)
Maybe = (str, type(None))
_ELEMENT = {"lsb": int, "width": int, "signed": bool, "frac": int, "lo": int, "hi": int, "index": [int]}
_TENSOR = {"name": str, "shape": [int], "elements": [_ELEMENT], "type": Maybe}
_PORT = {"name": str, "direction": str, "width": int}
_FIELD = {
    "element": int, "name": str, "link": int, "word": int, "lsb": int, "width": int, "signed": bool,
    "element_width": int, "element_lsb": int,
}  # fmt: skip
_LINK = {
    "interface": str, "clock_mhz": Number, "tmux": int, "words_per_bx": int, "word_bits": int, "out_word_bits": int,
    "frame_words": int, "words_out": int, "link_cycles": int, "n_links_in": int, "n_links_out": int,
    "in_fields": [_FIELD], "out_fields": [_FIELD], "emit_cycles": int, "reset_active_low": bool,
    "beat_count": int, "beat_words": int, "beat_fields": int, "grid_cycles": int, "clear_cycles": int,
    "committed_word": int, "needed_word": int,
    "ports": [{"name": str, "direction": str, "width": int, "role": str}],
    "errors": [{"name": str, "bit": int, "text": str, "drops_event": bool}],
}  # fmt: skip
_RESOURCES = dict.fromkeys(("lut", "ff", "dsp", "bram"), Number)

ALWAYS: Mapping[str, Any] = {
    "schema": str, "name": str, "digest": {"network": str},
    "inputs": [{"name": str, "shape": [int]}], "outputs": [{"name": str, "shape": [int]}],
    "target": {"part": str, "clock_mhz": Number, "tmux": int, "interface": str},
    "layers": [{"name": str}], "files": [{"path": str, "sha256": str}],
    "approximations": [{"layer": str, "what": str}], "tools": {},
}  # fmt: skip
"""Every manifest."""
BUILT: Mapping[str, Any] = {
    "core_module": str, "top_module": str, "package": str, "digest": {"network": str, "rtl": str},
    "inputs": [_TENSOR], "outputs": [_TENSOR],
    "latency": {
        "cycles": int, "ns": Number, "bx": int, "collect_cycles": int, "compute_cycles": int, "emit_cycles": int,
        "gathered_cycles": int, "last_cycles": int, "last_ns": Number, "tail_cycles": int, "tail_ns": Number,
        "tail_last_cycles": int,
    },
    "interval": {"cycles": int, "core_cycles": int, "link_cycles": int, "grid_cycles": int},
    "ports": {"core": [_PORT], "top": [_PORT]}, "link": _LINK, "best_clock_mhz": Number, "estimate": _RESOURCES,
    "layers": [{
        "name": str, "kind": str, "hdl": str, "ops": int, "lut": Number, "ff": Number, "stage_first": int,
        "stage_last": int, "probes": [{"element": int, "signal": str, "width": int, "signed": bool, "cycle": int}],
    }],
    "stages": [{"index": int, "delay_ns": Number, "registers_bits": int, "ops": int, "worst": str}],
}  # fmt: skip
"""The manifest of a project that has RTL."""
STREAMED: Mapping[str, Any] = {
    "plan": [{
        "engine": str, "layers": [str], "out": [str], "first_cycle": int, "last_cycle": int, "busy_cycles": int,
        "stages": int, "resources": _RESOURCES,
    }],
    "choices": {"raster": [int], "luts": int, "fold": {}, "split": {}, "scan": {}, "serial": {}, "making": {}},
    "estimate": {"weighed_as": str}, "hardware": {"kind": str, "passed": [str]},
}  # fmt: skip
"""Besides, where the RTL is a chain of engines."""


def problems(data: Any) -> list[str]:
    """Return what is wrong with a manifest, at most `MAX_PROBLEMS`; empty if nothing is.

    Args:
        data: what its JSON text holds.
    """
    found: dict[str, None] = {}
    for problem in _problems(data):
        found[problem] = None
        if len(found) == MAX_PROBLEMS:
            break
    return list(found)


def _problems(data: Any) -> Iterator[str]:
    if not isinstance(data, dict):
        yield "it is no mapping"
        return
    if not str(data.get("schema")).startswith(SCHEMA_FAMILY):
        yield f"schema is {data.get('schema')!r:.40}, expected {SCHEMA_FAMILY}1"
        return
    yield from _differs(data, ALWAYS, "")
    hardware = data.get("hardware", {})
    kind = hardware.get("kind") if isinstance(hardware, dict) else hardware
    if kind == "none":
        yield from _differs(hardware, {"reason": str}, "hardware")
    else:
        yield from _differs(data, BUILT, "")
    if kind == "streamed" or "plan" in data:
        yield from _differs(data, STREAMED, "")
    if kind not in ("none", "streamed", None):
        yield f"hardware is {kind!r:.40}"
    for file in data["files"] if isinstance(data.get("files"), list) else []:
        path = file.get("path") if isinstance(file, dict) else None
        if isinstance(path, str) and not _inside(path):
            yield f"files: {path!r:.60} leads out of the project"


def _inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return bool(path) and "\0" not in path and not parts.is_absolute() and ".." not in parts.parts


def _differs(value: Any, form: Any, place: str) -> Iterator[str]:
    if isinstance(form, Mapping):
        if not isinstance(value, dict):
            yield f"{place} must be a mapping, found {value!r:.40}"
            return
        for key, inner in form.items():
            where = f"{place}.{key}" if place else key
            if key not in value:
                yield f"{where} is missing"
            else:
                yield from _differs(value[key], inner, where)
    elif isinstance(form, list):
        if not isinstance(value, list):
            yield f"{place} must be a list, found {value!r:.40}"
            return
        for number, item in enumerate(value):
            yield from _differs(item, form[0], f"{place}[{number}]")
    elif not _fits(value, form):
        yield f"{place} is {value!r:.40}"


def _fits(value: Any, form: Any) -> bool:
    if isinstance(value, bool):
        return form is bool
    return isinstance(value, form) and not (isinstance(value, float) and not math.isfinite(value))
