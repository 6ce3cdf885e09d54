"""An engine for SavedModels: the graph frozen and simplified where that is exact, else as it was loaded."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving import errors
from serving.server import memory
from serving.server.engine import (
    effects,
    folding,
    freezing,
    grappler,
    joining,
    layouts,
    loading,
    precision,
    probe,
    recorded,
    sessions,
    sharing,
    threads,
)
from serving.server.engine.freezing import Frozen
from serving.server.engine.functions import SavedModelEngine
from serving.server.engine.grappler import NotOptimisableError, Signatures
from serving.server.engine.options import MIXED_PRECISIONS, EngineOptions
from serving.server.engine.probe import Probe
from serving.server.engine.sessions import Function
from serving.server.engine.sharing import Shared
from serving.server.engine.straight import Crooked
from serving.server.engine.variables import INIT_SIGNATURE

_log = logging.getLogger(__name__)


def load(path: Path, options: EngineOptions) -> SavedModelEngine:
    """See `engine.load`."""
    _require_valid(options)
    with memory.loading():
        return _load(path, options)


def _load(path: Path, options: EngineOptions) -> SavedModelEngine:
    meta_graph = loading.read_meta_graph(path, options.tags)
    signatures = dict(meta_graph.signature_def)
    model = _Model(path, signatures, options, writing=effects.writing(meta_graph.graph_def, _callable(signatures)))
    try:
        engine = _optimised(_frozen(meta_graph, model), model)
    except NotOptimisableError as error:
        engine = _plain(meta_graph, model, str(error))
    except (errors.ServingError, OSError):
        raise
    except Exception as error:  # a fault of ours, for which no model shall be refused
        _log.exception("The graph in %s could not be optimised", path)
        engine = _plain(meta_graph, model, f"optimising failed with {type(error).__name__}")
    engine.needs_ranks = layouts.needs_ranks(meta_graph.graph_def)
    return engine


@dataclass(frozen=True)
class _Model:
    """What is found out about a version before it is decided how it runs."""

    path: Path
    signatures: Signatures
    options: EngineOptions
    probes: dict[str, Probe] = field(default_factory=dict)
    """By signature; a signature without one could not be tried."""
    shared: dict[str, Shared] = field(default_factory=dict)
    """Signatures that run on another one's weights."""
    writing: frozenset[str] = frozenset()
    """Signatures that change what is kept between calls: only clients may run them."""


def _frozen(meta_graph: meta_graph_pb2.MetaGraphDef, model: _Model) -> Frozen:
    """The model without variables, and answers of it to compare with. Raises NotOptimisableError if there is no such thing."""
    if not model.options.optimise:
        raise NotOptimisableError("optimise is off")
    frozen = freezing.freeze(model.path, meta_graph, _callable(model.signatures))
    model.shared.update(sharing.find(frozen, _callable(model.signatures)))
    plain = freezing.Plain(frozen, sessions.config(model.options, _first_threads(model.options)))
    try:
        _find_probes(plain.function, model, _own(model))
    finally:
        plain.close()
    return frozen


def _require_valid(options: EngineOptions) -> None:
    if options.mixed_precision not in MIXED_PRECISIONS:
        raise errors.InvalidArgument(
            f'--mixed_precision must be "bfloat16" or empty. Received: "{options.mixed_precision}"'
        )
    sessions.config(options, 0)


def _first_threads(options: EngineOptions) -> int:
    if options.session_config is not None:
        return 0
    return options.intra_op_parallelism or options.session_parallelism or sessions.cpus()


def _callable(signatures: Signatures) -> Signatures:
    """The signatures that requests can name: all tensors dense, and something to answer."""
    return {
        name: signature
        for name, signature in signatures.items()
        if name != INIT_SIGNATURE and signature.outputs and all(grappler.tensors({name: signature}))
    }


def _own(model: _Model) -> Signatures:
    """The signatures that do not run on another one's weights."""
    return {name: signature for name, signature in _callable(model.signatures).items() if name not in model.shared}


def _prepared(model: _Model) -> Signatures:
    """The signatures that run on another one's weights once they have prepared its inputs."""
    signatures = _callable(model.signatures)
    return {name: signatures[name] for name, shared in model.shared.items() if not shared.is_copy}


def _find_probes(
    function: Callable[[tuple[str, ...], tuple[str, ...]], Function], model: _Model, signatures: Signatures
) -> None:
    end = time.monotonic() + probe.BUDGET_SECONDS
    requests = recorded.requests(model.path)
    for name in sorted(signatures.keys() - model.writing, key=lambda name: (name != "serving_default", name)):
        signature = signatures[name]
        if model.probes and time.monotonic() > end:
            return
        inputs = [given for signature_name, given in requests if signature_name == name]
        tried = probe.find(signature, inputs, function(probe.feeds(signature), probe.fetches(signature)))
        if tried is not None:
            model.probes[name] = tried


def _plain(meta_graph: meta_graph_pb2.MetaGraphDef, model: _Model, why: str) -> SavedModelEngine:
    """The model as TensorFlow loads it, with all signatures in one graph."""
    model.shared.clear()
    first_threads = _first_threads(model.options)

    def open_session(threads: int) -> Any:
        return loading.load(model.path, model.options.tags, sessions.config(model.options, threads))

    first = open_session(first_threads)
    unused = [first]
    try:
        model.probes.clear()
        _find_probes(functools.partial(sessions.function, first), model, _own(model))
        engine, choice = _with_threads(
            lambda threads: unused.pop() if threads == first_threads and unused else open_session(threads),
            model,
            Crooked(meta_graph.graph_def),
            _size(model.path),
        )
    finally:
        for session in unused:
            session.close()
    engine.summary = f"as loaded ({why}), {threads.told(choice)}{_precision_note(model.options, False)}"
    return engine


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("variables/*"))


def _optimised(frozen: Frozen, model: _Model) -> SavedModelEngine:
    """The frozen model, if it answers as the loaded one does. Raises NotOptimisableError otherwise."""
    bfloat16 = model.options.mixed_precision == "bfloat16" and precision.has_bfloat16()
    parts = sharing.parts(_callable(model.signatures), model.shared)
    checked = [fetch for tried in model.probes.values() for fetch in tried.fetches]
    if not checked:
        raise NotOptimisableError("no signature could be tried: record warm-up requests")
    frozen.graph = grappler.pruned(frozen.graph, grappler.tensors(parts))
    folding.fold(frozen, parts, checked, bfloat16=bfloat16)
    bfloat16 = bfloat16 and precision.is_mixed(frozen.graph)
    optimise_again = bfloat16 or folding.computes_with_weights(frozen)
    graph = freezing.build(frozen)
    crooked = Crooked(frozen.graph)

    def open_session(intra_op: int) -> Any:
        config = sessions.config(model.options, intra_op)
        config.graph_options.rewrite_options.disable_meta_optimizer = not optimise_again
        # TensorFlow optimizes only a graph that is whole.
        config.graph_options.place_pruned_graph = not optimise_again
        return tf.compat.v1.Session(graph=graph, config=config)

    engine, choice = _with_threads(open_session, model, crooked, frozen.weight_bytes)
    if not bfloat16 and not _answers_same(engine, [model.probes[name] for name in _own(model) if name in model.probes]):
        engine.close()
        raise NotOptimisableError(f"frozen, its answers would differ by more than {probe.TOLERANCE:g}")
    freezing.forget_weights(graph)
    main = _main_probe(model)
    if main is None or crooked.leads_to(main.fetches):
        engine.quick_rows = 0
    layers = f"{len(frozen.folded)} layer{'s' if len(frozen.folded) > 1 else ''}"
    folded = f", batch normalization folded into {layers}" if frozen.folded else ""
    engine.summary = f"frozen{folded}, {threads.told(choice)}{_precision_note(model.options, bfloat16)}"
    return engine


def _precision_note(options: EngineOptions, bfloat16: bool) -> str:
    if bfloat16:
        return ", bfloat16"
    if options.mixed_precision:
        return ", float32: bfloat16 needs a model that can be frozen and rewritten and a processor with avx512_bf16 or amx_bf16"
    return ""


def _answers_same(engine: SavedModelEngine, probes: Iterable[Probe]) -> bool:
    try:
        return all(probe.same(p.answers, engine.function(p.feeds, p.fetches)(*p.arrays)) for p in probes)
    except errors.ServingError:
        return False


def _with_threads(
    open_session: Callable[[int], Any], model: _Model, crooked: Crooked, weight_bytes: int
) -> tuple[SavedModelEngine, threads.Choice]:
    """An engine with the threads that suit it; sessions tried on the way are closed."""
    opened: dict[int, SavedModelEngine] = {}

    def open_engine(intra_op: int) -> SavedModelEngine:
        if intra_op not in opened:
            session = open_session(intra_op)
            opened[intra_op] = SavedModelEngine(session, model.signatures, crooked, weight_bytes, model.shared)
        return opened[intra_op]

    try:
        choice = threads.choose(model.options, _trial(open_engine, model, weight_bytes))
        engine = open_engine(choice.intra_op)
        _find_probes(engine.function, model, _prepared(model))
        _find_rowwise(engine, model)
        _find_best_batch(engine, model, choice)
        del opened[choice.intra_op]
    finally:
        for other in opened.values():
            other.close()
    engine.slots = choice.slots
    return engine, choice


def _main_probe(model: _Model) -> Probe | None:
    return model.probes.get("serving_default") or next(iter(model.probes.values()), None)


def _trial(open_engine: Callable[[int], SavedModelEngine], model: _Model, weight_bytes: int) -> threads.Trial | None:
    tried = _main_probe(model)
    if tried is None:
        return None
    is_batch = tried.rows_differ
    row = tried.rows(slice(1)) if is_batch else tried.arrays
    return threads.Trial(lambda n: open_engine(n).function(tried.feeds, tried.fetches), row, is_batch, weight_bytes)


def _find_rowwise(engine: SavedModelEngine, model: _Model) -> None:
    for name, tried in model.probes.items():
        function = engine.function(tried.feeds, tried.fetches)
        engine.add_rowwise(tried.feeds, joining.rowwise(model.signatures[name], tried, function))


def _find_best_batch(engine: SavedModelEngine, model: _Model, choice: threads.Choice) -> None:
    tried = _main_probe(model)
    if tried is not None and choice.seconds is not None and engine.joinable(tried.feeds, tried.fetches):
        rates = threads.rates(engine.function(tried.feeds, tried.fetches), tried.rows(slice(1)), choice.seconds)
        engine.best_batch = threads.best_batch(rates)
        if choice.intra_op == 1:
            engine.quick_rows = threads.quick_rows(rates)
