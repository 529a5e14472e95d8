"""The enumeration Events."""

from __future__ import annotations

import doctest
import select

import pytest

import epoll
import epoll.flags


@pytest.mark.parametrize("member", list(epoll.Events), ids=lambda member: member.name)
def test_member_is_its_constant(member: epoll.Events) -> None:
    assert member == getattr(epoll, f"EPOLL{member.name}")


def test_every_constant_has_a_member() -> None:
    masks = {name for name in dir(select) if name.startswith("EPOLL") and "_" not in name}
    assert masks <= {f"EPOLL{name}" for name in epoll.Events.__members__}


def test_masks_explain_themselves() -> None:
    assert repr(epoll.Events.IN | epoll.Events.ET) == "<Events.IN|ET: 2147483649>"
    assert epoll.Events(0) == 0
    assert epoll.Events.ET in epoll.Events(0x80000001)


def test_examples() -> None:
    assert doctest.testmod(epoll.flags).failed == 0
    assert doctest.testmod(epoll.flags).attempted > 0
