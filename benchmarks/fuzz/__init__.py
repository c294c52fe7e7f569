"""Bad input against a server: `python -m headgate.benchmarks.fuzz`, or `make fuzz`.

What is attacked is what the server's reflection and /openapi.json list, so that a new method is attacked without a word
here. Messages are drawn from their descriptors, changed from valid requests and from those that got a new kind of
answer, and mutated as bytes; then connections are attacked. Every answer is judged. Meanwhile a bystander's good
requests are timed, beside each attack and beside as many good requests.
"""
