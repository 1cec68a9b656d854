"""``make pictures``: every picture of the product, drawn by its commands from short runs on real images, on one page.

``plan.py`` lists the commands, and what to look for in each picture; ``page.py`` finds out what is missing.
"""
