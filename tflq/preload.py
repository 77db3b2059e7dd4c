"""Imported by the fork server, once and in silence: TensorFlow and the stages, which every worker then has at once."""

import os

from tflq.worker import ENVIRONMENT

_nowhere = os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 1)
os.dup2(_nowhere, 2)
os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})

import ai_edge_litert.interpreter  # noqa: E402, F401
import tensorflow  # noqa: E402, F401

import tflq.stages  # noqa: E402
import tflq.trials  # noqa: E402, F401
