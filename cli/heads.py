"""Heads in words."""

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message

from headgate.decoders.heads import enum_name
from headgate.v1 import Activation, Calibration, Conformal, Head, ProbabilityCalibration, TargetScaling, ThresholdChoice
from headgate.v1.input_meanings import abridged

#: What stands in bytes: float32.
_NUMBER_BYTES = 4


def describe_head(head: Head) -> str:
    """Write all that a head says, in one line.

    >>> from headgate.v1 import BinaryHead
    >>> labels = BinaryHead(labels=["healthy", "ill"], threshold=0.3)
    >>> describe_head(Head(name="diagnosis", output="y", activation=Activation.ACTIVATION_LOGITS, binary=labels))
    "diagnosis: binary, logits of output 'y'; labels healthy, ill; ill where its probability >= 0.3"
    """
    kind = head.WhichOneof("kind")
    activation = _word(Activation, head.activation)
    words = [
        f"{head.name}: {kind or 'of a kind that this headgate does not know'}, {activation} of output '{head.output}'"
    ]
    words += [head.description] if head.description else []
    if kind == "binary":
        binary = head.binary
        threshold = binary.threshold if binary.HasField("threshold") else 0.5
        words.append(f"labels {', '.join(binary.labels)}")
        positive_label = binary.positive_label or "".join(binary.labels[1:2])
        words.append(f"{positive_label} where its probability >= {threshold:g}")
        if binary.HasField("abstain"):
            words.append(f"neither from {binary.abstain.lower:g} to less than {binary.abstain.upper:g}")
    elif kind:
        words += _fields(getattr(head, kind))
    if kind == "multilabel" and not head.multilabel.thresholds:
        words.append("thresholds 0.5")
    if head.confidence_level:
        words.append(f"confidence level {head.confidence_level:g}")
    if head.HasField("calibration"):
        words.append(describe_calibration(head.calibration))
    return "; ".join(words)


def _word(enum: Any, value: int) -> str:
    """Write the name of an enum's value without the enum's own."""
    return enum_name(enum, value).partition("_")[2].lower() or str(value)


def _fields(message: Message) -> Iterable[str]:
    """Yield what the fields of a message hold, those that are not set left out."""
    for field, value in message.ListFields():
        name = field.name.replace("_", " ")
        if field.name == "labels":
            yield f"{len(value)} label{'s' * (len(value) != 1)}: {abridged(value)}"
        elif field.name == "units":
            yield f"in {', '.join(value)}"
        elif field.name == "scaling":
            yield _scaling(value)
        elif field.name == "top_k":
            yield f"best {value}"
        elif field.name == "score_quantiles":
            yield f"percentiles of {len(value)} scores from {value[0]:g} to {value[-1]:g}"
        elif field.name == "groups":
            yield f"groups {'; '.join(f'{group.name} ({abridged(group.members)})' for group in value)}"
        elif isinstance(value, bytes):
            yield f"{len(value) // _NUMBER_BYTES} numbers of {name}"
        elif isinstance(value, Message):
            yield f"{name} ({', '.join(_fields(value))})"
        elif field.type == field.TYPE_BOOL:
            yield name
        else:
            yield f"{name} {_values(field, value)}"


def _values(field: Any, value: Any) -> str:
    """Write numbers, text and names of enums; of several, with commas."""
    if field.is_repeated and field.message_type:
        return ", ".join(f"({', '.join(_fields(one))})" for one in value)
    if field.is_repeated:
        return abridged([one if isinstance(one, str) else f"{one:g}" for one in value])
    if field.enum_type:
        values = field.enum_type.values_by_number
        prefix = field.enum_type.values[0].name.removesuffix("UNSPECIFIED")
        return str(values[value].name.removeprefix(prefix).lower().replace("_", " ")) if value in values else str(value)
    return f"'{value}'" if isinstance(value, str) else f"{value:g}"


def _scaling(scaling: TargetScaling) -> str:
    mean, scale = (
        ", ".join(f"{value:g}" for value in values) for values in (scaling.mean or [0.0], scaling.scale or [1.0])
    )
    return f"scaled back with mean {mean} and scale {scale}{', then expm1' if scaling.log1p else ''}"


def describe_calibration(calibration: Calibration) -> str:
    """Write what was fitted on held-out data, and what it changed.

    >>> from headgate.v1 import CalibrationMetric, ConformalLevel
    >>> temperature = ProbabilityCalibration(method="METHOD_TEMPERATURE", temperatures=[1.31])
    >>> sets = Conformal(method="METHOD_LAC", levels=[ConformalLevel(level=0.8), ConformalLevel(level=0.9)])
    >>> ece = CalibrationMetric(metric="ece", before=0.0421, after=0.0114)
    >>> describe_calibration(Calibration(probabilities=temperature, conformal=sets, rows=500, metrics=[ece]))
    'calibrated on 500 rows: temperature 1.31, ECE 0.042 -> 0.011, sets at 0.8, 0.9'
    """
    words = []
    if calibration.HasField("probabilities"):
        method = _word(ProbabilityCalibration.Method, calibration.probabilities.method)
        temperatures = ", ".join(f"{value:.3g}" for value in calibration.probabilities.temperatures)
        words.append(f"{method} {temperatures}".rstrip())
    elif calibration.metrics:
        words.append("own probabilities kept")
    for metric in calibration.metrics:
        name = "ECE" if metric.metric == "ece" else metric.metric.replace("_", " ")
        is_scaled = calibration.HasField("probabilities")
        words.append(f"{name} {metric.before:.2g}{f' -> {metric.after:.2g}' * is_scaled}")
    if calibration.HasField("conformal"):
        is_set = calibration.conformal.method in (Conformal.METHOD_LAC, Conformal.METHOD_APS)
        levels = ", ".join(f"{level.level:g}" for level in calibration.conformal.levels)
        words.append(f"{'sets' if is_set else 'intervals'} at {levels}")
    criteria = sorted({choice.criterion for choice in calibration.thresholds if choice.criterion})
    if criteria:
        words.append(f"threshold{'s' * (len(calibration.thresholds) > 1)} by {', '.join(criteria)}")
    fitted = ", ".join(words) or "nothing was fitted"
    # Without rows of its own: only thresholds were chosen, after the export.
    return f"calibrated on {calibration.rows} rows: {fitted}" if calibration.rows else fitted


def describe_fitting(head: Head) -> list[str]:
    """Write on what data, when and by which libraries a head was calibrated, and how its thresholds were chosen.

    >>> from headgate.v1 import ThresholdChoice
    >>> choice = ThresholdChoice(criterion="f1", threshold=0.31, precision=0.9, recall=0.8)
    >>> describe_fitting(Head(name="ill", calibration=Calibration(rows=500, data_sha256="5e1f", thresholds=[choice])))
    ['ill: on 500 rows, SHA-256 5e1f', 'ill: threshold 0.31 by f1; precision 0.9, recall 0.8 where it was chosen']
    """
    fitted = head.calibration
    facts = [f"on {fitted.rows} rows, SHA-256 {fitted.data_sha256}"] if fitted.rows else []
    facts += [f"fitted {fitted.fitted_at}"] if fitted.fitted_at else []
    facts += [f"{library} {version}" for library, version in sorted(fitted.versions.items())]
    method = _word(Conformal.Method, fitted.conformal.method)
    margins = [
        f"{method} on {fitted.conformal.rows} rows, "
        f"q at {entry.level:g}: {', '.join(f'{quantile:.4g}' for quantile in entry.quantiles)}"
        for entry in fitted.conformal.levels
    ]
    thresholds = [
        f"threshold {f'of {choice.label} ' * bool(choice.label)}{choice.threshold:.3g} by {choice.criterion}"
        f"{_reached(choice)}{f' on {choice.rows} rows, SHA-256 {choice.data_sha256}' * bool(choice.rows)}"
        for choice in fitted.thresholds
    ]
    return [f"{head.name}: {line}" for line in (*([", ".join(facts)] if facts else []), *margins, *thresholds)]


def _reached(choice: ThresholdChoice) -> str:
    """Write what a threshold led to on the rows that chose it; nothing where these were usual ones alone."""
    if not choice.recall:
        return ""
    return f"; precision {choice.precision:.3g}, recall {choice.recall:.3g} where it was chosen"
