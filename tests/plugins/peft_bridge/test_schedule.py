"""Methods with a schedule, in any loop: peft's own loop is the oracle."""

import warnings

import peft
import torch

import inarch

from families import Family, logits

STEPS = 6


def test_trains_as_pefts_own_loop_does(llama: Family) -> None:
    settings = {"init_r": 4, "target_r": 2, "tinit": 1, "tfinal": 2, "deltaT": 1, "total_step": STEPS}
    model, base = llama.model(), llama.model()
    torch.manual_seed(3)
    adapter = inarch.attach(model, "peft/adalora", targets=("q_proj", "v_proj"), **settings)
    _train(model, torch.optim.Adam(adapter.parameters(), lr=0.05), llama, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(3)
        config = peft.AdaLoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], **settings)
        theirs = peft.get_peft_model(base, config)
    trained = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    _train(theirs, torch.optim.Adam(trained, lr=0.05), llama, theirs)
    pattern = theirs.base_model.peft_config["default"].rank_pattern
    assert any(not all(kept) for kept in pattern.values())  # the schedule has left ranks out
    torch.testing.assert_close(logits(model, llama.batch()), logits(theirs, llama.batch()), rtol=0, atol=1e-6)


def _train(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, family: Family, theirs: peft.PeftModel | None
) -> None:
    model.train()
    for step in range(1, STEPS + 1):
        model(**family.batch()).loss.backward()
        optimizer.step()
        if theirs is not None:
            theirs.base_model.update_and_allocate(step)
        optimizer.zero_grad()
    model.eval()
