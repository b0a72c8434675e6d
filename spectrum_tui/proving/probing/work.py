"""A probe from its job to its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from spectrum_tui.core.dataset.examples import Example
from spectrum_tui.core.dataset.kept_examples import read_examples
from spectrum_tui.core.errors import CheckpointError, OutputError
from spectrum_tui.core.model.inspection import exact_plan, inspect_model
from spectrum_tui.core.naming.parameters import ParameterPlan, RuntimeParameter
from spectrum_tui.core.numbers import counted
from spectrum_tui.core.probing.passes import Passes, Sizes, activation_bytes, in_passes
from spectrum_tui.core.probing.records import Doing, Plan, Probed, ProbeJob, Said
from spectrum_tui.core.probing.sketches import write_sketches
from spectrum_tui.core.proof.rows import Conditions
from spectrum_tui.core.scanning.devices import SHARE, free_memory
from spectrum_tui.core.settings import Settings
from spectrum_tui.proving.loading import classes_in, in_one_line
from spectrum_tui.proving.machine import Machine, make_repeatable
from spectrum_tui.proving.probing.blocks import Parts, blocks_of
from spectrum_tui.proving.probing.classes import SPEECH, class_for
from spectrum_tui.proving.probing.images import of_images
from spectrum_tui.proving.probing.inputs import SEED, Data, Inputs, of_text
from spectrum_tui.proving.probing.measuring import Measuring, Values
from spectrum_tui.proving.probing.speech import of_speech
from spectrum_tui.proving.probing.weights import Weights, skeleton
from spectrum_tui.proving.training import versions

CONVOLVED = 4
"""Values that are kept of each that a convolution makes: it, its norm, and their activation."""


class Probing:
    """The work of one probe."""

    def __init__(self, job: ProbeJob, tell: Callable[[Said], None]) -> None:
        self._job = job
        self._tell = tell
        make_repeatable(SEED)
        self._conditions = Conditions(
            model=job.model,
            revision=job.revision,
            model_class=job.model_class,
            train=job.data,
            held_out="",
            device=job.device,
            dtype=job.dtype,
        )
        self._machine = Machine(self._conditions)
        self._dtype = self._machine.dtype(job.dtype)
        self._examples: tuple[Example, ...] = ()
        self._named: list[str] = []

    def run(self) -> Probed:
        """Measure what is asked; raises SpectrumError, and what torch raises."""
        job, begin = self._job, time.perf_counter()
        model, plan = self._model()
        inputs = self._inputs(model)
        batches, notes = inputs.batches, [*self._named, *inputs.notes]
        weights = Weights(model, plan, self._machine.device, self._dtype)
        parts = Parts(model, weights, blocks_of(model))
        targets = _found(job, model, plan)
        known = {name: one for one in targets if one for name in [one.name]}
        passes = self._passes(parts, known, inputs)
        self._tell(self._plan(passes, model, inputs))
        measuring = Measuring(parts, known, inputs.loss, self._done)
        measuring.run(batches, passes)
        notes += _new(weights) + _absent(targets) + self._keep(measuring, targets)
        return Probed(
            values=tuple(_values(measuring, one) for one in targets),
            loss=measuring.loss,
            batches=len(batches),
            tokens=inputs.amount,
            unit=inputs.unit,
            seconds=time.perf_counter() - begin,
            model_class=type(model).__name__,
            device=self._machine.name,
            dtype=_name(self._dtype),
            notes=tuple(notes),
            versions=versions(),
        )

    def _done(self, step: int, steps: int) -> None:
        self._tell(Doing(step=step, steps=steps))

    def _model(self) -> tuple[Any, ParameterPlan]:
        """Return the model without its weights, and where these are."""
        job = self._job
        self._examples = read_examples(Path(job.data), job.digest)
        inspection = inspect_model(job.model, job.revision)
        if not inspection.summary.is_local:
            raise CheckpointError(f"{job.model} is not on this machine.", "Scan it first.")
        with in_one_line(job.model):
            name = class_for(self._conditions, self._examples).__name__
            settings = Settings(model_class=name, allow_gptq=job.allow_gptq)
            _, plan = exact_plan(inspection, settings)
            raw = self._with_classes(inspection.checkpoint.config, plan)
            return skeleton(raw, name, self._machine.device, self._dtype), plan

    def _with_classes(self, raw: Mapping[str, Any], plan: ParameterPlan) -> Mapping[str, Any]:
        """Return the configuration, with the classes of the data where the model has a new head:
        one that is stored has its own."""
        labels = sorted({one.label for one in self._examples if one.label})
        if not labels or not plan.missing or "id2label" in raw:
            return raw
        self._named = [f"a new head for {counted(len(labels), 'class', 'classes')} is computed"]
        return {**raw, "id2label": dict(enumerate(labels))}

    def _inputs(self, model: Any) -> Inputs:
        """Return batches of the data, and their loss."""
        first = self._examples[0]
        made = of_text
        if first.label:
            made = of_images
        elif first.file and type(model).__name__ in classes_in(SPEECH[1]):
            made = of_speech
        data = Data(
            job=self._job,
            conditions=self._conditions,
            examples=self._examples,
            device=self._machine.device,
            dtype=self._dtype,
        )
        return made(data, model)

    def _passes(self, parts: Parts, known: dict[str, RuntimeParameter], inputs: Inputs) -> Passes:
        width = self._dtype.itemsize
        shapes = dict(parts.model.named_parameters())

        def size(names: Sequence[str]) -> int:
            own = dict.fromkeys(map(parts.weights.canonical, names))
            return width * sum(shapes[name].numel() for name in own if name in shapes)

        every, one = activation_bytes(tokens=inputs.tokens, width=width, **_widths(parts.model))
        before = width * inputs.before
        sizes = Sizes(
            weights=size(list(shapes)),
            around=size(parts.around),
            block=size(parts.largest_block),
            activations=every + CONVOLVED * before,
            one_block=one + CONVOLVED * before,
        )
        wide = max(width, 4)
        sums = {name: wide * parameter.numel for name, parameter in known.items()}
        return in_passes(sizes, sums, self._memory())

    def _memory(self) -> int:
        if self._job.memory:
            return self._job.memory
        return int(SHARE * free_memory(str(self._machine.device)))

    def _plan(self, passes: Passes, model: Any, inputs: Inputs) -> Plan:
        return Plan(
            passes=len(passes.groups),
            recompute=passes.recompute,
            hold=passes.hold,
            memory=passes.memory,
            device=self._machine.name,
            dtype=_name(self._dtype),
            tokens=inputs.amount,
            unit=inputs.unit,
            model_class=type(model).__name__,
        )

    def _keep(self, measuring: Measuring, targets: Sequence[RuntimeParameter | None]) -> list[str]:
        """Keep the sketches under the names that the scores have."""
        job = self._job
        sketches = {
            target.parameter: measuring.sketches[one.name].numpy()
            for target, one in zip(job.targets, targets, strict=True)
            if one and one.name in measuring.sketches
        }
        try:
            write_sketches(job.checkpoint, job.digest, sketches)
        except OutputError as exc:
            return [f"the sketches of gradients are not kept: {exc}"]
        return []


def _found(job: ProbeJob, model: Any, plan: ParameterPlan) -> list[RuntimeParameter | None]:
    """Return the parameter of each target; a base model's are below its prefix in one with a
    head."""
    names = {also: one for one in plan.parameters for also in (one.name, *one.aliases)}
    prefix = model.base_model_prefix
    return [
        names.get(target.parameter) or names.get(f"{prefix}.{target.parameter}")
        for target in job.targets
    ]


def _values(measuring: Measuring, one: RuntimeParameter | None) -> Values:
    return measuring.values.get(one.name, {}) if one else {}


def _new(weights: Weights) -> list[str]:
    if not weights.new:
        return []
    new = counted(len(weights.new), "parameter is", "parameters are")
    return [f"{new} not stored and computed with random values, first {weights.new[0]}"]


def _absent(targets: Sequence[object]) -> list[str]:
    lacking = sum(one is None for one in targets)
    return [f"{counted(lacking, 'layer is', 'layers are')} not in the model"] if lacking else []


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _widths(model: Any) -> dict[str, int]:
    """Return the sizes that activations depend on, as far as the configuration says."""
    config = model.config.get_text_config()

    def said(*names: str, usual: int) -> int:
        found = (getattr(config, name, None) for name in names)
        return next((one for one in found if isinstance(one, int) and one > 0), usual)

    hidden = said("hidden_size", "d_model", "n_embd", usual=1024)
    return {
        "layers": said("num_hidden_layers", "num_layers", "n_layer", usual=24),
        "hidden": hidden,
        "inner": said("intermediate_size", "d_ff", "ffn_dim", "n_inner", usual=4 * hidden),
        "vocabulary": said("vocab_size", usual=0),
    }
