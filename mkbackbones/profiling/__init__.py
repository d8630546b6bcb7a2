"""How fast and how large backbones are, side by side; see ``docs/benchmarks/README.md``."""
