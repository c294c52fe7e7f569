import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    DataType,
    Head,
    KeypointsHead,
    PixelLayout,
    TensorSpec,
)

CHANNELS_FIRST = PixelLayout.PIXEL_LAYOUT_CHANNELS_FIRST
HEATMAPS, COORDINATES = KeypointsHead.FORM_HEATMAPS, KeypointsHead.FORM_COORDINATES
TYPES = ["float16", "float32", "float64"]


def names(count):
    return [f"point {index}" for index in range(count)]


def make_decoder(shape, activation=ACTIVATION_LINEAR, **fields):
    head = Head(name="h", output="o", activation=activation, keypoints=KeypointsHead(**fields))
    return decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=shape)])


def find(heatmaps, activation=ACTIVATION_LINEAR, *, layout=0, relative=False, **fields):
    """Decode heatmaps [rows, points, height, width] in any layout."""
    points = heatmaps.shape[1]
    output = heatmaps if layout else np.ascontiguousarray(np.moveaxis(heatmaps, 1, 3))
    shape = [-1, points, -1, -1] if layout else [-1, -1, -1, points]
    decoder = make_decoder(shape, activation, names=names(points), form=HEATMAPS, layout=layout, **fields)
    return decoder.decode({"o": output}, DecodeOptions(relative_coordinates=relative))


def read(output, points, *, asked=False, **fields):
    decoder = make_decoder([-1, *output.shape[1:]], names=names(points), form=COORDINATES, **fields)
    options = DecodeOptions(relative_coordinates=asked)
    decoder.check(options)
    return decoder.decode({"o": output}, options)


def gaussians(centres, height, width, sigma=1.7):
    """Heatmaps [rows, points, height, width] of Gaussians around (x, y) of each point: [rows, points, 2]."""
    x, y = centres[..., 0, None, None], centres[..., 1, None, None]
    distances = (np.arange(width) - x) ** 2 + (np.arange(height)[:, None] - y) ** 2
    return 0.9 * np.exp(-distances / (2 * sigma**2))


@st.composite
def batches(draw):
    """Heatmaps with ties, infinities and NaN: [rows, points, height, width]."""
    shape = tuple(draw(st.integers(low, high)) for low, high in ((0, 4), (1, 3), (1, 5), (1, 5)))
    elements = st.sampled_from([0, 0.5, 1, -1, np.nan, np.inf, -np.inf]) | st.floats(-9, 9, width=16)
    return draw(hnp.arrays(draw(st.sampled_from(TYPES)), shape, elements=elements))


@pytest.mark.parametrize("layout", [0, CHANNELS_FIRST])
@pytest.mark.parametrize("dtype", TYPES)
def test_the_brightest_pixel(dtype, layout):
    heatmaps = np.random.default_rng(1).normal(size=(4, 3, 6, 9)).astype(dtype)
    columns = find(heatmaps, layout=layout)
    assert (columns.names, columns.relative, columns.valid.all()) == (tuple(names(3)), False, True)
    assert (columns.points.dtype, columns.scores.dtype) == (np.float32, np.float32)
    for row in range(4):
        for point in range(3):
            y, x = np.unravel_index(heatmaps[row, point].argmax(), (6, 9))
            assert columns.points[row, point].tolist() == [x, y]
            assert columns.scores[row, point] == np.float32(heatmaps[row, point].max())


@pytest.mark.parametrize("layout", [0, CHANNELS_FIRST])
@pytest.mark.parametrize("stride", [0, 1, 4])
def test_refinement_finds_the_peak_of_a_gaussian(stride, layout):
    centres = np.random.default_rng(2).uniform(2, 12, (5, 3, 2))
    columns = find(gaussians(centres, 15, 17), layout=layout, refine=True, stride=stride)
    np.testing.assert_allclose(columns.points, centres * (stride or 1), 1e-5)
    rough = find(gaussians(centres, 15, 17), layout=layout, stride=stride)
    np.testing.assert_array_equal(rough.points, np.rint(centres) * (stride or 1))
    np.testing.assert_array_equal(rough.scores, columns.scores)


def test_refinement_of_logits_is_that_of_their_probabilities():
    centres = np.random.default_rng(3).uniform(2, 12, (5, 3, 2))
    probabilities = gaussians(centres, 15, 17)
    columns = find(scipy.special.logit(probabilities), ACTIVATION_LOGITS, refine=True)
    np.testing.assert_allclose(columns.points, centres, 1e-5)
    np.testing.assert_allclose(columns.scores, probabilities.max(axis=(2, 3)), 1e-6)
    same = find(probabilities, ACTIVATION_PROBABILITIES, refine=True)
    np.testing.assert_allclose(columns.points, same.points, 1e-5)


@pytest.mark.parametrize(
    ("heatmap", "expected"),
    [
        ([[9, 4, 1], [4, 2, 1], [1, 1, 1]], [0, 0]),
        ([[1, 1, 1], [1, 2, 4], [1, 4, 9]], [2, 2]),
        ([[0, 0, 0], [0, 5, 4], [0, 0, 0]], [1, 1]),
        ([[1, 1, 1], [-1, 5, 4], [1, 1, 1]], [1, 1]),
        ([[-1, -1, -1], [-1, -0.5, -0.7], [-1, -1, -1]], [1, 1]),
        ([[1, 1, 1], [1, 1, 1], [1, 1, 1]], [0, 0]),
        ([[0, 0, 0], [1, 1, 1], [0, 0, 0]], [0, 1]),
        ([[1, 1, 1], [1, 2, 2], [1, 1, 1]], [1.5, 1]),
        ([[0, 0, 0], [1, 2, 1], [0, 1, 0]], [1, 1]),
    ],
)
def test_refinement_falls_back(heatmap, expected):
    columns = find(np.array(heatmap, float)[None, None], refine=True)
    np.testing.assert_allclose(columns.points[0, 0], expected)


@given(batches(), st.sampled_from([ACTIVATION_LINEAR, ACTIVATION_LOGITS]), st.sampled_from([0, CHANNELS_FIRST]))
def test_refinement_moves_by_half_a_pixel_at_most(heatmaps, activation, layout):
    rough, fine = (find(heatmaps, activation, layout=layout, refine=refine) for refine in (False, True))
    np.testing.assert_array_equal(rough.valid, fine.valid)
    assert (np.abs(rough.points - fine.points)[rough.valid] <= 0.5).all()


@given(batches(), st.booleans(), st.randoms(use_true_random=False))
def test_rows_one_by_one_in_any_order(heatmaps, refine, random):
    before = heatmaps.copy()
    together = find(heatmaps, refine=refine)
    for row in random.sample(range(len(heatmaps)), len(heatmaps)):
        alone = find(heatmaps[row : row + 1], refine=refine)
        for field in ("points", "scores", "valid"):
            np.testing.assert_array_equal(getattr(alone, field), getattr(together, field)[row : row + 1], field)
    np.testing.assert_array_equal(heatmaps, before)


@given(batches(), st.sampled_from([ACTIVATION_LINEAR, ACTIVATION_LOGITS]))
def test_heatmaps_that_show_nothing_are_invalid(heatmaps, activation):
    columns = find(heatmaps, activation, refine=True)
    best = heatmaps.max(axis=(2, 3))
    impossible = np.isnan(best) if activation == ACTIVATION_LOGITS else ~np.isfinite(best)
    np.testing.assert_array_equal(columns.valid, ~impossible.any(axis=1))
    for array in (columns.points, columns.scores):
        assert np.isnan(array[~columns.valid]).all()
        assert np.isfinite(array[columns.valid]).all()


@pytest.mark.parametrize(
    ("fields", "expected"), [({}, [3 / 8, 1 / 4]), ({"image_width": 40, "image_height": 20}, [12 / 40, 4 / 20])]
)
def test_points_of_heatmaps_relative_to_the_image(fields, expected):
    heatmaps = np.zeros((1, 1, 4, 8))
    heatmaps[0, 0, 1, 3] = 1
    columns = find(heatmaps, stride=4, relative=True, **fields)
    assert columns.relative
    np.testing.assert_allclose(columns.points[0, 0], expected)
    assert find(heatmaps, stride=4, **fields).points.tolist() == [[[12, 4]]]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("numbers", [2, 3])
@pytest.mark.parametrize("dtype", TYPES)
def test_coordinates(numbers, flat, dtype):
    output = np.random.default_rng(4).normal(scale=50, size=(5, 4, numbers)).astype(dtype)
    columns = read(output.reshape(5, 4 * numbers) if flat else output, 4)
    np.testing.assert_array_equal(columns.points, output[..., :2].astype(np.float32))
    if numbers == 2:
        assert columns.scores is None
    else:
        np.testing.assert_array_equal(columns.scores, output[..., 2].astype(np.float32))
    assert (columns.relative, columns.points.dtype) == (False, np.float32)


@pytest.mark.parametrize(
    ("relative", "size", "asked", "factor", "answer"),
    [
        (False, {}, False, (1, 1), False),
        (False, {"image_width": 640, "image_height": 480}, False, (1, 1), False),
        (False, {"image_width": 640, "image_height": 480}, True, (1 / 640, 1 / 480), True),
        (True, {"image_width": 640, "image_height": 480}, False, (640, 480), False),
        (True, {"image_width": 640, "image_height": 480}, True, (1, 1), True),
        (True, {}, True, (1, 1), True),
        (True, {}, False, (1, 1), True),
    ],
)
def test_coordinates_in_pixels_and_relative_to_the_image(relative, size, asked, factor, answer):
    output = np.random.default_rng(5).random((3, 2, 2))
    columns = read(output, 2, relative=relative, asked=asked, **size)
    np.testing.assert_allclose(columns.points, output * factor, 1e-6)
    assert columns.relative == answer


def test_relative_coordinates_need_the_size_of_the_image():
    with pytest.raises(ValueError, match=r"^head 'h' cannot give relative coordinates: the image's size is not known"):
        read(np.zeros((1, 4)), 2, asked=True)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 4, 5])
def test_coordinates_that_are_none_are_invalid(place, wrong):
    output = np.ones((3, 6))
    output[1, place] = wrong
    columns = read(output, 2)
    assert columns.valid.tolist() == [True, False, True]
    assert np.isnan(columns.points).all(axis=(1, 2)).tolist() == [False, True, False]
    assert np.isnan(columns.scores).all(axis=1).tolist() == [False, True, False]


def test_no_rows():
    assert read(np.zeros((0, 6)), 3).points.shape == (0, 3, 2)
    assert find(np.zeros((0, 3, 4, 5))).scores.shape == (0, 3)


@pytest.mark.parametrize("refine", [False, True])
def test_no_pixels(refine):
    columns = find(np.zeros((2, 3, 0, 5)), refine=refine)
    assert columns.valid.tolist() == [False, False]
    assert np.isnan(columns.points).all()


@pytest.mark.parametrize("form", [HEATMAPS, COORDINATES])
def test_the_output_is_not_shared(form):
    output = np.ones((2, 3, 3, 2) if form == HEATMAPS else (2, 6), np.float32)
    decoder = make_decoder([-1, *output.shape[1:]], names=names(2), form=form)
    columns = decoder.decode({"o": output}, DecodeOptions())
    columns.points[:] = columns.scores[:] = 7
    assert (output == 1).all()


@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        ([-1, 4], {"form": 0}, "keypoints.form is FORM_UNSPECIFIED; give FORM_HEATMAPS or FORM_COORDINATES"),
        ([-1, 4], {"form": 9}, "keypoints.form is 9; give"),
        ([-1, 4], {"form": HEATMAPS}, r"output 'o' is FP32 \[batch,4\]; a keypoints head of this layout reads"),
        ([-1, 8, 8, 3], {"form": HEATMAPS}, "keypoints.names has 2 entries, output 'o' has 3 units; give 3"),
        ([-1, 8, 8, 2], {"form": HEATMAPS, "relative": True}, "keypoints.relative is set, FORM_HEATMAPS has none"),
        ([-1, 8, 8, 2], {"form": HEATMAPS, "layout": 3}, "keypoints.layout is 3; give one of"),
        ([-1, 8, 8, 2], {"form": HEATMAPS, "image_width": 8}, "keypoints.image_height is 0, the width is known"),
        ([-1, 4], {"image_height": 8}, "keypoints.image_width is 0, the height is known"),
        ([-1, 5], {}, r"keypoints.names has 2 entries, 'o' is FP32 \[batch,5\]; give one for each 2 or 3 numbers"),
        ([-1, 2, 4], {}, r"keypoints.names has 2 entries, 'o' is FP32 \[batch,2,4\]; give one for each"),
        ([-1, -1, 2], {}, "keypoints.names has 2 entries, .* give one for each"),
        ([-1, 0], {"names": []}, "keypoints.names has 0 entries, .* give 1"),
        ([-1, 4], {"names": "aa"}, "keypoints.names has 'a' 2 times"),
        ([-1, 4], {"layout": CHANNELS_FIRST}, "keypoints.layout is set, FORM_COORDINATES has none; leave it out"),
        ([-1, 4], {"refine": True}, "keypoints.refine is set"),
        ([-1, 4], {"stride": 2}, "keypoints.stride is set"),
        ([-1, 4], {"activation": ACTIVATION_LOGITS}, "activation is ACTIVATION_LOGITS, a keypoints head needs ACT"),
    ],
)
def test_heads_that_contradict_themselves_or_the_output(shape, fields, message):
    with pytest.raises(HeadError, match=message):
        make_decoder(shape, **({"names": "ab", "form": COORDINATES} | fields))
