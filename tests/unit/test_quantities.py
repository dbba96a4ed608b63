"""Numbers as Kubernetes writes them; those that people write are in test_options.py."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mlhub.quantities import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("2", "2"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("2.", "2"),
        ("1930m", "1.93"),
        ("15u", "0.000015"),
        ("7n", "0.000000007"),
        ("1k", "1000"),
        ("5M", "5000000"),
        ("3G", "3000000000"),
        ("1T", "1000000000000"),
        ("1P", "1000000000000000"),
        ("2E", "2000000000000000000"),
        ("16384Ki", "16777216"),
        ("512Mi", "536870912"),
        ("1.5Gi", "1610612736"),
        ("1Ti", "1099511627776"),
        ("1Ei", "1152921504606846976"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("12e-1", "1.2"),
        ("+4", "4"),
        ("-1", "-1"),
        (268435456, "268435456"),
        (0.5, "0.5"),
    ],
)
def test_a_quantity_is_read_exactly(text, value):
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1 Gi",
        "Gi",
        "1K",
        "1GB",
        "1g",
        "0x10",
        "1e",
        "1Gi ",
        "1\n",
        "1,5",
        "--1",
        "\u0661",
        None,
        "9" * 100,
    ],
)
def test_what_is_no_quantity_counts_as_nothing(text):
    assert parse_quantity(text) is None
