"""Pushes what a web server would, every 200 ms, with OpenTelemetry's SDK: 50 requests a second of 70 ms each.

usage: otlp_sender.py grpc|http gzip|none PORT TOKEN"""
import logging, sys, time

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

protocol, compression, port, token = sys.argv[1:]
logging.basicConfig(level=logging.WARNING)
if protocol == "grpc":
    import grpc
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    packing = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
    exporter = OTLPMetricExporter(
        endpoint=f"http://127.0.0.1:{port}", insecure=True, compression=packing, headers=(("authorization", f"Bearer {token}"),)
    )
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    packing = Compression.Gzip if compression == "gzip" else Compression.NoCompression
    exporter = OTLPMetricExporter(
        endpoint=f"http://127.0.0.1:{port}/v1/metrics", compression=packing, headers={"authorization": f"Bearer {token}"}
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
