"""Every recipe as Markdown: source, protocol and figure, and for each setting what was published and what is ours."""

from rich.text import Text

from lgcoamix.recipes import RECIPES
from lgcoamix.recipes.table import to_markdown


def measure() -> Text:
    """Write the tables of all recipes."""
    return Text(
        "\n".join(to_markdown(name, recipe) for name, recipe in RECIPES.items()), no_wrap=True, overflow="ignore"
    )
