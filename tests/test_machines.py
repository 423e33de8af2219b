"""What a table says of the machines and commits that its runs were made with."""

import dataclasses
import re

import pytest
from test_report import two_seeds

from jaxcompare.report.run_tables import machines
from jaxcompare.run_frame import per_run, to_frame


def where(*places):
    """What is said of a full comparison of seeds 42 and 43, CNN and ViT in turn, on machines of these names."""
    there = [
        dataclasses.replace(r, environment=r.environment | {"cpu": p}) for r, p in zip(two_seeds(), places, strict=True)
    ]
    said, *_ = machines(per_run(to_frame(there)))
    return re.sub(r" \(not known\)", "", said.removeprefix("Machines, with the commit: "))


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ("AAAA", "Machine: 2 cores of A; jax 0.10.2, flax 0.12, torch 2.15."),
        ("ABAB", "seed 42: 2 cores of A; seed 43: 2 cores of B."),
        ("AABB", "CNN: 2 cores of A; ViT: 2 cores of B."),
        (
            "ABCD",
            "CNN, seed 42: 2 cores of A; CNN, seed 43: 2 cores of B; "
            "ViT, seed 42: 2 cores of C; ViT, seed 43: 2 cores of D.",
        ),
        ("AAAB", "ViT, seed 43: 2 cores of B; all others: 2 cores of A."),
        ("ABBA", "CNN, seed 43 and ViT, seed 42: 2 cores of B; all others: 2 cores of A."),
    ],
)
def test_a_sentence_says_exactly_which_runs_are_of_which_machine(places, said):
    assert where(*places) == said


def test_a_commit_that_is_not_known_is_said():
    runs = [dataclasses.replace(r, git_commit="abcdefgh" if i % 2 else None) for i, r in enumerate(two_seeds())]
    assert machines(per_run(to_frame(runs)))[0] == (
        "Machines, with the commit: seed 42: 2 cores of CPU (not known); seed 43: 2 cores of CPU (abcdefg)."
    )
