"""Prefix beam search: the texts that are most probable over all their alignments."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.ranking import best_first
from headgate.v1.columns import FloatArray

Positions = NDArray[np.intp]

#: Hashes: of a prefix that is impossible, of what stands before the empty one, and of the empty one.
_IMPOSSIBLE, _NOTHING, _EMPTY = np.arange(3, dtype=np.uint64)


def prefix_beam_search(blanks: FloatArray, symbols: FloatArray, width: int, k: int) -> tuple[FloatArray, Positions]:
    """Find the best k texts of each row, by their log probabilities over all alignments.

    Each step keeps the `width` most probable prefixes (https://arxiv.org/abs/1408.2873). What a prefix has from
    alignments that end in blank is kept apart from what it has from those that end in its last symbol: only after a
    blank does the same symbol count again. Different prefixes with a symbol more are never the same text. But they may
    be one that is kept already, where its parent is kept too: parents are recognised by hashes of 64 bits.

    Args:
        blanks: [rows, steps], natural logarithms below +inf.
        symbols: [rows, steps, symbols], likewise; one symbol or more.
        width: 1 or more.
        k: 1 to `width`.

    Returns:
        float64 [rows, k], the best first, -inf where fewer texts are possible; and intp [rows, k, steps], the symbol
        that each step adds to the text, -1 for none.
    """
    rows, steps, symbol_count = symbols.shape
    blanks, symbols = np.ascontiguousarray(blanks.T), np.ascontiguousarray(symbols.swapaxes(0, 1))
    grid = _Candidates.of(width, symbol_count)
    ranks = grid.numbers.shape[1] - 1
    order = best_first(symbols.reshape(-1, symbol_count), ranks).reshape(steps, rows, ranks)
    best = np.take_along_axis(symbols, order, axis=2)

    # Arrays [rows, ...] are read and written at flat positions, for which `take` and `put` are fastest.
    row = np.arange(rows)[:, None]
    prefix_start, symbol_start, rank_start = row * width, row * symbol_count, row * ranks
    candidate_start, number_start = row * grid.size, np.arange(width) * (ranks + 1)
    longer = slice(width, grid.size - 1)
    longer_prefixes, longer_symbols = prefix_start + grid.prefixes[longer], rank_start + grid.ranks[longer]
    candidates = np.full((rows, grid.size), -np.inf)
    rank_of = np.full((rows, symbol_count), ranks)
    added, origins = np.empty((2, steps, rows, width), np.intp)

    # The prefixes that are kept, [rows, width], best first: at the start the empty one alone.
    totals = np.full((rows, width), -np.inf)
    totals[:, 0] = 0
    after_blank, after_symbol = totals, np.full((rows, width), -np.inf)
    last = np.zeros((rows, width), np.intp)
    parents, hashes = np.full((rows, width), _NOTHING), np.full((rows, width), _IMPOSSIBLE)
    hashes[:, 0] = _EMPTY

    for step in range(steps):
        rank_of.put(symbol_start + order[step], np.arange(ranks))
        last_rank = rank_of.take(symbol_start + last)
        rank_of.put(symbol_start + order[step], ranks)
        again = symbols[step].take(symbol_start + last)
        candidates[:, longer] = totals.take(longer_prefixes) + best[step].take(longer_symbols)
        candidates.put(candidate_start + grid.numbers.take(number_start + last_rank), after_blank + again)

        stays_blank, stays_symbol = totals + blanks[step][:, None], after_symbol + again
        child, parent = np.divmod(np.flatnonzero(parents[:, :, None] == hashes[:, None, :]), width)
        its_row = child // width
        number = grid.numbers.take(number_start.take(parent) + last_rank.take(child))
        candidates.put(candidate_start.take(its_row) + number, -np.inf)
        parent += its_row * width
        doubled = last.take(child) == last.take(parent)
        gained = again.take(child) + np.where(doubled, after_blank.take(parent), totals.take(parent))
        stays_symbol.put(child, np.logaddexp(stays_symbol.take(child), gained))
        candidates[:, :width] = np.logaddexp(stays_blank, stays_symbol)
        candidates[:, -1] = -np.inf

        chosen = np.argsort(-candidates, axis=1, kind="stable")[:, :width]
        totals = candidates.take(candidate_start + chosen)
        origin = prefix_start + grid.prefixes.take(chosen)
        extends = chosen >= width
        symbol = order[step].take(rank_start + grid.ranks.take(chosen))
        added[step], origins[step] = np.where(extends, symbol, -1), origin
        after_blank = np.where(extends, -np.inf, stays_blank.take(origin))
        after_symbol = np.where(extends, totals, stays_symbol.take(origin))
        last = np.where(extends, symbol, last.take(origin))
        possible, before = totals > -np.inf, hashes.take(origin)
        parents = np.where(possible, np.where(extends, before, parents.take(origin)), _NOTHING)
        hashes = np.where(possible, np.where(extends, _hash(before, symbol), before), _IMPOSSIBLE)

    texts = np.empty((rows, k, steps), np.intp)
    at = prefix_start + np.arange(k)
    for step in reversed(range(steps)):
        texts[:, :, step] = added[step].take(at)
        at = origins[step].take(at)
    totals = totals[:, :k]
    texts[totals == -np.inf] = -1
    return totals, texts


class _Candidates(NamedTuple):
    """What may become one of the prefixes that a step keeps.

    The prefixes that are kept so far come first, as they are; then each with one symbol more, as many of the best as
    can matter; then one that is never taken.

    With prefixes and symbols in order, best first, prefix i with symbol j (both from 0) can be one of the best `width`
    only if (i + 1) * j <= width. Otherwise the prefixes up to i with the symbols up to j are more than that and no less
    probable, even without the one symbol of each prefix that may count for less: its last.

    Attributes:
        size: how many candidates there are.
        prefixes: [size], which of the prefixes it is, or is made of.
        ranks: [size], which of the symbols in order comes behind it; 0 where none does.
        numbers: [width, ranks + 1], which candidate a prefix with the symbol of a rank is; the last for a rank that
            cannot matter.
    """

    size: int
    prefixes: Positions
    ranks: Positions
    numbers: Positions

    @classmethod
    def of(cls, width: int, symbols: int) -> _Candidates:
        prefixes = np.arange(width)
        sizes = np.minimum(width // (prefixes + 1) + 1, symbols)
        ends = width + np.cumsum(sizes)
        ranks = np.arange(sizes[0] + 1)
        matters = ranks < sizes[:, None]
        numbers = np.where(matters, (ends - sizes)[:, None] + ranks, ends[-1])
        longer_prefixes, longer_ranks = np.nonzero(matters)
        none = np.zeros(width, np.intp)
        return cls(
            int(ends[-1]) + 1,
            np.concatenate([prefixes, longer_prefixes, [0]]),
            np.concatenate([none, longer_ranks, [0]]),
            numbers,
        )


def _hash(prefixes: NDArray[np.uint64], symbols: Positions) -> NDArray[np.uint64]:
    """Hash prefixes with one symbol more; the multiplication wraps around."""
    mixed = (prefixes ^ (prefixes >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    return mixed + symbols.astype(np.uint64)
