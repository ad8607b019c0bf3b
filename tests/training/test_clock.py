"""When a run evaluates, and what its learning rate follows."""

import pytest

from digit.training.clock import Plan
from digit.training.settings import make_settings


@pytest.mark.parametrize(
    ("epochs", "steps"), [(1, [10, 20, 30]), (0.5, [5, 10, 15, 20, 25, 30]), (0, [])]
)
def test_val_is_evaluated_every_so_many_epochs(epochs, steps):
    settings = make_settings("quick", {"batch_size": 8, "evaluate_every": epochs})
    plan = Plan.of(settings, samples_per_epoch=80, first_step=0)
    assert [n for n in range(1, 31) if plan.is_evaluated(n, settings)] == steps
