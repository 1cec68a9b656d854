"""Files from somebody else who means harm: generators of them, and the contract that every command keeps with each."""
