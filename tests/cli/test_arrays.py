import numpy as np
import pytest

from headgate.cli.arrays import read_examples, read_inputs
from headgate.cli.errors import CommandError
from headgate.v1 import DataType, InputMeaning, Signature, TabularInput, TensorSpec

SIGNATURE = Signature(
    inputs=[TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 3])],
    input_meanings=[InputMeaning(input="x", tabular=TabularInput(feature_names=["age", "sex", "bmi"]))],
)


@pytest.fixture
def csv(tmp_path):
    def write(text):
        (tmp_path / "rows.csv").write_text(text, encoding="utf-8")
        return tmp_path / "rows.csv"

    return write


@pytest.mark.parametrize(
    "text", ["bmi,age,sex\n21.5,61,1\n30,48,0\n", "61,1,21.5\n48,0,30\n", "age,sex,bmi\n61,1,21.5\n48,0,30\n"]
)
def test_columns_in_any_order(csv, text):
    assert read_inputs(str(csv(text)), SIGNATURE).tolist() == [[61, 1, 21.5], [48, 0, 30]]


def test_other_columns(csv):
    with pytest.raises(CommandError, match=r"rows.csv has the columns age, sex, height; the model takes age, sex, bmi"):
        read_inputs(str(csv("age,sex,height\n61,1,180\n")), SIGNATURE)


def test_a_wrong_name_among_columns_of_text(csv):
    signature = Signature(
        inputs=[TensorSpec(name="x", datatype=DataType.DATA_TYPE_STRING, shape=[-1, 2])],
        input_meanings=[InputMeaning(input="x", tabular=TabularInput(feature_names=["city", "street"]))],
    )
    assert read_inputs(str(csv("Ulm,Hauptstr.\n")), signature).tolist() == [["Ulm", "Hauptstr."]]
    with pytest.raises(CommandError, match=r"rows.csv has the columns road, city; the model takes city, street"):
        read_inputs(str(csv("road,city\nHauptstr.,Ulm\n")), signature)


def test_files_of_spreadsheets(csv):
    assert read_inputs(str(csv("\ufeffbmi,age,sex\r\n21.5,61,1\r\n")), SIGNATURE).tolist() == [[61, 1, 21.5]]


@pytest.mark.parametrize("name", ["rows.csv", "rows.json"])
def test_files_that_are_no_text(tmp_path, name):
    (tmp_path / name).write_bytes(b"Stra\xdfe,\xff")
    with pytest.raises(CommandError, match=rf"{name} is no text in UTF-8: .*0xdf"):
        read_inputs(str(tmp_path / name), SIGNATURE)


def test_cells_that_are_too_long(csv):
    with pytest.raises(CommandError, match=r"rows.csv is no .csv file: field larger than field limit"):
        read_inputs(str(csv(f"age,sex,{'x' * 200_000}\n")), SIGNATURE)


def test_examples_by_column(csv):
    columns = read_examples(csv("age,city\n61,Köln\n48,7\n"))
    assert {name: column.tolist() for name, column in columns.items()} == {"age": [61, 48], "city": ["Köln", "7"]}
    assert columns["age"].dtype == np.float64


@pytest.mark.parametrize("text", ["1,2\n3,4\n", "a,a\n1,2\n"])
def test_examples_without_names(csv, text):
    with pytest.raises(CommandError, match=r"the first line of .*rows.csv must name the columns, each differently"):
        read_examples(csv(text))
