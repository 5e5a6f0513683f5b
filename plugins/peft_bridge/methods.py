"""peft's methods as Inarch's: for each configuration of peft's a dataclass of settings."""

import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, ClassVar, Self

from inarch import (
    ConfigError,
    Method,
    ModelAdapter,
    PeftFormat,
    PlanError,
    Site,
    SiteAdapter,
    Step,
    TrainingError,
    matches_name,
)

from .adapter import PeftAdapter
from .files import PeftFiles
from .library import PromptLearningConfig, configs, quiet, said, tasks, tuners
from .record import supported
from .settings import UNFIT, Setting, settings_of
from .sizes import effective, resized, search_of, size_setting
from .trial import PART, require_right_on_quantised

MODEL = "@model"

OTHER_TARGETS: Mapping[str, tuple[str, ...]] = {
    # What a method is for where that is no linear map; where nothing stands here, peft chooses by itself.
    "LN_TUNING": ("@norm",),
    "TRAINABLE_TOKENS": (),
    "ADAPTION_PROMPT": (),
    "SHADOW": (),
    "XLORA": (),
}
OTHER_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "IA3": {"feedforward_modules": ("@mlp.down",)},  # those of the paper (arXiv:2205.05638), for any architecture
    "FROD": {"progressbar": False},
}


class Reached(ModelAdapter):
    """One module that peft adapts: the adapter of the model does the work, and this one stands for the place."""

    def insert(self, name: str) -> None:
        """Nothing to do."""

    def remove(self) -> None:
        """Nothing to do."""

    def turn(self, on: bool) -> None:
        """Nothing to do."""


@dataclass(frozen=True, kw_only=True)
class PeftMethod(Method):
    """A method of Hugging Face peft; each subclass is one.

    Attributes:
        config_class: peft's configuration.
        own_settings: The settings that peft knows, by name.
        size: The setting that is its one measure of size, if it has one.
        targets: The modules to adapt; besides, always the model itself.
    """

    accepts = ("model", "linear", "convolution", "embedding", "norm", "attention", "block")
    config_class: ClassVar[Any]
    own_settings: ClassVar[Mapping[str, Setting]]
    size: ClassVar[str | None]

    targets: tuple[str, ...] = (MODEL, "@linear")

    def __post_init__(self) -> None:
        if MODEL not in self.targets:
            object.__setattr__(self, "targets", (MODEL, *self.targets))
        for setting, values in UNFIT.items():
            for beginning, reason in values.items():
                given = getattr(self, setting, None)
                self.require(not (isinstance(given, str) and given.startswith(beginning)), setting, reason)

    def build(self, site: Site) -> SiteAdapter:
        """Not to be asked: one adapter is for all sites."""
        raise PlanError(f"{self.name} adapts a model as a whole.")

    def build_all(self, sites: Sequence[Site]) -> dict[str, SiteAdapter]:
        """One adapter for the model, and one for each place it reaches."""
        places = [site for site in sites if site.kind != "model"]
        (model,) = (site for site in sites if site.kind == "model")
        required = [name for name, setting in self.own_settings.items() if setting.required]
        adapter = PeftAdapter(self.name, model, places, partial(self.configuration, model, places), required)
        require_right_on_quantised(self.name, model.module, places, self.trial_configuration)
        return {model.name: adapter, **{place.name: Reached() for place in places}}

    def configuration(self, model: Site, places: Sequence[Site]) -> Any:
        """peft's configuration for a model and the places in it.

        Raises:
            ConfigError: peft refuses the settings.
        """
        values = {name: self._value(name, places) for name in self.own_settings}
        if values.get("task_type", "") is None:
            values["task_type"] = PeftFormat.task_type(model.module)
        if values.get("hidden_size", "") is None:
            values["hidden_size"] = model.in_features
        if places and targets_modules(self.config_class):
            values["target_modules"] = [place.name for place in places]
        self._require_task(model, values)
        return self._made(values)

    def trial_configuration(self) -> Any:
        """peft's configuration for a box of one layer."""
        patterns = ("_pattern", "_modules", "_parameters")  # they name layers of the model
        values = {name: self._value(name, ()) for name in self.own_settings if not name.endswith(patterns)}
        if targets_modules(self.config_class):
            values |= {"target_modules": [PART]}
        if "feedforward_modules" in self.own_settings:
            values |= {"feedforward_modules": []}
        return self._made(values)

    def _made(self, values: Mapping[str, Any]) -> Any:
        try:
            with quiet():
                return self.config_class(**values)
        except Exception as error:  # peft checks by assertions and by errors of all kinds
            raise ConfigError(f"{self.name} refuses its settings: peft says {said(error)}.") from error

    def for_steps(self, steps: int) -> Self:
        """With the length of the run, for a schedule that needs it."""
        unknown = "total_step" in self.own_settings and vars(self)["total_step"] is None
        return replace(self, total_step=steps) if unknown else self  # type: ignore[call-arg]

    def sized(self, size: int) -> Self | None:
        """With another value of its measure of size, and what is relative to it."""
        return replace(self, **resized(vars(self), self.size, size)) if self.size else None

    def effective(self) -> Self:
        """With the rank that a schedule leaves; an encoder of prompts stays, as it stays in peft."""
        return replace(self, **effective(vars(self)))

    @classmethod
    def supports(cls) -> Mapping[str, Any]:
        """What peft can do with it, found by trying."""
        assert cls.peft is not None
        return supported(cls.peft.peft_type)

    def _require_task(self, model: Site, values: Mapping[str, Any]) -> None:
        if issubclass(self.config_class, PromptLearningConfig) and values["task_type"] not in tasks():
            raise PlanError(
                f"{self.name} cannot be attached to this {type(model.module).__name__}: peft learns prompts for models "
                f"of the tasks {', '.join(tasks())}, and this is for none of them."
            )

    def _value(self, name: str, places: Sequence[Site]) -> Any:
        value = getattr(self, name)
        if name.endswith("_modules") and isinstance(value, tuple):
            return [place.name for place in places if any(_names(target, place) for target in value)]
        return self.own_settings[name].to_peft(value)


@dataclass(frozen=True, kw_only=True)
class ScheduledPeftMethod(PeftMethod):
    """A method of peft's with a schedule.

    What peft's schedule has measured is no part of its files, so that a training cannot go on from one.
    """

    def after_step(self, adapters: Mapping[str, SiteAdapter], step: Step) -> Self | None:
        """Tell peft's tuner of the step; ranks that it leaves out are masked, so the adapters stay what they are.

        Raises:
            TrainingError: Steps before this one were in another training.
        """
        adapter = adapters[""]
        assert isinstance(adapter, PeftAdapter)
        if not vars(self).get("use_asa", True):  # AdaMSS has its schedule only on demand
            return None
        adapter.steps += 1
        if adapter.steps != step.number:
            raise TrainingError(
                f"{self.name} cannot go on at step {step.number}: what its schedule has measured is not in peft's "
                "files. Train from the beginning, or with a method of Inarch's own, such as adalora."
            )
        adapter.tuner.update_and_allocate(step.number)
        return None


def every_method() -> list[type[PeftMethod]]:
    """A method for everything that the installed peft offers."""
    return [method_of(peft_type) for peft_type in configs()]


@cache
def method_of(peft_type: str) -> type[PeftMethod]:
    """The method for one of peft's types, such as ``LORA``."""
    config_class, tuner = configs()[peft_type], tuners()[peft_type]
    settings = settings_of(config_class, OTHER_DEFAULTS.get(peft_type, {}))
    fields: list[Any] = [("targets", tuple[str, ...], field(default=_targets(peft_type)))]
    fields += [(setting.name, setting.hint, setting.field()) for setting in settings.values()]
    name = f"peft/{peft_type.lower()}"
    members = {
        "__doc__": _summary(peft_type),
        "__module__": __name__,
        "name": name,
        "config_class": config_class,
        "own_settings": settings,
        "size": size_setting(peft_type, settings),
        "search": search_of(settings),
        "peft": PeftFiles(peft_type, name, settings),
    }
    base = ScheduledPeftMethod if hasattr(tuner, "update_and_allocate") else PeftMethod
    if not targets_modules(config_class):
        members["accepts"] = ("model",)
    return dataclasses.make_dataclass(
        _class_name(peft_type), fields, bases=(base,), namespace=members, frozen=True, kw_only=True
    )


def targets_modules(config_class: Any) -> bool:
    """Whether it is told a list of modules; some have one module's name in each block instead, or learn a prompt."""
    declared = {field.name: field.type for field in dataclasses.fields(config_class)}
    return "target_modules" in declared and declared["target_modules"] is not str


def __getattr__(name: str) -> Any:
    """The methods by the names of their classes, which pickles of a model hold."""
    for peft_type in configs():
        if _class_name(peft_type) == name:
            return method_of(peft_type)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _class_name(peft_type: str) -> str:
    return "Peft" + peft_type.title().replace("_", "")


def _targets(peft_type: str) -> tuple[str, ...]:
    if not targets_modules(configs()[peft_type]):
        return (MODEL,)
    return (MODEL, *OTHER_TARGETS.get(peft_type, ("@linear",)))


def _summary(peft_type: str) -> str:
    """What it is, in the first sentence that peft has for its tuner, without the markup."""
    text = " ".join(inspect.cleandoc(tuners()[peft_type].__doc__ or "").split("\n\n", 1)[0].split())
    sentence = re.sub(r"[`\[\]~]", "", re.split(r"\. (?=[A-Z])", text)[0]).rstrip(".")
    return f"Hugging Face peft's {peft_type}" + (f": {sentence}." if sentence else ".")


def _names(target: str, place: Site) -> bool:
    return target[1:] in place.roles if target.startswith("@") else matches_name(place.name, target)
