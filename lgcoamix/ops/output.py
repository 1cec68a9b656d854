"""What a model gives to a method's loss."""

from dataclasses import dataclass

from torch import Tensor

from lgcoamix.ops.losses import full_precision


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
    mid : (B, N) tensor of the mid-level branch, where the network has one.
    """

    logits: Tensor
    local: LocalOutput | None = None
    mid: Tensor | None = None

    @property
    def prediction(self) -> Tensor:
        """What the network is judged by: (B, N) logits, the sum of both where there is a mid-level branch."""
        if self.mid is None:
            return self.logits
        return full_precision(self.logits) + full_precision(self.mid)
