"""A study held against this machine before its first run: configs, data, folds, fingerprints."""
