"""Every recipe as Markdown: source, protocol and figure, and for each setting what was published and what is ours."""

from lgcoamix.recipes import RECIPES
from lgcoamix.recipes.table import to_markdown


def measure() -> str:
    """Write the tables of all recipes."""
    return "\n".join(to_markdown(name, recipe) for name, recipe in RECIPES.items())
