"""One TOML file, with `IADSR_*` environment overrides, as a validated `Config`.

`load()` reads it; every value remembers where it came from (file, environment or default).
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pipeline.config import Config
from pipeline.errors import ConfigError

ENV_PREFIX = "IADSR_"
ENV_CONFIG_PATH = "IADSR_CONFIG"
DEFAULT_PATH = "iadsr.toml"


class LoadedConfig(BaseModel):
    """A configuration with the origin of each value (dotted key -> "file", "env" or "default")."""

    config: Config
    path: Path | None
    origins: dict[str, str]


def load(path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> LoadedConfig:
    """Read the configuration.

    The file is `path`, else `$IADSR_CONFIG`, else `iadsr.toml` in the working directory if there.
    Relative paths inside the file are taken from the file's own folder.

    Raises
    ------
    ConfigError
        The file is missing or no TOML, a key is unknown, or a value does not fit.
    """
    environ = os.environ if environ is None else environ
    file = _find(path, environ)
    data = _read(file) if file else {}
    origins = dict.fromkeys(_leaves(data), f"file {file}")
    variables = dict(_overrides(environ))
    for variable, key in variables.items():
        _assign(data, key, _parse(environ[variable]), variable)
        origins = {k: v for k, v in origins.items() if k != key and not k.startswith(key + ".")}
        origins[key] = f"env {variable}"
    texts = _wants_text(data)
    for variable, key in variables.items():
        if key in texts:
            _assign(data, key, environ[variable], variable)
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, origins)) from None
    if file:
        config = _absolute(config, file.parent.resolve())
    return LoadedConfig(config=config, path=file, origins=origins)


def override(config: Config, section: str, values: dict[str, Any]) -> Config:
    """The configuration with some keys of one section set by options of the command line.

    Raises
    ------
    ConfigError
        A value does not fit.
    """
    data = config.model_dump()
    data[section] |= values
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        origins = {f"{section}.{key}": f"option --{key}" for key in values}
        raise ConfigError(_explain(error, origins)) from None


def effective(loaded: LoadedConfig) -> Iterator[tuple[str, Any, str]]:
    """Every leaf of the configuration as (dotted key, value, origin)."""
    for key, value in _leaves(loaded.config.model_dump(mode="json")).items():
        origin = next(
            (o for k, o in loaded.origins.items() if key == k or key.startswith(k + ".")), "default"
        )
        yield key, value, origin


def _find(path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    named = path or environ.get(ENV_CONFIG_PATH)
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"no configuration file at {named} (pass --config FILE)")
        return Path(named)
    return Path(DEFAULT_PATH) if Path(DEFAULT_PATH).is_file() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not a TOML file: {error}") from None


def _leaves(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def _overrides(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """`IADSR_DECISION__FALSE_DROP_BUDGET` -> `decision.false_drop_budget`."""
    for variable in sorted(environ):
        if variable.startswith(ENV_PREFIX) and variable != ENV_CONFIG_PATH:
            yield variable, variable.removeprefix(ENV_PREFIX).lower().replace("__", ".")


def _assign(data: dict[str, Any], key: str, value: Any, variable: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{variable}: {parent} is a value, not a section")
    data[last] = value


def _wants_text(data: dict[str, Any]) -> set[str]:
    """Keys whose value is something else than the text that it must be: a revision `1`."""
    try:
        Config.model_validate(data)
    except ValidationError as error:
        wrong = (e["loc"] for e in error.errors() if e["type"] == "string_type")
        return {".".join(map(str, location)) for location in wrong}
    return set()


def _parse(text: str) -> Any:
    """A TOML value where the text is one (1, true, [5, 20], "x"), else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    found_errors = error.errors()
    first = next((e for e in found_errors if e["type"] == "extra_forbidden"), found_errors[0])
    key = ".".join(str(part) for part in first["loc"])
    origin = next((o for k, o in origins.items() if f"{k}.".startswith(f"{key}.")), "")
    origin = origin or next((o for k, o in origins.items() if key.startswith(f"{k}.")), "")
    where = f" ({origin})" if origin else ""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        if not near:
            return f'unknown key "{key}"{where}: there are {", ".join(known)}{more}'
        meant = ".".join([*(str(part) for part in first["loc"][:-1]), near[0]])
        return f'unknown key "{key}"{where}: did you mean "{meant}"?{more}'
    message = first["msg"].removeprefix("Value error, ")
    found = "" if first["type"] in ("missing", "value_error") else f", found {first['input']!r}"
    return f"{key}{where}: {message}{found}{more}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Keys of the section at `location`, stepping through `[sources.NAME]` maps."""
    section: type[BaseModel] = Config
    for part in location:
        if part in section.model_fields:
            annotation = section.model_fields[str(part)].annotation
            candidates = [annotation, *get_args(annotation)]
            section = next(
                c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)
            )
    return list(section.model_fields)


def _absolute(config: Config, base: Path) -> Config:
    def resolve(path: str) -> str:
        return path if not path or "://" in path else str(base / Path(path).expanduser())

    lake = config.lake.model_copy(
        update={"path": resolve(config.lake.path), "catalog": resolve(config.lake.catalog)}
    )
    encoder = config.encoder
    if "/" in encoder.model and encoder.backend != "openai":
        encoder = encoder.model_copy(update={"model": resolve(encoder.model)})
    vllm = encoder.vllm.model_copy(update={"python": resolve(encoder.vllm.python)})
    encoder = encoder.model_copy(update={"vllm": vllm})
    sources = {k: v.model_copy(update={"path": resolve(v.path)}) for k, v in config.sources.items()}
    catalogues = {
        k: v.model_copy(update={"path": resolve(v.path)}) for k, v in config.catalogues.items()
    }
    privacy = config.privacy.model_copy(update={"key_file": resolve(config.privacy.key_file)})
    return config.model_copy(
        update={
            "lake": lake,
            "encoder": encoder,
            "sources": sources,
            "catalogues": catalogues,
            "privacy": privacy,
        }
    )
