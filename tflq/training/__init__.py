"""Optimization by training: pruning, weight clustering and quantization-aware training of the float model."""

from tflq.training.outcome import Epoch, Phase, TrainingResult
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
    "Training",
    "TrainingJob",
    "TrainingResult",
    "Validation",
    "check",
    "conflicts",
    "train",
]
