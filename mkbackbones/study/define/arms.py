"""The arms of a study: what each changes, where its networks start, whose it learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from ...hints import did_you_mean
from .entries import StudyError, allow, text
from .tasks import Task

__all__ = [
    'LOSSES',
    'Arm',
    'Role',
    'Teacher',
    'check_arms',
    'check_parts',
    'parse_arm',
    'takes_part',
]

Role = Literal['baseline', 'control', 'candidate']
ROLES: tuple[Role, ...] = get_args(Role)
#: What can be learnt from a teacher.
LOSSES = ('features', 'keys', 'attention', 'logits')


@dataclass(frozen=True)
class Teacher:
    """Whose networks an arm learns from, beside the data.

    Args:
        arm (str): Key of the arm; of each task and seed its trained network.
        losses (dict[str, float]): Weights and temperature, as ``DistillHook`` takes them.
    """

    arm: str
    losses: dict[str, float]

    def losses_of(self, kind: str) -> dict[str, float]:
        """Weights in a task of a kind: there are logits of pixels in segmentation alone."""
        return self.losses if kind == 'segmentation' else {**self.losses, 'logits': 0.0}


@dataclass(frozen=True)
class Arm:
    """One arm.

    Args:
        key (str): Name in folders and tables.
        label (str): Name for readers.
        role (Role): What it is for.
        backbone (dict): Entries of ``model.backbone`` that the arm replaces, each as a whole; with
            ``_delete_=True`` the whole backbone.
        initial_arm (str | None): Another arm, whose networks it starts from, with their keys folded
            into stock ones, in tasks that start from another task; it has no part in the others.
        teacher (Teacher | None): Whose networks it learns from, in detection and segmentation; it
            has no part in classification.
    """

    key: str
    label: str
    role: Role
    backbone: dict
    initial_arm: str | None = None
    teacher: Teacher | None = None


def parse_arm(key: str, arm: dict) -> Arm:
    """One entry of ``arms``."""
    allow(arm, ('label', 'role', 'backbone', 'initial_arm', 'teacher'), f'arm {key}')
    role = arm.get('role', 'candidate')
    if role not in ROLES:
        raise StudyError(
            f'arm {key} has the role {role!r}; choose from {", ".join(ROLES)}'
            f'{did_you_mean(role, ROLES)}'
        )
    backbone = arm.get('backbone', {})
    if not isinstance(backbone, dict):
        raise StudyError(f'arm {key}: backbone is {backbone!r}; it must be a dict')
    label = text(arm, 'label', key, f'arm {key}')
    teacher = parse_teacher(arm['teacher'], f'arm {key}') if arm.get('teacher') else None
    return Arm(key, label, role, backbone, arm.get('initial_arm'), teacher)


def parse_teacher(teacher: Any, where: str) -> Teacher:
    """The entry ``teacher`` of an arm: an arm's key, or that and weights of losses."""
    # Without attention, so that studies which do not name it stay what they are.
    losses = dict(features=1.0, keys=0.0, logits=0.0, temperature=1.0)
    entries = dict(arm=teacher) if isinstance(teacher, str) else teacher
    if not isinstance(entries, dict) or not isinstance(entries.get('arm'), str):
        raise StudyError(
            f"{where}: teacher={teacher!r}; give an arm, e.g. 'spatial', or dict(arm='spatial', "
            'features=1.0, logits=1.0)'
        )
    allow(entries, ('arm', *LOSSES, 'temperature'), f'{where}: teacher')
    losses |= {name: weight for name, weight in entries.items() if name != 'arm'}
    from ...engine.distill import check_weights  # heavy, and few studies have teachers

    try:
        check_weights(**losses)
    except ValueError as error:
        raise StudyError(f'{where}: teacher: {error}') from error
    return Teacher(entries['arm'], {name: float(weight) for name, weight in losses.items()})


def check_arms(arms: dict[str, Arm]) -> None:
    """Raise StudyError unless the arms go together."""
    check_roles(arms)
    check_initial_arms(arms)
    check_teachers(arms)


def check_roles(arms: dict[str, Arm]) -> None:
    """One baseline, and something to compare with it."""
    baselines = [arm.key for arm in arms.values() if arm.role == 'baseline']
    if len(baselines) != 1:
        found = f'{len(baselines)} ({", ".join(baselines)})' if baselines else 'none'
        raise StudyError(
            f"a study needs exactly one arm with role='baseline', the one that all others are "
            f'compared with; this one has {found}'
        )
    if len(arms) < 2:
        raise StudyError(f'the study has one arm, {baselines[0]}; a comparison needs two')


def check_initial_arms(arms: dict[str, Arm]) -> None:
    """Each ``initial_arm`` is an arm with networks of its own."""
    own = [key for key, arm in arms.items() if arm.initial_arm is None]
    for arm in arms.values():
        if arm.initial_arm is None:
            continue
        if arm.initial_arm not in own:
            raise StudyError(
                f'arm {arm.key}: initial_arm={arm.initial_arm!r}; choose from the arms that train '
                f'networks of their own: {", ".join(own)}{did_you_mean(arm.initial_arm, own)}'
            )
        if arm.role == 'baseline':
            raise StudyError(
                f'arm {arm.key} is the baseline and has an initial_arm; all tasks need a baseline'
            )


def check_teachers(arms: dict[str, Arm]) -> None:
    """Each teacher is an arm that trains networks of its own, from the data alone."""
    own = [key for key, arm in arms.items() if arm.initial_arm is None and arm.teacher is None]
    for arm in arms.values():
        if arm.teacher is None:
            continue
        if arm.teacher.arm not in own:
            raise StudyError(
                f'arm {arm.key}: teacher={arm.teacher.arm!r}; choose from the arms that train '
                f'networks of their own: {", ".join(own)}{did_you_mean(arm.teacher.arm, own)}'
            )
        if arm.role == 'baseline':
            raise StudyError(
                f'arm {arm.key} is the baseline and has a teacher; the baseline learns from the '
                'data alone'
            )


class Placed(Protocol):
    """What tells in which tasks an arm takes part."""

    @property
    def initial_arm(self) -> str | None: ...

    @property
    def teacher(self) -> Any: ...


def takes_part(arm: Placed, kind: str, chained: bool) -> bool:
    """Whether an arm is trained in a task of a kind, which starts from another task or not."""
    if arm.teacher is not None and kind == 'classification':
        return False
    return chained or arm.initial_arm is None


def check_parts(arms: dict[str, Arm], tasks: dict[str, Task]) -> None:
    """Every arm has a task, and in each of them something to start from."""
    for arm in arms.values():
        own = [task for task in tasks.values() if takes_part(arm, task.kind, bool(task.source))]
        if not own and arm.initial_arm is not None and not any(t.source for t in tasks.values()):
            raise StudyError(
                f'arm {arm.key} has an initial_arm, and no task starts from another one, so it '
                "would have no run; set initial_weights=dict(task='...')"
                + (', or leave initial_arm out' if arm.teacher else '')
            )
        if not own:
            raise StudyError(
                f'arm {arm.key} has a teacher, and there is no task of detection or segmentation, '
                'so it would have no run'
            )
        for task in own:
            if arm.teacher and not any(
                arm.teacher.losses_of(task.kind).get(name) for name in LOSSES
            ):
                raise StudyError(
                    f'arm {arm.key}: of its teacher it learns logits alone, which {task.key} has '
                    'not; give features, keys or attention a weight'
                )
        lost = [t.key for t in own if t.source and not takes_part(arm, tasks[t.source].kind, False)]
        if lost and arm.initial_arm is None:
            raise StudyError(
                f'arm {arm.key} has a teacher and no networks of classification, which '
                f'{lost[0]} starts from; name the arm whose it starts from, e.g. '
                f'initial_arm={arm.teacher.arm if arm.teacher else None!r}'
            )
