"""Converters of public defect data sets, one file a set; docs/data-sets.md describes them.

The table that names them all is ``mkbackbones.datasets.catalogue``.
"""
