"""From the name of a config to the runner that mmengine builds of it; whoever trains comes by here.

Nothing heavy is imported at module level: ``--help`` has to be quick, and CUDA has to be hidden
before torch looks for it.
"""
