"""Every layer of keras.layers, in the configurations that are converted differently."""

from headgate.benchmarks.coverage.cases import Case
from headgate.benchmarks.coverage.layers import (
    attention,
    augmentation,
    convolution,
    core,
    image,
    lookup,
    merging,
    normalization,
    pooling,
    recurrent,
    reshaping,
    signal,
)

CASES: list[Case] = [
    *core.CASES,
    *merging.CASES,
    *reshaping.CASES,
    *normalization.CASES,
    *convolution.CASES,
    *pooling.CASES,
    *recurrent.CASES,
    *attention.CASES,
    *lookup.CASES,
    *signal.CASES,
    *image.CASES,
    *augmentation.CASES,
]

#: What is in keras.layers and no layer of an exported model.
NO_LAYERS = {
    "Layer": "the abstract base of all layers",
    "Wrapper": "the abstract base of wrappers",
    "InputSpec": "a description, no layer",
    "JaxLayer": "runs JAX code; Keras has it for the JAX and TensorFlow backends, as a call into a JAX program",
    "FlaxLayer": "runs JAX code, as JaxLayer",
    "TorchModuleWrapper": "runs PyTorch code, under the PyTorch backend only",
}


def missing() -> set[str]:
    """Return the names of the classes of keras.layers that have neither a case nor a place in NO_LAYERS.

    Several names of one class count as one.
    """
    import keras

    covered = {getattr(keras.layers, case.name.partition("/")[0]) for case in CASES}
    public = {name: value for name, value in vars(keras.layers).items() if isinstance(value, type)}
    return {name for name, value in public.items() if value not in covered and name not in NO_LAYERS}
