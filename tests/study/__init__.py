"""The study: does the method help?

Its cells (``plan``), what they train on (``stores``), how they run (``driver``), the finished ones (``kept``), and what
they say (``paired``, ``tables``, ``plot``).
"""
