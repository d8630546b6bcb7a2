"""Keys in attention layers: the drop-in for ``qkv``, and how it gets into a model and out again."""
