"""Seeds through a simulated group: faults, then peace, and then everything that was promised must hold."""

from __future__ import annotations

import pytest

from tests.simulation.groups_world import GroupWorld

SEEDS = 240
STEPS = 500


def live(seed: int) -> list[str]:
    """One seed. A failure has the end of its trace."""
    world = GroupWorld(seed)
    try:
        for _ in range(STEPS):
            world.step()
        world.heal()
    except BaseException as error:
        error.add_note(f"seed {seed}:\n" + "\n".join(world.trace[-60:]))
        raise
    return world.trace


@pytest.mark.parametrize("first", range(0, SEEDS, 60))
def test_no_record_is_skipped_no_commit_lost_and_everybody_comes_to_rest(first: int) -> None:
    for seed in range(first, first + 60):
        live(seed)


@pytest.mark.long
def test_nor_in_thousands_of_lives() -> None:
    for seed in range(1_000, 6_000):
        live(seed)


def test_the_same_seed_is_the_same_life() -> None:
    assert live(7) == live(7)
