"""From scores to decisions: a threshold that somebody signs, and what it gives."""
