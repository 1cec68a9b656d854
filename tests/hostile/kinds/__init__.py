"""Generators of crafted cases, one kind in one file."""

from tests.hostile.kinds.archives import archives
from tests.hostile.kinds.arrays import arrays
from tests.hostile.kinds.bombs import bombs
from tests.hostile.kinds.checkpoints import checkpoints
from tests.hostile.kinds.damage import damage
from tests.hostile.kinds.documents import documents
from tests.hostile.kinds.links import links
from tests.hostile.kinds.models import models
from tests.hostile.kinds.mutants import mutants
from tests.hostile.kinds.names import names
from tests.hostile.kinds.paths import paths
from tests.hostile.kinds.servers import servers

# Name of the kind: the family of what it crafts, and the generator.
KINDS = {
    "links": ("stores", links),
    "paths": ("stores", paths),
    "names": ("stores", names),
    "arrays": ("stores", arrays),
    "bombs": ("stores", bombs),
    "documents": ("stores", documents),
    "damage": ("stores", damage),
    "models": ("models", models),
    "checkpoints": ("runs", checkpoints),
    "archives": ("archives", archives),
    "servers": ("servers", servers),
}

__all__ = ["KINDS", "mutants"]
