"""Values of options for heads, as they are typed; and Python arguments, as options of the command."""

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from headgate.v1 import InputMeaning

_NUMBER = r"-?\d+(?:\.\d+)?"
#: Arguments of `export_model` whose options are called otherwise.
_OPTIONS = {
    "heads": "--head",
    "paddings": "--pad",
    "safe_mode": "--unsafe",
    "custom_objects": "--custom-object",
    "calibration": "--calibrate",
}
#: `argument=` with the literal that follows, if any; not in a call of something else.
_ARGUMENT = re.compile(r"(?<![\w-])(?<!\w\()([a-z][a-z0-9_]*)=(\{(?:[^{}]|\{[^{}]*\})*\}|'[^']*'|(?:\w+(?:\.\w+)*)?)")


def name_options(message: str, arguments: Sequence[str]) -> str:
    """Write the Python arguments that a message speaks of as options of the command.

    Args:
        message: what the exporter says.
        arguments: the names of the arguments that there are.

    >>> name_options("say it with heads={'price': 'regression'}", ["heads"])
    'say it with --head price=regression'
    >>> name_options("say it with heads={'y': {'kind': 'binary', 'activation': 'logits'}}", ["heads"])
    'say it with --head y=binary:logits'
    >>> name_options("name them with labels=", ["labels"])
    'name them with --labels'
    >>> name_options("if you trust it, safe_mode=False", ["safe_mode"])
    'if you trust it, --unsafe'
    >>> name_options("Dense(units=3) has no bias", ["labels"])
    'Dense(units=3) has no bias'
    """

    def as_option(match: re.Match[str]) -> str:
        argument, literal = match.groups()
        if argument not in arguments:
            return match[0]
        option = _OPTIONS.get(argument, f"--{argument.replace('_', '-')}")
        try:
            value = ast.literal_eval(literal)
        except (SyntaxError, ValueError):
            return f"{option} {literal}".rstrip()
        if isinstance(value, dict):
            return " ".join(f"{option} {key}={_typed(one)}" for key, one in value.items())
        return option if isinstance(value, bool) else f"{option} {_typed(value)}"

    return _ARGUMENT.sub(as_option, message)


def _typed(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ":".join(map(str, value.values()))
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def read_kinds(settings: Sequence[str]) -> dict[str, Any]:
    """Read `--head OUTPUT=KIND[:ACTIVATION]`.

    >>> read_kinds(["price=regression", "species=multiclass:logits", "features=none"])
    {'price': 'regression', 'species': {'kind': 'multiclass', 'activation': 'logits'}, 'features': None}
    """
    kinds: dict[str, Any] = {}
    for setting in settings:
        output, equals, head = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{setting}' is not OUTPUT=KIND, such as price=regression", param_hint="--head")
        kind, colon, activation = head.partition(":")
        if kind == "none":
            kinds[output] = None
        else:
            kinds[output] = {"kind": kind, "activation": activation} if colon else kind
    return kinds


def read_by_head(values: Sequence[str], option: str, read: Callable[[str], Any]) -> Any:
    """Read the values of an option: one for the only head that it fits, or a dict of HEAD=VALUE; None without any."""
    if not values:
        return None
    if len(values) == 1 and "=" not in values[0]:
        return read(values[0])
    pairs = [value.partition("=") for value in values]
    odd = next((head for head, equals, _ in pairs if not equals), None)
    if odd is not None:
        raise typer.BadParameter(f"'{odd}' is given beside others; write HEAD=VALUE for each head", param_hint=option)
    return {head: read(value) for head, _, value in pairs}


def read_criteria(values: Sequence[str]) -> Any:
    """Read `--choose-threshold CRITERION`, or HEAD=CRITERION for each head; None without any.

    >>> read_criteria(["precision>=0.9"])
    'precision>=0.9'
    >>> read_criteria(["spam=f1", "risk=cost:false_positive=1,false_negative=5"])
    {'spam': 'f1', 'risk': 'cost:false_positive=1,false_negative=5'}
    """
    pairs = [re.fullmatch(r"(?:([^=<>:]+)=)?(.*)", value) for value in values]
    criteria = {match[1]: match[2] for match in pairs if match}
    if None in criteria and len(values) > 1:
        raise typer.BadParameter(
            f"'{criteria[None]}' is given beside others; write HEAD=CRITERION for each head",
            param_hint="--choose-threshold",
        )
    return criteria.get(None, criteria or None)


def read_labels(text: str) -> list[str]:
    """Read `A,B,...`, or the lines of `@FILE`."""
    from headgate.cli.arrays import text_of

    if text.startswith("@"):
        return text_of(Path(text[1:])).splitlines()
    return read_list(text)


def read_images(settings: Sequence[str]) -> "list[InputMeaning]":
    """Read `--image INPUT=PART,...`, each part the order of the channels, the layout, or the range of values.

    >>> [meaning] = read_images(["photo=rgb,nhwc,0..255"])
    >>> meaning.input, meaning.image.maximum
    ('photo', 255.0)
    """
    from headgate.v1 import ImageInput, InputMeaning

    channels = {name.removeprefix("CHANNELS_").lower(): name for name in ImageInput.Channels.keys()[1:]}
    layouts = {name.removeprefix("LAYOUT_").lower(): name for name in ImageInput.Layout.keys()[1:]}
    meanings = []
    for setting in settings:
        name, _, parts = setting.partition("=")
        image: dict[str, Any] = {}
        for part in read_list(parts.lower()):
            values = re.fullmatch(rf"({_NUMBER})\.\.({_NUMBER})", part)
            if values:
                image["minimum"], image["maximum"] = map(float, values.groups())
            elif part in channels:
                image["channels"] = channels[part]
            elif part in layouts:
                image["layout"] = layouts[part]
            else:
                known = ", ".join([*channels, *layouts])
                raise typer.BadParameter(
                    f"'{setting}' is not INPUT=PART,... such as photo=rgb,0..255; parts are {known}, and MIN..MAX",
                    param_hint="--image",
                )
        meanings.append(InputMeaning(input=name, image=ImageInput(**image)))
    return meanings


def read_list(text: str) -> list[str]:
    """Read `A,B,...`."""
    return [part.strip() for part in text.split(",")]


def read_numbers(text: str, option: str) -> list[float]:
    """Read `X,Y,...`."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no number", param_hint=option) from None
