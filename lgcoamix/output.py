"""What a model gives to a method's loss."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LocalOutput:
    """The local branch: one row for each possible region; absent regions have area 0.

    Parameters
    ----------
    embeddings : (B, K, D) tensor Z, after attention and LayerNorm.
    pre_norm : (B, K, D) tensor, attention plus pooled features, before LayerNorm.
    logits : (B, K, N) tensor q, local classification.
    areas : (B, K) int64 tensor of pixel counts.
    """

    embeddings: Tensor
    pre_norm: Tensor
    logits: Tensor
    areas: Tensor


@dataclass(frozen=True)
class Output:
    """One forward pass.

    Parameters
    ----------
    logits : (B, N) tensor of the backbone's own head.
    local : the local branch, where regions were given.
    """

    logits: Tensor
    local: LocalOutput | None = None
