import math
import pickle

import pytest

from headgate.decoders import HeadError, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    BinaryHead,
    DataType,
    Head,
    MulticlassHead,
    MultilabelHead,
    RegressionHead,
    TargetScaling,
    TensorSpec,
)


def head(activation=ACTIVATION_LOGITS, **kind):
    return Head(name="h", output="o", activation=activation, **kind)


def outputs(units):
    return [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, units])]


def regression(**fields):
    return head(ACTIVATION_LINEAR, regression=RegressionHead(**fields))


def scaled(**fields):
    return regression(scaling=TargetScaling(**fields))


def binary(**fields):
    return head(binary=BinaryHead(**{"labels": ["no", "yes"]} | fields))


@pytest.mark.parametrize(
    ("head", "units"),
    [
        (regression(), 1),
        (regression(targets=["a", "b"], units=["kg", "kg"]), 2),
        (regression(targets=["a", "b"], units=["kg"]), 2),
        (scaled(mean=[1], scale=[2], log1p=True), 3),
        (scaled(mean=[1, 2, 3], scale=[1, 2, -3]), 3),
        (binary(), 1),
        (binary(positive_label="no", threshold=0), 2),
        (binary(threshold=1), 1),
        (head(multiclass=MulticlassHead(labels=["only"])), 1),
        (head(ACTIVATION_PROBABILITIES, multiclass=MulticlassHead(labels=["a", "b"], top_k=9)), 2),
        (head(multilabel=MultilabelHead(labels=["a"])), 1),
        (head(multilabel=MultilabelHead(labels=["a", "b"], thresholds=[0.3])), 2),
        (head(multilabel=MultilabelHead(labels=["a", "b"], thresholds=[0, 1])), 2),
    ],
)
def test_sound_heads_pass(head, units):
    decoder = decoder_for(head, outputs(units))
    assert (decoder.head, decoder.reads) == ("h", {"o": (-1, units)})


@pytest.mark.parametrize(
    ("head", "units", "field"),
    [
        (Head(output="o", activation=ACTIVATION_LINEAR, regression=RegressionHead()), 1, "name"),
        (Head(name="h", activation=ACTIVATION_LINEAR, regression=RegressionHead()), 1, "output"),
        (head(), 1, "kind"),
        (regression(), -1, "output"),
        (regression(), 0, "output"),
        (head(ACTIVATION_LOGITS, regression=RegressionHead()), 1, "activation"),
        (head(ACTIVATION_LINEAR, binary=BinaryHead(labels=["no", "yes"])), 1, "activation"),
        (head(0, multiclass=MulticlassHead(labels=["a"])), 1, "activation"),
        (head(77, multiclass=MulticlassHead(labels=["a"])), 1, "activation"),
        (head(ACTIVATION_LINEAR, multilabel=MultilabelHead(labels=["a"])), 1, "activation"),
        (regression(targets=["a"]), 2, "regression.targets"),
        (regression(targets=["a", "a"]), 2, "regression.targets"),
        (regression(units=["kg", "m"]), 3, "regression.units"),
        (scaled(mean=[1, 2]), 3, "regression.scaling.mean"),
        (scaled(mean=[math.nan]), 3, "regression.scaling.mean"),
        (scaled(scale=[1, 2]), 1, "regression.scaling.scale"),
        (scaled(scale=[1, 0]), 2, "regression.scaling.scale"),
        (scaled(scale=[math.inf]), 2, "regression.scaling.scale"),
        (binary(), 3, "output"),
        (binary(labels=["yes"]), 1, "binary.labels"),
        (binary(labels=["yes", "no", "maybe"]), 2, "binary.labels"),
        (binary(labels=["yes", "yes"]), 2, "binary.labels"),
        (binary(labels=["", "yes"]), 2, "binary.labels"),
        (binary(positive_label="maybe"), 1, "binary.positive_label"),
        (binary(threshold=1.5), 1, "binary.threshold"),
        (binary(threshold=math.nan), 1, "binary.threshold"),
        (head(multiclass=MulticlassHead(labels=["a", "b"])), 3, "multiclass.labels"),
        (head(multiclass=MulticlassHead(labels=["a", "b"])), 1, "multiclass.labels"),
        (head(multiclass=MulticlassHead()), 1, "multiclass.labels"),
        (head(multiclass=MulticlassHead(labels=["a", "b", "a"])), 3, "multiclass.labels"),
        (head(multiclass=MulticlassHead(labels=["a", ""])), 2, "multiclass.labels"),
        (head(multiclass=MulticlassHead(labels=["a", "b"], abstain_below=1.5)), 2, "multiclass.abstain_below"),
        (head(multiclass=MulticlassHead(labels=["a", "b"], abstain_below=math.nan)), 2, "multiclass.abstain_below"),
        (head(multilabel=MultilabelHead(labels=["a"])), 2, "multilabel.labels"),
        (head(multilabel=MultilabelHead(labels=["a", "a"])), 2, "multilabel.labels"),
        (head(multilabel=MultilabelHead(labels=["a", "b", "c"], thresholds=[0.1, 0.2])), 3, "multilabel.thresholds"),
        (head(multilabel=MultilabelHead(labels=["a", "b"], thresholds=[0.1, -0.2])), 2, "multilabel.thresholds"),
        (head(multilabel=MultilabelHead(labels=["a", "b"], thresholds=[math.nan])), 2, "multilabel.thresholds"),
    ],
)
def test_errors_name_the_head_and_the_field(head, units, field):
    with pytest.raises(HeadError) as caught:
        decoder_for(head, outputs(units))
    assert (caught.value.head, caught.value.field) == (head.name, field)
    assert str(caught.value).startswith(f"head '{head.name}': {field} ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "units", "message"),
    [
        (
            head(multiclass=MulticlassHead(labels=["a", "b"])),
            3,
            "head 'h': multiclass.labels has 2 entries, output 'o' has 3 units; give 3",
        ),
        (
            head(multiclass=MulticlassHead(labels=["a", "b", "a"])),
            3,
            "head 'h': multiclass.labels has 'a' 2 times; entries must differ",
        ),
        (
            head(ACTIVATION_LINEAR, multilabel=MultilabelHead(labels=["a"])),
            1,
            "head 'h': activation is ACTIVATION_LINEAR, "
            "a multilabel head needs ACTIVATION_LOGITS or ACTIVATION_PROBABILITIES",
        ),
        (
            scaled(mean=[1, 2]),
            1,
            "head 'h': regression.scaling.mean has 2 entries, output 'o' has 1 unit; give none or one",
        ),
        (binary(positive_label="maybe"), 1, "head 'h': binary.positive_label is 'maybe'; give 'no' or 'yes'"),
    ],
)
def test_messages(head, units, message):
    with pytest.raises(HeadError) as caught:
        decoder_for(head, outputs(units))
    assert str(caught.value) == message


def test_an_output_of_a_type_of_a_newer_headgate_is_none():
    newer = TensorSpec(name="o", datatype=99, shape=[-1, 1])
    with pytest.raises(HeadError, match=r"^head 'h': output is 'o'; the model's outputs are p$"):
        decoder_for(regression(), [newer, TensorSpec(name="p", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 1])])


def test_names_of_several_lines_make_no_message_of_several():
    labels = MulticlassHead(labels=["a\nERROR b", "a\nERROR b"])
    with pytest.raises(HeadError, match=r"^head 'h': multiclass.labels has 'a ERROR b' 2 times; entries must differ$"):
        decoder_for(head(multiclass=labels), outputs(2))


def test_errors_cross_process_boundaries():
    error = pickle.loads(pickle.dumps(HeadError("h", "output", "is empty")))
    assert str(error) == "head 'h': output is empty"
