"""Keys in attention layers: the drop-in for ``qkv``, its way into a model and out; what they see."""
