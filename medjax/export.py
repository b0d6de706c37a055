"""Writes the network of a trained run as one file that predicts without medjax, with a model card beside it.

    python -m medjax.export --workdir=RUN --output=model.zip [--precision=int8]
    python -m medjax.export --workdir=RUN --output=model.onnx --format=onnx

`model.zip` has the program, its weights, and a loader of a few lines; `model.json` and `model.md` beside it are the
model card. The program is what the network does with arrays; preprocessing is described in the card.
"""

import io
import json
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medjax import cli

cli.prepare()

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

from medjax import assemble, atomic_files, build, evaluate, outputs, restore  # noqa: E402
from medjax.deploy import model_card, onnx_format, program  # noqa: E402
from medjax.errors import InputError  # noqa: E402
from medjax.tasks.family import of_config  # noqa: E402

FORMATS = {'jax': '.zip', 'onnx': '.onnx'}


def export(workdir: pathlib.Path, output: pathlib.Path, *, format: str = 'jax', precision: str = 'float32',
           measure: bool = True, say: Callable[[str], None] = cli.say) -> dict[str, Any]:
    """Exports a run's network.

    Args:
      workdir: of the trained run.
      output: the file; the card is written beside it, with the endings .json and .md.
      format: 'jax', a zip file for CPUs, GPUs and TPUs, or 'onnx'.
      precision: of the weights: 'float32', 'bfloat16' or 'int8'.
      measure: whether to measure on the run's own test cases what a narrower precision costs.
      say: takes lines for the console.

    Returns:
      The content of the model card.

    Raises:
      InputError: the run cannot be exported, or a file would be overwritten that is not an earlier export.
    """
    if format not in FORMATS or output.suffix != FORMATS[format]:
        raise InputError(f'--format={format} --output={output}; expected a file with the ending of its format: '
                         f'{", ".join(f"{name} {ending}" for name, ending in FORMATS.items())}')
    if format == 'onnx' and precision != 'float32':
        raise InputError(f'--format=onnx --precision={precision}; expected float32: only --format=jax has others')
    files = [output, output.with_suffix('.json'), output.with_suffix('.md')]
    outputs.check_outputs(files, outputs.run_files(workdir), f'--output={output}')
    config = build.plain(restore.load(workdir))
    of_config(config).check('export')
    run = restore.restore(workdir)
    stored, example = program.store(run.variables, precision), run.predictor.example()
    predict = run.predictor.program or run.task.predict
    results, record = (atomic_files.read_optional_json(workdir / name) for name in ('results.json', 'environment.json'))
    about = {'format': format, 'precision': precision}
    if format == 'jax':
        traced = program.trace(predict, stored, example)
        card = model_card.card(config, run, stored, traced.inputs, traced.outputs, results, record,
                               {**about, 'platforms': program.PLATFORMS})
    else:
        model, inputs, found = onnx_format.convert(predict, stored, example)
        card = model_card.card(config, run, stored, inputs, found, results, record, about)
    if precision != 'float32' and measure:
        card['precision_cost'] = _cost(workdir, program.restore(stored), results)
    if format == 'jax':
        atomic_files.write_bytes(output, _archive(traced, stored, card), private=True)
    else:
        onnx_format.describe(model, card)
        atomic_files.write_bytes(output, model.SerializeToString(), private=True)
    atomic_files.write_json(files[1], card)
    atomic_files.write_text(files[2], model_card.markdown(card, output.stem))
    size = output.stat().st_size / 1e6
    say(f'{output}: {card["family"]}, weights of step {run.step} in {precision}, {size:.1f} MB; inputs '
        + ', '.join(f'{name} [{", ".join(of["shape"])}]' for name, of in card['inputs'].items()))
    for name, of in card.get('precision_cost', {}).items():
        say(f'{name}: {of["float32"]:.4f} in float32, {of["rounded"]:.4f} in {precision} (n = {of["n"]})')
    return card


def _archive(traced: program.Program, stored: Mapping[str, np.ndarray], card: Mapping[str, Any]) -> bytes:
    """The exported file: a zip archive of the program, the weights, the card and the loader."""
    weights, content = io.BytesIO(), io.BytesIO()
    np.savez(weights, **stored)
    loader = pathlib.Path(program.__file__).with_name('loader.py').read_text()
    parts = {'program.jax': bytes(traced.exported.serialize()), 'weights.npz': weights.getvalue(),
             'model.json': json.dumps(card, indent=1, default=str).encode(), 'load.py': loader.encode()}
    with zipfile.ZipFile(content, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return content.getvalue()


def _cost(workdir: pathlib.Path, variables: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """The headline metrics of the test cases with rounded weights beside those of the run."""
    if 'test' not in results:
        raise InputError(f'{workdir}: no results of test cases to compare the precision with; expected an evaluated '
                         'run, or --nomeasure')
    config, experiment = assemble.of_run(workdir)
    rounded = evaluate.measure(config, experiment, workdir, variables)
    return model_card.cost(results, rounded, of_config(config).metrics)


def main(_: Sequence[str]) -> None:
    """Reads the flags and exports."""
    export(pathlib.Path(WORKDIR.value).resolve(), pathlib.Path(OUTPUT.value), format=FORMAT.value,
           precision=PRECISION.value, measure=MEASURE.value)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The trained run.')
    OUTPUT = flags.DEFINE_string('output', None, 'The file to write: .zip, or .onnx.')
    FORMAT = flags.DEFINE_enum('format', 'jax', list(FORMATS), 'A program of JAX, or a model of ONNX.')
    PRECISION = flags.DEFINE_enum('precision', 'float32', list(program.PRECISIONS), 'Of the weights.')
    MEASURE = flags.DEFINE_bool('measure', True, 'Measure on the test cases what a narrower precision costs.')
    flags.mark_flags_as_required(['workdir', 'output'])
    cli.run(main)
