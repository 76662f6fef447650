"""Which operators a graph may use.

Rules of this module:

* Two domains: the standard one, and a list of ONNX Runtime's own operators, name by name. An operator of the second
  domain that reads a file, calls back into Python or loads a compiled context is not on the list.
* No operator with hidden state. `gpu.run` is a pure effect: after a crash it is computed again and compared. A random
  operator would draw other numbers then, so randomness is an input of the graph.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import onnx

__all__ = ["CONTRIB_DOMAIN", "CONTRIB_OPERATORS", "RANDOM_OPERATORS", "STANDARD_DOMAINS", "standard_operators"]

STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx"})
"""Two spellings of the standard domain."""

CONTRIB_DOMAIN: Final = "com.microsoft"

CONTRIB_OPERATORS: Final = frozenset(
    {
        "Attention",
        "BiasAdd",
        "BiasGelu",
        "BiasSoftmax",
        "BiasSplitGelu",
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "EmbedLayerNormalization",
        "FastGelu",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "FusedMatMulActivation",
        "GatherBlockQuantized",
        "GatherND",
        "Gelu",
        "GemmaRotaryEmbedding",
        "GroupNorm",
        "GroupQueryAttention",
        "Inverse",
        "Irfft",
        "MatMulBnb4",
        "MatMulInteger16",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "MoE",
        "MultiHeadAttention",
        "NhwcMaxPool",
        "PackedAttention",
        "PackedMultiHeadAttention",
        "QAttention",
        "QGemm",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearConv",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearReduceMean",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QLinearWhere",
        "QMoE",
        "QuantizeLinear",
        "QuickGelu",
        "Rfft",
        "RotaryEmbedding",
        "SkipGroupNorm",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "Trilu",
    }
)

RANDOM_OPERATORS: Final = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


@cache
def standard_operators() -> frozenset[str]:
    """Names of all operators of the standard domain that this version of `onnx` knows."""
    schemas = onnx.defs.get_all_schemas_with_history()
    return frozenset(schema.name for schema in schemas if schema.domain in STANDARD_DOMAINS)
