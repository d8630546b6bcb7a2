"""The sections of a report that are drawn from numbers, each with its explanation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from ..records.results import StudyResults
from ..statistics import Analysis
from .blocks import Block, Fold, Gallery, Heading, Picture, Table, Text
from .curves import chart_curves, learning_curves
from .differences import MAX_CLASSES, class_bars, forest, seed_dots
from .scatter import carry_over_scatter, cost_scatter
from .style import Look, to_svg
from .tables import (
    carry_over_table,
    crossed_table,
    efficiency_table,
    metric_table,
    recall_table,
)

__all__ = ['plots']


def plots(results: StudyResults, analysis: Analysis) -> list[Block]:
    """Everything that is drawn from numbers; a section without content is left out.

    Args:
        results (StudyResults): The study.
        analysis (Analysis): Its statistics.
    """
    return _Plots(results, analysis).sections()


class _Plots:
    def __init__(self, results: StudyResults, analysis: Analysis) -> None:
        self.results, self.info, self.analysis = results, results.info, analysis
        self.look = Look(analysis.labels)
        self.base = analysis.labels[analysis.baseline]
        self.tasks = [t for t in self.info.tasks if any(run.task == t for run in results.runs)]

    def sections(self) -> list[Block]:
        """All sections in order."""
        return [
            *self.differences(),
            *self.runs(),
            *self.curves(),
            *self.charts(),
            *self.costs(),
            *self.carry_over(),
            *self.crossed(),
            *self.classes(),
            *self.recall(),
        ]

    def differences(self) -> list[Block]:
        """Forest plots."""
        text = (
            'Mean of the paired differences with its 95 % interval. Where it crosses the vertical '
            'line, there may be no difference at all. A hollow mark rests on one seed.'
        )
        found = self.draw('differences', lambda task: forest(self.analysis, self.look, task))
        return _section(f'Difference to {self.base}', text, found)

    def runs(self) -> list[Block]:
        """Seed dots, and the means of all metrics."""
        text = (
            'A mark is one run on the test split; grey lines join the runs of one seed; the bar is '
            'the mean, the number behind ± the standard deviation over seeds.'
        )
        found = self.draw('runs', lambda task: seed_dots(self.analysis, self.look, task))
        tables: list[Block] = [
            Fold(f'All metrics of {task}', [metric_table(self.analysis, self.info, task)])
            for task in self.tasks
        ]
        return _section('Every run', text, found + tables)

    def curves(self) -> list[Block]:
        """Loss and validation metric over iterations."""
        text = 'Mean over seeds; the band reaches from the lowest to the highest seed.'
        found = self.draw('curves', lambda task: learning_curves(self.results, self.look, task))
        return _section('Learning curves', text, found)

    def charts(self) -> list[Block]:
        """What the charts were over iterations, where runs have ChartInfoHook."""
        text = (
            'Means over the blocks and over seeds; the band reaches from the lowest to the highest '
            'seed. Charts / base: root mean squares of what is added to the base chart, and of '
            'that, on training images. Spread of Gamma: standard deviation of log |Gamma| over the '
            "charts. Distance: of each two charts' maps, mean; 0 for copies, 1.41 for maps that "
            'have nothing to do with each other.'
        )
        found = self.draw('charts', lambda task: chart_curves(self.results, self.look, task))
        return _section('Did the charts move?', text, found)

    def costs(self) -> list[Block]:
        """Gain against cost."""
        text = (
            f'Points above {self.base}, with the 95 % interval, over what the arm costs more than '
            f'{self.base}.'
        )
        found = self.draw('costs', lambda task: cost_scatter(self.analysis, self.look, task))
        table = efficiency_table(self.analysis)
        if table is not None:
            found.append(Fold('Points for each 10 % of additional cost', [table]))
        return _section('Gain against cost', text, found)

    def carry_over(self) -> list[Block]:
        """Classification against downstream tasks, where there is a classification stage."""
        kinds = {task: about.kind for task, about in self.info.tasks.items()}
        stage = next((task for task, kind in kinds.items() if kind == 'classification'), None)
        if stage is None:
            return []
        text = (
            f'Points above {self.base} in both. A small mark is a seed, a large one the mean with '
            'its 95 % intervals. The ratio is the downstream gain for each point of classification.'
        )
        found = self.draw(
            'carry-over',
            lambda task: carry_over_scatter(self.analysis, self.look, task, stage),
            [task for task in self.tasks if kinds[task] != 'classification'],
        )
        title = 'From classification to downstream tasks'
        return _section(title, text, found + _if_any(carry_over_table(self.analysis)))

    def crossed(self) -> list[Block]:
        """Whether it is the weights or the key that helps, where the study has the arms for it."""
        text = (
            'Networks that were pre-trained with or without the charts, each fine-tuned with and '
            'without them. Pre-trained with it: what pre-training with the key is worth, the mean '
            'of both ways to fine-tune; that is what carries over in the weights. Fine-tuned with '
            'it: what the key is worth in the task itself, the mean of both ways to pre-train. '
            'Both beyond either: how much more the key is worth in the task after pre-training '
            'with it. Keys that a network loses are folded, so that it starts from nearly the '
            'same function; charts that it gains start at zero where they have a base chart.'
        )
        return _section(
            'Does the gain carry over in the weights?', text, _if_any(crossed_table(self.analysis))
        )

    def classes(self) -> list[Block]:
        """Differences by class."""
        text = (
            f'Points above {self.base}; the thin line is one standard deviation over seeds to '
            'either side. Single classes decide nothing: their differences are not tested.'
        )
        if any(len(self.info.tasks[task].classes) > MAX_CLASSES for task in self.tasks):
            text += f' Of more than {MAX_CLASSES} classes, those that differ most.'
        found = self.draw(
            'classes', lambda task: class_bars(self.analysis, self.info, self.look, task)
        )
        return _section('By class', text, found)

    def recall(self) -> list[Block]:
        """What a factory asks for."""
        text = (
            'Share of the images with a defect whose score lies above a threshold. It comes from '
            'the validation images without a defect, so that new ones exceed it in 5 (or 1) % of '
            'the cases; beside it, how many of the test images without a defect do. ± is the '
            'standard deviation over seeds. The draw of the validation images is not covered by '
            'the intervals.'
        )
        title = 'Defective images found at few false alarms'
        return _section(title, text, _if_any(recall_table(self.analysis)))

    def draw(
        self, name: str, draw: Callable[[str], Figure | None], tasks: Sequence[str] | None = None
    ) -> list[Block]:
        """A picture a task, side by side."""
        pictures = []
        for task in self.tasks if tasks is None else tasks:
            figure = draw(task)
            if figure is not None:
                key = f'{name}-{task}'
                pictures.append(Picture(key, to_svg(figure, key), f'{name}, {task}'))
        return [Gallery(pictures)] if pictures else []


def _section(title: str, text: str, content: list[Block]) -> list[Block]:
    return [Heading(title), Text(text), *content] if content else []


def _if_any(table: Table | None) -> list[Block]:
    return [table] if table else []
