"""``python -m lgcoamix export``."""

from pathlib import Path

import click

from lgcoamix.cli.common import CONTEXT, friendly
from lgcoamix.cli.options import CHECKPOINT, FORCE, PATH, options_of
from lgcoamix.runs.documents import checkpoint_file
from lgcoamix.settings.options import ExportOptions
from preprocess.extras import required
from preprocess.outputs import MODEL, check_output
from preprocess.terminal import say


@click.command(short_help="Export a trained network as a folder that timm loads.", context_settings=CONTEXT)
@CHECKPOINT
@click.option("--out", type=PATH, required=True, help="Folder to create.")
@options_of(ExportOptions)
@FORCE
@friendly
def export(checkpoint: Path, out: Path, force: bool, **given: bool) -> None:
    """Write a trained backbone for timm: model.safetensors, config.json and a model card, README.md.

    timm.create_model("local-dir:OUT", pretrained=True) loads the folder. Its logits are compared with those of the
    checkpoint before OUT is created. If the checkpoint has averaged weights, they are exported.

    \b
    Examples:
      python -m lgcoamix export --checkpoint runs/try --out models/try
      python -m lgcoamix export --checkpoint runs/try/last.pt --out models/try-last --onnx
    """
    if given["onnx"]:
        with required("--onnx"):
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
    folder, file = checkpoint if checkpoint.is_dir() else checkpoint.parent, checkpoint_file(checkpoint)
    check_output(out, MODEL, force, [file], [folder])

    from lgcoamix.export.export import export as run

    summary = run(ExportOptions(checkpoint, out, **given), lambda line: say(line, err=True))
    say(
        f"{summary.checkpoint}: {summary.architecture}, {summary.classes} classes, input {summary.image_size} pixels; "
        "timm gives the same logits"
    )
    if summary.onnx_difference is not None:
        say(f"model.onnx differs from PyTorch by at most {summary.onnx_difference:.1e}")
    say(f"wrote {out}: {', '.join(summary.files)}")
