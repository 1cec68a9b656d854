"""What a user can set, and how a run reports its progress. Works without torch."""
