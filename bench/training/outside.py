"""Variants from outside of the project: from a file of the user, or from an installed package.

Such a variant is registered in `variants.VARIANTS` under a key that names its content,
`NAME@DIGEST` (8 hex digits of the SHA-256 of its source). A run's config holds that key, so a
changed file is another variant: it is never mixed with what the file held before, and both may be
in use at once, as in a report over two studies.

What was loaded is recorded: a study's folder and each run's folder get the source. Whatever reads
them later (workers on other machines, reports, `bench.transcribe`) loads it from there, wherever
the file is by then. Loading executes it: a study with variants from outside is a program.
"""

import hashlib
import importlib.util
import linecache
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass, is_dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

from bench.core.config import from_dict, to_dict
from bench.core.errors import UserError
from bench.core.files import write_json, write_text
from bench.core.lookup import check_name, near_names
from bench.core.parsing import parse_json
from bench.core.paths import user_path
from bench.core.plugins import distribution, installed_variants
from variants import BASES, VARIANTS
from variants.spec import VariantSpec

DIGITS = 8
VARIANT_RECORD = "variant"
"""The files of a run's folder that hold its variant from outside: this name with .py and .json."""
_KEY = re.compile(rf"(.+)@[0-9a-f]{{{DIGITS}}}")


@dataclass(frozen=True, kw_only=True)
class VariantSource:
    """Where a variant from outside was declared, and how."""

    name: str
    """Of its spec."""
    path: str
    """The file it was first read from."""
    package: str = ""
    """Name and version of the package that declares it; empty if a file was named."""
    entry: str = ""
    """Its entry point in that package: ``module:attribute``."""
    digest: str
    """Of `text`; of all Python files if it is a package of several."""
    text: str
    """The Python source."""
    space: str = ""
    """TOML of ``NAME.toml`` beside that file: how its search space differs from the base's."""

    @property
    def key(self) -> str:
        """As configs and studies name the variant."""
        return f"{self.name}@{self.digest}"

    @property
    def title(self) -> str:
        """For messages and origins: ``mine.py:mine``, or the package."""
        return f"{self.package or self.path}:{self.name}"


OUTSIDE: dict[str, VariantSource] = {}
"""What was loaded into VARIANTS from outside, by key."""


def find_variant(given: str, folder: Path = Path()) -> str:
    """The key in VARIANTS of what ``--variant`` names: a registered variant, a family (its base),
    ``FILE.py:NAME``, or a variant of an installed package; what is not yet registered is loaded.
    Relative paths begin at `folder`.

    Raises:
        UserError: unknown name; a file that cannot be read, raises, or declares no valid spec of
            that name.
    """
    # What is ours comes first, so that no package can take the name of a registered variant.
    given = BASES.get(given, given)
    if given in VARIANTS:
        return given
    path, _, name = given.rpartition(":")
    if path.endswith(".py"):
        return _load_file(folder / user_path(path, "--variant"), name)
    if given.endswith(".py"):
        declared = ", ".join(_specs(_source_of(folder / user_path(given, "--variant"), "")))
        raise UserError(
            f"a variant of a file is named FILE.py:NAME, got {given}; it declares {declared}"
        )
    packages = installed_variants()
    if given in packages:
        return _register(*_of_package(packages[given]))
    raise UserError(
        f"unknown variant {given!r}; {near_names(given, {*_ours(), *BASES, *packages})}"
    )


def find_recorded(key: str, folders: Iterable[Path], stem: str | None = None) -> None:
    """Register the variant `key` from the first of `folders` that holds its record, unless it is
    registered or is built in; a recorded file is executed.

    Args:
        key: as a run's config names the variant.
        folders: written by `record`.
        stem: of the files in them; None: the key.

    Raises:
        UserError: the record is missing, or differs from what its key says.
    """
    if key in VARIANTS or not _KEY.fullmatch(key):
        return
    given = tuple(folders)
    for folder in given:
        path = folder / f"{stem or key}.json"
        if path.exists():
            _register_recorded(key, path)
            return
    raise UserError(
        f"the source of variant {key} must be recorded as {stem or key}.py and .json in "
        f"{' or '.join(map(str, given))}; put them back"
    )


def record(source: VariantSource, folder: Path, stem: str | None = None) -> None:
    """Write `source` into `folder`: its text as ``STEM.py``, its space as ``NAME.toml``, the rest
    as ``STEM.json``; the default `stem` is its key."""
    stem = stem or source.key
    facts = {k: v for k, v in asdict(source).items() if k not in ("text", "space")}
    write_text(folder / f"{stem}.py", source.text)
    if source.space:
        write_text(folder / f"{source.name}.toml", source.space)
    write_json(folder / f"{stem}.json", facts)


def _ours() -> set[str]:
    return set(VARIANTS) - set(OUTSIDE)


def _load_file(path: Path, name: str) -> str:
    source = _source_of(path, name)
    if source.key in VARIANTS:
        return source.key
    specs = _specs(source)
    if name not in specs:
        raise UserError(f"{path} declares no variant {name!r}; {near_names(name, specs)}")
    return _register(source, specs[name])


def _source_of(path: Path, name: str) -> VariantSource:
    try:
        text = path.read_text(encoding="utf-8")
        beside = path.parent / f"{name}.toml"
        space = beside.read_text(encoding="utf-8") if name and beside.is_file() else ""
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UserError(
            f"a variant's file must be readable, got {path}: {reason}; correct the path"
        ) from error
    return VariantSource(name=name, path=str(path), digest=_digest(text), text=text, space=space)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _register(source: VariantSource, spec: object) -> str:
    """Check `spec` and put it into VARIANTS; returns its key."""
    if source.key not in VARIANTS:
        _check(source, spec)
        assert isinstance(spec, VariantSpec)
        VARIANTS[source.key] = spec
        OUTSIDE[source.key] = source
    return source.key


def _specs(source: VariantSource) -> dict[str, VariantSpec]:
    """What the module of `source` declares in SPECS, by name.

    Raises:
        UserError: it raises, or has no SPECS.
    """
    declared = getattr(_execute(source), "SPECS", None)
    if not isinstance(declared, tuple) or not declared:
        raise UserError(
            f"{source.path} must declare its variants as SPECS = (VariantSpec(…), …), "
            f"got {'none' if declared is None else repr(declared)}; add it"
        )
    for spec in declared:
        if not isinstance(spec, VariantSpec):
            raise UserError(
                f"{source.path}: SPECS must hold variants.spec.VariantSpec, got "
                f"{type(spec).__name__}; build it as one"
            )
    named = [spec.name for spec in declared]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise UserError(
            f"{source.path}: names of variants must differ, got {twice!r} twice; rename"
        )
    return dict(zip(named, declared, strict=True))


def _execute(source: VariantSource) -> ModuleType:
    """The module of `source`, imported from its text: it stands alone, without its neighbours."""
    module = ModuleType(f"variant_from_outside_{source.digest}")
    module.__file__ = source.path
    sys.modules[module.__name__] = module  # where dataclasses look up annotations
    # Tracebacks then show these lines, whatever the file holds later.
    lines = source.text.splitlines(keepends=True)
    linecache.cache[source.path] = (len(source.text), None, lines, source.path)
    try:
        exec(compile(source.text, source.path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise UserError(
            f"{source.path} must be importable, it raised {in_words(error, source.path)}; correct "
            "it (a file stands alone: it may import torch, variants, the standard library and "
            "installed packages)"
        ) from error
    return module


def in_words(error: BaseException, path: str) -> str:
    """An error of a user's code in one line, with the line of `path` where it was raised."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError at line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == path), None)
    said = next(iter(str(error).splitlines()), "")
    where = "" if line is None else f" at line {line}"
    return f"{type(error).__name__}{where}" + (f": {said}" if said else "")


def _check(source: VariantSource, spec: object) -> None:
    """Refuse what is no valid spec.

    Raises:
        UserError: names the file and the rule.
    """
    where = source.title
    if not isinstance(spec, VariantSpec):
        raise UserError(
            f"{where} must be a variants.spec.VariantSpec, got {type(spec).__name__}; build it as "
            "one"
        )
    try:
        check_name(spec.name, "a variant")
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    if spec.name in _ours():
        raise UserError(f"{where}: {spec.name!r} is the name of a registered variant; rename it")
    config = spec.config
    params = getattr(type(config), "__dataclass_params__", None)
    if not is_dataclass(config) or isinstance(config, type) or not getattr(params, "frozen", False):
        raise UserError(
            f"{where}: its config must be an instance of a frozen dataclass, got "
            f"{type(config).__name__}; declare it with @dataclass(frozen=True, kw_only=True)"
        )
    try:
        back = from_dict(type(config), to_dict(config))
    except (TypeError, ValueError, NameError, UserError) as error:
        raise UserError(f"{where}: its config must hold plain values, {error}") from error
    if back != config:
        raise UserError(f"{where}: its config must survive JSON, got {back} from {config}")


def _of_package(entry: EntryPoint) -> tuple[VariantSource, object]:
    """Source and spec of the variant that `entry` declares.

    Raises:
        UserError: the package cannot be imported, has no such name, or names its spec otherwise.
    """
    where = f"{distribution(entry)} ({entry.value})"
    try:
        spec = entry.load()
        found = importlib.util.find_spec(entry.module)
        path = Path(found.origin if found and found.origin else "")
        text = path.read_text(encoding="utf-8")
    except (Exception, SystemExit) as error:
        said = in_words(error, "")
        raise UserError(f"{where} must be importable, it raised {said}; correct it") from error
    if getattr(spec, "name", entry.name) != entry.name:
        raise UserError(
            f"{where}: the entry point is called {entry.name!r}, its spec {spec.name!r}; give them "
            "one name"
        )
    top = importlib.util.find_spec(entry.module.partition(".")[0])
    # The spec's module may import others of its package, so all of them are in the digest.
    places = [Path(place) for place in (top.submodule_search_locations or ())] if top else []
    files = sorted(file for place in places for file in place.rglob("*.py"))
    every = "\n".join(f"{file.name}\n{file.read_text(encoding='utf-8')}" for file in files)
    source = VariantSource(
        name=entry.name,
        path=str(path),
        package=distribution(entry),
        entry=entry.value,
        digest=_digest(every if files else text),
        text=text,
    )
    return source, spec


def _register_recorded(key: str, path: Path) -> None:
    try:
        facts = parse_json(path.read_bytes())
        text = path.with_suffix(".py").read_text(encoding="utf-8")
        if not isinstance(facts, dict):
            raise ValueError("it holds no JSON object")
        source = from_dict(VariantSource, {**facts, "text": text})
    except (OSError, ValueError, TypeError, UserError) as error:
        raise UserError(f"{path} is damaged ({error}); put it back") from error
    if source.key != key:
        raise UserError(f"{path} must describe {key}, it describes {source.key}; put it back")
    if _digest(text) == source.digest:
        space = path.with_name(f"{source.name}.toml")
        if space.is_file():
            text = space.read_text(encoding="utf-8")
            source = VariantSource(**{**asdict(source), "space": text})
        specs = _specs(source) if not source.package else {}
        # Of a package of one file the entry point says which name of its module is the spec.
        attribute = source.entry.partition(":")[2].strip()
        declared = getattr(_execute(source), attribute, None) if source.package else None
        _register(source, specs.get(source.name, declared))
        return
    # A package of several files goes by the digest of all of them, and only one was recorded: the
    # package itself must be installed, with the same code.
    if not source.package:
        raise UserError(
            f"{path.with_suffix('.py')} was changed after it was recorded (its digest is "
            f"{_digest(text)}, not {source.digest}); put it back"
        )
    entry = installed_variants().get(source.name)
    found = None if entry is None else _of_package(entry)
    if found is None or found[0].key != key:
        there = "none" if found is None else f"{found[0].package} with other code"
        raise UserError(
            f"variant {key} needs the package {source.package} as it was, got {there}; install "
            "that version"
        )
    _register(source, found[1])
