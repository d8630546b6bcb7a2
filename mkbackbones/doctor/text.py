"""The findings as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ['render']

OPERATORS = {
    'compiled': "mmcv's compiled ones",
    'torchvision': "this package's, since mmcv has no compiled ones",
    'none': 'none: mmcv is missing, or a build without mmcv.ops',
}


def render(about: Mapping[str, Any]) -> str:
    """The text to put into a bug report.

    Args:
        about (Mapping[str, Any]): From :func:`~mkbackbones.doctor.examine`.
    """
    lines = [f'{name:<13}{text}'.rstrip() for name, text in rows(about)]
    if not about['wrong']:
        return '\n'.join([*lines, '', 'nothing is wrong'])
    lines += ['', 'what is wrong:']
    for number, fault in enumerate(about['wrong'], 1):
        lines.append(f'{number}. {fault["what"]}')
        if fault['command']:
            lines.append(f'   {fault["command"]}')
    return '\n'.join(lines)


def rows(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names and texts of the lines."""
    known, imports = about['distributions'], about['imports']
    yield 'mkbackbones', f'{about["mkbackbones"]} in {about["place"]}'
    yield 'Python', f'{about["python"]}, {about["platform"]}'
    for name in ('torch', 'torchvision', 'timm', 'numpy'):
        text = imported(imports.get(name, {}), known.get(name))
        yield name, f'{text}{built(about) if name == "torch" else ""}'
    yield 'cv2', f'{imported(imports.get("cv2", {}), None)}{in_brackets(known, "opencv")}'
    line = ' and '.join(about['line']) or 'no'
    yield 'OpenMMLab', f'{line} line'
    for module, owners in about['openmmlab'].items():
        text = imported(imports.get(module, {}), None)
        names = f' ({", ".join(owners)})' if owners else ''
        yield f'  {module}', text + names
    operators = about['operators']
    yield 'operators', OPERATORS.get(operators.get('value', ''), failed(operators))
    yield 'kernels', kernels(about)
    yield from devices(about)
    yield 'cores', str(about['cores'])
    cache = about['cache']
    yield 'cache', f'{cache["folder"]}, {cache["bytes"] / 2**20:.0f} MiB'
    settings = [f'{name}={value}' for name, value in about['settings'].items()]
    yield 'settings', ', '.join(settings) or 'none'
    shown = ('torch', 'torchvision', 'timm', 'numpy')
    others = [
        f'{name} {version}'
        for name, version in known.items()
        if name not in shown and not name.startswith('opencv')
    ]
    yield 'also', ', '.join(others)


def imported(found: Mapping[str, Any], version: str | None) -> str:
    """How an import went, or what its metadata say."""
    if 'value' in found:
        return str(found['value'])
    text = failed(found)
    if 'No module named' in text and version is None:
        return 'not installed'
    return f'{version or ""} cannot be imported ({text})'.lstrip()


def failed(found: Mapping[str, Any]) -> str:
    """Why something is not known."""
    return str(found.get('error', 'not found out'))


def built(about: Mapping[str, Any]) -> str:
    """What torch was built with."""
    build = about['torch_build'].get('value')
    if build is None:
        return ''
    parts = [f'{key.upper()} {build[key]}' for key in ('cuda', 'hip') if build[key]]
    if build['cudnn']:
        parts.append(f'cuDNN {build["cudnn"]}')
    return f', built with {", ".join(parts)}' if parts else ', built for CPUs'


def in_brackets(known: Mapping[str, str], start: str) -> str:
    """Distributions whose names begin so."""
    found = [f'{name} {version}' for name, version in known.items() if name.startswith(start)]
    return f' ({", ".join(found)})' if found else ''


def kernels(about: Mapping[str, Any]) -> str:
    """Whether the Triton kernels serve."""
    reasons = about['kernels'].get('value')
    if reasons is None:
        return f'not found out ({failed(about["kernels"])})'
    if not reasons:
        return 'do not serve: torch sees no CUDA device'
    against = [reason for reason in reasons if reason]
    if not against:
        return 'serve, in half precision'
    few = 'do not serve' if len(against) == len(reasons) else 'do not serve on all devices'
    return f'{few}: {"; ".join(dict.fromkeys(against))}'


def devices(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a line for each device."""
    found = about['devices'].get('value')
    driver = f', driver {about["driver"]}' if about['driver'] else ''
    if not found:
        why = f' ({failed(about["devices"])})' if found is None else ''
        yield 'devices', f'CPU alone{driver}{why}'
        return
    for index, device in enumerate(found):
        memory = f'{device["memory"] / 2**30:.0f} GiB'
        text = f'{device["name"]}, {memory}, compute capability {device["capability"]}{driver}'
        yield f'device {index}', text
