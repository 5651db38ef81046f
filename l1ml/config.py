# SPDX-License-Identifier: Apache-2.0
"""What the user asks for: YAML in and out, and the options of one project.

Every YAML file of l1ml passes through `read_yaml`.  The options themselves are the fields of
`ProjectConfig`; their names are the keys of the file, the options of `l1ml config` and the keys
of the mapping that `l1ml.config_from_model` returns.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from l1ml.errors import ConfigError, L1mlError, nearest
from l1ml.types.fixed import Quantizer
from l1ml.types.timing import Clock
from l1ml.yamlfile import read_yaml, write_yaml

__all__ = [
    "AUTO",
    "LAYER_KEYS",
    "PRECISION_KEYS",
    "ProjectConfig",
    "default_mapping",
    "read_yaml",
    "refuse_unknown",
    "write_yaml",
]

PRECISION_KEYS = (
    "weight", "bias", "recurrent", "recurrent_bias", "output", "accum", "gate", "candidate", "state", "exp_table",
    "inv_table", "centred", "variance", "table", "normalized",
)  # fmt: skip
"""What can have a type: constants, what a layer gives out, and what is inside recurrent cells, softmax and
normalizations; docs/precision.md says which layer has which."""

LAYER_KEYS = PRECISION_KEYS
"""What can be pinned per layer."""

AUTO = "auto"
"""Instead of a type: found from the trained constants and from calibration events."""


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """The options of one project; build it with `from_mapping` or `read`, which check every value.

    Args:
        model: path of the model file; relative paths start at the current directory.
        weights: path of the weights, where ``model`` is architecture only.
        output_dir: project folder that `l1ml convert` writes.
        name: prefix of the HDL modules; by default always the same, so that RTL does not depend on
            the name of the file.
        input_type: ``fixed<W,I>`` for all inputs, or one per input name; None asks the model.
        raw_type: where a preprocessing function stands before the network: type and shape of every raw field,
            ``{name: {type: "ufixed<16,16>", shape: [10, 3]}}``; ``input_type`` is then what the function's
            results are converted to.
        preprocess: name of the preprocessing function, for people; the function itself is given to
            `l1ml.convert` or on the command line, never by a file.
        interface: link at the block's border, a folder of ``interfaces/``.
        clock_mhz: clock of the block.
        tmux: time-multiplexing period: an event every ``tmux`` bunch crossings.
        part: FPGA; decides the delay model.
        stages: pipeline stages of the core; None takes the fewest that meet ``clock_mhz``.  A number is
            kept; where it is too small the message tells the fastest clock it allows.
        latency_budget_ns: longest latency allowed; None states no budget.
        events: HDF5 file for the ranges and ROC curves of the report; None takes the one last replayed.
        links: options of the link: ``links_in``, ``interpacket_gap``, field layout.
        layers: types pinned per layer name, see `LAYER_KEYS`: the same as ``name`` in ``precision``.
        precision: types for what the model does not quantize itself: ``fixed<W,I>``, ``auto``, or a mapping with
            ``model``, ``type``, ``name`` and ``auto``; see docs/precision.md.
        calibration: event file from which ``auto`` finds ranges, and with which errors are measured.
        hardware: ``parallel`` builds RTL for one event per clock, ``none`` only the emulator; ``auto`` takes
            ``parallel`` where the network is small enough, else ``none``, and says so.
        strict: True refuses a network in which a real-valued layer (a normalization without a quantizer) feeds
            another one; False rounds its result as finely as float32 does and notes that as an approximation.
        keep_softmax: True refuses to drop a final softmax (its exact form needs quantized tables).
    """

    model: str | None = None
    weights: str | None = None
    output_dir: str | None = None
    name: str = "l1ml"
    input_type: str | dict[str, str] | None = None
    raw_type: dict[str, Any] | None = None
    preprocess: str | None = None
    interface: str = "emp"
    clock_mhz: float = 360.71
    tmux: int = 1
    part: str = "xcvu13p-flga2577-2-e"
    stages: int | None = None
    latency_budget_ns: float | None = None
    events: str | None = None
    links: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, dict[str, str]] = field(default_factory=dict)
    precision: str | dict[str, Any] | None = None
    calibration: str | None = None
    hardware: str = "auto"
    strict: bool = False
    keep_softmax: bool = False

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object], *, where: tuple[str, ...] = ()) -> ProjectConfig:
        """Check a plain mapping and fill in the defaults.

        Args:
            mapping: options by name; missing ones take their default.
            where: the place of the mapping for messages, e.g. the file it was read from.

        Raises:
            ConfigError: unknown keys, wrong types and values out of range, all in one message.

        Example:
            >>> ProjectConfig.from_mapping({"tmux": 6}).tmux
            6
        """
        if not isinstance(mapping, Mapping):
            raise ConfigError(f"options must be a mapping, found {_kind(mapping)}", where=where)
        problems = _unknown(mapping, _CHECKS)
        values: dict[str, Any] = {}
        for key, check in _CHECKS.items():
            if key in mapping:
                try:
                    values[key] = check(mapping[key])
                except _WrongError as error:
                    problems += [f"{key}{text}" for text in error.texts]
        if problems:
            raise ConfigError(
                _one_or_all(problems),
                where=where,
                fix="`l1ml config --help` names every option and its default",
            )
        return cls(**values)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ProjectConfig:
        """Read and check a configuration file; the model and the project folder must be named in it."""
        config = cls.from_mapping(read_yaml(path), where=(str(path),))
        missing = [key for key in ("model", "output_dir") if getattr(config, key) is None]
        if missing:
            raise ConfigError(
                f"{' and '.join(missing)} must be given",
                where=(str(path),),
                fix=f"add the line {missing[0]}: PATH",
            )
        return config

    def to_mapping(self) -> dict[str, Any]:
        """Return the options as a plain mapping, in the order of the fields; undone by `from_mapping`."""
        return copy.deepcopy({item.name: getattr(self, item.name) for item in dataclasses.fields(self)})


def default_mapping() -> dict[str, Any]:
    """Return every option with its default, as a plain, editable mapping."""
    return ProjectConfig().to_mapping()


def refuse_unknown(
    mapping: Mapping[str, object], allowed: Iterable[str], *, where: tuple[str, ...] = ()
) -> None:
    """Refuse all keys of ``mapping`` that are not ``allowed``, each with the nearest known key.

    Raises:
        ConfigError: at least one key is unknown.
    """
    problems = _unknown(mapping, allowed)
    if problems:
        raise ConfigError(_one_or_all(problems), where=where)


class _WrongError(Exception):
    """What is wrong with one value; each text continues the option's name."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        super().__init__(*texts)


def _unknown(mapping: Mapping[str, object], allowed: Iterable[str]) -> list[str]:
    known = tuple(allowed)
    lost = sorted((key for key in mapping if key not in known), key=str)
    return [f"unknown key {str(key)[:80]!r}: {nearest(str(key)[:80], known)}" for key in lost]


def _one_or_all(problems: list[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    return "\n".join([f"{len(problems)} options are wrong:", *(f"  - {text}" for text in problems)])


def _kind(value: object) -> str:
    names = {
        bool: "true or false",
        str: "text",
        int: "a whole number",
        float: "a number",
        dict: "a mapping",
        list: "a list",
    }
    if value is None:
        return "nothing (null)"
    name = names.get(type(value), type(value).__name__)
    return f"{name} {value!r:.60}" if isinstance(value, (bool, str, int, float)) else name


def _text(pattern: str, allowed: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise _WrongError(f" must be {allowed}, found {_kind(value)}")
        return value

    return check


def _path(value: object) -> str:
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value) or "\0" in str(value):
        raise _WrongError(f" must be a path, found {_kind(value)}")
    return str(Path(value))


def _whole(lowest: int, highest: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if (
            isinstance(value, (int, np.integer))
            and not isinstance(value, bool)
            and lowest <= value <= highest
        ):
            return int(value)
        raise _WrongError(f" must be a whole number from {lowest} to {highest}, found {_kind(value)}")

    return check


def _number(value: object) -> float:
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            if math.isfinite(number := float(value)):
                return number
    raise _WrongError(f" must be a number, found {_kind(value)}")


def _positive(value: object) -> float:
    number = _number(value)
    if number <= 0:
        raise _WrongError(f" must be above 0, found {number}")
    return number


def _share(value: object) -> float:
    if not 0 <= (number := _number(value)) <= 0.5:
        raise _WrongError(f" must be from 0 to 0.5, found {number}")
    return number


def _clock(value: object) -> float:
    number = _number(value)
    try:
        return Clock(number).mhz
    except L1mlError as error:
        raise _WrongError(f": {error.what}") from None


def _yes_no(value: object) -> bool:
    if not isinstance(value, bool):
        raise _WrongError(f" must be true or false, found {_kind(value)}")
    return value


def _type_text(value: object) -> str:
    if not isinstance(value, str):
        raise _WrongError(f" must be a type such as fixed<14,4>, found {_kind(value)}")
    try:
        Quantizer.parse(value)
    except L1mlError as error:
        raise _WrongError(f": {error.what}") from None
    return value


def _input_type(value: object) -> str | dict[str, str]:
    return _by_name(_type_text)(value) if isinstance(value, Mapping) else _type_text(value)


def _raw_field(value: object) -> dict[str, Any]:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        value = {"type": value[0], "shape": value[1]}
    entry = _plain(value)
    if problems := [f": {text}" for text in _unknown(entry, ("type", "shape"))]:
        raise _WrongError(*problems)
    sizes = entry.get("shape")
    sizes = list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]
    if not sizes or len(sizes) > 8:
        raise _WrongError(".shape must be the shape of one event, e.g. [10, 3]")
    return {"type": _type_text(entry.get("type")), "shape": [_whole(1, 1 << 20)(n) for n in sizes]}


def _plain(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _WrongError(f" must be a mapping, found {_kind(value)}")
    return copy.deepcopy(dict(value))


def _type_or_auto(value: object) -> str:
    return AUTO if value == AUTO else _type_text(value)


def _keyed(checks: Mapping[str, Callable[[object], Any]]) -> Callable[[object], dict[str, Any]]:
    """Return the check of a mapping that has some of these keys."""

    def check(value: object) -> dict[str, Any]:
        entry = _plain(value)
        problems = [f": {text}" for text in _unknown(entry, checks)]
        for key, each in checks.items():
            if key in entry:
                try:
                    entry[key] = each(entry[key])
                except _WrongError as error:
                    problems += [f".{key}{text}" for text in error.texts]
        if problems:
            raise _WrongError(*problems)
        return entry

    return check


_layer = _keyed(dict.fromkeys(LAYER_KEYS, _type_or_auto))
_entry = _keyed(dict.fromkeys((*PRECISION_KEYS, "default"), _type_or_auto))


def _one_or_entry(value: object) -> str | dict[str, str]:
    return _entry(value) if isinstance(value, Mapping) else _type_or_auto(value)


def _precision(value: object) -> str | dict[str, Any]:
    return _precision_mapping(value) if isinstance(value, Mapping) else _type_or_auto(value)


def _by_name(check: Callable[[object], Any]) -> Callable[[object], dict[str, Any]]:
    def each(value: object) -> dict[str, Any]:
        problems, checked = [], {}
        for name, entry in _plain(value).items():
            try:
                checked[_text(r"[^\0]{1,500}", "text")(name)] = check(entry)
            except _WrongError as error:
                problems += [f".{name}{text}" for text in error.texts]
        if problems:
            raise _WrongError(*problems)
        return checked

    return each


_precision_mapping = _keyed({
    "model": _one_or_entry,
    "type": _by_name(_one_or_entry),
    "name": _by_name(_one_or_entry),
    "auto": _keyed({
        "width": _whole(4, 32), "weight_width": _whole(2, 32), "table_width": _whole(4, 16),
        "spare_bits": _whole(0, 16), "outliers": _share, "max_error": _positive,
    }),
})  # fmt: skip


def _optional(check: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else check(value)


_CHECKS: dict[str, Callable[[object], Any]] = {
    "model": _optional(_path),
    "weights": _optional(_path),
    "output_dir": _optional(_path),
    "name": _text(r"[A-Za-z][A-Za-z0-9_]{0,39}", "a letter, then up to 39 letters, digits and _"),
    "input_type": _optional(_input_type),
    "raw_type": lambda value: None if value is None else _by_name(_raw_field)(value),
    "preprocess": _optional(_text(r"[^\0]{1,500}", "the name of a function")),
    "interface": _text(r"[A-Za-z][A-Za-z0-9_-]{0,39}", "the name of a link, e.g. emp"),
    "clock_mhz": _clock,
    "tmux": _whole(1, 64),
    "part": _text(r"[A-Za-z0-9][A-Za-z0-9-]{2,39}", "an FPGA part, e.g. xcvu13p-flga2577-2-e"),
    "stages": _optional(_whole(1, 10_000)),
    "latency_budget_ns": _optional(_positive),
    "events": _optional(_path),
    "links": _plain,
    "layers": _by_name(_layer),
    "precision": _optional(_precision),
    "calibration": _optional(_path),
    "hardware": _text("auto|parallel|none", "auto, parallel or none"),
    "strict": _yes_no,
    "keep_softmax": _yes_no,
}
