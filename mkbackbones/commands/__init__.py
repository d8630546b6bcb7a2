"""What ``python -m mkbackbones COMMAND`` runs: one module a command, each with ``main(argv)``."""
