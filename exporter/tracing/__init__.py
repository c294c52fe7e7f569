"""A model as one TensorFlow graph of named tensors."""
