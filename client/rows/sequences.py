"""Rows of heads that read sequences."""

from headgate.client.rows.values import Descriptions, Rows

ROWS: Rows = {}
DESCRIPTIONS: Descriptions = {}
