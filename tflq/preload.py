"""The module that the fork server imports once, so that every worker starts with TensorFlow and the stages.

The import writes nothing to the terminal.
"""

import gc
import os

from tflq.worker import ENVIRONMENT

gc.disable()  # these imports make very many objects, and a collection among them finds hardly any garbage

_devnull = os.open(os.devnull, os.O_WRONLY)
os.dup2(_devnull, 1)
os.dup2(_devnull, 2)
os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})

import sys  # noqa: E402

import ai_edge_litert.interpreter  # noqa: E402, F401

_blocks_sklearn = "sklearn" not in sys.modules
if _blocks_sklearn:
    # Keras imports scikit-learn where it is installed, for wrappers that no stage uses. That import takes long.
    sys.modules["sklearn"] = None  # type: ignore[assignment]
import tensorflow  # noqa: E402, F401

if _blocks_sklearn:
    del sys.modules["sklearn"]

import tflq.stages  # noqa: E402
import tflq.trials  # noqa: E402, F401

gc.freeze()  # a collection in a worker would otherwise visit, and so copy, all objects of TensorFlow
gc.enable()
