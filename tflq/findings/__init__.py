"""Facts about a file that make it worse than it looks, each with its cause and what to try."""

from tflq.findings.causes import Explanation, RuinedFile, explain, without_cause
from tflq.findings.static import static_findings

__all__ = ["Explanation", "RuinedFile", "explain", "static_findings", "without_cause"]
