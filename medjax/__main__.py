"""Runs a command: `medjax train …` or `python -m medjax train …`, the same as `python -m medjax.train …`."""

import runpy
import sys

COMMANDS = {
    'inspect': 'shows what image files, DICOM folders and tables hold',
    'train': 'trains the experiment that a config describes, evaluates it and draws its report',
    'evaluate': 'evaluates a trained run; compares, averages or merges several',
    'predict': 'predicts for new inputs with a trained run',
    'synthesise': 'draws images with a trained run, as a labelled data set',
    'export': 'writes the network of a run as one file that predicts without medjax',
    'serve': 'predicts over HTTP with a trained run',
    'view': 'shows the evaluated cases of a run in a browser',
    'select': 'selects the images of a pool to annotate next',
    'listen': 'predicts for studies of a DICOM archive as they come, and sends the results back',
    'plan': 'plans the networks for a data set of nnU-Net or the Decathlon, and writes a config',
    'convert': 'converts trained models and splits between nnU-Net and medjax',
    'report': 'draws the report of a run again',
    'response': 'computes treatment response (RECIST 1.1) from a table of visits',
    'bench': 'measures speed side by side with other libraries',
}


def main() -> None:
    """Runs the command that the first argument names, with the others as its own."""
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if name in ('--help', '-h', 'help'):
        print('usage: medjax COMMAND [--FLAG=VALUE …]; `medjax COMMAND --help` lists its flags\n')
        print('\n'.join(f'  {command:11} {text}' for command, text in COMMANDS.items()))
        return
    if name not in COMMANDS:
        print(f'medjax: {name}: no such command; expected one of: {", ".join(COMMANDS)}', file=sys.stderr)
        sys.exit(2)
    sys.argv = [f'medjax {name}', *sys.argv[2:]]
    runpy.run_module(f'medjax.{name}', run_name='__main__', alter_sys=True)


if __name__ == '__main__':
    main()
