"""Optimization by training: pruning, weight clustering and quantization-aware training of the float model."""

from tflq.training.outcome import Epoch, Phase, Trained
from tflq.training.schema import Clustering, Pruning, Technique, Training, Validation, conflicts
from tflq.training.source import check
from tflq.training.train import ENVIRONMENT, TrainingJob, train

__all__ = [
    "ENVIRONMENT",
    "Clustering",
    "Epoch",
    "Phase",
    "Pruning",
    "Technique",
    "Trained",
    "Training",
    "TrainingJob",
    "Validation",
    "check",
    "conflicts",
    "train",
]
