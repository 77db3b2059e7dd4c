"""Run files on evaluation samples, and record how their outputs differ from those of the float32 file."""

from tflq.evaluate.answers import NO_CLASS, Answers
from tflq.evaluate.measuring import FLOAT32, SOURCE, Subject, batches, measure, output_ranges, time
from tflq.evaluate.plan import EvaluationPlan, EvaluationRows, evaluation_rows, refuse_unknown_ids, split, stack
from tflq.evaluate.record import Record, merge
from tflq.evaluate.recorder import SampleRecorder
from tflq.evaluate.section import Evaluation

__all__ = [
    "FLOAT32",
    "NO_CLASS",
    "SOURCE",
    "Answers",
    "Evaluation",
    "EvaluationPlan",
    "EvaluationRows",
    "Record",
    "SampleRecorder",
    "Subject",
    "batches",
    "evaluation_rows",
    "measure",
    "merge",
    "output_ranges",
    "refuse_unknown_ids",
    "split",
    "stack",
    "time",
]
