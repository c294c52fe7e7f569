"""Train three small Keras models, export them, serve them from one server, and ask it about rows that it has not seen.

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
class HeldOut:
    """Rows that a model was not trained on."""

    features: np.ndarray
    truth: np.ndarray


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show what goes on, and how long it took."""
    start = time.perf_counter()
    with console.status(what):
        yield
    console.print(f"[green]✓[/green] {what} [dim]({time.perf_counter() - start:.1f} s)[/dim]")


def export_diabetes() -> HeldOut:
    """Regression, saved as .keras: disease progression a year later, on its own scale."""
    import keras

    from headgate.exporter import export_model

    data = load_diabetes()
    x, x_test, y, y_test = train_test_split(data.data.astype("float32"), data.target, test_size=0.25, random_state=0)
    scaler = StandardScaler().fit(y[:, None])
    with step(f"training 'diabetes' on {len(x)} patients: 10 features, a number"):
        model = keras.Sequential(
            [
                keras.Input((10,), name="features"),
                keras.layers.Dense(32, "relu"),
                keras.layers.Dense(1, name="progression"),
            ]
        )
        model.compile(keras.optimizers.Adam(0.01), "mse")
        model.fit(x, scaler.transform(y[:, None]), epochs=40, batch_size=32, verbose=0)
        model.save(OUTPUT / "diabetes.keras")
    with step("exporting diabetes.keras"):
        export_model(
            OUTPUT / "diabetes.keras", REPOSITORY, target_scaling=scaler, units="progression points", examples=x
        )
    return HeldOut(x_test, y_test)


def export_breast_cancer() -> HeldOut:
    """Binary classification, saved as .h5; the features are normalised inside the model."""
    import keras

    from headgate.exporter import export_model

    data = load_breast_cancer()
    x, x_test, y, y_test = train_test_split(
        data.data.astype("float32"), data.target, test_size=0.25, random_state=0, stratify=data.target
    )
    with step(f"training 'breast-cancer' on {len(x)} tumours: 30 features, malignant or benign"):
        normalization = keras.layers.Normalization()
        normalization.adapt(x)
        model = keras.Sequential(
            [
                keras.Input((30,), name="features"),
                normalization,
                keras.layers.Dense(16, "relu"),
                keras.layers.Dense(1, "sigmoid", name="diagnosis"),
            ]
        )
        model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
        model.fit(x, y, epochs=20, batch_size=32, verbose=0)
        model.save(OUTPUT / "breast-cancer.h5")
    with step("exporting breast-cancer.h5"):
        labels = data.target_names.tolist()
        export_model(
            OUTPUT / "breast-cancer.h5",
            REPOSITORY,
            labels=labels,
            positive_label="malignant",
            threshold=0.3,
            examples=x,
        )
    return HeldOut(x_test, data.target_names[y_test])


def export_digits() -> HeldOut:
    """Ten classes, a small CNN on 8x8 images, exported from memory; it ends with logits."""
    import keras

    from headgate.exporter import export_model

    data = load_digits()
    x, x_test, y, y_test = train_test_split(
        data.images[..., None].astype("float32"), data.target, test_size=0.25, random_state=0
    )
    with step(f"training 'digits' on {len(x)} images of 8x8 pixels: a CNN, ten classes"):
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
        model.fit(x, y, epochs=12, batch_size=64, verbose=0)
    with step("exporting the model 'digits' from memory"):
        export_model(model, REPOSITORY, labels=[str(digit) for digit in range(10)], examples=x)
    return HeldOut(x_test, y_test.astype(str))


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


def show_diabetes(predictions: Predictions, held_out: HeldOut) -> None:
    """Print a few numbers, and the mean absolute error of all."""
    columns = predictions["progression"]
    error = np.abs(columns.values[:, 0] - held_out.truth).mean()
    baseline = np.abs(held_out.truth - held_out.truth.mean()).mean()
    show(
        "diabetes: a regression, in the target's own unit",
        f"mean absolute error on {len(columns)} held-out rows: {error:.1f} (guessing the mean: {baseline:.1f})",
        [f"{value:.1f} {columns.units[0]}" for value in columns.values[:SHOWN_ROWS, 0]],
        [f"{value:.0f}" for value in held_out.truth[:SHOWN_ROWS]],
    )


def show_breast_cancer(predictions: Predictions, held_out: HeldOut) -> None:
    """Print a few diagnoses, and the accuracy of all."""
    columns = predictions["diagnosis"]
    show(
        "breast-cancer: two labels and a threshold",
        f"accuracy on {len(columns)} held-out rows: {(columns.labels == held_out.truth).mean():.1%}",
        [
            f"{label}, p({columns.positive_label}) = {p:.3f}, threshold {columns.threshold:g}"
            for label, p in zip(columns.labels[:SHOWN_ROWS], columns.probabilities[:SHOWN_ROWS], strict=True)
        ],
        held_out.truth[:SHOWN_ROWS].tolist(),
    )


def show_digits(predictions: Predictions, held_out: HeldOut) -> None:
    """Print a few digits with their runners-up, and the accuracy of all."""
    columns = predictions["digit"]
    show(
        "digits: the best three of ten labels",
        f"accuracy on {len(columns)} held-out rows: {(columns.labels == held_out.truth).mean():.1%}",
        [
            ", ".join(f"{label} ({score:.1%})" for label, score in zip(labels, scores, strict=True))
            for labels, scores in zip(columns.top_labels[:SHOWN_ROWS], columns.top_scores[:SHOWN_ROWS], strict=True)
        ],
        held_out.truth[:SHOWN_ROWS].tolist(),
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
        show_diabetes(client.predict("diabetes", diabetes.features), diabetes)
        show_breast_cancer(client.predict("breast-cancer", breast_cancer.features), breast_cancer)
        show_digits(client.predict("digits", digits.features, top_k=3), digits)
    console.print(
        "\nWhat was made is in demo-output/. Look at a model, or serve them again:\n"
        "  .venv/bin/headgate inspect demo-output/models/digits\n"
        "  .venv/bin/headgate serve demo-output/models"
    )


if __name__ == "__main__":
    main()
