"""Measures the service of a run under load: throughput and latency with several clients at once.

    python -m medjax.bench.service --workdir=RUN --input=FILE --requests=200 --output=FILE.json

The service is a process of its own. The clients are threads of this process, each of which
sends the file, reads the answer and sends it again, on a connection that stays open. A request without an answer 200 is
lost.
"""

import concurrent.futures
import http.client
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from medjax import atomic_files, cli
from medjax.errors import InputError
from medjax.machine import cores, processor

CLIENTS = (1, 4, 16)
ROUNDS = 3  # in which the numbers of clients take turns: other work on the machine then slows each of them alike
BOUNDARY = 'medjax-bench'
HEADERS = {'Content-Type': f'multipart/form-data; boundary={BOUNDARY}', 'Accept': 'application/zip'}


def form(path: pathlib.Path) -> bytes:
    """The body of a request with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'
    return head.encode() + path.read_bytes() + f'\r\n--{BOUNDARY}--\r\n'.encode()


def measure(port: int, body: bytes, clients: int, requests: int) -> dict[str, Any]:
    """Throughput and latencies of a number of requests, shared by clients.

    Args:
      port: of the service, on loopback.
      body: of each request.
      clients: that send at once.
      requests: by all clients together.

    Returns:
      `clients`, `requests`, `lost`, `per_s`, and percentiles of the time of a request, `p50_ms` and `p99_ms`.
    """
    def client(count: int) -> Iterator[tuple[float, bool]]:
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=600)
        for _ in range(count):
            began = time.perf_counter()
            connection.request('POST', '/predict', body, HEADERS)
            answer = connection.getresponse()
            answer.read()
            yield time.perf_counter() - began, answer.status == 200
        connection.close()

    shares = [requests // clients + (number < requests % clients) for number in range(clients)]
    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as threads:
        found = [one for part in threads.map(lambda count: list(client(count)), shares) for one in part]
    seconds = time.perf_counter() - began
    p50, p99 = np.percentile([1000 * taken for taken, _ in found], (50, 99))
    return {'clients': clients, 'requests': requests, 'lost': requests - sum(answered for _, answered in found),
            'per_s': requests / seconds, 'p50_ms': float(p50), 'p99_ms': float(p99)}


def processor_seconds(process: int) -> float:
    """The time that processors have worked for a process, which other work does not change as it does latencies."""
    fields = pathlib.Path(f'/proc/{process}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def measure_rounds(port: int, process: int, body: bytes, clients: Sequence[int], requests: int) -> list[dict[str, Any]]:
    """For each number of clients the medians over `ROUNDS`, with `cpu_ms`, the processor time of a request.

    Args:
      port: of the service.
      process: its number.
      body: of each request.
      clients: numbers of clients.
      requests: for each number of clients in each round.
    """
    rounds: dict[int, list[dict[str, Any]]] = {count: [] for count in clients}
    for _ in range(ROUNDS):
        for count, rows in rounds.items():
            began = processor_seconds(process)
            row = measure(port, body, count, requests)
            rows.append({**row, 'cpu_ms': 1000 * (processor_seconds(process) - began) / requests})
    return [{**{key: float(np.median([row[key] for row in rows])) for key in rows[0]}, 'clients': count,
             'requests': ROUNDS * requests, 'lost': sum(row['lost'] for row in rows)} for count, rows in rounds.items()]


def measure_service(workdir: pathlib.Path, path: pathlib.Path, requests: int, options: Sequence[str] = (),
                    clients: Sequence[int] = CLIENTS, title: str = '') -> dict[str, Any]:
    """Starts the service of a run and measures it.

    Args:
      workdir: of the trained run.
      path: the file that all requests send.
      requests: for each number of clients in each of `ROUNDS`.
      options: of the service's command.
      clients: numbers of clients.
      title: of the result; by default the run's folder.

    Raises:
      InputError: the service does not start.
    """
    command = [sys.executable, '-m', 'medjax.serve', f'--workdir={workdir}', '--port=0', f'--queue={max(clients)}',
               *options]
    load = os.getloadavg()[0]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            lines = iter(process.stdout or ())
            ready = next((line for line in lines if 'ready: ' in line), '')
            if not ready:
                raise InputError(f'--workdir={workdir}: the service ended with code {process.wait()}; expected it to '
                                 'start: run it by itself')
            port, body = int(re.findall(r':(\d+) ', ready)[0]), form(path)
            drain = concurrent.futures.ThreadPoolExecutor(1)
            drain.submit(list, lines)  # a full pipe would stop the service
            measure(port, body, 1, 2)
            rows = measure_rounds(port, process.pid, body, clients, requests)
        finally:
            process.terminate()
        drain.shutdown()
    return {'title': title or workdir.name, 'service': ready.split('   ')[1].strip(), 'options': list(options),
            'upload_kb': round(path.stat().st_size / 1000, 1),
            'processor': processor(), 'cores': cores(), 'load_before': round(load, 1),
            'rows': rows}


def table(found: Mapping[str, Any]) -> str:
    """The result as a table in Markdown."""
    lines = ['| Clients | Requests | Lost | Requests/s | p50 | p99 | Processor time |',
             '| --- | --- | --- | --- | --- | --- | --- |']
    for row in found['rows']:
        processor_time = f'{row["cpu_ms"]:.0f} ms' if 'cpu_ms' in row else 'not measured'
        lines.append(f'| {row["clients"]} | {row["requests"]} | {row["lost"]} | {row["per_s"]:.3g} | '
                     f'{row["p50_ms"]:.0f} ms | {row["p99_ms"]:.0f} ms | {processor_time} |')
    return '\n'.join(lines)


def main(_: Sequence[str]) -> None:
    """Reads the flags and measures."""
    found = measure_service(pathlib.Path(WORKDIR.value), pathlib.Path(INPUT.value), REQUESTS.value, OPTIONS.value,
                            title=TITLE.value)
    cli.say(table(found))
    if OUTPUT.value:
        atomic_files.write_json(pathlib.Path(OUTPUT.value), found)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The trained run.')
    INPUT = flags.DEFINE_string('input', None, 'The file that every request sends.')
    REQUESTS = flags.DEFINE_integer('requests', 200, 'For each number of clients in each of three rounds.', 16)
    OPTIONS = flags.DEFINE_multi_string('option', [], 'An option of the service, such as --option=--batch=16.')
    TITLE = flags.DEFINE_string('title', '', 'Of the result; by default the name of the run\'s folder.')
    OUTPUT = flags.DEFINE_string('output', '', 'A JSON file for the result.')
    flags.mark_flags_as_required(['workdir', 'input'])
    cli.run(main)
