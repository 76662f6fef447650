"""Which operators a graph may use.

Rules of this module:

* Two domains: the standard one, and a list of ONNX Runtime's own operators, name by name. An operator of the second
  domain that reads a file, calls back into Python or loads a compiled context is not on the list.
* No operator with hidden state. `gpu.run` is a pure effect: after a crash it is computed again and compared. A random
  operator would draw other numbers then, so randomness is an input of the graph.
"""

from __future__ import annotations

from typing import Final

import onnx

__all__ = ["CONTRIB_DOMAIN", "CONTRIB_OPERATORS", "RANDOM_OPERATORS", "STANDARD_DOMAINS", "is_admitted"]

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


def is_admitted(domain: str, operator: str) -> bool:
    """Whether an operator of one of the two domains is on its list.

    Args:
        domain: `""` for the standard domain, or `CONTRIB_DOMAIN`.
        operator: the operator's type.
    """
    if domain == CONTRIB_DOMAIN:
        return operator in CONTRIB_OPERATORS
    return bool(onnx.defs.has(operator))
