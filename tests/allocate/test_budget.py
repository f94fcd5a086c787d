import pytest

from lampq_tvm.allocate.budget import Budget, parse_budget, parse_drop
from lampq_tvm.errors import UsageError


@pytest.mark.parametrize(
    ("text", "kind", "value", "a_value"),
    [
        ("4bit", "bits", 4.0, None),
        ("8bit", "bits", 8.0, None),
        ("4.5 bits", "bits", 4.5, None),
        ("4/8bit", "bits", 4.0, 8.0),
        ("2.5ms", "ms", 2.5, None),
        ("0.6x", "ratio", 0.6, None),
        (".6X", "ratio", 0.6, None),
        ("8MiB", "bytes", 8 * 2**20, None),
        ("500KiB", "bytes", 500 * 1024, None),
        ("500kb", "bytes", 500e3, None),
        ("1000000B", "bytes", 1e6, None),
    ],
)
def test_reads_every_form(text, kind, value, a_value):
    budget = parse_budget(text)
    assert (budget.kind, budget.value, budget.a_value) == (kind, value, a_value)


@pytest.mark.parametrize(
    "text", ["", "4", "bit", "-4bit", "0bit", "4/0bit", "0ms", "4/8ms", "8iB", "ms", "nanms", "1e3ms", "4bit,2ms"]
)
def test_refuses_the_rest_with_an_example(text):
    with pytest.raises(UsageError) as e:
        parse_budget(text)
    assert "4/8bit" in str(e.value)


def test_text_is_kept_without_blanks():
    assert parse_budget(" 4 / 8 bit") == Budget("bits", 4.0, 8.0, "4/8bit")


def test_drop():
    assert parse_drop("0.5").points == 0.5
    for text in ("", "-1", "half"):
        with pytest.raises(UsageError):
            parse_drop(text)
