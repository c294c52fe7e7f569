"""The heads of a model: inferred, then corrected by what the user said."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from headgate.decoders import HeadError, decoder_for
from headgate.exporter.errors import HeadInferenceError, listed
from headgate.exporter.head_settings import (
    COMMON_FIELDS,
    KINDS,
    HeadSetting,
    check_fields,
    fields_of,
    meant,
    message_of,
)
from headgate.exporter.inference import infer, infer_activation, kinds_for
from headgate.exporter.input_meanings import infer_input_meanings
from headgate.exporter.losses import Loss
from headgate.exporter.names import clean_name
from headgate.exporter.tracing.traced_models import TracedModel
from headgate.v1 import Head, ImageInput, TensorSpec
from headgate.v1.tensors import NUMPY_DTYPES

#: For each shortcut what the field that it fills is called, whatever the kind.
_SHORTCUTS = {
    "labels": ("labels",),
    "positive_label": ("positive_label",),
    "threshold": ("threshold", "thresholds", "score_threshold"),
    "units": ("units",),
    "target_scaling": ("scaling",),
}
#: Fields that name a further output of the model.
_FURTHER_OUTPUTS = ("spread_output", "mask_output", "scores_output", "lengths_output")


def build_heads(
    traced: TracedModel,
    losses: Sequence[Loss | None],
    settings: Mapping[str, HeadSetting] | None,
    shortcuts: Mapping[str, Any],
    undecided: dict[str, str] | None = None,
    calibrating: bool = False,
) -> tuple[list[Head], list[str]]:
    """Infer a head for each output, apply what the user said, and validate the result.

    Outputs that the head of another one reads, such as a mask, have a head only if the user said which.

    Args:
        traced: the model.
        losses: what each output was trained with.
        settings: by name of output, the Keras name or the exported one; see `export_model`.
        shortcuts: `labels`, `positive_label`, `threshold`, `units` and `target_scaling`; None where not given.
        undecided: takes, by output, why its meaning cannot be told, in place of an error; shortcuts are ignored then.
        calibrating: whether heads are calibrated later, so that it is too early to check their levels of confidence.

    Returns:
        The heads in the order of the outputs, and what had to be assumed.

    Raises:
        HeadInferenceError: a meaning does not follow from the model, or what the user said does not fit it.
    """
    said = _settings_by_output(traced, settings or {})
    further = {fields[name] for fields in said.values() if fields for name in _FURTHER_OUTPUTS if name in fields}
    further |= set(traced.masks.values())
    notes: list[str] = []
    questions: dict[str, str] = {}
    drafts: dict[str, dict[str, Any]] = {}
    losses_by_output = dict(zip((spec.name for spec in traced.outputs), losses, strict=True))
    for spec in traced.outputs:
        fields = said.get(spec.name, None if spec.name in further else {})
        if fields is not None:
            # A detection's activation is said of its scores.
            judged = fields.get("scores_output") or spec.name
            draft = _with_meaning(spec, traced.last_op(judged), losses_by_output[judged], fields, notes)
            if isinstance(draft, str):
                questions[spec.name] = draft
            else:
                drafts[spec.name] = draft
    if undecided is not None:
        undecided |= questions
    elif questions:
        first, *others = questions
        raise HeadInferenceError(questions[first] + (f"; also asked for: {listed(others)}" if others else ""))
    outputs = _by_any_name(traced, drafts)
    outputs |= {draft["name"]: output for output, draft in drafts.items() if "name" in draft}
    for shortcut, value in shortcuts.items():
        if value is not None and not questions:
            _apply_shortcut(shortcut, value, drafts, outputs)
    image = _image_size(traced)
    heads = []
    for spec in traced.outputs:
        if spec.name in drafts:
            _complete(spec, drafts[spec.name], image, notes)
            if mask := traced.masks.get(spec.name):
                drafts[spec.name]["mask_output"] = mask
                notes.append(
                    f"output '{mask}' is the mask that Keras has of output '{spec.name}': answers leave out steps "
                    "that are filled in"
                )
            heads.append(_finish(spec, traced.outputs, drafts[spec.name], calibrating))
    names = [head.name for head in heads]
    for name in names:
        if names.count(name) > 1:
            raise HeadInferenceError(f"two heads are called '{name}'; give one of them another name")
    return heads, notes


def _by_any_name(traced: TracedModel, outputs: Collection[str]) -> dict[str, str]:
    """Return outputs by all names that the model knows them by."""
    # A layer's name is that of all its outputs, and exported as that of the first.
    return {alias: output for output in outputs for alias in traced.aliases[output]} | {one: one for one in outputs}


def _settings_by_output(traced: TracedModel, settings: Mapping[str, HeadSetting]) -> dict[str, dict[str, Any] | None]:
    """Return what was said of each output: its fields, which name further outputs as they are exported, or None."""
    outputs = _by_any_name(traced, traced.aliases)

    def resolve(what: str, name: str) -> str:
        if name not in outputs:
            raise HeadInferenceError(
                f"{what} '{name}'{meant(name, outputs)}; the model's outputs are {listed(traced.aliases)}"
            )
        return outputs[name]

    # What a heads.toml that was written for them calls masks that are no outputs yet.
    masks = {f"{name}_mask" for name, mask in traced.masks.items() if not mask} - set(outputs)
    said: dict[str, dict[str, Any] | None] = {}
    for key, setting in settings.items():
        if key in masks:
            continue
        output = resolve("a head is declared for", key)
        fields = fields_of(output, setting)
        if fields and fields.get("mask_output") in masks:
            del fields["mask_output"]
        for name in _FURTHER_OUTPUTS:
            if fields and fields.get(name):
                fields[name] = resolve(f"output '{output}': {name} is", str(fields[name]))
        if fields and fields.get("reconstructed_input"):
            fields["reconstructed_input"] = clean_name(str(fields["reconstructed_input"]), "")
        said[output] = fields
    return said


def _with_meaning(
    spec: TensorSpec, op: str, loss: Loss | None, fields: Mapping[str, Any], notes: list[str]
) -> dict[str, Any] | str:
    """Complete the kind and the activation; or return, as a sentence, that they cannot be told."""
    kind, activation = fields.get("kind"), fields.get("activation")
    inferred: Mapping[str, Any] = {}
    if kind is None:
        meaning, kinds = infer(op, spec.shape, loss), kinds_for(spec.shape)
        if NUMPY_DTYPES[spec.datatype].kind != "f":
            held = NUMPY_DTYPES[spec.datatype]
            meaning, kinds = (
                f"it holds {held}, heads read floating point numbers, and masks and lengths that they name",
                [],
            )
        if isinstance(meaning, str):
            how = f"say it with {_of_kind(spec.name, kinds)}, or " if kinds else ""
            raw = f"leave it raw with heads={{'{spec.name}': None}}"
            return f"what output '{spec.name}' means cannot be told: {meaning}; {how}{raw}"
        kind, inferred = meaning.kind, meaning.fields
        activation = activation or meaning.activation
        if meaning.note:
            say = _of_kind(spec.name, meaning.others)
            notes.append(f"output '{spec.name}' is taken as {kind}: {meaning.note}, say {say}")
    activation = activation or infer_activation(kind, op, loss)
    if activation is None:
        this, other = ("linear", "log") if kind == "count" else ("logits", "probabilities")
        what = "rates or their logarithms" if kind == "count" else "logits or probabilities"
        return (
            f"whether output '{spec.name}' gives {what} cannot be told; say it with "
            f"heads={{'{spec.name}': {{'kind': '{kind}', 'activation': '{this}'}}}} (or '{other}')"
        )
    return {**inferred, **fields, "kind": kind, "activation": activation}


def _of_kind(output: str, kinds: Sequence[str]) -> str:
    others = f" (or {listed(kinds[1:], ' or ')})" if len(kinds) > 1 else ""
    return f"heads={{'{output}': '{kinds[0]}'}}{others}"


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
    fields = {kind: name for kind in KINDS for name in _SHORTCUTS[shortcut] if name in KINDS[kind]}
    kinds = " or ".join(filter(None, [", ".join([*fields][:-1]), [*fields][-1]]))
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


def _complete(spec: TensorSpec, draft: dict[str, Any], image: tuple[int, int] | None, notes: list[str]) -> None:
    """Add what follows from shapes: labels in any case, and how the output's pixels relate to the input's."""
    kind, shape = draft["kind"], list(spec.shape)
    allowed = KINDS[kind]
    channels_first = draft.get("layout") not in (None, 0)
    units = shape[1 if channels_first else -1] if len(shape) > 1 else 1
    lone = units == 1 and not draft.get("independent")
    counts = {"binary": 2, "ordinal": units + 1, "segmentation": 2 if lone else units, "detection": 0}
    count = counts.get(kind, units)
    if "labels" in allowed and len(draft.get("labels", ())) == 0 and units > 0 and count:
        draft["labels"] = [str(index) for index in range(count)]
        notes.append(f"the labels of output '{spec.name}' are the class numbers, from '0' on; name them with labels=")
    if image is None:
        return
    if "image_width" in allowed and "image_width" not in draft and "image_height" not in draft:
        draft["image_height"], draft["image_width"] = image
    if "stride" in allowed and "stride" not in draft and len(shape) == 4:
        height, width = shape[2:] if channels_first else shape[1:3]
        stride = image[0] // height if height > 0 else 1
        if stride > 1 and image == (height * stride, width * stride):
            draft["stride"] = stride


def unread_masks(heads: Sequence[Head], traced: TracedModel) -> list[str]:
    """Return the outputs whose Keras mask their heads would read, were it an output, since nothing else tells them."""
    return [
        head.output
        for head in heads
        if head.HasField("sequence_tags")
        and not (head.sequence_tags.mask_output or head.sequence_tags.padding_label)
        and traced.masks.get(head.output) == ""
    ]


def _image_size(traced: TracedModel) -> tuple[int, int] | None:
    """Return the height and the width of the image that the model takes; None where there is not one of fixed size."""
    shapes = {spec.name: list(spec.shape) for spec in traced.inputs}
    images = [meaning for meaning in infer_input_meanings(traced) if meaning.HasField("image")]
    if len(images) != 1 or not images[0].image.layout:
        return None
    first = 2 if images[0].image.layout == ImageInput.LAYOUT_NCHW else 1
    height, width = shapes[images[0].input][first : first + 2]
    return (height, width) if height > 0 and width > 0 else None


def _finish(spec: TensorSpec, outputs: Sequence[TensorSpec], draft: Mapping[str, Any], calibrating: bool) -> Head:
    """Make the head of the completed fields, and validate it as the decoder does."""
    kind, where = draft["kind"], f"output '{spec.name}'"
    check_fields(where, draft, kind)
    common = {name: draft[name] for name in COMMON_FIELDS if name in draft}
    own = {name: draft[name] for name in KINDS[kind] if name in draft}
    head = message_of(Head, {"name": spec.name, **common, "output": spec.name, kind: own}, f"{where}: ")
    checked = Head()
    checked.CopyFrom(head)
    if calibrating:
        checked.ClearField("confidence_level")
    try:
        decoder_for(checked, outputs)
    except HeadError as error:
        hint = ""
        if kind == "anomaly" and error.field == "output":
            hint = "; of a reconstruction give reconstructed_input and reconstruction_error"
        elif error.field in {f"{kind}.{name}" for name in KINDS[kind]} - {f"{kind}.{name}" for name in own}:
            hint = f"; say it in table [{spec.name}] of a heads.toml, or in Python in the output's dictionary"
        raise HeadInferenceError(f"{error}{hint}") from error
    return head
