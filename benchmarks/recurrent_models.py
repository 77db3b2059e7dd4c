"""`python -m benchmarks.recurrent_models FOLDER`: small networks, trained for seconds on sequences made here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

ROWS, TEST, STEPS, FEATURES, CLASSES, UNITS = 2400, 400, 32, 10, 6, 24
"""The last TEST of ROWS sequences are those that no network is trained on."""


def keywords(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences in which a band of energy glides through the features, and the kind of the glide."""
    labels = random.integers(0, CLASSES, ROWS)
    times = np.linspace(0, 1, STEPS)
    paths = np.stack([times, 1 - times, times**2, 1 - times**2, np.abs(2 * times - 1), 1 - np.abs(2 * times - 1)])
    centers = paths[labels] * (FEATURES - 3) + random.uniform(0, 2, (ROWS, 1))
    energy = np.exp(-0.5 * np.square(np.arange(FEATURES) - centers[..., np.newaxis]))
    return (energy + random.normal(0, 0.45, energy.shape)).astype(np.float32), labels


def waves(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of two waves with noise, and the next value of each."""
    times = np.arange(STEPS + 1)
    speeds, phases = random.uniform(0.1, 0.7, (2, ROWS, 1)), random.uniform(0, 2 * np.pi, (2, ROWS, 1))
    values = np.sin(speeds[0] * times + phases[0]) + 0.5 * np.sin(speeds[1] * times + phases[1])
    noisy = values[:, :-1, np.newaxis] + random.normal(0, 0.03, (ROWS, STEPS, 1))
    return noisy.astype(np.float32), values[:, -1:].astype(np.float32)


def main(folder: str) -> None:
    import keras
    import tf_keras

    target, random = Path(folder), np.random.default_rng(0)
    sounds, kinds = keywords(random)
    series, following = waves(random)
    np.savez(target / "keywords.npz", x=sounds, label=kinds)
    np.savez(target / "waves.npz", x=series, label=following)
    np.savez(target / "chunks.npz", label=kinds, allow_pickle=False, **_chunks(sounds, kinds, keras, target))
    for name, layers in _stacks(keras.layers).items():
        data, answers = (series, following) if name == "lstm_forecaster" else (sounds, kinds)
        _trained(keras, layers, data, answers).save(target / f"{name}.keras")
    old = _trained(tf_keras, [tf_keras.layers.GRU(UNITS), tf_keras.layers.Dense(CLASSES)], sounds, kinds)
    old.save(target / "keyword_gru_keras2.h5")


def _stacks(layers: Any) -> dict[str, list[Any]]:
    return {
        "keyword_gru": [layers.GRU(UNITS), layers.Dense(CLASSES)],
        "lstm_forecaster": [layers.LSTM(UNITS), layers.Dense(1)],
        "bidirectional_lstm": [layers.Bidirectional(layers.LSTM(UNITS // 2)), layers.Dense(CLASSES)],
        "bidirectional_gru": [
            layers.Bidirectional(layers.GRU(UNITS // 2, return_sequences=True)),
            layers.GlobalAveragePooling1D(),
            layers.Dense(CLASSES),
        ],
        "stacked": [
            layers.LSTM(UNITS, return_sequences=True),
            layers.GRU(UNITS),
            layers.Dense(CLASSES),
        ],
    }


def _trained(kind: Any, layers: list[Any], data: np.ndarray, answers: np.ndarray) -> Any:
    kind.utils.set_random_seed(0)
    inputs = kind.Input(data.shape[1:], name="x")
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    model = kind.Model(inputs, outputs)
    fit(kind, model, data, answers)
    return model


def fit(kind: Any, model: Any, data: np.ndarray, answers: np.ndarray) -> None:
    """Train the model for eight rounds with all rows but the last TEST."""
    loss = "mse" if answers.ndim > 1 else kind.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(kind.optimizers.Adam(5e-3), loss)
    model.fit(data[:-TEST], answers[:-TEST], 64, 8, verbose=0)


def _chunks(sounds: np.ndarray, kinds: np.ndarray, keras: Any, target: Path) -> dict[str, np.ndarray]:
    """Save a GRU that reads half a sequence and a state, and return its inputs: second halves with their states."""
    keras.utils.set_random_seed(0)
    layers, half = keras.layers, STEPS // 2
    gru, dense = layers.GRU(UNITS, return_state=True, name="gru"), layers.Dense(CLASSES, name="answer")
    whole = keras.Input((STEPS, FEATURES), name="x")
    fit(keras, keras.Model(whole, dense(gru(whole)[0])), sounds, kinds)
    chunk, state = keras.Input((half, FEATURES), name="x"), keras.Input((UNITS,), name="state")
    _, after = gru(chunk, initial_state=state)
    streaming = keras.Model([chunk, state], {"answer": dense(after), "after": after})
    streaming.save(target / "states_in_and_out.keras")
    start = np.zeros((len(sounds), UNITS), np.float32)
    states = streaming.predict([sounds[:, :half], start], verbose=0)["after"]
    return {"x": sounds[:, half:], "state": states}


if __name__ == "__main__":
    main(sys.argv[1])
