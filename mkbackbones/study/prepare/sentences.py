"""What holds for a study, in sentences for its report; each is said only where it is so."""

from __future__ import annotations

from mmengine.config import Config

from ..define.arms import LOSSES
from ..define.spec import Study
from .configs import same_split, start_checkpoint

__all__ = ['budget_in_words', 'fairness', 'rates_in_words', 'weights_in_words']


def budget_in_words(study: Study, configs: dict[str, Config]) -> str:
    """What each run may spend."""
    words = []
    for key, task in study.tasks.items():
        iters = task.iters or study.budget.iters
        if not iters and study.budget.minutes:
            words.append(f'{key}: as many iterations as take {study.budget.minutes:g} minutes')
        else:
            words.append(f'{key}: {iters or configs[key].train_cfg.max_iters:,} iterations')
    return '; '.join(words) + '; the same for every arm'


def weights_in_words(study: Study, configs: dict[str, Config]) -> str:
    """Where the runs start from."""
    words = []
    for key, task in study.tasks.items():
        if task.source:
            words.append(f'{key}: the network that task {task.source} trained, of the same arm')
        else:
            start = start_checkpoint(configs[key], task)
            words.append(f'{key}: {start or "scratch"}')
    return '; '.join(words)


def rates_in_words(study: Study, configs: dict[str, Config]) -> str:
    """How the learning rates came about."""
    rates = study.learning_rates
    if rates.grid:
        grid = ', '.join(f'{lr:g}' for lr in rates.grid)
        seeds = ', '.join(map(str, rates.seeds))
        return (
            f'chosen for each task and arm from {grid} by the mean validation score of trials '
            f'with seeds {seeds}'
        )
    words = [f'{key}: {cfg.optim_wrapper.optimizer.lr:g}' for key, cfg in configs.items()]
    return 'shared by all arms; ' + ', '.join(words)


def fairness(study: Study, configs: dict[str, Config]) -> list[str]:
    """What makes the arms of this study comparable, and what limits it."""
    sentences = [
        'The runs of one seed share the order of the images, every random draw of the '
        'augmentation, the batch size and the schedule.',
        'Heads start from the same weights in every arm of a seed, bit by bit.',
    ]
    shared = [key for key, task in study.tasks.items() if not task.source]
    if shared:
        sentences.append(
            f'In {" and ".join(shared)}, backbones of one type start from the weights of the '
            'baseline of that seed wherever both have them; what only an arm has starts from its '
            'own initial values.'
        )
    for key, task in study.tasks.items():
        if task.source:
            sentences.append(
                f'In {key}, the backbone starts from the one that {task.source} trained with the '
                'same arm and seed.'
            )
    for arm in study.arms.values():
        if arm.initial_arm:
            sentences.append(
                f'{arm.label} has no networks of its own: it starts from those of '
                f'{study.arms[arm.initial_arm].label} of the same seed, whose keys are folded into '
                'stock ones, each by the best linear map of its tokens; what charts it has are new.'
            )
        if arm.teacher:
            losses = arm.teacher.losses
            weights = [f'{name} {losses[name]:g}' for name in LOSSES if losses.get(name)]
            sentences.append(
                f'{arm.label} also learns from the trained network of '
                f'{study.arms[arm.teacher.arm].label} of the same task and seed (weights of the '
                f'losses: {", ".join(weights)}); it sees the images as often as the others.'
            )
    if study.learning_rates.grid:
        sentences.append(
            'Every arm chose its learning rate from the same grid on the validation split, in '
            'trials whose seeds are none of the seeds that are compared.'
        )
    else:
        sentences.append(
            'All arms use one learning rate, which the config names for the baseline: an arm that '
            'would do better with another one is at a disadvantage.'
        )
    for key, task in study.tasks.items():
        if task.gpus > 1:
            sentences.append(
                f'In {key}, each run trains on {task.gpus} GPUs, to which the batch of the config '
                'is dealt out, so learning rate and schedule are those of one GPU.'
            )
    if study.budget.minutes:
        sentences.append(
            'All arms train for the same time on this device, so a slower arm trains for fewer '
            'iterations.'
        )
    sentences.append(
        'The weights that are tested are those with the best validation score of the run; the '
        'test split was used for nothing else.'
    )
    once = [
        key
        for key, cfg in configs.items()
        if cfg.train_cfg.get('val_interval', 0) >= cfg.train_cfg.max_iters
    ]
    if once:
        sentences[-1] = (
            'The test split was used once, for the weights that validation picked.'
            f' In {" and ".join(once)} validation ran once, after the last iteration, so it had '
            'nothing to pick from.'
        )
    for key, task in study.tasks.items():
        if task.folds:
            sentences.append(
                f'In {key}, the seeds test on {task.folds} folds of the images in turn, the first '
                'one on the first; groups of images stay together. What a seed does not test, it '
                'trains and validates on.'
            )
    for key, cfg in configs.items():
        if same_split(cfg) and not study.tasks[key].folds:
            sentences.append(f'In {key}, the images of validation and test are the same.')
    return sentences
