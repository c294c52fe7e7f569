"""Detection: from 8400 candidates with 80 scores each to boxes that do not overlap."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.benchmarks.decoders.case import Case, Contenders
from headgate.decoders import DecodeOptions, decoder_for
from headgate.v1 import ACTIVATION_PROBABILITIES, DataType, DetectionHead, Head, TensorSpec

CANDIDATES, LABELS, SIDE = 8400, 80, 640
SCORE, IOU, MOST = 0.25, 0.5, 100
RIVALS = ("torchvision", "tensorflow")
Floats = NDArray[np.float32]


def cases() -> list[Case]:
    """Return images with few and with many objects, each of which several candidates see."""
    return [_case(objects, seen) for objects, seen in ((5, 20), (20, 20), (20, 50), (200, 5))]


def _case(objects: int, seen: int) -> Case:
    missing = [package for package in RIVALS if not find_spec(package)]
    return Case(
        f"detection, {objects} objects, {objects * seen} of {CANDIDATES} x {LABELS} scores above {SCORE}",
        partial(_contenders, objects, seen),
        "no slower than torchvision on the CPU",
        f"left out, not installed: {', '.join(missing)}" if missing else "",
    )


def _contenders(objects: int, seen: int) -> Contenders:
    boxes, scores = _image(objects, seen)
    shapes = {"boxes": [-1, CANDIDATES, 4], "scores": [-1, CANDIDATES, LABELS]}
    specs = [TensorSpec(name=name, datatype=DataType.DATA_TYPE_FP32, shape=shape) for name, shape in shapes.items()]
    kind = DetectionHead(
        labels=map(str, range(LABELS)),
        box_format=DetectionHead.BOX_FORMAT_XYXY,
        scores_output="scores",
        image_width=SIDE,
        image_height=SIDE,
    )
    head = Head(name="objects", output="boxes", activation=ACTIVATION_PROBABILITIES, detection=kind)
    decoder = decoder_for(head, specs)
    outputs = {"boxes": boxes[None], "scores": scores[None]}
    contenders: dict[str, Callable[[], object]] = {
        "headgate": lambda: decoder.decode(outputs, DecodeOptions()),
        "floor: the greatest score": lambda: scores.max(),
        "floor: scores above the threshold": lambda: np.flatnonzero(scores >= SCORE),
        "Python loop": lambda: _loop(boxes, scores),
    }
    for package, rival in zip(RIVALS, (_torchvision, _tensorflow), strict=True):
        if find_spec(package):
            contenders |= rival(boxes, scores)
    return contenders


def _image(objects: int, seen: int) -> tuple[Floats, Floats]:
    """Return boxes [candidates, 4] and scores [candidates, labels]: `seen` candidates for each object, others low."""
    rng = np.random.default_rng(0)
    # What the candidates see: each object some times, and other places.
    things = np.minimum(np.arange(CANDIDATES) // seen, objects)
    rng.shuffle(things)
    is_object = things < objects
    centres = rng.uniform(0, SIDE, (objects, 2))
    sides = rng.uniform(20, 220, (objects, 2))
    labels = rng.integers(LABELS, size=objects)
    boxes = np.hstack([rng.uniform(0, SIDE, (CANDIDATES, 2)), rng.uniform(10, 200, (CANDIDATES, 2))])
    own = things[is_object]
    boxes[is_object, :2] = centres[own] + rng.normal(0, 0.05, (len(own), 2)) * sides[own]
    boxes[is_object, 2:] = sides[own] * np.exp(rng.normal(0, 0.08, (len(own), 2)))
    scores = rng.beta(1, 200, (CANDIDATES, LABELS)).clip(0, SCORE / 2)
    scores[is_object, labels[own]] = rng.uniform(SCORE, 1, len(own))
    halves = boxes[:, 2:] / 2
    corners = np.hstack([boxes[:, :2] - halves, boxes[:, :2] + halves]).clip(0, SIDE)
    return corners.astype(np.float32), scores.astype(np.float32)


def _loop(boxes: Floats, scores: Floats) -> list[tuple[float, int, list[float]]]:
    found = sorted(
        (-scores[candidate, label], label, boxes[candidate].tolist())
        for candidate, label in np.argwhere(scores >= SCORE).tolist()
    )
    kept: list[tuple[float, int, list[float]]] = []
    for score, label, box in found:
        if all(_iou(box, other) <= IOU for _, its, other in kept if its == label):
            kept.append((score, label, box))
            if len(kept) == MOST:
                break
    return kept


def _iou(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return width * height / (areas - width * height)


def _torchvision(boxes: Floats, scores: Floats) -> dict[str, Callable[[], object]]:
    torch, ops = import_module("torch"), import_module("torchvision.ops")
    all_boxes, all_scores = torch.from_numpy(boxes), torch.from_numpy(scores)

    def suppressed(few_boxes: Any, few_scores: Any) -> object:
        candidates, labels = torch.where(few_scores >= SCORE)
        found, found_scores = few_boxes[candidates], few_scores[candidates, labels]
        kept = ops.batched_nms(found, found_scores, labels, IOU)[:MOST]
        return found[kept], found_scores[kept], labels[kept]

    def promising() -> object:
        some = torch.where(all_scores.amax(1) >= SCORE)[0]
        return suppressed(all_boxes[some], all_scores[some])

    return {
        "torchvision batched_nms": lambda: suppressed(all_boxes, all_scores),
        "torchvision batched_nms, of candidates with a score above the threshold": promising,
    }


def _tensorflow(boxes: Floats, scores: Floats) -> dict[str, Callable[[], object]]:
    tensorflow = import_module("tensorflow")
    # Top, left, bottom, right, of all labels alike.
    all_boxes = tensorflow.constant(boxes[None, :, None, [1, 0, 3, 2]])
    all_scores = tensorflow.constant(scores[None])
    suppress = tensorflow.image.combined_non_max_suppression
    return {
        "TensorFlow combined_non_max_suppression": lambda: suppress(
            all_boxes, all_scores, MOST, MOST, IOU, SCORE, clip_boxes=False
        )
    }
