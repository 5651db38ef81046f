# SPDX-License-Identifier: Apache-2.0
"""From the network as read to the typed program: passes over layers, then the meaning of each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from l1ml.errors import L1mlError, ModelError
from l1ml.graph import affine
from l1ml.graph.layers import emit
from l1ml.graph.model import Affine, Dense, Input, Layer, Model, Quantize, Relu, Reshape, Sign, Softmax
from l1ml.graph.program import NetInput, TensorProgram, TensorStep
from l1ml.types.fixed import Quantizer

Pass = Callable[[Model], Model]

_EXAMPLE_TYPE = "fixed<8,1,RND_CONV,SAT>"


def drop_final_softmax(model: Model) -> Model:
    """Give logits instead of a softmax that ends the network: the order of the classes is the same."""
    ends = {layer.name: layer.inputs[0] for layer in model.layers if isinstance(layer, Softmax)}
    inner = [layer.name for layer in model.layers for name in layer.inputs if name in ends]
    if inner:
        raise ModelError(
            f"a softmax inside the network feeds {inner}; only a softmax at its end is supported",
            where=(model.source,),
            fix="remove it, or replace it by a quantized activation",
        )
    outputs = tuple(ends.get(name, name) for name in model.outputs)
    return replace(model, layers=tuple(la for la in model.layers if la.name not in ends), outputs=outputs)


def fuse_affine(model: Model) -> Model:
    """Join real-valued scales with the quantizer or sign behind them: one step function.

    A ReLU and reshapes may stand between.  A scale with several readers is joined with each of them.
    """
    by_name = {layer.name: layer for layer in model.layers}
    layers: list[Layer] = []
    for layer in model.layers:
        row = _row_before(layer, by_name)
        scales = [step for step in row if isinstance(step, Affine)]
        if not scales:
            layers.append(layer)
            continue
        shapes = [step for step in row if isinstance(step, Reshape)]
        assert isinstance(layer, Quantize | Sign)
        joined = affine.AffineQuantize(
            f"{layer.name}.steps" if shapes else layer.name,
            scales[0].inputs,
            tuple((step.scale, step.offset) for step in scales),
            any(isinstance(step, Relu) for step in row),
            layer.quantizer if isinstance(layer, Quantize) else None,
            layer.scale if isinstance(layer, Sign) else 1.0,
        )
        layers.append(joined)
        if shapes:  # the order of the elements is the same, so only the last shape counts
            layers.append(Reshape(layer.name, (joined.name,), shapes[-1].shape))
    return replace(model, layers=tuple(layers))


def _row_before(layer: Layer, by_name: dict[str, Layer]) -> list[Layer]:
    """Return the scales, reshapes and at most one last ReLU right before a quantizer, in order.

    A ReLU between two scales is left alone, and what stands before it too.
    """
    row: list[Layer] = []
    if not isinstance(layer, Quantize | Sign):
        return row
    before = by_name[layer.inputs[0]]
    while isinstance(before, Affine | Reshape) or (isinstance(before, Relu) and not _has_scale(row)):
        if isinstance(before, Affine) and any(isinstance(step, Reshape) for step in row) and _has_scale(row):
            break  # channels of the two scales are counted on different axes
        row.insert(0, before)
        before = by_name[before.inputs[0]]
    while row and not isinstance(row[0], Affine):
        row.pop(0)
    return row


def _has_scale(row: list[Layer]) -> bool:
    return any(isinstance(step, Affine) for step in row)


def drop_unused(model: Model) -> Model:
    """Drop layers that no output depends on; inputs stay."""
    needed = set(model.outputs)
    for layer in reversed(model.layers):
        if layer.name in needed:
            needed |= set(layer.inputs)
    return replace(
        model, layers=tuple(la for la in model.layers if la.name in needed or isinstance(la, Input))
    )


PASSES: tuple[Pass, ...] = (drop_final_softmax, fuse_affine, drop_unused)


def input_quantizers(model: Model, given: str | Mapping[str, str] | None) -> Model:
    """Give every input its fixed-point type.

    Args:
        model: the network.
        given: one type for all inputs, a mapping by input name, or None: then the quantizer that the
            network itself applies to the input is used.

    Raises:
        ModelError: an input has no type; all of them are named.
    """
    wanted = {i.name: given for i in model.inputs} if isinstance(given, str) else dict(given or {})
    unknown = sorted(set(wanted) - {i.name for i in model.inputs})
    if unknown:
        raise ModelError(
            f"input_type names {unknown}; the inputs are {[i.name for i in model.inputs]}",
            where=("input_type",),
        )
    layers: list[Layer] = []
    lost: list[str] = []
    for layer in model.layers:
        if isinstance(layer, Input):
            kind = (
                Quantizer.parse(str(wanted[layer.name]))
                if layer.name in wanted
                else own_quantizer(model, layer)
            )
            if kind is None:
                lost.append(layer.name)
            layers.append(replace(layer, quantizer=kind))
        else:
            layers.append(layer)
    if lost:
        raise ModelError(
            f"the type of input {', '.join(map(repr, lost))} is not known: the network does not quantize it",
            where=(model.source, "input_type"),
            fix='give the type of the data on the link, e.g. input_type="fixed<14,4>"',
        )
    return replace(model, layers=tuple(layers))


def own_quantizer(model: Model, layer: Input) -> Quantizer | None:
    """Return the quantizer that the network itself applies to an input, the same for all its readers."""
    if layer.quantizer is not None:
        return layer.quantizer
    readers = [other for other in model.layers if layer.name in other.inputs]
    kinds = [other.quantizer for other in readers if isinstance(other, Quantize)]
    same = len(kinds) == len(readers) > 0 and all(kind == kinds[0] for kind in kinds)
    return kinds[0] if same else None


def refuse_float_layers(model: Model) -> None:
    """Refuse layers whose weights no quantizer has put on a grid."""
    loose = [layer for layer in model.layers if isinstance(layer, Dense) and not layer.exact]
    if not loose:
        return
    half = [layer.name for layer in loose if "kernel" in dict(layer.quantizers)]
    texts = [f"{la.name} ({'bias' if la.name in half else 'weights and bias'})" for la in loose]
    keys = ("bias",) if loose[0].name in half else ("weight", "bias")
    example = "\n".join(["layers:", f"  {loose[0].name}:", *(f"    {key}: {_EXAMPLE_TYPE}" for key in keys)])
    raise ModelError(
        f"{len(loose)} {'layer has' if len(loose) == 1 else 'layers have'} constants without a quantizer: "
        + ", ".join(texts),
        where=(model.source,),
        fix=f"give each a type in the configuration, for example\n{example}",
    )


def to_program(model: Model, passes: tuple[Pass, ...] = PASSES) -> TensorProgram:
    """Turn a network whose inputs have types into the typed program.

    Raises:
        ModelError: a layer has no exact meaning; the layer is named.
    """
    model.verify()
    refuse_float_layers(model)
    ends = model.outputs
    for step in passes:
        model = step(model)
        model.verify()
    inputs = tuple(NetInput(i.name, i.shape, i.quantizer) for i in model.inputs if i.quantizer is not None)
    assert len(inputs) == len(model.inputs), "input_quantizers runs first"
    tensors = {i.name: k for k, i in enumerate(inputs)}
    types = [i.type for i in inputs]
    steps: list[TensorStep] = []
    for layer in model.layers:
        if isinstance(layer, Input):
            continue
        if len(layer.inputs) != 1:
            raise ModelError(
                f"layer {layer.name!r} has {len(layer.inputs)} inputs; one is supported",
                where=(model.source,),
            )
        source = tensors[layer.inputs[0]]
        try:
            for op in emit(layer, types[source]):
                types.append(op.infer(types[source]))
                steps.append(TensorStep(op, source, layer.name, types[-1]))
                source = len(types) - 1
        except L1mlError as error:
            error.where = (model.source, f"layer {layer.name}", *error.where)
            raise
        tensors[layer.name] = source
    # One output goes by the layer that makes it; several by the names the model gives them.
    names = model.outputs if len(ends) == 1 else ends
    outputs = tuple((name, tensors[made]) for name, made in zip(names, model.outputs, strict=True))
    marks = tuple((la.name, tensors[la.name]) for la in model.layers if not isinstance(la, Input))
    program = TensorProgram(inputs, tuple(steps), outputs, marks)
    program.verify()
    return program
