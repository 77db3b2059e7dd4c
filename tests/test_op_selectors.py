"""How ops are named: each selector against the ops of a small graph with names as the converter makes them."""

from __future__ import annotations

import pytest

from tflq.errors import RecipeError
from tflq.flatbuffer import Graph, Operator, Signature, Subgraph, Tensor
from tflq.op_selectors import ops, scopes, select

KERAS2 = (
    ("CONV_2D", "model/relu/Relu6;model/bn/FusedBatchNormV3;model/conv/Conv2D"),
    ("CONV_2D", "model/block_1/conv/Conv2D1"),
    ("ADD", "model/add/add"),
    ("ADD", "model/add_1/add"),
    ("RELU", "Relu;x"),
    ("FULLY_CONNECTED", "model/dense[0]/MatMul"),
    ("SOFTMAX", "StatefulPartitionedCall:0"),
)
KERAS3 = (
    ("CONV_2D", "functional_1/relu_1/Relu;functional_1/stem_1/convolution"),
    ("FULLY_CONNECTED", "functional_1/dense_1/MatMul"),
    ("FULLY_CONNECTED", "functional_1/dense_1_2/MatMul1"),
)


def graph(named: tuple[tuple[str, str], ...]) -> Graph:
    """Each op reads what the one before it writes."""
    names = ("input", *(name for _, name in named))
    tensors = tuple(Tensor(index, name, "float32", (1, 4), (1, 4), index) for index, name in enumerate(names))
    operators = tuple(Operator(index, type_, 1, (index,), (index + 1,)) for index, (type_, _) in enumerate(named))
    main = Subgraph(0, "main", tensors, operators, (0,), (len(named),))
    signature = Signature("serving_default", 0, (("x", 0),), (("scores", len(named)),))
    return Graph((main,), (signature,), (), 0, 3, "")


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("CONV_2D", {0, 1}),
        ("conv_2d", {0, 1}),
        ("softmax", {6}),
        ("#0", {0}),
        ("#6", {6}),
        ("RELU", {4}),
        ("bn", {0}),
        ("conv", {0, 1}),
        ("block_1/conv", {1}),
        ("/model/block_1/", {1}),
        ("model/block_1/conv/Conv2D1", {1}),
        ("model/conv/Conv2D", {0}),
        ("add_1", {3}),
        ("ADD", {2, 3}),
        ("model/dense[0]/MatMul", {5}),
        ("*/Conv2D", {0}),
        ("*/Conv2D*", {0, 1}),
        ("model/add*/add", {2, 3}),
        ("model/relu/*;*/Conv2D", {0}),
        ("scores", {6}),
        ("StatefulPartitionedCall:0", {6}),
        ("*", {0, 1, 2, 3, 4, 5, 6}),
    ],
)
def test_selector_chooses(selector: str, chosen: set[int]) -> None:
    assert select(graph(KERAS2), [selector]) == chosen


def test_selectors_add_up() -> None:
    assert select(graph(KERAS2), ["#1", "SOFTMAX", "block_1"]) == {1, 6}
    assert select(graph(KERAS2), []) == frozenset()


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("sofmax", "'sofmax' names no op (did you mean 'SOFTMAX'?)"),
        ("block_2/conv", "'block_2/conv' names no op (did you mean 'block_1/conv'?)"),
        ("*/conv2d", "'*/conv2d' names no op (did you mean 'model/conv/Conv2D'? Names are case-sensitive)"),
        ("zzz", "'zzz' names no op"),
        ("#7", "there is no op #7: the model has 7 ops, from #0 to #6"),
        (
            "add",
            "'add' is the type ADD (#2, #3) and a name (#2): write ADD for the type, or a number such as '#2' for the"
            " other",
        ),
    ],
)
def test_what_names_nothing_or_two_things_is_refused(selector: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        select(graph(KERAS2), [selector])
    assert str(error.value) == f"keep_float: {said}; `tflq ops RECIPE` lists all types, names and numbers"


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(RecipeError, match=r"'nothing' names no op; there is no op #99: .*; `tflq ops"):
        select(graph(KERAS2), ["nothing", "CONV_2D", "#99"])


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [("stem_1", {0}), ("stem", {0}), ("dense", {1}), ("dense_1_2", {2}), ("functional_1/dense_1", {1})],
)
def test_layers_of_keras_3_are_found_under_their_new_numbers(selector: str, chosen: set[int]) -> None:
    assert select(graph(KERAS3), [selector]) == chosen


def test_number_that_keras_3_may_have_added_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"'dense_1' is a scope \(#1\), but a layer of that name may be 'dense_1_2'"):
        select(graph(KERAS3), ["dense_1"])


def test_scopes_are_those_around_each_part() -> None:
    fused, *_, last = ops(graph(KERAS2))
    assert scopes(fused) == ("model/relu", "model/bn", "model/conv")
    assert scopes(last) == ()
