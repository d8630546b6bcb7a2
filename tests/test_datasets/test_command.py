import numpy as np
import pytest

from mkbackbones.commands.prepare_dataset import main

from . import fakes

SMALL = ['--size', '64', '--num-train', '3', '--num-val', '1', '--num-test', '1']


def test_synthetic_prints_its_counts(tmp_path, capsys):
    assert main(['synthetic', '--out', str(tmp_path / 'out'), *SMALL]) == 0
    output = capsys.readouterr().out
    for word in ('train', 'scratch', 'defect-free', '64x64', 'all instances'):
        assert word in output
    assert len(list((tmp_path / 'out/images/train').iterdir())) == 3


def test_an_existing_folder_needs_overwrite(tmp_path, capsys):
    arguments = ['synthetic', '--out', str(tmp_path / 'out'), *SMALL]
    assert main(arguments) == 0
    first = (tmp_path / 'out/images/train/train_000000.png').read_bytes()
    assert main([*arguments, '--seed', '1']) != 0
    assert '--overwrite' in capsys.readouterr().err
    assert (tmp_path / 'out/images/train/train_000000.png').read_bytes() == first
    assert main([*arguments, '--seed', '1', '--overwrite']) == 0
    assert (tmp_path / 'out/images/train/train_000000.png').read_bytes() != first


def test_neu_det(tmp_path, neu_det_zip, capsys):
    assert main(['neu-det', '--src', str(neu_det_zip), '--out', str(tmp_path / 'out')]) == 0
    assert '1260' in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['neu-det', '--src', 'nowhere.zip'], 'nowhere.zip does not exist: give the NEU-DET'),
        (['neu-det', '--src', 'text'], 'text is not a zip file'),
        (['neu-det', '--src', 'empty'], 'empty does not look like NEU-DET'),
        (['neu-seg', '--src', 'nowhere', '--images', 'empty'], 'give the NEU-Seg folder'),
        (['synthetic', '--size', '1'], 'image size 1'),
        (['neu-det', '--src', 'out/src', '--overwrite'], 'lies in the output folder'),
    ],
)
def test_a_bad_source_is_one_sentence(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'text').write_text('hello')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'out/src').mkdir(parents=True)
    before = sorted(tmp_path.rglob('*'))
    assert main([*arguments, '--out', 'out']) != 0
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('name', ['neu-det', 'neu-seg', 'synthetic'])
def test_help_has_an_example(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, '--help'])
    assert stop.value.code == 0
    assert f'prepare-dataset {name}' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['[red]x[/red]', '[/x]', 'a[bold]b', '\\[x]'])
def test_names_with_the_signs_of_markup(tmp_path, capsys, name):
    image = fakes.encode(np.zeros((20, 30), np.uint8), 'PNG')
    files = {'classes.txt': name.encode(), 'a.png': image, 'a.txt': b''}
    fakes.write_tree(tmp_path / 'src', files)
    out = tmp_path / 'out[/b]'
    assert (
        main(['yolo', '--src', str(tmp_path / 'src'), '--out', str(out), '--split', 'random']) == 0
    )
    shown = capsys.readouterr().out
    assert name in shown and 'note: no object in 1 of 1 images' in shown
