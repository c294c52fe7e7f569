from pathlib import Path

import keras
import numpy as np
import pytest

from headgate.exporter import ExportBest, ExportError


def trained(callbacks, epochs=3):
    """Train a model that has all that could be disturbed: random numbers, moving averages, an optimizer with state."""
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [
            keras.Input((4,), name="x"),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1, name="price"),
        ],
        name="house",
    )
    model.compile("adam", "mse", metrics=["mae"])
    x = np.random.default_rng(0).standard_normal((64, 4)).astype("float32")
    history = model.fit(
        x, x.sum(axis=1), validation_split=0.25, epochs=epochs, batch_size=16, verbose=0, callbacks=callbacks
    )
    return model, history.history


def feed(callback, model, values, monitor="val_loss"):
    """Give a callback the logs of one epoch for each value."""
    callback.set_model(model)
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"loss": 1.0, monitor: value})


def versions(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_training_goes_on_as_without(tmp_path, exported):
    alone, expected = trained([])
    callback = ExportBest(tmp_path, labels=None)
    model, history = trained([callback])
    assert history == expected
    for ours, theirs in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(model.optimizer.variables, alone.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())

    losses = history["val_loss"]
    improved = [loss for epoch, loss in enumerate(losses) if loss < min(losses[:epoch], default=np.inf)]
    assert callback.best == improved[-1]
    assert [report.version for report in callback.reports] == list(range(1, len(improved) + 1))
    assert len(improved) > 1
    if improved[-1] == losses[-1]:
        x = np.ones((2, 4), "float32")
        [price] = exported(callback.reports[-1].path).run(x=x)
        np.testing.assert_allclose(price, model.predict(x, verbose=0), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "values", "exports"),
    [
        ({}, [3.0, 2.0, 2.5, 2.0, 1.0], 3),
        ({"monitor": "mae", "mode": "auto"}, [3.0, 4.0, 2.0], 2),
        ({"mode": "max"}, [1.0, 3.0, 2.0, 4.0], 3),
        ({"monitor": "acc", "mode": "auto"}, [0.1, 0.3, 0.2], 2),
        ({"min_delta": 0.5}, [3.0, 2.8, 2.4], 2),
        ({"initial_value_threshold": 2.0}, [3.0, 2.5, 1.5], 1),
        ({}, [float("nan"), 2.0, float("nan"), 1.0], 2),
    ],
)
def test_what_improves(tmp_path, dense, options, values, exports):
    model = dense()
    model.compile(loss="mse", metrics=["mae", keras.metrics.BinaryAccuracy(name="acc")])
    model.train_on_batch(np.ones((2, 4)), np.ones((2, 1)))
    callback = ExportBest(tmp_path, **options)
    feed(callback, model, values, options.get("monitor", "val_loss"))
    assert versions(tmp_path / "model") == [str(version + 1) for version in range(exports)]


def test_older_versions_are_deleted(tmp_path, dense):
    (tmp_path / "iris" / "4").mkdir(parents=True)
    callback = ExportBest(tmp_path, keep=2, name="iris")
    feed(callback, dense(3, "softmax"), [5.0, 4.0, 3.0, 2.0])
    assert versions(tmp_path / "iris") == ["4", "7", "8"]
    assert [report.version for report in callback.reports] == [7, 8]


def test_an_older_version_that_cannot_be_deleted(tmp_path, dense, monkeypatch):
    """It is deleted with the next export; the one that succeeded counts."""
    callback = ExportBest(tmp_path, keep=1)
    model = dense()
    feed(callback, model, [5.0])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse_to_rename(Path.rename))
        with pytest.warns(
            UserWarning, match="epoch 1 of 'model' is exported, but an older version stays: cannot delete"
        ):
            feed(callback, model, [4.0])
    assert callback.best == 4.0
    feed(callback, model, [3.0])
    assert versions(tmp_path / "model") == ["3"]


def refuse_to_rename(rename):
    def renamed(path, target):
        if path.name == "1":
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    return renamed


def test_an_export_that_fails(tmp_path, dense):
    model = dense()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    callback = ExportBest(tmp_path)
    with pytest.warns(
        UserWarning, match=r"epoch 1 of 'model' is not exported: .*no finite number.*'\S*out/kernel' holds NaN"
    ):
        feed(callback, model, [3.0])
    assert callback.best is None
    model.set_weights([np.ones_like(weight) for weight in model.get_weights()])
    feed(callback, model, [3.5])
    assert callback.best == 3.5
    with pytest.raises(ExportError, match="'nothing'"):
        feed(ExportBest(tmp_path, on_error="raise", heads={"nothing": "binary"}), model, [3.0])


def test_a_metric_that_is_not_there(tmp_path, dense):
    with pytest.warns(UserWarning, match="epoch 1: there is no 'val_loss' to export by, only loss, mae"):
        feed(ExportBest(tmp_path), dense(), [3.0], monitor="mae")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "best"}, "mode is 'best'"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"keep": 0}, "keep is 0"),
        ({"version": 3}, "version= is not for ExportBest"),
        ({"lables": ["a"]}, "takes lables="),
    ],
)
def test_wrong_arguments(tmp_path, options, message):
    with pytest.raises(ExportError, match=message):
        ExportBest(tmp_path, **options)
