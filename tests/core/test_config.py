"""Config sections as JSON."""

import pytest

from medjax.core.config import from_json, to_json
from medjax.errors import InputError


def test_config_survives_json():
    config = {'a': {'patch': (3, 4), 'rate': 1e-3, 'none': None}, 'name': 'x'}
    assert from_json(to_json(config)).to_dict() == config
    with pytest.raises(InputError, match='not plain data'):
        to_json({'a': object()})
