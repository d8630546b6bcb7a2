"""Whether the backbone of every arm can be built, asked once for each backbone and each code."""

from __future__ import annotations

import contextlib
import json

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from ...runner.config_files import one_line
from ..define.plan import Run
from ..define.spec import Study, StudyError
from ..define.tasks import Task
from .cached_text import keep, recall
from .configs import run_config
from .fingerprint import code_hash, library_versions, short_hash

__all__ = ['BuiltBefore', 'check_backbones']


class BuiltBefore:
    """Backbones that were built without an error, in this command or in an earlier one.

    Earlier ones count with the same code and libraries: building all backbones of a study takes
    seconds, and a study that is killed and started again has the same. They are kept in the user's
    cache folder, where it can be written. Where ``custom_imports`` names code of one's own, which
    may change unseen, they are built each time.
    """

    def __init__(self) -> None:
        versions = json.dumps(library_versions(), sort_keys=True)
        self.file = f'{code_hash()}-{short_hash(iter([versions.encode()]))}'
        self.kept = set((recall('backbones', self.file) or '').split())
        self.now: set[str] = set()
        self.lasting: set[str] = set()

    def knows(self, name: str, cfg: Config) -> bool:
        """Whether a backbone of a task's config was built."""
        return name in self.now or (name in self.kept and not has_own_code(cfg))

    def add(self, name: str, cfg: Config) -> None:
        """Note a backbone of a task's config that was built."""
        self.now.add(name)
        if not has_own_code(cfg):
            self.lasting.add(name)

    def remember(self) -> None:
        """Keep what was built for the next command."""
        if not self.lasting <= self.kept:
            keep('backbones', self.file, '\n'.join(sorted(self.kept | self.lasting)))


def has_own_code(cfg: Config) -> bool:
    """Whether a config imports code that is not the package's."""
    imports = cfg.get('custom_imports', {}).get('imports', [])
    return not set([imports] if isinstance(imports, str) else imports) <= {'mkbackbones'}


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
        name = short_hash(iter([f'{scope} {backbone}'.encode()]))
        if built.knows(name, cfg):
            continue
        try:
            with contextlib.suppress(Exception), torch.device('meta'):
                MODELS.build(backbone)
                built.add(name, cfg)
                continue
            MODELS.build(backbone)
            built.add(name, cfg)
        except Exception as error:  # a backbone may raise anything
            raise StudyError(
                f'task {task.key}, arm {arm.key}: its backbone cannot be built: {one_line(error)}'
            ) from error
