# SPDX-License-Identifier: Apache-2.0
"""The spellings of a quantizer or activation in Keras configurations: mappings, texts and bare names.

The same quantizer appears as ``{"class_name": "quantized_bits", "config": {...}}``, as the text
``"quantized_bits(6,0,alpha=1)"``, or as a bare name.  All become one `Call`.

Source:
    The grammar of the texts is that of ``qkeras/safe_eval.py``: positional arguments, then keywords; values
    are numbers, True, False, None, quoted texts, or ``[1 2 3]``.  Nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from l1ml.frontends.common import UnsupportedError, unwrap

MAX_TEXT = 1000

OPERATIONS = ("keras.src.ops.", "keras.ops")
FRAMEWORKS = ("keras", "tensorflow", "tf_keras", "qkeras", "tensorflow_model_optimization", "builtins")
PACKAGES = ("keras", "qkeras", "tf_keras", "Custom", "TFOptimization", "tensorflow_model_optimization")

SIGNATURES: dict[str, tuple[str, ...]] = {
    "quantized_bits": (
        "bits", "integer", "symmetric", "keep_negative", "alpha", "use_stochastic_rounding", "scale_axis",
        "qnoise_factor", "var_name", "use_ste", "use_variables", "elements_per_scale", "min_po2_exponent",
        "max_po2_exponent", "post_training_scale",
    ),
    "quantized_relu": (
        "bits", "integer", "use_sigmoid", "negative_slope", "use_stochastic_rounding", "relu_upper_bound",
        "is_quantized_clip", "qnoise_factor", "var_name", "use_ste", "use_variables", "enable_fast_inference",
    ),
    "quantized_linear": (
        "bits", "integer", "symmetric", "keep_negative", "alpha", "use_stochastic_rounding", "scale_axis",
        "qnoise_factor", "var_name", "use_variables",
    ),
    "binary": (
        "use_01", "alpha", "use_stochastic_rounding", "scale_axis", "elements_per_scale", "min_po2_exponent",
        "max_po2_exponent",
    ),
    "stochastic_binary": ("alpha", "temperature", "use_real_sigmoid"),
    "ternary": ("alpha", "threshold", "use_stochastic_rounding", "number_of_unrolls"),
    "stochastic_ternary": ("alpha", "threshold", "temperature", "use_real_sigmoid", "number_of_unrolls"),
    "bernoulli": ("alpha", "temperature", "use_real_sigmoid"),
    "quantized_tanh": ("bits", "use_stochastic_rounding", "symmetric", "use_real_tanh"),
    "quantized_sigmoid": ("bits", "symmetric", "use_real_sigmoid", "use_stochastic_rounding"),
    "quantized_po2": (
        "bits", "max_value", "use_stochastic_rounding", "quadratic_approximation", "log2_rounding", "qnoise_factor",
        "var_name", "use_ste", "use_variables",
    ),
    "quantized_relu_po2": (
        "bits", "max_value", "negative_slope", "use_stochastic_rounding", "quadratic_approximation", "log2_rounding",
        "qnoise_factor", "var_name", "use_ste", "use_variables",
    ),
    "quantized_ulaw": ("bits", "integer", "symmetric", "u"),
    "quantized_hswish": (
        "bits", "integer", "symmetric", "alpha", "use_stochastic_rounding", "scale_axis", "qnoise_factor", "var_name",
        "use_variables", "relu_shift", "relu_upper_bound", "keep_negative",
    ),
    **dict.fromkeys(("linear", "sigmoid", "tanh", "softplus", "softsign", "exponential", "swish", "silu", "mish", "selu"), ()),  # noqa: E501
    **dict.fromkeys(("hard_sigmoid", "hard_tanh", "smooth_tanh", "smooth_sigmoid", "binary_tanh", "binary_sigmoid"), ()),  # noqa: E501
    **dict.fromkeys(("hard_silu", "hard_swish", "log_sigmoid"), ()),
    "elu": ("alpha",),
    "celu": ("alpha",),
    "gelu": ("approximate",),
    "leaky_relu": ("negative_slope",),
    "relu": ("negative_slope", "max_value", "threshold"),
    "relu6": (),
    "softmax": ("axis",),
}  # fmt: skip
"""Supported functions and the names of their positional arguments, as QKeras 0.9 and qkeras-v3 have them."""

LAYERS = {"LeakyReLU": "leaky_relu", "ReLU": "relu", "ELU": "elu", "Softmax": "softmax"}
"""Layers that another layer may have as its activation, as functions."""

_CALL = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(?:\((.*)\))?\s*", re.DOTALL)
_KEYWORD = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Call:
    """A function of a model file with its arguments, checked against `SIGNATURES`."""

    name: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        given = [f"{key}={value!r}" for key, value in self.options.items()]
        return f"{self.name}({','.join(given)})"


def foreign(module: object, registered: object) -> str:
    """Return the package that an object comes from if that is neither Keras nor QKeras, else ``""``.

    A class name is not enough: HGQ, for one, also has a ``QDense``, which computes something else.

    Example:
        >>> foreign("hgq.layers.core.dense", None), foreign("keras.layers", None), foreign("keras.src.ops.nn", None)
        ('hgq', '', 'keras.ops')
    """
    if isinstance(module, str) and module.startswith(OPERATIONS):
        return "keras.ops"  # Add, Softmax, Reshape and others are layers as well, with other options
    package = module.split(".")[0] if isinstance(module, str) else ""
    if package:
        return "" if package in FRAMEWORKS else package
    owner = registered.split(">")[0] if isinstance(registered, str) and ">" in registered else ""
    return "" if not owner or owner in PACKAGES else owner


def package_of(raw: Mapping[str, Any]) -> str:
    """Return the package that a layer in a file comes from if that is neither Keras nor QKeras, else ``""``.

    Keras 2 writes the package of a registered class into the name of the class.

    Example:
        >>> package_of({"class_name": "HGQ>UnaryLUT", "config": {}})
        'HGQ'
    """
    return foreign(raw.get("module"), raw.get("registered_name") or raw.get("class_name"))


def call(value: Any) -> Call | None:
    """Read a quantizer or activation in any spelling; None stays None.

    Raises:
        UnsupportedError: the function is not one that has an exact form here; says which it is.

    Example:
        >>> call("quantized_bits(6, 0, alpha=1)")
        Call(name='quantized_bits', options={'bits': 6, 'integer': 0, 'alpha': 1})
    """
    value = unwrap(value)
    if value is None:
        return None
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, Mapping) and isinstance(value.get("class_name"), str):
        name, config = value["class_name"], unwrap(value.get("config"))
        if name == "function" and isinstance(config, str):  # how Keras 3 writes a plain function
            return _known(config, {})
        package = foreign(value.get("module"), value.get("registered_name"))
        if package:
            raise UnsupportedError(f"{name} of {package}")
        if config is not None and not isinstance(config, Mapping):
            raise UnsupportedError(f"{name} with the arguments {str(config)[:80]!r}")
        options = {str(key): unwrap(item) for key, item in (config or {}).items()}
        name = name.split(">")[-1]
        if name in LAYERS:
            options.pop("trainable", None)
            if name == "LeakyReLU" and "alpha" in options:  # what Keras 2 calls the slope
                options["negative_slope"] = options.pop("alpha")
            name = LAYERS[name]
        return _known(name, {key: v for key, v in options.items() if key not in ("name", "dtype")})
    raise UnsupportedError(f"an activation or quantizer of the form {str(value)[:80]!r}")


def _known(name: str, options: Mapping[str, Any]) -> Call:
    name = name.rsplit(".", 1)[-1]
    if name not in SIGNATURES:
        raise UnsupportedError(f"{name[:80]}")
    unknown = [key for key, value in options.items() if key not in SIGNATURES[name] and value is not None]
    if unknown:
        raise UnsupportedError(f"{name} has options unknown here: {', '.join(unknown)[:200]}")
    return Call(name, options)


def _from_text(text: str) -> Call:
    match = _CALL.fullmatch(text) if len(text) <= MAX_TEXT else None
    if match is None:
        raise UnsupportedError(f"cannot read the text {text[:80]!r}")
    name, inside = match.group(1), match.group(2)
    if inside is None or not inside.strip():
        return _known(name, {})
    if "(" in inside:
        return _known(name, {})  # QKeras' own reader finds no argument in nested calls and takes the defaults
    positions = SIGNATURES.get(name, ())
    options: dict[str, Any] = {}
    for index, part in enumerate(inside.split(",")):
        keyword = _KEYWORD.fullmatch(part)
        if keyword:
            key, value = keyword.group(1), keyword.group(2)
        elif index == len(options) < len(positions) and list(options) == list(positions[:index]):
            key, value = positions[index], part
        else:
            raise UnsupportedError(f"cannot read argument {index + 1} of {text[:80]!r}")
        if key in options:
            raise UnsupportedError(f"{text[:80]!r} gives {key} twice")
        options[key] = _value(value.strip(), text)
    return _known(name, options)


def _value(text: str, whole: str) -> Any:
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text.startswith("[") and text.endswith("]"):
        return [_value(item, whole) for item in text[1:-1].split() if "[" not in item]
    try:
        return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else float(text)
    except ValueError:
        raise UnsupportedError(f"cannot read {text[:40]!r} in {whole[:80]!r}") from None
