"""MedMNIST v2 and its larger sizes (Yang 2023): twelve sets of 2D images and six of volumes, with their own splits."""

import functools
import hashlib
import pathlib
import urllib.error
import urllib.request
from typing import Literal, NamedTuple

from tqdm import tqdm

from medjax import atomic_files
from medjax.data.io import medmnist_files
from medjax.data.source import SPLITS, UNKNOWN_PATIENTS, Case, Source, data_dir
from medjax.data.splits import CrossValidation
from medjax.errors import InputError
from medjax.options import NonNegativeInt

ADDRESS = 'https://zenodo.org/records/10519652/files/{}?download=1'


class Set(NamedTuple):
    """A set: its problem, its classes, and the MD5 of its file at each size."""

    problem: str
    classes: tuple[str, ...]
    md5: dict[int, str]


ORGANS = ('bladder', 'femur-left', 'femur-right', 'heart', 'kidney-left', 'kidney-right', 'liver', 'lung-left',
          'lung-right', 'pancreas', 'spleen')
SETS = {
    'pathmnist': Set('multiclass', ('adipose', 'background', 'debris', 'lymphocytes', 'mucus', 'smooth muscle',
        'normal colon mucosa', 'cancer-associated stroma', 'colorectal adenocarcinoma epithelium'),
        {28: 'a8b06965200029087d5bd730944a56c1', 64: '55aa9c1e0525abe5a6b9d8343a507616',
         128: 'ac42d08fb904d92c244187169d1fd1d9', 224: '2c51a510bcdc9cf8ddb2af93af1eadec'}),
    'chestmnist': Set('multilabel', ('atelectasis', 'cardiomegaly', 'effusion', 'infiltration', 'mass', 'nodule',
        'pneumonia', 'pneumothorax', 'consolidation', 'edema', 'emphysema', 'fibrosis', 'pleural', 'hernia'),
        {28: '02c8a6516a18b556561a56cbdd36c4a8', 64: '9de6cd0b934ebb5b7426cfba5efbae16',
         128: 'db107e5590b27930b62dbaf558aebee3', 224: '45bd33e6f06c3e8cdb481c74a89152aa'}),
    'dermamnist': Set('multiclass', ('actinic keratoses and intraepithelial carcinoma', 'basal cell carcinoma',
        'benign keratosis-like lesions', 'dermatofibroma', 'melanoma', 'melanocytic nevi', 'vascular lesions'),
        {28: '0744692d530f8e62ec473284d019b0c7', 64: 'b70a2f5635c6199aeaa28c31d7202e1f',
         128: '2defd784463fa5243564e855ed717de1', 224: '8974907d8e169bef5f5b96bc506ae45d'}),
    'octmnist': Set('multiclass', ('choroidal neovascularization', 'diabetic macular edema', 'drusen', 'normal'),
        {28: 'c68d92d5b585d8d81f7112f81e2d0842', 64: 'e229e9440236b774d9f0dfef9d07bdaf',
         128: '0a97e76651ace45c5d943ee3f65b63ae', 224: 'abc493b6d529d5de7569faaef2773ba3'}),
    'pneumoniamnist': Set('binary', ('normal', 'pneumonia'),
        {28: '28209eda62fecd6e6a2d98b1501bb15f', 64: '8f4eceb4ccffa70c672198ea285246c6',
         128: '05b46931834c231683c68f40c47b2971', 224: 'd6a3c71de1b945ea11211b03746c1fe1'}),
    'retinamnist': Set('ordinal', ('grade 0', 'grade 1', 'grade 2', 'grade 3', 'grade 4'),
        {28: 'bd4c0672f1bba3e3a89f0e4e876791e4', 64: 'afda852cc34dcda56f86ad2b2457dbcc',
         128: 'e48e916a24454daf90583d4e6efb1a18', 224: 'eae7e3b6f3fcbda4ae613ebdcbe35348'}),
    'breastmnist': Set('binary', ('malignant', 'normal, benign'),
        {28: '750601b1f35ba3300ea97c75c52ff8f6', 64: '742edef2a1fd1524b2efff4bd7ba9364',
         128: '363e4b3f8d712e9b5de15470a2aaadf1', 224: 'b56378a6eefa9fed602bb16d192d4c8b'}),
    'bloodmnist': Set('multiclass', ('basophil', 'eosinophil', 'erythroblast', 'immature granulocytes', 'lymphocyte',
        'monocyte', 'neutrophil', 'platelet'),
        {28: '7053d0359d879ad8a5505303e11de1dc', 64: '2b94928a2ae4916078ca51e05b6b800b',
         128: 'adace1e0ed228fccda1f39692059dd4c', 224: 'b718ff6835fcbdb22ba9eacccd7b2601'}),
    'tissuemnist': Set('multiclass', ('Collecting Duct, Connecting Tubule', 'Distal Convoluted Tubule',
        'Glomerular endothelial cells', 'Interstitial endothelial cells', 'Leukocytes', 'Podocytes',
        'Proximal Tubule Segments', 'Thick Ascending Limb'),
        {28: 'ebe78ee8b05294063de985d821c1c34b', 64: '123ece2eba09d0aa5d698fda57103344',
         128: '61b955355d7425a89687b06cca3ce0c2', 224: 'b077128c4a949f0a4eb01517f9037b9c'}),
    'organamnist': Set('multiclass', ORGANS,
        {28: '68e3f8846a6bd62f0c9bf841c0d9eacc', 64: '2dcccc29b88e6da5a01161ef20cda288',
         128: 'eeae80d0a227a8d099027e1b3cfd3b60', 224: '50747347e05c87dd3aaf92c49f9f3170'}),
    'organcmnist': Set('multiclass', ORGANS,
        {28: 'b9ceb9546e10131b32923c5bbeaea2b1', 64: '3ce34a8724ea6f548e6db4744d03b6a9',
         128: '773c1f009daa3fe5d9a2a201b2a7ed94', 224: '050f5e875dc056f6768abf94ec9995d1'}),
    'organsmnist': Set('multiclass', ORGANS,
        {28: '9ab87b696fb54e2a387ebe992d6ed5f1', 64: '53a6d115339d874c25e309a994ff46d3',
         128: 'ded0c5fa01a95dc4978b956f613e9b8e', 224: 'b354719e553fbbb2513d5533f52a4cb1'}),
    'organmnist3d': Set('multiclass', ('liver', 'kidney-right', 'kidney-left', 'femur-right', 'femur-left', 'bladder',
        'heart', 'lung-right', 'lung-left', 'spleen', 'pancreas'),
        {28: 'a0c5a1ff56af4f155c46d46fbb45a2fe', 64: '58a2205adf14a9d0a189cb06dc78bf10'}),
    'nodulemnist3d': Set('binary', ('benign', 'malignant'),
        {28: '8755a7e9e05a4d9ce80a24c3e7a256f3', 64: 'c47c5b7d457bf6332200d2ea6d64ecd8'}),
    'adrenalmnist3d': Set('binary', ('normal', 'hyperplasia'),
        {28: 'bbd3c5a5576322bc4cdfea780653b1ce', 64: '17721accfe9fb005146a47d33bc54b2f'}),
    'fracturemnist3d': Set('multiclass', ('buckle rib fracture', 'nondisplaced rib fracture', 'displaced rib fracture'),
        {28: '6aa7b0143a6b42da40027a9dda61302f', 64: 'f01d7e6316aedf4210da0da5b7437b42'}),
    'vesselmnist3d': Set('binary', ('vessel', 'aneurysm'),
        {28: 'b41fd4f7e7e2feedddb201585ecafa1b', 64: '6bb274a8846e1097066dcd64e2c4520f'}),
    'synapsemnist3d': Set('binary', ('inhibitory synapse', 'excitatory synapse'),
        {28: '1235b78a3cd6280881dd7850a78eadb6', 64: '43bd14ebf3af9d3dd072446fedc14d5e'}),
}
REVERSED = ('breastmnist',)  # label 0 is the malignant class: the classes are reversed, so the positive one is last
NOTICE = ('{name} (MedMNIST v2, {licence}): small images of {size} pixels, for comparing methods and not for '
          'clinical use. ' + UNKNOWN_PATIENTS)


def source(*, dataset: str, size: Literal[28, 64, 128, 224] = 28, dir: str = '',
           cross_validation: CrossValidation = CrossValidation(), split_seed: NonNegativeInt = 0) -> Source:
    """A classification source of a MedMNIST set with its own split; a missing file is downloaded and checked.

    Args:
      dataset: its name, such as 'pneumoniamnist'.
      size: pixels along each axis: 28, 64, 128 or 224; of volumes 28 or 64.
      dir: the folder of the files; by default as `data_dir` says, or medjax's folder in the user's cache.
      cross_validation: replaces the set's split by folds, stratified by class.
      split_seed: seed of the assignment to folds.

    Raises:
      InputError: an unknown set or size; a damaged file; no network where the file has to be downloaded.
    """
    if dataset not in SETS:
        raise InputError(f'config.data.source.dataset: {dataset!r}; expected one of: {", ".join(SETS)}')
    known = SETS[dataset]
    if size not in known.md5:
        raise InputError(f'config.data.source.size: {size}; expected one of {tuple(known.md5)} for {dataset}')
    path = _find(dir, f'{dataset}.npz' if size == 28 else f'{dataset}_{size}.npz', known.md5[size])
    cases = [case for split in SPLITS for case in _cases(path, split, known, dataset in REVERSED)]
    cases = cross_validation.resplit(cases, split_seed)
    licence, dims = 'CC BY-NC 4.0' if dataset == 'dermamnist' else 'CC BY 4.0', 3 if dataset.endswith('3d') else 2
    return Source(cases=tuple(cases), classes=known.classes[::-1] if dataset in REVERSED else known.classes,
                  problem=known.problem, least_classes=1 if known.problem == 'multilabel' else 2,
                  analysis_unit='image',
                  notice=NOTICE.format(name=dataset, licence=licence, size='×'.join([str(size)] * dims)))


def _cases(path: pathlib.Path, split: str, known: Set, reverse: bool) -> list[Case]:
    """The cases of a split; `reverse` numbers the classes from the last to the first."""
    multilabel = known.problem == 'multilabel'
    highest = 1 if multilabel else len(known.classes) - 1
    labels = medmnist_files.read_labels(str(path), split, len(known.classes) if multilabel else 1, highest)
    cases = []
    for number, label in enumerate(labels.tolist()):
        target = tuple(label) if multilabel else int(label[0])
        if reverse:
            target = highest - target
        name = f'{split}{number:06d}'
        read = functools.partial(medmnist_files.read_image, str(path), split, number)
        cases.append(Case(id=name, patient=name, split=split, target=target, files=(str(path),),
                          how=f'{split} {number}', read=read))
    return cases


def _find(folder: str, name: str, md5: str) -> pathlib.Path:
    """The path of a file in the data folder, or in medjax's folder in the user's cache, downloaded if missing."""
    cache = pathlib.Path('~/.cache/medjax/data').expanduser()
    try:
        path = data_dir(folder) / name
        if path.is_file():
            return path
    except InputError:
        if folder:
            raise
    path = cache / name
    if not path.is_file():
        _download(ADDRESS.format(name), path, md5)
    return path


def _download(address: str, path: pathlib.Path, md5: str) -> None:
    """Downloads a file, checks its MD5, and moves it to its path."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with atomic_files.replacing(path) as out, urllib.request.urlopen(address, timeout=30) as answer, tqdm(
                total=int(answer.headers.get('Content-Length') or 0) or None, unit='B', unit_scale=True,
                desc=path.name) as bar:
            while block := answer.read(2**20):
                out.write(block)
                digest.update(block)
                bar.update(len(block))
            if digest.hexdigest() != md5:
                raise InputError(f'{address}: the file\'s MD5 is {digest.hexdigest()}; expected {md5}: try again')
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise InputError(f'{path}: missing, and cannot be downloaded from {address}: {error}; expected the file there, '
                         'or in MEDJAX_DATA_DIR') from error
