"""Pushes what a web server would, every 200 ms, with OpenTelemetry's SDK: 50 requests a second of 70 ms each.

usage: otlp_sender.py grpc|http gzip|none PORT TOKEN [tls|both]
over TLS with the authority in $OTLP_FILES/ca.pem; with `both` it shows client.pem"""
import logging, os, sys, time

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

protocol, compression, port, token = sys.argv[1:5]
tls = sys.argv[5] if len(sys.argv) > 5 else None
logging.basicConfig(level=logging.WARNING)
# The library under the exporter over HTTP takes these before what the exporter is told.
for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
    os.environ.pop(name, None)


def file(name):
    return os.path.join(os.environ["OTLP_FILES"], name)


def content(name):
    with open(file(name), "rb") as pem:
        return pem.read()


endpoint = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
if protocol == "grpc":
    import grpc
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    packing = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
    shown = (content("client.key"), content("client.pem")) if tls == "both" else (None, None)
    credentials = grpc.ssl_channel_credentials(content("ca.pem"), *shown) if tls else None
    exporter = OTLPMetricExporter(
        endpoint=endpoint, insecure=not tls, credentials=credentials, compression=packing, headers=(("authorization", f"Bearer {token}"),)
    )
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    packing = Compression.Gzip if compression == "gzip" else Compression.NoCompression
    shown = dict(client_certificate_file=file("client.pem"), client_key_file=file("client.key")) if tls == "both" else {}
    trusted = dict(certificate_file=file("ca.pem")) if tls else {}
    exporter = OTLPMetricExporter(
        endpoint=f"{endpoint}/v1/metrics", compression=packing, headers={"authorization": f"Bearer {token}"}, **trusted, **shown
    )
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=200)
meter = MeterProvider([reader], Resource.create({"service.name": "shop"})).get_meter("shop")
requests = meter.create_counter("http.server.requests")
duration = meter.create_histogram("http.server.request.duration", explicit_bucket_boundaries_advisory=[0.05, 0.1, 1.0])
begun, sent = time.monotonic(), 0
while True:
    due = int((time.monotonic() - begun) * 50)
    for _ in range(due - sent):
        requests.add(1)
        duration.record(0.07)
    sent = due
    time.sleep(0.02)
