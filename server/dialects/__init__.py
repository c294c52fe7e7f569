"""Public protocols: each dialect translates between its messages and the server's own requests and outputs."""
