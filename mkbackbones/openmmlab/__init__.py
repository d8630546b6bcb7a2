"""Which OpenMMLab is installed, and what is wrong with it.

Two lines of distributions install ``mmengine``, ``mmcv``, ``mmdet`` and ``mmseg``: the original
one and the maintained one (onedl-*). pip takes them for strangers, so that it installs one over the
other without a word, and deletes files of both when it uninstalls one.
"""
