import numpy as np
import pytest

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.v1 import ACTIVATION_PROBABILITIES, DataType, Head, LabelGroup, MulticlassHead, TensorSpec

LABELS = ["cat", "dog", "trout", "carp"]
GROUPS = {"pet": ["dog", "cat"], "fish": ["trout", "carp"], "animal": ["pet", "fish"], "kept": ["carp", "pet"]}


def decoder_of(groups):
    groups = [LabelGroup(name=name, members=members) for name, members in groups]
    head = Head(name="h", output="o", activation=ACTIVATION_PROBABILITIES)
    head.multiclass.CopyFrom(MulticlassHead(labels=LABELS, groups=groups))
    return decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 4])])


def test_scores_are_the_sums_of_the_leaves():
    output = np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.5, 0], [np.nan, 0.1, 0.1, 0.8]], np.float32)
    columns = decoder_of(GROUPS.items()).decode({"o": output}, DecodeOptions(include_groups=True))
    leaves = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 0, 1]])
    np.testing.assert_allclose(columns.group_scores, output @ leaves.T, 1e-6)
    assert np.isnan(columns.group_scores[2]).all()
    assert columns.group_names == tuple(GROUPS)
    assert columns.group_scores.dtype == np.float32


def test_scores_do_not_go_beyond_1():
    output = np.full((1, 4), 0.25 + 2e-8, np.float32)
    output[0, 0] = np.nextafter(output[0, 0], np.float32(1))
    columns = decoder_of(GROUPS.items()).decode({"o": output}, DecodeOptions(include_groups=True))
    assert columns.group_scores[0, 2] == 1


@pytest.mark.parametrize("groups", [GROUPS, {}])
def test_groups_that_were_not_asked_for_or_are_not_there(groups):
    options = DecodeOptions(include_groups=not groups)
    columns = decoder_of(groups.items()).decode({"o": np.zeros((1, 4), np.float32)}, options)
    assert (columns.group_scores, columns.group_names) == (None, ())


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ([("", ["cat"])], "has an empty entry; give every entry a name"),
        ([("cat", ["dog"])], "has 'cat' 2 times; entries must differ"),
        ([("pet", ["dog"]), ("pet", ["cat"])], "has 'pet' 2 times; entries must differ"),
        ([("pet", [])], "'pet' has no members; give it one or more"),
        ([("pet", ["hamster"])], "'pet' has 'hamster', neither a label nor a group before it"),
        ([("animal", ["pet"]), ("pet", ["cat"])], "'animal' has 'pet', neither a label nor a group before it"),
        ([("pet", ["cat", "cat"])], "'pet' counts 'cat' twice; give each label once"),
        ([("pet", ["cat", "dog"]), ("home", ["dog", "pet"])], "'home' counts 'dog' twice; give each label once"),
    ],
)
def test_errors(groups, problem):
    with pytest.raises(HeadError) as caught:
        decoder_of(groups)
    assert (caught.value.field, caught.value.problem) == ("multiclass.groups", problem)
