"""Facts about a file that make it worse than it looks, each with its cause and what to try."""

from tflq.findings.causes import Explanation, Look, explain, without_cause
from tflq.findings.static import static_findings

__all__ = ["Explanation", "Look", "explain", "static_findings", "without_cause"]
