"""Figures of a network under common corruptions: accuracies, and errors relative to those of a reference."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

import numpy as np

from lgcoamix.errors import SettingsError
from lgcoamix.evaluation.bootstrap import ends_of, percentiles, resampled_means
from lgcoamix.evaluation.corruptions import CORRUPTIONS, SEVERITIES
from lgcoamix.runs.documents import Count, Evaluation, Name, Percent, read_document
from preprocess.schema import Form, Range

Errors = dict[str, float]  # corruption -> sum over severities, in percent


class _Row(TypedDict, total=False):
    corruption: Required[Name]
    severity: Required[Annotated[int, Range(least=1, most=5)]]
    top1: Required[Percent]


class _Corruptions(TypedDict, total=False):
    rows: Required[list[_Row]]
    library: Required[Name]
    side: Required[Count]


class _Reference(Evaluation, total=False):
    corruptions: _Corruptions | None


_FORM = Form(_Reference)


def read_reference(
    path: Path, split: str, keys: Mapping[str, str], library: str, side: int, tta: str
) -> tuple[Errors, dict[str, Any]]:
    """Read the errors of a reference from its ``evaluation.json``.

    Parameters
    ----------
    path : the document.
    split : that is evaluated.
    keys : content keys of the store, by split and column.
    library : name and version of what corrupts.
    side : of the inputs, in pixels: they are corrupted in this size.
    tta : augmentation of the test images.

    Returns
    -------
    The errors, and what to record of the reference.

    Raises
    ------
    RunError : it is damaged.
    SettingsError : there is none, it has no corruptions, or they are of other images, sizes, augmentation or version.
    """
    try:
        document = read_document(path, _FORM)
    except OSError as error:
        raise SettingsError(f"--reference {path}: {error.strerror or error}; expected an evaluation.json") from None
    corruptions = document.get("corruptions")
    if corruptions is None:
        raise SettingsError(f"--reference {path} has no corruptions; evaluate the reference with --corruptions as well")
    image_key = f"{split}/images"
    if document["split"] != split or document["store"]["keys"].get(image_key) != keys.get(image_key):
        raise SettingsError(f"--reference {path} is of other images; evaluate it on the same store and split")
    if corruptions["side"] != side:
        raise SettingsError(
            f"--reference {path} was evaluated on inputs of {corruptions['side']} pixels, this network on {side}: they "
            "would not see the same corrupted images; take a reference of the same size"
        )
    if (theirs := document.get("tta", "none")) != tta:
        raise SettingsError(f"--reference {path} has --tta {theirs}, this evaluation {tta}; evaluate both alike")
    found = {(row["corruption"], row["severity"]): 100 - row["top1"] for row in corruptions["rows"]}
    wanted = {(name, severity) for name in CORRUPTIONS for severity in SEVERITIES}
    if found.keys() != wanted or len(corruptions["rows"]) != len(wanted) or corruptions["library"] != library:
        raise SettingsError(
            f"--reference {path} has other corruptions ({corruptions['library']}) than this version ({library}); "
            "evaluate the reference again"
        )
    errors = {name: sum(found[name, severity] for severity in SEVERITIES) for name in CORRUPTIONS}
    perfect = [name for name, error in errors.items() if not error]
    if perfect:
        raise SettingsError(f"--reference {path} makes no mistakes under {perfect[0]}: nothing is relative to 0")
    return errors, {"path": str(path.resolve()), "sha256": document["checkpoint"]["sha256"]}


def describe(
    right: np.ndarray, side: int, library: str, seed: int, reference: tuple[Errors, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Compute all figures as plain data.

    Parameters
    ----------
    right : (n, 5 · corruptions) bool array: whether each image is classified correctly, in the order of
        ``Corrupted.conditions``.
    side : of the inputs, in pixels.
    library : name and version of what corrupts.
    seed : decides the resamples of the bootstrap.
    reference : what :func:`read_reference` returns.

    Notes
    -----
    The corruption error of c is 100 · Σ_s E(s, c) / Σ_s E_reference(s, c) over the severities s, with top-1 errors E;
    mCE is the mean over all c. Its interval takes the errors of the reference as they are.
    """
    count, names = len(SEVERITIES), list(CORRUPTIONS)
    means = 100 * right.mean(axis=0)
    draws = 100 * resampled_means(right, seed)
    rows = [
        {
            "corruption": name,
            "severity": severity,
            "parameters": CORRUPTIONS[name].at(severity, side),
            "top1": float(means[place]),
            "interval": ends_of(100.0 * right[:, [place]], draws[:, place]),
        }
        for place, (name, severity) in enumerate((name, severity) for name in names for severity in SEVERITIES)
    ]
    of_each = means.reshape(-1, count).mean(axis=1)  # (corruptions,)
    of_each_draw = draws.reshape(len(draws), -1, count).mean(axis=2)  # (R, corruptions)
    of_images = 100 * right.reshape(len(right), -1, count).mean(axis=2)  # (n, corruptions)
    ends = [ends_of(of_images[:, [place]], of_each_draw[:, place]) for place in range(len(names))]
    found = {
        "library": library,
        "side": side,
        "rows": rows,
        "by_corruption": [
            {"corruption": name, "top1": float(of_each[place]), "interval": ends[place]}
            for place, name in enumerate(names)
        ],
        "top1": float(of_each.mean()),
        "interval": ends_of(of_images.mean(axis=1, keepdims=True), of_each_draw.mean(axis=1)),
        "mce": None,
        "mce_interval": None,
        "reference": None,
    }
    if reference is not None:
        errors, source = reference
        scale = 100 * count / np.array([errors[name] for name in names])
        relative, relative_draws = (100 - of_each) * scale, (100 - of_each_draw) * scale
        for place, row in enumerate(found["by_corruption"]):
            low, high = (float((100 - end) * scale[place]) for end in reversed(ends[place]))
            row |= {"error": float(relative[place]), "error_interval": (low, high)}
        found |= {
            "mce": float(relative.mean()),
            "mce_interval": percentiles(relative_draws.mean(axis=1)),
            "reference": source,
        }
    return found


def table(corruptions: Mapping[str, Any], images: int) -> list[dict[str, Any]]:
    """Lay out ``corruptions.csv``: one row per corruption and severity."""
    return [
        {
            "corruption": row["corruption"],
            "severity": row["severity"],
            "images": images,
            "top1": row["top1"],
            "low": row["interval"][0],
            "high": row["interval"][1],
            "parameters": json.dumps(row["parameters"]),
        }
        for row in corruptions["rows"]
    ]
