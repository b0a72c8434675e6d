"""From what a user typed to a described model: a folder, a cached or a hub model, or the demo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from spectrum_tui.core.checkpoint.headers import Checkpoint
from spectrum_tui.core.checkpoint.mounts import patiently
from spectrum_tui.core.errors import CheckpointError, NotHereError, SpectrumError
from spectrum_tui.core.files import cache_note
from spectrum_tui.core.gc_pause import without_collections
from spectrum_tui.core.hub.cache import HubFiles
from spectrum_tui.core.hub.location import RemoteFile
from spectrum_tui.core.hub.patience import Patience
from spectrum_tui.core.hub.transfer import download
from spectrum_tui.core.hub.web import not_downloaded
from spectrum_tui.core.journal.moving import take_over
from spectrum_tui.core.layer_types import TypeInfo, group_of, in_tree_order
from spectrum_tui.core.model.earlier import kept_scores, measured, with_earlier
from spectrum_tui.core.model.named import trimmed
from spectrum_tui.core.model.notes import beside_weights, mismatches, missing, unscored_share
from spectrum_tui.core.model.places import FOLDER, Place, place_of
from spectrum_tui.core.naming.coverage import check_loads, check_named_weights, wrapped_names
from spectrum_tui.core.naming.layers import Layer, ModelLayers, plan_layers
from spectrum_tui.core.naming.parameters import ParameterPlan
from spectrum_tui.core.naming.stored import NAMING, model_layers
from spectrum_tui.core.quantised.detect import GPTQ, SCAN_INSTEAD, detect
from spectrum_tui.core.requests import ModelSummary, Origin
from spectrum_tui.core.settings import DEFAULTS, Settings
from spectrum_tui.core.text import safe, shortened

if TYPE_CHECKING:
    from spectrum_tui.core.quantised.dequantise import Dequantised


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A model read from its headers: what a screen shows, and what a scan needs.

    `files` are what a download fetches of a model that is only on the hub; `preview` are the
    layers under the checkpoint's names, where `model` has those of a trainer. `scored` are the
    matrices that an earlier scan of these weights has scored, with the `error` of each.
    `dequantised` is what its tensors are loaded as, where that was asked for before. `web` are
    the files of a folder on the web, by the names in `Tensor.file`; `place` is where it was found.
    """

    summary: ModelSummary
    checkpoint: Checkpoint
    model: ModelLayers
    files: HubFiles | None = None
    preview: ModelLayers | None = None
    scored: Mapping[str, float] = field(default_factory=dict)
    dequantised: Dequantised | None = None
    web: Mapping[str, RemoteFile] = field(default_factory=dict)
    place: Place = FOLDER


def inspect_model(
    model: str, revision: str = "", *, patience: Patience | None = None
) -> Inspection:
    """Describe a model without its weights; raises CheckpointError or HubError with a field.

    "demo" is the demonstration model (`./demo` is a folder); an existing folder wins over a hub
    id, the hub's local cache over the network, which is asked with `patience`. An address is a
    folder on the web or in a bucket.
    """
    typed = trimmed(model)
    place = place_of(typed)
    seen = place.look(typed, revision, patience)
    described = partial(
        describe,
        typed,
        seen.origin,
        seen.checkpoint,
        name=place.name(typed),
        revision=seen.revision,
        local=seen.local,
    )
    found = patiently(described)
    summary = replace(found.summary, free=seen.free)
    return replace(found, summary=summary, place=place, files=seen.files, web=seen.web)


@without_collections()
def describe(
    typed: str,
    origin: Origin,
    checkpoint: Checkpoint,
    *,
    name: str = "",
    revision: str = "",
    local: int = -1,
) -> Inspection:
    """Return the preview: what headers tell, under the checkpoint's own names."""
    quantisation = detect(checkpoint.config, checkpoint.tensors, allow_lossy_gptq=True)
    if quantisation.refuse:
        raise CheckpointError(quantisation.refuse, SCAN_INSTEAD, field="model")
    check_named_weights(checkpoint, name or typed)
    dequantised = _dequantised_if_known(checkpoint) if quantisation.method else None
    loaded = replace(checkpoint, tensors=dequantised.tensors) if dequantised else checkpoint
    model = model_layers(loaded)
    if not quantisation.method:
        _check_scorable(typed, model)
    is_local = origin not in ("hub", "web")
    take_over(checkpoint)
    scored = kept_scores(checkpoint)
    summary = ModelSummary(
        model=typed,
        origin=origin,
        folder=str(checkpoint.folder) if is_local else "",
        revision=revision,
        architecture=_architecture(checkpoint),
        parameters=model.total_parameters,
        tensors=len(checkpoint.tensors),
        shards=len(checkpoint.shards),
        nbytes=checkpoint.nbytes,
        local_bytes=checkpoint.nbytes if local < 0 else local,
        dtypes=_dtypes(checkpoint),
        types=tuple(summarise_types(model.layers)),
        skipped=model.skipped,
        name=name or typed,
        notes=(*beside_weights(checkpoint, origin), *filter(None, (quantisation.banner,))),
        mounted=checkpoint.on_demand,
    )
    return Inspection(
        summary=with_earlier(summary, scored, measured(model.layers)),
        checkpoint=checkpoint,
        model=model,
        scored=scored,
        dequantised=dequantised,
    )


def _dequantised_if_known(checkpoint: Checkpoint) -> Dequantised | None:
    """Return what a quantised checkpoint is loaded as; None where that needs values that are not
    here, or where the tensors do not fit each other, which the exact names are refused for."""
    from spectrum_tui.core.quantised.dequantise import dequantise

    try:
        return dequantise(checkpoint, allow_gptq=True)
    except SpectrumError:
        return None


def tensors_to_load(inspection: Inspection, settings: Settings = DEFAULTS) -> Dequantised:
    """Return what a checkpoint is loaded as; raises CheckpointError for what cannot be scanned."""
    from spectrum_tui.core.quantised.dequantise import dequantise

    known = inspection.dequantised
    if known is not None and (settings.allow_gptq or known.quantisation.method != GPTQ):
        return known
    return dequantise(inspection.checkpoint, allow_gptq=settings.allow_gptq)


def as_far_as_known(inspection: Inspection, settings: Settings = DEFAULTS) -> Inspection:
    """`with_exact_names`, or the names as stored where those need values that are on the hub.

    Some quantised models describe themselves in tensors; all others are known from headers.
    """
    try:
        return with_exact_names(inspection, settings)
    except NotHereError:
        summary = inspection.summary
        note = "the exact names and counts are known after the download: they need stored values"
        return replace(
            inspection, summary=replace(summary, naming=NAMING, notes=(*summary.notes, note))
        )


def with_exact_names(inspection: Inspection, settings: Settings = DEFAULTS) -> Inspection:
    """Return the same model under the names that a trainer will have.

    Needs torch and transformers, but for the architectures of `naming.plain_decoders`.

    Raises CheckpointError for what cannot be scanned, InputError (field "model_class") for a
    class that does not fit. Where the names cannot be known, `summary.notes` say why.
    """
    with without_collections():
        dequantised, plan = patiently(partial(exact_plan, inspection, settings))
        check_loads(inspection.checkpoint, plan, inspection.summary.model)
        model = plan_layers(plan)
    dropped = tuple((name, "only used by an inference engine") for name in dequantised.dropped)
    model = replace(model, skipped=(*model.skipped, *dropped))
    _check_scorable(inspection.summary.model, model)
    banners = (
        *beside_weights(inspection.checkpoint, inspection.summary.origin),
        dequantised.quantisation.banner,
        plan.banner,
        *wrapped_names(inspection.checkpoint, plan),
        *mismatches(plan),
        *missing(plan),
    )
    summary = replace(
        with_earlier(inspection.summary, inspection.scored, measured(model.layers)),
        parameters=model.total_parameters,
        types=tuple(summarise_types(model.layers)),
        skipped=model.skipped,
        notes=(*filter(None, (*banners, cache_note())), *unscored_share(model)),
        naming=naming_of(plan),
        model_class=plan.model_class,
    )
    return replace(inspection, summary=summary, model=model, preview=inspection.model)


def exact_plan(
    inspection: Inspection, settings: Settings = DEFAULTS
) -> tuple[Dequantised, ParameterPlan]:
    """Return the tensors of a checkpoint and the parameters that they become; raises as
    `with_exact_names` does."""
    from spectrum_tui.core.naming.plain_decoders import known_plan
    from spectrum_tui.core.naming.plan import plan_parameters

    checkpoint = inspection.checkpoint
    chosen = settings.model_class
    dequantised = tensors_to_load(inspection, settings)
    plan = known_plan(checkpoint, dequantised.sources, model_class=chosen)
    if plan is None:
        plan = plan_parameters(checkpoint, model_class=chosen, sources=dequantised.sources)
    return dequantised, plan


def naming_of(plan: ParameterPlan) -> str:
    """Whose names these are, for screens and the YAML's header."""
    if plan.naming == "checkpoint":
        return NAMING
    if plan.naming == "known":
        return plan.model_class
    matched = " matched by suffix" if plan.naming == "suffix" else ""
    return f"transformers {plan.transformers_version} {plan.model_class}{matched}"


def _check_scorable(typed: str, model: ModelLayers) -> None:
    if not model.layers:
        reason = model.skipped[0][1] if model.skipped else "the files are empty"
        raise CheckpointError(
            f"{typed} has no weight that can be scored ({reason}).",
            SCAN_INSTEAD if "quantised" in reason else "Check that config.json belongs to it.",
            field="model",
        )


def summarise_types(layers: tuple[Layer, ...]) -> list[TypeInfo]:
    """Return the layer types of a model with their sizes, in tree order."""
    members: dict[str, list[Layer]] = {}
    for layer in layers:
        members.setdefault(layer.type, []).append(layer)
    return in_tree_order(
        TypeInfo(
            name=name,
            group=group_of(name),
            layers=len(group),
            parameters=sum(layer.numel for layer in group),
            nbytes=sum(layer.nbytes for layer in group),
            cost=sum(layer.cost for layer in group),
            one_dimensional=all(layer.one_dimensional for layer in group),
            experts=max(layer.experts for layer in group),
            tower=group[0].tower,
        )
        for name, group in members.items()
    )


def _architecture(checkpoint: Checkpoint) -> str:
    names = checkpoint.config.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return shortened(safe(names[0]), 200)
    return shortened(safe(str(checkpoint.config.get("model_type", ""))), 200) or "unknown"


def _dtypes(checkpoint: Checkpoint) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for tensor in checkpoint.tensors:
        counts[tensor.dtype] += tensor.nbytes
    return dict(counts.most_common())


def fetch(
    inspection: Inspection,
    *,
    progress: Callable[[int, int, float, bool], None],
    cancelled: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda text: None,
    branch: str | None = None,
) -> Inspection:
    """Download a hub model that was inspected, and describe its local snapshot.

    `progress` gets bytes done, bytes in all and bytes per second, `say` a line when the hub asks
    to wait. `branch` is what the user asked for where the inspection was of a commit: the model is
    found by that name then, without the hub. Raises HubError, OutputError.
    """
    files = inspection.files
    if inspection.web:
        raise not_downloaded(inspection.summary.model)
    if files is None:
        return inspection
    if branch is not None:
        files = replace(files, revision=branch)
    download(files, progress=progress, cancelled=cancelled, say=say)
    return inspect_model(inspection.summary.model, inspection.summary.revision)
