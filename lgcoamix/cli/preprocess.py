"""``preprocess``: the command line of the offline stage, as a command of this one."""

import click


@click.command(
    short_help="Compute superpixel maps and store them with the images.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def preprocess(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Compute superpixel maps once and store them with the images: ``python -m preprocess``, with all its commands."""
    from preprocess.cli import main  # numpy

    main.main(list(arguments), prog_name=context.command_path)
