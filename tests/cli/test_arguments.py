import inspect

import pytest
import typer

from headgate.cli.app import app
from headgate.cli.arguments import name_options, read_images, read_labels
from headgate.cli.errors import CommandError
from headgate.exporter import export_model

ARGUMENTS = [name for name, one in inspect.signature(export_model).parameters.items() if one.kind is one.KEYWORD_ONLY]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("heads={'a': None}", "--head a=none"),
        ("threshold={'a': 0.3, 'b': 0.5}", "--threshold a=0.3 --threshold b=0.5"),
        ("labels={'a': ['x', 'y']}", "--labels a=x,y"),
        ("name='my-model'; then", "--name my-model; then"),
        ("heads={'<output>': '<kind>'}", "--head <output>=<kind>"),
        ("triton_config=True.", "--triton-config."),
        ("hand over other examples=", "hand over other --examples"),
        ("Dense(units=3)", "Dense(units=3)"),
        ("--labels=a", "--labels=a"),
    ],
)
def test_arguments_become_options(message, expected):
    assert name_options(message, ARGUMENTS) == expected


def test_every_argument_has_an_option():
    command = typer.main.get_command(app).commands["export"]
    options = {option for parameter in command.params for option in parameter.opts}
    # Given in parts; and none of a command's business.
    for argument in set(ARGUMENTS) - {"target_scaling", "input_meanings", "progress"}:
        assert name_options(f"{argument}=", ARGUMENTS) in options


@pytest.mark.parametrize("parts", ["", "pink", "rgb;nhwc", "0..", "0..1..2"])
def test_images_that_cannot_be_read(parts):
    with pytest.raises(typer.BadParameter, match=r"photo=rgb,0\.\.255"):
        read_images([f"photo={parts}"])


def test_labels_from_a_file(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeffMüller, Ada\r\nb\r\n".encode())
    assert read_labels(f"@{file}") == ["Müller, Ada", "b"]
    file.write_bytes("Müller".encode("latin1"))
    with pytest.raises(CommandError, match=r"labels.txt is no text in UTF-8: "):
        read_labels(f"@{file}")
