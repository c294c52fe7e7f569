"""Decoders against their floors and against what people use."""
