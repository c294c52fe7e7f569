"""Rows of heads that look at pictures."""

from itertools import pairwise
from typing import Any

from headgate.client.rows.values import Descriptions, Rows, floats
from headgate.v1.columns import DetectionColumns, KeypointsColumns, SegmentationColumns


def _segmentation(columns: SegmentationColumns) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"height": columns.height, "width": columns.width, "areas": dict(zip(columns.labels, areas, strict=True))}
        for areas in floats(columns.areas)
    ]
    if columns.class_maps is not None:
        for row, class_map in zip(rows, columns.class_maps.tolist(), strict=True):
            row["class_map"] = class_map
    if columns.run_offsets is not None and columns.runs is not None:
        runs = columns.runs.tolist()
        masks = (runs[start:stop] for start, stop in pairwise(columns.run_offsets.tolist()))
        for row in rows:
            # Each row takes its masks from what the rows before it left.
            row["runs"] = dict(zip(columns.labels, masks, strict=False))
    return rows


def _keypoints(columns: KeypointsColumns) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "points": [{"name": name, "x": x, "y": y} for name, (x, y) in zip(columns.names, points, strict=True)],
            "relative": columns.relative,
        }
        for points in floats(columns.points)
    ]
    if columns.scores is not None:
        for row, scores in zip(rows, floats(columns.scores), strict=True):
            for point, score in zip(row["points"], scores, strict=True):
                point["score"] = score
    return rows


def _detection(columns: DetectionColumns) -> list[dict[str, Any]]:
    each = zip(
        columns.labels.tolist(), columns.indices.tolist(), floats(columns.scores), floats(columns.boxes), strict=True
    )
    boxes = [{"label": label, "index": index, "score": score, "box": box} for label, index, score, box in each]
    return [
        {"detections": boxes[start:stop], "relative": columns.relative}
        for start, stop in pairwise(columns.offsets.tolist())
    ]


def _describe_areas(row: dict[str, Any]) -> str:
    largest = sorted(row["areas"].items(), key=lambda area: -area[1])
    return ", ".join(f"{label} {100 * area:.3g} %" for label, area in largest if area) or "no label"


def _describe_points(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{point['name']} ({point['x']:.4g}, {point['y']:.4g})" + (f" {point['score']:.4g}" if "score" in point else "")
        for point in row["points"]
    )


def _describe_detections(row: dict[str, Any]) -> str:
    boxes = (
        f"{found['label']} ({found['score']:.4g}) at {', '.join(f'{side:.4g}' for side in found['box'])}"
        for found in row["detections"]
    )
    return "; ".join(boxes) or "no box"


ROWS: Rows = {SegmentationColumns: _segmentation, KeypointsColumns: _keypoints, DetectionColumns: _detection}
DESCRIPTIONS: Descriptions = {
    "areas": _describe_areas,
    "points": _describe_points,
    "detections": _describe_detections,
}
