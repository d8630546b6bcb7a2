"""Whether the backbone of every arm can be built, asked once for each backbone and each code."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from ...caches import cache_folder
from ...files import written_aside
from ...runner.config_files import one_line
from ..define.plan import Run
from ..define.spec import Study, StudyError
from ..define.tasks import Task
from .configs import run_config
from .fingerprint import code_hash, library_versions, short_hash

__all__ = ['BuiltBefore', 'check_backbones']

#: Files of other codes and libraries that are kept.
MOST_FILES = 20


class BuiltBefore:
    """Backbones that were built without an error, in this command or in an earlier one.

    Earlier ones count with the same code and libraries: building all backbones of a study takes
    seconds, and a study that is killed and started again has the same. They are kept in the user's
    cache folder, where it can be written. Where ``custom_imports`` names code of one's own, which
    may change unseen, they are built each time.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.lasting: set[str] = set()
        versions = json.dumps(library_versions(), sort_keys=True)
        self.file = f'{code_hash()}-{short_hash(iter([versions.encode()]))}'
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # RuntimeError: no home
            self.names.update(self.path().read_text(encoding='ascii').split())

    def path(self) -> Path:
        """Where they are kept.

        Raises:
            RuntimeError: The user has no home.
        """
        return cache_folder() / 'backbones' / self.file

    def name(self, scope: str, cfg: Config, backbone: Config) -> str:
        """What a backbone of a task is known by."""
        name = short_hash(iter([f'{scope} {backbone}'.encode()]))
        imports = cfg.get('custom_imports', {}).get('imports', [])
        known = set([imports] if isinstance(imports, str) else imports) <= {'mkbackbones'}
        return name if known else f'{name}-own'

    def add(self, name: str) -> None:
        """Note a backbone that was built."""
        self.names.add(name)
        if not name.endswith('-own'):
            self.lasting.add(name)

    def remember(self) -> None:
        """Keep what was built for the next command."""
        if not self.lasting:
            return
        with contextlib.suppress(OSError, RuntimeError):
            path = self.path()
            path.parent.mkdir(parents=True, exist_ok=True)
            names = sorted(name for name in self.names if not name.endswith('-own'))
            with written_aside(path, durable=False) as work:
                work.write_text('\n'.join(names) + '\n', encoding='ascii')
            files = sorted(path.parent.iterdir(), key=lambda file: file.stat().st_mtime)
            for file in files[:-MOST_FILES]:
                file.unlink(missing_ok=True)


def check_backbones(study: Study, task: Task, cfg: Config, built: BuiltBefore) -> None:
    """Raise StudyError unless the backbone of every arm can be built.

    They are built without memory for weights, which takes little time; one that cannot be built so
    (it looks at its weights) is built as a run builds it.

    Args:
        study (Study): The study.
        task (Task): The task.
        cfg (Config): Its config.
        built (BuiltBefore): Backbones that can be built; more are added.
    """
    import torch

    scope = cfg.get('default_scope', 'mmengine')
    init_default_scope(scope)
    for arm in study.arms.values():
        run = Run('main', task.key, arm.key, study.seeds[0])
        backbone = run_config(cfg, task, arm, run).model.backbone
        name = built.name(scope, cfg, backbone)
        if name in built.names:
            continue
        try:
            with contextlib.suppress(Exception), torch.device('meta'):
                MODELS.build(backbone)
                built.add(name)
                continue
            MODELS.build(backbone)
            built.add(name)
        except Exception as error:  # a backbone may raise anything
            raise StudyError(
                f'task {task.key}, arm {arm.key}: its backbone cannot be built: {one_line(error)}'
            ) from error
