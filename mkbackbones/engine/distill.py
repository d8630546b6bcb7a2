"""Losses by which a model learns from a trained one, its teacher.

With f_l (B, C, H, W) the maps of level l that the heads are given (of the neck, or of the backbone
where there is none), k_b the keys of block b, less their mean over each window, and ' for the
teacher's::

    features   mean_l  ||f_l - f'_l||^2 / ||f'_l - mean f'_l||^2      mean: over B, H and W
    keys       mean_b  ||k_b - k'_b||^2 / ||k'_b||^2
    logits     T^2 KL(softmax(y' / T), softmax(y / T)), mean over pixels

so that a student that knows nothing but the teacher's mean has about 1 in the first two, whatever
the scale of a level or block. (The weighting is our definition, the logits' loss is that of Hinton
et al., arXiv 1503.02531.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ..arguments import FLAG, check, number, short
from ..registry import HOOKS
from .teacher import (
    TeacherError,
    build_teacher,
    check_preprocessing,
    check_teacher,
    read_teacher_config,
)

__all__ = ['DistillHook', 'add_distillation', 'feature_loss', 'key_loss', 'logit_loss']

WEIGHT, TEMPERATURE = number(0, 1e6), number(0, 1e3, above=True)


def feature_loss(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """See :mod:`mkbackbones.engine.distill`.

    Args:
        found (list[Tensor]): The student's maps (B, C, H, W), one a level.
        wanted (list[Tensor]): The teacher's.
    """
    return torch.stack([relative(a, b, (0, 2, 3)) for a, b in zip(found, wanted)]).mean()


def key_loss(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """See :mod:`mkbackbones.engine.distill`.

    Args:
        found (list[Tensor]): The student's keys (windows, N, C), one a block.
        wanted (list[Tensor]): The teacher's.
    """
    losses = []
    for a, b in zip(found, wanted):
        a, b = a.float(), b.float()
        losses.append(relative(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), (0, 1)))
    return torch.stack(losses).mean()


def relative(found: Tensor, wanted: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Squared error over the variance of what is wanted, in float32."""
    found, wanted = found.float(), wanted.float()
    variance = (wanted - wanted.mean(dims, keepdim=True)).square().mean()
    return (found - wanted).square().mean() / variance.clamp(min=1e-12)


def logit_loss(found: Tensor, wanted: Tensor, temperature: float = 1.0) -> Tensor:
    """See :mod:`mkbackbones.engine.distill`.

    Args:
        found (Tensor): The student's logits (B, classes, H, W).
        wanted (Tensor): The teacher's.
        temperature (float): T.
    """
    found, wanted = found.float() / temperature, wanted.float() / temperature
    log, sure = found.log_softmax(1), wanted.log_softmax(1)
    return temperature**2 * (sure.exp() * (sure - log)).sum(1).mean()


class Recorder:
    """Keeps what parts of a model give, while it is asked to.

    Args:
        model (nn.Module): A detector or segmentor.
        keys (list[str]): Names of the ``qkv`` layers whose keys count.
        logits (bool): Whether a segmentor's logits count.
    """

    def __init__(self, model: Any, keys: list[str], logits: bool) -> None:
        self.features: list[Tensor] = []
        self.keys: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.on = False
        last = model.neck if getattr(model, 'neck', None) is not None else model.backbone
        self.handles = [last.register_forward_hook(self.keep_features)]
        for name in keys:
            self.handles.append(model.get_submodule(name).register_forward_hook(self.keep_keys))
        if logits:
            self.handles.append(model.decode_head.conv_seg.register_forward_hook(self.keep_logits))

    def start(self) -> None:
        """Forget, and keep from now on."""
        self.features, self.keys, self.logits = [], [], []
        self.on = True

    def keep_features(self, module: nn.Module, args: tuple, output: Any) -> None:
        """Forward hook of the neck or backbone."""
        if self.on:
            self.features = list(output) if isinstance(output, list | tuple) else [output]

    def keep_keys(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        """Forward hook of a qkv layer, (windows, N, 3 C) or (windows, rows, columns, 3 C)."""
        if self.on:
            self.keys.append(output.chunk(3, -1)[1].flatten(1, -2))

    def keep_logits(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        """Forward hook of a segmentor's last layer."""
        if self.on:
            self.logits.append(output)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self.handles:
            handle.remove()


class Distillation:
    """Adds the losses to what a model gives in training, as two hooks of its ``forward``.

    Args:
        model (nn.Module): The student, not wrapped for several GPUs.
        teacher (nn.Module): The teacher; it is no part of the student, nor of its checkpoints.
        features (float): Weight of the loss of feature maps.
        keys (float): Weight of the loss of keys.
        logits (float): Weight of the loss of a segmentor's logits.
        temperature (float): Of the logits.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module,
        features: float,
        keys: float,
        logits: float,
        temperature: float,
    ) -> None:
        names = attention_layers(model, teacher) if keys else []
        if logits:
            require_logits(model, teacher)
        self.teacher: Any = teacher
        self.weights = dict(features=features, keys=keys, logits=logits)
        self.temperature = temperature
        self.own = Recorder(model, names, bool(logits))
        self.theirs = Recorder(teacher, names, bool(logits))
        self.inputs: Any = None
        self.handles = [
            model.register_forward_pre_hook(self.observe, with_kwargs=True),
            model.register_forward_hook(self.add),
        ]

    def observe(self, model: nn.Module, args: tuple, kwargs: dict) -> None:
        """Forward pre-hook of the student."""
        self.inputs = kwargs.get('inputs', args[0] if args else None)
        self.own.start()

    def add(self, model: nn.Module, args: Any, output: Any) -> None:
        """Forward hook of the student: entries more among the losses."""
        self.own.on = False  # what is recomputed in the backward pass is not seen
        inputs, self.inputs = self.inputs, None
        if not (model.training and isinstance(output, dict)):
            return
        if not isinstance(inputs, Tensor):
            raise TeacherError(
                f'DistillHook needs the pictures of a batch as one tensor, and the model was given '
                f'a {type(inputs).__name__}; models with several branches are not supported'
            )
        self.look(inputs)
        found, wanted = self.own, self.theirs
        with torch.autocast(inputs.device.type, enabled=False):
            if self.weights['features']:
                alike('feature maps', found.features, wanted.features)
                loss = feature_loss(found.features, wanted.features)
                output['loss_distill_features'] = self.weights['features'] * loss
            if self.weights['keys']:
                alike('keys', found.keys, wanted.keys)
                loss = key_loss(found.keys, wanted.keys)
                output['loss_distill_keys'] = self.weights['keys'] * loss
            if self.weights['logits']:
                alike('logits', found.logits, wanted.logits)
                loss = logit_loss(found.logits[0], wanted.logits[0], self.temperature)
                output['loss_distill_logits'] = self.weights['logits'] * loss
        found.start()
        wanted.start()
        found.on = wanted.on = False

    @torch.no_grad()
    def look(self, inputs: Tensor) -> None:
        """Let the teacher see the pictures."""
        self.teacher.to(inputs.device)
        self.theirs.start()
        maps = self.teacher.extract_feat(inputs)
        if self.weights['logits']:
            self.teacher.decode_head.forward(maps)
        self.theirs.on = False

    def remove(self) -> None:
        """Take it away again."""
        for handle in self.handles:
            handle.remove()
        self.own.remove()
        self.theirs.remove()


def attention_layers(model: nn.Module, teacher: nn.Module) -> list[str]:
    """Names of the ``qkv`` layers that both have.

    Raises:
        TeacherError: The two have not the same ones.
    """
    own, theirs = (
        [n for n, _ in each.named_modules() if n.rpartition('.')[2] == 'qkv']
        for each in (model, teacher)
    )
    if not own or own != theirs:
        raise TeacherError(
            f"keys={len(own)} layers called 'qkv' in the student, {len(theirs)} in the teacher: "
            'the loss of keys needs the same blocks in both; set keys=0'
        )
    return own


def require_logits(model: Any, teacher: Any) -> None:
    """Raise TeacherError for models without logits of pixels."""
    for who, each in (('student', model), ('teacher', teacher)):
        if not isinstance(getattr(getattr(each, 'decode_head', None), 'conv_seg', None), nn.Module):
            raise TeacherError(
                f'the {who}, a {type(each).__name__}, has no decode_head.conv_seg that gives a '
                'logit for each class and pixel; set logits=0'
            )


def alike(what: str, found: list[Tensor], wanted: list[Tensor]) -> None:
    """Raise TeacherError where the two give other shapes, or nothing has arrived."""
    if not found:
        raise TeacherError(
            f"the student's {what} did not arrive at DistillHook, e.g. as the backbone is compiled "
            '(CompileBackboneHook); leave one of the two out'
        )
    own, theirs = ([tuple(each.shape) for each in both] for both in (found, wanted))
    if own != theirs:
        raise TeacherError(
            f"the student's {what} have the shapes {own}, the teacher's {theirs}; they have to be "
            'the same: only what costs nothing in shape, such as keys and charts, may differ'
        )
    if torch.is_grad_enabled() and not any(each.requires_grad for each in found):
        raise TeacherError(
            f"the student's {what} have no gradients: what they come from is frozen, or the "
            'backbone recomputes its blocks in the way of reentrant checkpoints (with_cp=True of '
            'other libraries); set their weight to 0'
        )


def add_distillation(
    model: nn.Module,
    teacher: nn.Module,
    features: float = 1.0,
    keys: float = 0.0,
    logits: float = 0.0,
    temperature: float = 1.0,
) -> Callable[[], None]:
    """Let a model's losses have entries ``loss_distill_...`` in training.

    Args:
        model (nn.Module): The student, a detector of mmdet or a segmentor of mmseg, not wrapped for
            several GPUs.
        teacher (nn.Module): The teacher, in evaluation mode, with the same preprocessing.
        features (float): Weight of the loss of feature maps.
        keys (float): Weight of the loss of keys.
        logits (float): Weight of the loss of a segmentor's logits.
        temperature (float): Of the logits.

    Returns:
        Callable: Takes it away again.

    Raises:
        ValueError: A weight is not allowed.
        TeacherError: The two do not go together.
    """
    check_weights(features, keys, logits, temperature)
    for who, each in (('student', model), ('teacher', teacher)):
        if not (hasattr(each, 'backbone') and hasattr(each, 'extract_feat')):
            raise TeacherError(
                f'the {who} is a {type(each).__name__} without backbone and extract_feat; '
                'detectors of mmdet and segmentors of mmseg can be distilled'
            )
    return Distillation(model, teacher, features, keys, logits, temperature).remove


def check_weights(features: Any, keys: Any, logits: Any, temperature: Any) -> None:
    """Raise ValueError for weights that are none."""
    for name, value in dict(features=features, keys=keys, logits=logits).items():
        check(name, value, WEIGHT)
    check('temperature', temperature, TEMPERATURE)
    if not (features or keys or logits):
        raise ValueError(
            'features, keys and logits are all 0, so that nothing is learnt from the teacher; give '
            'one a weight, e.g. features=1.0, or leave DistillHook out'
        )


@HOOKS.register_module()
class DistillHook(Hook):
    """Learn from a trained model: entries ``loss_distill_...`` among the losses.

    ``custom_hooks=[dict(type='mkbackbones.DistillHook', teacher='my_config.py',
    checkpoint='epoch_12.pth')]`` in the config of the student, e.g. one with stock keys or fewer
    charts that starts from what ``fold --calibrate`` or ``prune-charts`` wrote. For detectors of
    mmdet and segmentors of mmseg with the same preprocessing and feature maps of the same shapes.

    The teacher sees the same augmented pictures, in evaluation mode and without gradients. It is no
    part of the student: checkpoints do not hold it, and optimisers and wrappers for several GPUs do
    not see it. The student's other losses are as they were. A loss of keys has both models run
    their attention projections without the Triton kernels.

    Args:
        teacher (str): Config of the teacher.
        checkpoint (str): Its weights.
        features (float): Weight of the loss of feature maps, see :mod:`mkbackbones.engine.distill`.
        keys (float): Weight of the loss of keys, for models of the same blocks.
        logits (float): Weight of the loss of logits, for segmentors with ``conv_seg``.
        temperature (float): Of the logits.
        trusted (bool): Load a pickle that holds more than weights, which can run code.

    Raises:
        ValueError: An argument is not allowed.
        TeacherError: When training begins, where the teacher cannot be loaded or the two do not go
            together; ``train`` asks :meth:`check_config` before.
    """

    def __init__(
        self,
        teacher: str,
        checkpoint: str,
        features: float = 1.0,
        keys: float = 0.0,
        logits: float = 0.0,
        temperature: float = 1.0,
        trusted: bool = False,
    ) -> None:
        for name, value in dict(teacher=teacher, checkpoint=checkpoint).items():
            if not isinstance(value, str) or not value:
                raise ValueError(f'{name}={short(value)} is not allowed; it must be a path')
        check_weights(features, keys, logits, temperature)
        check('trusted', trusted, FLAG)
        self._teacher, self._checkpoint, self._trusted = teacher, checkpoint, trusted
        self._weights = dict(features=features, keys=keys, logits=logits, temperature=temperature)
        self._remove: Callable[[], None] | None = None

    def check_config(self, cfg: Config) -> None:
        """Look at the teacher's files and preprocessing, before a runner is built.

        Args:
            cfg (Config): The student's.

        Raises:
            TeacherError: A file is not there or cannot be read, the weights are not those of the
                teacher's config, or it sees pictures that are prepared otherwise.
        """
        theirs = read_teacher_config(self._teacher)
        check_preprocessing(cfg.get('model') or {}, theirs.model)
        check_teacher(theirs, self._checkpoint, self._trusted)

    def before_train(self, runner: Runner) -> None:
        """Build the teacher and add the losses."""
        model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
        cfg = read_teacher_config(self._teacher)
        check_preprocessing(runner.cfg.get('model') or {}, cfg.model)
        teacher = build_teacher(cfg, self._checkpoint, self._trusted)
        teacher.to(next(model.parameters()).device)
        self._remove = add_distillation(model, teacher, **self._weights)

    def after_train(self, runner: Runner) -> None:
        """Take it away again."""
        if self._remove is not None:
            self._remove()
            self._remove = None
