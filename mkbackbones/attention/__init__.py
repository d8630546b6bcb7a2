"""The drop-in for ``qkv`` with a key in it, its way into models and out; what layers attend to."""
