"""One run in a process of its own: it is trained, tested once, and recorded."""
