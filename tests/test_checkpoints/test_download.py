"""Downloads are kept by URL and only whole; what goes wrong is told in a sentence."""

import http.server
import io
import threading
import time

import pytest
import torch

from mkbackbones.checkpoints import CheckpointError, read_source
from mkbackbones.checkpoints.download import cached_file, quoted


def weights(seed):
    file = io.BytesIO()
    torch.save({'weight': torch.full((1000,), float(seed))}, file)
    return file.getvalue()


class Server:
    """Answers paths as told: a list of (status, body, bytes that are sent, seconds before)."""

    def __init__(self):
        self.answers, self.asked = {}, []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append(self.path)
                answers = server.answers[self.path]
                status, body, sent, wait = answers.pop(0) if len(answers) > 1 else answers[0]
                time.sleep(wait)
                self.send_response(status)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body[:sent])

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.http.server_port}'
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def give(self, path, body, status=200, sent=None, wait=0.0):
        self.answers.setdefault(path, []).append((status, body, sent, wait))
        return self.url + path


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr('mkbackbones.checkpoints.download.PAUSE', 0.0)
    found = Server()
    yield found
    found.http.shutdown()


def value(url):
    return float(read_source(url)['weight'][0])


def leftovers(tmp_path):
    return [path for path in (tmp_path / 'torch').rglob('*') if path.is_file()]


def test_two_urls_that_end_alike_are_two_files(server):
    first = server.give('/a/resolve/main/model.safetensors.pth', weights(1))
    second = server.give('/b/resolve/main/model.safetensors.pth', weights(2))
    assert (value(first), value(second), value(first)) == (1, 2, 1)
    assert len(server.asked) == 2  # the third came from the cache


def test_a_query_is_part_of_the_url(server):
    first = server.give('/model.pth?version=1', weights(1))
    second = server.give('/model.pth?version=2', weights(2))
    assert (value(first), value(second)) == (1, 2)


@pytest.mark.parametrize('share', [0.0, 0.5])
def test_what_is_cut_off_is_tried_again_and_not_kept(server, tmp_path, share):
    data = weights(1)
    url = server.give('/model.pth', data, sent=int(share * len(data)))
    with pytest.raises(CheckpointError, match=r'cannot be downloaded: .*(of|nothing)'):
        value(url)
    assert len(server.asked) == 3 and not leftovers(tmp_path)
    server.answers.clear()
    server.give('/model.pth', data, sent=10)
    server.give('/model.pth', data)
    assert value(url) == 1


def test_a_web_page_is_not_kept(server, tmp_path):
    url = server.give('/model.pth', b'\n <!DOCTYPE html><p>Log in')
    with pytest.raises(CheckpointError, match='sends a web page'):
        value(url)
    assert len(server.asked) == 1 and not leftovers(tmp_path)


def test_servers_that_are_busy_are_asked_again_and_others_not(server):
    url = server.give('/model.pth', b'', status=503)
    server.give('/model.pth', weights(3))
    assert value(url) == 3
    gone = server.give('/gone.pth', b'', status=404)
    with pytest.raises(CheckpointError, match='the server answers 404'):
        value(gone)
    assert server.asked.count('/gone.pth') == 1


def test_a_silent_server_is_given_up(server, monkeypatch):
    monkeypatch.setattr('mkbackbones.checkpoints.download.PATIENCE', 0.2)
    url = server.give('/slow.pth', weights(1), wait=1.0)
    with pytest.raises(CheckpointError, match='timed out'):
        value(url)


@pytest.mark.parametrize(
    'url',
    ['http://127.0.0.1:9/my file.pth', 'http://', 'http:///x.pth', 'https://[::1/x.pth',
     'http://host:port/x.pth', 'http://a b/x.pth'],
)  # fmt: skip
def test_bad_urls_are_told_in_a_sentence(url, monkeypatch):
    monkeypatch.setenv('no_proxy', '*')
    with pytest.raises(CheckpointError) as caught:
        read_source(url)
    assert '\n' not in str(caught.value)


def test_names_in_the_cache_are_names_of_files():
    names = {
        cached_file(quoted(url)).name
        for url in ('http://h/a.pth', 'http://h/b/a.pth', 'http://h/', 'http://h/%2e%2e/%2Fx y.pth')
    }
    assert len(names) == 4
    assert all('/' not in name and ' ' not in name and len(name) < 130 for name in names)
