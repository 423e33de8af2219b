"""The faults that `mutations.py` plants: each is one that a person could make, and that moves a number."""

from typing import NamedTuple


class Mutation(NamedTuple):
    """A fault, and the tests that are to catch it."""

    name: str
    file: str
    old: str
    """Occurs exactly once in the file."""
    new: str
    tests: str
    """As pytest takes them: files or tests, and -k."""


def of(file: str, tests: str, *faults: tuple[str, str, str]) -> list[Mutation]:
    """Faults of one file (name, old, new) that the same tests are to catch."""
    return [Mutation(name, file, old, new, tests) for name, old, new in faults]


LOGITS = "tests/test_parity.py -k 'logits and float64'"
STEPS = "tests/test_parity.py -k 'steps and float64 and cnn'"
EPOCH_TIME = "tests/test_fit.py -k 'epochs_time'"

MUTATIONS: list[Mutation] = [
    *of(
        "jaxcompare/models/vit.py",
        LOGITS,
        ("models: another layer norm epsilon", "LAYER_NORM_EPSILON = 1e-5", "LAYER_NORM_EPSILON = 1e-6"),
        (
            "models: GELU by tanh",
            "return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))",
            "return jax.nn.gelu(x, approximate=True)",
        ),
        ("models: the head reads another token", "(x[:, 0]), activations", "(x[:, 1]), activations"),
        ("models: scores not scaled", "q * head_width**-0.5, k)", "q, k)"),
    ),
    *of(
        "jaxcompare/models/vit.py",
        "tests/test_models.py -k 'four_places and hash'",
        ("models: no dropout of attention", "(probabilities, train=train)\n", "(probabilities, train=False)\n"),
        (
            "models: no dropout after attention",
            "x = x + drop(attention(y, train=train))",
            "x = x + attention(y, train=train)",
        ),
        ("models: no dropout within the MLP", "y = drop(gelu(", "y = (gelu("),
        ("models: no dropout after the MLP", "return x + drop(Linear(", "return x + (Linear("),
    ),
    *of(
        "jaxcompare/models/vit.py",
        "tests/test_initialisation.py",
        (
            "initialisation: Xavier of three matrices",
            "math.sqrt(6 / (width + 3 * width))",
            "math.sqrt(6 / (width + width))",
        ),
        ("initialisation: positions of another deviation", "POSITION_STD = 0.02", "POSITION_STD = 0.2"),
        (
            "initialisation: layers that differ",
            'return {f"{i}": jax.tree.map(jnp.copy, params) for i in range(layers)}',
            'return {f"{i}": layer.init(jax.random.key(i), x, train=False)["params"] for i in range(layers)}',
        ),
    ),
    *of(
        "jaxcompare/models/layers.py",
        "tests/test_initialisation.py",
        ("initialisation: another bound", "uniform(1 / math.sqrt(fan_in))", "uniform(1 / math.sqrt(2 * fan_in))"),
    ),
    *of(
        "jaxcompare/models/layers.py",
        "tests/test_models.py -k 'dropout or max_pool'",
        ("models: dropout not scaled", "jnp.where(mask, x / keep, 0)", "jnp.where(mask, x, 0)"),
        ("models: dropout the other way round", "jnp.where(mask, x / keep, 0)", "jnp.where(mask, 0, x / keep)"),
        ("models: every tie takes the gradient", "(quarter == y) & ~taken", "quarter == y"),
    ),
    *of(
        "jaxcompare/training/optimiser.py",
        STEPS,
        ("optimiser: another epsilon", "EPSILON = 1e-8", "EPSILON = 1e-6"),
        (
            "optimiser: weight decay skips biases",
            "optax.add_decayed_weights(config.weight_decay)",
            "optax.add_decayed_weights(config.weight_decay, lambda p: jax.tree.map(lambda x: x.ndim > 1, p))",
        ),
        ("optimiser: no bias correction", "jnp.sqrt(v / nu_correction)", "jnp.sqrt(v)"),
        ("optimiser: another beta", "BETAS = (0.9, 0.999)", "BETAS = (0.9, 0.99)"),
    ),
    *of(
        "jaxcompare/training/step.py",
        STEPS,
        ("step: the mask ignored in the loss", "(logits, batch.labels) * batch.mask)", "(logits, batch.labels))"),
        (
            "step: the mask ignored in what is correct",
            "(jnp.argmax(logits, axis=-1) == batch.labels) * batch.mask)",
            "(jnp.argmax(logits, axis=-1) == batch.labels) * jnp.ones_like(batch.mask))",
        ),
        (
            "step: a short batch counts as a full one",
            "examples = jnp.sum(batch.mask)",
            "examples = batch.mask.size * 1.0",
        ),
    ),
    *of(
        "jaxcompare/training/step.py",
        "tests/test_recipe.py tests/test_fit.py -k 'draw'",
        (
            "step: the same dropout in every step",
            "jax.random.fold_in(state.dropout_key, state.step)",
            "state.dropout_key",
        ),
        ("step: the same dropout in every slice", "jax.random.fold_in(key, index)}", "key}"),
        ("step: steps are not counted", "step=state.step + 1)", "step=state.step)"),
    ),
    *of(
        "jaxcompare/training/step.py",
        "tests/test_fit.py -k 'model_is_evaluated and host'",
        (
            "step: evaluation with dropout",
            "part.images, train=False)[0], part)",
            'part.images, train=True, rngs={"dropout": jax.random.key(0)})[0], part)',
        ),
    ),
    *of(
        "jaxcompare/training/step.py",
        "tests/test_engines.py -k 'draw_everything'",
        (
            "step: seeds share the dropout key",
            "return TrainState(params, tx.init(params), jnp.zeros((), jnp.int32), dropout_key, data_key)",
            "return TrainState(params, tx.init(params), jnp.zeros((), jnp.int32), jax.random.key(0), data_key)",
        ),
        (
            "step: seeds share order and augmentation",
            "return TrainState(params, tx.init(params), jnp.zeros((), jnp.int32), dropout_key, data_key)",
            "return TrainState(params, tx.init(params), jnp.zeros((), jnp.int32), dropout_key, jax.random.key(0))",
        ),
        (
            "step: seeds share the initialisation",
            "model.init(params_key, images",
            "model.init(jax.random.key(0), images",
        ),
    ),
    *of(
        "jaxcompare/data/device.py",
        "tests/test_engines.py -k 'draw_everything'",
        (
            "device input: seeds share the augmentation",
            "[:examples], augment_key)",
            "[:examples], jax.random.fold_in(jax.random.key(0), epoch))",
        ),
        (
            "device input: seeds share the order",
            "return EpochPlan(shuffles.ravel()",
            "shuffles = jax.random.permutation(jax.random.key(epoch), subset)\n    return EpochPlan(shuffles.ravel()",
        ),
    ),
    *of(
        "jaxcompare/data/device.py",
        "tests/test_batches.py",
        (
            "device input: the same draws every epoch",
            "jax.random.split(jax.random.fold_in(key, epoch))",
            "jax.random.split(key)",
        ),
        ("device input: the same crops in every batch", "jax.random.fold_in(plan.key, index)", "plan.key"),
        ("device input: flips too often", "bernoulli(flip_key, flip_probability,", "bernoulli(flip_key, 0.6,"),
        (
            "device input: padding after normalising",
            "return jnp.where(inside[..., None], pixels, 0)",
            "return jnp.where(inside[..., None], pixels, 123)",
        ),
        ("device input: the last image counts again", "indices, places < examples)", "indices, places <= examples)"),
    ),
    *of(
        "jaxcompare/data/host.py",
        "tests/test_batches.py -k 'host'",
        (
            "host input: the same crops every epoch",
            "(self.seed, plan.epoch, plan.index)",
            "(self.seed, plan.index)",
        ),
        (
            "host input: the same crops in every batch",
            "(self.seed, plan.epoch, plan.index)",
            "(self.seed, plan.epoch)",
        ),
        ("host input: seeds share crops", "(self.seed, plan.epoch, plan.index)", "(plan.epoch, plan.index)"),
        ("host input: flips too often", "generator=generator) < flip_probability", "generator=generator) < 0.6"),
        ("host input: not shuffled", "        if self.shuffle:\n", "        if False:\n"),
        (
            "host input: seeds and epochs share the order",
            "np.random.default_rng((self.seed, self.epoch))",
            "np.random.default_rng(0)",
        ),
        (
            "host input: epochs share the order",
            "np.random.default_rng((self.seed, self.epoch))",
            "np.random.default_rng(self.seed)",
        ),
        (
            "host input: seeds share the order",
            "np.random.default_rng((self.seed, self.epoch))",
            "np.random.default_rng(self.epoch)",
        ),
        (
            "host input: the crop is never at the edge",
            "torch.randint(0, 2 * CROP_PADDING + 1, (2, n)",
            "torch.randint(1, 2 * CROP_PADDING + 1, (2, n)",
        ),
        (
            "host input: deviations left out",
            "F.normalize(images.to(torch.float32).div_(255), list(mean), list(std))",
            "F.normalize(images.to(torch.float32).div_(255), list(mean), [1.0] * 3)",
        ),
        (
            "host input: padding counts",
            "torch.cat([part, part.new_zeros(missing, *part.shape[1:])])",
            "torch.cat([part, part.new_ones(missing, *part.shape[1:])])",
        ),
    ),
    *of(
        "jaxcompare/data/host.py",
        "tests/test_batches.py -k 'own_generator'",
        ("host input: a seed from torch's generator", "            generator=torch.Generator(),\n", ""),
    ),
    *of(
        "jaxcompare/data/host.py",
        "tests/test_recipe.py -k 'shuffled'",
        ("host input: training images without augmentation", "        augment=True,\n", "        augment=False,\n"),
    ),
    *of(
        "jaxcompare/data/datasets.py",
        "tests/test_data.py -k 'of_a_folder or digits or statistics or cifar_in'",
        (
            "data: permuted classes of a folder's test images",
            "[label for _, label in files]",
            "[(label + len(splits)) % len(class_names) for _, label in files]",
        ),
        (
            "data: permuted labels of the digits' test images",
            "_split(pixels[test], labels[test])",
            "_split(pixels[test], (labels[test] + 1) % 10)",
        ),
        (
            "data: CIFAR's test labels in another order",
            "_split(test.data, test.targets)",
            "_split(test.data, test.targets[::-1][1:] + test.targets[-1:])",
        ),
        (
            "data: another deviation",
            "(np.average((levels - m) ** 2, weights=count))",
            "(np.average(abs(levels - m), weights=count))",
        ),
        (
            "data: test images among the digits' training images",
            "_split(pixels[train], labels[train])",
            "_split(pixels, labels)",
        ),
    ),
    *of(
        "jaxcompare/data/subsets.py",
        "tests/test_data.py -k 'subsets'",
        (
            "data: every seed draws the same subset",
            "np.random.default_rng((seed, size))",
            "np.random.default_rng(size)",
        ),
        (
            "data: nested subsets not stratified",
            "return np.lexsort((rng.random(len(labels)), place))",
            "return rng.permutation(len(labels))",
        ),
    ),
    *of(
        "jaxcompare/training/fit.py",
        EPOCH_TIME,
        (
            "fit: the first clock read too early",
            "                jax.block_until_ready(state)\n                start",
            "                start",
        ),
        ("fit: the second clock read too early", "            jax.block_until_ready((state, metrics))\n", ""),
        ("fit: evaluation within the epoch", "epoch_time_s=(trained - start)", "epoch_time_s=(evaluated - start)"),
        ("fit: an epoch's time not shared out", "(trained - start) / len(seeds)", "(trained - start)"),
        ("fit: an evaluation's time not shared out", "(evaluated - trained) / len(seeds)", "(evaluated - trained)"),
        ("fit: the wait is lost", "input_wait_s=input_wait_s,", "input_wait_s=0.0,"),
    ),
    *of(
        "jaxcompare/training/fit.py",
        "tests/test_fit.py -k 'two_loops'",
        ("fit: accuracy of the batches' slots", "/ engine.epoch_images,", "/ (engine.batches * 32),"),
        ("fit: the last batch's loss", "np.mean(losses[i], dtype=np.float64)", "losses[i][-1]"),
        (
            "fit: accuracy of the training images' number",
            "float(correct[i]) / record.test_images",
            "float(correct[i]) / record.train_images",
        ),
    ),
    *of(
        "jaxcompare/training/placement.py",
        "tests/test_engines.py -k 'among_others and cnn'",
        (
            "engines: seeds shared out wrongly",
            "in_specs = (self.per_seed,) * stacked",
            "in_specs = (REPLICATED,) * stacked",
        ),
    ),
    *of(
        "jaxcompare/training/device_engine.py",
        "tests/test_engines.py -k 'chunk_and_epoch and toy'",
        ("engines: states are not given away", "*args, donate_argnums=0)", "*args)"),
        ("engines: a chunk begins anew", "start + jnp.arange(count", "jnp.arange(count"),
        (
            "engines: every epoch is the first",
            "self._epoch(state, self._subsets, self._split, np.int32(epoch))",
            "self._epoch(state, self._subsets, self._split, np.int32(0))",
        ),
    ),
    *of(
        "jaxcompare/measure/clock.py",
        "tests/test_speed.py -k 'before_the_work or fast_cells'",
        (
            "timing: work left is not seen",
            "    if left := count_unfinished():",
            "    if left := 0 * count_unfinished():",
        ),
        ("timing: the warm-up is timed", "epoch_time_s=times[1:]", "epoch_time_s=times"),
        ("timing: waits begin with the warm-up", "input_wait_s=waits[1:]", "input_wait_s=waits[:-1]"),
    ),
    *of(
        "jaxcompare/measure/clock.py",
        "tests/test_speed.py -k 'result_is_there'",
        (
            "timing: ceilings that are not waited for",
            "        wait(result)\n        done.append",
            "        done.append",
        ),
    ),
    *of(
        "jaxcompare/measure/timing.py",
        "tests/test_engines.py -k 'cold_from_warm'",
        ("timing: warm passes for cold", "from_cache=bool(hits)", "from_cache=False"),
    ),
    *of(
        "jaxcompare/compat/jax.py",
        "tests/test_compat.py",
        ("compat: compilations are not seen", "/jax/core/compile/backend_compile_duration", "/jax/core/compile"),
    ),
    *of(
        "jaxcompare/compat/torch.py",
        "tests/test_compat.py",
        ("compat: workers live on", "    if end:\n", "    if False:\n"),
        ("compat: torch.compile reads the usual cache", "os.environ[TORCH_CACHE] = folder", "del folder"),
        ("compat: one of TF32's two switches", "torch.backends.cudnn.allow_tf32 = allowed", "_ = allowed"),
    ),
    *of(
        "jaxcompare/compat/jax.py",
        "tests/test_engines.py -k 'cold_from_warm'",
        (
            "compat: quick programs are compiled every time",
            '"jax_persistent_cache_min_compile_time_secs", 0)',
            '"jax_persistent_cache_min_compile_time_secs", 60)',
        ),
    ),
    *of(
        "jaxcompare/torch_side/cell_step.py",
        "tests/test_speed.py -k 'as_many_threads'",
        ("PyTorch: one thread", "torch.set_num_threads(cpu_cores())", "torch.set_num_threads(1)"),
    ),
    *of(
        "jaxcompare/torch_side/epochs.py",
        "tests/test_speed.py -k 'as_many_threads'",
        (
            "PyTorch: a manifest of other threads",
            '"threads": torch.get_num_threads()',
            '"threads": 1 + torch.get_num_threads()',
        ),
    ),
    *of(
        "jaxcompare/torch_side/cell_batches.py",
        "tests/test_speed.py -k 'two_workers and torch'",
        ("PyTorch: the recipe's loader without workers", "workers=WORKERS", "workers=0"),
    ),
    *of(
        "jaxcompare/data/recipe.py",
        "tests/test_speed.py -k 'two_workers and jax'",
        ("recipe: JAX's loader without workers", "workers=WORKERS", "workers=0"),
    ),
    *of(
        "jaxcompare/torch_side/cell_step.py",
        "tests/test_speed.py -k 'timed_pytorch_has_the_cells'",
        ("PyTorch: timed without dropout", "    if not cell.dropout:\n", "    if True:\n"),
        ("PyTorch: a control with dropout", "    if not cell.dropout:\n", "    if False:\n"),
        (
            "PyTorch: timed in evaluation mode",
            "model.to(device).train()\n    optimiser",
            "model.to(device).eval()\n    optimiser",
        ),
    ),
    *of(
        "jaxcompare/torch_side/fit.py",
        EPOCH_TIME,
        ("PyTorch: evaluation within the epoch", "epoch_time_s=trained - start", "epoch_time_s=evaluated - start"),
        (
            "PyTorch: the epoch within the evaluation",
            "evaluation_time_s=evaluated - trained",
            "evaluation_time_s=evaluated - start",
        ),
        (
            "PyTorch: the wait counts training",
            "                asked = time.perf_counter()\n            trained",
            "            trained",
        ),
    ),
    *of(
        "jaxcompare/torch_side/fit.py",
        "tests/test_fit.py -k 'pytorchs_vit'",
        ("PyTorch: evaluation with dropout", "    model.eval()\n", "    model.train()\n"),
        (
            "PyTorch: dropout in the first epoch only",
            "            model.train()\n",
            "            model.training or model.train(epoch == 0)\n",
        ),
    ),
    *of(
        "jaxcompare/torch_side/models.py",
        LOGITS,
        ("PyTorch: another activation", 'activation="gelu"', 'activation="relu"'),
        ("PyTorch: another epsilon", "self.norm = nn.LayerNorm(width)", "self.norm = nn.LayerNorm(width, eps=1e-3)"),
    ),
    *of(
        "jaxcompare/measure/parity.py",
        "tests/test_gate.py -k 'refuses or nan'",
        (
            "gate: a tolerance ten thousand times as wide",
            '"float32": (1e-5, 5e-3, 1e-3)',
            '"float32": (1e-1, 50.0, 10.0)',
        ),
        ("gate: NaN passes", "if not value <= most]", "if value > most]"),
    ),
    *of(
        "jaxcompare/study/gates.py",
        "tests/test_gate.py -k 'does_not_open'",
        ("gate: skipped", '\', \'.join(exceeds)}" if exceeds else ""', '\', \'.join(exceeds)}" if False else ""'),
    ),
    *of(
        "jaxcompare/jax_side/cell_engine.py",
        "tests/test_plain.py",
        ("plain: timed without dropout", "DROPOUT_RATE if cell.dropout else 0.0", "0.0"),
        ("plain: jit of gathered patches", 'else "direct"', 'else "im2col"'),
    ),
    *of(
        "jaxcompare/jax_side/plain.py",
        "tests/test_plain.py",
        ("plain: traced anew at every step", 'if name == "op":', 'if name in ("op", "traced"):'),
    ),
    *of(
        "jaxcompare/study/study.py",
        "tests/test_study.py -k plain_jit",
        ("study: plain jit in many arenas", 'if cell.engine == "jit" else', "if False else"),
    ),
    *of(
        "jaxcompare/side.py",
        "tests/test_plain.py -k length",
        (
            "plain: long epochs are short",
            "return RECIPE_STEPS * cell.batch_size if",
            "return len(self.dataset.train) if",
        ),
    ),
    *of(
        "jaxcompare/data/host.py",
        "tests/test_fit.py -k 'workers'",
        ("host input: workers move PyTorch's dropout", "            generator=torch.Generator(),\n", ""),
    ),
]
