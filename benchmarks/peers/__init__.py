"""headgate beside other model servers: the same ONNX model, the same load, on the same processor, in one run.

`python -m headgate.benchmarks.peers` runs them all, each from an environment of its own, which is made when it is
missing. What lies in the folders that are named after them runs there, without headgate.
"""
