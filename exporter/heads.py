"""The heads of a model: inferred, then corrected by what the user said."""

from collections.abc import Mapping, Sequence
from typing import Any

from headgate.decoders import HeadError, decoder_for
from headgate.exporter.errors import HeadInferenceError, listed
from headgate.exporter.head_settings import COMMON_FIELDS, KINDS, MESSAGES, HeadSetting, field_value, fields_of
from headgate.exporter.inference import infer, infer_activation
from headgate.exporter.losses import Loss
from headgate.exporter.tracing.traced_models import TracedModel
from headgate.v1 import Head, TensorSpec
from headgate.v1.tensors import NUMPY_DTYPES, format_shape

#: For each shortcut the kinds of head that it fits, and the field that it fills there.
_SHORTCUTS: dict[str, dict[str, str]] = {
    "labels": {"binary": "labels", "multiclass": "labels", "multilabel": "labels"},
    "positive_label": {"binary": "positive_label"},
    "threshold": {"binary": "threshold", "multilabel": "thresholds"},
    "units": {"regression": "units"},
    "target_scaling": {"regression": "scaling"},
}


def build_heads(
    traced: TracedModel,
    losses: Sequence[Loss | None],
    settings: Mapping[str, HeadSetting] | None,
    shortcuts: Mapping[str, Any],
) -> tuple[list[Head], list[str]]:
    """Infer a head for each output, apply what the user said, and validate the result.

    Args:
        traced: the model.
        losses: what each output was trained with.
        settings: by name of output, the Keras name or the exported one; see `export_model`.
        shortcuts: `labels`, `positive_label`, `threshold`, `units` and `target_scaling`; None where not given.

    Returns:
        The heads in the order of the outputs, and what had to be assumed.

    Raises:
        HeadInferenceError: a meaning does not follow from the model, or what the user said does not fit it.
    """
    said = _settings_by_output(traced, settings or {})
    notes: list[str] = []
    drafts: dict[str, dict[str, Any]] = {}
    for spec, loss in zip(traced.outputs, losses, strict=True):
        if spec.name not in said or said[spec.name] is not None:
            fields = fields_of(spec.name, said.get(spec.name))
            drafts[spec.name] = _with_meaning(spec, traced.last_op(spec.name), loss, fields, notes)
    outputs = {alias: output for output in drafts for alias in traced.aliases[output]}
    outputs |= {draft["name"]: output for output, draft in drafts.items() if "name" in draft}
    for shortcut, value in shortcuts.items():
        if value is not None:
            _apply_shortcut(shortcut, value, drafts, outputs)
    heads = [_finish(spec, traced.outputs, drafts[spec.name], notes) for spec in traced.outputs if spec.name in drafts]
    names = [head.name for head in heads]
    for name in names:
        if names.count(name) > 1:
            raise HeadInferenceError(f"two heads are called '{name}'; give them different names in heads=")
    return heads, notes


def _settings_by_output(traced: TracedModel, settings: Mapping[str, HeadSetting]) -> dict[str, HeadSetting]:
    said = {}
    for key, setting in settings.items():
        output = next((name for name, aliases in traced.aliases.items() if key in aliases), None)
        if output is None:
            raise HeadInferenceError(f"heads= names '{key}', the model's outputs are {listed(traced.aliases)}")
        said[output] = setting
    return said


def _with_meaning(
    spec: TensorSpec, op: str, loss: Loss | None, fields: Mapping[str, Any], notes: list[str]
) -> dict[str, Any]:
    """Complete the kind and the activation."""
    units = _units_of(spec)
    kind, activation = fields.get("kind"), fields.get("activation")
    if kind is None:
        meaning = infer(op, units, loss)
        if isinstance(meaning, str):
            raise HeadInferenceError(
                f"what output '{spec.name}' means cannot be told: {meaning}; say it with "
                f"heads={{'{spec.name}': 'regression'}} (or {listed(KINDS[1:], ' or ')}), "
                f"or leave it raw with heads={{'{spec.name}': None}}"
            )
        kind = meaning.kind
        activation = activation or meaning.activation
        if meaning.note:
            notes.append(
                f"output '{spec.name}' is taken as regression: {meaning.note}; if it gives logits, say "
                f"heads={{'{spec.name}': 'multiclass'}} (or 'binary' or 'multilabel')"
            )
    activation = activation or infer_activation(kind, op, loss)
    if activation is None:
        raise HeadInferenceError(
            f"whether output '{spec.name}' gives logits or probabilities cannot be told; say it with "
            f"heads={{'{spec.name}': {{'kind': '{kind}', 'activation': 'logits'}}}} (or 'probabilities')"
        )
    return {**fields, "kind": kind, "activation": activation}


def _units_of(spec: TensorSpec) -> int:
    """Return the number of units of an output that a head can read."""
    leave = f"leave it raw with heads={{'{spec.name}': None}}"
    if len(spec.shape) > 2:
        raise HeadInferenceError(
            f"output '{spec.name}' has shape {format_shape(spec.shape)}, heads read [batch,units] or [batch]; {leave}"
        )
    if NUMPY_DTYPES[spec.datatype].kind != "f":
        raise HeadInferenceError(
            f"output '{spec.name}' holds {NUMPY_DTYPES[spec.datatype]}, heads read floating point numbers; {leave}"
        )
    units = spec.shape[1] if len(spec.shape) == 2 else 1
    if units < 1:
        raise HeadInferenceError(f"output '{spec.name}' has no fixed number of units, which a head needs; {leave}")
    return units


def _apply_shortcut(
    shortcut: str, value: Any, drafts: Mapping[str, dict[str, Any]], outputs: Mapping[str, str]
) -> None:
    """Set one field of the one head that it fits, or of each head that a dictionary names.

    Args:
        shortcut: the keyword.
        value: for one head, or `{name: value}`.
        drafts: the fields of each head, by output; changed.
        outputs: the output of each name that a head may be called by.
    """
    fields = _SHORTCUTS[shortcut]
    kinds = " or ".join(fields)
    fitting = [output for output, draft in drafts.items() if draft["kind"] in fields]
    if not fitting:
        there = ", ".join(f"'{output}' is {draft['kind']}" for output, draft in drafts.items()) or "there are no heads"
        raise HeadInferenceError(
            f"{shortcut}= needs a {kinds} head, but {there}; say the kind with heads={{'<output>': '<kind>'}}"
        )
    # A dictionary with other keys is a value itself: {"mean": 3.1, "scale": 0.4}.
    if not isinstance(value, Mapping) or (shortcut == "target_scaling" and not set(value) & set(outputs)):
        if len(fitting) > 1:
            raise HeadInferenceError(
                f"{shortcut}= fits the heads {listed(fitting)}; say which one: {shortcut}={{'{fitting[0]}': {value!r}}}"
            )
        value = {fitting[0]: value}
    for name, one in value.items():
        output = outputs.get(name)
        if output not in fitting:
            raise HeadInferenceError(f"{shortcut}= names '{name}', the {kinds} heads are {listed(fitting)}")
        draft = drafts[output]
        draft[fields[draft["kind"]]] = one


def _finish(spec: TensorSpec, outputs: Sequence[TensorSpec], draft: dict[str, Any], notes: list[str]) -> Head:
    """Make the head of the completed fields, with labels in any case, and validate it as the decoder does."""
    kind, units = draft["kind"], _units_of(spec)
    message = MESSAGES[kind]
    allowed = {field.name: field for field in message.DESCRIPTOR.fields}
    for name in draft:
        if name not in allowed and name not in COMMON_FIELDS:
            raise HeadInferenceError(
                f"output '{spec.name}': a {kind} head has no field '{name}'; "
                f"it has {listed([*COMMON_FIELDS, *allowed])}"
            )
    try:
        fields = {name: field_value(allowed[name], value) for name, value in draft.items() if name in allowed}
        if "labels" in allowed and not fields.get("labels"):
            fields["labels"] = [str(index) for index in range(2 if kind == "binary" else units)]
            notes.append(
                f"the labels of output '{spec.name}' are the class numbers, from '0' on; name them with labels="
            )
        head = Head(
            name=draft.get("name") or spec.name,
            output=spec.name,
            activation=draft["activation"],
            description=draft.get("description", ""),
            **{kind: message(**fields)},
        )
        decoder_for(head, outputs)
    except HeadInferenceError:
        raise
    except HeadError as error:
        raise HeadInferenceError(str(error)) from error
    except (TypeError, ValueError) as error:
        raise HeadInferenceError(
            f"output '{spec.name}': a field of its {kind} head has a wrong type: {error}"
        ) from error
    return head
