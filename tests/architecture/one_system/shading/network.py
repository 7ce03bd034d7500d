"""Its file, put together without a training framework: edge = shadow * weights in int8, size = level * weights in float32."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

__all__ = ["content"]

STEP = 0.02
"""Of shadows and weights; edges have twice that."""


def content(edge_weights: np.ndarray, size_weights: np.ndarray) -> bytes:
    """The .tflite file of float [8] and [2] weights."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, graph.tensors, graph.operators = 3, [schema.BufferT()], [], []

    def tensor(name: str, shape: list[int], step: float = 0.0, values: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name.encode(), shape, 0
        made.type = schema.TensorType.INT8 if step else schema.TensorType.FLOAT32
        if step:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [step], [0]
        if values is not None:
            kept = schema.BufferT()
            kept.data = np.frombuffer(values.tobytes(), np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(kept)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(code: int, options: object, kind: int, inputs: list[int], output: int) -> None:
        used, made = schema.OperatorCodeT(), schema.OperatorT()
        used.builtinCode = used.deprecatedBuiltinCode = code
        used.version = 2 if code == schema.BuiltinOperator.MUL else 1
        made.opcodeIndex, made.inputs, made.outputs = len(model.operatorCodes), inputs, [output]
        made.builtinOptionsType, made.builtinOptions = kind, options
        model.operatorCodes.append(used)
        graph.operators.append(made)

    model.operatorCodes = []
    # The file's own order is not the manifest's: names must tell them apart.
    level, shadow = tensor("b", [1, 1]), tensor("a", [1, 8], STEP)
    size, edge = tensor("d", [1, 2]), tensor("c", [1, 8], 2 * STEP)
    weights = tensor("w", [1, 8], STEP, np.rint(edge_weights / STEP).astype(np.int8))
    matrix = tensor("m", [2, 1], values=size_weights.astype(np.float32))
    operators, options = schema.BuiltinOperator, schema.BuiltinOptions
    operator(operators.MUL, schema.MulOptionsT(), options.MulOptions, [shadow, weights], edge)
    operator(
        operators.FULLY_CONNECTED, schema.FullyConnectedOptionsT(), options.FullyConnectedOptions, [level, matrix, -1], size
    )
    graph.inputs, graph.outputs, model.subgraphs = [level, shadow], [size, edge], [graph]
    signature = schema.SignatureDefT()
    signature.signatureKey = b"serving_default"
    signature.inputs = [_named("shadow", shadow), _named("level", level)]
    signature.outputs = [_named("edge", edge), _named("size", size)]
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _named(name: str, index: int) -> schema.TensorMapT:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name.encode(), index
    return made
