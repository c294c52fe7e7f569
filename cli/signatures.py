"""Signatures in words."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headgate.v1 import Activation, Head, Padding, Provenance, TargetScaling, Verification


def describe_head(head: Head) -> str:
    """Write all that a head says, in one line.

    >>> from headgate.v1 import BinaryHead
    >>> labels = BinaryHead(labels=["healthy", "ill"], threshold=0.3)
    >>> describe_head(Head(name="diagnosis", output="y", activation=Activation.ACTIVATION_LOGITS, binary=labels))
    "diagnosis: binary, logits of output 'y'; labels healthy, ill; ill where its probability >= 0.3"
    """
    kind = head.WhichOneof("kind") or "of a kind that this headgate does not know"
    activation = Activation.Name(head.activation).removeprefix("ACTIVATION_").lower()
    words = [f"{head.name}: {kind}, {activation} of output '{head.output}'"]
    if head.description:
        words.append(head.description)
    match kind:
        case "regression":
            regression = head.regression
            if regression.targets:
                words.append(f"targets {', '.join(regression.targets)}")
            if regression.units:
                words.append(f"in {', '.join(regression.units)}")
            if regression.HasField("scaling"):
                words.append(_scaling(regression.scaling))
        case "binary":
            binary = head.binary
            threshold = binary.threshold if binary.HasField("threshold") else 0.5
            positive = binary.positive_label or binary.labels[1]
            words.append(f"labels {', '.join(binary.labels)}")
            words.append(f"{positive} where its probability >= {threshold:g}")
        case "multiclass":
            multiclass = head.multiclass
            words.append(f"{len(multiclass.labels)} labels: {', '.join(multiclass.labels)}")
            if multiclass.top_k > 1:
                words.append(f"best {multiclass.top_k}")
        case "multilabel":
            multilabel = head.multilabel
            words.append(f"{len(multilabel.labels)} labels: {', '.join(multilabel.labels)}")
            words.append(f"thresholds {', '.join(f'{t:g}' for t in multilabel.thresholds or [0.5])}")
    return "; ".join(words)


def _scaling(scaling: TargetScaling) -> str:
    mean, scale = (
        ", ".join(f"{value:g}" for value in values) for values in (scaling.mean or [0.0], scaling.scale or [1.0])
    )
    return f"scaled back with mean {mean} and scale {scale}{', then expm1' if scaling.log1p else ''}"


def describe_padding(padding: Padding) -> str:
    """Write which sizes may be filled up, with what, and what is cut back.

    >>> from headgate.v1 import PaddedInput
    >>> describe_padding(Padding(inputs=[PaddedInput(input="tokens", axis=1)], mask="attention"))
    "tokens, axis 1, is filled up with 0; mask 'attention'"
    """
    inputs = [f"{padded.input}, axis {padded.axis}, is filled up with {padded.fill:g}" for padded in padding.inputs]
    mask = [f"mask '{padding.mask}'"] if padding.mask else []
    outputs = [f"{padded.output}, axis {padded.axis}, is cut back" for padded in padding.outputs]
    return "; ".join(inputs + mask + outputs)


def describe_verification(verification: Verification) -> list[str]:
    """Write each comparison of ONNX with Keras, and what was allowed."""
    if not verification.checks:
        return []
    return [
        f"{check.output}: batch of {check.batch_size} ({check.inputs}), "
        f"largest |onnx - keras| {check.max_absolute_error:.2g} (relative {check.max_relative_error:.2g})"
        for check in verification.checks
    ] + [f"allowed: {verification.absolute_tolerance:g} + {verification.relative_tolerance:g} * |keras|"]


def describe_provenance(provenance: Provenance) -> list[str]:
    """Write when and from what the file was exported, and by which versions."""
    named = provenance.source_file
    source = f"{named}, SHA-256 {provenance.source_sha256}" if named else "a model in memory"
    return [
        f"exported {provenance.exported_at} from {source}",
        f"opset {provenance.opset}",
        ", ".join(f"{name} {version}" for name, version in sorted(provenance.versions.items())),
    ]


def print_sections(sections: Mapping[str, Sequence[str]]) -> None:
    """Print titled lines as a table of two columns; a section without lines is "none"."""
    table = Table.grid(padding=(0, 2))
    for title, lines in sections.items():
        table.add_row(Text(title, style="bold"), Text("\n".join(lines) or "none"))
    Console().print(table)
