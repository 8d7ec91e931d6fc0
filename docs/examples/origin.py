"""An origin that nobody asks: it reads what is missed, and fills the edges by itself.

    pip install pika
    python3 origin.py amqp://guest:guest@127.0.0.1:5672/%2f forebay.misses.origin 127.0.0.1:6090

The last words are the admin ports of the edges. Start as many as you like: one at a time reads.
"""
import datetime, html, http.client, json, sys
import pika

broker, queue, *edges = sys.argv[1:]


def respond(wanted):
    """Makes a response. `wanted` has method, scheme, host, path, query and vary."""
    page = f"<h1>{html.escape(wanted['path'])}</h1>\n<p>Made by Python for {wanted['host']}.</p>\n"
    return 200, {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "max-age=60"}, page.encode()


def missed(channel, method, _properties, body):
    event = json.loads(body)
    if datetime.datetime.fromisoformat(event["expirytime"]) > datetime.datetime.now(datetime.UTC):
        status, fields, content = respond(event["data"])
        headers = {f"Forebay-Fill-{name}": value for name, value in fields.items()}
        headers["Forebay-Fill-Status"] = str(status)
        headers["Forebay-Fill-Token"] = event["data"]["fill"]["token"]
        for edge in edges:  # its own list: an address in a message is no reason to connect there
            connection = http.client.HTTPConnection(edge, timeout=10)
            connection.request("PUT", "/v1/fill", content, headers)
            print(event["subject"], edge, connection.getresponse().status, flush=True)
            connection.close()
    channel.basic_ack(method.delivery_tag)


channel = pika.BlockingConnection(pika.URLParameters(broker)).channel()
channel.basic_qos(prefetch_count=10)
channel.basic_consume(queue, missed)
channel.start_consuming()
