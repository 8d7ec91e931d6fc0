"""Real purge clients, and a tester of APIs, against a real node. Usage: purge.py FOREBAY VARNISHADM

Each test fills the cache, lets a client purge, and looks what is still answered from the
cache. Prints a line for each, and `N passed, M failed` at the end.
"""

import http.client
import http.server
import pathlib
import subprocess
import sys
import tempfile
import threading
import traceback

BINARY, VARNISHADM = sys.argv[1:3]
HOST = "www.example.org"


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Cache-Control", "max-age=600")
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"x")

    def log_message(self, *_):
        pass


class Node:
    """A node in front of the origin, that may be purged on its own port as well."""

    def __init__(self, directory):
        self.origin = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
        threading.Thread(target=self.origin.serve_forever, daemon=True).start()
        self.secret = directory / "secret"
        self.secret.write_text("a secret\n")
        with http.server.HTTPServer(("127.0.0.1", 0), Origin) as free:
            self.cli = free.server_address[1]
        settings = [
            'purge.allow=127.0.0.1',
            f"varnish_cli.address=127.0.0.1:{self.cli}",
            f"varnish_cli.secret_file={self.secret}",
        ]
        command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        command += ["--origin", f"http://127.0.0.1:{self.origin.server_address[1]}"]
        for setting in settings:
            command += ["--set", setting]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.port, self.admin = (int(part.split(",")[0]) for part in line.split("http://127.0.0.1:")[1:3])

    def get(self, path, **fields):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path, headers={"Host": HOST, **fields})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response

    def fill(self, *paths):
        for path in paths:
            assert self.get(path).status == 200, path
        assert self.left(*paths) == list(paths)

    def left(self, *paths):
        return [path for path in paths if self.get(path, **{"Cache-Control": "only-if-cached"}).status == 200]

    def varnishadm(self, *words, secret=None):
        command = [VARNISHADM, "-T", f"127.0.0.1:{self.cli}", "-S", str(secret or self.secret), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20)

    def end(self):
        self.process.terminate()
        self.process.wait(timeout=40)
        self.origin.shutdown()


def varnishadm_bans(node):
    node.fill("/a/1", "/a/2", "/b")
    done = node.varnishadm("ban", "req.url", "~", "^/a/")
    assert done.returncode == 0, done
    assert node.left("/a/1", "/a/2", "/b") == ["/b"]
    done = node.varnishadm("ban", f"req.http.host == {HOST} && req.url == /b")
    assert done.returncode == 0, done
    assert node.left("/b") == []


def varnishadm_looks(node):
    for words, wanted in [
        (["ping"], "PONG"),
        (["status"], "running"),
        (["ban.list"], "Present bans:"),
        (["vcl.list"], "active"),
        (["banner"], "forebay"),
    ]:
        done = node.varnishadm(*words)
        assert done.returncode == 0 and wanted in done.stdout, (words, done)


def varnishadm_is_told_what_is_wrong(node):
    done = node.varnishadm("ban", "req.http.cookie", "~", "a")
    assert done.returncode != 0 and "not kept" in done.stdout + done.stderr, done
    wrong = node.secret.with_name("wrong")
    wrong.write_text("another\n")
    done = node.varnishadm("ping", secret=wrong)
    assert done.returncode != 0 and "Rejected" in done.stdout + done.stderr, done


def wagtail_purges(node):
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(USE_TZ=True)
        django.setup()
    from wagtail.contrib.frontend_cache.backends import HTTPBackend

    node.fill("/news/", "/news/1?page=2", "/other")
    backend = HTTPBackend({"LOCATION": f"http://127.0.0.1:{node.port}"})
    backend.purge(f"http://{HOST}/news/")
    backend.purge_batch([f"https://{HOST}/news/1?page=2"])
    assert node.left("/news/", "/news/1?page=2", "/other") == ["/other"]


def plone_purges(node):
    from plone.cachepurging.purger import DefaultPurger

    node.fill("/front", "/other")
    purger = DefaultPurger()
    # It asks the proxy for the URL itself; the Host is the proxy's, as in its tests.
    status, _, error = purger.purgeSync(f"http://127.0.0.1:{node.port}/front")
    assert (status, error) == (200, ""), (status, error)
    node.get("/front")
    import requests

    session = requests.Session()
    session.headers["Host"] = HOST
    response, _, error = purger.purge(session, f"http://127.0.0.1:{node.port}/front")
    assert (response.status_code, error) == (200, ""), (response, error)
    assert node.left("/front", "/other") == ["/other"]


def the_admin_port_is_as_its_document_says(node):
    schemathesis = pathlib.Path(sys.executable).with_name("schemathesis")
    command = [schemathesis, "run", f"http://127.0.0.1:{node.admin}/openapi.json"]
    # A URL or a ban may be of the right type and yet be none.
    command += ["--exclude-checks", "positive_data_acceptance", "--max-examples", "50", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=node.secret.parent)
    assert done.returncode == 0, done.stdout[-6000:]


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory() as directory:
        for test in [
            varnishadm_bans,
            varnishadm_looks,
            varnishadm_is_told_what_is_wrong,
            wagtail_purges,
            plone_purges,
            the_admin_port_is_as_its_document_says,
        ]:
            node = Node(pathlib.Path(directory))
            try:
                test(node)
                passed += 1
                print(f"{test.__name__} ... ok", flush=True)
            except Exception:
                failed += 1
                print(f"{test.__name__} ... FAILED\n{traceback.format_exc()}", flush=True)
            finally:
                node.end()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
