"""`python -m jaxcompare [DATA_DIR]`: checks the installation, the devices and the data, and says what it found.

Exit status 1 where the recipe could not run; every such line says what to do.
"""

import importlib
import importlib.metadata
import io
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).parents[1]
"""Where this package lies; in a checkout beside its pyproject.toml."""

DISK = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "svhn": "train_32x32.mat",
    "fashion-mnist": "FashionMNIST",
}


class Finding(NamedTuple):
    """One line of the answer."""

    subject: str
    state: str
    ok: bool = True
    """False: the recipe cannot run until `fix` is done."""
    fix: str = ""


def check_packages() -> Iterator[Finding]:
    """Every dependency: there, and of a version this project is made for."""
    try:
        from packaging.requirements import Requirement

        requirements = read_requirements(CHECKOUT)
    except (ImportError, OSError, KeyError, tomllib.TOMLDecodeError) as error:
        first = str(error).splitlines()[0]
        yield Finding("jaxcompare", f"neither installed nor a checkout ({first})", False, "pip install -e . in a clone")
        return
    for line in requirements:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        fix = f'pip install "{requirement.name}{requirement.specifier}"'
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(requirement.name, "not installed", False, fix)
            continue
        if version in requirement.specifier:
            yield Finding(requirement.name, version)
        else:
            yield Finding(requirement.name, f"{version}, but {requirement.specifier} is needed", False, fix)


def read_requirements(checkout: Path) -> list[str]:
    """Of the installed package, or of a checkout that is only on the path."""
    try:
        return importlib.metadata.requires("jaxcompare") or []
    except importlib.metadata.PackageNotFoundError:
        return tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]


def check_imports() -> Iterator[Finding]:
    """The two that can be installed and still not load."""
    for name, fix in (
        ("torchvision", "pip install --upgrade torch torchvision (the two must come as a pair from one index)"),
        ("jax", "pip install --upgrade jax jaxlib (the two must have one version)"),
    ):
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever a broken installation raises is the finding
            yield Finding(f"import {name}", " ".join(str(error).split()) or type(error).__name__, False, fix)


def check_devices() -> Iterator[Finding]:
    """What JAX sees, and a GPU that is there but that this jaxlib cannot use."""
    import jax

    from jaxcompare.config import InputError
    from jaxcompare.measure.environment import start_jax
    from jaxcompare.measure.runtime import check_settings

    try:
        check_settings()
        devices = start_jax()
    except InputError as error:
        yield Finding("JAX", str(error), False, "do what the line says")
        return
    yield Finding("JAX devices", ", ".join(f"{device.device_kind} ({device.platform})" for device in devices))
    if jax.default_backend() == "cpu":
        if gpu_is_present():
            fix = 'pip install -e ".[cuda]" (driver 580 or newer) or ".[cuda12]"'
            yield Finding("GPU", "an NVIDIA GPU is present, but this jaxlib cannot use it", fix=fix)
        else:
            yield Finding("GPU", "none: the recipe runs on the CPU")


def gpu_is_present(proc: Path = Path("/proc/driver/nvidia/gpus"), dev: Path = Path("/dev/nvidia0")) -> bool:
    """Whether the NVIDIA driver shows a GPU."""
    return dev.exists() or (proc.is_dir() and any(proc.iterdir()))


def check_data(folder: Path) -> Iterator[Finding]:
    """Which data sets are on disk."""
    yield Finding("digits", "built in (scikit-learn)")
    for name, entry in DISK.items():
        if (folder / entry).exists():
            yield Finding(name, f"in {folder}/")
        else:
            yield Finding(name, f"not in {folder}/", fix="the first run downloads it, or give its folder here")


def main(arguments: list[str]) -> int:
    """Print every finding; the exit status."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print("usage: python -m jaxcompare [DATA_DIR]   (default: data)")
        return 0 if arguments in (["-h"], ["--help"]) else 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    folder = Path(*arguments) if arguments else Path("data")
    findings = [*check_packages(), *check_imports()]
    if all(finding.ok for finding in findings):
        findings += [*check_devices(), *check_data(folder)]
    for finding in findings:
        print(f"{'ok  ' if finding.ok else 'FAIL'} {finding.subject:16} {finding.state}")
        if finding.fix:
            print(f"{'':21} -> {finding.fix}")
    ok = all(finding.ok for finding in findings)
    print("The recipe can run." if ok else "The recipe cannot run: do what the arrows say.")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
