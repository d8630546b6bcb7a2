"""Tiny copies of the public sets in their published layout, known faults included.

Each function gives file name -> content.
"""

import io
import json

import numpy as np
from scipy.io import savemat

from ..fakes import encode

SIDE = 32


def image(form='JPEG', shape=(SIDE, SIDE)):
    return encode(np.full(shape, 99, np.uint8), form)


def blob(rows, columns, value=255, shape=(SIDE, SIDE)):
    mask = np.zeros(shape, np.uint8)
    mask[rows, columns] = value
    return mask


BLOB = blob(slice(4, 10), slice(6, 16))
"""A defect with the box (6, 4, 10, 6)."""


def deep_pcb():
    root = 'DeepPCB/PCBData'
    rgb = encode(np.full((SIDE, SIDE, 3), 99, np.uint8), 'JPEG')
    files = {
        # Of the annotation tool; it names files that nobody has.
        'DeepPCB/tools/examples/test.txt': b'/absolute/path/x.jpg /absolute/path/x.txt\n',
        f'{root}/trainval.txt': (
            b'group1/00041/00041000.jpg group1/00041_not/00041000.txt\n'
            b'group2/12000/12000001.jpg group2/12000_not/12000001.txt\n'
        ),
        f'{root}/test.txt': b'group1/00041/00041002.jpg group1/00041_not/00041002.txt\n',
        f'{root}/group1/00041_not/00041000.txt': b'1 2 11 22 3\r\n20 21 30 31 6\n\n',
        f'{root}/group2/12000_not/12000001.txt': b'0,0,32,32,1\n',
        # The second has its corners swapped, the third leaves the image, the fourth is empty.
        f'{root}/group1/00041_not/00041002.txt': (
            b'1 1 5 5 2\n10 12 4 2 4\n20 20 40 30 5\n7 7 7 9 1\n'
        ),
    }
    for name in ('group1/00041/00041000', 'group2/12000/12000001', 'group1/00041/00041002'):
        files[f'{root}/{name}_test.jpg'] = files[f'{root}/{name}_temp.jpg'] = image()
    files[f'{root}/group2/12000/12000001_test.jpg'] = rgb
    return files


def _voc(objects, side=SIDE):
    boxes = ''.join(
        f'<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>'
        f'<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>\n'
        for name, box in objects
    )
    size = f'<size><width>{side}</width><height>{side}</height><depth>1</depth></size>'
    return f'<annotation><folder>x</folder>{size}\n{boxes}</annotation>'.encode()


def gc10_det():
    labels = {
        'img_01_3402617700_00001': [('1_chongkong', (1, 1, 10, 20)), ('10_yaozhed', (5, 6, 8, 9))],
        'img_01_3402617700_00002': [('2_hanfeng', (3, 3, 6, 6)), ('d', (1, 1, 9, 9))],
        'img_02_425000002_00010': [],
        'img_03_425000003_00001': [('9_zhehen', (20, 20, 40, 32))],
        'img_09_000000000_00001': [('8_yahen', (1, 1, 3, 3))],  # has no image
    }
    files = {f'GC10-DET/lable/{stem}.xml': _voc(items) for stem, items in labels.items()}
    dark = encode(np.zeros((SIDE, SIDE), np.uint8), 'JPEG')
    files |= {
        'GC10-DET/1/img_01_3402617700_00001.jpg': image(),
        'GC10-DET/1/img_01_3402617700_00002.jpg': dark,  # belongs in folder 2
        'GC10-DET/2/img_01_3402617700_00002.jpg': image(),
        'GC10-DET/3/img_02_425000002_00010.jpg': image(),
        'GC10-DET/9/img_03_425000003_00001.jpg': image(),
        'GC10-DET/4/img_07_425000003_00009.jpg': image(),  # has no annotation
    }
    return files


def magnetic_tile():
    grey = BLOB // 255 * 200
    grey[4:10, 16] = grey[4:10, 5] = 90  # the soft edge of a JPEG
    masks = {
        'MT_Blowhole/Imgs/exp1_num_100': grey,
        'MT_Blowhole/Imgs/exp2_num_122': grey,
        'MT_Crack/Imgs/exp3_num_5000': grey,
        'MT_Uneven/Imgs/exp3_num_45042': 0 * BLOB,
        'MT_Free/Imgs/exp6_num_140': 0 * BLOB,
    }
    files = {f'set/{name}.png': encode(mask, 'PNG') for name, mask in masks.items()}
    return files | {f'set/{name}.jpg': image() for name in masks}


def kolektor_sdd():
    files = {}
    for part in ('kos01', 'kos02'):
        for surface in range(2):
            bad = part == 'kos02' and surface == 1
            files[f'{part}/Part{surface}.jpg'] = image()
            files[f'{part}/Part{surface}_label.bmp'] = encode(BLOB * bad, 'BMP')
    return files


def kolektor_sdd2():
    files = {}
    for name, bad in (('train/10301', True), ('train/10302', False), ('test/20000', True)):
        files[f'{name}.png'] = image('PNG')
        files[f'{name}_GT.png'] = encode(BLOB * bad, 'PNG')
    files['train/10301 (copy).png'] = files['train/10301.png']
    files['train/10301_GT (copy).png'] = files['train/10301_GT.png']
    return files


def crackforest():
    values = np.ones((SIDE, SIDE), np.uint8)
    values[4:10, 6:16] = 2
    values[20:22, 0:10] = 4
    values[25:31, 25:31] = 3  # ground within cracks
    stream = io.BytesIO()
    truth = np.zeros((1, 1), dtype=[('Segmentation', 'O'), ('Boundaries', 'O')])
    truth[0, 0] = (values, values == 2)
    savemat(stream, dict(groundTruth=truth))
    return {
        'groundTruth/001.mat': stream.getvalue(),
        'image/001.jpg': image(),
        'image/201.jpg': image(),
        'seg/001.seg': b'text',
    }


def mvtec_ad():
    files = {}
    for category in ('bottle', 'cable'):
        files[f'mvtec/{category}/license.txt'] = b'CC'
        files[f'mvtec/{category}/train/good/000.png'] = image('PNG')
        files[f'mvtec/{category}/test/good/000.png'] = image('PNG')
        files[f'mvtec/{category}/test/broken_large/000.png'] = image('PNG')
        files[f'mvtec/{category}/ground_truth/broken_large/000_mask.png'] = encode(BLOB, 'PNG')
    return files


def visa():
    files = {}
    for category in ('candle', 'pcb1'):
        for stem in ('0000', '0001'):
            files[f'VisA/{category}/Data/Images/Normal/{stem}.JPG'] = image()
        for stem in ('000', '001'):
            files[f'VisA/{category}/Data/Images/Anomaly/{stem}.JPG'] = image()
            files[f'VisA/{category}/Data/Masks/Anomaly/{stem}.png'] = encode(BLOB // 255 * 3, 'PNG')
    rows = ['object,split,label,image,mask']
    for category in ('candle', 'pcb1'):
        top = f'{category}/Data'
        for split, stem in (('train', '000'), ('test', '001')):
            image_name, mask_name = (f'{top}/{kind}/Anomaly/{stem}' for kind in ('Images', 'Masks'))
            rows.append(f'{category},{split},anomaly,{image_name}.JPG,{mask_name}.png')
        rows.append(f'{category},train,normal,{top}/Images/Normal/0000.JPG,')
    files['VisA/split_csv/2cls_highshot.csv'] = '\n'.join(rows).encode()
    return files


def severstal():
    shape = (8, 16)
    return {
        # Column-major from 1: rows 2 to 5 of the columns 0 to 2.
        'train.csv': b'ImageId,ClassId,EncodedPixels\na.jpg,3,3 4 11 4 19 4\n',
        'train_images/a.jpg': image(shape=shape),
        'train_images/b.jpg': image(shape=shape),
        'test_images/c.jpg': image(shape=shape),
    }


def severstal_older():
    rows = ['ImageId_ClassId,EncodedPixels']
    for name in 'ab':
        for kind in range(1, 5):
            runs = '3 4 11 4 19 4' if (name, kind) == ('a', 3) else ''
            rows.append(f'{name}.jpg_{kind},{runs}')
    return severstal() | {'train.csv': '\n'.join(rows).encode()}


def dagm():
    files = {}
    for number in (1, 10):
        for split in ('Train', 'Test'):
            top = f'DAGM/Class{number}/{split}'
            files[f'{top}/0001.PNG'] = files[f'{top}/0576.PNG'] = image('PNG')
            files[f'{top}/Label/0576_label.PNG'] = encode(BLOB, 'PNG')
            files[f'{top}/Label/Labels.txt'] = b'1\n0576\t1\t0576.PNG\t0\t0576_label.PNG\n'
    return files


def dagm_original():
    return {
        'Class2/1.png': image('PNG'),
        'Class2_def/1.png': image('PNG'),
        'Class2_def/2.png': image('PNG'),
        'Class2_def/labels.txt': (
            b'1\t8.5e+000\t4.5e+000\t0.0e+000\t1.5e+001\t1.0e+001\n2\t8.5\t4.5\t1.5707963\t15\t10\n'
        ),
    }


def bsdata():
    still, timed = 'KGT1-S-060-A02_crop_0', '01_200905161814_560000_000_crop_2'
    late, bare = '01_200908072205_560000_000_crop_1', '01_200828110014_277500_315_crop_2'
    shape = dict(label='Pitting', shape_type='polygon', points=[[6, 4], [16, 4], [16, 10], [6, 10]])
    label = dict(version='4.5.6', imagePath='x.jpg', imageWidth=SIDE, imageHeight=SIDE)
    files = {
        f'BSData/label/{stem}.json': json.dumps(label | dict(shapes=[shape])).encode()
        for stem in (still, timed, late)
    }
    files |= {f'BSData/data/{stem}.jpg': image() for stem in (still, late, bare)}
    files[f'BSData/data/BSD/test/{timed}.jpg'] = image()
    splits = {still: 'train', timed: 'test', late: 'train', bare: None}
    files['BSData/image_data.json'] = json.dumps(
        dict(
            images=[
                dict(filename=f'{stem}.jpg', train_test_split=split)
                for stem, split in splits.items()
            ]
        )
    ).encode()
    return files
