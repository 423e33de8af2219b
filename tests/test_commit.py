"""The commit of a record says whether a file differed from it."""

import re
import subprocess

from jaxcompare.measure.environment import find_commit


def test_a_copy_without_git_is_told_its_commit(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXCOMPARE_COMMIT", raising=False)
    assert find_commit(tmp_path) is None
    monkeypatch.setenv("JAXCOMPARE_COMMIT", "abc")
    assert find_commit(tmp_path) == "abc"


def test_the_commit_is_of_every_file_of_the_package_and_the_experiments(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a", *words], cwd=tmp_path, check=True)

    monkeypatch.setenv("JAXCOMPARE_COMMIT", "not asked")
    package = tmp_path / "jaxcompare"
    files = [tmp_path / name for name in ("jaxcompare/training/step.py", "experiments/report.py", "README.md")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    clean = find_commit(package)
    assert re.fullmatch("[0-9a-f]{40}", clean)
    for file in files:
        file.write_text("2")
        assert find_commit(package) == (clean if file.name == "README.md" else f"{clean}+changes")
        file.write_text("1")
