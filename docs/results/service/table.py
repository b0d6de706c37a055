"""Renders the measurements of `medjax.bench.service` in this folder as tables of the page on the service."""

import json
import pathlib

from medjax.bench import service

FOLDER = pathlib.Path(__file__).parent


def markdown() -> str:
    """A table for each measurement, with what was served and where."""
    parts = []
    for path in sorted(FOLDER.glob('*.json')):
        found = json.loads(path.read_text(encoding='utf-8'))
        options = f', `{" ".join(found["options"])}`' if found['options'] else ''
        parts.append(f'{found["title"]}: {found["service"]}{options}; uploads of {found["upload_kb"]:g} kB; '
                     f'{found["processor"]}, {found["cores"]} cores, which other work shared (load '
                     f'{found["load_before"]:g} before).\n\n{service.table(found)}')
    return '\n\n'.join(parts)
