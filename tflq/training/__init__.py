"""Training-side optimization: a float model, pruned, clustered or trained to be quantized."""

from tflq.training.outcome import Epoch, Phase, Trained
from tflq.training.recipe import Clustering, Pruning, Technique, Training, Validation, conflicts
from tflq.training.source import check
from tflq.training.train import ENVIRONMENT, Order, train

__all__ = [
    "ENVIRONMENT",
    "Clustering",
    "Epoch",
    "Order",
    "Phase",
    "Pruning",
    "Technique",
    "Trained",
    "Training",
    "Validation",
    "check",
    "conflicts",
    "train",
]
