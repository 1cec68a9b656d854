"""Which weights timm has for a network, under which tags, and the statistics of their inputs."""

import timm
from timm.models import PretrainedCfg

from lgcoamix.errors import SettingsError
from lgcoamix.settings.text import suggest
from lgcoamix.settings.weights import names_hub

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class BackboneError(SettingsError):
    """timm has no model or no weights of this name, or the model has no feature maps or takes no such input size."""


def config_of(name: str) -> PretrainedCfg | None:
    """Return timm's configuration of a network and, behind a dot, a tag; None if it registered none.

    Raises
    ------
    BackboneError : timm has no such model or tag.
    """
    if not timm.is_model(name):
        lists = "python -c 'import timm; print(timm.list_models())'"
        raise BackboneError(f"timm has no model {name!r}; {suggest(name, timm.list_models(), lists)}")
    try:
        return timm.get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError as error:  # the name is known, but not the tag behind its dot
        raise BackboneError(f"timm has no model {name!r}: {error}") from error


def with_tag(name: str, weights: str) -> str:
    """Return the name under which timm builds a network with these weights: ``NAME.TAG`` for a tag.

    Raises
    ------
    BackboneError : timm has no such model, or not under this tag; or the name itself has another tag.
    """
    config_of(name)
    if weights == "pretrained" or not names_hub(weights):
        return name
    plain, _, own = name.partition(".")
    known = _tags(plain)
    if weights not in known:
        kinds = f"has the weights {', '.join(known)}" if known else "has no weights on the hub"
        raise BackboneError(
            f"{plain} {kinds}; got {weights!r}, which is neither one of them nor a file. Use none, pretrained, "
            + ("one of these, or a file" if known else "or a file")
        )
    if own not in ("", weights):
        raise BackboneError(
            f"the backbone {name} names the weights {own}, got {weights}; use --weights pretrained, or "
            f"--backbone {plain}"
        )
    return f"{plain}.{weights}"


def hub_name(name: str, weights: str) -> str | None:
    """Return timm's full name of the weights, ``NAME.TAG``, also for ``pretrained``; None for ``none`` and files.

    A modified backbone has the weights of the plain model: those of ``resnet18_stride16`` are ``resnet18.TAG``.

    Raises
    ------
    BackboneError : as of :func:`with_tag`.
    """
    if not names_hub(weights):
        return None
    tagged = with_tag(name, weights)
    cfg = config_of(tagged)
    if cfg is None or not cfg.tag:
        return tagged
    owner, _, stored = (cfg.hf_hub_id or "").partition("/")
    return stored if owner == "timm" else f"{tagged.partition('.')[0]}.{cfg.tag}"


def data_statistics(name: str, weights: str = "none") -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation, in [0, 1], with which a timm model was trained.

    Parameters
    ----------
    weights : a tag chooses the training; anything else stands for the name's own or timm's default.
    """
    plain = name.partition(".")[0]
    cfg = config_of(f"{plain}.{weights}" if weights in _tags(plain) else name)
    return _IMAGENET if cfg is None else (tuple(cfg.mean), tuple(cfg.std))


def _tags(plain: str) -> list[str]:
    return [found.partition(".")[2] for found in timm.list_pretrained(f"{plain}.*")]
