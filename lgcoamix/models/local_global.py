"""The network of LGCOAMix: a classifier with a local branch on superpixels."""

import math
import os
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from lgcoamix.models.backbone import Backbone, WeightsError, misfits, read_state
from lgcoamix.models.decoder import Decoder
from lgcoamix.models.hub import BackboneError
from lgcoamix.models.initial import start_attention
from lgcoamix.ops.output import LocalOutput, Output
from lgcoamix.ops.pooling import pool_superpixels, region_areas
from lgcoamix.ops.torch_files import check_weights
from lgcoamix.settings.sections import Settings
from lgcoamix.settings.weights import names_file


class LocalHead(nn.Module):
    """Self-attention over the regions of an image, and a classifier for each region.

    Parameters
    ----------
    width : D, the width of the pooled features.
    num_classes : N.
    init : ``released`` starts Q, K and V smaller, see ``initial.py``; anything else as torch does.

    Notes
    -----
    One head, no output projection, no feed-forward, no dropout; Z = LayerNorm(softmax(QKᵀ/√D)V + S), eps 1e-12.
    Computed in float32 or float64: eps vanishes in half precision.

    References
    ----------
    LGCOAMix (Dornaika & Sun, IEEE TIP 2024), superpixel attention.
    """

    def __init__(self, width: int, num_classes: int, init: str = "timm") -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.classifier = nn.Linear(width, num_classes)
        start_attention((self.query, self.key, self.value), init)

    def forward(self, features: Tensor, regions: Tensor, count: int) -> LocalOutput:
        """Pool, attend and classify.

        Parameters
        ----------
        features : (B, D, H, W) floating tensor.
        regions : (B, H, W) integer tensor; ids outside [0, count) belong to no region.
        count : K.

        Returns
        -------
        Rows for all K regions; rows of absent regions are zero (their logits are the classifier's bias).
        """
        with torch.autocast(features.device.type, enabled=False):
            areas = region_areas(regions, count)
            pooled = pool_superpixels(features, regions, count).to(self.query.weight.dtype)  # of a half network
            present = areas > 0
            affinity = self.query(pooled) @ self.key(pooled).transpose(1, 2) / math.sqrt(pooled.shape[2])
            # The lowest finite number, not -inf: an image without regions must give zero rows, not NaN.
            affinity = affinity.masked_fill(~present[:, None, :], torch.finfo(affinity.dtype).min)
            attended = affinity.softmax(dim=2) @ self.value(pooled) + pooled
            embeddings = torch.where(present[:, :, None], self.norm(attended), 0.0)
            pre_norm = torch.where(present[:, :, None], attended, 0.0)
            return LocalOutput(embeddings, pre_norm, self.classifier(embeddings), areas)


class MidBranch(nn.Sequential):
    """A classifier on the map before the last stage, which receives no gradient.

    1x1 convolution, ReLU, global maximum, linear: (B, C, h, w) -> (B, N).

    References
    ----------
    SnapMix (Huang et al., AAAI 2021), mid-level classification branch.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        pool = (nn.AdaptiveMaxPool2d(1), nn.Flatten())
        super().__init__(nn.Conv2d(channels, channels, 1), nn.ReLU(), *pool, nn.Linear(channels, num_classes))

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits."""
        return super().forward(features.detach())


class LocalGlobalNet(nn.Module):
    """A timm classifier with the local branch of LGCOAMix, or the mid-level branch of SnapMix.

    Parameters
    ----------
    name : timm model name, CNN or transformer.
    num_classes : N.
    weights, image_size, pool_stem : as for :class:`Backbone`. A checkpoint of a whole network also fills the branches
        that are in it and that are built here; their classifiers of another size are not loaded.
    local : build the decoder and the local head; False builds the plain classifier.
    width, skip : as for :class:`Decoder`.
    mid : build the mid-level branch, which runs for every batch.
    init : how layers without weights start, as for :class:`Backbone` and :class:`LocalHead`.

    Raises
    ------
    BackboneError, WeightsError

    Attributes
    ----------
    filled : the branches that came from the file of weights: ``decoder``, ``local_head``, ``mid_branch``.

    Notes
    -----
    Without regions (inference, unmixed batches) the decoder and the local head do not run.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import LocalGlobalNet
    >>> net = LocalGlobalNet("resnet18_cifar", num_classes=10, width=16)
    >>> regions = (torch.arange(32) // 8).expand(2, 32, 32)
    >>> output = net(torch.rand(2, 3, 32, 32), regions, count=4)
    >>> output.logits.shape, output.local.logits.shape
    (torch.Size([2, 10]), torch.Size([2, 4, 10]))
    """

    def __init__(
        self,
        name: str,
        num_classes: int,
        weights: str | os.PathLike[str] = "none",
        image_size: int = 224,
        local: bool = True,
        width: int = 64,
        skip: str = "concat",
        pool_stem: bool = False,
        mid: bool = False,
        init: str = "timm",
    ) -> None:
        super().__init__()
        weights = os.fspath(weights)
        self.backbone = Backbone(name, num_classes, weights, image_size, pool_stem, init)
        self.mid_branch = None
        if mid:
            if len(self.backbone.channels) < 2:
                raise BackboneError(f"{name} has a single feature map, but the mid-level branch needs a second")
            self.mid_branch = MidBranch(self.backbone.channels[-2], num_classes)
        self.decoder = self.local_head = None
        if local:
            self.decoder = Decoder(self.backbone.channels, self.backbone.reductions, width, skip)
            self.local_head = LocalHead(width, num_classes, init)
        self.filled = self._fill_branches(Path(weights)) if names_file(weights) else ()

    @classmethod
    def of(cls, settings: Settings, num_classes: int, weights: str | None = None, local: bool | None = None) -> Self:
        """Build the network of a run.

        Parameters
        ----------
        weights : in the place of those in the settings.
        local : whether to build the decoder and the local head; None: as the method needs.
        """
        model, mixer = settings.model, settings.mixer
        return cls(
            model.backbone,
            num_classes,
            model.weights if weights is None else weights,
            settings.data.image_size,
            local=mixer.needs_local if local is None else local,
            width=model.width,
            skip=model.skip,
            pool_stem=model.pool_stem,
            mid=mixer.needs_mid,
            init=model.init,
        )

    def _fill_branches(self, path: Path) -> tuple[str, ...]:
        """Load what a checkpoint of a whole network, of a run or converted, holds besides the backbone."""
        state, filled = {key: v for key, v in read_state(path).items() if isinstance(v, Tensor)}, []
        for name, classifier in (("decoder", None), ("local_head", "classifier."), ("mid_branch", "4.")):
            branch = getattr(self, name)
            given = {key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")}
            if branch is None or not given:
                continue
            odd = misfits(given, branch.state_dict())
            if classifier and all(key.startswith(classifier) for key in odd):  # of another size
                given = {key: v for key, v in given.items() if key not in odd}
            elif odd:
                raise WeightsError(
                    f"{str(path)!r} has another {name}, for example {min(odd)[:200]!r}: set model.width, model.skip "
                    "and model.pool_stem as there; or export it, and start with the backbone alone: --weights "
                    "DIR/model.safetensors"
                )
            try:
                branch.load_state_dict(check_weights(given), strict=False)
            except ValueError as error:
                raise WeightsError(f"cannot load {str(path)!r}: {name}: {error}") from None
            filled.append(name)
        return tuple(filled)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that the backbone excludes from weight decay; timm calls this."""
        names = getattr(self.backbone.net, "no_weight_decay", set)()
        return {f"backbone.net.{name}" for name in names}

    def forward(self, images: Tensor, regions: Tensor | None = None, count: int = 0) -> Output:
        """Classify images and, if given, their regions.

        Parameters
        ----------
        images : (B, 3, H, W) floating tensor.
        regions : (B, H, W) integer tensor or None; ids outside [0, count) belong to no region.
        count : K, static bound on region ids.

        Raises
        ------
        ValueError : there are regions and no count; or the network has no branch for regions.
        """
        if regions is not None and count < 1:
            raise ValueError(f"call model(mixed.images, mixed.regions, mixed.count); got regions and count={count}")
        if regions is None and self.mid_branch is None:
            return Output(self.backbone(images))
        if regions is not None and self.decoder is None:
            raise ValueError("this network was built with local=False and accepts no regions")
        logits, maps = self.backbone.forward_maps(images)
        mid = None if self.mid_branch is None else self.mid_branch(maps[-2])
        if regions is None:
            return Output(logits, mid=mid)
        features = self.decoder(maps, images.shape[-2:])
        return Output(logits, self.local_head(features, regions, count), mid)
