"""Spectrograms."""

from headgate.benchmarks.coverage.cases import layer, normal

CASES = [
    *(
        layer("STFTSpectrogram", mode, normal(400, 1), mode=mode, frame_length=64, frame_step=32)
        for mode in ("log", "magnitude", "psd")
    ),
    layer("STFTSpectrogram", "angle", normal(400, 1), mode="angle", frame_length=64, frame_step=32),
    layer("STFTSpectrogram", "real", normal(400, 1), mode="real", frame_length=64, frame_step=32),
    layer("STFTSpectrogram", "imag", normal(400, 1), mode="imag", frame_length=64, frame_step=32),
    layer("STFTSpectrogram", "stft", normal(400, 1), mode="stft", frame_length=64, frame_step=32),
    layer(
        "STFTSpectrogram",
        "longer fft",
        normal(400, 1),
        mode="magnitude",
        frame_length=64,
        frame_step=32,
        fft_length=128,
    ),
    layer(
        "STFTSpectrogram",
        "same, expand_dims",
        normal(400, 1),
        mode="magnitude",
        frame_length=64,
        frame_step=32,
        padding="same",
        expand_dims=True,
    ),
    layer("STFTSpectrogram", "two channels", normal(400, 2), mode="magnitude", frame_length=64, frame_step=32),
    layer(
        "STFTSpectrogram",
        "variable length",
        normal(None, 1),
        mode="magnitude",
        frame_length=64,
        frame_step=32,
        free=(200, 333),
    ),
    layer("MelSpectrogram", "decibels", normal(2000), fft_length=256, sequence_stride=128, num_mel_bins=16),
    layer(
        "MelSpectrogram", "power", normal(2000), fft_length=256, sequence_stride=128, num_mel_bins=16, power_to_db=False
    ),
    layer(
        "MelSpectrogram",
        "shorter window",
        normal(2000),
        fft_length=256,
        sequence_length=200,
        sequence_stride=128,
        num_mel_bins=16,
    ),
    layer(
        "MelSpectrogram",
        "variable length",
        normal(None),
        fft_length=256,
        sequence_stride=128,
        num_mel_bins=16,
        # Keras itself refuses what is shorter than half of an FFT, such as the lengths that the exporter tries.
        examples=True,
        free=(1000, 2345),
    ),
]
