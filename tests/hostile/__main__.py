"""``python -m tests.hostile``: the fuzzer at any count and seed, with a line for each finding."""

import tempfile
from pathlib import Path

import click

from tests.hostile.campaign import TABLES, Campaign, in_turn, spaced
from tests.hostile.kinds import KINDS, mutants


@click.command()
@click.option("--kind", "kinds", multiple=True, help="Only these kinds.  [default: all]")
@click.option("--match", default="", help="Only cases with this text in their name.")
@click.option("--command", "only", multiple=True, help="Only these commands.")
@click.option("--count", default=0, help="Random mutants of every family.")
@click.option("--seed", default=0, help="Of the first mutant.")
@click.option("--most", default=100_000, help="Cases of each kind, evenly spaced.")
@click.option("--each", default=0, help="Commands for each case, in turn.  [default: all]")
@click.option("--measure/--no-measure", default=True, help="Run each command over what is sound first.")
def main(
    kinds: tuple[str, ...],
    match: str,
    only: tuple[str, ...],
    count: int,
    seed: int,
    most: int,
    each: int,
    measure: bool,
) -> None:
    """Craft, run, compare; exit code 1 if anything broke the contract."""
    with tempfile.TemporaryDirectory() as home:
        campaign = Campaign(Path(home), measure)
        sources = {name: (family, list(make())) for name, (family, make) in KINDS.items() if not count}
        sources |= {f"mutants of {family}": (family, list(mutants(family, seed, count))) for family in TABLES if count}
        for kind, (family, cases) in sources.items():
            if kinds and kind not in kinds and family not in kinds:
                continue
            chosen = [case for case in cases if match in case.name]
            for turn, case in enumerate(spaced(chosen, most)):
                names = only or in_turn(family, turn, each)
                for finding in campaign.try_case(kind, case, TABLES[family], names):
                    click.echo(str(finding))
        for line in campaign.counts():
            click.echo(line)
        campaign.close()
        raise SystemExit(bool(campaign.findings))


if __name__ == "__main__":
    main(prog_name="python -m tests.hostile")
