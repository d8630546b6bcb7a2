"""Charts taken out of trained keys, and what is left fitted to stand for them."""
