"""Rules that every .tflite file must keep, whatever its mode: a file that breaks one computes something wrong.

After the LiteRT 8-bit quantization specification, the operator properties of TensorFlow's quantizer, and what LiteRT's
kernels check. All were held against files of every mode that TensorFlow 2.21 makes; none fires on a file that is right.
"""

from tflq.rules.registry import RULES, violations
from tflq.rules.violation import Rule, Severity, Violation

__all__ = ["RULES", "Rule", "Severity", "Violation", "violations"]
