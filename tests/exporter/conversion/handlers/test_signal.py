import keras
import numpy as np
import pytest
import tensorflow as tf

from headgate.exporter.errors import ConversionError

layers = keras.layers


@pytest.fixture
def signal(rng):
    return rng.standard_normal((2, 6, 15)).astype(np.float32)


def _split(number):
    return tf.stack([tf.math.real(number), tf.math.imag(number)], -1)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: tf.signal.rfft(x), id="rfft"),
        pytest.param(lambda x: tf.signal.rfft(x, [8]), id="rfft of a part"),
        pytest.param(lambda x: tf.signal.rfft(x, [20]), id="rfft filled up"),
        pytest.param(lambda x: tf.signal.rfft2d(x), id="rfft2d"),
        pytest.param(lambda x: tf.signal.fft(tf.cast(x, tf.complex64)), id="fft"),
        pytest.param(lambda x: tf.signal.fft(tf.cast(tf.cast(x, tf.int32), tf.complex64)), id="fft of integers"),
        pytest.param(lambda x: tf.signal.fft(tf.cast(x, tf.complex128)), id="fft in double precision"),
        pytest.param(lambda x: tf.signal.ifft(tf.complex(x, 2 * x)), id="ifft"),
        pytest.param(lambda x: tf.signal.fft2d(tf.complex(x, 2 * x)), id="fft2d"),
        pytest.param(lambda x: tf.signal.ifft2d(tf.complex(x, 2 * x)), id="ifft2d"),
    ],
)
def test_spectra(check_close, operation, signal, function):
    check_close(operation(lambda x: _split(function(x))), signal, atol=1e-4)


@pytest.mark.parametrize("length", [14, 15])
def test_signals_of_spectra(check_close, operation, signal, length):
    check_close(operation(lambda x: tf.signal.irfft(tf.signal.rfft(x), [length])), signal)
    check_close(operation(lambda x: tf.signal.irfft2d(tf.signal.rfft2d(x), [6, length])), signal)


def test_amplitudes(check_close, operation, signal):
    check_close(operation(lambda x: tf.abs(tf.signal.rfft(x))), signal, atol=1e-4)


@pytest.mark.parametrize("arguments", [{}, {"power_to_db": False, "sequence_length": 50}])
def test_mel_spectrogram(check_close, rng, arguments):
    mel = layers.MelSpectrogram(64, 32, sampling_rate=1000, num_mel_bins=10, min_freq=10, max_freq=500, **arguments)
    x = keras.Input((None,))
    check_close(keras.Model(x, mel(x)), rng.standard_normal((2, 500)).astype(np.float32), rtol=1e-3, atol=1e-3)


def test_what_else_is_done_with_complex_numbers_is_refused(check_close, operation, signal):
    with pytest.raises(ConversionError, match=r"RFFT \(in layer 'operation\w*': Transpose of complex numbers\)"):
        check_close(operation(lambda x: tf.abs(tf.transpose(tf.signal.rfft(x), [0, 2, 1]))), signal)


def test_signals_of_free_length_are_refused(check_close, operation):
    x = keras.Input((None,))
    model = keras.Model(x, operation(lambda x: tf.abs(tf.signal.fft(tf.cast(x, tf.complex64))))(x))
    with pytest.raises(ConversionError, match=r"FFT \(in layer 'operation\w*': .* free length"):
        check_close(model, np.zeros((1, 9), np.float32))
