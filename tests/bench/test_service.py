"""The load of a service: requests are shared by the clients, and those without an answer are counted."""

import http.server
import threading

from medjax.bench import service


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers every third request with 503, and keeps what was sent."""

    protocol_version, seen = 'HTTP/1.1', []

    def do_POST(self):
        self.seen.append(self.rfile.read(int(self.headers['Content-Length'])))
        self.send_response(503 if len(self.seen) % 3 == 0 else 200)
        self.send_header('Content-Length', '2')
        self.end_headers()
        self.wfile.write(b'ok')

    def log_message(self, *_):
        pass


def test_requests_are_shared_by_the_clients_and_the_lost_are_counted(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'pixels')
    body = service.form(tmp_path / 'a.png')
    assert body.count(b'--medjax-bench') == 2 and b'filename="a.png"\r\n\r\npixels\r\n--' in body
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = service.measure(server.server_port, body, 4, 10)
        server.shutdown()
    assert Answer.seen == [body] * 10
    assert (found['clients'], found['requests'], found['lost']) == (4, 10, 3)
    assert 0 < found['p50_ms'] <= found['p99_ms'] and found['per_s'] > 0


def test_numbers_of_clients_take_turns(monkeypatch):
    """With a service that becomes slower and slower the medians are those of the middle round."""
    order, rate, used = [], iter(range(90, 0, -10)), iter([0, 1, 1, 3, 3, 6, 6, 7, 7, 9, 9, 12, 12, 13, 13, 15, 15, 18])

    def measure(port, body, clients, requests):
        order.append(clients)
        return {'clients': clients, 'requests': requests, 'lost': 1, 'per_s': next(rate), 'p50_ms': 5.0, 'p99_ms': 9.0}
    monkeypatch.setattr(service, 'measure', measure)
    monkeypatch.setattr(service, 'processor_seconds', lambda process: next(used))
    rows = service.measure_rounds(1, 2, b'', (1, 4, 16), 10)
    assert order == [1, 4, 16] * 3 and [row['per_s'] for row in rows] == [60, 50, 40]
    assert [row['cpu_ms'] for row in rows] == [100, 200, 300] and {row['lost'] for row in rows} == {3}
    assert [row['requests'] for row in rows] == [30] * 3
