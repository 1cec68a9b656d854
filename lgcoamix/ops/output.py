"""The outputs of a network, as the loss of a mixer takes them."""

from dataclasses import dataclass

from torch import Tensor

from lgcoamix.ops.losses import full_precision


@dataclass(frozen=True)
class LocalOutput:
    """Outputs of the local branch: one row per possible region; absent regions have area 0.

    Parameters
    ----------
    embeddings : (B, K, D) tensor Z, after attention and LayerNorm.
    pre_norm : (B, K, D) tensor: attention plus pooled features, before LayerNorm.
    logits : (B, K, N) tensor q of the local classifier.
    areas : (B, K) int64 tensor of pixel counts.
    """

    embeddings: Tensor
    pre_norm: Tensor
    logits: Tensor
    areas: Tensor


@dataclass(frozen=True)
class Output:
    """Outputs of one forward pass.

    Parameters
    ----------
    logits : (B, N) tensor of the backbone's head.
    local : outputs of the local branch, or None without regions.
    mid : (B, N) logits of the mid-level branch, or None without it.
    """

    logits: Tensor
    local: LocalOutput | None = None
    mid: Tensor | None = None

    @property
    def prediction(self) -> Tensor:
        """Logits for evaluation, (B, N): those of the head plus those of the mid-level branch, if any."""
        if self.mid is None:
            return self.logits
        return full_precision(self.logits) + full_precision(self.mid)


def as_output(output: Output | Tensor) -> Output:
    """The output of any network: a tensor is its logits.

    Raises
    ------
    ValueError : it is neither.
    """
    if isinstance(output, Output):
        return output
    if not isinstance(output, Tensor):
        raise ValueError(
            f"expected logits, a (B, N) tensor, or what a LocalGlobalNet returns, got {type(output).__name__}; "
            "pass the logits in it"
        )
    return Output(output)
