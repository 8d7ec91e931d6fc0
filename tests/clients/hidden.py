"""The examples of docs/examples against a real node and a RabbitMQ of their own, and the AsyncAPI
document against a real miss event. Usage: hidden.py FOREBAY

Prints a line for each test, and `N passed, M failed` at the end.
"""

import contextlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import jsonschema
import pika
import yaml

BINARY = sys.argv[1]
# Where Debian's package has the server, without the wrapper that changes the user.
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
HERE = pathlib.Path(__file__).resolve().parent.parent.parent
# It only ends what would never end.
PATIENCE = 60


def free_ports(number):
    """Ports that nobody has, below those that the system gives out by itself."""
    with contextlib.ExitStack() as stack:
        ports = []
        while len(ports) < number:
            one = stack.enter_context(socket.socket())
            try:
                one.bind(("127.0.0.1", random.randrange(15000, 32000)))
            except OSError:
                continue
            ports.append(one.getsockname()[1])
        return ports


def until(what, told):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{told}: not within {PATIENCE} s")


@contextlib.contextmanager
def started(command, **more):
    """A process in a group of its own, which ends as a whole."""
    process = subprocess.Popen(command, start_new_session=True, **more)
    try:
        yield process
    finally:
        for word in [signal.SIGTERM, signal.SIGKILL]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, word)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
                break


@contextlib.contextmanager
def rabbit(directory):
    """A broker on free ports of loopback, with its name, cookie and data in a directory."""
    port, names, nodes = free_ports(3)
    path = lambda name: str(directory / name)
    (directory / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nvm_memory_high_watermark.absolute = 512MB\n"
        "disk_free_limit.absolute = 1MB\nlog.console = true\nlog.file = false\n"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"forebay-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(nodes),
        "RABBITMQ_CONF_ENV_FILE": path("none"),
        "RABBITMQ_CONFIG_FILE": path("rabbitmq"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": path("plugins"),
        "RABBITMQ_PLUGINS_EXPAND_DIR": path("plugins-expanded"),
        "RABBITMQ_MNESIA_BASE": path("data"),
        "RABBITMQ_LOG_BASE": path("log"),
        "RABBITMQ_GENERATED_CONFIG_DIR": path("generated"),
        "RABBITMQ_FEATURE_FLAGS_FILE": path("features"),
        "RABBITMQ_PID_FILE": path("pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} "
        "-start_epmd false +S 1:1 +sbwt none +A 8",
    }
    quiet = {"env": environment, "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    with open(directory / "out", "wb") as out:
        with started(["epmd", "-port", str(names), "-address", "127.0.0.1"], stdout=out, **quiet):
            with started([SERVER], stdout=out, **quiet) as server:
                url = f"amqp://guest:guest@127.0.0.1:{port}/%2f"

                def greets():
                    assert server.poll() is None, (directory / "out").read_text()
                    with contextlib.suppress(pika.exceptions.AMQPError, OSError):
                        pika.BlockingConnection(pika.URLParameters(url)).close()
                        return True

                until(greets, "the broker starts")
                yield url


class Edge:
    """A node whose every route is hidden."""

    def __init__(self, process):
        line = process.stdout.readline()
        self.port, self.admin = (int(part.split(",")[0]) for part in line.split("http://127.0.0.1:")[1:3])

    def get(self, path, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        response.content = response.read().decode()
        connection.close()
        return response

    def hit(self, path):
        """The answer, once it comes from the cache."""

        def look():
            response = self.get(path)
            return response if "; hit" in response.getheader("Cache-Status", "") else None

        return until(look, f"{path} is filled")


@contextlib.contextmanager
def edge(*words):
    command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *words]
    with started(command, stdout=subprocess.PIPE, text=True) as process:
        yield Edge(process)


def with_curl(_directory):
    # Nobody listens there, and nobody is asked.
    with edge("--origin", "http://127.0.0.1:1", "--hidden") as node:
        site = f"http://127.0.0.1:{node.port}"
        command = [HERE / "docs/examples/fill.sh", f"http://127.0.0.1:{node.admin}", site]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0 and done.stdout.count('"filled":true') == 2, done
        for path, content in [("/whole", "A whole response"), ("/plain", "The content alone")]:
            response = node.get(path)
            assert (response.status, "; hit" in response.getheader("Cache-Status")) == (200, True), path
            assert content in response.content and response.getheader("Content-Type") == "text/html", path


def at_broker(url, directory):
    """An edge with the file that is shipped, but for the ports."""
    text = (HERE / "conf/hide-origin.toml").read_text()
    assert "amqp://guest:guest@127.0.0.1:5672/%2f" in text
    config = directory / "hide-origin.toml"
    config.write_text(text.replace("amqp://guest:guest@127.0.0.1:5672/%2f", url))
    return edge("--config", str(config))


def with_python(directory):
    with rabbit(directory) as url, at_broker(url, directory) as node:
        first = node.get("/made/by/python")
        assert first.status == 503 and int(first.getheader("Retry-After")) > 0, first.status
        assert 'details="queued"' in first.getheader("Proxy-Status")
        script = HERE / "docs/examples/origin.py"
        command = [sys.executable, script, url, "forebay.misses.origin", f"127.0.0.1:{node.admin}"]
        with started(command):
            response = node.hit("/made/by/python")
            assert response.status == 200, response.status
            assert "<h1>/made/by/python</h1>" in response.content, response.content
            assert "Made by Python for 127.0.0.1." in response.content, response.content
            assert response.getheader("Cache-Control") == "max-age=60"


def the_events_are_as_the_document_says(directory):
    with rabbit(directory) as url, at_broker(url, directory) as node:
        served = node.get("/asyncapi.yaml", node.admin)
        assert served.getheader("Content-Type").startswith("application/yaml")
        document = yaml.safe_load(served.content)
        assert document == yaml.safe_load((HERE / "docs/asyncapi.yaml").read_text())
        schemas = document["components"]["schemas"]
        for schema in schemas.values():
            jsonschema.Draft7Validator.check_schema(schema)
        [example] = document["components"]["messages"]["miss"]["examples"]
        jsonschema.validate(example["payload"], schemas["MissEvent"])

        node.get("/an/event?a=1")
        channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
        address = document["channels"]["misses"]["address"].replace("{origin}", "origin")
        # Passive: it is there, under this name.
        channel.queue_declare(address, passive=True)
        # Not got one by one: a queue with a single active consumer is read by consumers only.
        method, properties, body = next(channel.consume(address, inactivity_timeout=PATIENCE))
        assert method, "no event"
        miss = document["components"]["messages"]["miss"]
        assert properties.content_type == miss["contentType"], properties
        event = json.loads(body)
        jsonschema.validate(event, schemas["MissEvent"])
        assert event["type"] == miss["name"] and event["subject"].endswith("/an/event?a=1"), event
        # What the document says of is all there.
        missing = set(example["payload"]) - set(event) - {"traceparent"}
        assert not missing, missing
        channel.basic_ack(method.delivery_tag)
        for channel_ in document["channels"].values():
            bindings = channel_["bindings"]["amqp"]
            if bindings["is"] == "queue":
                name = bindings["queue"]["name"].replace("{origin}", "origin").replace("{pause}", "16s")
                channel.queue_declare(name, passive=True)
            else:
                exchange = bindings["exchange"]
                channel.exchange_declare(exchange["name"], exchange["type"], passive=True)


def main():
    passed = failed = 0
    for test in [with_curl, with_python, the_events_are_as_the_document_says]:
        with tempfile.TemporaryDirectory(prefix="forebay-hidden-", ignore_cleanup_errors=True) as directory:
            try:
                test(pathlib.Path(directory))
                passed += 1
                print(f"{test.__name__} ... ok", flush=True)
            except Exception:
                failed += 1
                print(f"{test.__name__} ... FAILED\n{traceback.format_exc()}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
