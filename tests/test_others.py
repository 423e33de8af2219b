"""What other work took of this process's cores, from a system that a test makes up."""

import os

import pytest

from jaxcompare.measure import others


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Seconds of the one core of a system and of its processes, as they are set."""
    clock = {"now": 0.0}
    monkeypatch.setattr(others, "PROC", tmp_path)
    monkeypatch.setattr(others.os, "sched_getaffinity", lambda _: {1})
    monkeypatch.setattr(others.time, "perf_counter", lambda: clock["now"])
    ticks = os.sysconf("SC_CLK_TCK")

    def process(pid, group, seconds):
        (tmp_path / str(pid)).mkdir(exist_ok=True)
        stat = f"{pid} (a (strange) name) S 1 {group} 1 0 -1 0 0 0 0 0 {round(seconds * ticks)} 0 7 7 20 0 1 0 0"
        (tmp_path / str(pid) / "stat").write_text(stat)

    def set_to(now, user, steal, own, foreign):
        clock["now"] = now
        core = f"{round(user * ticks)} 0 0 99 99 0 0 {round(steal * ticks)} 0 0"
        (tmp_path / "stat").write_text(f"cpu  1 2 3\ncpu0 {core}\ncpu1 {core}\nintr 5\n")
        process(7, os.getpgrp(), own)
        process(8, os.getpgrp() + 1, foreign)

    return set_to


@pytest.mark.parametrize(
    ("user", "steal", "own", "share"),
    [(2.0, 0.0, 2.0, 0.0), (2.0, 0.0, 1.5, 0.125), (2.0, 1.0, 2.0, 0.25), (4.0, 0.0, 0.0, 1.0), (1.0, 0.0, 1.1, 0.0)],
)
def test_others_are_whoever_is_not_of_this_group(system, user, steal, own, share):
    system(10.0, 5.0, 1.0, 3.0, 1.0)
    found = others.watch_others()
    system(14.0, 5.0 + user, 1.0 + steal, 3.0 + own, 1.0 + user - own)
    assert found() == pytest.approx(share)


def test_a_system_that_does_not_say_gives_none(tmp_path, monkeypatch):
    monkeypatch.setattr(others, "PROC", tmp_path)
    assert others.watch_others()() is None
