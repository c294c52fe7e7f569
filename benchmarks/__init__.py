"""Requests per second, latency and CPU per request of headgate, beside echoes that show what the transport costs.

`python -m headgate.benchmarks` runs them all.
"""
