"""Traces: windows by hand, scales, pydicom's recording, and what is refused."""

import numpy as np
import pydicom
import pytest

from medjax.data.datasets import signals
from medjax.data.datasets.signals import Recording, dataset
from medjax.data.simulated import ecg, visits
from medjax.data.source import Case, Source
from medjax.errors import InputError


def one(values=None, beats=(5, 30), rate=10.0, split='train', name='a'):
    values = np.arange(80.0).reshape(40, 2) if values is None else values
    trace = Recording(np.asarray(values, float), rate, np.array(beats))
    return Case(id=name, patient=name, split=split, read=lambda: trace)


def of(*cases, **options):
    return dataset(Source(cases=cases, classes=('rest', 'beat')), **options)


def test_windows_have_the_beats_that_are_in_them():
    data = of(one(), window=16, width=0.2)
    for seed in range(5):
        item = data.item(0, np.random.default_rng(seed))
        first = int(np.argmin(np.abs(data.recordings[0].values[:, 0] - item['image'][0, 0])))
        np.testing.assert_allclose(item['image'], data.recordings[0].values[first:first + 16], rtol=1e-6)
        want = [int(min(abs(first + place - 5), abs(first + place - 30)) <= 1) for place in range(16)]
        np.testing.assert_array_equal(item['label'], want)
    assert item['image'].dtype == np.float32 and data.counts == {'train': 1} and len(data) == 1


def test_leads_are_normalised():
    values = np.stack([np.sin(np.arange(400)) * 900 + 50, np.full(400, 3.0)], 1)
    got = signals.normalise_leads(values)
    assert abs(np.median(got[:, 0])) < 0.01 and 0.95 < got[:, 0].max() < 1.05 and not got[:, 1].any()


def test_simulations_are_reproducible_and_have_a_notice():
    first, second, other = (dataset(ecg.source(cases=(2, 1, 1), seed=seed)) for seed in (0, 0, 1))
    assert first.fingerprint == second.fingerprint != other.fingerprint
    assert first.notice.startswith('Simulated ECGs') and 'test_real' not in first.notice
    spans = np.diff(first.recordings[0].beats) / 125
    assert (spans >= 0.34).all() and len(spans) > 5


def test_pydicoms_recording():
    data = dataset(ecg.source(cases=(1, 0, 0), recordings=('pydicom',)))
    trace = data.recordings[-1]
    assert data.source.cases[-1].split == 'test_real' and trace.values.shape == (1250, 12)
    assert 5 < len(trace.beats) < 20 and 'of one person' in data.notice


def test_recordings_that_cannot_be_read(tmp_path):
    (tmp_path / 'no.dcm').write_bytes(b'nothing')
    with pytest.raises(InputError, match=r'no\.dcm: cannot be read as a DICOM waveform'):
        signals.dicom_case(str(tmp_path / 'no.dcm'), 125.0, 12)
    with pytest.raises(InputError, match='gone: cannot be read'):
        signals.dicom_case(str(tmp_path / 'gone'), 125.0, 12)
    with pytest.raises(InputError, match='12 leads at 1000 Hz; expected 3, finite, and at least 125 Hz'):
        signals.dicom_case('pydicom', 125.0, 3)
    with pytest.raises(InputError, match='expected 12, finite, and at least 2000 Hz'):
        signals.dicom_case('pydicom', 2000.0, 12)
    picture = pydicom.Dataset()
    picture.file_meta = pydicom.dataset.FileMetaDataset()
    picture.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    picture.PatientID = 'x'
    picture.save_as(tmp_path / 'picture.dcm', enforce_file_format=False)
    with pytest.raises(InputError, match=r'picture\.dcm: cannot be read'):
        signals.dicom_case(str(tmp_path / 'picture.dcm'), 125.0, 12)


@pytest.mark.parametrize('cases, options, message', [
    ([one()], dict(window=41), 'config.data.window: 41; expected at most 40, the samples of a'),
    ([one()], dict(window=0), 'config.data: window=0, width=0.1; expected at least 1, and above 0'),
    ([one()], dict(window=8, width=0.0), 'width=0.0'),
    ([one(), one(rate=20.0, name='b')], dict(window=8), 'b: 2 leads at 20 Hz; expected 2 at 10 Hz, as a'),
    ([one(), one(np.zeros((40, 3)), name='b')], dict(window=8), 'b: 3 leads at 10 Hz; expected 2 at 10 Hz'),
])
def test_invalid_input_is_refused(cases, options, message):
    with pytest.raises(InputError, match=message):
        of(*cases, **options)


def test_patients_without_traces():
    with pytest.raises(InputError, match='config.data: signals need a source of recordings, such as simulated_ecg'):
        dataset(visits.source(cases=(3, 1, 1)))


def test_recordings_without_a_beat_are_reported():
    assert of(one(), window=16).warnings == []
    data = of(one(beats=()), one(split='test', name='b'), window=16)
    assert data.warnings == ['beat: in none of the 1 training cases; in other splits: test 2.']
