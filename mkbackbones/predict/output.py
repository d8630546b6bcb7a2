"""The folder of an output: it grows beside its place, goes on after a stop, and appears whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..files import OutputError, atomic_output, locked, written_aside
from ..runner.errors import InputError
from .alarms import Alarms
from .formats import OF_ALL, PER_PICTURE, Sheet, named_from, place_of
from .gallery import gallery, thumbnail
from .inputs import Picture
from .painting import paint
from .results import Prediction

__all__ = ['Output', 'check_folder']

#: What an output may hold; a folder with anything else is not replaced.
_OWN = (
    'gallery.html',
    'labelme',
    'masks',
    'painted',
    'predictions.csv',
    'predictions.json',
    'yolo',
)
_RECORD = 'record.json'
_THUMBNAIL = 'thumbnail'  # stays in the work folder, until a page has it
_QUALITY = 92


class Output:
    """What a run leaves, picture by picture.

    Until :meth:`finish`, all lies in ``.NAME.predict`` beside the folder: a folder a picture, whose
    record is written last. A run with the same settings goes on from there, one with others is
    refused.

    Args:
        folder (Path): The output.
        settings (Mapping[str, Any]): What the files depend on beside the pictures, as JSON; among
            it ``format``, ``paint``, ``min_score`` and, where pictures raise alarms, the score
            ``alarm_above``, or a score by class.
        classes (Sequence[str]): Names of the classes.
        palette (Sequence[tuple[int, int, int]]): RGB colour of each class.
        overwrite (bool): Replace a former output, at the end.

    Raises:
        InputError: The folder may not be replaced, or a run with other settings was stopped.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        classes: Sequence[str],
        palette: Sequence[tuple[int, int, int]],
        overwrite: bool = False,
    ) -> None:
        self.folder = Path(os.path.abspath(folder))
        self.work = self.folder.with_name(f'.{self.folder.name}.predict')
        self.settings = json.loads(json.dumps(settings))
        self.classes, self.palette, self.overwrite = classes, palette, overwrite
        self.rule = Alarms(self.settings.get('alarm_above'), classes)
        self.alarms = 0  # pictures with one, once it is finished
        self.kinds = [kind for kind in self.settings['format'] if kind in PER_PICTURE]
        self.kinds += ['painted'] if self.settings['paint'] else []
        self.kinds += [_THUMBNAIL] if self.settings.get('report') else []
        check_folder(self.folder, overwrite)
        self._check_settings()

    def _check_settings(self) -> None:
        try:
            former = json.loads((self.work / 'settings.json').read_text(encoding='utf-8'))
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, ValueError) as error:
            raise InputError(f'{self.work}, of a run that was stopped: {error}') from error
        for name in [*self.settings, *former]:
            was, now = former.get(name), self.settings.get(name)
            if was != now:
                raise InputError(
                    f'{self.folder} was begun with another {name} ({told(was)}, now {told(now)}): '
                    f'give the same to go on, another --out, or remove {self.work} to start anew'
                )

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the work folder, which no other process may write into meanwhile.

        Raises:
            InputError: One does, or it cannot be made.
        """
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            file = os.open(self.work / 'lock', os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise InputError(f'cannot write beside {self.folder}: {error.strerror}') from error
        try:
            try:
                is_ours = locked(file)
            except OSError:  # a file system without locks
                is_ours = True
            if not is_ours:
                raise InputError(f'another process is writing {self.folder} at the moment')
            with written_aside(self.work / 'settings.json', durable=False) as work:
                work.write_text(json.dumps(self.settings), encoding='utf-8')
            yield
        finally:
            os.close(file)

    def done(self, picture: Picture) -> Prediction | None:
        """What is there of a picture since a former run; None if it has changed, or nothing is."""
        try:
            record = json.loads((self._place(picture) / _RECORD).read_text(encoding='utf-8'))
            there = all((self._place(picture) / kind).is_file() for kind in self.kinds)
            if there and record['picture'] == (stamp(picture.path) or ''):
                found = Prediction.from_json(record['prediction'])
                if found.class_scores or not self.rule.by_class:
                    return found
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def add(self, picture: Picture, prediction: Prediction, pixels: np.ndarray) -> None:
        """Keep what was found in a picture, and the files about it.

        Args:
            picture (Picture): The picture.
            prediction (Prediction): What was found.
            pixels (np.ndarray): The picture, (height, width[, channels]), BGR.
        """
        place = self._place(picture)
        place.mkdir(parents=True, exist_ok=True)
        least, image = self.settings['min_score'], None
        for kind in self.kinds:
            if kind in ('painted', _THUMBNAIL):
                image = image or paint(pixels, prediction, self.palette, least)
                if kind == 'painted':
                    image.save(place / kind, 'JPEG', quality=_QUALITY)
                else:
                    (place / kind).write_bytes(thumbnail(image))
                continue
            folder = (self.folder / place_of(kind, picture.stem)).parent
            sheet = Sheet(prediction, self.classes, least, named_from(folder, picture.path))
            (place / kind).write_bytes(PER_PICTURE[kind](sheet))
        record = dict(picture=stamp(picture.path), prediction=prediction.to_json())
        with written_aside(place / _RECORD, durable=False) as work:
            work.write_text(json.dumps(record), encoding='utf-8')

    def finish(self, pictures: Sequence[Picture]) -> None:
        """Put the output in its place, whole.

        Args:
            pictures (Sequence[Picture]): The pictures that were added, now or before.

        Raises:
            InputError: It cannot be written.
        """
        try:
            with atomic_output(self.folder, overwrite=self.overwrite, expected=_OWN) as out:
                for picture in pictures:
                    for kind in self.kinds:
                        if kind == _THUMBNAIL:
                            continue
                        target = out / place_of(kind, picture.stem)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(self._place(picture) / kind, target)
                found = [(picture, self._recorded(picture)) for picture in pictures]
                self.alarms = sum(self.rule.raised(prediction) for _, prediction in found)
                if self.settings.get('report'):
                    self._write_gallery(out / 'gallery.html', found)
                for kind in self.settings['format']:
                    if kind not in OF_ALL:
                        continue
                    files = OF_ALL[kind](self.classes, found, self.rule)
                    for name, content in files.items():
                        (out / name).parent.mkdir(parents=True, exist_ok=True)
                        (out / name).write_bytes(content.encode('utf-8', 'surrogateescape'))
        except OutputError as error:
            raise InputError(error) from error

    def _write_gallery(self, path: Path, found: Sequence[tuple[Picture, Prediction]]) -> None:
        pictures = [
            (picture.name, prediction, (self._place(picture) / _THUMBNAIL).read_bytes())
            for picture, prediction in found
        ]
        page = gallery(self.classes, pictures, self.settings['min_score'], self.rule)
        path.write_bytes(page.encode('utf-8', 'surrogateescape'))

    def _recorded(self, picture: Picture) -> Prediction:
        """What was added, whatever has become of the file since."""
        record = json.loads((self._place(picture) / _RECORD).read_text(encoding='utf-8'))
        return Prediction.from_json(record['prediction'])

    def clear(self) -> None:
        """Remove the work folder; not while it is open."""
        shutil.rmtree(self.work, ignore_errors=True)

    def _place(self, picture: Picture) -> Path:
        name = os.path.abspath(picture.path)
        return self.work / 'pictures' / hashlib.sha256(os.fsencode(name)).hexdigest()[:24]


def check_folder(folder: Path, overwrite: bool) -> None:
    """Raise InputError if a folder may not be replaced by predictions."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f'--out {folder} is a file: name a folder')
    content = sorted(os.listdir(folder)) if folder.is_dir() else []
    foreign = [name for name in content if name not in _OWN]
    if foreign:
        raise InputError(
            f'--out {folder} holds more than predictions ({foreign[0]}): name another one'
        )
    if content and not overwrite:
        raise InputError(
            f'--out {folder} has predictions already: name another one, or add --overwrite to '
            'replace them'
        )


def stamp(path: Path) -> list[Any] | None:
    """What tells that a file is the same; None where it is gone."""
    try:
        about = path.stat()
    except OSError:
        return None
    return [os.path.abspath(path), about.st_size, about.st_mtime_ns]


def told(value: object) -> str:
    """A setting as a message shows it."""
    return 'none' if value in (None, [], False) else f'{value}'
