"""The faults that `mutations.py` plants in what is read from records and said of them."""

from mutation_list import Mutation, of

RECORDS = "tests/test_records.py"
SPEED = "tests/test_contrast.py"
TABLES = "tests/test_speed_tables.py"

MUTATIONS: list[Mutation] = [
    *of(
        "jaxcompare/records.py",
        RECORDS + " -k 'cannot_have or end_of_their_range'",
        ("records: accuracies in per cent", "test_accuracy: list[Fraction]", "test_accuracy: list[Points]"),
        ("records: training accuracies in per cent", "train_accuracy: list[Fraction]", "train_accuracy: list[Points]"),
        ("records: epochs that took no time", "epoch_time_s: list[Positive]", "epoch_time_s: list[FromZero]"),
        ("records: evaluations not looked at", "evaluation_time_s: list[FromZero]", "evaluation_time_s: list[float]"),
        ("records: waits not looked at", "input_wait_s: list[FromZeroOrNan]", "input_wait_s: list[float | None]"),
        ("records: losses not looked at", "train_loss: list[FromZeroOrNan]", "train_loss: list[float | None]"),
        ("records: one class is enough", "num_classes: Classes", "num_classes: Count"),
        ("records: no parameters", "params: Count", "params: int"),
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
    ),
    *of(
        "jaxcompare/cell_records.py",
        RECORDS + " -k 'cell_cannot_have'",
        ("records: parity not looked at", "parity: dict[str, FromZero]", "parity: dict[str, float]"),
        ("records: a cell's page faults not looked at", "page_faults: list[WholeFromZero]", "page_faults: list[int]"),
        (
            "records: a cell's first steps not looked at",
            "first_step_time_s: list[Positive]",
            "first_step_time_s: list[float]",
        ),
        ("records: a cell's waits not looked at", "input_wait_s: list[FromZero]", "input_wait_s: list[float]"),
        ("records: a cell's warm-up not looked at", "warm_up_time_s: list[Positive]", "warm_up_time_s: list[float]"),
        ("records: an epoch of ten times the images", "if record.epoch_images != shown:", "if False:"),
    ),
    *of(
        "jaxcompare/lines.py",
        RECORDS + " -k 'cannot_have or not_a_record or missing'",
        (
            "lines: a missing field takes today's default",
            "    if missing := _missing(",
            "    if missing := 0 and _missing(",
        ),
    ),
    *of(
        "jaxcompare/lines.py",
        "tests/test_checkpoints.py -k edited",
        ("lines: checksums not looked at", "if checksum not in (None, _checksum(text)):", "if False:"),
    ),
    *of(
        "jaxcompare/fields.py",
        RECORDS + " -k 'cannot_have or not_a_record'",
        ("records: other fields are passed over", '"extra": "forbid"', '"extra": "ignore"'),
        ("records: infinite numbers", '"allow_inf_nan": False', '"allow_inf_nan": True'),
    ),
    *of(
        "jaxcompare/records.py",
        RECORDS,
        ("records: runs not looked at", ", check_run, lambda", ", bool, lambda"),
        ("records: the best epoch is the worst", "return max((a for a in", "return min((a for a in"),
        ("records: the first epoch's time stands for all", "sum(times) / len(times) if times", "times[0] if times"),
    ),
    *of(
        "jaxcompare/run_frame.py",
        "tests/test_analysis.py",
        ("runs: best and final swapped", '"best": of.test_accuracy.max()', '"best": of.test_accuracy.last()'),
        (
            "runs: an epoch's time is all of them",
            '"epoch_time_s": of.epoch_time_s.mean()',
            '"epoch_time_s": of.epoch_time_s.sum()',
        ),
        ("runs: the first epoch's training accuracy", "of.train_accuracy.last()", "of.train_accuracy.first()"),
    ),
    *of(
        "jaxcompare/report/text.py",
        "tests/test_analysis.py tests/test_report.py",
        ("text: labels swapped", '{"cnn": "CNN", "vit": "ViT"}', '{"cnn": "ViT", "vit": "CNN"}'),
    ),
    *of(
        "jaxcompare/analysis/outcome.py",
        "tests/test_analysis.py",
        (
            "outcome: seeds not paired",
            "(values.cnn - values.vit).tolist()",
            "(values.cnn.to_numpy() - values.vit.to_numpy()[::-1]).tolist()",
        ),
        ("outcome: the difference the other way round", "(values.cnn - values.vit)", "(values.vit - values.cnn)"),
        ("outcome: runs without a partner count", '.transform("nunique") == len(MODELS)', '.transform("nunique") > 0'),
        ("outcome: the slower is the faster", "seconds.idxmin()", "seconds.idxmax()"),
    ),
    *of(
        "jaxcompare/analysis/comparison.py",
        RECORDS + " -k 'no_comparison or commit'",
        (
            "comparison: commits not looked at",
            "    check_one_recipe(runs)\n    check_one_commit(runs)\n",
            "    check_one_recipe(runs)\n",
        ),
        (
            "comparison: 60,000 images in one model only",
            '("test_images", "num_classes", *(() if "train_size" in but else ("train_images",)))',
            '("test_images", "num_classes")',
        ),
        ("comparison: other test images", '("test_images", "num_classes", *', '("num_classes", *'),
    ),
    *of(
        "jaxcompare/analysis/data_efficiency.py",
        "tests/test_analysis.py",
        ("sweep: the smallest block", "return max(blocks", "return min(blocks"),
        ("sweep: seeds not paired", 'values["cnn"] - values["vit"]', 'values["cnn"] - values["vit"][::-1]'),
    ),
    *of(
        "jaxcompare/analysis/targets.py",
        "tests/test_analysis.py tests/test_speed_tables.py -k 'accuracy'",
        ("targets: above, not at", "frame.test_accuracy >= target", "frame.test_accuracy > target"),
        ("targets: without compilation", "found.seconds + found.compile_time_s", "found.seconds"),
        ("targets: the last epoch", '.drop_duplicates("run").assign', '.drop_duplicates("run", keep="last").assign'),
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
        ("statistics: repeats not paired", "statistic, paired=True,", "statistic, paired=False,"),
        ("statistics: the bootstrap of five", "BOOTSTRAP_FROM = 10", "BOOTSTRAP_FROM = 5"),
    ),
    *of(
        "jaxcompare/analysis/crossover.py",
        "tests/test_crossover.py tests/test_crossover_words.py",
        ("crossover: leads not corrected", "half_width(rows, 1 - (1 - LEVEL) / sizes)", "half_width(rows)"),
        ("crossover: of accuracies, not log errors", "np.log(vit) - np.log(cnn))", "vit - cnn)"),
        ("crossover: seeds not paired", "vit - cnn, np.log(vit)", "vit[::-1] - cnn, np.log(vit[::-1])"),
        ("crossover: not widened by the bend", " + _bend(sizes, seed_mean(logs), grid)", ""),
        ("crossover: the old leader stays", "Change(after, by, new)", "Change(after, by, old)"),
    ),
    *of(
        "jaxcompare/report/crossover_words.py",
        "tests/test_crossover_words.py",
        ("crossover: the other model is named", "strict=True) if lead == model)", "strict=True) if lead != model)"),
        ("crossover: no place is open", "if b > a + 1]", "if b < a]"),
    ),
    *of(
        "jaxcompare/analysis/agreement.py",
        "tests/test_analysis.py -k agreement",
        ("agreement: the difference the other way round", "(first - second)", "(second - first)"),
        ("agreement: runs that did not end", '[of_arm & (runs.status == "complete")]', "[of_arm]"),
    ),
    *of(
        "jaxcompare/analysis/speed.py",
        SPEED,
        (
            "speed: another baseline",
            'dataclasses.replace(cell, engine="eager", input="prepared", seeds=1, control=control)',
            'dataclasses.replace(cell, engine="compile", input="prepared", seeds=1, control=control)',
        ),
        ("speed: the best is the slowest", "medians.index[medians.argmin()]", "medians.index[medians.argmax()]"),
        ("speed: the best by the mean", "image_time_s.median()", "image_time_s.mean()"),
        ("speed: several seeds may be the best", "(found.seeds == 1) & found.input", "found.input"),
        ("speed: a pipeline may be the best", ' & found.input.isin([*ON_DEVICE, "arrays"])', ""),
        (
            "speed: controls that train something else are in the matrix",
            "return found[found.cell.map(lambda cell: cell.same_step).astype(bool)] if len(found) else found",
            "return found",
        ),
        (
            "speed: compiling beats eager as the recipe has it",
            'return best(frame, like, "torch", "eager")',
            "return baseline(cells_of(frame), like)",
        ),
        (
            "attribution: a stage the other way round",
            '"stage", name, (before,), (after,)',
            '"stage", name, (after,), (before,)',
        ),
        (
            "attribution: library with Python's tracing",
            '("eager", "traced", "jit", "step")',
            '("eager", "op", "jit", "step")',
        ),
        (
            "attribution: tracing the other way round",
            '"tracing in Python", (op,), (traced,)',
            '"tracing in Python", (traced,), (op,)',
        ),
        ("speed: a control over another cell", "(cell,), (plain,)))", "(cell,), (eager or plain,)))"),
        (
            "speed: the interaction the other way round",
            "(vit_eager, cnn), (vit, cnn_eager)",
            "(vit, cnn_eager), (vit_eager, cnn)",
        ),
    ),
    *of(
        "jaxcompare/analysis/contrast.py",
        SPEED,
        ("speed: ratios inverted", "[-1] * len(pair.below)", "[1] * len(pair.below)"),
        (
            "speed: repeats in the frame's order",
            'rows.set_index("repeat").image_time_s',
            "rows.image_time_s.reset_index(drop=True)",
        ),
        (
            "repetition: no contradiction",
            "return self.ratio.direction * self.again.direction == -1",
            "return False",
        ),
        ("repetition: any verdict is the same", "self.ratio.direction == self.again.direction", "True"),
        (
            "speed: a cell with a failed repeat counts",
            'frame.cell[frame.message != ""]',
            'frame.cell[frame.message == "never"]',
        ),
    ),
    *of(
        "jaxcompare/analysis/break_even.py",
        SPEED,
        (
            "speed: break-even without what is paid once",
            "paid, saved = compiled.once_s - eager.once_s,",
            "paid, saved = compiled.once_s - compiled.once_s,",
        ),
        ("speed: the least, not the median", "Cost(*rows.median())", "Cost(*rows.min())"),
    ),
    *of(
        "jaxcompare/analysis/speed_study.py",
        SPEED + " " + TABLES,
        ("repetition: labelled the other way round", 'return "later" if', 'return "earlier" if'),
        ("verdict: the other study's best is this one's", "verdict_pairs(self.again)", "verdict_pairs(self.frame)"),
        ("speed: shares of an undecided whole", "or not whole.ratio.direction", ""),
    ),
    *of(
        "jaxcompare/analysis/speed_checks.py",
        SPEED,
        ("speed: manifests not looked at", "*((p, rows, MUST_AGREE) for", "*((p, rows, ()) for"),
        ("speed: gates not looked at", "if fault := gate.exceeds", "if fault := 0 and gate.exceeds"),
    ),
    *of(
        "jaxcompare/report/speed_tables.py",
        TABLES,
        (
            "verdict: another study is not asked",
            'say("best", one, again, ',
            'say("best", one, None, ',
        ),
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
        "jaxcompare/cell_records.py",
        "tests/test_plain.py -k length",
        (
            "speed: a long epoch's time is one of few images",
            "/ self.epoch_images / self.cell.seeds",
            "/ self.train_images / self.cell.seeds",
        ),
    ),
    *of(
        "jaxcompare/report/templates/words.jinja",
        "tests/test_report.py -k chance",
        ("tables: chance at another level", "intervals * (1 - level)", "intervals * level"),
    ),
    *of(
        "jaxcompare/report/tables.py",
        "tests/test_report.py -k 'columns or chance'",
        ("tables: what is missing is written", "absent if _missing(v) else text(v)", "text(v)"),
        (
            "tables: a value stands for its intervals",
            'getattr(value, "interval", None) is not None',
            "value is not None",
        ),
    ),
    *of(
        "jaxcompare/analysis/speed_details.py",
        TABLES,
        (
            "details: steps are epochs",
            "[n / math.ceil(RECIPE_IMAGES / one.cell.batch_size) for n in one.steps]",
            "list(one.steps)",
        ),
        (
            "details: pipelines the other way round",
            "found.jaxcompare / found.recipe",
            "found.recipe / found.jaxcompare",
        ),
    ),
    *of(
        "jaxcompare/measure/environment.py",
        RECORDS + " -k 'commit_is_of'",
        ("commit: changes are not said", '+ ("+changes" if changed else "")', '+ ""'),
    ),
    *of(
        "jaxcompare/analysis/crossover.py",
        "tests/test_crossover.py",
        ("crossover: half the bend", "np.maximum(np.append(second, 0), np.append(0, second))", "np.append(second, 0)"),
        ("crossover: the first of several turns", "turn = int(turns[-1])", "turn = int(turns[0])"),
    ),
    *of(
        "jaxcompare/report/crossover_words.py",
        "tests/test_crossover_words.py -k extrapolation",
        ("extrapolation: the CNN stays lower", "stays = crossover.leads[0] if", 'stays = "cnn" if'),
    ),
    *of(
        "jaxcompare/jax_side/side.py",
        "tests/test_plain.py -k 'device_of_each_core'",
        ("plain: a device for each core", "split_cores=cell.packaged", "split_cores=True"),
    ),
    *of(
        "jaxcompare/jax_side/plain.py",
        "tests/test_plain.py -k 'one_program'",
        ("plain: the state is not given away", "state, blank, donate_argnums=0)", "state, blank)"),
    ),
]
