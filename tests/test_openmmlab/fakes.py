"""Installations of OpenMMLab that are no more than names: metadata and empty modules."""

from pathlib import Path

MODULE = {
    'mmengine': 'mmengine',
    'onedl-mmengine': 'mmengine',
    'mmcv': 'mmcv',
    'mmcv-lite': 'mmcv',
    'onedl-mmcv': 'mmcv',
    'mmdet': 'mmdet',
    'onedl-mmdetection': 'mmdet',
    'mmsegmentation': 'mmseg',
    'onedl-mmsegmentation': 'mmseg',
}
ORIGINAL = {'mmengine': '0.10.7', 'mmcv-lite': '2.1.0', 'mmdet': '3.3.0', 'mmsegmentation': '1.2.2'}
MAINTAINED = {
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmdetection': '3.5.1',
    'onedl-mmsegmentation': '1.4.2',
}
#: How mmdet 3.3 and mmseg 1.2 write down what they take.
LIMITS = {
    'mmdet': "mmcv_minimum_version = '2.0.0rc4'\nmmcv_maximum_version = '2.2.0'\n"
    "mmengine_minimum_version = '0.7.1'\nmmengine_maximum_version = '1.0.0'\n",
    'mmsegmentation': "MMCV_MIN = '2.0.0rc4'\nMMCV_MAX = '2.2.0'\n",
}


def install(site: Path, distributions: dict[str, str], **files: str) -> str:
    """Put distributions into a folder, the later ones over the earlier ones; return the folder.

    Args:
        files (str): Text of further files of each module, by name without its ending.
    """
    for name, version in distributions.items():
        module = MODULE[name]
        contents = {
            '__init__': LIMITS.get(name, ''),
            'version': f"__version__ = '{version}'\n",
            'more': '',
            **files,
        }
        (site / module).mkdir(parents=True, exist_ok=True)
        for file, text in contents.items():
            (site / module / f'{file}.py').write_text(text, encoding='utf-8')
        about = site / f'{name.replace("-", "_")}-{version}.dist-info'
        about.mkdir()
        (about / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n', encoding='utf-8'
        )
        record = ''.join(f'{module}/{file}.py,,\n' for file in contents)
        (about / 'RECORD').write_text(record, encoding='utf-8')
    return str(site)


def uninstall(site: Path, *names: str) -> None:
    """Do what pip does: delete the files that the distribution has recorded, and its metadata."""
    for name in names:
        (about,) = site.glob(f'{name.replace("-", "_")}-[0-9]*.dist-info')
        for line in (about / 'RECORD').read_text(encoding='utf-8').splitlines():
            (site / line.partition(',')[0]).unlink(missing_ok=True)
        for file in about.iterdir():
            file.unlink()
        about.rmdir()
