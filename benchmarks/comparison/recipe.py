"""The recipe: how parameters are trained, the same for every method but for what is tuned."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Recipe(BaseModel):
    """How a run trains: AdamW, with a learning rate that rises over the warm-up and then falls to zero.

    Attributes:
        steps: Optimizer steps; 0 trains nothing. Where it is left out, ``epochs`` decides.
        epochs: Times through the training examples.
        batch_size: Examples of an optimizer step.
        accumulation: Parts that each batch is computed in.
        warmup: Share of the steps over which the learning rate rises.
        schedule: How it falls.
        weight_decay: Of AdamW.
        max_grad_norm: Gradients are clipped to this norm over all parameters.
        precision: What the model computes in: its own dtype under ``float32``, autocast under ``bfloat16``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: Count | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(gt=0)] = 32
    accumulation: Annotated[int, Field(gt=0)] = 1
    warmup: Share = 0.1
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("its length is given by steps or by epochs: give one of them")
        return self

    def for_rows(self, rows: int) -> "Recipe":
        """The same with its number of steps, for ``rows`` training examples."""
        if self.steps is not None:
            return self
        assert self.epochs is not None
        return self.model_copy(update={"steps": max(1, round(self.epochs * rows / self.batch_size)), "epochs": None})
