import numpy as np
import pytest
import scipy.ndimage
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    Calibration,
    DataType,
    Head,
    MaskEncoding,
    PixelLayout,
    SegmentationHead,
    TensorSpec,
)

CLASS_MAP = MaskEncoding.MASK_ENCODING_CLASS_MAP
RUN_LENGTHS = MaskEncoding.MASK_ENCODING_RUN_LENGTHS
NONE = MaskEncoding.MASK_ENCODING_NONE
CHANNELS_FIRST = PixelLayout.PIXEL_LAYOUT_CHANNELS_FIRST
TYPES = ["float16", "float32", "float64"]


def names(count):
    return [f"label {index}" for index in range(count)]


def make_decoder(shape, activation=ACTIVATION_LOGITS, datatype=DataType.DATA_TYPE_FP32, **fields):
    head = Head(name="h", output="o", activation=activation, segmentation=SegmentationHead(**fields))
    return decoder_for(head, [TensorSpec(name="o", datatype=datatype, shape=shape)])


def decode(pixels, activation=ACTIVATION_LOGITS, *, layout=0, threshold=None, encoding=CLASS_MAP, **fields):
    """Decode what the units say of each pixel, [rows, height, width, units], in any layout."""
    units = pixels.shape[3]
    labels = names(2 if units == 1 and not fields.get("independent") else units)
    output = np.ascontiguousarray(np.moveaxis(pixels, 3, 1)) if layout else pixels
    shape = [-1, units, -1, -1] if layout else [-1, -1, -1, units]
    decoder = make_decoder(shape, activation, labels=labels, layout=layout, **fields)
    return decoder.decode({"o": output}, DecodeOptions(threshold=threshold, mask_encoding=encoding))


def coco_runs(mask):
    """What COCO's rleEncode does: https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c."""
    counts, value, length = [], 0, 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(length)
            value, length = pixel, 0
        length += 1
    return [*counts, length]


def runs_of(columns):
    lists = np.split(columns.runs, columns.run_offsets[1:-1])
    labels = len(columns.labels)
    return [[runs.tolist() for runs in lists[row * labels : (row + 1) * labels]] for row in range(len(columns))]


@st.composite
def pictures(draw, min_units=2):
    """Batches of pictures with ties, infinities and NaN: [rows, height, width, units]."""
    shape = tuple(draw(st.integers(low, high)) for low, high in ((0, 4), (0, 5), (0, 5), (min_units, 4)))
    elements = st.sampled_from([-1, 0, 0, 2]) | st.sampled_from([np.nan, np.inf, -np.inf]) | st.floats(-9, 9, width=16)
    return draw(hnp.arrays(draw(st.sampled_from(TYPES)), shape, elements=elements))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", [0, CHANNELS_FIRST])
@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
@pytest.mark.parametrize(("rows", "height", "width", "units"), [(2, 7, 5, 3), (0, 3, 3, 2), (1, 1, 9, 300)])
def test_the_most_probable_label_of_each_pixel(rows, height, width, units, activation, layout, dtype):
    logits = np.random.default_rng(3).normal(scale=3, size=(rows, height, width, units)).astype(dtype)
    pixels = logits if activation == ACTIVATION_LOGITS else scipy.special.softmax(logits, axis=3)
    columns = decode(pixels, activation, layout=layout)
    assert (len(columns), columns.height, columns.width, columns.labels) == (rows, height, width, tuple(names(units)))
    assert columns.valid.all()
    assert columns.class_maps.dtype == (np.uint8 if units <= 256 else np.uint16)
    np.testing.assert_array_equal(columns.class_maps, pixels.argmax(axis=3))
    expected = [[(one == label).mean() for label in range(units)] for one in columns.class_maps]
    np.testing.assert_allclose(columns.areas, np.reshape(expected, (rows, units)), 1e-6)
    assert columns.areas.dtype == np.float32
    assert columns.runs is columns.run_offsets is None


@pytest.mark.parametrize("layout", [0, CHANNELS_FIRST])
@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
@pytest.mark.parametrize(
    ("thresholds", "threshold", "applied"), [([], None, 0.5), ([0.8], None, 0.8), ([0.8], 0.1, 0.1)]
)
def test_presence_from_a_single_unit(thresholds, threshold, applied, activation, layout):
    logits = np.random.default_rng(4).normal(scale=3, size=(3, 6, 4, 1))
    probabilities = scipy.special.expit(logits)
    pixels = logits if activation == ACTIVATION_LOGITS else probabilities
    columns = decode(pixels, activation, layout=layout, thresholds=thresholds, threshold=threshold)
    expected = probabilities[..., 0] >= applied
    np.testing.assert_array_equal(columns.class_maps, expected)
    np.testing.assert_allclose(columns.areas[:, 1], expected.mean(axis=(1, 2)), 1e-6)
    np.testing.assert_allclose(columns.areas.sum(axis=1), 1, 1e-6)


@pytest.mark.parametrize("layout", [0, CHANNELS_FIRST])
@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
@pytest.mark.parametrize("threshold", [None, 0.7])
def test_labels_that_overlap(threshold, activation, layout):
    logits = np.random.default_rng(5).normal(scale=2, size=(3, 6, 4, 3))
    probabilities = scipy.special.expit(logits)
    pixels = logits if activation == ACTIVATION_LOGITS else probabilities
    own = [0.2, 0.5, 0.9]
    options = {"layout": layout, "threshold": threshold, "independent": True, "thresholds": own}
    columns, runs = (decode(pixels, activation, encoding=encoding, **options) for encoding in (CLASS_MAP, RUN_LENGTHS))
    masks = probabilities >= (own if threshold is None else threshold)
    expected = np.where(masks.any(axis=3), np.where(masks, probabilities, -1).argmax(axis=3), 3)
    np.testing.assert_array_equal(columns.class_maps, expected)
    np.testing.assert_allclose(columns.areas, masks.mean(axis=(1, 2)), 1e-6)
    assert runs_of(runs) == [[coco_runs(mask) for mask in np.moveaxis(row, 2, 0)] for row in masks]


def test_a_number_more_for_none_may_take_a_second_byte():
    pixels = np.full((1, 1, 2, 256), -1.0)
    pixels[0, 0, 1, 255] = 1
    assert decode(pixels).class_maps.dtype == np.uint8
    overlapping = decode(pixels, independent=True).class_maps
    assert (overlapping.dtype, overlapping.tolist()) == (np.uint16, [[[256, 255]]])


@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
@pytest.mark.parametrize("independent", [False, True])
def test_thresholds_at_both_ends(independent, activation):
    logits = np.array([-np.inf, -1e30, 0, 1e30, np.inf])
    pixels = logits if activation == ACTIVATION_LOGITS else np.array([0, 1e-30, 0.5, np.nextafter(1, 0), 1])
    for dtype in TYPES if activation == ACTIVATION_LOGITS else ["float64"]:
        with np.errstate(over="ignore"):
            picture = pixels.astype(dtype).reshape(1, 1, 5, 1)
        present = [
            decode(picture, activation, threshold=t, independent=independent).class_maps.ravel() == (not independent)
            for t in (0, 1)
        ]
        infinite = np.isinf(picture.ravel()) if activation == ACTIVATION_LOGITS else [True, False, False, False, True]
        assert present[0].tolist() == [True] * 5
        assert present[1].tolist() == [False, False, False, infinite[3], True]


@given(st.floats(0, 1), st.floats(width=32, allow_nan=False), st.sampled_from(TYPES))
def test_logits_are_compared_without_rounding(threshold, logit, dtype):
    with np.errstate(over="ignore", divide="ignore"):
        pixel = np.array(logit).astype(dtype).reshape(1, 1, 1, 1)
        limit = np.log(threshold) - np.log1p(-threshold)
    assert decode(pixel, threshold=threshold).class_maps.item() == (float(pixel.item()) >= limit)


@given(pictures(min_units=1), st.floats(0, 1), st.floats(0, 1))
def test_masks_shrink_as_the_threshold_grows(pixels, one, other):
    low, high = (decode(pixels, independent=True, threshold=threshold) for threshold in sorted([one, other]))
    assert (low.areas >= high.areas)[low.valid].all()


@given(pictures(), st.sampled_from([0, CHANNELS_FIRST]), st.integers(1, 3), st.booleans())
def test_run_lengths_are_those_of_coco(pixels, layout, stride, independent):
    options = {"layout": layout, "stride": stride, "independent": independent}
    columns = decode(pixels, encoding=RUN_LENGTHS, **options)
    assert columns.class_maps is None
    assert (columns.runs.dtype, columns.run_offsets.dtype) == (np.uint32, np.int64)
    labels = range(pixels.shape[3])
    if independent:
        masks = np.moveaxis(pixels >= 0, 3, 1).repeat(stride, axis=2).repeat(stride, axis=3)
    else:
        maps = decode(pixels, **options).class_maps
        masks = np.stack([maps == label for label in labels], axis=1)
    expected = [
        [coco_runs(mask) if valid else [] for mask in row] for row, valid in zip(masks, columns.valid, strict=True)
    ]
    assert runs_of(columns) == expected


@given(pictures(), st.booleans(), st.sampled_from([CLASS_MAP, RUN_LENGTHS, NONE]), st.randoms(use_true_random=False))
def test_rows_one_by_one_in_any_order(pixels, independent, encoding, random):
    together = decode(pixels, independent=independent, encoding=encoding)
    for row in random.sample(range(len(pixels)), len(pixels)):
        alone = decode(pixels[row : row + 1], independent=independent, encoding=encoding)
        of_all = together.rows(row, row + 1)
        for field in ("areas", "valid", "class_maps", "run_offsets", "runs"):
            np.testing.assert_array_equal(getattr(alone, field), getattr(of_all, field), field)


@given(pictures(), st.booleans(), st.sampled_from([CLASS_MAP, RUN_LENGTHS, NONE]))
def test_rows_with_nan_or_impossible_logits_are_invalid(pixels, independent, encoding):
    columns = decode(pixels, independent=independent, encoding=encoding)
    impossible = np.isnan(pixels)
    if not independent:
        impossible |= np.isposinf(pixels) | np.isneginf(pixels).all(axis=3, keepdims=True)
    np.testing.assert_array_equal(columns.valid, ~impossible.any(axis=(1, 2, 3)))
    assert np.isnan(columns.areas[~columns.valid]).all()
    assert not np.isnan(columns.areas[columns.valid]).any()
    if encoding == CLASS_MAP:
        assert not columns.class_maps[~columns.valid].any()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("independent", [False, True])
def test_probabilities_that_are_none_are_invalid(independent, wrong):
    pixels = np.full((2, 2, 2, 2), 0.5)
    pixels[0, 1, 0, 1] = wrong
    assert decode(pixels, ACTIVATION_PROBABILITIES, independent=independent).valid.tolist() == [False, True]


def test_the_output_is_not_shared():
    output = np.ones((2, 3, 3, 2), np.float32)
    before = output.copy()
    columns = decode(output)
    columns.class_maps[:] = 7
    np.testing.assert_array_equal(output, before)


@pytest.mark.parametrize("stride", [2, 4])
def test_maps_are_enlarged_to_the_nearest(stride):
    pixels = np.random.default_rng(6).normal(size=(2, 5, 3, 4))
    columns, small = decode(pixels, stride=stride), decode(pixels)
    assert (columns.height, columns.width) == (5 * stride, 3 * stride)
    zoomed = scipy.ndimage.zoom(small.class_maps, (1, stride, stride), order=0, grid_mode=True, mode="nearest")
    np.testing.assert_array_equal(columns.class_maps, zoomed)
    np.testing.assert_array_equal(columns.areas, small.areas)


def test_maps_are_not_enlarged_beyond_bounds():
    decoder = make_decoder([-1, -1, -1, 2], labels="ab", stride=8192)
    assert decoder.decode({"o": np.zeros((1, 1, 1, 2))}, DecodeOptions()).class_maps.shape == (1, 8192, 8192)
    for encoding in (CLASS_MAP, RUN_LENGTHS):
        with pytest.raises(ValueError, match=r"head 'h' has the stride 8192, which makes maps of 8192 x 16384 pixels"):
            decoder.decode({"o": np.zeros((1, 1, 2, 2))}, DecodeOptions(mask_encoding=encoding))
    assert decoder.decode({"o": np.zeros((1, 1, 2, 2))}, DecodeOptions(mask_encoding=NONE)).width == 16384


def test_areas_alone():
    columns = decode(np.zeros((1, 2, 2, 3)), encoding=NONE)
    assert columns.class_maps is columns.runs is columns.run_offsets is None
    assert columns.areas.tolist() == [[1, 0, 0]]


@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        ([-1, 3], {}, r"output 'o' is FP32 \[batch,3\]; .* reads \[batch,height,width,channels\]$"),
        (
            [-1, 8, 8, -1],
            {},
            r"output 'o' is FP32 \[batch,8,8,any\]; of \[batch,height,width,channels\] the channels must",
        ),
        (
            [-1, 3, 8, -1],
            {"layout": 7},
            "segmentation.layout is 7; give one of PIXEL_LAYOUT_UNSPECIFIED, PIXEL_LAYOUT_",
        ),
        ([-1, 8, 8, 3], {"labels": "ab"}, "segmentation.labels has 2 entries, output 'o' has 3 units; give 3"),
        ([-1, 8, 8, 3], {"labels": "aba"}, "segmentation.labels has 'a' 2 times"),
        ([-1, 8, 8, 1], {"labels": "a"}, "segmentation.labels has 1 entries, output 'o' has 1 unit; give 2"),
        ([-1, 8, 8, 1], {"labels": "ab", "independent": True}, "segmentation.labels has 2 entries, .* give 1"),
        ([-1, 8, 8, 65536], {"labels": names(65536), "independent": True}, "has 65536 entries; give at most 65535"),
        ([-1, 8, 8, 3], {"thresholds": [0.5]}, "segmentation.thresholds has 1 entries, but .* give none"),
        ([-1, 8, 8, 3], {"thresholds": [0.5] * 2, "independent": True}, "thresholds has 2 entries, .* none, one or 3"),
        (
            [-1, 8, 8, 3],
            {"thresholds": [1.5], "independent": True},
            "segmentation.thresholds holds 1.5; give numbers in",
        ),
        (
            [-1, 8, 8, 3],
            {"activation": ACTIVATION_LINEAR},
            "activation is ACTIVATION_LINEAR, a segmentation head needs",
        ),
        (
            [-1, -1, -1, 3],
            {"stride": 2**32 - 1},
            "segmentation.stride is 4294967295, which makes maps of 4294967295 x 4294967295 pixels; give one that",
        ),
        ([-1, 3, 8, 8], {"layout": CHANNELS_FIRST, "stride": 2048}, "is 2048, which makes maps of 16384 x 16384"),
    ],
)
def test_heads_that_contradict_themselves_or_the_output(shape, fields, message):
    with pytest.raises(HeadError, match=message):
        make_decoder(shape, **({"labels": "abc"} | fields))


def test_calibration_is_refused():
    head = Head(name="h", output="o", activation=ACTIVATION_LOGITS, calibration=Calibration())
    head.segmentation.labels.extend("ab")
    with pytest.raises(HeadError, match="calibration is set"):
        decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 8, 8, 2])])


def test_pictures_of_another_size():
    decoder = make_decoder([-1, 8, -1, 2], labels="ab")
    assert decoder.decode({"o": np.zeros((1, 8, 5, 2))}, DecodeOptions()).width == 5
    with pytest.raises(ValueError, match=r"reads output 'o' of shape \[batch,8,any,2\], this one has \[1,7,5,2\]"):
        decoder.decode({"o": np.zeros((1, 7, 5, 2))}, DecodeOptions())
