# SPDX-License-Identifier: Apache-2.0
"""What the user asks for: YAML in and out, and the options of one project.

Every YAML file of l1ml passes through `read_yaml`.  The options themselves are the fields of
`ProjectConfig`; their names are the keys of the file, the options of `l1ml config` and the keys
of the mapping that `l1ml.config_from_model` returns.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from l1ml import checks
from l1ml.checks import AUTO
from l1ml.errors import ConfigError
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
        interface: link at the block's border, a folder of ``interfaces/``; ``auto`` takes ``emp``, and ``axis`` for an
            event that is streamed without a ``tmux``.
        clock_mhz: clock of the block.
        tmux: time-multiplexing period: an event every ``tmux`` bunch crossings; None takes the fewest that an
            event's words need.
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
        hardware: ``parallel`` builds RTL for one event per clock, ``streamed`` engines that share hardware over the
            positions and clocks of an event, ``none`` only the emulator; ``auto`` takes ``parallel`` where the
            network is small enough, else ``streamed``.
        plan: how events are streamed: ``lanes`` (positions per beat of the input), ``interval`` (clocks between two
            events, where the link would allow more), ``spare`` (the resource to save: ``lut``, ``ff``, ``dsp`` or
            ``bram``; else the summed shares of the part are least) and, per layer under ``layers``,
            ``reuse_factor`` or ``strategy``, ``multiplier``, ``weights`` and ``reloadable``; what is not given is
            planned.
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
    interface: str = "auto"
    clock_mhz: float = 360.71
    tmux: int | None = None
    part: str = "xcvu13p-flga2577-2-e"
    stages: int | None = None
    latency_budget_ns: float | None = None
    events: str | None = None
    links: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, dict[str, str]] = field(default_factory=dict)
    precision: str | dict[str, Any] | None = None
    calibration: str | None = None
    hardware: str = "auto"
    plan: dict[str, Any] = field(default_factory=dict)
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
            raise ConfigError(f"options must be a mapping, found {checks.kind_of(mapping)}", where=where)
        problems = checks.unknown(mapping, _CHECKS)
        values: dict[str, Any] = {}
        for key, check in _CHECKS.items():
            if key in mapping:
                try:
                    values[key] = check(mapping[key])
                except checks.WrongError as error:
                    problems += [f"{key}{text}" for text in error.texts]
        if problems:
            raise ConfigError(
                checks.one_or_all(problems),
                where=where,
                fix="`l1ml config` writes a file with every option and its default",
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
    problems = checks.unknown(mapping, allowed)
    if problems:
        raise ConfigError(checks.one_or_all(problems), where=where)


_layer = checks.keyed(dict.fromkeys(LAYER_KEYS, checks.type_or_auto))
_entry = checks.keyed(dict.fromkeys((*PRECISION_KEYS, "default"), checks.type_or_auto))


def _one_or_entry(value: object) -> str | dict[str, str]:
    return _entry(value) if isinstance(value, Mapping) else checks.type_or_auto(value)


def _precision(value: object) -> str | dict[str, Any]:
    return _precision_mapping(value) if isinstance(value, Mapping) else checks.type_or_auto(value)


_precision_mapping = checks.keyed({
    "model": _one_or_entry,
    "type": checks.by_name(_one_or_entry),
    "name": checks.by_name(_one_or_entry),
    "auto": checks.keyed({
        "width": checks.whole(4, 32), "weight_width": checks.whole(2, 32), "table_width": checks.whole(4, 16),
        "spare_bits": checks.whole(0, 16), "outliers": checks.share, "max_error": checks.positive,
    }),
})  # fmt: skip


STRATEGIES = ("latency", "resource", "distributed_arithmetic")
"""hls4ml's words: all products at once in LUTs, folded, or all at once by shifts and adds."""


def _reloadable(value: object) -> bool | str:
    """Return true, false, or the type of the weights that can be loaded."""
    return value if isinstance(value, bool) else checks.plain_type(value)


SPARES = ("lut", "ff", "dsp", "bram")
"""Resources that the user may be short of."""
MULTIPLIERS = ("auto", "lut", "dsp")
MEMORIES = ("auto", "lut_rom", "block_rom")
"""What multiplies in a folded product, and where its weights lie."""


def _strategy(value: object) -> str:
    return checks.one_of(STRATEGIES)(str(value).lower())


_plan = checks.keyed({
    "lanes": checks.whole(1, 4096),
    "interval": checks.whole(1, 1 << 20),
    "spare": checks.one_of(SPARES),
    "layers": checks.by_name(checks.keyed({
        "reuse_factor": checks.whole(1, 1 << 20), "strategy": _strategy, "multiplier": checks.one_of(MULTIPLIERS),
        "weights": checks.one_of(MEMORIES), "reloadable": _reloadable,
    })),
})  # fmt: skip
_CHECKS: dict[str, Callable[[object], Any]] = {
    "model": checks.optional(checks.path),
    "weights": checks.optional(checks.path),
    "output_dir": checks.optional(checks.path),
    "name": checks.matching(r"[A-Za-z][A-Za-z0-9_]{0,39}", "a letter, then up to 39 letters, digits and _"),
    "input_type": checks.optional(checks.input_type),
    "raw_type": lambda value: None if value is None else checks.by_name(checks.raw_field)(value),
    "preprocess": checks.optional(checks.matching(r"[^\0]{1,500}", "the name of a function")),
    "interface": checks.matching(r"[A-Za-z][A-Za-z0-9_-]{0,39}", "the name of a link, e.g. emp"),
    "clock_mhz": checks.clock,
    "tmux": checks.optional(checks.whole(1, 3564)),
    "part": checks.matching(r"[A-Za-z0-9][A-Za-z0-9-]{2,39}", "an FPGA part, e.g. xcvu13p-flga2577-2-e"),
    "stages": checks.optional(checks.whole(1, 10_000)),
    "latency_budget_ns": checks.optional(checks.positive),
    "events": checks.optional(checks.path),
    "links": checks.plain,
    "layers": checks.by_name(_layer),
    "precision": checks.optional(_precision),
    "calibration": checks.optional(checks.path),
    "hardware": checks.matching("auto|parallel|streamed|none", "auto, parallel, streamed or none"),
    "plan": _plan,
    "strict": checks.yes_no,
    "keep_softmax": checks.yes_no,
}
