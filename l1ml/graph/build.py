# SPDX-License-Identifier: Apache-2.0
"""From the network as read to the typed program: passes over layers, then the meaning of each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from l1ml.errors import L1mlError, ModelError
from l1ml.graph.model import Input, Layer, Model, Quantize, Softmax, Weighted
from l1ml.graph.program import NetInput, TensorProgram
from l1ml.graph.typed import Tensor, TypedNet
from l1ml.types.fixed import Quantizer

Pass = Callable[[Model], Model]

_EXAMPLE_TYPE = "fixed<8,1,RND_CONV,SAT>"


def drop_final_softmax(model: Model) -> Model:
    """Give logits instead of a softmax that ends the network: the order of the classes is the same."""
    read = {name for layer in model.layers for name in layer.inputs}
    ends = {
        layer.name: layer.inputs[0]
        for layer in model.layers
        if isinstance(layer, Softmax) and layer.tables is None
        if layer.name in model.outputs and layer.name not in read
    }
    outputs = tuple(ends.get(name, name) for name in model.outputs)
    return replace(model, layers=tuple(la for la in model.layers if la.name not in ends), outputs=outputs)


def drop_unused(model: Model) -> Model:
    """Drop layers that no output depends on; inputs stay."""
    needed = set(model.outputs)
    for layer in reversed(model.layers):
        if layer.name in needed:
            needed |= set(layer.inputs)
    return replace(
        model, layers=tuple(la for la in model.layers if la.name in needed or isinstance(la, Input))
    )


PASSES: tuple[Pass, ...] = (drop_final_softmax, drop_unused)


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
    loose = [
        layer
        for layer in model.layers
        if isinstance(layer, Weighted) and not layer.exact and "kernel" not in dict(layer.quantizers)
    ]
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


def to_program(model: Model, passes: tuple[Pass, ...] = PASSES, *, strict: bool = False) -> TensorProgram:
    """Turn a network whose inputs have types into the typed program.

    Args:
        model: the network.
        passes: run over the layers first.
        strict: refuse real-valued layers that have no exact form, instead of noting an approximation.

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
    net = TypedNet([i.type for i in inputs], strict=strict)
    tensors = dict(zip((i.name for i in inputs), net.inputs, strict=True))
    made: dict[str, Tensor] = {}
    for layer in model.layers:
        if isinstance(layer, Input):
            continue
        net.layer = layer.name
        try:
            made[layer.name] = layer.emit(net, *(tensors[name] for name in layer.inputs))
            if layer.name in model.outputs:
                made[layer.name] = net.exact(made[layer.name])
        except L1mlError as error:
            error.where = (model.source, f"layer {layer.name}", *error.where)
            raise
        tensors[layer.name] = made[layer.name]
    # One output goes by the layer that makes it; several by the names the model gives them.
    names = model.outputs if len(ends) == 1 else ends
    outputs = tuple((name, tensors[end].index) for name, end in zip(names, model.outputs, strict=True))
    # What is pending has no integers to look at; it becomes visible behind its quantizer.
    marks = tuple((name, tensor.index) for name, tensor in made.items() if not tensor.pending)
    notes = tuple(dict.fromkeys(net.approximations))
    program = TensorProgram(inputs, tuple(net.steps), outputs, marks, notes)
    program = without_unused(program)
    program.verify()
    return program


def without_unused(program: TensorProgram) -> TensorProgram:
    """Drop steps that neither an output nor a mark depends on."""
    first = len(program.inputs)
    live = {tensor for _, tensor in (*program.outputs, *program.marks)}
    for tensor, step in reversed(list(program.numbered())):
        if tensor in live:
            live.update(step.sources)
    kept = [t for t in range(first + len(program.steps)) if t < first or t in live]
    new = {old: number for number, old in enumerate(kept)}
    steps = tuple(
        replace(step, sources=tuple(new[s] for s in step.sources))
        for t, step in program.numbered()
        if t in live
    )

    def moved(pairs: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
        return tuple((name, new[tensor]) for name, tensor in pairs)

    return replace(program, steps=steps, outputs=moved(program.outputs), marks=moved(program.marks))
