"""The faults that `mutations.py` plants in what is read from records and said of them."""

from mutation_list import Mutation, of

RECORDS = "tests/test_records.py"
SPEED = "tests/test_speed_report.py"

MUTATIONS: list[Mutation] = [
    *of(
        "jaxcompare/ranges.py",
        RECORDS + " -k 'cannot_have or end_of_their_range'",
        ("records: accuracies in per cent", '"history.test_accuracy": FRACTION', '"history.test_accuracy": POINTS'),
        (
            "records: training accuracies in per cent",
            '"history.train_accuracy": FRACTION',
            '"history.train_accuracy": POINTS',
        ),
        ("records: epochs that took no time", '"history.epoch_time_s": ABOVE_0', '"history.epoch_time_s": FROM_0'),
        ("records: evaluations not looked at", '    "history.evaluation_time_s": FROM_0,\n', ""),
        ("records: waits not looked at", '    "history.input_wait_s": FROM_0_OR_NAN,  # null: not measured\n', ""),
        (
            "records: losses not looked at",
            '    "history.train_loss": FROM_0_OR_NAN,  # null: of the epoch in which a run diverged\n',
            "",
        ),
        (
            "records: one class is enough",
            '"num_classes": CLASSES,\n    "history',
            '"num_classes": COUNT,\n    "history',
        ),
        ("records: no parameters", '"params": COUNT', '"params": FROM_0'),
        ("records: a run of 20 epochs of 30", ' or (record.status == "complete" and len(losses) < epochs)', ""),
        ("records: more epochs than asked for", "if len(losses) > epochs or (", "if ("),
        (
            "records: another number of images than asked for",
            "if size is not None and record.train_images != size",
            "if False",
        ),
        (
            "records: a missing loss of a complete run",
            'losses[:-1] if record.status == "diverged" else losses',
            "losses[:-1]",
        ),
        ("records: parity not looked at", '    "parity": FROM_0,\n', ""),
        ("records: a cell's page faults not looked at", '    "page_faults": FROM_0,\n', ""),
        ("records: a cell's first steps not looked at", '    "first_step_time_s": ABOVE_0,\n', ""),
        ("records: a cell's waits not looked at", '    "input_wait_s": FROM_0,\n', ""),
        ("records: a cell's warm-up not looked at", '    "warm_up_time_s": ABOVE_0,\n', ""),
    ),
    *of(
        "jaxcompare/cells.py",
        RECORDS + " -k 'cell_cannot_have'",
        ("records: cells not looked at", "    check_ranges(record, TIMED_CELL)\n", ""),
    ),
    *of(
        "jaxcompare/records.py",
        RECORDS,
        ("records: runs not looked at", "    check_run(record)\n", ""),
        ("records: the best epoch is the worst", "return max((a for a in", "return min((a for a in"),
        ("records: the first epoch's time stands for all", "sum(times) / len(times) if times", "times[0] if times"),
    ),
    *of(
        "jaxcompare/analysis/comparison.py",
        RECORDS
        + " tests/test_analysis.py tests/test_report.py -k 'no_comparison or difference or summary or named or commit'",
        (
            "comparison: best and final swapped",
            '"best": lambda record: record.best_test_accuracy',
            '"best": lambda record: record.final_test_accuracy',
        ),
        ("comparison: labels swapped", '{"cnn": "CNN", "vit": "ViT"}', '{"cnn": "ViT", "vit": "CNN"}'),
        (
            "comparison: seeds not paired",
            "seeds] for model in LABELS}",
            "seeds][:: 1 if model == 'cnn' else -1] for model in LABELS}",
        ),
        (
            "comparison: the difference the other way round",
            "[value(cnn) - value(vit) for",
            "[value(vit) - value(cnn) for",
        ),
        ("comparison: commits not looked at", "    check_one_commit(records)\n", ""),
        (
            "comparison: 60,000 images in one model only",
            '("test_images", "num_classes", *(() if "train_size" in but else ("train_images",)))',
            '("test_images", "num_classes")',
        ),
        ("comparison: other test images", '("test_images", "num_classes", *', '("num_classes", *'),
    ),
    *of(
        "experiments/training_runs.py",
        RECORDS + " -k 'nothing_is_trained'",
        ("comparison: trained beside another commit's", "        _check_one_commit(path)\n", ""),
    ),
    *of(
        "jaxcompare/analysis/statistics.py",
        "tests/test_statistics.py",
        ("statistics: a one-sided t", "stats.t.ppf((1 + level) / 2, count - 1)", "stats.t.ppf(level, count - 1)"),
        ("statistics: the plain percentile", "math.sqrt(count / (count - 1)) * _students_t(count)", "1.96"),
        ("statistics: repeats not paired", "            paired=True,\n", "            paired=False,\n"),
        ("statistics: the bootstrap of five", "BOOTSTRAP_FROM = 10", "BOOTSTRAP_FROM = 5"),
    ),
    *of(
        "jaxcompare/analysis/crossover.py",
        "tests/test_crossover.py tests/test_crossover_text.py",
        ("crossover: leads not corrected", "half_width(rows, 1 - (1 - LEVEL) / sizes)", "half_width(rows)"),
        ("crossover: of accuracies, not log errors", "np.log(vit) - np.log(cnn))", "vit - cnn)"),
        ("crossover: seeds not paired", "vit - cnn, np.log(vit)", "vit[::-1] - cnn, np.log(vit[::-1])"),
        ("crossover: not widened by the bend", " + _bend(sizes, seed_mean(logs), grid)", ""),
        ("crossover: the old leader stays", "Change(after, by, new)", "Change(after, by, old)"),
    ),
    *of(
        "jaxcompare/analysis/crossover_text.py",
        "tests/test_crossover_text.py",
        (
            "crossover: the other model is named",
            "where = tuple(size for size, lead in zip(sizes, leads, strict=True) if lead == model)",
            "where = tuple(size for size, lead in zip(sizes, leads, strict=True) if lead and lead != model)",
        ),
        ("crossover: no place is open", "if b > a + 1]", "if b < a]"),
    ),
    *of(
        "jaxcompare/report/agreement.py",
        "tests/test_report.py -k agreement",
        (
            "agreement: of two other seeds",
            "for seed in sorted(first)] for side in (first, second)]",
            "for seed in sorted(side, reverse=side is second)] for side in (first, second)]",
        ),
    ),
    *of(
        "jaxcompare/analysis/speed.py",
        SPEED + " -k 'ratios_are or baseline_is or best or break_even or matrix or interaction'",
        (
            "speed: another baseline",
            'dataclasses.replace(cell, engine="eager", input="device", seeds=1, control=control)',
            'dataclasses.replace(cell, engine="compile", input="device", seeds=1, control=control)',
        ),
        (
            "speed: ratios inverted",
            "ratio_of_medians([image_times(records, cell)], [image_times(records, other)])",
            "ratio_of_medians([image_times(records, other)], [image_times(records, cell)])",
        ),
        ("speed: the best is the slowest", "return min(found, key=lambda", "return max(found, key=lambda"),
        ("speed: several seeds may be the best", "        and cell.seeds == 1\n", ""),
        ("speed: a pipeline may be the best", '        and cell.input in ("device", "arrays")\n', ""),
        (
            "speed: controls that train something else are in the matrix",
            "if r.cell.same_step and r.cell.batch_size",
            "if r.cell.batch_size",
        ),
        (
            "speed: break-even without what is paid once",
            "paid, saved = compiled.once_s - eager.once_s,",
            "paid, saved = compiled.once_s - compiled.once_s,",
        ),
        ("speed: the least, not the median", "return Cost(*map(statistics.median,", "return Cost(*map(min,"),
    ),
    *of(
        "jaxcompare/cells.py",
        SPEED,
        ("speed: channels last is no candidate", 'in (None, "channels-last")', "in (None,)"),
        (
            "speed: no dropout passes for the recipe's step",
            'in (None, "channels-last")',
            'in (None, "channels-last", "no-dropout")',
        ),
    ),
    *of(
        "jaxcompare/cells.py",
        "tests/test_plain.py -k length",
        (
            "speed: a long epoch's time is one of few images",
            "/ self.epoch_images / self.cell.seeds",
            "/ self.train_images / self.cell.seeds",
        ),
    ),
    *of(
        "jaxcompare/analysis/attribution.py",
        SPEED + " -k 'planted_factors or shares_add'",
        (
            "attribution: a stage the other way round",
            "time_ratio(records, before, after), share))",
            "time_ratio(records, after, before), share))",
        ),
        (
            "attribution: library with Python's tracing",
            '("eager", "traced", "jit", "step")',
            '("eager", "op", "jit", "step")',
        ),
        (
            "attribution: tracing the other way round",
            '("tracing in Python", op, traced)',
            '("tracing in Python", traced, op)',
        ),
    ),
    *of(
        "jaxcompare/analysis/repeated_study.py",
        SPEED + " -k 'another_study or second or reversal'",
        ("repetition: labelled the other way round", 'return "later" if', 'return "earlier" if'),
        (
            "repetition: no contradiction",
            "return shown and self.first.direction * self.again.direction == -1",
            "return False",
        ),
        ("repetition: any verdict is the same", "return self.first.direction == self.again.direction", "return True"),
    ),
    *of(
        "jaxcompare/report/results.py",
        SPEED + " -k 'another_study'",
        ("verdict: another study is not asked", "conclusions(timed, *of, self.cells_again)", "conclusions(timed, *of)"),
    ),
    *of(
        "jaxcompare/report/tables.py",
        "tests/test_report.py -k chance",
        ("tables: chance at another level", "intervals * (1 - level)", "intervals * level"),
    ),
    *of(
        "jaxcompare/analysis/speed.py",
        SPEED + " -k 'has_to_beat'",
        (
            "speed: compiling beats eager as the recipe has it",
            'return best(records, like, "torch", "eager")',
            "return baseline(cells_of(records), like)",
        ),
    ),
    *of(
        "jaxcompare/report/html.py",
        SPEED + " -k 'another_study'",
        (
            "page: another study is not asked",
            "find_speed_sentences(results.cells, results.cells_again)",
            "find_speed_sentences(results.cells)",
        ),
    ),
    *of(
        "jaxcompare/measure/environment.py",
        RECORDS + " -k 'commit_is_of'",
        ("commit: changes are not said", '+ ("+changes" if changed else "")', '+ ""'),
    ),
    *of(
        "jaxcompare/cells.py",
        RECORDS + " -k 'cell_cannot_have'",
        ("records: an epoch of ten times the images", "if record.epoch_images != shown:", "if False:"),
    ),
    *of(
        "jaxcompare/report/results.py",
        SPEED + " -k 'line_cannot_have'",
        ("records: files beside cells.jsonl not looked at", "        check_ranges(value, BESIDE_CELLS[name])\n", ""),
    ),
    *of(
        "jaxcompare/analysis/crossover.py",
        "tests/test_crossover.py",
        ("crossover: half the bend", "np.maximum(np.append(second, 0), np.append(0, second))", "np.append(second, 0)"),
        ("crossover: the first of several turns", "turn = int(turns[-1])", "turn = int(turns[0])"),
    ),
    *of(
        "jaxcompare/analysis/crossover_text.py",
        "tests/test_crossover_text.py",
        (
            "extrapolation: the CNN stays lower",
            "{LABELS[crossover.leads[0]]}'s fitted power law stays",
            "{LABELS['cnn']}'s fitted power law stays",
        ),
    ),
    *of(
        "jaxcompare/analysis/speed.py",
        SPEED + " -k 'by_its_median'",
        (
            "speed: the best by the mean",
            "key=lambda cell: statistics.median(image_times(records, cell)), default",
            "key=lambda cell: statistics.fmean(image_times(records, cell)), default",
        ),
    ),
    *of(
        "jaxcompare/study/worker.py",
        "tests/test_plain.py -k 'device_of_each_core'",
        ("plain: a device for each core", "split_cores=cell.packaged", "split_cores=True"),
    ),
    *of(
        "jaxcompare/training/speed.py",
        "tests/test_plain.py -k 'one_program'",
        ("plain: the state is not given away", "state, blank, donate_argnums=0)", "state, blank)"),
    ),
]
