"""Training-side optimization: a float model, pruned, clustered or trained to be quantized."""

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
