"""Networks small enough to follow by hand."""

import torch
from torch import nn

from lgcoamix.ops.output import Output


class Toy(nn.Module):
    """A linear classifier of the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 4)

    def forward(self, images: torch.Tensor, regions: torch.Tensor | None = None, count: int = 0) -> Output:
        return Output(self.linear(images.mean(dim=(2, 3))))
