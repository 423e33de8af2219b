"""The faults that `mutations.py` plants in what happens when something goes wrong."""

from mutation_list import Mutation, of

CHECKPOINTS = "tests/test_checkpoints.py"
GUARD = "tests/test_guard.py"
DISK = "tests/test_full_disk.py"
HOST = "tests/test_host_faults.py"

MUTATIONS: list[Mutation] = [
    *of(
        "jaxcompare/training/checkpoints.py",
        CHECKPOINTS,
        ("checkpoints: damage not looked at", 'if _digest(content, records) != found.about["digest"]:', "if False:"),
        ("checkpoints: written too rarely", ">= self._every_s", ">= 10 * self._every_s + 9"),
        ("checkpoints: the oldest is taken", "self._manager.all_steps(), reverse=True", "self._manager.all_steps()"),
        ("checkpoints: the end is not written", "            if not self._is_saved:\n", "            if False:\n"),
    ),
    *of(
        "jaxcompare/training/checkpoints.py",
        DISK,
        ("checkpoints: half of one stays", "shutil.rmtree(part, ignore_errors=True)", "pass"),
        ("checkpoints: a failure is tried again", "            self._kept = None\n            for", "            for"),
        (
            "checkpoints: the end fails for want of one",
            "with contextlib.suppress(InputError), self._explained():",
            "with self._explained():",
        ),
    ),
    *of(
        "jaxcompare/training/fit.py",
        CHECKPOINTS + " -k goes_on",
        ("fit: an epoch passed over", "_go_on(found, records), found.epoch", "_go_on(found, records), found.epoch + 1"),
        (
            "fit: goes on from fresh parameters",
            "lambda leaf, like: jax.device_put(leaf, like.sharding)",
            "lambda leaf, like: like",
        ),
    ),
    *of(
        "jaxcompare/training/weights.py",
        CHECKPOINTS + " -k weights",
        (
            "weights: another file passes",
            'if hashlib.sha256(content).hexdigest() != record.execution.get("weights"):',
            "if False:",
        ),
    ),
    *of(
        "experiments/guard.py",
        GUARD,
        (
            "guard: an interrupt that is lost stays lost",
            "if not _caught.wait(AGAIN_S):",
            "if _caught.wait(AGAIN_S) and False:",
        ),
        ("guard: no end while XLA compiles", "    signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)\n", ""),
        ("guard: two writers", "        lock.acquire(blocking=False)\n", "        pass\n"),
        ("guard: a lock is left behind", "Path(lock.lock_file).unlink(missing_ok=True)", "pass"),
        ("guard: the user's matplotlib", "    os.environ |= FIGURES\n", ""),
        ("guard: matplotlib's own words", "setLevel(logging.ERROR)", "setLevel(logging.INFO)"),
        (
            "guard: output that fails on a character",
            '            stream.reconfigure(errors="replace")\n',
            "            pass\n",
        ),
    ),
    *of(
        "experiments/console.py",
        GUARD,
        ("console: a line a program", "_warn_once(compat.shorten_cache_warning(", "_warn_once(str("),
        ("console: a full disk is nobody's", "return failure.strerror or str(failure)", 'return ""'),
        ("console: another experiment's folder", "if holds and name != holds and (out / name).exists():", "if False:"),
        (
            "console: an exception is a traceback",
            "    except Exception as error:\n        reason =",
            "    except ZeroDivisionError as error:\n        reason =",
        ),
    ),
    *of(
        "jaxcompare/jax_side/side.py",
        GUARD + " -k flags",
        ("side: a study's flags are not tried", "        check_settings()\n        start_jax()\n", ""),
    ),
    *of(
        "experiments/training_runs.py",
        CHECKPOINTS + " -k complete_go",
        (
            "training: checkpoints of complete runs stay",
            "for first in range(0 if missing else len(seeds)):",
            "for first in ():",
        ),
    ),
    *of(
        "experiments/framework_agreement.py",
        "tests/test_experiments.py -k agreements",
        ("agreement: a run begins anew", "dataset, seeds, checkpoints=checkpoints)", "dataset, seeds)"),
        ("agreement: checkpoints stay", "    if checkpoints:\n        checkpoints.remove()\n", ""),
    ),
    *of(
        "jaxcompare/measure/runtime.py",
        GUARD + " -k 'settings or flags'",
        ("runtime: settings not looked at", "if (found := compat.jax_setting(name)) != value:", "if (found := 0):"),
        ("runtime: flags not tried", "    if tried.returncode:\n", "    if False:\n"),
    ),
    *of(
        "jaxcompare/data/host.py",
        HOST,
        ("host: shared memory not looked at", "        if needed > free:\n", "        if False:\n"),
        ("host: a dead worker is a traceback", "if not compat.is_dead_worker(error):", "if True:"),
    ),
    *of(
        "jaxcompare/training/programs.py",
        HOST,
        ("programs: memory not looked at", "            _check_room(name, plan)\n", ""),
    ),
    *of(
        "jaxcompare/lines.py",
        "tests/test_records.py tests/test_records_damaged.py",
        ("lines: a record twice", "(first := places.setdefault(identity(record), number)) != number", "(first := 0)"),
        ("lines: garbage without end", "except (ValueError, RecursionError) as error:", "except ValueError as error:"),
    ),
    *of(
        "jaxcompare/lines.py",
        GUARD,
        ("lines: half-written files stay", "        part.unlink(missing_ok=True)\n", "        pass\n"),
    ),
    *of(
        "jaxcompare/measure/others.py",
        "tests/test_others.py",
        ("others: the hypervisor is left out", "WORKING = (0, 1, 2, 5, 6, 7)", "WORKING = (0, 1, 2, 5, 6)"),
        ("others: own work counts", "if int(fields[2]) == os.getpgrp() else 0", "if False else 0"),
        ("others: every core counts", "if line.split()[0] in cores", 'if line.startswith("cpu")'),
    ),
    *of(
        "jaxcompare/analysis/speed_study.py",
        "tests/test_speed_tables.py -k notes",
        ("speed: other work goes unsaid", "return most if most >= BUSY else 0.0", "return 0.0"),
    ),
]
