"""Train three small Keras models, export and calibrate them, serve them from one server, and ask it about new rows.

Run it with `make demo`. What it makes stays in `demo-output/`, so that you can look at it and serve it again:

    .venv/bin/headgate inspect demo-output/models/digits
    .venv/bin/headgate serve demo-output/models
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# TensorFlow and grpc otherwise write to stderr what nobody here can act on.
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0", GRPC_VERBOSITY="NONE")

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from headgate.client import Client, Predictions

OUTPUT = Path("demo-output")
REPOSITORY = OUTPUT / "models"
SHOWN_ROWS = 4

console = Console(width=100, highlight=False)


@dataclass
class Parts:
    """Data in three parts: a model is trained on the first and calibrated on the second; the third is new to it."""

    x: np.ndarray
    y: np.ndarray
    calibration: tuple[np.ndarray, np.ndarray]
    new_x: np.ndarray
    truth: np.ndarray


def split(x: np.ndarray, y: np.ndarray) -> Parts:
    """Take half of the rows to train on, a quarter to calibrate with, and a quarter to ask about."""
    x, other_x, y, other_y = train_test_split(x.astype("float32"), y, test_size=0.5, random_state=0)
    calibration_x, new_x, calibration_y, truth = train_test_split(other_x, other_y, test_size=0.5, random_state=0)
    return Parts(x, y, (calibration_x, calibration_y), new_x, truth)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show what goes on, and how long it took."""
    start = time.perf_counter()
    with console.status(what):
        yield
    console.print(f"[green]✓[/green] {what} [dim]({time.perf_counter() - start:.1f} s)[/dim]")


def export_diabetes() -> Parts:
    """Regression with intervals, saved as .keras: disease progression a year later, on its own scale."""
    import keras

    from headgate.exporter import export_model

    parts = split(*load_diabetes(return_X_y=True))
    scaler = StandardScaler().fit(parts.y[:, None])
    with step(f"training 'diabetes' on {len(parts.x)} patients: 10 features, a number"):
        model = keras.Sequential(
            [
                keras.Input((10,), name="features"),
                keras.layers.Dense(32, "relu"),
                keras.layers.Dense(1, name="progression"),
            ]
        )
        model.compile(keras.optimizers.Adam(0.01), "mse")
        model.fit(parts.x, scaler.transform(parts.y[:, None]), epochs=40, batch_size=32, verbose=0)
        model.save(OUTPUT / "diabetes.keras")
    with step("exporting diabetes.keras"):
        export_model(
            OUTPUT / "diabetes.keras",
            REPOSITORY,
            target_scaling=scaler,
            units="progression points",
            calibration=parts.calibration,
            confidence_levels=[0.8],
            examples=parts.x,
        )
    return parts


def export_breast_cancer() -> Parts:
    """Two labels and a threshold for a purpose, saved as .h5; the features are normalised inside the model."""
    import keras

    from headgate.exporter import export_model

    data = load_breast_cancer()
    parts = split(data.data, data.target)
    with step(f"training 'breast-cancer' on {len(parts.x)} tumours: 30 features, malignant or benign"):
        normalization = keras.layers.Normalization()
        normalization.adapt(parts.x)
        model = keras.Sequential(
            [
                keras.Input((30,), name="features"),
                normalization,
                keras.layers.Dense(16, "relu"),
                keras.layers.Dense(1, "sigmoid", name="diagnosis"),
            ]
        )
        model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
        model.fit(parts.x, parts.y, epochs=20, batch_size=32, verbose=0)
        model.save(OUTPUT / "breast-cancer.h5")
    with step("exporting breast-cancer.h5"):
        labels = data.target_names.tolist()
        export_model(
            OUTPUT / "breast-cancer.h5",
            REPOSITORY,
            labels=labels,
            positive_label="malignant",
            calibration=parts.calibration,
            # A missed tumour is as bad as ten false alarms: where p is calibrated, 10 p > 1 - p says when to raise one.
            threshold=1 / 11,
            examples=parts.x,
        )
    parts.truth = data.target_names[parts.truth]
    return parts


def export_digits() -> Parts:
    """Ten classes with calibrated scores, a small CNN on 8x8 images, exported from memory; it ends with logits."""
    import keras

    from headgate.exporter import export_model

    data = load_digits()
    parts = split(data.images[..., None], data.target)
    with step(f"training 'digits' on {len(parts.x)} images of 8x8 pixels: a CNN, ten classes"):
        model = keras.Sequential(
            [
                keras.Input((8, 8, 1), name="image"),
                keras.layers.Rescaling(1 / 16),
                keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
                keras.layers.MaxPooling2D(),
                keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
                keras.layers.Flatten(),
                keras.layers.Dense(10, name="digit"),
            ],
            name="digits",
        )
        model.compile(keras.optimizers.Adam(0.003), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(parts.x, parts.y, epochs=12, batch_size=64, verbose=0)
    with step("exporting the model 'digits' from memory"):
        labels = [str(digit) for digit in range(10)]
        export_model(model, REPOSITORY, labels=labels, calibration=parts.calibration, examples=parts.x)
    parts.truth = parts.truth.astype(str)
    return parts


@contextmanager
def server() -> Iterator[str]:
    """Run `headgate serve` in a process of its own; give its address."""
    command = [sys.executable, "-m", "headgate.cli", "serve", str(REPOSITORY), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                console.print(f"  [dim]{line.rstrip()}[/dim]")
                if line.startswith("ready: serving on "):
                    break
            else:
                raise SystemExit("the server did not start")
            yield line.removeprefix("ready: serving on ").strip()
        finally:
            process.terminate()


def show(title: str, measure: str, predictions: list[str], truth: list[str]) -> None:
    """Print predictions beside the truth."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption=measure,
        caption_style="none",
        caption_justify="left",
    )
    table.add_column("prediction", min_width=62)
    table.add_column("truth", min_width=12)
    for row in zip(predictions, truth, strict=True):
        table.add_row(*row)
    console.print()
    console.print(table)


def show_diabetes(predictions: Predictions, parts: Parts) -> None:
    """Print a few numbers, and how good all are."""
    columns = predictions["progression"]
    error = np.abs(columns.values[:, 0] - parts.truth).mean()
    covered = (columns.lower[:, 0] <= parts.truth) & (parts.truth <= columns.upper[:, 0])
    show(
        f"diabetes: numbers in their own unit, with intervals that promise {columns.confidence_level:.0%}",
        f"on {len(columns)} new rows: mean error {error:.1f}; {covered.mean():.0%} of intervals hold the truth",
        [
            f"{value:.0f} {columns.units[0]}, from {lower:.0f} to {upper:.0f}"
            for value, lower, upper in zip(
                columns.values[:SHOWN_ROWS, 0],
                columns.lower[:SHOWN_ROWS, 0],
                columns.upper[:SHOWN_ROWS, 0],
                strict=True,
            )
        ],
        [f"{value:.0f}" for value in parts.truth[:SHOWN_ROWS]],
    )


def show_breast_cancer(predictions: Predictions, parts: Parts) -> None:
    """Print a few diagnoses, and what was missed."""
    columns = predictions["diagnosis"]
    missed = np.count_nonzero((parts.truth == "malignant") & ~columns.positives)
    alarms = np.count_nonzero((parts.truth == "benign") & columns.positives)
    show(
        "breast-cancer: calibrated, with a threshold by costs: a missed tumour is as bad as ten false alarms",
        f"of {len(columns)} new rows: {missed} missed, {alarms} false alarms",
        [
            f"{label}, p({columns.positive_label}) = {p:.3f}, threshold {columns.threshold:.2g}"
            for label, p in zip(columns.labels[:SHOWN_ROWS], columns.probabilities[:SHOWN_ROWS], strict=True)
        ],
        parts.truth[:SHOWN_ROWS].tolist(),
    )


def show_digits(predictions: Predictions, parts: Parts) -> None:
    """Print a few digits with their runners-up, and the accuracy of all."""
    columns = predictions["digit"]
    show(
        "digits: the best three of ten labels, with calibrated scores",
        f"accuracy on {len(columns)} new rows: {(columns.labels == parts.truth).mean():.1%}; "
        f"the scores promise {columns.scores.mean():.1%}",
        [
            ", ".join(f"{label} ({score:.1%})" for label, score in zip(labels, scores, strict=True))
            for labels, scores in zip(columns.top_labels[:SHOWN_ROWS], columns.top_scores[:SHOWN_ROWS], strict=True)
        ],
        parts.truth[:SHOWN_ROWS].tolist(),
    )


def main() -> None:
    """Run the demo."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    with step("importing TensorFlow and Keras"):
        import keras
        from absl import logging

        # Keras calls .h5 files legacy; this demo saves one to show that they are read.
        logging.set_verbosity(logging.ERROR)
        keras.utils.set_random_seed(0)
    diabetes, breast_cancer, digits = export_diabetes(), export_breast_cancer(), export_digits()
    console.print("starting one server for all three: headgate serve demo-output/models")
    with server() as address, Client(address) as client:
        show_diabetes(client.predict("diabetes", diabetes.new_x), diabetes)
        show_breast_cancer(client.predict("breast-cancer", breast_cancer.new_x), breast_cancer)
        show_digits(client.predict("digits", digits.new_x, top_k=3), digits)
    console.print(
        "\nWhat was made is in demo-output/. Look at a model, or serve them again:\n"
        "  .venv/bin/headgate inspect demo-output/models/digits\n"
        "  .venv/bin/headgate serve demo-output/models"
    )


if __name__ == "__main__":
    main()
