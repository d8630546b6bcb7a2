"""Names of backbones to profile: ``[library:]arch[/Key][:option=value ...]``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from ..hints import did_you_mean

if TYPE_CHECKING:
    from ..backbones.base import Backbone
    from ..checkpoints.families import Family

#: Numbers that a profile is made in.
Precision = Literal['fp32', 'bf16', 'fp16']
#: How a backbone is run: as it is, by torch.compile, or that with CUDA graphs.
Compiled = Literal['no', 'yes', 'graphs']
#: In which thread the backward pass runs.
Loop = Literal['ours', 'plain']
WIDTHS = ('full', 'half', '1/H')
YES_NO = ('yes', 'no')
#: Options by name: allowed values, or a type.
OPTIONS: dict[str, type[int] | tuple[str, ...]] = {
    'charts': int,
    'width': WIDTHS,
    'act': ('gelu', 'none'),
    'base': YES_NO,
    'fold': YES_NO,
    'cp': YES_NO,
    'fused': YES_NO,
    'compile': get_args(Compiled),
    'recorded': YES_NO,
    'loop': get_args(Loop),
}
KEY_OPTIONS = ('charts', 'width', 'act', 'base', 'fold')
FORM = '[library:]arch[/Key][:option=value ...]'


class Arch(NamedTuple):
    """One of our architectures.

    Attributes:
        backbone (type[Backbone]): Its class.
        name (str): Its name among the class's ``archs``.
    """

    backbone: type[Backbone]
    name: str

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return self.backbone.stage_dims(self.backbone.archs[self.name])


def archs() -> dict[str, Arch]:
    """Our architectures by short name, e.g. ``swin-t``: the registered backbones with ``archs``."""
    from .. import backbones  # noqa: F401 - registers them
    from ..registry import MODELS

    return {
        f'{backbone.family.name}-{initials(name)}': Arch(backbone, name)
        for backbone in MODELS.module_dict.values()
        for name in getattr(backbone, 'archs', ())
    }


def initials(name: str) -> str:
    """Short name of an architecture: ``s`` for ``small``, ``sp`` for ``small_plus``."""
    return ''.join(word[0] for word in name.split('_'))


def libraries() -> list[str]:
    """Libraries whose backbones may be named."""
    from ..checkpoints.families import FAMILIES

    return list(dict.fromkeys(name for family in FAMILIES.values() for name in family.peers))


class SpecError(ValueError):
    """A name that cannot be understood, told in one sentence."""


@dataclass(frozen=True)
class Spec:
    """One backbone to profile.

    Attributes:
        arch (str): A name of :func:`archs`.
        library (str): A name of :func:`libraries`; '' for this package.
        key (str | None): Name of a key; None for the stock key.
        options (tuple[tuple[str, str], ...]): Names and values of ``OPTIONS``, in their order.
    """

    arch: str
    library: str = ''
    key: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    @property
    def family(self) -> Family:
        """What kind of backbone it is."""
        return archs()[self.arch].backbone.family

    def get(self, option: str, default: str = 'no') -> str:
        """Value of an option."""
        return dict(self.options).get(option, default)

    def with_options(self, **options: str) -> Spec:
        """The same backbone with other values of some options."""
        merged = {**dict(self.options), **options}
        return replace(self, options=tuple((n, merged[n]) for n in OPTIONS if n in merged))

    def function(self) -> Spec:
        """Our backbone that computes the same function, however it is run: what the floor is of."""
        kept = {n: v for n, v in self.options if n in KEY_OPTIONS}
        return Spec(self.arch, key=self.key).with_options(**kept)

    def __str__(self) -> str:
        library = f'{self.library}:' if self.library else ''
        key = f'/{self.key}' if self.key else ''
        return f'{library}{self.arch}{key}' + ''.join(f':{n}={v}' for n, v in self.options)


def parse_spec(text: str) -> Spec:
    """Read a name.

    Raises:
        SpecError: If it is not of the form ``[library:]arch[/Key][:option=value ...]`` or names
            something that does not exist.
    """
    parts = text.split(':')
    library = parts.pop(0) if len(parts) > 1 and '=' not in parts[1] else ''
    if library and library not in libraries():
        raise unknown('library', library, libraries(), text)
    arch, _, key = parts.pop(0).partition('/')
    if arch not in archs():
        raise SpecError(f'{unknown("architecture", arch, archs(), text)}; the form is {FORM}')
    spec = Spec(arch, library, find_key_name(key, text) if key else None)
    peers = spec.family.peers
    if library and library not in peers:
        having = ' and '.join(peers) or 'no other library'
        raise SpecError(f'{text}: {library} has no {arch}; {having} have one')
    if library and key:
        raise SpecError(f'{text}: {library} has no manifold keys; leave out {library}: or /{key}')
    return spec.with_options(**dict(parse_option(part, spec, text) for part in parts))


def parse_option(part: str, spec: Spec, text: str) -> tuple[str, str]:
    """Read one ``option=value`` of a name."""
    name, _, value = part.partition('=')
    if name not in OPTIONS:
        raise unknown('option', name, OPTIONS, text)
    if name in KEY_OPTIONS and spec.key is None:
        raise SpecError(f'{text}: option {name} is of a key; name one, e.g. {spec.arch}/VanillaK')
    if name in ('charts', 'act', 'base') and spec.key and not has_charts(spec.key):
        raise SpecError(f'{text}: {spec.key} has no charts and no option {name}')
    if name == 'width' and spec.key and not takes_width(spec.key):
        raise SpecError(f'{text}: {spec.key} takes no chart width; VanillaK does')
    if name == 'fused' and spec.library != 'timm':
        raise SpecError(f'{text}: option fused is for timm: alone, e.g. timm:{spec.arch}:fused=yes')
    if name == 'cp' and spec.library in ('timm', 'mmpretrain'):
        raise SpecError(f'{text}: option cp is for ours, mmdet: and mmseg: alone')
    allowed = OPTIONS[name]
    if isinstance(allowed, type):
        if not value.isdecimal() or int(value) < 1:
            raise SpecError(f'{text}: {name}={value} is not a number of at least 1')
        return name, str(int(value))
    if value not in allowed:
        raise unknown(f'value of {name}', value, allowed, text)
    return name, value


def find_key_name(key: str, text: str) -> str:
    """Check the name of a key."""
    from .. import keys  # noqa: F401 - registers them
    from ..registry import KEYS

    if key not in KEYS.module_dict:
        raise unknown('key', key, sorted(KEYS.module_dict), text)
    return key


def unknown(what: str, name: str, known: Iterable[str], text: str) -> SpecError:
    """The error for a name that does not exist."""
    known = list(known)
    return SpecError(
        f'{text}: {what} {name!r} is unknown; '
        f'choose from {", ".join(known)}{did_you_mean(name, known)}'
    )


def expand(
    specs: Sequence[Spec], charts: Sequence[int], widths: Sequence[str], compiled: bool
) -> list[Spec]:
    """Cross specs with numbers of charts, chart widths and compilation; no duplicates.

    Args:
        specs (Sequence[Spec]): Specs; charts and widths apply to those whose key has them.
        charts (Sequence[int]): Numbers of charts; empty to leave the specs' own.
        widths (Sequence[str]): Of ``WIDTHS``; empty to leave the specs' own. Keys that add their
            charts up take the full width only.
        compiled (bool): Whether a compiled twin of each follows it.
    """
    expanded = []
    for spec in specs:
        twins = [spec]
        if charts and has_charts(spec.key):
            twins = [twin.with_options(charts=str(number)) for twin in twins for number in charts]
        if widths and takes_width(spec.key):
            twins = [twin.with_options(width=width) for twin in twins for width in widths]
        for twin in twins:
            expanded += [twin, twin.with_options(compile='yes')] if compiled else [twin]
    return list(dict.fromkeys(expanded))


def key_class(key: str | None) -> Any:
    """The class of a key."""
    from .. import keys  # noqa: F401 - registers them
    from ..registry import KEYS

    return None if key is None else KEYS.module_dict[key]


def has_charts(key: str | None) -> bool:
    """Whether a key has charts."""
    return hasattr(key_class(key), 'adds_charts')


def takes_width(key: str | None) -> bool:
    """Whether a key's charts may be narrower than the key."""
    return has_charts(key) and not key_class(key).adds_charts
