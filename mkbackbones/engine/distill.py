"""Losses by which a model learns from a trained one, its teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.optim import Optimizer

from ..arguments import FLAG, check, number, short
from ..registry import HOOKS
from .distill_adapters import Adapters
from .distill_losses import attention_loss, feature_loss, key_loss, logit_loss
from .distill_recorder import Recorder
from .teacher import (
    TeacherError,
    build_teacher,
    check_preprocessing,
    check_teacher,
    read_teacher_config,
)
from .unwrapped import model_of

__all__ = ['DistillHook', 'add_distillation']

#: Entry of a checkpoint with adapters.
ENTRY = 'mkbackbones_distill_adapters'
#: What each loss compares, in words.
WHAT = dict(features='feature maps', keys='keys', attention='attention', logits='logits')
WEIGHT, TEMPERATURE = number(0, 1e6), number(0, 1e3, above=True)


class Distillation:
    """Adds the losses to what a model gives in training, as two hooks of its ``forward``.

    Args:
        model (nn.Module): The student, not wrapped for several GPUs.
        teacher (nn.Module): The teacher; it is no part of the student, nor of its checkpoints.
        weights (dict[str, float]): Of each loss.
        temperature (float): Of the logits.
        adapters (Adapters | None): What bridges widths of maps; None where nothing does.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module,
        weights: dict[str, float],
        temperature: float,
        adapters: Adapters | None,
    ) -> None:
        keys, attention, logits = (bool(weights[n]) for n in ('keys', 'attention', 'logits'))
        names = attention_layers(model, teacher) if keys or attention else []
        owners = [name.rpartition('.')[0] for name in names] if attention else []
        require_heads(model, teacher, owners)
        if logits:
            require_logits(model, teacher)
        self.teacher: Any = teacher
        self.weights = weights
        self.adapters = adapters
        self.losses: dict[str, Callable[[Any, Any], Tensor]] = dict(
            features=feature_loss,
            keys=key_loss,
            attention=attention_loss,
            logits=lambda found, wanted: logit_loss(found[0], wanted[0], temperature),
        )
        parts = names if keys else [], owners, logits
        self.own, self.theirs = Recorder(model, *parts), Recorder(teacher, *parts)
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
            for name, weight in self.weights.items():
                if weight:
                    own, theirs = getattr(found, name), getattr(wanted, name)
                    require_gradients(WHAT[name], own)
                    if name == 'features' and self.adapters is not None:
                        own = self.adapters(own, theirs)
                    require_alike(WHAT[name], own, theirs)
                    output[f'loss_distill_{name}'] = weight * self.losses[name](own, theirs)
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
            f"{len(own)} layers called 'qkv' in the student, {len(theirs)} in the teacher: the "
            'losses of keys and of attention need the same blocks in both; set keys=0 and '
            'attention=0'
        )
    return own


def require_heads(model: nn.Module, teacher: nn.Module, layers: list[str]) -> None:
    """Raise TeacherError where attention layers of the two have not as many heads."""
    for name in layers:
        own, theirs = (
            getattr(each.get_submodule(name), 'num_heads', None) for each in (model, teacher)
        )
        if own != theirs:
            raise TeacherError(
                f'{name} has {own} heads in the student and {theirs} in the teacher: the loss of '
                'attention compares head by head; give the student as many, or set attention=0'
            )


def require_logits(model: Any, teacher: Any) -> None:
    """Raise TeacherError for models without logits of pixels."""
    for who, each in (('student', model), ('teacher', teacher)):
        if not isinstance(getattr(getattr(each, 'decode_head', None), 'conv_seg', None), nn.Module):
            raise TeacherError(
                f'the {who}, a {type(each).__name__}, has no decode_head.conv_seg that gives a '
                'logit for each class and pixel; set logits=0'
            )


def require_gradients(what: str, found: Sequence[Any]) -> None:
    """Raise TeacherError where nothing has arrived of the student, or nothing to learn by."""
    if not found:
        raise TeacherError(
            f"the student's {what} did not arrive at DistillHook, e.g. as the backbone is compiled "
            '(CompileBackboneHook); leave one of the two out'
        )
    if torch.is_grad_enabled() and not any(each.requires_grad for each in found):
        raise TeacherError(
            f"the student's {what} have no gradients: what they come from is frozen, or the "
            'backbone recomputes its blocks in the way of reentrant checkpoints (with_cp=True of '
            'other libraries); set their weight to 0'
        )


def require_alike(what: str, found: Sequence[Any], wanted: Sequence[Any]) -> None:
    """Raise TeacherError where the two give other shapes."""
    own, theirs = ([tuple(each.shape) for each in both] for both in (found, wanted))
    if own != theirs:
        raise TeacherError(
            f"the student's {what} have the shapes {own}, the teacher's {theirs}; they have to be "
            'the same: only what costs nothing in shape, such as keys and charts, may differ, and '
            'the channels of feature maps'
        )


def add_distillation(
    model: nn.Module,
    teacher: nn.Module,
    features: float = 1.0,
    keys: float = 0.0,
    logits: float = 0.0,
    temperature: float = 1.0,
    attention: float = 0.0,
    adapters: Adapters | None = None,
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
        attention (float): Weight of the loss of what blocks attend to.
        adapters (Adapters | None): What bridges other widths of feature maps, trained by an
            optimiser of the student; without, they have to be the same.

    Returns:
        Callable: Takes it away again.

    Raises:
        ValueError: A weight is not allowed.
        TeacherError: The two do not go together.
    """
    weights = dict(features=features, keys=keys, attention=attention, logits=logits)
    check_weights(temperature=temperature, **weights)
    for who, each in (('student', model), ('teacher', teacher)):
        if not (hasattr(each, 'backbone') and hasattr(each, 'extract_feat')):
            raise TeacherError(
                f'the {who} is a {type(each).__name__} without backbone and extract_feat; '
                'detectors of mmdet and segmentors of mmseg can be distilled'
            )
    return Distillation(model, teacher, weights, temperature, adapters).remove


def check_weights(temperature: Any = 1.0, **weights: Any) -> None:
    """Raise ValueError for weights of losses that are none."""
    for name, value in weights.items():
        check(name, value, WEIGHT)
    check('temperature', temperature, TEMPERATURE)
    if not any(weights.values()):
        raise ValueError(
            f'{", ".join(weights)} are all 0, so that nothing is learnt from the teacher; give one '
            'a weight, e.g. features=1.0, or leave DistillHook out'
        )


class TaughtHook(Hook):
    """Adds the losses while a model is trained, with a teacher that :meth:`build` gives.

    Args:
        weights (dict[str, float]): As :func:`add_distillation` takes them.
    """

    def __init__(self, weights: dict[str, float]) -> None:
        self._weights = weights
        self._adapters: Adapters | None = None
        self._remove: Callable[[], None] | None = None

    def build(self, runner: Runner) -> nn.Module:
        """The teacher."""
        raise NotImplementedError

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Go on with the adapters of a training that is resumed; the optimiser's state is next."""
        optimizer, state = optimizer_of(runner), checkpoint.get(ENTRY)
        begins = self._adapters is None and isinstance(optimizer, Optimizer)
        if begins and runner._resume and state is not None:  # load_from is for the weights alone
            self._adapters = Adapters(optimizer)
            self._adapters.load(state, device_of(runner))

    def before_train(self, runner: Runner) -> None:
        """Build the teacher and add the losses."""
        if self._adapters is None:
            self._adapters = Adapters(optimizer_of(runner))
        teacher = self.build(runner).to(device_of(runner))
        student = model_of(runner)
        self._remove = add_distillation(student, teacher, **self._weights, adapters=self._adapters)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adapters are kept beside the student's weights, for a training that is resumed."""
        if self._adapters is not None and (state := self._adapters.state()) is not None:
            checkpoint[ENTRY] = state

    def after_train(self, runner: Runner) -> None:
        """Take it away again."""
        if self._remove is not None:
            self._remove()
            self._remove = None


def device_of(runner: Runner) -> torch.device:
    """Where the model of a runner is."""
    return next(runner.model.parameters()).device


def optimizer_of(runner: Runner) -> Any:
    """The optimiser of a runner; whatever is there instead where it has several."""
    return getattr(runner.optim_wrapper, 'optimizer', runner.optim_wrapper)


@HOOKS.register_module()
class DistillHook(TaughtHook):
    """Learn from a trained model: entries ``loss_distill_...`` among the losses.

    ``custom_hooks=[dict(type='mkbackbones.DistillHook', teacher='my_config.py',
    checkpoint='epoch_12.pth')]`` in the config of the student, e.g. one with stock keys or fewer
    charts that starts from what ``fold --calibrate`` or ``prune-charts`` wrote. For detectors of
    mmdet and segmentors of mmseg with the same preprocessing and feature maps of the same sizes.
    Where their channels differ, 1x1 convolutions bridge them, which are trained along; a checkpoint
    has them beside the weights, for a training that is resumed.

    The teacher sees the same augmented pictures, in evaluation mode and without gradients. It is no
    part of the student: checkpoints do not hold it, and optimisers and wrappers for several GPUs do
    not see it. The student's other losses are as they were. A loss of keys has both models run
    their attention projections without the Triton kernels, one of attention all of their blocks.

    Args:
        teacher (str): Config of the teacher.
        checkpoint (str): Its weights.
        features (float): Weight of the loss of feature maps, see
            :mod:`mkbackbones.engine.distill_losses`.
        keys (float): Weight of the loss of keys, for models of the same blocks.
        logits (float): Weight of the loss of logits, for segmentors with ``conv_seg``.
        temperature (float): Of the logits.
        attention (float): Weight of the loss of what blocks attend to, for models of the same
            blocks with as many heads.
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
        attention: float = 0.0,
        trusted: bool = False,
    ) -> None:
        for name, value in dict(teacher=teacher, checkpoint=checkpoint).items():
            if not isinstance(value, str) or not value:
                raise ValueError(f'{name}={short(value)} is not allowed; it must be a path')
        weights = dict(features=features, keys=keys, attention=attention, logits=logits)
        check_weights(temperature, **weights)
        check('trusted', trusted, FLAG)
        super().__init__(dict(weights, temperature=temperature))
        self._teacher, self._checkpoint, self._trusted = teacher, checkpoint, trusted

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

    def build(self, runner: Runner) -> nn.Module:
        cfg = read_teacher_config(self._teacher)
        check_preprocessing(runner.cfg.get('model') or {}, cfg.model)
        return build_teacher(cfg, self._checkpoint, self._trusted)
