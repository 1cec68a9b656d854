"""A trained network as a folder that timm loads, its model card, ONNX; and predictions with it."""

import lgcoamix.beside.checked  # noqa: F401 - before preprocess
