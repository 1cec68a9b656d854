"""A recipe as a table: what was published, what is used here, and where that comes from."""

from typing import NamedTuple

from lgcoamix.recipes.recipe import Recipe, values_of
from lgcoamix.settings.text import text_of


class Row(NamedTuple):
    """One setting, or another part of the training, in words."""

    what: str
    published: str
    ours: str
    origin: str


def rows_of(recipe: Recipe) -> list[Row]:
    """List every setting of a recipe that has an effect, and then its departures in words."""
    source = recipe.source.partition(" (")[0]
    departures = {part.what: part for part in recipe.departures}
    rows = []
    for name, value in values_of(recipe).items():
        ours, departure = text_of(value), departures.pop(name, None)
        if departure:
            ours += f" ({departure.ours})" if departure.ours else ""
            published = departure.published
        else:
            published = "" if name in recipe.inferred or recipe.source == "ours" else ours
        origin = f"inferred: {recipe.inferred[name]}" if name in recipe.inferred else source
        rows.append(Row(name, published, ours, origin))
    return rows + [Row(part.what, part.published, part.ours, source) for part in departures.values()]


def to_markdown(name: str, recipe: Recipe) -> str:
    """Write a recipe with its table as Markdown."""
    story = {
        "source": recipe.source,
        "reported": recipe.reported or "nothing",
        "protocol": recipe.protocol,
        "measured here": recipe.measured or "nothing yet",
        "notes": recipe.notes,
    }
    head = [f"### {name}", "", recipe.summary, ""]
    told = [f"- {title}: {text}" for title, text in story.items() if text]
    table = ["", "| setting | published | ours | from |", "| --- | --- | --- | --- |"]
    table += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows_of(recipe)]
    return "\n".join([*head, *told, *table]) + "\n"
