"""A headless Chromium that a test directs, by its protocol for tools over pipes."""

import base64
import contextlib
import io
import json
import os
import subprocess
import time

import numpy as np
from PIL import Image

FLAGS = ['--headless', '--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync', '--window-size=1300,850']


class Browser:
    """A page of the browser; `requests` are the URLs that it has asked for."""

    def __init__(self, read, write):
        self._read, self._write, self._number, self._session = read, write, 0, {}
        self.requests = []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = {'sessionId': self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']}
        for name in ('Page', 'Network', 'Runtime'):
            self.call(f'{name}.enable')

    def call(self, method, **params):
        """The result of a command."""
        self._number += 1
        self._write.write(json.dumps({'id': self._number, 'method': method, 'params': params, **self._session}).encode()
                          + b'\0')
        self._write.flush()
        while True:
            message = b''
            while not message.endswith(b'\0'):
                message += self._read.read(1) or (_ for _ in ()).throw(EOFError('the browser ended'))
            found = json.loads(message[:-1])
            if found.get('method') == 'Network.requestWillBeSent':
                self.requests.append(found['params']['request']['url'])
            if found.get('id') == self._number:
                assert 'error' not in found, found
                return found['result']

    def evaluate(self, script):
        """The value of an expression in the page."""
        return self.call('Runtime.evaluate', expression=script, returnByValue=True)['result'].get('value')

    def wait(self, script, seconds=240):
        """The value of an expression as soon as it has one."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < end, self.evaluate('document.body.innerText')
            time.sleep(.5)
        return value

    def double_click(self, x, y):
        """A double click at a place."""
        for count in (1, 2):
            for kind in ('mousePressed', 'mouseReleased'):
                self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', clickCount=count)

    def picture(self):
        """The page as it is drawn, `[rows, columns, 3]`."""
        content = base64.b64decode(self.call('Page.captureScreenshot', format='png')['data'])
        return np.asarray(Image.open(io.BytesIO(content)).convert('RGB')).astype(int)


@contextlib.contextmanager
def browser(program, folder):
    """A browser with a profile of its own in a folder."""
    (inside_read, to), (back, inside_write) = os.pipe(), os.pipe()
    command = [program, *FLAGS, f'--user-data-dir={folder}', '--remote-debugging-pipe', 'about:blank']
    process = subprocess.Popen(['bash', '-c', f'exec "$@" 3<&{inside_read} 4>&{inside_write}', 'browser', *command],
                               pass_fds=(inside_read, inside_write), env={**os.environ, 'HOME': str(folder)},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(inside_read)
    os.close(inside_write)
    with os.fdopen(back, 'rb') as read, os.fdopen(to, 'wb') as write:
        try:
            yield Browser(read, write)
        finally:
            process.kill()
            process.wait()
