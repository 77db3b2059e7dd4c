"""Rules that every .tflite file must follow, whatever its mode. A file that breaks a rule computes wrong values.

The rules come from the LiteRT 8-bit quantization specification, from the operator properties of TensorFlow's quantizer,
and from the checks of LiteRT's kernels. They were tried on files of every mode that TensorFlow 2.21 writes. No rule
reports a correct file.
"""

from tflq.rules.rule_list import RULES, violations
from tflq.rules.violation import Rule, Severity, Violation

__all__ = ["RULES", "Rule", "Severity", "Violation", "violations"]
