"""``python -m lgcoamix``, as a script that a nursery can run."""

import runpy

runpy.run_module("lgcoamix", run_name="__main__", alter_sys=True)
