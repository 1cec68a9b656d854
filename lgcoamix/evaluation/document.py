"""``evaluation.json``: what was evaluated, how, and every figure."""

import json
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from lgcoamix.evaluation.bootstrap import CONFIDENCE, RESAMPLES
from lgcoamix.evaluation.conditions import BACKBONE, CLEAN, KINDS, Condition
from lgcoamix.evaluation.metrics import Figures, to_plain
from lgcoamix.evaluation.subject import Subject
from lgcoamix.runs.documents import images_named, protocol_of

_PACKAGES = ("lgcoamix", "torch", "timm", "numpy")


def describe(
    subject: Subject,
    digest: str,
    figures: Mapping[Condition, Figures],
    ranges: Mapping[Condition, Mapping[str, tuple[float, float]]],
) -> dict[str, Any]:
    """Return the content of the document as plain data, still without localisation and corruptions.

    Parameters
    ----------
    digest : SHA-256 of the checkpoint.
    figures, ranges : metrics by condition, and the ends of their intervals.
    """
    store, options, trained = subject.store, subject.options, subject.trained
    tables = {
        kind: [
            {column: condition[1], **found.values, "interval": ranges[condition]}
            for condition, found in figures.items()
            if condition[0] == kind
        ]
        for kind, (column, _) in KINDS.items()
    }
    return {
        "checkpoint": {
            "name": trained.path.name,
            "path": str(trained.path.resolve()),
            "sha256": digest,
            "trained": trained.when,
            "weights": trained.weights,
        },
        "store": {"name": store.name, "path": str(store.path), "keys": store.content_keys},
        "split": options.split,
        "protocol": _protocol(subject),
        "classes": list(store.classes),
        "tta": options.tta,
        "interval": f"{100 * CONFIDENCE:g} %, percentiles of {RESAMPLES} bootstrap resamples of the images; of a "
        "class, Wilson's score interval",
        "figures": to_plain(figures[CLEAN]) | {"interval": ranges[CLEAN]},
        "backbone": to_plain(figures[BACKBONE]) | {"interval": ranges[BACKBONE]} if BACKBONE in figures else None,
        **tables,
        "drop_grid": options.drop_grid,
        "localisation": None,
        "corruptions": None,
        "seed": options.seed,
        "device": str(subject.device),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def to_text(document: Mapping[str, Any]) -> str:
    """Write a document as JSON, with one line per innermost list of numbers."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    # JSON strings never contain the line breaks that this matches.
    return re.sub(r"\[\n\s+([^\[\]{}\"]*?)\n\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def _protocol(subject: Subject) -> str:
    """The conditions of these figures; ``best.pt`` was chosen on some images, another checkpoint was not."""
    trained, here = subject.trained, {"images": subject.store.document["images"]}
    on = "val" if trained.config.get("val_fraction") else "test"
    chosen = images_named(on, trained.config) if trained.path.name == "best.pt" else None
    return protocol_of({**trained.config, "store": here}, subject.options.split, chosen)
