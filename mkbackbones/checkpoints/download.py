"""Download a checkpoint into a cache: by its whole URL, complete, or not at all."""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

import torch

from ..files import written_aside
from .report import CheckpointError

__all__ = ['cached_file', 'download']

TRIES = 3
#: Seconds before the second try; twice as long before the next.
PAUSE = 1.0
#: Seconds without a byte after which a server is given up.
PATIENCE = 30.0
CHUNK = 1 << 20
#: Answers that another try may change.
PASSING = (408, 425, 429, 500, 502, 503, 504)


def download(url: str) -> Path:
    """Download into the cache, or take what is there; in distributed runs rank 0 goes first.

    Args:
        url (str): An http(s) URL.

    Returns:
        Path: The file; its name has a hash of the URL, since many files are called
            ``model.safetensors``.

    Raises:
        CheckpointError: If it cannot be downloaded in full, or the server sends a web page.
    """
    from mmengine.dist import barrier, get_rank

    url = quoted(url)
    file = cached_file(url)

    def fetch_once() -> None:
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            fetch(url, file)

    try:
        if get_rank() == 0:
            fetch_once()
    except OSError as error:
        raise CheckpointError(f'{url} cannot be stored as {file}: {error}') from error
    finally:
        barrier()
    fetch_once()  # ranks whose file system rank 0 does not share
    return file


def quoted(url: str) -> str:
    """A URL with spaces and the like written as they have to be.

    Raises:
        CheckpointError: If it is no URL.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise CheckpointError(f'{url!r} is no URL: {error}') from error
    if not host or not re.fullmatch(r'[\w.:%-]+', host):
        raise CheckpointError(f'{url!r} is no URL: it names no host, as in https://host/file.pth')
    path, query = quote(unquote(parts.path)), quote(parts.query, safe='=&%+/:,;~')
    return urlunsplit((parts.scheme, parts.netloc, path, query, ''))


def cached_file(url: str) -> Path:
    """Where the file of a URL is kept: beside what torch.hub keeps."""
    name = Path(unquote(urlsplit(url).path)).name or 'checkpoint'
    name = re.sub(r'[^\w.+-]', '_', name)[-100:]
    stem, dot, suffix = name.rpartition('.')
    digest = hashlib.sha256(url.encode()).hexdigest()[:12]
    name = f'{stem}-{digest}.{suffix}' if dot and stem else f'{name}-{digest}'
    return Path(torch.hub.get_dir()) / 'checkpoints' / name


def fetch(url: str, file: Path) -> None:
    """Download ``url`` to ``file``, with a few tries.

    Raises:
        CheckpointError: If none succeeds.
    """
    reason = ''
    for tried in range(TRIES):
        if tried:
            time.sleep(PAUSE * 2 ** (tried - 1))
        try:
            receive(url, file)
            return
        except HTTPError as error:
            reason = f'the server answers {error.code} {error.reason}'
            if error.code not in PASSING:
                break
        except URLError as error:
            reason = str(error.reason)
            if isinstance(error.reason, ConnectionRefusedError):
                break
        except (OSError, http.client.HTTPException, EOFError) as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, OSError) and error.errno is not None:  # disk full, read-only, ...
                break
        except ValueError as error:
            raise CheckpointError(f'{url} cannot be downloaded: {error}') from error
    raise CheckpointError(f'{url} cannot be downloaded: {reason}')


def receive(url: str, file: Path) -> None:
    """One try.

    Raises:
        EOFError: The connection ended early.
        ValueError: The server sent a web page.
        OSError: Anything else.
    """
    request = Request(url, headers={'User-Agent': 'mkbackbones'})
    with urlopen(request, timeout=PATIENCE) as answer, written_aside(file) as work:
        length = answer.headers.get('Content-Length')
        length = int(length) if length and length.isdigit() else None
        free = shutil.disk_usage(file.parent).free
        if length and length > free:
            raise ValueError(f'it has {length / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free')
        received = 0
        with work.open('wb') as out:
            while data := answer.read(CHUNK):
                if not received and data.lstrip()[:1] == b'<':
                    raise ValueError('the server sends a web page instead of the file')
                out.write(data)
                received += len(data)
                show(file.name, received, length)
        if not received:
            raise EOFError('the server sends nothing')
        if length is not None and received != length:
            raise EOFError(f'the connection ended after {received} of {length} bytes')


def show(name: str, received: int, length: int | None) -> None:
    """The progress, on a terminal."""
    if sys.stderr.isatty():
        share = f' of {length / 1e6:,.0f}' if length else ''
        end = '\n' if received == length else ''
        print(f'\r{name}: {received / 1e6:,.0f}{share} MB', end=end, file=sys.stderr, flush=True)
