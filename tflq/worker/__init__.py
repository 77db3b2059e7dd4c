"""Run functions in child processes, within limits. A listener gets events and output, and a crash becomes an error.

A process runs many functions, one after another. TensorFlow, LiteRT and the code of the user can crash or hang their
process. So they never run in the process that talks to the user.
"""

from tflq.worker.budget import Budget, processors
from tflq.worker.child import ENVIRONMENT, require_own_process
from tflq.worker.control_groups import HERE, ControlGroups
from tflq.worker.disk import disk_full_error
from tflq.worker.fork_server import kill_fork_server, preload_tensorflow
from tflq.worker.messages import (
    BackgroundTask,
    Done,
    Event,
    Failed,
    Finished,
    Listener,
    LogText,
    Progress,
    ProgressCallback,
    Started,
    Task,
)
from tflq.worker.pool import WorkerPool
from tflq.worker.workers import Workers

__all__ = [
    "ENVIRONMENT",
    "HERE",
    "BackgroundTask",
    "Budget",
    "ControlGroups",
    "Done",
    "Event",
    "Failed",
    "Finished",
    "Listener",
    "LogText",
    "Progress",
    "ProgressCallback",
    "Started",
    "Task",
    "WorkerPool",
    "Workers",
    "disk_full_error",
    "kill_fork_server",
    "preload_tensorflow",
    "processors",
    "require_own_process",
]
