"""The offline stage: raw images in, multi-scale superpixel maps and images in HDF5 shards out.

Nothing below this package imports torch, timm or lgcoamix.
"""
