"""The report in a real browser, as wide as a phone."""

import html
import json
import re
import shutil
import subprocess

import pytest

from mkbackbones.study.report import write_report

from ..fake import ARMS, FakeStudy

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('chrome')
PHONE = 390
# Everything is unfolded; what is measured goes into the page around the report.
HARNESS = """<!doctype html><body style="margin:0">
<iframe id="phone" style="border:0;width:%(width)dpx;height:2000px" srcdoc="%(page)s"></iframe>
<pre id="found"></pre><script>
window.onload = () => {
  const page = document.getElementById('phone').contentDocument;
  page.querySelectorAll('details').forEach(d => { d.open = true; });
  const clipped = [];
  page.querySelectorAll('svg').forEach(svg => {
    const frame = svg.getBoundingClientRect();
    svg.querySelectorAll('[id*="-text_"], [id*="-legend_"]').forEach(text => {
      const box = text.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1 ||
          box.top < frame.top - 1 || box.bottom > frame.bottom + 1) {
        clipped.push(svg.getAttribute('aria-label') + ': ' + text.id);
      }
    });
  });
  const figures = [...page.querySelectorAll('figure svg, figure img')];
  document.getElementById('found').textContent = JSON.stringify({
    width: page.documentElement.scrollWidth,
    first: page.querySelector('p').innerText,
    requests: page.defaultView.performance.getEntriesByType('resource').map(e => e.name)
      .filter(name => !name.startsWith('data:')),
    narrowest: Math.min(...figures.map(f => f.getBoundingClientRect().width)),
    flat: figures.filter(f => f.getBoundingClientRect().height < 60).length,
    clipped: clipped,
  });
};
</script>"""


def look_at(page, folder, width=PHONE):
    """What a browser says of a page."""
    harness = folder / 'harness.html'
    harness.write_text(HARNESS % {'width': width, 'page': html.escape(page.read_text())})
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--dump-dom']
    options += [f'--user-data-dir={folder}/profile', '--virtual-time-budget=10000']
    command = [CHROMIUM, *options, harness.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', done.stdout)[1]))


@pytest.mark.skipif(CHROMIUM is None, reason='no chromium: apt-get install chromium')
@pytest.mark.parametrize(
    ('arms', 'tasks', 'seeds'),
    [(2, ['segmentation'], 1), (5, ['classification', 'detection'], 3)],
    ids=['small', 'large'],
)
def test_report_on_a_phone(tmp_path, monkeypatch, arms, tasks, seeds):
    long = 'SpatialK, 16 charts, every block but the last'
    monkeypatch.setitem(ARMS, 'spatial', (long, 'candidate'))
    files = write_report(FakeStudy(tmp_path, arms, tasks, seeds, images=10).run_all())
    found = look_at(files.page, tmp_path)
    assert found['width'] == PHONE
    assert found['requests'] == []
    assert found['narrowest'] > 300 and found['flat'] == 0
    assert found['clipped'] == []
    assert f'{long} against stock key' in found['first']
    assert found['first'].startswith('One seed, so no verdict.') == (seeds == 1)
