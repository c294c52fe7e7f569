"""Smaller and faster ONNX models: each step measured against Keras and float32, and refused where it costs too much."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headgate.exporter.errors import OptimizationError, listed, reason_of
from headgate.exporter.labelled_data import LabelledData
from headgate.exporter.memory import release_memory
from headgate.exporter.model_files import DATA_FILE, MODEL_FILE, size_of
from headgate.exporter.optimization.half_precision import to_float16
from headgate.exporter.optimization.metrics import BOUNDED_METRICS, agreement_data, fidelity, metrics_of
from headgate.exporter.optimization.offline import write_optimized
from headgate.exporter.optimization.quantization import quantize_dynamic, quantize_static
from headgate.exporter.proof.keras_runs import KerasRun
from headgate.exporter.proof.random_inputs import RandomInputs
from headgate.exporter.proof.sessions import in_batches, open_session, run_in_batches
from headgate.exporter.proof.tolerances import PRECISIONS, Precision
from headgate.exporter.proof.verification import answers_of
from headgate.exporter.tracing.traced_models import Arrays, TracedModel
from headgate.v1 import Deviation, Head, MetricChange, Optimization
from headgate.v1.parity import compare, largest

#: By how much the accuracy or the R2 of a head may become worse: one percentage point.
DEFAULT_MAX_METRIC_LOSS = 0.01

#: The part of how an output varies that 8 bits may turn into noise, whatever its heads decide.
_MOST_NOISE = 0.1

#: As many random rows as fill so many bytes, within bounds.
_RANDOM_BYTES, _RANDOM_ROWS = 2**24, (16, 256)
#: Runs that are timed, of which the fastest counts.
_TIMED_RUNS = 5

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class OptimizationPlan:
    """What is to be done to a model.

    Attributes:
        fp16: compute in float16; inputs and outputs stay as they are.
        int8: "dynamic": quantise activations as they come; "static": by the ranges that examples had.
        optimize: the device, "cpu" or "cuda", that onnxruntime is to rewrite the graph for.
        max_metric_loss: by how much the accuracy, the R2 or another of `BOUNDED_METRICS` of a head may become worse.

    Raises:
        OptimizationError: the parts contradict each other, or cannot be done here.
    """

    fp16: bool = False
    int8: Literal["dynamic", "static"] | None = None
    optimize: Literal["cpu", "cuda"] | None = None
    max_metric_loss: float = DEFAULT_MAX_METRIC_LOSS

    def __post_init__(self) -> None:
        if self.int8 not in (None, "dynamic", "static"):
            raise OptimizationError(f"int8 is {self.int8!r}; give 'dynamic' or 'static'")
        if self.fp16 and self.int8:
            raise OptimizationError(f"fp16=True and int8={self.int8!r} exclude each other; give one of them")
        if not self.max_metric_loss >= 0:
            raise OptimizationError(f"max_metric_loss is {self.max_metric_loss!r}; give a number from 0, such as 0.01")
        if self.fp16 and self.optimize == "cpu":
            raise OptimizationError(
                "fp16=True is for GPUs, and optimize='cpu' makes the graph compute in float32 again, since CPUs do; "
                "give one of them"
            )
        if self.optimize is None:
            return
        if self.optimize not in _PROVIDERS:
            raise OptimizationError(f"optimize is {self.optimize!r}; give 'cpu' or 'cuda'")
        import onnxruntime

        if _PROVIDERS[self.optimize] not in onnxruntime.get_available_providers():
            raise OptimizationError(
                f"optimize={self.optimize!r} needs an onnxruntime with {_PROVIDERS[self.optimize]} on this machine, it "
                f"has {listed(onnxruntime.get_available_providers())}; leave it out: servers optimise when they load"
            )

    def __bool__(self) -> bool:
        return bool(self.fp16 or self.int8 or self.optimize)

    def check_used(self, *, has_int8_data: bool, has_labelled: bool) -> None:
        """Raise OptimizationError if something is given that none of the steps takes."""
        if has_int8_data and self.int8 != "static":
            raise OptimizationError("int8_data= is for int8='static'; give that too, or leave it out")
        if has_labelled and not self:
            raise OptimizationError(
                "labelled= measures what fp16=, int8= and optimize= cost; give one of these, or leave it out"
            )

    def int8_inputs(
        self, given: Arrays | None, examples: Arrays | None, labelled: LabelledData | None
    ) -> Arrays | None:
        """Return the inputs whose ranges static quantisation takes: the first that there are; None for other plans.

        Raises:
            OptimizationError: there are none.
        """
        if self.int8 != "static":
            return None
        for arrays in (given, examples, labelled.inputs if labelled else None):
            if arrays is not None:
                return arrays
        raise OptimizationError(
            "int8='static' takes the ranges of activations from real inputs; give int8_data= or examples="
        )


@dataclass(frozen=True)
class Optimized:
    """What came out.

    Attributes:
        steps: for the signature.
        precision: what may be expected of the model, compared with Keras; None: of what Keras computes in itself.
        notes: for the user, one sentence each.
    """

    steps: list[Optimization]
    precision: Precision | None
    notes: list[str]


def optimize_model(
    path: Path,
    plan: OptimizationPlan,
    traced: TracedModel,
    heads: Sequence[Head],
    runs: Sequence[KerasRun],
    examples: Arrays | None = None,
    int8_inputs: Arrays | None = None,
    labelled: LabelledData | None = None,
) -> Optimized:
    """Replace an exported model by a smaller or faster one.

    Args:
        path: the ONNX file of float32 weights; it is replaced, and so is the file of its weights.
        plan: what to do.
        traced: the Keras model.
        heads: what its outputs mean.
        runs: what Keras answers.
        examples: real inputs.
        int8_inputs: of `plan.int8_inputs(...)`.
        labelled: data with targets; default: what the float32 model answers to examples, to those that 8 bits take
            their ranges from, or to random inputs.

    Raises:
        OptimizationError: the answers become worse than `plan.max_metric_loss` allows, or a step cannot be done.
    """
    release_memory()
    session = open_session(path)
    # Ranges that come from real inputs say nothing of random ones.
    data = labelled or _agreement(session, traced, heads, runs, int8_inputs if examples is None else examples)
    float32 = _answers(session, data.inputs, traced)
    metrics = metrics_of(data, float32, heads)
    run_outputs = [answers_of(session, run) for run in runs]
    one_row = {name: array[:1] for name, array in runs[0].inputs.items()}
    seconds = _seconds(session, one_row)
    del session

    precision, steps, notes = None, [], []
    for kind, device, rewrite in _rewrites(plan, runs, int8_inputs):
        size = size_of(path)
        release_memory()
        _replace(path, kind, rewrite)
        release_memory()
        session = open_session(path)
        results = [answers_of(session, run) for run in runs]
        answers = _answers(session, data.inputs, traced)
        after = metrics_of(data, answers, heads)
        step = Optimization(
            kind=kind,
            device=device,
            size_before_bytes=size,
            size_after_bytes=size_of(path),
            deviations=_deviations(runs, run_outputs, results),
            metrics=[*_changes(metrics, after, data), *_fidelities(float32, answers, data.origin)],
            max_metric_loss=plan.max_metric_loss,
        )
        _check(step, labelled is not None)
        if kind == "float16":
            precision = PRECISIONS["float16"]
        elif kind != "offline":
            precision = _int8_precision(step)
        before, seconds = seconds, _seconds(session, one_row)
        metrics = after
        steps.append(step)
        notes.append(_note(step, before, seconds))
        del session
    return Optimized(steps, precision, notes)


Rewrite = Callable[[Path, Path], None]


def _rewrites(
    plan: OptimizationPlan, runs: Sequence[KerasRun], int8_inputs: Arrays | None
) -> Iterator[tuple[str, str, Rewrite]]:
    if plan.fp16:
        yield "float16", "", lambda source, target: to_float16(source, target, [run.inputs for run in runs])
    if plan.int8 == "dynamic":
        yield "int8_dynamic", "", quantize_dynamic
    if plan.int8 == "static" and int8_inputs is not None:
        arrays = int8_inputs
        yield "int8_static", "", lambda source, target: quantize_static(source, target, in_batches(arrays))
    if plan.optimize:
        device = plan.optimize
        yield "offline", device, lambda source, target: write_optimized(source, target, provider=_PROVIDERS[device])


def _replace(path: Path, kind: str, rewrite: Rewrite) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        target = Path(folder) / MODEL_FILE
        try:
            rewrite(path, target)
        except OptimizationError:
            raise
        except Exception as error:
            raise OptimizationError(f"the step to {kind} failed: {reason_of(error)}; leave it out") from error
        for name in (MODEL_FILE, DATA_FILE):
            path.with_name(name).unlink(missing_ok=True)
            if (target.parent / name).exists():
                shutil.move(target.parent / name, path.with_name(name))


def _agreement(
    session: Any, traced: TracedModel, heads: Sequence[Head], runs: Sequence[KerasRun], examples: Arrays | None
) -> LabelledData:
    if examples is None:
        row_bytes = sum(array[:1].nbytes for array in runs[0].inputs.values())
        rows = int(np.clip(_RANDOM_BYTES // max(row_bytes, 1), *_RANDOM_ROWS))
        examples, origin = RandomInputs(traced).draw(rows, runs[0].free_sizes), "random"
    else:
        origin = "given"
    return agreement_data(examples, _answers(session, examples, traced), heads, origin)


def _answers(session: Any, inputs: Arrays, traced: TracedModel) -> Arrays:
    return run_in_batches(session, [spec.name for spec in traced.outputs], inputs)


def _deviations(runs: Sequence[KerasRun], float32: Sequence[Arrays], results: Sequence[Arrays]) -> Iterator[Deviation]:
    for name in results[0]:
        if results[0][name].dtype.kind == "f":
            pairs = [
                (compare(run.outputs[name], result[name]), compare(before[name], result[name]))
                for run, before, result in zip(runs, float32, results, strict=True)
            ]
            yield Deviation(
                output=name,
                max_from_keras=max(keras.max_absolute_error for keras, _ in pairs),
                max_from_float32=max(onnx.max_absolute_error for _, onnx in pairs),
                largest=largest([before[name] for before in float32]),
            )


def _changes(
    before: Mapping[tuple[str, str], float], after: Mapping[tuple[str, str], float], data: LabelledData
) -> Iterator[MetricChange]:
    rows = len(next(iter(data.inputs.values())))
    for (head, metric), value in before.items():
        # Some cannot be told where no answer is valid.
        now = after.get((head, metric), np.nan)
        yield MetricChange(head=head, metric=metric, before=value, after=now, rows=rows, targets=data.origin)


def _fidelities(float32: Arrays, answers: Arrays, origin: str) -> Iterator[MetricChange]:
    targets = "random" if origin == "random" else "given"
    for name, values in float32.items():
        if values.dtype.kind == "f":
            after = fidelity(values, answers[name])
            yield MetricChange(head=name, metric="fidelity", before=1, after=after, rows=len(values), targets=targets)


def _check(step: Optimization, is_labelled: bool) -> None:
    for change in step.metrics:
        if change.metric == "fidelity":
            _check_fidelity(step, change)
        # Not `loss > ...`: a NaN must fail, unless there never was a number.
        fails = not change.before - change.after <= step.max_metric_loss and not np.isnan(change.before)
        if change.metric in BOUNDED_METRICS and fails:
            what = {
                "labelled": f"the {change.metric} of '{change.head}' on the labelled data",
                "given": f"the {change.metric} of '{change.head}', compared with float32 on the rows that were given,",
                "random": f"the {change.metric} of '{change.head}', compared with float32 on random inputs,",
            }[change.targets]
            cure = "" if is_labelled else "give labelled= data to see what it really costs, "
            raise OptimizationError(
                f"with {step.kind}, {what} falls from {change.before:.4g} to {change.after:.4g} ({change.rows} rows), "
                f"allowed is {step.max_metric_loss:g} less; {cure}allow more with max_metric_loss=, or leave it out"
            )


def _check_fidelity(step: Optimization, change: MetricChange) -> None:
    """Raise OptimizationError if 8 bits changed an output too much; other types have tolerances of their own."""
    least = 1 - max(_MOST_NOISE, step.max_metric_loss)
    if step.kind.startswith("int8") and not change.after >= least:
        raise OptimizationError(
            f"with {step.kind}, output '{change.head}' keeps {change.after:.4g} of how it varies from row to row in "
            f"float32 ({change.rows} {change.targets} rows), needed is {least:.4g}; give more real inputs "
            "as examples=, allow more with max_metric_loss=, or leave it out"
        )


def _int8_precision(step: Optimization) -> Precision:
    """Return what was measured, twice: what 8 bits cost depends on the model, and it is the metrics that bound it."""
    parts = [deviation.max_from_keras / (deviation.largest or 1) for deviation in step.deviations]
    return Precision("int8", 2.0**-7, relative=0.0, of_largest=2 * max(parts, default=0.0), least=1e-3, roundings=0)


def _seconds(session: Any, inputs: Arrays) -> float:
    best = np.inf
    session.run(None, inputs)
    for _ in range(_TIMED_RUNS):
        begun = time.perf_counter()
        session.run(None, inputs)
        best = min(best, time.perf_counter() - begun)
    return best


def _note(step: Optimization, before: float, after: float) -> str:
    name = f"{step.kind} for {step.device}" if step.device else step.kind
    speed = f"a row takes {after * 1e3:.3g} ms on this machine's CPU, {before * 1e3:.3g} ms before"
    caveat = {
        "float16": "; CPUs compute most of it in float32: it is for GPUs, where servers compare its golden examples",
        "int8_dynamic": "; activations are quantised with the batch they run in, so that an answer depends a little on "
        "the others of its batch",
        "offline": "; the file holds operators of this onnxruntime: an older one may not load it",
    }.get(step.kind, "")
    return f"{name}: {speed}{caveat}"
