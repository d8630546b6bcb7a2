"""Holds `.mim/` (tools, configs, model index) for OpenMMLab's installer ``mim``; no code.

``mim train mkbackbones CONFIG`` has to find the folder that contains ``.mim``, and the two
installers search differently:

- openmim takes ``site-packages/mkbackbones``, or the first name in ``top_level.txt`` where that
  folder does not exist (an editable install);
- onedl-mim takes the folder of the first entry of the installed RECORD. pip sorts RECORD, and
  ``mkbackbones-<version>.dist-info/`` sorts before ``mkbackbones/``.

A top-level folder that sorts before both answers the two of them. setup.py fills it at build
time; the source tree keeps ``configs/`` and ``tools/`` as the only copy.
"""
