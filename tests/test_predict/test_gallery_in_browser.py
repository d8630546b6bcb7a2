"""The gallery in a real browser, as wide as a phone: what a reader picks is what is shown."""

import html
import json
import re
import shutil
import subprocess

import pytest

from mkbackbones.predict.alarms import Alarms
from mkbackbones.predict.gallery import gallery

from .test_gallery import one

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('chrome')
PHONE = 390
LONG = 'a scratch that is longer than a phone is wide and has a name to go with it'
CLASSES = ['a', LONG, 'c']
#: Each choice is made on the page as it was before; what is seen goes into the page around it.
HARNESS = """<!doctype html><body style="margin:0">
<iframe id="phone" style="border:0;width:%(width)dpx;height:2000px" srcdoc="%(page)s"></iframe>
<pre id="found"></pre><script>
window.onload = () => {
  const page = document.getElementById('phone').contentDocument;
  const seen = () => [...page.querySelectorAll('figure')].filter(f => f.offsetHeight)
    .map(f => f.innerText.trim().split(/\\s+/).pop()).join('');
  const found = {width: page.documentElement.scrollWidth, all: seen()};
  for (const ids of %(picks)s) {
    page.querySelector('form').reset();
    for (const id of ids) page.getElementById(id).click();
    found[ids.join('+')] = seen();
  }
  document.getElementById('found').textContent = JSON.stringify(found);
};
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason='no chromium: apt-get install chromium')
def test_picks(tmp_path):
    pictures = [
        one('x', (0, 0.4), (1, 0.95), by_class=(0.4, 0.95, 0)),
        one('w', (2, 0.9), by_class=(0, 0, 0.9)),
        one('z', (1, 0.7), by_class=(0, 0.7, 0)),
        one('y', (0, 0.2), by_class=(0.2, 0, 0)),
        one('v', by_class=(0, 0, 0)),
    ]
    page = gallery(CLASSES, pictures, 0.3, Alarms({'a': 0.1, LONG: 0.8}, CLASSES))
    wanted = {
        'alarm': 'xy',
        'a0': 'xy',
        'a1': 'x',
        'quiet': 'wzv',
        'alarm+s50': 'x',
        'quiet+c2': 'zv',  # a click takes the mark of a class away
        'alarm+none': 'x',
    }
    picks = json.dumps([ids.split('+') for ids in wanted])
    harness = tmp_path / 'harness.html'
    harness.write_text(HARNESS % dict(width=PHONE, page=html.escape(page), picks=picks))
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--dump-dom']
    options += [f'--user-data-dir={tmp_path}/profile', '--virtual-time-budget=10000']
    command = [CHROMIUM, *options, harness.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', done.stdout)[1]))
    assert found == dict(wanted, width=PHONE, all='xwzyv')
