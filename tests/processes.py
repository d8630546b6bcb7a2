"""Processes of tests: forked from one that imports the libraries once for all of them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable

from torch.multiprocessing import start_processes

#: What takes them long to import; what is missing is left out.
LIBRARIES = (
    *('torch.distributed', 'timm', 'mmengine.runner', 'mmdet.models', 'mmdet.datasets'),
    *('mmseg.models', 'mmseg.datasets', 'mkbackbones.backbones', 'mkbackbones.runner.build'),
)


def in_processes(count: int, function: Callable, *args: object) -> None:
    """Call ``function(rank, *args)`` in each of some processes, and wait for them.

    What they are forked from has computed nothing and knows nothing of this process, so they are as
    fresh as spawned ones, except that the libraries are imported.

    Args:
        count (int): How many.
        function (Callable): At the top of a module, as it is looked up by its name.
        args (object): What can be pickled.
    """
    os.environ.setdefault('GLOO_SOCKET_IFNAME', 'lo')
    method = 'forkserver'
    if method in multiprocessing.get_all_start_methods():
        multiprocessing.set_forkserver_preload(list(LIBRARIES))
    else:
        method = 'spawn'
    start_processes(function, args, count, start_method=method)
