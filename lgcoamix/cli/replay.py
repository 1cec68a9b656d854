"""``python -m lgcoamix replay``."""

from pathlib import Path

import click

from lgcoamix.cli.common import CONTEXT, friendly
from lgcoamix.cli.options import FILE, FOLDER, FORCE, PLOTS
from lgcoamix.cli.progress import training_report
from lgcoamix.settings.options import DEVICES
from preprocess.inputs import confined
from preprocess.outputs import REPLAY, check_output, refuse_inputs
from preprocess.parameters import Choice, NamedPath
from preprocess.terminal import say


@click.command(short_help="Recreate what a run was trained on at one step.", context_settings=CONTEXT)
@click.option("--run", "folder", type=FOLDER, required=True, help="Run folder.")
@click.option("--epoch", type=click.IntRange(0), required=True, help="From 0, as in metrics.csv and lambdas.csv.")
@click.option("--step", type=click.IntRange(0), help="From 0, as in lambdas.csv.")
@click.option("--sample", metavar="KEY", help="Show one training sample instead of a step.")
@click.option("--shards", type=FILE, help="The store.  [default: the path recorded by the run]")
@click.option("--out", type=NamedPath(file_okay=False), help="[default: RUN/replay-eEPOCH-sSTEP, or -KEY]")
@click.option("--device", type=Choice(DEVICES), help="[default: that of the run]")
@PLOTS
@FORCE
@friendly
def replay(
    folder: Path,
    epoch: int,
    step: int | None,
    sample: str | None,
    shards: Path | None,
    out: Path | None,
    device: str | None,
    plots: str,
    force: bool,
) -> None:
    """Recreate, bit for bit, what a run was trained on.

    Writes the mixed batch of one step as tensors (batch.safetensors), as a table (samples.csv: keys, labels, partners,
    windows) and as an image (batch.png). With --sample: one training sample before and after its transforms.

    \b
    Examples:
      python -m lgcoamix replay --run runs/try --epoch 3 --step 10 --out look
      python -m lgcoamix replay --run runs/try --epoch 3 --sample train/daisy/image_0801.jpg --out sample
    """
    if (step is None) == (sample is None):
        raise click.UsageError("expected either --step or --sample KEY")
    part = f"s{step}" if sample is None else sample.replace("/", "-")
    try:
        out = out or confined(folder, f"replay-e{epoch}-{part}")
    except ValueError as error:
        raise click.BadParameter(f"{error}; give --out", param_hint="--sample") from None
    check_output(out, REPLAY, force, runs=[folder])
    from lgcoamix.training.replay import Replay
    from lgcoamix.training.replay_files import replay_sample, replay_step

    with training_report() as report:
        run = Replay(folder, shards, device, report)
        refuse_inputs(out, run.store.files)
        if sample is None:
            lines = replay_step(run, epoch, step, out, plots)
        else:
            lines = replay_sample(run, sample, epoch, out, plots)
    for line in lines:
        say(line)
