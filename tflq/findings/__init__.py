"""Facts about a file that make it worse than it looks, each with its cause and what to try."""

from tflq.findings.causes import CALLS, Look, look, without_cause
from tflq.findings.static import static_findings

__all__ = ["CALLS", "Look", "look", "static_findings", "without_cause"]
