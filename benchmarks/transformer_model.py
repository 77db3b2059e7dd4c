"""`python -m benchmarks.transformer_model FOLDER`: a small transformer, trained briefly on questions made here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recurrent_models import fit

ROWS, TOKENS, KEYS, CLASSES, WIDTH, HEADS = 8000, 20, 4, 6, 32, 2
PADDING, WRONG = 0, 0.25
"""The id of the padding, and the share of pairs with an arbitrary value."""
VOCABULARY = 1 + KEYS + KEYS * CLASSES
"""Padding, a token that asks for each key, and a token for each pair of a key and its value."""


def questions(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences of ids, with padding behind them, and the value of the key that the first token asks for."""
    values = random.integers(0, CLASSES, (ROWS, KEYS))
    asked, lengths = random.integers(0, KEYS, ROWS), random.integers(KEYS + 1, TOKENS + 1, ROWS)
    keys = random.integers(0, KEYS, (ROWS, TOKENS))
    keys[:, 1 : KEYS + 1] = random.permuted(np.tile(np.arange(KEYS), (ROWS, 1)), axis=1)
    said = np.take_along_axis(values, keys, axis=1)
    said = np.where(random.random(said.shape) < WRONG, random.integers(0, CLASSES, said.shape), said)
    ids = 1 + KEYS + keys * CLASSES + said
    ids[:, 0] = 1 + asked
    ids[np.arange(TOKENS) >= lengths[:, np.newaxis]] = PADDING
    return ids.astype(np.int32), values[np.arange(ROWS), asked]


def transformer(keras: Any) -> Any:
    """Return two blocks over embedded ids. Keras makes the mask of the attention and of the mean from the padding."""
    layers = keras.layers
    ids = keras.Input((TOKENS,), dtype="int32", name="ids")
    words = layers.Embedding(VOCABULARY, WIDTH, mask_zero=True)(ids)
    for _ in range(2):
        normal = layers.LayerNormalization()(words)
        words = layers.Add()([words, layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(normal, normal)])
        wide = layers.Dense(2 * WIDTH, activation="gelu")(layers.LayerNormalization()(words))
        words = layers.Add()([words, layers.Dense(WIDTH)(wide)])
    mean = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(words))
    return keras.Model(ids, layers.Dense(CLASSES, name="answer")(mean))


def main(folder: str) -> None:
    import keras

    target = Path(folder)
    ids, answers = questions(np.random.default_rng(0))
    np.savez(target / "questions.npz", ids=ids, label=answers)
    keras.utils.set_random_seed(0)
    model = transformer(keras)
    fit(keras, model, ids, answers)
    model.save(target / "transformer.keras")


if __name__ == "__main__":
    main(sys.argv[1])
