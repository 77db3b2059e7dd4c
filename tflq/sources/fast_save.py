"""Save a function with its variables as a SavedModel, without the functions of TensorFlow's saver.

TensorFlow traces two functions that save and restore the variables, which takes longer than all else in a save. The
converter needs a graph that restores them, but that graph is a few nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tflq.sources.prepared import SIGNATURE

FILE_NAME, RESTORE, RESTORE_ALL = "tflq_file_name", "tflq_restore", "tflq_restore_all"
"""The names of the nodes: the path of the variables' files, the values in these files, and all assignments."""
KEY = "resources/{}/.ATTRIBUTES/VARIABLE_VALUE"
"""The key of a variable in the files, by its position."""


def save_function(function: Any, variables: Sequence[Any], folder: Path) -> bool:
    """Save the concrete function as the only signature, and return whether that was possible.

    It is not if the function needs more than these variables, or if two variables have the same name.
    """
    import tensorflow as tf

    module = tf.Module()
    module.resources = list(variables)
    options = tf.saved_model.SaveOptions(experimental_skip_saver=True)
    try:
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: function}, options=options)
    except AssertionError:  # the function refers to a table or another resource of the whole model
        return False
    return _add_restoring(folder / "saved_model.pb", variables)


def _add_restoring(file: Path, variables: Sequence[Any]) -> bool:
    """Add the nodes that restore the variables. Return whether each variable has one handle in the graph."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    (meta,) = saved.meta_graphs
    handles = {
        node.attr["shared_name"].s.decode(): node.name for node in meta.graph_def.node if node.op == "VarHandleOp"
    }
    names = [variable.name.partition(":")[0] for variable in variables]
    if sorted(names) != sorted(handles):
        return False
    if not names:
        return True
    with tf.Graph().as_default() as graph:
        tf.compat.v1.placeholder(tf.string, [], FILE_NAME)
        tf.raw_ops.RestoreV2(
            prefix=graph.get_tensor_by_name(f"{FILE_NAME}:0"),
            tensor_names=[KEY.format(position) for position in range(len(names))],
            shape_and_slices=[""] * len(names),
            dtypes=[variable.dtype for variable in variables],
            name=RESTORE,
        )
    meta.graph_def.node.extend(graph.as_graph_def().node)
    done = meta.graph_def.node.add(name=RESTORE_ALL, op="NoOp")
    for position, (name, variable) in enumerate(zip(names, variables, strict=True)):
        assignment = meta.graph_def.node.add(name=f"{RESTORE_ALL}_{position}", op="AssignVariableOp")
        assignment.input.extend([handles[name], f"{RESTORE}:{position}"])
        assignment.attr["dtype"].type = variable.dtype.as_datatype_enum
        done.input.append(f"^{assignment.name}")
    meta.saver_def.filename_tensor_name = meta.saver_def.save_tensor_name = f"{FILE_NAME}:0"
    meta.saver_def.restore_op_name, meta.saver_def.version = RESTORE_ALL, 2
    file.write_bytes(saved.SerializeToString())
    return True
