"""The order of a review: by doubt, each once, the same after any changes as when it is made anew."""

from __future__ import annotations

import random

from qgis_maskdino.review.order import ACCEPTED, OPEN, REJECTED, STATUSES, ReviewOrder


def walk(order: ReviewOrder, at_least: float) -> list[int]:
    """The open detections in the order in which they are proposed, each accepted in its turn."""
    met, fid = [], order.next_open(at_least)
    while fid is not None:
        met.append(fid)
        order.put(fid, order.score(fid), ACCEPTED)
        fid = order.next_open(at_least, after=fid)
    return met


def test_the_lowest_score_above_the_threshold_comes_first_and_each_comes_once():
    scores = {number: random.Random(number).random() for number in range(200)}
    order = ReviewOrder((fid, score, OPEN) for fid, score in scores.items())
    shown = [fid for fid in scores if scores[fid] >= 0.5]
    assert walk(order, 0.5) == sorted(shown, key=scores.get)
    assert order.next_open(0.5) is None
    assert order.count(OPEN) == len(scores) - len(shown)


def test_what_was_passed_over_comes_again_after_the_last():
    order = ReviewOrder([(1, 0.6, OPEN), (2, 0.7, OPEN), (3, 0.7, OPEN), (4, 0.2, OPEN)])
    met, fid = [], None
    for _ in range(4):
        fid = order.next_open(0.5, after=fid)
        met.append(fid)
    assert met == [1, 2, 3, 1]


def test_after_any_changes_it_is_as_if_it_was_made_anew():
    chance = random.Random(1)
    entries: dict[int, tuple[float, str]] = {}
    order = ReviewOrder()
    for _ in range(2000):
        fid = chance.randrange(100)
        if chance.random() < 0.2:
            entries.pop(fid, None)
            order.remove(fid)
        else:
            entries[fid] = (chance.randrange(10) / 10, chance.choice(STATUSES))
            order.put(fid, *entries[fid])
    anew = ReviewOrder((fid, *entry) for fid, entry in entries.items())
    for status in STATUSES:
        for at_least in (0.0, 0.35, 0.4, 1.0):
            expected = sorted((s, fid) for fid, (s, its) in entries.items() if its == status and s >= at_least)
            for each in (order, anew):
                assert each.fids(status, at_least) == [fid for _, fid in expected]
                assert each.count(status, at_least) == len(expected)
    assert order.range() == (0.0, 0.9)


def test_nothing_to_review():
    assert ReviewOrder().next_open(0.0) is None
    assert ReviewOrder([(1, 0.9, REJECTED)]).next_open(0.0, after=1) is None
