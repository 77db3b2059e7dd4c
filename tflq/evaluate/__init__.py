"""Run files on evaluation samples, and record how their outputs differ from those of the float32 file."""

from tflq.evaluate.answers import NO_CLASS, Answers
from tflq.evaluate.measuring import batches, measure, output_ranges, time
from tflq.evaluate.plan import EvaluationPlan, EvaluationRows, evaluation_rows, refuse_unknown_ids, split, stack
from tflq.evaluate.record import Record, merge
from tflq.evaluate.recorded import FLOAT32, SOURCE, load_outputs, record_outputs, save_outputs
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
    "batches",
    "evaluation_rows",
    "load_outputs",
    "measure",
    "merge",
    "output_ranges",
    "record_outputs",
    "refuse_unknown_ids",
    "save_outputs",
    "split",
    "stack",
    "time",
]
