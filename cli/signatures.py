"""Signatures in words."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from headgate.v1 import (
    ImageInput,
    InputMeaning,
    MetricChange,
    Optimization,
    Padding,
    ParityCheck,
    Provenance,
    TensorSpec,
    Tolerance,
    Verification,
    VocabularyInput,
)
from headgate.v1.golden import GOLDEN_FILE, golden_from_bytes
from headgate.v1.input_meanings import abridged
from headgate.v1.tensors import format_spec


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


def describe_input(spec: TensorSpec, meanings: Iterable[InputMeaning]) -> str:
    """Write what an input takes, and what that means.

    >>> from headgate.v1 import DataType, TabularInput
    >>> spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 2])
    >>> describe_input(spec, [InputMeaning(input="x", tabular=TabularInput(feature_names=["age", "sex"]))])
    'x: FP32 [batch,2]; columns age, sex'
    """
    words = [f"{spec.name}: {format_spec(spec)}"]
    for meaning in meanings:
        if meaning.input == spec.name:
            words += [meaning.description] if meaning.description else []
            match meaning.WhichOneof("kind"):
                case "tabular":
                    words.append(f"columns {abridged(meaning.tabular.feature_names)}")
                case "image":
                    words.append(_image(meaning.image))
                case "vocabulary":
                    words.append(_vocabulary(meaning.vocabulary))
    return "; ".join(words)


def _image(image: ImageInput) -> str:
    layout = ImageInput.Layout.Name(image.layout).removeprefix("LAYOUT_") if image.layout else ""
    channels = ImageInput.Channels.Name(image.channels).removeprefix("CHANNELS_") if image.channels else ""
    values = f", values {image.minimum:g} to {image.maximum:g}" if image.HasField("minimum") else ""
    return f"{' '.join(filter(None, ['images', layout, channels]))}{values}"


def _vocabulary(vocabulary: VocabularyInput) -> str:
    others = "others too" if vocabulary.accepts_others else "no others"
    values = abridged(map(repr, vocabulary.strings or vocabulary.integers), most=10)
    return f"knows {vocabulary.size} value{'s' * (vocabulary.size != 1)}, takes {others}: {values}"


def describe_verification(verification: Verification) -> list[str]:
    """Write each comparison of ONNX with Keras, and what was allowed."""
    if not verification.checks:
        return []
    checks = [
        f"{check.output}: {check.inputs} batch of {check.batch_size}{_free_sizes(check)}, "
        f"largest |onnx - keras| {check.max_absolute_error:.2g}, {check.max_relative_error:.2g} of the value, "
        f"{check.max_ulp_error:.3g} ulps; {check.tolerance_used:.1%} of what is allowed"
        for check in verification.checks
    ]
    allowed = [f"{tolerance.output}: allowed {describe_tolerance(tolerance)}" for tolerance in verification.tolerances]
    # What is allowed to 8 bits was measured on the same file, and proves nothing.
    is_measured = any(tolerance.rule.startswith("int8") for tolerance in verification.tolerances)
    verdict = "near Keras, as far as the figures under 'optimized' tell," if is_measured else "proven equal to Keras"
    return [f"{verdict} at graph optimization level '{verification.graph_optimization_level}'", *checks, *allowed]


def describe_golden(path: Path, verification: Verification) -> str:
    """Write whether the golden examples of a model are beside its file."""
    file = path.with_name(GOLDEN_FILE)
    expected = verification.golden_examples_sha256
    if not file.is_file():
        return f"{file.name} is missing, so that servers compare nothing" if expected else "none"
    try:
        rows = golden_from_bytes(file.read_bytes(), expected).response.rows
    except ValueError as error:
        return f"{file.name} keeps servers from serving the model: {error}"
    return f"{file.name}, {rows} rows, which servers run before the model is ready"


def describe_tolerance(tolerance: Tolerance) -> str:
    """Write how far an output may be from Keras' own.

    >>> describe_tolerance(Tolerance(absolute=1e-6, relative=1e-4, rule="float32"))
    '1e-06 + 0.0001 * |keras| (float32)'
    """
    return f"{tolerance.absolute:.2g} + {tolerance.relative:g} * |keras| ({tolerance.rule})"


def describe_parity(verification: Verification) -> list[str]:
    """Write the worst comparison of each output.

    >>> checks = [ParityCheck(output="y", max_absolute_error=1e-7), ParityCheck(output="y", max_absolute_error=2e-6)]
    >>> describe_parity(Verification(checks=checks))
    ['y: |onnx - keras| up to 2e-06, 0 of the value, in 2 comparisons']
    """
    by_output: dict[str, list[ParityCheck]] = {}
    for check in verification.checks:
        by_output.setdefault(check.output, []).append(check)
    return [
        f"{output}: |onnx - keras| up to {max(check.max_absolute_error for check in checks):.2g}, "
        f"{max(check.max_relative_error for check in checks):.2g} of the value, in {len(checks)} comparisons"
        for output, checks in by_output.items()
    ]


def _free_sizes(check: ParityCheck) -> str:
    sizes = [f"{free.input} axis {free.axis} of size {free.size}" for free in check.free_sizes]
    return f" ({', '.join(sizes)})" if sizes else ""


def describe_optimization(step: Optimization) -> str:
    """Write what a step changed.

    >>> change = MetricChange(head="species", metric="accuracy", before=0.97, after=0.96, rows=300, targets="labelled")
    >>> step = Optimization(kind="float16", size_before_bytes=4000, size_after_bytes=2000, metrics=[change])
    >>> describe_optimization(step)
    'float16: 4.0 kB become 2.0 kB; accuracy of species 0.97, now 0.96 (300 labelled rows)'
    """
    parts = [f"{decimal(step.size_before_bytes)} become {decimal(step.size_after_bytes)}"]
    parts += [_describe_change(change) for change in step.metrics]
    parts += [
        f"{deviation.output} up to {deviation.max_from_keras:.2g} from Keras, its largest is {deviation.largest:.3g}"
        for deviation in step.deviations
    ]
    return f"{step.kind}{f' for {step.device}' if step.device else ''}: {'; '.join(parts)}"


def _describe_change(change: MetricChange) -> str:
    values = f"{change.metric} of {change.head} {change.before:.4g}, now {change.after:.4g}"
    return f"{values} ({change.rows} {change.targets} rows)"


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
