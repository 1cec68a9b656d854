"""What a user can set, and how a run speaks: dataclasses and text. No torch in here."""
