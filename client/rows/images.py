"""Rows of heads that look at pictures."""

from headgate.client.rows.values import Descriptions, Rows

ROWS: Rows = {}
DESCRIPTIONS: Descriptions = {}
