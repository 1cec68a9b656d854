"""Small functions of tensors that every room above uses. Torch alone."""
