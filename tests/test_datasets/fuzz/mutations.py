"""Damage to the files of a set, of the kinds that tools, people and networks do."""

import json
from collections.abc import Callable
from xml.etree import ElementTree

from hypothesis import strategies as st

__all__ = ['damaged']

# Values that are wrong in most places, and right in some.
SCALARS = st.one_of(
    st.sampled_from(
        [None, True, 0, -1, 1, 3, 255, 10**9, -(10**20), 1e-9, 1.5, 1e300, 10**400, '', ' ', 'dent']
        + ['nan', '1e8', '-3', '0,1', 'ä\n"', '\ud83d\ude00', '..', '/', 'train.png', 'polygon']
    ),
    st.integers(-50, 50),
    st.floats(-60, 60, allow_nan=False),
    st.text(max_size=5),
)
CONTAINERS = st.sampled_from([[], {}, [[]], [0, 1], {'a': 1}, [[1, 2], [3, 4], [5, 6]], [None]])


@st.composite
def damaged(draw: Callable, files: dict[str, bytes]) -> tuple[dict[str, bytes], bool]:
    """The files with one to three kinds of damage, and whether any object may be gone for good.

    A value that is changed takes no object away; an object, a line or a file that is deleted does.
    """
    files, lossy = dict(files), False
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(files)))
        kinds = [_bytes, _whole_file]
        if name.endswith('.json'):
            kinds += [_json] * 6
        elif name.endswith('.xml'):
            kinds += [_xml] * 6
        elif name.endswith(('.txt', '.yaml')):
            kinds += [_words] * 6
        lossy |= draw(st.sampled_from(kinds))(draw, files, name)
        if not files:
            break
    return files, lossy


def _bytes(draw: Callable, files: dict[str, bytes], name: str) -> bool:
    content = bytearray(files[name])
    kind = draw(st.sampled_from(['flip', 'cut', 'insert', 'delete', 'repeat']))
    at = draw(st.integers(0, len(content)))
    length = draw(st.integers(1, 40))
    if kind == 'flip' and content:
        content[min(at, len(content) - 1)] ^= 1 << draw(st.integers(0, 7))
    elif kind == 'cut':
        del content[at:]
    elif kind == 'insert':
        content[at:at] = draw(st.binary(min_size=1, max_size=8))
    elif kind == 'delete':
        del content[at : at + length]
    else:
        content[at:at] = content[at : at + length]
    files[name] = bytes(content)
    return True


def _whole_file(draw: Callable, files: dict[str, bytes], name: str) -> bool:
    kind = draw(st.sampled_from(['remove', 'move', 'copy', 'swap', 'encode', 'empty']))
    other = draw(st.sampled_from(sorted(files)))
    if kind == 'remove':
        del files[name]
    elif kind == 'swap':
        files[name], files[other] = files[other], files[name]
    elif kind == 'encode':
        encoding = draw(st.sampled_from(['utf-16', 'utf-8-sig', 'latin-1', 'utf-32']))
        files[name] = files[name].decode('latin-1').encode(encoding)
    elif kind == 'empty':
        files[name] = b''
    else:
        folder = draw(st.sampled_from(['', 'more/', 'test/', 'masks/', 'train/labels/']))
        files[folder + name.rpartition('/')[2]] = files[name]
        if kind == 'move' and folder + name.rpartition('/')[2] != name:
            del files[name]
    return True


def _json(draw: Callable, files: dict[str, bytes], name: str) -> bool:
    try:
        tree = json.loads(files[name])
    except (ValueError, RecursionError):
        return True
    places = list(_places(tree))
    if not places:
        return True
    parent, key = draw(st.sampled_from(places))
    lossy = isinstance(parent[key], list | dict)
    kind = draw(st.sampled_from(['scalar', 'scalar', 'container', 'delete', 'repeat', 'wrap']))
    if kind == 'scalar':
        parent[key] = draw(SCALARS)
    elif kind == 'container':
        parent[key] = draw(CONTAINERS)
    elif kind == 'delete':
        del parent[key]
    elif kind == 'repeat' and isinstance(parent, list):
        parent.insert(key, parent[key])
    else:
        parent[key] = [parent[key]]
    files[name] = json.dumps(tree).encode('utf-8', 'surrogatepass')
    return lossy


def _places(tree: object):
    """Every container with a key or index in it."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(items):
        yield tree, key
        if isinstance(value, list | dict):
            # The many bytes of a brush would take all the turns.
            yield from list(_places(value))[:40]


_XML_KINDS = ['text', 'text', 'attribute', 'attribute', 'tag', 'delete', 'copy']


def _xml(draw: Callable, files: dict[str, bytes], name: str) -> bool:
    try:
        root = ElementTree.fromstring(files[name])
    except (ElementTree.ParseError, ValueError, LookupError):
        return True
    element = draw(st.sampled_from(list(root.iter())))
    kind = draw(
        st.sampled_from(['text', 'text', 'attribute', 'attribute', 'tag', 'delete', 'copy'])
    )
    value = str(draw(SCALARS)).encode('ascii', 'xmlcharrefreplace').decode()
    value = ''.join(letter for letter in value if letter.isprintable())
    lossy = len(element) > 0 or kind in ('tag', 'delete')
    if kind == 'text':
        element.text = value
    elif kind == 'attribute' and element.attrib:
        key = draw(st.sampled_from(sorted(element.attrib)))
        if draw(st.booleans()):
            element.attrib[key] = value
        else:
            del element.attrib[key]
    elif kind == 'tag':
        element.tag = draw(st.sampled_from(['box', 'object', 'mask', 'x', element.tag.upper()]))
    elif len(element):
        child = draw(st.sampled_from(list(element)))
        element.append(child) if kind == 'copy' else element.remove(child)
    files[name] = ElementTree.tostring(root)
    return lossy


def _words(draw: Callable, files: dict[str, bytes], name: str) -> bool:
    lines = files[name].decode('utf-8', 'replace').split('\n')
    at = draw(st.integers(0, len(lines) - 1))
    kind = draw(st.sampled_from(['word', 'word', 'word', 'drop', 'line', 'repeat']))
    words = lines[at].split(' ')
    if kind == 'word':
        words[draw(st.integers(0, len(words) - 1))] = str(draw(SCALARS))
        lines[at] = ' '.join(words)
    elif kind == 'drop':
        del words[draw(st.integers(0, len(words) - 1))]
        lines[at] = ' '.join(words)
    elif kind == 'repeat':
        lines.insert(at, lines[at])
    else:
        del lines[at]
    files[name] = '\n'.join(lines).encode('utf-8', 'replace')
    return kind == 'line' or not name.endswith('.txt') or len(words) < 3
